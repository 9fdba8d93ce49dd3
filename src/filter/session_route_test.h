/* session_route_test: a route with the session filter in a unit test, with a server, a client that keeps its
 * cookie and a ledger in memory behind and before it. */
#pragma once
#include <stdio.h>
#include <unistd.h>

#include "filter/fakes_test.h"
/* first the fakes, some of them our own: the ledger is a machine with kv's rules, in step with the wall */
#undef exchange_answer
#define exchange_answer kept_exchange_answer
#define worker_wall_us fake_worker_wall_us
#define ledger_here fake_ledger_here
#define ledger_submit fake_ledger_submit
#define gate_answer_failure fake_gate_answer_failure

void gate_answer_failure(struct exchange *x, err e);
uint64_t worker_wall_us(void);
void exchange_answer(struct exchange *x, unsigned status, struct bytes content_type, struct bytes body,
                     struct bytes by);
#include "filter/session.c"
#include "gate/problem.c"
#include "gate/session_store.c"
/* then what stands on both */
#include "filter/variables_test.h"
#include "ledger/kv_test.h"

#if WEIR_HAVE_OPENSSL
static bool ledger_gone;
static unsigned asked; /* of the ledger */
/* Before the ledger is asked for the others_turn-th time another request has its way. */
static unsigned others_turn;
static void (*others_do)(void);
static char said[4000];

uint64_t fake_worker_wall_us(void)
{
    return kt.now_ms * 1000;
}

void kept_exchange_answer(struct exchange *x, unsigned status, struct bytes content_type, struct bytes body,
                          struct bytes by)
{
    fake_exchange_answer(x, status, content_type, body, by);
    http_fields_remove(&x->response.fields, BYTES("Set-Cookie"));
    snprintf(said, sizeof said, "%.*s", BYTES_ARG(body));
}

struct ledger *fake_ledger_here(void)
{
    return (struct ledger *)&kt;
}

err fake_ledger_submit(struct ledger *l, struct ledger_call *c)
{
    (void)l;
    asked++;
    if (ledger_gone)
        return ERR_UNAVAILABLE;
    if (others_turn && --others_turn == 0)
        others_do();
    machine_begin(&kt.machine, kt.now_ms);
    machine_expire(&kt.machine);
    machine_entry(&kt.machine, c, NULL);
    kv_test_keep_batch();
    return OK;
}

void fake_gate_answer_failure(struct exchange *x, err e)
{
    x->failed = e;
    fake_exchange_answer(x, 502, BYTES_NONE, BYTES_NONE, BYTES("gate"));
}

/* ---- a route with a server behind it ---- */

static struct loaded loaded;
static void *state;
static const char *answers[16]; /* fields of the server's answer: name, value, ... NULL */
static char heard[2000];        /* what it was asked with */
static char user[100];
static char variable[200]; /* $session.user when the answer has gone */
static struct bytes wanted_variable;

static void serve(struct exchange *x)
{
    size_t n = 0;
    for (uint32_t i = 0; i < x->request.fields.count; i++) {
        const struct http_field *f = &x->request.fields.at[i];
        if (!(f->flags & FIELD_REMOVED) && f->id != FIELD_COOKIE)
            n += (size_t)snprintf(heard + n, sizeof heard - n, "%.*s=%.*s ", BYTES_ARG(http_field_name(f)),
                                  BYTES_ARG(http_field_value(f)));
    }
    if (n)
        heard[n - 1] = 0;
    snprintf(user, sizeof user, "%.*s", (int)x->user.len, x->user.ptr ? x->user.ptr : "");
    x->response.status = 200;
    for (unsigned i = 0; answers[i]; i += 2)
        assert_int_equal(http_fields_add(&x->response.fields, &x->arena, bytes_from(answers[i]),
                                         bytes_from(answers[i + 1])),
                         OK);
}

static void open_route(const char *conf)
{
    char text[500];
    struct diag d = DIAG_NONE;
    metrics_init(1);
    kv_test_open();
    snprintf(text, sizeof text, "match: /*\nsession: %s\n", conf);
    loaded_open(&loaded, &session_filter, text);
    if (loaded.words[0])
        fail_msg("%s: %s", conf, loaded.words);
    assert_int_equal(session_open(loaded.conf, NULL, BYTES("/*"), &state, &d), OK);
    fake.on_chain = serve;
    fake.chain_result = OK;
    answers[0] = NULL;
    ledger_gone = false;
    wanted_variable = BYTES("user");
}

static void close_route(void)
{
    session_close(state);
    loaded_close(&loaded);
    kv_test_close();
    metrics_close();
}

/* The same file again, over a reload: nothing is known but what the ledger keeps. */
static void reopen(void)
{
    struct diag d = DIAG_NONE;
    session_close(state);
    assert_int_equal(session_open(loaded.conf, NULL, BYTES("/*"), &state, &d), OK);
}

static char cookie[300], attributes[300], left[1000], id[40];

/* What the client is told: its cookie is kept, as a browser does; left: the other fields. */
static void look_at_answer(const struct exchange *x)
{
    size_t n = 0;
    attributes[0] = left[0] = 0;
    for (uint32_t i = 0; i < x->response.fields.count; i++) {
        const struct http_field *f = &x->response.fields.at[i];
        if (f->flags & FIELD_REMOVED)
            continue;
        const struct bytes value = http_field_value(f);
        if (!bytes_eq(http_field_name(f), BYTES("Set-Cookie"))) {
            n += (size_t)snprintf(left + n, sizeof left - n, "%.*s=%.*s ", BYTES_ARG(http_field_name(f)),
                                  BYTES_ARG(value));
            continue;
        }
        const size_t end = bytes_index(value, ';');
        snprintf(cookie, sizeof cookie, "%.*s", (int)end, value.ptr);
        snprintf(attributes, sizeof attributes, "%.*s", BYTES_ARG(bytes_skip(value, end + 2)));
    }
}

/* fields: name, value, ... NULL; the status. */
static unsigned asks_with(const char *sent, const char *const *fields)
{
    struct exchange x;
    fake_exchange_open(&x);
    x.deadline_us = DEADLINE_NONE;
    ask(&x, "http://shop/");
    heard[0] = user[0] = said[0] = id[0] = variable[0] = 0;
    if (sent && *sent)
        assert_int_equal(http_fields_add(&x.request.fields, &x.arena, BYTES("Cookie"), bytes_from(sent)), OK);
    for (; fields && *fields; fields += 2)
        assert_int_equal(
            http_fields_add(&x.request.fields, &x.arena, bytes_from(fields[0]), bytes_from(fields[1])), OK);
    for (uint32_t i = 0; i < x.request.fields.count; i++)
        x.request.fields.at[i].id = (uint8_t)http_field_id_of(http_field_name(&x.request.fields.at[i]));
    assert_int_equal(session_handle(&x, state, NULL), OK);
    look_at_answer(&x);
    const struct bytes now = session_variable(&x, BYTES("id"));
    snprintf(id, sizeof id, "%.*s", (int)now.len, now.ptr ? now.ptr : "");
    const struct bytes value = session_variable(&x, wanted_variable);
    snprintf(variable, sizeof variable, "%.*s", (int)value.len, value.ptr ? value.ptr : "");
    fake_exchange_close(&x);
    return x.response.status;
}

static unsigned asks(void)
{
    return asks_with(cookie, NULL);
}

static void server_answers(const char *name, const char *value)
{
    answers[0] = name;
    answers[1] = value;
    answers[2] = NULL;
}

static uint64_t counted(enum session_metric m)
{
    return metric_value(((struct session_filter *)state)->metrics, m);
}

#define HEARD(words)                                    \
    do {                                                \
        if (!strstr(heard, words))                      \
            fail_msg("\"%s\" has no %s", heard, words); \
    } while (0)
#endif

/* fallback: when a route's service cannot answer, somebody else does: another service, a file, or a fixed
 * answer. A degraded answer is a first-class answer: it is marked, and counted.
 *
 *      fallback: to backup
 *      fallback: {service: backup, on: [5xx, circuit_breaker], status: 200, body: "{}"}
 *
 *      chain_next ─▶ good enough? ─ yes ─▶ as it is
 *                        │ no
 *                        ▼
 *                    the other service (if the request's body is still whole) ─ failed too ─▶ file or fixed
 * answer
 *
 * It stands before the filters that refuse (circuit_breaker, concurrency_limit, rate_limit, overload), so
 * that it can stand in for them too. */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/file_read.h"
#include "base/mem.h"
#include "core/metrics.h"
#include "gate/filter.h"
#include "gate/gate_conf.h"
#include "gate/grpc.h"
#include "gate/service.h"

#define FILE_BYTES_MAX (1u << 20)
#define ON_MAX 32
#define STATUS_BITS 600

struct fallback_conf {
    struct bytes service;
    struct bytes file;
    int64_t status; /* 0: 200 with a file or a body */
    struct bytes body;
    struct bytes content_type;
    struct conf_list on; /* struct bytes */
    struct bytes header; /* empty: none */
};

/* ---- what calls for it ---- */

struct trigger {
    uint64_t statuses[STATUS_BITS / 64 + 1];
    unsigned names_count;
    struct bytes names[ON_MAX]; /* of filters that answered */
};

static void add_status(struct trigger *t, unsigned status)
{
    t->statuses[status / 64] |= UINT64_C(1) << (status % 64);
}

static bool has_status(const struct trigger *t, unsigned status)
{
    return status < STATUS_BITS && (t->statuses[status / 64] >> (status % 64) & 1);
}

/* "503", "5xx", or the name of a filter that refuses. */
static bool trigger_add(struct trigger *t, struct bytes text)
{
    static const char *const names[] = { "circuit_breaker", "concurrency_limit", "rate_limit", "overload" };
    uint64_t status;
    if (text.len == 3 && (text.ptr[0] == '4' || text.ptr[0] == '5') &&
        bytes_eq(bytes_skip(text, 1), BYTES("xx"))) {
        for (unsigned i = 0; i < 100; i++)
            add_status(t, (unsigned)(text.ptr[0] - '0') * 100 + i);
        return true;
    }
    if (bytes_to_u64(text, &status) && status >= 400 && status < STATUS_BITS) {
        add_status(t, (unsigned)status);
        return true;
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (bytes_eq(text, bytes_from(names[i]))) {
            t->names[t->names_count++] = text;
            return true;
        }
    }
    return false;
}

/* What the gate would answer (gate.c). */
static unsigned status_of(const struct exchange *x, err e)
{
    if (!e)
        return exchange_outcome(x);
    if (e == ERR_TIMEOUT)
        return 504;
    return e == ERR_LIMIT || e == ERR_UNAVAILABLE ? 503 : 502;
}

static bool calls_for(const struct trigger *t, const struct exchange *x, err e)
{
    if (x->request_failed || e == ERR_CANCELLED)
        return false; /* the client's fault */
    if (has_status(t, status_of(x, e)))
        return true;
    for (unsigned i = 0; !e && i < t->names_count; i++) {
        if (bytes_eq(t->names[i], x->answered_by))
            return true;
    }
    return false;
}

/* ---- metrics ---- */

#define FALLBACK_METRICS(X)                                                                     \
    X(SERVICE, "service_total", METRIC_COUNTER, "Requests that the other service answered")     \
    X(ANSWER, "answer_total", METRIC_COUNTER, "Requests that got the file or the fixed answer") \
    X(FAILED, "failed_total", METRIC_COUNTER, "Times the other service failed too")             \
    X(IMPOSSIBLE, "impossible_total", METRIC_COUNTER,                                           \
      "Times the other service could not be asked, because the request's body was gone")

enum fallback_metric {
#define X(id, name, type, help) METRIC_##id,
    FALLBACK_METRICS(X)
#undef X
        METRIC_COUNT
};

static const struct metric_group metric_group = {
    .module = "fallback",
    .defs =
        (const struct metric_def[]){
#define X(id, name, type, help) { name, type, help },
            FALLBACK_METRICS(X)
#undef X
        },
    .count = METRIC_COUNT,
    .labels = (const char *const[]){ "route", NULL },
};

/* ---- the filter ---- */

struct fallback {
    const struct fallback_conf *conf;
    struct trigger trigger;
    struct service *service; /* NULL: none */
    struct bytes body;       /* of the file or fixed answer */
    struct bytes file;       /* its memory */
    bool answers;            /* there is a file or a fixed answer */
    struct metric_instance *metrics;
    struct metric_cells *cells;
};

/* Why, in a word: who refused, or which status there would have been. */
static err mark(struct exchange *x, const struct fallback *f, struct bytes why)
{
    if (!f->conf->header.len)
        return OK;
    return http_fields_set(&x->response.fields, &x->arena, f->conf->header, why);
}

static struct bytes why_of(struct exchange *x, err e)
{
    if (!e && x->answered_by.len)
        return x->answered_by;
    return arena_print(&x->arena, "%u", status_of(x, e));
}

/* The answer that there was is given up for the other service's, whatever that is. */
static err ask_service(const struct fallback *f, struct exchange *x)
{
    body_close(x->response_body);
    x->response_body = NULL;
    x->response = (struct http_response){ 0 };
    x->answered_by = BYTES_NONE;
    x->service = f->service;
    x->deadline_us = deadline_in_ms(f->service->conf->timeout_ms);
    return service_ask(x);
}

static err answer(const struct fallback *f, struct exchange *x, struct bytes why)
{
    const unsigned status = f->conf->status ? (unsigned)f->conf->status : 200;
    metric_inc(f->cells, METRIC_ANSWER);
    exchange_answer(x, status, f->conf->content_type, f->body, BYTES("fallback"));
    return mark(x, f, why);
}

static err fallback_handle(struct exchange *x, void *state, struct chain *next)
{
    const struct fallback *f = state;
    err e = chain_next(next, x);
    if (!calls_for(&f->trigger, x, e))
        return e;
    const struct bytes why = why_of(x, e);
    if (!why.ptr)
        return ERR_LIMIT;
    if (f->service && !x->replayable)
        metric_inc(f->cells, METRIC_IMPOSSIBLE);
    if (f->service && x->replayable) {
        e = ask_service(f, x);
        if (!calls_for(&f->trigger, x, e)) {
            metric_inc(f->cells, METRIC_SERVICE);
            return e ? e : mark(x, f, why);
        }
        metric_inc(f->cells, METRIC_FAILED);
    }
    return f->answers ? answer(f, x, why) : e;
}

static void fallback_close(void *state)
{
    struct fallback *f = state;
    metric_instance_free(f->metrics);
    file_read_free(f->file);
    mem_free(f);
}

static err fallback_open(const void *conf, struct gate *g, struct bytes scope, void **ret_state,
                         struct diag *reterr)
{
    struct fallback *f = mem_get(sizeof *f);
    if (!f)
        return ERR_MEMORY;
    f->conf = conf;
    f->answers = f->conf->file.len || f->conf->status || f->conf->body.len;
    f->body = f->conf->body;
    f->service = f->conf->service.len ? gate_service(g, f->conf->service) : NULL;
    for (size_t i = 0; i < f->conf->on.count; i++)
        (void)trigger_add(&f->trigger,
                          ((const struct bytes *)f->conf->on.items)[i]); /* the check has seen to it */
    err e = OK;
    if (f->conf->file.len) {
        e = file_read_whole(f->conf->file.ptr, FILE_BYTES_MAX, &f->file, reterr);
        f->body = f->file;
    }
    if (!e)
        e = metric_instance_open(&metric_group, &scope, &f->metrics);
    if (e) {
        fallback_close(f);
        return e;
    }
    f->cells = metric_cells(f->metrics, worker_index(worker_self()));
    *ret_state = f;
    return OK;
}

static void fallback_report(void *state, struct text *json)
{
    const struct fallback *f = state;
    json_u64(json, "service", metric_value(f->metrics, METRIC_SERVICE));
    json_u64(json, "answer", metric_value(f->metrics, METRIC_ANSWER));
    json_u64(json, "failed", metric_value(f->metrics, METRIC_FAILED));
    json_u64(json, "impossible", metric_value(f->metrics, METRIC_IMPOSSIBLE));
}

static err fallback_check(void *conf, struct diag *reterr)
{
    const struct fallback_conf *c = conf;
    struct trigger t = { 0 };
    for (size_t i = 0; i < c->on.count; i++) {
        const struct bytes text = ((const struct bytes *)c->on.items)[i];
        if (trigger_add(&t, text))
            continue;
        diag_set(reterr,
                 "on: \"%.*s\" is none of 400 to 599, 4xx, 5xx, circuit_breaker, concurrency_limit, "
                 "rate_limit, overload",
                 BYTES_ARG(text));
        return ERR_CONF;
    }
    if (!c->service.len && !c->file.len && !c->status && !c->body.len) {
        diag_set(reterr, "a fallback needs a service, a file, or a status or body");
        return ERR_CONF;
    }
    if (c->file.len && c->body.len) {
        diag_set(reterr, "a fallback has a file or a body, not both");
        return ERR_CONF;
    }
    if (c->header.len && !http_is_token(c->header)) {
        diag_set(reterr, "header: \"%.*s\" cannot be the name of a header", BYTES_ARG(c->header));
        return ERR_CONF;
    }
    struct bytes text = BYTES_NONE;
    const err e = c->file.len ? file_read_whole(c->file.ptr, FILE_BYTES_MAX, &text, reterr) : OK;
    file_read_free(text);
    return e;
}

const struct filter fallback_filter = {
    .conf = { .name = "fallback",
              .size = sizeof(struct fallback_conf),
              .phrases = (const char *const[]){ "to {service}", "file {file}", NULL },
              .fields =
                  (const struct conf_field[]){
                      { .name = "service",
                        .type = CONF_REF,
                        .offset = offsetof(struct fallback_conf, service),
                        .ref = "services",
                        .doc = "another service that answers instead; asked first" },
                      { .name = "file",
                        .type = CONF_TEXT,
                        .offset = offsetof(struct fallback_conf, file),
                        .doc = "a file that is the answer's body, up to 1 MiB; read when the configuration "
                               "is loaded" },
                      { .name = "status",
                        .type = CONF_INT,
                        .offset = offsetof(struct fallback_conf, status),
                        .min = 200,
                        .max = 599,
                        .doc = "of the file or fixed answer; 200 when not said" },
                      { .name = "body",
                        .type = CONF_TEXT,
                        .offset = offsetof(struct fallback_conf, body),
                        .doc = "a fixed answer's body" },
                      { .name = "content_type",
                        .type = CONF_TEXT,
                        .offset = offsetof(struct fallback_conf, content_type),
                        .preset = "text/plain; charset=utf-8",
                        .doc = "of the file or fixed answer" },
                      { .name = "on",
                        .type = CONF_LIST,
                        .item = CONF_TEXT,
                        .offset = offsetof(struct fallback_conf, on),
                        .preset = "[502, 503, 504]",
                        .doc =
                            "what calls for it: statuses (`503`, `5xx`), of servers or of weir itself, or "
                            "the name "
                            "of a filter that refused: `circuit_breaker`, `concurrency_limit`, `rate_limit`, "
                            "`overload`" },
                      { .name = "header",
                        .type = CONF_TEXT,
                        .offset = offsetof(struct fallback_conf, header),
                        .preset = "X-Degraded",
                        .doc = "the field that marks such an answer, with the reason; \"\": none" },
                      { 0 } },
              .check = fallback_check,
              .doc =
                  "Answers by another service, a file or a fixed answer when the route's service cannot." },
    .open = fallback_open,
    .handle = fallback_handle,
    .close = fallback_close,
    .report = fallback_report,
};

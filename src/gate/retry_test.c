#include "gate/retry.h"

#include "base/must.h"
#include "gate/gate_test.h"
#include "gate/grpc.h"

/* The settings of a service, as they are parsed. */
static struct arena arena;

static const struct retry_conf *conf(const char *settings)
{
    static char text[1000];
    struct diag d = DIAG_NONE;
    void *c;
    arena_open(&arena, &arena_heap, 1 << 20, NULL, 0);
    snprintf(text, sizeof text,
             "listen: :1\nroutes: [{match: /, service: a}]\n"
             "services: {a: {servers: [10.0.0.1:80], retry: %s}}\n",
             settings);
    err e = conf_parse(bytes_from(text), "weir.yaml", &gate_conf_struct, &arena, NULL, &c, &d);
    if (e) {
        print_message("%s\n", d.text);
        arena_close(&arena);
        return NULL;
    }
    return ((const struct service_conf *)((const struct gate_conf *)c)->services.items)->retry;
}

static struct retry_outcome failure(err e, bool sent)
{
    return (struct retry_outcome){
        .failed = e, .sent = sent, .idempotent = true, .replayable = true, .attempts = 1
    };
}

static struct retry_outcome answer(unsigned status)
{
    struct retry_outcome o = failure(OK, true);
    o.answered = true;
    o.status = status;
    return o;
}

static void causes(void)
{
    struct retry_outcome o = failure(ERR_REFUSED, false);
    must(retry_cause(&o) == RETRY_CONNECT);
    o = failure(ERR_TIMEOUT, false);
    must(retry_cause(&o) == RETRY_CONNECT);
    o = failure(ERR_TIMEOUT, true);
    must(retry_cause(&o) == RETRY_TIMEOUT);
    o = failure(ERR_CLOSED, true);
    must(retry_cause(&o) == RETRY_RESET);
    o.answered = true; /* broke off inside its head */
    must(retry_cause(&o) == RETRY_NEVER);
    o = failure(ERR_CANCELLED, false);
    must(retry_cause(&o) == RETRY_NEVER);
    o = answer(503);
    must(retry_cause(&o) == RETRY_STATUS);
    o = answer(200);
    must(retry_cause(&o) == RETRY_NEVER);
}
TEST(causes)

static void what_is_wanted(void)
{
    const struct retry_conf *c = conf("{on: [connect, 503, 429], attempts: 2}");
    struct retry_outcome o = failure(ERR_REFUSED, false);
    must(retry_wanted(c, &o));
    o.attempts = 2;
    must(retry_wanted(c, &o));
    o.attempts = 3;
    must(!retry_wanted(c, &o));
    o = failure(ERR_CLOSED, true);
    must(!retry_wanted(c, &o)); /* reset is not named */
    o = answer(503);
    must(retry_wanted(c, &o));
    o = answer(429);
    must(retry_wanted(c, &o));
    o = answer(502);
    must(!retry_wanted(c, &o));
    o = answer(200);
    must(!retry_wanted(c, &o));
    arena_close(&arena);
    c = conf("{on: 5xx, attempts: 1}");
    for (unsigned status = 500; status < 600; status++) {
        o = answer(status);
        must(retry_wanted(c, &o));
    }
    o = answer(499);
    must(!retry_wanted(c, &o));
    arena_close(&arena);
}
TEST(what_is_wanted)

/* What a server may have acted on is never asked again if that could make a difference. */
static void harmless_only(void)
{
    const struct retry_conf *c = conf("{on: [connect, reset, timeout, 5xx], attempts: 10}");
    struct retry_outcome o = answer(503);
    o.idempotent = false;
    must(!retry_wanted(c, &o));
    o = failure(ERR_CLOSED, true);
    o.idempotent = false;
    must(!retry_wanted(c, &o));
    o = failure(ERR_REFUSED, false);
    o.idempotent = false;
    must(retry_wanted(c, &o)); /* nothing was sent */
    o = answer(503);
    o.replayable = false;
    must(!retry_wanted(c, &o));
    arena_close(&arena);
    c = conf("0");
    o = failure(ERR_REFUSED, false);
    must(!retry_wanted(c, &o));
    arena_close(&arena);
}
TEST(harmless_only)

static uint64_t longest_ms(const struct retry_conf *c, uint32_t attempts)
{
    struct retry_outcome o = answer(503);
    o.attempts = attempts;
    uint64_t most = 0;
    for (uint64_t random = 0; random < 1000000; random += 997) {
        uint64_t us = retry_pause_us(c, &o, true, 0, random);
        most = us > most ? us : most;
    }
    return (most + 999) / 1000;
}

/* A call's own status: named, and nothing of it has reached the client; that it is a POST does not matter. */
static void statuses_of_grpc(void)
{
    const struct retry_conf *c = conf("{on: [unavailable, connect], attempts: 2}");
    must(c != NULL);
    struct retry_outcome o = answer(200);
    o.idempotent = false;
    o.grpc_status = GRPC_UNAVAILABLE;
    must(retry_cause(&o) == RETRY_GRPC && retry_wanted(c, &o));
    o.replayable = false;
    must(!retry_wanted(c, &o));
    o.replayable = true;
    o.grpc_status = GRPC_INTERNAL;
    must(!retry_wanted(c, &o));
    o.grpc_status = GRPC_OK;
    must(retry_cause(&o) == RETRY_NEVER);
    o.grpc_status = GRPC_NO_STATUS;
    must(retry_cause(&o) == RETRY_NEVER);
    o = failure(ERR_CLOSED, true);
    o.idempotent = false;
    must(!retry_wanted(c, &o));
    arena_close(&arena);
    must(!conf("{on: [available]}"));
}
TEST(statuses_of_grpc)

static void pauses(void)
{
    const struct retry_conf *c = conf("{backoff: 20ms..70ms, retry_after_max: 3s}");
    must(longest_ms(c, 1) == 20 && longest_ms(c, 2) == 40 && longest_ms(c, 3) == 70 &&
         longest_ms(c, 9) == 70);
    struct retry_outcome o = answer(503);
    must(retry_pause_us(c, &o, true, 0, 0) == 0); /* any part of it: none as well */
    must(retry_pause_us(c, &o, true, 1000, 17) == 1000000);
    must(retry_pause_us(c, &o, true, 3000, 17) == 3000000);
    must(retry_pause_us(c, &o, true, 3001, 17) == UINT64_MAX);
    o = failure(ERR_REFUSED, false);
    must(retry_pause_us(c, &o, true, 0, 19999) == 0); /* another one is asked at once */
    must(retry_pause_us(c, &o, false, 0, 19999) == 19999);
    arena_close(&arena);
    c = conf("{backoff: off}");
    o = answer(503);
    must(retry_pause_us(c, &o, true, 0, 19999) == 0);
    arena_close(&arena);
}
TEST(pauses)

static uint64_t asked_ms(const char *value, uint64_t now_s)
{
    struct http_response r = { 0 };
    struct arena a;
    arena_open(&a, &arena_heap, 1 << 16, NULL, 0);
    err e = http_fields_add(&r.fields, &a, BYTES("Retry-After"), bytes_from(value));
    must(e == OK);
    uint64_t ms = retry_after_ms(&r, now_s);
    arena_close(&a);
    return ms;
}

static void retry_after(void)
{
    struct http_response none = { 0 };
    must(retry_after_ms(&none, 0) == 0);
    must(asked_ms("0", 0) == 0 && asked_ms("7", 0) == 7000);
    must(asked_ms("99999999999", 0) == 1000000000);
    must(asked_ms("-1", 0) == 0 && asked_ms("soon", 0) == 0 && asked_ms("", 0) == 0);
    must(asked_ms("Sun, 06 Nov 1994 08:49:37 GMT", 784111777 - 5) == 5000);
    must(asked_ms("Sun, 06 Nov 1994 08:49:37 GMT", 784111777 + 5) == 0);
    must(asked_ms("Sun, 06 Nov 1994 08:49:37 GMT and some more text", 0) == 0);
}
TEST(retry_after)

static void settings(void)
{
    const struct retry_conf *c = conf("2");
    must(c && c->attempts == 2 && c->budget > 0.199 && c->budget < 0.201 && c->backoff->to_ms == 250);
    must(c->per_try_timeout_ms == CONF_MS_OFF && c->body_bytes_max == 65536);
    must(c->causes == (1u << RETRY_CONNECT | 1u << RETRY_RESET | 1u << RETRY_TIMEOUT | 1u << RETRY_STATUS));
    arena_close(&arena);
    c = conf("3 within 10%");
    must(c && c->attempts == 3 && c->budget > 0.099 && c->budget < 0.101);
    arena_close(&arena);
    c = conf("{on: connect, per_try_timeout: 500ms}");
    must(c && c->causes == 1u << RETRY_CONNECT && c->per_try_timeout_ms == 500);
    arena_close(&arena);
    must(!conf("{on: [200]}") && !conf("{on: [conect]}") && !conf("{on: 600}") && !conf("11"));
    must(!conf("{backoff: 50ms..25ms}") && !conf("{budget: 101%}") && !conf("{body_bytes_max: 1m}"));
}
TEST(settings)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_causes),           cmocka_unit_test(test_what_is_wanted),
        cmocka_unit_test(test_harmless_only),    cmocka_unit_test(test_pauses),
        cmocka_unit_test(test_retry_after),      cmocka_unit_test(test_settings),
        cmocka_unit_test(test_statuses_of_grpc),
    };
    return cmocka_run_group_tests(tests, gate_test_setup, gate_test_teardown);
}

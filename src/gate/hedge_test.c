#include "gate/hedge.h"

#include "base/must.h"
#include "gate/gate_test.h"

static void what_is_known(void)
{
    struct latency l = { 0 };
    must(latency_at(&l, 0.95) == UINT64_MAX);
    for (unsigned i = 0; i < LATENCY_SAMPLES_MIN - 1; i++)
        latency_note(&l, 1000, 1);
    must(latency_at(&l, 0.95) == UINT64_MAX);
    latency_note(&l, 1000, 1);
    must(latency_at(&l, 0.95) >= 1000 && latency_at(&l, 0.95) <= 1125);
}
TEST(what_is_known)

/* Of any size, and never too low: a second try is rather late than early. */
static void close_enough(void)
{
    for (uint64_t us = 0; us < 100000000; us += us / 7 + 1) {
        struct latency l = { 0 };
        for (unsigned i = 0; i < LATENCY_SAMPLES_MIN; i++)
            latency_note(&l, us, 1);
        const uint64_t at = latency_at(&l, 0.5);
        must(at >= us && at <= us + us / 8 + 1);
    }
    struct latency l = { 0 };
    for (unsigned i = 0; i < LATENCY_SAMPLES_MIN; i++)
        latency_note(&l, UINT64_MAX, 1);
    must(latency_at(&l, 0.95) > 100000000);
}
TEST(close_enough)

static void shares(void)
{
    struct latency l = { 0 };
    for (unsigned i = 0; i < 1000; i++)
        latency_note(&l, i < 940 ? 1000 : i < 980 ? 10000 : 100000, 1);
    must(latency_at(&l, 0.5) < 1200 && latency_at(&l, 0.94) < 1200);
    must(latency_at(&l, 0.95) >= 10000 && latency_at(&l, 0.98) < 12000);
    must(latency_at(&l, 0.99) >= 100000 && latency_at(&l, 0.99) < 115000);
}
TEST(shares)

static void the_past_fades(void)
{
    struct latency l = { 0 };
    for (unsigned i = 0; i < 1000; i++)
        latency_note(&l, 100000, 1000);
    for (unsigned i = 0; i < 1000; i++)
        latency_note(&l, 1000, 1000 + 5 * LATENCY_HALF_MS);
    must(latency_at(&l, 0.95) < 1200); /* 31 of the old are left */
    latency_note(&l, 1000, 1000 + 1000 * LATENCY_HALF_MS);
    must(latency_at(&l, 0.95) == UINT64_MAX);
}
TEST(the_past_fades)

static const struct hedge_conf *conf(struct arena *a, const char *settings)
{
    static char text[1000];
    struct diag d = DIAG_NONE;
    void *c;
    arena_open(a, &arena_heap, 1 << 20, NULL, 0);
    snprintf(text, sizeof text,
             "listen: :1\nroutes: [{match: /, service: a}]\n"
             "services: {a: {servers: [10.0.0.1:80, 10.0.0.2:80], hedge: %s}}\n",
             settings);
    if (conf_parse(bytes_from(text), "weir.yaml", &gate_conf_struct, a, NULL, &c, &d) != OK)
        return NULL;
    return ((const struct service_conf *)((const struct gate_conf *)c)->services.items)->hedge;
}

static void settings(void)
{
    static const struct {
        const char *text;
        unsigned per_mille; /* 0: a time */
        uint64_t ms;
    } right[] = { { "p95", 950, 0 },
                  { "p99.9", 999, 0 },
                  { "p50", 500, 0 },
                  { "50ms", 0, 50 },
                  { "{after: 2s, budget: 5%}", 0, 2000 },
                  { "on", 950, 0 },
                  { "p90 within 3%", 900, 0 } };
    static const char *const wrong[] = {
        "p100", "p0", "p49", "p", "95", "p99.99", "pp", "0ms", "p95 within 200%", "p95, upstream: pipelined"
    };
    struct arena a;
    for (unsigned i = 0; i < sizeof right / sizeof *right; i++) {
        const struct hedge_conf *c = conf(&a, right[i].text);
        must(c && (unsigned)(c->share * 1000 + 0.5) == right[i].per_mille && c->after_ms == right[i].ms);
        arena_close(&a);
    }
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        must(!conf(&a, wrong[i]));
        arena_close(&a);
    }
}
TEST(settings)

static void who_suits(void)
{
    struct gate *g = gate_test_use("listen: :1\nroutes: [{match: /, service: a}]\nservices:\n"
                                   "  a: {servers: [10.0.0.1:80, 10.0.0.2:80], hedge: p95}\n"
                                   "  b: {servers: [10.0.0.1:80, 10.0.0.2:80]}\n"
                                   "  c: {servers: [10.0.0.1:80], hedge: p95}\n");
    struct exchange x;
    struct body body;
    exchange_open(&x, g, NULL, 0);
    x.service = &g->services[0];
    x.request.method = HTTP_GET;
    must(hedge_suits(&x));
    x.request.method = HTTP_POST;
    must(!hedge_suits(&x));
    x.request.method = HTTP_PUT;
    must(hedge_suits(&x));
    x.request_body = &body;
    must(!hedge_suits(&x));
    x.request_body = NULL;
    x.service = &g->services[1]; /* nobody wants it */
    must(!hedge_suits(&x));
    x.service = &g->services[2]; /* there is nobody else */
    must(!hedge_suits(&x));
    exchange_release(&x);
    gate_test_end();
}
TEST(who_suits)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_known), cmocka_unit_test(test_close_enough),
        cmocka_unit_test(test_shares),        cmocka_unit_test(test_the_past_fades),
        cmocka_unit_test(test_settings),      cmocka_unit_test(test_who_suits),
    };
    return cmocka_run_group_tests(tests, gate_test_setup, gate_test_teardown);
}

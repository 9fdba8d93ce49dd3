#include "gate/service_open.h"

#include "gate/gate_metrics.h"
#include "gate/gate_test.h"

static const char three[] = "listen: :1\n"
                            "routes: [{match: /, service: a}]\n"
                            "services: {a: {servers: [10.0.0.1:80, 10.0.0.2:80, 10.0.0.3:80]}}\n";

static struct service *begin(void)
{
    return &gate_test_use(three)->services[0];
}

static bool ejected(const struct server *s)
{
    return !server_is_well(s, worker_now_us());
}

/* How long it rests, rounded to seconds; then it is back. */
static uint64_t rests_s(struct server *s)
{
    uint64_t until_us = atomic_load(&s->shared->ejected_until_us);
    must(until_us > worker_now_us());
    must(!server_is_well(s, until_us - 1) && server_is_well(s, until_us));
    atomic_store(&s->shared->ejected_until_us, worker_now_us()); /* as if that time had passed */
    return (until_us - worker_now_us() + 500000) / 1000000;
}

static void three_failures(void)
{
    struct server *s = &begin()->servers[0];
    server_failed(s);
    server_failed(s);
    must(!ejected(s));
    server_succeeded(s); /* in a row, that is */
    server_failed(s);
    server_failed(s);
    must(!ejected(s));
    server_failed(s);
    must(ejected(s) && !ejected(s + 1) && rests_s(s) == 1);
    must(metric_value(s->metrics, UPSTREAM_FAILURES) == 5);
    gate_test_end();
}
TEST(three_failures)

static void the_rest_grows(void)
{
    static const uint64_t seconds[] = { 1, 2, 4, 8, 16, 30, 30, 30 };
    struct server *s = &begin()->servers[0];
    server_failed(s);
    server_failed(s);
    for (unsigned i = 0; i < sizeof seconds / sizeof *seconds; i++) {
        server_failed(s);
        uint64_t until_us = atomic_load(&s->shared->ejected_until_us);
        server_failed(s); /* of a request that was under way: counts, but not twice */
        must(atomic_load(&s->shared->ejected_until_us) == until_us);
        must(rests_s(s) == seconds[i]);
    }
    server_succeeded(s);
    for (int i = 0; i < 3; i++)
        server_failed(s);
    must(rests_s(s) == 1); /* all is forgiven */
    gate_test_end();
}
TEST(the_rest_grows)

static void known_to_all(void)
{
    struct service *a = begin();
    struct gate *g = gate_current();
    gate_hold(g);
    struct service *b = begin(); /* the next generation */
    must(a->servers[0].shared == b->servers[0].shared);
    for (int i = 0; i < 3; i++)
        server_failed(&a->servers[0]);
    must(ejected(&b->servers[0]));
    gate_drop(g);
    must(ejected(&b->servers[0]));
    gate_test_end();
    b = begin(); /* nobody held it meanwhile */
    must(!ejected(&b->servers[0]));
    gate_test_end();
}
TEST(known_to_all)

static void picking(void)
{
    struct service *s = begin();
    unsigned times[3] = { 0 };
    for (int i = 0; i < 3; i++)
        server_failed(&s->servers[1]);
    for (int i = 0; i < 100; i++) {
        struct pick p = { .now_us = worker_now_us() };
        struct server *server = service_pick(s, &p);
        must(server && !p.any);
        times[server->index]++;
    }
    must(times[0] == 50 && times[1] == 0 && times[2] == 50);
    atomic_store(&s->servers[0].shared->down, 1);
    atomic_store(&s->servers[2].shared->down, 1);
    memset(times, 0, sizeof times);
    for (int i = 0; i < 99; i++) { /* nobody is well: anybody is better than nobody */
        struct pick p = { .now_us = worker_now_us() };
        struct server *server = service_pick(s, &p);
        must(server && p.any);
        times[server->index]++;
    }
    must(times[0] == 33 && times[1] == 33 && times[2] == 33);
    struct pick p = { .now_us = worker_now_us() };
    bool seen[3] = { false };
    for (int i = 0; i < 3; i++) { /* never one that was tried, not even then */
        struct server *server = service_pick(s, &p);
        must(server && !seen[server->index]);
        seen[server->index] = true;
        p.tried[p.tried_count++] = server->index;
    }
    must(service_pick(s, &p) == NULL);
    gate_test_end();
}
TEST(picking)

static void counting(void)
{
    struct service *s = begin();
    static const struct {
        unsigned status, class;
    } cases[] = {
        { 0, 0 }, { 101, 1 }, { 200, 2 }, { 204, 2 }, { 302, 3 }, { 404, 4 }, { 503, 5 }, { 600, 0 }
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct exchange x = { .start_us = worker_now_us(), .response = { .status = cases[i].status } };
        x.request_bytes = 10;
        x.response_bytes = 100;
        x.attempts = 3;
        x.failed = i ? OK : ERR_TIMEOUT;
        uint64_t before = metric_value(s->metrics->codes[cases[i].class], 0);
        service_metrics_count(s->metrics, &x);
        must(metric_value(s->metrics->codes[cases[i].class], 0) == before + 1);
    }
    struct metric_instance *m = s->metrics->instance;
    must(metric_value(m, HTTP_SECONDS) == 8 && metric_value(m, HTTP_REQUEST_BYTES) == 80 &&
         metric_value(m, HTTP_RESPONSE_BYTES) == 800 && metric_value(m, HTTP_RETRIES) == 16 &&
         metric_value(m, HTTP_FAILURES) == 1);
    gate_test_end();
}
TEST(counting)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_three_failures), cmocka_unit_test(test_the_rest_grows),
        cmocka_unit_test(test_known_to_all),   cmocka_unit_test(test_picking),
        cmocka_unit_test(test_counting),
    };
    return cmocka_run_group_tests(tests, gate_test_setup, gate_test_teardown);
}

#include "balance/outlier.c"

#include "base/hash.h"
#include "base/must.h"
#include "gate/gate_test.h"
#include "gate/service_open.h"

/* ---- decisions ---- */

static const struct outlier_conf usual = { .failures = 3,
                                           .errors = 5,
                                           .error_ratio = 0.2,
                                           .interval_ms = 10000,
                                           .requests_min = 50,
                                           .servers_min = 3,
                                           .rest_ms = 10000,
                                           .rest_max_ms = 35000,
                                           .max_ejected = 0.5 };

static void the_rest_grows(void)
{
    must(rest_us(&usual, 1) == 10000000 && rest_us(&usual, 2) == 20000000 && rest_us(&usual, 3) == 30000000);
    must(rest_us(&usual, 4) == 35000000 && rest_us(&usual, 1000000) == 35000000);
}
TEST(the_rest_grows)

static void how_many_may_be_out(void)
{
    must(!may_eject(&usual, 0, 1));
    must(may_eject(&usual, 0, 2) && !may_eject(&usual, 1, 2));
    must(may_eject(&usual, 0, 3) && !may_eject(&usual, 1, 3));
    must(may_eject(&usual, 4, 10) && !may_eject(&usual, 5, 10));
    struct outlier_conf c = usual;
    c.max_ejected = 0.3;
    must(may_eject(&c, 2, 10) && !may_eject(&c, 3, 10)); /* 0.3 is not exactly 3/10 */
    c.max_ejected = 1;
    must(may_eject(&c, 9, 10) && !may_eject(&c, 10, 10));
    c.max_ejected = 0;
    must(!may_eject(&c, 0, 1000));
}
TEST(how_many_may_be_out)

static uint32_t found(const struct outlier_conf *c, const uint64_t (*pairs)[2], uint32_t count)
{
    struct sample samples[16];
    for (uint32_t i = 0; i < count; i++)
        samples[i] = (struct sample){ .requests = pairs[i][0], .errors = pairs[i][1] };
    return find_outlier(c, samples, count);
}

#define FOUND(c, ...) \
    found(c, (const uint64_t[][2]){ __VA_ARGS__ }, sizeof((const uint64_t[][2]){ __VA_ARGS__ }) / 16)

static void one_stands_out(void)
{
    must(FOUND(&usual, { 100, 0 }, { 100, 100 }, { 100, 0 }) == 1);
    must(FOUND(&usual, { 100, 0 }, { 100, 40 }, { 100, 1 }) == 1);
    must(FOUND(&usual, { 100, 50 }, { 100, 100 }, { 100, 0 }) ==
         UINT32_MAX); /* all differ: it is no exception */
    must(FOUND(&usual, { 100, 90 }, { 100, 92 }, { 100, 95 }) ==
         UINT32_MAX); /* all are bad: nobody stands out */
    must(FOUND(&usual, { 100, 0 }, { 100, 19 }, { 100, 0 }) == UINT32_MAX); /* below the ratio */
    must(FOUND(&usual, { 1000, 10 }, { 1000, 300 }, { 1000, 20 }, { 1000, 400 }, { 1000, 15 }) == UINT32_MAX);
    must(FOUND(&usual, { 1000, 10 }, { 1000, 10 }, { 1000, 20 }, { 1000, 400 }, { 1000, 15 }) == 3);
}
TEST(one_stands_out)

static void too_little_is_known(void)
{
    must(FOUND(&usual, { 49, 0 }, { 100, 100 }, { 100, 0 }) == UINT32_MAX); /* two are comparable */
    must(FOUND(&usual, { 100, 0 }, { 49, 49 }, { 100, 0 }) == UINT32_MAX);  /* that one is not */
    must(FOUND(&usual, { 100, 0 }, { 100, 100 }) == UINT32_MAX);            /* two are not enough */
    struct outlier_conf c = usual;
    c.servers_min = 2;
    must(FOUND(&c, { 100, 0 }, { 100, 100 }) == 1);
    must(FOUND(&c, { 100, 100 }) == UINT32_MAX);
    c.requests_min = 5;
    must(FOUND(&c, { 5, 0 }, { 5, 2 }) == UINT32_MAX); /* 40% and 0%, but by chance as well */
    c.error_ratio = 1;
    must(FOUND(&c, { 100, 0 }, { 100, 100 }) == UINT32_MAX); /* off */
}
TEST(too_little_is_known)

static void the_ones_that_are_out_do_not_count(void)
{
    struct sample s[4] = { { 100, 90, false }, { 100, 100, true }, { 100, 0, false }, { 100, 0, false } };
    must(find_outlier(&usual, s, 4) == 0);
    s[0].out = true;
    must(find_outlier(&usual, s, 4) == UINT32_MAX);
}
TEST(the_ones_that_are_out_do_not_count)

/* Ten servers of the same quality, over and over: chance alone ejects hardly any. */
static void chance_is_no_reason(void)
{
    struct outlier_conf c = usual;
    c.error_ratio = 0.001;
    uint64_t state = 12345;
    unsigned ejected = 0;
    for (unsigned round = 0; round < 1000; round++) {
        struct sample s[10] = { 0 };
        for (unsigned i = 0; i < 10; i++) {
            s[i].requests = 200;
            for (unsigned j = 0; j < 200; j++) {
                state = hash_u64(state + 0x9e3779b97f4a7c15ULL);
                s[i].errors += state % 100 < 10;
            }
        }
        ejected += find_outlier(&c, s, 10) != UINT32_MAX;
    }
    must(ejected < 60); /* of 10,000 comparisons at three sigmas */
}
TEST(chance_is_no_reason)

/* ---- a service ---- */

#define TEXT                                                                                     \
    "listen: :1\nroutes: [{match: /, service: a}]\nservices:\n  a:\n    servers: [10.0.0.1:80, " \
    "10.0.0.2:80, "                                                                              \
    "10.0.0.3:80, 10.0.0.4:80]\n    outlier: {failures: 3, errors: 5, rest: 10s, rest_max: 1m}\n"

static struct service *begin(void)
{
    return &gate_test_use(TEXT)->services[0];
}

static const struct watch *watch_of(const struct service *s)
{
    return s->watcher_state;
}

static bool well(const struct server *s)
{
    return server_is_well(s, worker_now_us());
}

static void results(struct server *s, enum server_result r, unsigned times)
{
    while (times--)
        server_result(s, r);
}

static void failures_and_errors_apart(void)
{
    struct service *s = begin();
    must(s->watcher == &outlier_module);
    results(&s->servers[0], SERVER_FAILED, 2);
    results(&s->servers[0], SERVER_ERRED, 1); /* it was reached */
    results(&s->servers[0], SERVER_FAILED, 2);
    must(well(&s->servers[0]));
    results(&s->servers[0], SERVER_FAILED, 1);
    must(!well(&s->servers[0]));
    results(&s->servers[1], SERVER_ERRED, 4);
    results(&s->servers[1], SERVER_ANSWERED, 1);
    results(&s->servers[1], SERVER_ERRED, 4);
    must(well(&s->servers[1]));
    results(&s->servers[1], SERVER_ERRED, 1);
    must(!well(&s->servers[1]));
    must(metric_value(watch_of(s)->members[0].metrics, METRIC_BY_FAILURES) == 1);
    must(metric_value(watch_of(s)->members[1].metrics, METRIC_BY_ERRORS) == 1);
    must(metric_value(s->servers[1].metrics, UPSTREAM_ERRORS) == 9);
    must(metric_value(s->servers[0].metrics, UPSTREAM_FAILURES) == 5);
    gate_test_end();
}
TEST(failures_and_errors_apart)

static void not_more_than_half(void)
{
    struct service *s = begin();
    for (unsigned i = 0; i < 4; i++)
        results(&s->servers[i], SERVER_FAILED, 30);
    must(!well(&s->servers[0]) && !well(&s->servers[1]) && well(&s->servers[2]) && well(&s->servers[3]));
    must(metric_value(watch_of(s)->members[2].metrics, METRIC_SPARED) == 10);
    gate_test_end();
}
TEST(not_more_than_half)

static uint64_t rests_s(struct server *s)
{
    const uint64_t left_us = atomic_load(&s->shared->ejected_until_us) - worker_now_us();
    atomic_store(&s->shared->ejected_until_us, 0); /* as if that time had passed */
    return (left_us + 500000) / 1000000;
}

static void longer_each_time_and_forgiven(void)
{
    struct service *s = begin();
    struct server *server = &s->servers[0];
    struct member *m = (struct member *)&watch_of(s)->members[0];
    for (uint64_t n = 1; n <= 8; n++) {
        results(server, SERVER_FAILED, 3);
        must(rests_s(server) == (n < 6 ? 10 * n : 60));
        results(server, SERVER_ANSWERED, 1); /* one success forgives nothing */
    }
    forgive(m, worker_now_us()); /* the interval in which it was ejected */
    must(server->shared->ejections == 8);
    for (unsigned i = 8; i > 0; i--) {
        must(server->shared->ejections == i);
        forgive(m, worker_now_us());
    }
    must(server->shared->ejections == 0);
    forgive(m, worker_now_us());
    must(server->shared->ejections == 0);
    results(server, SERVER_FAILED, 3);
    must(rests_s(server) == 10);
    gate_test_end();
}
TEST(longer_each_time_and_forgiven)

/* Somebody else is ejecting: this one neither waits nor passes the bound, and the next result does it. */
static void one_at_a_time(void)
{
    struct service *s = begin();
    atomic_store(&watch_of(s)->turn->since_us, worker_now_us());
    results(&s->servers[0], SERVER_FAILED, 5);
    must(well(&s->servers[0]));
    atomic_store(&watch_of(s)->turn->since_us, 0);
    results(&s->servers[0], SERVER_FAILED, 1);
    must(!well(&s->servers[0]));
    atomic_store(&watch_of(s)->turn->since_us, worker_now_us() - TURN_US_MAX); /* never ended */
    results(&s->servers[1], SERVER_FAILED, 3);
    must(!well(&s->servers[1]));
    gate_test_end();
}
TEST(one_at_a_time)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_rest_grows),
        cmocka_unit_test(test_how_many_may_be_out),
        cmocka_unit_test(test_one_stands_out),
        cmocka_unit_test(test_too_little_is_known),
        cmocka_unit_test(test_the_ones_that_are_out_do_not_count),
        cmocka_unit_test(test_chance_is_no_reason),
        cmocka_unit_test(test_failures_and_errors_apart),
        cmocka_unit_test(test_not_more_than_half),
        cmocka_unit_test(test_longer_each_time_and_forgiven),
        cmocka_unit_test(test_one_at_a_time),
    };
    return cmocka_run_group_tests(tests, gate_test_setup, gate_test_teardown);
}

#include "balance/reported_load.c"

#include <stdio.h>

#include "balance/servers_test.h"
#include "base/test.h"

static const struct reported_load_conf conf = {
    .update_ms = 1000, .blackout_ms = 10000, .expire_ms = 180000, .error_penalty = 1
};
static struct test_servers servers;
static struct reported_load *balancer;

static void begin(uint32_t count, const uint32_t *weights, const struct reported_load_conf *c)
{
    void *state = NULL;
    test_servers_init(&servers, count, weights);
    assert_int_equal(reported_load_open(c, servers.at, count, &state, NULL), OK);
    balancer = state;
    random_seed(1);
}

static void end(void)
{
    reported_load_close(balancer);
}

/* Returns whether the client would see the report. */
static bool tell(uint32_t i, uint64_t now_ms, const char *report)
{
    struct http_field fields[] = { { .name = "Endpoint-Load-Metrics",
                                     .name_len = 21,
                                     .value = report,
                                     .value_len = (uint32_t)strlen(report) } };
    struct http_response r = { .status = 200, .fields = { fields, 1, 1 } };
    const struct outcome o = { .now_us = now_ms * 1000, .status = 200, .response = &r };
    reported_load_done(balancer, servers.at, i, &o);
    return !(fields[0].flags & FIELD_REMOVED);
}

static void pick_many(uint64_t now_ms, uint32_t n)
{
    const struct pick p = { .now_us = now_ms * 1000 };
    memset(servers.picked, 0, sizeof servers.picked);
    for (uint32_t i = 0; i < n; i++)
        servers.picked[reported_load_pick(balancer, servers.at, servers.count, &p)]++;
}

/* ---- reading ---- */

static void the_forms_of_a_report(void **unused)
{
    (void)unused;
    static const char *const good[] = {
        "TEXT rps_fractional=100,cpu_utilization=0.5,eps=2",
        "TEXT cpu=0.5, mem=0.8, rps=100, eps=2, foo.bar=nonsense",
        "rps_fractional=1e2,application_utilization=0.5,cpu_utilization=0.9,eps=2",
        "JSON {\"cpu_utilization\": 0.5, \"rps_fractional\": 100, \"eps\": 2}",
        "{\"cpuUtilization\":0.5,\"rpsFractional\":100.0,\"eps\":2}",
        ("JSON { \"named_metrics\": {\"a\": [1, {\"cpu\": 9}], \"}\": \"\\\"{\"}, \"cpu_utilization\" : 0.5 "
         ", "
         "\"rps_fractional\":100,\"eps\":2, \"x\": null, \"y\": \"]\" }"),
    };
    for (unsigned i = 0; i < sizeof good / sizeof *good; i++) {
        struct report r;
        assert_true(report_parse(bytes_from(good[i]), &r));
        const double capacity = capacity_of(&r, 1);
        assert_true(capacity > 192 && capacity < 193); /* 100 / (0.5 + 2 / 100) */
        assert_true(capacity_of(&r, 0) > 199 && capacity_of(&r, 0) < 201);
    }
}

static void what_is_no_report(void **unused)
{
    (void)unused;
    static const char *const bad[] = {
        "cpu",
        "cpu=",
        "cpu=x",
        "cpu=-1",
        "cpu=nan",
        "cpu=inf",
        "cpu=0x10",
        "cpu=1e400",
        "TEXT cpu=0.5,,",
        "JSON",
        "JSON [",
        "JSON {",
        "{\"cpu\"}",
        "{\"cpu\":}",
        "{\"cpu\":0.5",
        "{\"cpu\":\"\\",
        "{\"cpu\":0.5,}",
        "{\"cpu\":[1,}",
        "{\"a\":{\"b\":",
        "cpu=0.000000000000000000000000000000001",
        "BIN CgkJ",
    };
    struct report r;
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(report_parse(bytes_from(bad[i]), &r));
    /* cut anywhere it is refused or gives something, but reads nothing beyond: the sanitizers look */
    const char whole[] = "JSON {\"a\": {\"b\\\"\": [1, \"}\"]}, \"cpu\": 0.5, \"rps\": 1}";
    for (size_t n = 0; n < sizeof whole; n++) {
        char *copy = mem_get(n + 1);
        memcpy(copy, whole, n);
        (void)report_parse((struct bytes){ copy, n }, &r);
        mem_free(copy);
    }
    static char long_one[REPORT_BYTES_MAX + 10];
    memset(long_one, '1', sizeof long_one);
    memcpy(long_one, "cpu=", 4);
    assert_false(report_parse((struct bytes){ long_one, sizeof long_one }, &r));
    assert_true(report_parse(BYTES("TEXT cpu=0.5"), &r) && capacity_of(&r, 1) <= 0); /* no rate */
    assert_true(report_parse(BYTES("{}"), &r) && capacity_of(&r, 1) <= 0);
}

/* ---- deciding ---- */

static void shares_follow_what_they_can_do(void **unused)
{
    (void)unused;
    begin(3, NULL, &conf);
    for (uint64_t ms = 1000; ms <= 13000; ms += 1000) {
        tell(0, ms, "TEXT rps_fractional=100,cpu_utilization=0.25"); /* 400 */
        tell(1, ms, "TEXT rps_fractional=100,cpu_utilization=0.5");  /* 200 */
        if (ms == 9000) {
            pick_many(ms, 30000); /* too early: evenly */
            for (int i = 0; i < 3; i++)
                assert_in_range(servers.picked[i], 9500, 10500);
        }
    }
    pick_many(13000, 90000); /* 2 says nothing: 300 */
    assert_in_range(servers.picked[0], 39000, 41000);
    assert_in_range(servers.picked[1], 19000, 21000);
    assert_in_range(servers.picked[2], 29000, 31000);
    pick_many(13000 + 180000 + 1000, 30000); /* long ago: evenly */
    for (int i = 0; i < 3; i++)
        assert_in_range(servers.picked[i], 9500, 10500);
    tell(0, 300000, "TEXT rps_fractional=100,cpu_utilization=0.25"); /* and the blackout begins anew */
    pick_many(302000, 30000);
    assert_in_range(servers.picked[0], 9500, 10500);
    end();
}

static void the_configured_weight_is_for_those_who_say_nothing(void **unused)
{
    (void)unused;
    struct reported_load_conf at_once = conf;
    at_once.blackout_ms = 0;
    begin(3, (const uint32_t[]){ 2, 2, 6 }, &at_once);
    pick_many(1000, 100000);
    assert_in_range(servers.picked[2], 59000, 61000);
    tell(0, 2000, "TEXT rps=100,cpu=1");
    tell(1, 2000, "TEXT rps=300,cpu=1"); /* 400 for weight 4; so 600 for weight 6 */
    pick_many(3000, 100000);
    assert_in_range(servers.picked[0], 9500, 10500);
    assert_in_range(servers.picked[1], 29000, 31000);
    assert_in_range(servers.picked[2], 59000, 61000);
    end();
}

static void of_two_the_less_busy_for_its_capacity_is_taken(void **unused)
{
    (void)unused;
    struct reported_load_conf at_once = conf;
    at_once.blackout_ms = 0;
    begin(2, NULL, &at_once);
    tell(0, 1000, "TEXT rps=300,cpu=1");
    tell(1, 1000, "TEXT rps=100,cpu=1");
    servers.at[0].load = 5;
    servers.at[1].load = 2; /* 2 / 100 > 5 / 300 */
    pick_many(2000, 1000);
    assert_int_equal(servers.picked[1], 0);
    servers.at[0].load = 7;
    pick_many(2000, 1000);
    assert_int_equal(servers.picked[0], 0);
    end();
}

static void clients_do_not_see_it_unless_they_shall(void **unused)
{
    (void)unused;
    begin(1, NULL, &conf);
    assert_false(tell(0, 1000, "TEXT cpu=0.5,rps=1"));
    assert_false(tell(0, 1000, "nonsense"));
    end();
    struct reported_load_conf open = conf;
    open.pass_on = true;
    begin(1, NULL, &open);
    assert_true(tell(0, 1000, "TEXT cpu=0.5,rps=1"));
    end();
}

static void the_refused_are_never_taken(void **unused)
{
    (void)unused;
    begin(10, NULL, &conf);
    test_servers_set_down(&servers, 0, 10, true);
    servers.shared[7].down = 0;
    pick_many(1000, 100);
    assert_int_equal(servers.picked[7], 100);
    servers.shared[7].down = 1;
    assert_int_equal(reported_load_pick(balancer, servers.at, 10, &(struct pick){ .now_us = 1 }), PICK_NONE);
    end();
    begin(0, NULL, &conf);
    assert_int_equal(reported_load_pick(balancer, servers.at, 0, &(struct pick){ .now_us = 1 }), PICK_NONE);
    end();
}

static void no_memory_is_said(void **unused)
{
    (void)unused;
    test_servers_init(&servers, 3, NULL);
    for (uint64_t n = 1; n <= 5; n++) {
        void *state = NULL;
        mem_fail_at(n);
        assert_int_equal(reported_load_open(&conf, servers.at, 3, &state, NULL), ERR_MEMORY);
        assert_null(state);
    }
    mem_fail_at(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_forms_of_a_report),
        cmocka_unit_test(what_is_no_report),
        cmocka_unit_test(shares_follow_what_they_can_do),
        cmocka_unit_test(the_configured_weight_is_for_those_who_say_nothing),
        cmocka_unit_test(of_two_the_less_busy_for_its_capacity_is_taken),
        cmocka_unit_test(clients_do_not_see_it_unless_they_shall),
        cmocka_unit_test(the_refused_are_never_taken),
        cmocka_unit_test(no_memory_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

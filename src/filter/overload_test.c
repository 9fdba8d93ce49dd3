#include "filter/fakes_test.h"
/* first the fakes */
#define gate_workers fake_gate_workers
static unsigned fake_gate_workers(const struct gate *g)
{
    (void)g;
    return 2;
}
#include "filter/overload.c"

#include "base/test.h"

static const struct overload_conf conf = { .cpu_from = 0.8,
                                           .cpu_full = 1,
                                           .lag_from_ms = 20,
                                           .lag_full_ms = 220,
                                           .recovery_ms = 10000,
                                           .retry_after_ms = 2000 };

static void the_higher_of_the_two_is_the_pressure(void **state)
{
    (void)state;
    assert_int_equal(pressure_of(&conf, 0.5, 1000), 0);
    assert_int_equal(pressure_of(&conf, 0.8, 20000), 0);
    assert_in_range(pressure_of(&conf, 0.9, 0), 499999, 500001);
    assert_int_equal(pressure_of(&conf, 1.2, 0), ONE);
    assert_int_equal(pressure_of(&conf, 0, 120000), 500000);
    assert_int_equal(pressure_of(&conf, 0.85, 120000), 500000);
    assert_int_equal(pressure_of(&conf, 0, 1000000), ONE);
}

static void it_rises_at_once_and_falls_slowly(void **state)
{
    (void)state;
    assert_int_equal(pressure_next(&conf, 0, 900000, 1), 900000);
    assert_int_equal(pressure_next(&conf, 900000, 0, 1000000), 800000);
    assert_int_equal(pressure_next(&conf, 900000, 850000, 1000000), 850000);
    assert_int_equal(pressure_next(&conf, 900000, 0, 20000000), 0);
    struct overload_conf at_once = conf;
    at_once.recovery_ms = 0;
    assert_int_equal(pressure_next(&at_once, 900000, 100, 1), 100);
}

static void the_low_go_first_and_smoothly(void **state)
{
    (void)state;
    static const struct {
        uint32_t pressure, low, normal, high;
    } cases[] = { { 0, 0, 0, 0 },
                  { 100000, 300000, 0, 0 },
                  { 400000, ONE, 200000, 0 },
                  { 700000, ONE, ONE, 100000 },
                  { ONE, ONE, ONE, ONE } };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(share_shed(cases[i].pressure, PRIORITY_LOW), cases[i].low);
        assert_int_equal(share_shed(cases[i].pressure, PRIORITY_NORMAL), cases[i].normal);
        assert_int_equal(share_shed(cases[i].pressure, PRIORITY_HIGH), cases[i].high);
    }
}

static unsigned shed_of_a_thousand(const struct overload_conf *c, uint32_t pressure, enum priority p)
{
    unsigned count = 0;
    for (uint64_t i = 0; i < 1000; i++)
        count += shed(c, pressure, p, (uint32_t)(i * UINT32_MAX / 1000));
    return count;
}

static void the_share_is_what_chance_makes_of_it(void **state)
{
    (void)state;
    assert_int_equal(shed_of_a_thousand(&conf, 0, PRIORITY_LOW), 0);
    assert_in_range(shed_of_a_thousand(&conf, 100000, PRIORITY_LOW), 299, 301);
    assert_int_equal(shed_of_a_thousand(&conf, ONE, PRIORITY_HIGH), 1000);
    struct overload_conf spare = conf;
    spare.spare = 1;
    assert_int_equal(shed_of_a_thousand(&spare, ONE, PRIORITY_HIGH), 0);
    assert_int_equal(shed_of_a_thousand(&spare, ONE, PRIORITY_NORMAL), 1000);
    spare.spare = 2;
    assert_int_equal(shed_of_a_thousand(&spare, ONE, PRIORITY_NORMAL), 0);
    assert_int_equal(shed_of_a_thousand(&spare, ONE, PRIORITY_LOW), 1000);
}

static struct overload *opened(void)
{
    void *o = NULL;
    assert_int_equal(overload_open(&conf, NULL, BYTES("/"), &o, NULL), OK);
    return o;
}

static unsigned asked(struct overload *o, enum priority p, const char *retry_after)
{
    struct exchange x;
    fake_exchange_open(&x);
    x.priority = (uint8_t)p;
    assert_int_equal(overload_handle(&x, o, NULL), OK);
    const struct http_field *f = http_fields_find(&x.response.fields, BYTES("Retry-After"));
    assert_bytes_equal(f ? http_field_value(f) : BYTES_NONE, bytes_from(retry_after));
    fake_exchange_close(&x);
    return x.response.status;
}

/* The next look is put off, so that this machine's own load has no say. */
static void under_pressure_they_get_503(void **state)
{
    (void)state;
    struct overload *o = opened();
    o->shared->next_us = UINT64_MAX;
    assert_int_equal(asked(o, PRIORITY_LOW, NULL), 0);
    o->shared->pressure = ONE * 2 / 3;
    assert_int_equal(asked(o, PRIORITY_LOW, "2"), 503);
    assert_int_equal(asked(o, PRIORITY_HIGH, NULL), 0);
    o->shared->pressure = ONE;
    assert_int_equal(asked(o, PRIORITY_HIGH, "2"), 503);
    assert_int_equal(metric_value(o->metrics, METRIC_SHED_LOW), 1);
    assert_int_equal(metric_value(o->metrics, METRIC_SHED_HIGH), 1);
    overload_close(o);
    assert_int_equal(fake.shared_held, 0);
}

static void one_look_a_tenth_of_a_second(void **state)
{
    (void)state;
    struct overload *o = opened();
    struct shared_pressure *s = o->shared;
    look(s, &conf, 2, 5000000); /* the first only notes where the clocks are */
    assert_int_equal(s->pressure, 0);
    assert_int_equal(s->next_us, 5100000);
    s->lag_us_max = 1000000;
    look(s, &conf, 2, 5099999);
    assert_int_equal(s->pressure, 0);
    look(s, &conf, 2, 5100000);
    assert_int_equal(s->pressure, ONE);
    assert_int_equal(s->lag_us, 1000000);
    assert_int_equal(s->lag_us_max, 0);
    overload_close(o);
}

static void what_cannot_be_is_refused(void **state)
{
    (void)state;
    struct overload_conf c = conf;
    assert_int_equal(overload_check(&c, NULL), OK);
    c.cpu_from = 1;
    assert_int_equal(overload_check(&c, NULL), ERR_CONF);
    c = conf;
    c.lag_from_ms = 300;
    assert_int_equal(overload_check(&c, NULL), ERR_CONF);
}

static void no_memory_is_said(void **state)
{
    (void)state;
    err e = ERR_MEMORY;
    for (uint64_t n = 1; e; n++) {
        void *o = NULL;
        mem_fail_at(n);
        e = overload_open(&conf, NULL, BYTES("/"), &o, NULL);
        mem_fail_at(0);
        assert_true(e == OK || (e == ERR_MEMORY && n < 10));
        if (o)
            overload_close(o);
        assert_int_equal(fake.shared_held, 0);
    }
}

int main(void)
{
    metrics_init(1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_higher_of_the_two_is_the_pressure),
        cmocka_unit_test(it_rises_at_once_and_falls_slowly),
        cmocka_unit_test(the_low_go_first_and_smoothly),
        cmocka_unit_test(the_share_is_what_chance_makes_of_it),
        cmocka_unit_test(under_pressure_they_get_503),
        cmocka_unit_test(one_look_a_tenth_of_a_second),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(no_memory_is_said),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    metrics_close();
    return failed;
}

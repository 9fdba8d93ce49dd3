#include "load/threshold.h"

#include "base/test.h"

static struct thresholds parsed(const char *text)
{
    struct thresholds t;
    struct diag d = DIAG_NONE;
    if (thresholds_parse(bytes_from(text), &t, &d) != OK)
        fail_msg("%s: %s", text, d.text);
    return t;
}

static void what_is_understood(void **state)
{
    (void)state;
    struct thresholds t =
        parsed("p99 < 200ms,errors>0.1%, p99.9<=1.5s , buy.v2.max >= 20us, rate < 5000/s, x.mean < 2m");
    assert_int_equal(t.count, 6);
    assert_true(t.all[0].of == THRESHOLD_QUANTILE && t.all[0].share == 0.99 && t.all[0].value == 200e6);
    assert_true(!t.all[0].above && !t.all[0].equal && t.all[0].kind.len == 0);
    assert_true(t.all[1].of == THRESHOLD_ERRORS && t.all[1].above && t.all[1].value == 0.001);
    assert_true(t.all[2].share > 0.9989 && t.all[2].share < 0.9991 && t.all[2].equal &&
                t.all[2].value == 1.5e9);
    assert_true(t.all[3].of == THRESHOLD_MAX && t.all[3].above && t.all[3].equal && t.all[3].value == 20e3);
    assert_bytes_equal(t.all[3].kind, BYTES("buy.v2"));
    assert_true(t.all[4].of == THRESHOLD_RATE && t.all[4].value == 5000);
    assert_true(t.all[5].of == THRESHOLD_MEAN && t.all[5].value == 120e9);
}

static void what_is_not(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",           "p99",        "p99 < 200",           "p99 = 3ms",  "p101 < 1ms",
        "px < 1ms",   "errors < 1", "rate < 1ms",          "p99 < ms",   "< 1ms",
        ".p99 < 1ms", "p99 < 1ms,", "p99 < 1ms p99 < 2ms", "p99 << 1ms", "p9.9.9 < 1ms"
    };
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct thresholds t;
        struct diag d = DIAG_NONE;
        if (thresholds_parse(bytes_from(wrong[i]), &t, &d) != ERR_SYNTAX || !d.set)
            fail_msg("%s", wrong[i]);
    }
}

static void what_is_met(void **state)
{
    (void)state;
    static const struct bytes kinds[] = { { "a", 1 }, { "b", 1 } };
    struct load l = { .open_loop = true, .kinds = kinds, .kinds_count = 2 };
    struct load_report r = { .load = &l, .seconds = 2 };
    double value;
    assert_int_equal(load_stats_open(2, &r.all), OK);
    assert_int_equal(load_stats_open(1, &r.total), OK);
    for (unsigned i = 1; i <= 100; i++) {
        struct load_kind *k = &r.all->kinds[i % 2];
        histogram_add(&k->response, i * 1000000);
        k->sent++;
        k->answers++;
    }
    load_count_bad(&r.all->kinds[1], LOAD_ERROR_STATUS);
    r.all->kinds[1].errors[LOAD_ERROR_UNSENT] = 25;

    static const struct {
        const char *text;
        bool met;
    } cases[] = {
        { "p50 < 51ms", true },     { "p50 < 50ms", false },    { "max > 99ms", true },
        { "max >= 100ms", true },   { "max > 100ms", false },   { "min < 1ms", false },
        { "min <= 1ms", true },     { "mean < 51ms", true },    { "errors > 20%", true },
        { "errors < 21%", true },   { "a.errors > 0%", false }, { "b.errors > 34%", true },
        { "rate > 49/s", true },    { "rate > 50/s", false },   { "b.rate < 25/s", true },
        { "a.rate >= 25/s", true }, { "a.max <= 100ms", true }, { "b.max <= 99ms", true },
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct thresholds t = parsed(cases[i].text);
        assert_null(thresholds_unknown(&t, &l));
        if (threshold_is_met(&t.all[0], &r, &value) != cases[i].met)
            fail_msg("%s: %f", cases[i].text, value);
    }
    struct thresholds t = parsed("p99 < 1s, c.p99 < 1s");
    assert_ptr_equal(thresholds_unknown(&t, &l), &t.all[1]);
    load_stats_close(r.all);
    load_stats_close(r.total);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_understood),
        cmocka_unit_test(what_is_not),
        cmocka_unit_test(what_is_met),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

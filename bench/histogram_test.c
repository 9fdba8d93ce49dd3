#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bench/histogram.h"

static struct histogram h;

static int clear(void **state)
{
    (void)state;
    h = (struct histogram){ 0 };
    return 0;
}

static void test_empty(void **state)
{
    (void)state;
    assert_int_equal(histogram_quantile_ns(&h, 0.99), 0);
}

/* One value alone, at and around each power of two: never too low, and too high by 1/64 at most. */
static void test_resolution(void **state)
{
    (void)state;
    for (unsigned power = 0; power < 40; power++) {
        for (int step = -1; step <= 1; step++) {
            uint64_t ns = ((uint64_t)1 << power) + (uint64_t)(int64_t)step;
            h = (struct histogram){ 0 };
            histogram_add(&h, ns);
            h.max_ns = UINT64_MAX; /* or the largest would be the answer */
            uint64_t found = histogram_quantile_ns(&h, 0.5);
            assert_true(found >= ns && found - ns <= ns / 64);
        }
    }
}

static void test_quantiles(void **state)
{
    (void)state;
    for (uint64_t us = 1; us <= 1000; us++)
        histogram_add(&h, us * 1000);
    assert_in_range(histogram_quantile_ns(&h, 0.5), 500000, 510000);
    assert_in_range(histogram_quantile_ns(&h, 0.99), 990000, 1000000);
    assert_int_equal(histogram_quantile_ns(&h, 1), 1000000);
}

static void test_past_the_end(void **state)
{
    (void)state;
    histogram_add(&h, UINT64_MAX);
    assert_int_equal(h.count, 1);
    assert_int_equal(h.max_ns, UINT64_MAX);
    assert_true(histogram_quantile_ns(&h, 0.5) > (uint64_t)1 << 39);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_empty, clear),
        cmocka_unit_test_setup(test_resolution, clear),
        cmocka_unit_test_setup(test_quantiles, clear),
        cmocka_unit_test_setup(test_past_the_end, clear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

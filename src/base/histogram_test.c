#include "base/histogram.h"

#include "base/test.h"

static struct histogram h, other, sum;

static int clear(void **state)
{
    (void)state;
    h = other = sum = (struct histogram){ 0 };
    return 0;
}

static void test_empty(void **state)
{
    (void)state;
    assert_int_equal(histogram_quantile_ns(&h, 0.99), 0);
    assert_int_equal(histogram_count_to(&h, 1000), 0);
    assert_true(histogram_mean_ns(&h) == 0 && histogram_deviation_ns(&h) == 0);
}

/* One value alone, at and around each power of two: never too low, and too high by less than 0.1 %. */
static void test_resolution(void **state)
{
    (void)state;
    for (unsigned power = 0; power < 42; power++) {
        for (int step = -1; step <= 1; step++) {
            uint64_t ns = ((uint64_t)1 << power) + (uint64_t)(int64_t)step;
            clear(NULL);
            histogram_add(&h, ns);
            h.max_ns = UINT64_MAX; /* or the largest would be the answer */
            uint64_t found = histogram_quantile_ns(&h, 0.5);
            assert_true(found >= ns && found - ns <= ns / 1000);
        }
    }
}

static void test_buckets_are_one_after_the_other(void **state)
{
    (void)state;
    for (unsigned b = 0; b < HISTOGRAM_BUCKETS; b++) {
        uint64_t end = histogram_bucket_end_ns(b);
        assert_int_equal(histogram_bucket(end), b);
        if (b + 1 < HISTOGRAM_BUCKETS)
            assert_int_equal(histogram_bucket(end + 1), b + 1);
    }
    assert_int_equal(histogram_bucket_end_ns(HISTOGRAM_BUCKETS - 1), HISTOGRAM_NS_MAX);
}

static void test_quantiles(void **state)
{
    (void)state;
    for (uint64_t us = 1; us <= 1000; us++)
        histogram_add(&h, us * 1000);
    assert_in_range(histogram_quantile_ns(&h, 0.5), 500000, 500500);
    assert_in_range(histogram_quantile_ns(&h, 0.99), 990000, 990990);
    assert_int_equal(histogram_quantile_ns(&h, 1), 1000000);
    assert_int_equal(histogram_quantile_ns(&h, 0), 1000);
    assert_int_equal(histogram_count_to(&h, 250000), 250);
    assert_int_equal(histogram_count_to(&h, UINT64_MAX), 1000);
    assert_true(histogram_mean_ns(&h) == 500500);
    /* sqrt((1000^2 - 1) / 12) us */
    assert_true(histogram_deviation_ns(&h) > 288500 && histogram_deviation_ns(&h) < 288900);
}

static void test_past_the_end(void **state)
{
    (void)state;
    histogram_add(&h, UINT64_MAX);
    assert_int_equal(h.count, 1);
    assert_int_equal(h.max_ns, UINT64_MAX);
    assert_int_equal(histogram_quantile_ns(&h, 0.5), UINT64_MAX);
}

static void test_merge_is_exact(void **state)
{
    (void)state;
    for (uint64_t i = 1, x = 12345; i < 20000; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        uint64_t ns = x >> (24 + i % 30);
        histogram_add(i % 3 ? &h : &other, ns);
        histogram_add(&sum, ns);
    }
    histogram_merge(&h, &other);
    assert_memory_equal(&h, &sum, sizeof sum);
    histogram_reset(&other);
    histogram_merge(&h, &other);
    assert_memory_equal(&h, &sum, sizeof sum);
}

static void test_reset(void **state)
{
    (void)state;
    for (uint64_t ns = 1; ns < HISTOGRAM_NS_MAX / 2; ns *= 3)
        histogram_add(&h, ns);
    histogram_add(&h, 0);
    histogram_add(&h, UINT64_MAX);
    histogram_reset(&h);
    assert_memory_equal(&h, &sum, sizeof sum);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_empty, clear),
        cmocka_unit_test_setup(test_resolution, clear),
        cmocka_unit_test_setup(test_buckets_are_one_after_the_other, clear),
        cmocka_unit_test_setup(test_quantiles, clear),
        cmocka_unit_test_setup(test_past_the_end, clear),
        cmocka_unit_test_setup(test_merge_is_exact, clear),
        cmocka_unit_test_setup(test_reset, clear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

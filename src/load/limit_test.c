#include "load/limit.h"

#include <math.h>

#include "base/test.h"

/* A server of that capacity: an M/M/1 queue's p99 while it holds. */
static struct limit_step measure(double rate, double capacity, double p99_ms_max)
{
    struct limit_step s = { .rate = rate, .achieved = fmin(rate, capacity), .p99_ms = 1e9 };
    if (rate < capacity)
        s.p99_ms = 4605 / (capacity - rate);
    s.held = s.p99_ms < p99_ms_max;
    return s;
}

static struct limit_found search(double capacity, double p99_ms_max, double first, double most)
{
    struct limit_found f;
    double rate;
    limit_open(&f, first, most);
    while ((rate = limit_next(&f)) > 0) {
        struct limit_step s = measure(rate, capacity, p99_ms_max);
        limit_tell(&f, &s);
    }
    return f;
}

/* 4605 / (capacity - rate) < 100 holds up to capacity - 46. */
static void it_comes_within_the_gap(void **state)
{
    (void)state;
    for (double capacity = 60; capacity < 200000; capacity *= 1.7) {
        struct limit_found f = search(capacity, 100, 100, 1e9);
        double limit = capacity - 46.05;
        assert_true(f.holds < limit && f.fails >= limit);
        assert_true(f.fails - f.holds <= LIMIT_GAP * f.holds || f.holds < 20);
        assert_true(f.count < 40);
    }
}

static void nothing_holds(void **state)
{
    (void)state;
    struct limit_found f = search(0, 100, 100, 1e9);
    assert_true(f.holds == 0 && f.fails >= 1 && f.fails < 2);
    assert_true(limit_knee(&f) == 0);
}

static void everything_holds(void **state)
{
    (void)state;
    struct limit_found f = search(1e9, 100, 100, 5000);
    assert_true(f.holds == 5000 && f.fails == 0);
}

static void the_knee_is_where_it_bends(void **state)
{
    (void)state;
    struct limit_found f = { .count = 6 };
    static const double rates[] = { 1600, 100, 800, 200, 400, 1200 }, p99_ms[] = { 90, 10, 14, 10, 11, 40 };
    for (size_t i = 0; i < 6; i++)
        f.steps[i] = (struct limit_step){ .rate = rates[i], .p99_ms = p99_ms[i], .held = true };
    assert_true(limit_knee(&f) == 800);
    f.steps[2].held = false;
    assert_true(limit_knee(&f) == 1200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_comes_within_the_gap),
        cmocka_unit_test(nothing_holds),
        cmocka_unit_test(everything_holds),
        cmocka_unit_test(the_knee_is_where_it_bends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

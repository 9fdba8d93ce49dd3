#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/hash.h"
#include "core/timer_wheel.h"

static struct wheel wheel;
static uint64_t now_us;
static unsigned fired;

struct noted {
    struct timer timer;
    unsigned order;
    uint64_t at_us;
    struct timer *victim;
    unsigned again;
};

static void note(struct timer *t)
{
    struct noted *n = container_of(t, struct noted, timer);
    n->order = ++fired;
    n->at_us = now_us;
    if (n->victim)
        wheel_stop(&wheel, n->victim);
    if (n->again) {
        n->again--;
        wheel_set(&wheel, t, t->due_us); /* in the past: must come in the next tick, not in this run */
    }
}

static void start(uint64_t at_us)
{
    now_us = at_us;
    fired = 0;
    wheel_init(&wheel, now_us);
}

static void run_until(uint64_t at_us)
{
    now_us = at_us;
    wheel_run(&wheel, now_us);
}

static void test_order(void **state)
{
    (void)state;
    struct noted n[4] = { 0 };
    static const uint64_t due_ms[4] = { 300, 5, 70, 5000 };
    start(123456789);
    for (int i = 0; i < 4; i++) {
        timer_init(&n[i].timer, note);
        wheel_set(&wheel, &n[i].timer, now_us + due_ms[i] * 1000);
    }
    run_until(now_us + 10 * 1000 * 1000); /* all in one late run: still in the order of their times */
    assert_int_equal(fired, 4);
    assert_int_equal(n[1].order, 1);
    assert_int_equal(n[2].order, 2);
    assert_int_equal(n[0].order, 3);
    assert_int_equal(n[3].order, 4);
    assert_true(wheel_next_us(&wheel) == UINT64_MAX);
}

static void test_never_early_and_at_most_a_tick_late(void **state)
{
    (void)state;
    struct noted n = { 0 };
    timer_init(&n.timer, note);
    start(1000500);
    for (uint64_t delay_us = 1; delay_us < 400000; delay_us = delay_us * 3 / 2 + 1) {
        uint64_t due_us = now_us + delay_us;
        wheel_set(&wheel, &n.timer, due_us);
        unsigned before = fired;
        while (fired == before)
            run_until(now_us + 100);
        assert_true(n.at_us >= due_us);
        assert_true(n.at_us < due_us + 2 * WHEEL_TICK_US);
    }
}

static void test_moving_and_stopping(void **state)
{
    (void)state;
    struct noted a = { 0 }, b = { 0 };
    timer_init(&a.timer, note);
    timer_init(&b.timer, note);
    start(0);
    wheel_set(&wheel, &a.timer, 10000);
    wheel_set(&wheel, &a.timer, 90000);
    run_until(50000);
    assert_int_equal(fired, 0);
    wheel_set(&wheel, &a.timer, 60000);
    run_until(61000);
    assert_int_equal(fired, 1);
    assert_false(timer_is_set(&a.timer));
    wheel_stop(&wheel, &a.timer);
    wheel_set(&wheel, &b.timer, 70000);
    wheel_stop(&wheel, &b.timer);
    assert_true(wheel_next_us(&wheel) == UINT64_MAX); /* a stopped timer does not wake anybody */
    run_until(100000);
    assert_int_equal(fired, 1);
}

static void test_callbacks_stop_and_set(void **state)
{
    (void)state;
    struct noted a = { 0 }, b = { 0 }, c = { 0 };
    timer_init(&a.timer, note);
    timer_init(&b.timer, note);
    timer_init(&c.timer, note);
    a.victim = &b.timer; /* due in the same tick, later in line */
    c.again = 3;
    start(0);
    wheel_set(&wheel, &a.timer, 5000);
    wheel_set(&wheel, &b.timer, 5000);
    wheel_set(&wheel, &c.timer, 5000);
    run_until(5000);
    assert_int_equal(fired, 2);
    assert_int_equal(b.order, 0);
    for (uint64_t ms = 6; ms < 20; ms++)
        run_until(ms * 1000);
    assert_int_equal(fired, 5);
}

static void test_far_away(void **state)
{
    (void)state;
    struct noted n = { 0 };
    timer_init(&n.timer, note);
    start(777);
    wheel_set(&wheel, &n.timer, UINT64_MAX - 1);
    run_until(365ULL * 86400 * 1000000);
    assert_int_equal(fired, 0);
    uint64_t year_us = now_us;
    wheel_set(&wheel, &n.timer, year_us + 40ULL * 86400 * 1000000);
    while (fired == 0) {
        uint64_t next_us = wheel_next_us(&wheel);
        assert_true(next_us > now_us); /* the wheel never says "now" and then does nothing */
        run_until(next_us);
    }
    assert_true(n.at_us >= n.timer.due_us && n.at_us < n.timer.due_us + 2 * WHEEL_TICK_US);
}

#define MANY 100000

static void test_many_at_random(void **state)
{
    (void)state;
    struct noted *n = calloc(MANY, sizeof *n);
    assert_non_null(n);
    start(5555555);
    for (unsigned i = 0; i < MANY; i++) {
        timer_init(&n[i].timer, note);
        wheel_set(&wheel, &n[i].timer, now_us + random_below(20 * 1000 * 1000));
    }
    for (unsigned i = 0; i < MANY; i += 3) /* some move, some stop */
        wheel_set(&wheel, &n[i].timer, now_us + random_below(20 * 1000 * 1000));
    unsigned stopped = 0;
    for (unsigned i = 0; i < MANY; i += 7, stopped++)
        wheel_stop(&wheel, &n[i].timer);
    uint64_t end_us = now_us + 21 * 1000 * 1000;
    while (now_us < end_us)
        run_until(now_us + random_below(30000));
    assert_int_equal(fired, MANY - stopped);
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(n[i].order == 0, i % 7 == 0);
        if (n[i].order)
            assert_true(n[i].at_us >= n[i].timer.due_us && n[i].at_us < n[i].timer.due_us + 32000);
    }
    free(n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_never_early_and_at_most_a_tick_late),
        cmocka_unit_test(test_moving_and_stopping),
        cmocka_unit_test(test_callbacks_stop_and_set),
        cmocka_unit_test(test_far_away),
        cmocka_unit_test(test_many_at_random),
    };
    return cmocka_run_group_tests_name("timer", tests, NULL, NULL);
}

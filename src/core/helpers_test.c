#include "core/helpers.h"

#include <stdatomic.h>

#include "base/mem.h"
#include "core/io_test.h"

static struct helpers *helpers;
static _Atomic unsigned ran, running, gate_open;
static unsigned answered, refused, left;

static struct helpers *opened(unsigned threads, unsigned waiting_max)
{
    struct helpers *h;
    struct diag d = DIAG_NONE;
    must(helpers_open("test-helpers", threads, waiting_max, &h, &d) == OK);
    return h;
}

static void count(void *arg)
{
    must(worker_self() == NULL);
    *(unsigned *)arg += 1;
    ran++;
}

static void caller(void *arg)
{
    unsigned mine = 0;
    (void)arg;
    for (unsigned i = 0; i < 50; i++) {
        must(helpers_call(helpers, count, &mine) == OK);
        must(mine == i + 1);
    }
    answered++;
    left--;
}

static void wait_for_all(void)
{
    while (left)
        must(fiber_sleep_us(1000) == OK);
}

static void each_call_is_answered(void)
{
    helpers = opened(3, 1000);
    ran = 0;
    answered = 0;
    left = 20;
    for (unsigned i = 0; i < 20; i++)
        fiber_spawn(caller, NULL);
    wait_for_all();
    must(answered == 20 && ran == 1000);
    helpers_close(helpers);
}
TEST(each_call_is_answered)

static void hold(void *arg)
{
    (void)arg;
    running++;
    while (!gate_open)
        usleep(1000);
    ran++;
}

static void held_caller(void *arg)
{
    (void)arg;
    err e = helpers_call(helpers, hold, NULL);
    must(e == OK || e == ERR_LIMIT);
    answered += e == OK;
    refused += e == ERR_LIMIT;
    left--;
}

/* One is being run and two wait: a fourth is refused, and the worker was never held up. */
static void too_many_are_refused(void)
{
    helpers = opened(1, 2);
    answered = refused = 0;
    ran = running = gate_open = 0;
    left = 4;
    fiber_spawn(held_caller, NULL);
    while (!running)
        must(fiber_sleep_us(1000) == OK);
    for (unsigned i = 0; i < 3; i++)
        fiber_spawn(held_caller, NULL);
    while (!refused)
        must(fiber_sleep_us(1000) == OK);
    gate_open = 1;
    wait_for_all();
    must(answered == 3 && refused == 1 && ran == 3);
    helpers_close(helpers);
}
TEST(too_many_are_refused)

/* What it waits for points into its frame. */
static void a_cancelled_fiber_stays_until_it_is_done(void)
{
    helpers = opened(1, 2);
    answered = refused = 0;
    ran = running = gate_open = 0;
    left = 1;
    fiber_spawn(held_caller, NULL);
    while (!running)
        must(fiber_sleep_us(1000) == OK);
    fiber_cancel_all();
    fiber_yield();
    must(left == 1);
    gate_open = 1;
    wait_for_all();
    must(answered == 1);
    helpers_close(helpers);
}
TEST(a_cancelled_fiber_stays_until_it_is_done)

static unsigned cancelled;

static void cancelled_caller(void *arg)
{
    (void)arg;
    must(helpers_call(helpers, hold, NULL) == ERR_CANCELLED);
    cancelled++;
}

/* What has not begun does not begin any more: a stop does not wait for a long queue. */
static void what_waits_is_taken_back(void)
{
    helpers = opened(1, 10);
    answered = refused = cancelled = 0;
    ran = running = gate_open = 0;
    left = 1;
    fiber_spawn(held_caller, NULL);
    while (!running)
        must(fiber_sleep_us(1000) == OK);
    for (unsigned i = 0; i < 5; i++)
        fiber_spawn(cancelled_caller, NULL);
    must(fiber_sleep_us(1000) == OK);
    fiber_cancel_all();
    for (unsigned i = 0; i < 1000 && cancelled < 5; i++)
        fiber_yield();
    must(cancelled == 5 && left == 1);
    gate_open = 1;
    wait_for_all();
    must(ran == 1);
    helpers_close(helpers);
}
TEST(what_waits_is_taken_back)

static void no_memory_is_said(void **state)
{
    (void)state;
    struct helpers *h;
    mem_fail_at(1);
    assert_int_equal(helpers_open("x", 1, 1, &h, NULL), ERR_MEMORY);
    mem_fail_at(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_call_is_answered),
        cmocka_unit_test(test_too_many_are_refused),
        cmocka_unit_test(test_a_cancelled_fiber_stays_until_it_is_done),
        cmocka_unit_test(test_what_waits_is_taken_back),
        cmocka_unit_test(no_memory_is_said),
    };
    return run_both(tests, sizeof tests / sizeof *tests);
}

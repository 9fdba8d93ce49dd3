/* Fibers from outside: behind what is under way, in order, within a bound, and never starved. */
#include "core/io_test.h"

static size_t begun;

static void begin(void *arg)
{
    must(begun++ == (size_t)(uintptr_t)arg); /* in the order in which they came */
}

static void admit_many(size_t count)
{
    begun = 0;
    for (size_t i = 0; i < count; i++)
        fiber_admit(begin, (void *)(uintptr_t)i);
}

static size_t begun_in_a_turn(void)
{
    size_t before = begun;
    fiber_yield();
    return begun - before;
}

/* ---- behind what is under way, and not too many ---- */

static size_t begun_before;

static void look_at_begun(void *arg)
{
    (void)arg;
    begun_before = begun;
}

static void behind_what_is_under_way(void)
{
    admit_many(2 * FIBERS_ADMITTED_PER_TURN + 1);
    begun_before = begun + 1;
    for (size_t turn = 0; turn < 2; turn++) {
        fiber_spawn(look_at_begun, NULL);
        must(begun_in_a_turn() == FIBERS_ADMITTED_PER_TURN);
        must(begun_before == turn * FIBERS_ADMITTED_PER_TURN);
    }
    must(fiber_sleep_us(1000) == OK); /* the loop does not sleep while somebody has not begun */
    must(begun == 2 * FIBERS_ADMITTED_PER_TURN + 1);
}
TEST(behind_what_is_under_way)

/* ---- when those under way never come to an end ---- */

struct busy {
    struct fiber *self, *other;
    const bool *over;
};

/* Two of them keep the line of those that are ready from ever being empty. */
static void keep_busy(void *arg)
{
    struct busy *b = arg;
    b->self = fiber_self();
    while (!*b->over) {
        if (b->other)
            fiber_wake(b->other);
        must(fiber_wait(DEADLINE_NONE) == OK);
    }
}

static void nobody_starves(void)
{
    bool over = false;
    struct busy a = { .over = &over }, b = { .over = &over };
    fiber_spawn(keep_busy, &a);
    fiber_yield();
    b.other = a.self;
    fiber_spawn(keep_busy, &b);
    fiber_yield();
    a.other = b.self;
    fiber_wake(a.self);
    admit_many(3000);
    size_t in_a_turn = begun_in_a_turn();
    must(in_a_turn > 10 * (size_t)FIBERS_ADMITTED_PER_TURN); /* a quarter of the turn's switches */
    must(in_a_turn < 3000);                                  /* the turn has an end */
    for (int turns = 0; begun < 3000; turns++) {
        must(turns < 10);
        begun_in_a_turn();
    }
    must(fiber_stats(worker_self()).live == 3); /* these two are still at it */
    over = true;
    fiber_wake(a.self);
    fiber_wake(b.self);
    fiber_yield();
    must(fiber_stats(worker_self()).live == 1);
}
TEST(nobody_starves)

static void yields(void *arg)
{
    const bool *over = arg;
    while (!*over)
        fiber_yield();
}

/* Many that each have a little to do in every turn: a longer turn begins more. */
static void share_grows_with_the_turn(void)
{
    enum { BUSY = 600 };
    bool over = false;
    for (size_t i = 0; i < BUSY; i++)
        fiber_spawn(yields, &over);
    fiber_yield();
    admit_many(1000);
    size_t in_a_turn = begun_in_a_turn();
    must(in_a_turn >= BUSY / 4 && in_a_turn <= BUSY / 2);
    over = true;
    fiber_yield();
}
TEST(share_grows_with_the_turn)

/* ---- cancelled before they begin ---- */

static size_t waits_cancelled;

static void wait_long(void *arg)
{
    (void)arg;
    err e = fiber_wait(DEADLINE_NONE);
    must(e == ERR_CANCELLED);
    waits_cancelled++;
}

static void cancelled_in_line(void)
{
    enum { COUNT = 3 * FIBERS_ADMITTED_PER_TURN };
    waits_cancelled = 0;
    for (size_t i = 0; i < COUNT; i++)
        fiber_admit(wait_long, NULL);
    must(fiber_stats(worker_self()).live == COUNT + 1);
    fiber_cancel_all();
    for (size_t turn = 0; turn < 4; turn++)
        fiber_yield();
    must(waits_cancelled == COUNT && fiber_stats(worker_self()).live == 1);
}
TEST(cancelled_in_line)

/* ---- stopped before they begin ---- */

static void stop_waits_for_them(void)
{
    admit_many(5 * FIBERS_ADMITTED_PER_TURN); /* this fiber's end stops the worker */
}

static void test_stop_waits_for_them(void **state)
{
    (void)state;
    on_worker(stop_waits_for_them);
    assert_int_equal(begun, 5 * FIBERS_ADMITTED_PER_TURN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_behind_what_is_under_way),  cmocka_unit_test(test_nobody_starves),
        cmocka_unit_test(test_share_grows_with_the_turn), cmocka_unit_test(test_cancelled_in_line),
        cmocka_unit_test(test_stop_waits_for_them),
    };
    return run_both(tests, sizeof tests / sizeof *tests);
}

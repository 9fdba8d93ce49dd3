#include "core/helper.h"

#include <stdatomic.h>
#include <unistd.h>

#include "core/io_test.h"

static struct helper_pool pool = HELPER_POOL("helper_test", 3, 5, 5);
static pthread_t worker_thread;
static _Atomic int running, most, calls;

static void work(void *arg)
{
    int now = atomic_fetch_add(&running, 1) + 1;
    must(!pthread_equal(pthread_self(), worker_thread));
    for (int seen = atomic_load(&most); now > seen && !atomic_compare_exchange_weak(&most, &seen, now);)
        ;
    usleep(20000);
    atomic_fetch_sub(&running, 1);
    atomic_fetch_add(&calls, 1);
    *(int *)arg += 1;
}

static int done, refused;

static void one(void *unused)
{
    (void)unused;
    int x = 41;
    err e = helper_run(&pool, work, &x);
    must(e == OK || e == ERR_LIMIT);
    must(x == (e ? 41 : 42));
    if (e)
        refused++;
    done++;
}

static void wait_done(int n)
{
    while (done < n)
        must(fiber_sleep_us(1000) == OK);
}

static void the_worker_goes_on(void)
{
    worker_thread = pthread_self();
    done = refused = 0;
    uint64_t turns = worker_stats(worker_self()).turns;
    for (int i = 0; i < 3; i++)
        fiber_spawn(one, NULL);
    wait_done(3);
    must(worker_stats(worker_self()).turns > turns + 3);
    must(refused == 0 && most <= 3);
}

static void too_many_are_refused(void)
{
    worker_thread = pthread_self();
    done = refused = 0;
    for (int i = 0; i < 30; i++)
        fiber_spawn(one, NULL);
    wait_done(30);
    must(refused > 0 && refused <= 30 - 5);
    must(most <= 3);
}

static void cancelled_one(void *arg)
{
    *(struct fiber **)arg = fiber_self();
    one(NULL);
}

static void who_is_cancelled_waits_for_it(void)
{
    worker_thread = pthread_self();
    done = refused = 0;
    struct fiber *f = NULL;
    int before = calls;
    fiber_spawn(cancelled_one, &f);
    fiber_yield();
    must(f != NULL && done == 0);
    while (!running)
        must(fiber_sleep_us(1000) == OK);
    fiber_cancel(f);
    wait_done(1);
    must(calls == before + 1);
}

static struct helper_pool narrow = HELPER_POOL("helper_test", 1, 10, 0);
static _Atomic int held, ran;
static _Atomic bool open_now;
static int left, taken_back;

static void hold(void *arg)
{
    (void)arg;
    held++;
    while (!open_now)
        usleep(1000);
    ran++;
}

static void one_held(void *unused)
{
    (void)unused;
    must(helper_run(&narrow, hold, NULL) == OK);
    left--;
}

static void one_taken_back(void *unused)
{
    (void)unused;
    must(helper_run(&narrow, hold, NULL) == ERR_CANCELLED);
    taken_back++;
}

/* What has not begun does not begin any more: a stop does not wait for a long queue. */
static void what_waits_is_taken_back(void)
{
    held = ran = left = taken_back = 0;
    open_now = false;
    left = 1;
    fiber_spawn(one_held, NULL);
    while (!held)
        must(fiber_sleep_us(1000) == OK);
    for (int i = 0; i < 5; i++)
        fiber_spawn(one_taken_back, NULL);
    must(fiber_sleep_us(1000) == OK);
    fiber_cancel_all();
    for (int i = 0; i < 1000 && taken_back < 5; i++)
        fiber_yield();
    must(taken_back == 5 && left == 1);
    open_now = true;
    while (left)
        must(fiber_sleep_us(1000) == OK);
    must(ran == 1);
    left = 1; /* the queue is whole */
    fiber_spawn(one_held, NULL);
    while (left)
        must(fiber_sleep_us(1000) == OK);
    must(ran == 2);
}

TEST(the_worker_goes_on)
TEST(too_many_are_refused)
TEST(who_is_cancelled_waits_for_it)
TEST(what_waits_is_taken_back)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_worker_goes_on),
        cmocka_unit_test(test_too_many_are_refused),
        cmocka_unit_test(test_who_is_cancelled_waits_for_it),
        cmocka_unit_test(test_what_waits_is_taken_back),
    };
    return run_both(tests, sizeof tests / sizeof *tests);
}

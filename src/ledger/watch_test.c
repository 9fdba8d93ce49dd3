/* watch: who is told, in which order, and that nothing is missed between a look and the wait. */
#include "ledger/watch.h"

#include <sched.h>
#include <stdatomic.h>

#include "base/test.h"
#include "core/worker.h"
#include "ledger/board.h"

#define RULES 7
#define KEY BYTES("key")
#define OTHER BYTES("other")
#define DEADLINE_MS 20000

static void on_worker(void (*fn)(void *arg), void *arg)
{
    struct diag d = DIAG_NONE;
    struct worker_opts w = { .loop = LOOP_EPOLL, .cpu = -1 };
    assert_int_equal(worker_run(&w, fn, arg, &d), OK);
}

static void show(struct bytes key, uint64_t value)
{
    watch_tell(board_hash(RULES, key), false, value);
}

/* Nothing comes: what is on its way has come by then. */
static void is_not_told(struct waiter *w)
{
    assert_int_equal(waiter_wait(w, worker_now_us() + 20000), ERR_TIMEOUT);
}

static void is_told(struct waiter *w)
{
    assert_int_equal(waiter_wait(w, deadline_in_ms(DEADLINE_MS)), OK);
}

/* ---- one waiter ---- */

static void watch_one(void *arg)
{
    (void)arg;
    struct waiter w;
    struct watch x, y;
    show(KEY, 1); /* before it began: nobody's */
    waiter_open(&w);
    watch_begin(&x, &w, RULES, KEY, 0);
    watch_begin(&y, &w, RULES, OTHER, 0);
    is_not_told(&w);
    show(KEY, 2);
    is_told(&w);
    is_not_told(&w); /* once */
    show(KEY, 2);    /* the same again */
    show(BYTES("third"), 2);
    is_not_told(&w);
    show(OTHER, 1);
    show(KEY, 3);
    is_told(&w);
    is_not_told(&w);
    watch_tell(board_hash(RULES, KEY), true, 0);
    is_told(&w);
    watch_tell_all();
    is_told(&w);
    watch_end(&y);
    show(OTHER, 2);
    is_not_told(&w);
    show(KEY, 4); /* told, and it leaves without having looked */
    watch_end(&x);
    waiter_close(&w);
    show(KEY, 5);
    worker_stop(worker_self());
}

static void who_watches_is_told_what_changes(void **state)
{
    (void)state;
    on_worker(watch_one, NULL);
}

/* ---- lines ---- */

#define PLACES 5

struct line {
    struct waiter waiters[PLACES];
    struct watch places[PLACES];
};

static void line_begin(struct line *l, unsigned i, uint64_t line)
{
    waiter_open(&l->waiters[i]);
    watch_begin(&l->places[i], &l->waiters[i], RULES, KEY, line);
}

static void line_end(struct line *l, unsigned i)
{
    watch_end(&l->places[i]);
    waiter_close(&l->waiters[i]);
}

static void stand_in_line(void *arg)
{
    (void)arg;
    struct line l;
    for (unsigned i = 0; i < 3; i++)
        line_begin(&l, i, 9);
    line_begin(&l, 3, 8); /* of another line */
    line_begin(&l, 4, 0); /* in none */
    for (unsigned i = 0; i < PLACES; i++)
        assert_int_equal(watch_is_first(&l.places[i]), i == 0 || i >= 3);
    show(KEY, 1);
    is_told(&l.waiters[0]);
    is_told(&l.waiters[3]);
    is_told(&l.waiters[4]);
    is_not_told(&l.waiters[1]);
    is_not_told(&l.waiters[2]);
    line_end(&l, 0);
    is_told(&l.waiters[1]); /* there may be something left */
    assert_true(watch_is_first(&l.places[1]));
    assert_false(watch_is_first(&l.places[2]));
    line_begin(&l, 0, 9); /* again, and behind the others */
    assert_false(watch_is_first(&l.places[0]));
    line_end(&l, 2); /* from the middle: nobody is told */
    is_not_told(&l.waiters[0]);
    is_not_told(&l.waiters[1]);
    show(KEY, 2);
    is_told(&l.waiters[1]);
    is_not_told(&l.waiters[0]);
    line_end(&l, 1);
    is_told(&l.waiters[0]);
    line_end(&l, 0);
    line_end(&l, 3);
    line_end(&l, 4);
    worker_stop(worker_self());
}

static void lines_are_kept(void **state)
{
    (void)state;
    on_worker(stand_in_line, NULL);
}

/* ---- waking and ending ---- */

static void end_otherwise(void *arg)
{
    (void)arg;
    struct waiter w;
    struct watch x;
    waiter_open(&w);
    watch_begin(&x, &w, RULES, KEY, 0);
    assert_int_equal(waiter_wait(&w, worker_now_us() + 1000), ERR_TIMEOUT);
    waiter_wake(&w);
    assert_int_equal(waiter_wait(&w, worker_now_us()), OK); /* it was before */
    fiber_cancel(fiber_self());
    assert_int_equal(waiter_wait(&w, deadline_in_ms(DEADLINE_MS)), ERR_CANCELLED);
    watch_end(&x);
    waiter_close(&w);
    worker_stop(worker_self());
}

static void a_wait_ends_without_being_told(void **state)
{
    (void)state;
    on_worker(end_otherwise, NULL);
}

/* ---- races: a thread shows, as the writer does; fibers of two workers look, and wait ---- */

#define ROUNDS 2000
#define FIBERS 8
#define WORKERS 2

static struct {
    _Atomic uint64_t shown, seen, failed;
    _Atomic unsigned living[WORKERS];
} race;

/* Each value is awaited: with one wake-up lost, the thread that shows stands still. */
static void reader(void *arg)
{
    _Atomic unsigned *living = arg;
    struct waiter w;
    struct watch x;
    err e = OK;
    waiter_open(&w);
    watch_begin(&x, &w, RULES, KEY, 0);
    for (uint64_t last = 0; last < ROUNDS && !e;) {
        const uint64_t now = atomic_load(&race.shown);
        if (now == last)
            e = waiter_wait(&w, deadline_in_ms(DEADLINE_MS));
        else
            atomic_fetch_add(&race.seen, 1);
        last = now;
    }
    atomic_fetch_add(&race.failed, e != OK);
    watch_end(&x);
    waiter_close(&w);
    if (atomic_fetch_sub(living, 1) == 1)
        worker_stop(worker_self());
}

static void spawn_readers(void *arg)
{
    for (unsigned i = 0; i < FIBERS; i++)
        fiber_spawn(reader, arg);
}

static void no_wake_up_is_lost(void **state)
{
    (void)state;
    struct worker *workers[WORKERS];
    struct diag d = DIAG_NONE;
    for (unsigned i = 0; i < WORKERS; i++) {
        const struct worker_opts o = { .index = i, .loop = LOOP_EPOLL, .cpu = -1, .name = "reader" };
        atomic_store(&race.living[i], FIBERS);
        assert_int_equal(worker_start(&o, spawn_readers, &race.living[i], &workers[i], &d), OK);
    }
    for (uint64_t i = 1; i <= ROUNDS && !atomic_load(&race.failed); i++) {
        atomic_store(&race.shown, i);
        show(KEY, i);
        while (atomic_load(&race.seen) < i * FIBERS * WORKERS && !atomic_load(&race.failed))
            sched_yield();
    }
    atomic_store(&race.shown, ROUNDS);
    watch_tell_all();
    for (unsigned i = 0; i < WORKERS; i++)
        worker_join(workers[i]);
    assert_int_equal(atomic_load(&race.failed), 0);
    assert_int_equal(atomic_load(&race.seen), ROUNDS * FIBERS * WORKERS);
}

/* ---- a line over two workers: who takes is the first, and all that is there is taken ---- */

#define THINGS 4000

static struct {
    _Atomic int64_t left;
    _Atomic uint64_t taken, out_of_line, failed;
    _Atomic unsigned living[WORKERS];
} shop;

static void take_one(struct waiter *w, bool *ret_ends)
{
    struct watch x;
    watch_begin(&x, w, RULES, KEY, 5);
    while (atomic_load(&shop.taken) < THINGS) {
        if (watch_is_first(&x) && atomic_load(&shop.left) > 0) {
            atomic_fetch_add(&shop.out_of_line, atomic_fetch_sub(&shop.left, 1) <= 0);
            if (atomic_fetch_add(&shop.taken, 1) + 1 == THINGS)
                watch_tell_all();
            break;
        }
        if (waiter_wait(w, deadline_in_ms(DEADLINE_MS))) {
            atomic_fetch_add(&shop.failed, 1);
            *ret_ends = true;
            break;
        }
    }
    watch_end(&x);
}

static void buyer(void *arg)
{
    _Atomic unsigned *living = arg;
    struct waiter w;
    bool ends = false;
    while (!ends && atomic_load(&shop.taken) < THINGS) {
        waiter_open(&w);
        take_one(&w, &ends);
        waiter_close(&w);
    }
    if (atomic_fetch_sub(living, 1) == 1)
        worker_stop(worker_self());
}

static void spawn_buyers(void *arg)
{
    for (unsigned i = 0; i < FIBERS; i++)
        fiber_spawn(buyer, arg);
}

static void a_line_takes_all_that_there_is(void **state)
{
    (void)state;
    struct worker *workers[WORKERS];
    struct diag d = DIAG_NONE;
    for (unsigned i = 0; i < WORKERS; i++) {
        const struct worker_opts o = { .index = i, .loop = LOOP_EPOLL, .cpu = -1, .name = "buyer" };
        atomic_store(&shop.living[i], FIBERS);
        assert_int_equal(worker_start(&o, spawn_buyers, &shop.living[i], &workers[i], &d), OK);
    }
    for (unsigned shown = 0; shown < THINGS;) {
        const unsigned more = 1 + shown % 7, n = more < THINGS - shown ? more : THINGS - shown;
        shown += n;
        atomic_fetch_add(&shop.left, n);
        show(KEY, shown);
    }
    for (unsigned i = 0; i < WORKERS; i++)
        worker_join(workers[i]);
    assert_int_equal(atomic_load(&shop.failed), 0);
    assert_int_equal(atomic_load(&shop.out_of_line), 0);
    assert_int_equal(atomic_load(&shop.taken), THINGS);
    assert_int_equal(atomic_load(&shop.left), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_watches_is_told_what_changes), cmocka_unit_test(lines_are_kept),
        cmocka_unit_test(a_wait_ends_without_being_told),   cmocka_unit_test(no_wake_up_is_lost),
        cmocka_unit_test(a_line_takes_all_that_there_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

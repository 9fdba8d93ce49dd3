#include "net/quic_replay.h"

#include <pthread.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/test.h"

static struct quic_replay *r;

static int setup(void **state)
{
    (void)state;
    r = mem_get_aligned(sizeof *r, 64);
    return r ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    mem_free(r);
    return 0;
}

static void the_second_time_is_seen(void **state)
{
    (void)state;
    assert_true(quic_replay_first(r, 7, 1000, 1010));
    assert_false(quic_replay_first(r, 7, 1000, 1010));
    assert_false(quic_replay_first(r, 7, 1010, 1020));
    assert_true(quic_replay_first(r, 8ULL << 32 | 7, 1010, 1020));
}

static void what_is_over_is_forgotten(void **state)
{
    (void)state;
    assert_true(quic_replay_first(r, 7, 1000, 1010));
    assert_true(quic_replay_first(r, 7, 1011, 1020));
    assert_false(quic_replay_first(r, 7, 1011, 1020));
}

/* A row without room forgets nothing: it says "seen" to what it has no place for. */
static void a_full_row_is_on_the_safe_side(void **state)
{
    (void)state;
    for (uint64_t i = 1; i <= QUIC_REPLAY_PLACES; i++)
        assert_true(quic_replay_first(r, i << 32, 1000, 1010));
    assert_false(quic_replay_first(r, 99ULL << 32, 1000, 1010));
    for (uint64_t i = 1; i <= QUIC_REPLAY_PLACES; i++)
        assert_false(quic_replay_first(r, i << 32, 1000, 1010));
    assert_true(quic_replay_first(r, 99ULL << 32, 1011, 1020));
}

enum { THREADS = 4, TRIES = 20000 };
static _Atomic unsigned firsts[TRIES];

static void *try_all(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < TRIES; i++) {
        if (quic_replay_first(r, hash_u64(i + 1), 1000, 1010))
            atomic_fetch_add(&firsts[i], 1);
    }
    return NULL;
}

static void of_several_at_a_time_at_most_one_is_first(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, try_all, NULL), 0);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < TRIES; i++)
        assert_in_range(atomic_load(&firsts[i]), 0, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_second_time_is_seen, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_over_is_forgotten, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_row_is_on_the_safe_side, setup, teardown),
        cmocka_unit_test_setup_teardown(of_several_at_a_time_at_most_one_is_first, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

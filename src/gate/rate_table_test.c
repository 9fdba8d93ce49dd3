#include "gate/rate_table.h"

#include <pthread.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/test.h"

#define MS 1000000ull

static struct rate rate_of(uint64_t count, uint64_t per_ms, uint64_t burst)
{
    struct rate r;
    assert_true(rate_init(&r, count, per_ms, burst));
    return r;
}

/* ---- the decision */

static struct rate_table table;
static void *memory;

static void open_table(uint64_t keys_max)
{
    memory = mem_get_aligned(rate_table_bytes(keys_max), 64);
    rate_table_open(&table, memory, keys_max);
}

static struct rate_place place_of(uint64_t key)
{
    return rate_table_find(&table, (struct bytes){ (const char *)&key, sizeof key });
}

static struct rate_verdict take(const struct rate *r, uint64_t key, uint64_t now)
{
    return rate_table_take(place_of(key), r, 1, now);
}

static unsigned take_many(const struct rate *r, uint64_t key, uint64_t now, unsigned times)
{
    unsigned allowed = 0;
    while (times--)
        allowed += take(r, key, now).allowed;
    return allowed;
}

static void a_burst_passes_and_then_one_an_interval(void **state)
{
    (void)state;
    open_table(1);
    const struct rate r = rate_of(50, 1000, 50);
    uint64_t now = 7777 * MS;
    for (unsigned i = 0; i < 50; i++) {
        const struct rate_verdict v = take(&r, 1, now);
        assert_true(v.allowed);
        assert_int_equal(v.remaining, 49 - i);
    }
    for (int i = 0; i < 10; i++) {
        const struct rate_verdict v = take(&r, 1, now);
        assert_false(v.allowed);
        assert_in_range(v.wait_ns, 19 * MS, 20 * MS + MS / 10);
        assert_false(take(&r, 1, now + 19 * MS).allowed);
        assert_true(take(&r, 1, now + 20 * MS + MS / 10).allowed);
        now += 20 * MS;
    }
    mem_free(memory);
}

static void who_waits_as_told_is_let_in(void **state)
{
    (void)state;
    static const struct {
        uint64_t count, per_ms;
    } rates[] = { { 1, 3600000 }, { 7, 1000 },      { 50, 1000 },
                  { 999, 1000 },  { 100000, 1000 }, { 10000000, 1000 } };
    for (unsigned i = 0; i < sizeof rates / sizeof *rates; i++) {
        open_table(1);
        const struct rate r = rate_of(rates[i].count, rates[i].per_ms, 1);
        uint64_t now = 123456789 * MS + i;
        for (int j = 0; j < 100; j++) {
            assert_true(take(&r, 1, now).allowed);
            const struct rate_verdict v = take(&r, 1, now);
            assert_false(v.allowed);
            now += v.wait_ns + 1;
        }
        mem_free(memory);
    }
}

/* Asked a hundred times an interval, for a thousand intervals. */
static uint64_t allowed_of_a_thousand(uint64_t count, uint64_t per_ms, uint64_t burst)
{
    open_table(1);
    const struct rate r = rate_of(count, per_ms, burst);
    const uint64_t step_ns = per_ms * MS / count / 100;
    uint64_t allowed = 0;
    for (uint64_t i = 0; i < 100000; i++)
        allowed += take(&r, 1, 5000 * MS + i * step_ns).allowed;
    mem_free(memory);
    return allowed;
}

static void any_rate_is_kept(void **state)
{
    (void)state;
    static const struct {
        uint64_t count, per_ms;
    } rates[] = { { 1, 3600000 }, { 7, 1000 },    { 50, 1000 },
                  { 333, 60000 }, { 9973, 1000 }, { 10000000, 1000 } };
    for (unsigned i = 0; i < sizeof rates / sizeof *rates; i++) {
        /* without a burst a question that comes late, by a hundredth, and a tick, by a 32nd, are lost each
         * time */
        assert_in_range(allowed_of_a_thousand(rates[i].count, rates[i].per_ms, 1), 950, 1001);
        assert_in_range(allowed_of_a_thousand(rates[i].count, rates[i].per_ms, 2), 998, 1002);
    }
}

static void a_pause_gives_the_burst_back_and_no_more(void **state)
{
    (void)state;
    open_table(1);
    const struct rate r = rate_of(10, 60000, 3);
    assert_int_equal(take_many(&r, 1, 1, 100), 3);
    assert_int_equal(take_many(&r, 1, 3600000 * MS, 100), 3);
    mem_free(memory);
}

static void a_clock_that_lags_a_turn_behind_is_no_gift(void **state)
{
    (void)state;
    open_table(1);
    const struct rate r = rate_of(1, 1000, 1);
    assert_true(take(&r, 1, 5000 * MS).allowed);
    assert_false(take(&r, 1, 4999 * MS).allowed);
    assert_false(take(&r, 1, 100 * MS).allowed);
    mem_free(memory);
}

static void a_cost_is_so_many_requests(void **state)
{
    (void)state;
    open_table(1);
    const struct rate r = rate_of(10, 1000, 10);
    const struct rate_place p = place_of(1);
    assert_true(rate_table_take(p, &r, 7, 1000 * MS).allowed);
    assert_false(rate_table_take(p, &r, 4, 1000 * MS).allowed);
    assert_true(rate_table_take(p, &r, 3, 1000 * MS).allowed);
    assert_false(rate_table_take(p, &r, 1000, 1900 * MS).allowed);
    assert_true(rate_table_take(p, &r, 1000, 2001 * MS).allowed); /* more than the burst: all of it */
    assert_false(take(&r, 1, 2001 * MS).allowed);
    mem_free(memory);
}

static void a_look_charges_nothing_and_a_refund_gives_back(void **state)
{
    (void)state;
    open_table(1);
    const struct rate r = rate_of(10, 1000, 2);
    const struct rate_place p = place_of(1);
    for (int i = 0; i < 10; i++)
        assert_true(rate_table_peek(p, &r, 1, 1000 * MS).allowed);
    assert_int_equal(take_many(&r, 1, 1000 * MS, 10), 2);
    assert_false(rate_table_peek(p, &r, 1, 1000 * MS).allowed);
    rate_table_refund(p, &r, 1);
    assert_true(rate_table_peek(p, &r, 1, 1000 * MS).allowed);
    assert_int_equal(take_many(&r, 1, 1000 * MS, 10), 1);
    mem_free(memory);
}

static void all_of_it_is_back_when_it_says(void **state)
{
    (void)state;
    const struct rate r = rate_of(10, 1000, 20);
    assert_int_equal(rate_full_ns(&r, 20), 0);
    assert_in_range(rate_full_ns(&r, 10), 1000 * MS, 1001 * MS);
    assert_in_range(rate_full_ns(&r, 0), 2000 * MS, 2001 * MS);
}

static void what_cannot_be_counted_is_refused(void **state)
{
    (void)state;
    struct rate r;
    assert_false(rate_init(&r, 1, 3600000, 1000000000));
    assert_true(rate_init(&r, 1, 3600000, 10000));
    assert_true(rate_init(&r, 10000000, 1000, 1000000000));
    assert_true(rate_init(&r, 1, 86400000ull * 365, 1));
}

/* After the ticks ran over, what is long gone counts for nothing, whatever its age. */
static void time_may_run_over(void **state)
{
    (void)state;
    const struct rate r = rate_of(10000000, 1000, 1);
    const uint64_t over_ns = (UINT64_C(1) << 44) * 100 / 32;
    open_table(1);
    uint64_t now = over_ns - 1000;
    for (int i = 0; i < 40; i++, now += 101) {
        assert_true(take(&r, 1, now).allowed);
        assert_false(take(&r, 1, now).allowed);
    }
    for (uint64_t part = 1; part < 8; part++)
        assert_true(take(&r, 1, now += over_ns * part / 8).allowed);
    mem_free(memory);
}

/* ---- the table */

static void keys_are_counted_apart(void **state)
{
    (void)state;
    open_table(1000);
    const struct rate r = rate_of(5, 1000, 5);
    for (uint64_t i = 1; i <= 200; i++)
        assert_int_equal(take_many(&r, i, 1000 * MS, 8), 5);
    for (uint64_t i = 1; i <= 200; i++)
        assert_int_equal(take_many(&r, i, 1200 * MS + MS, 8), 1);
    mem_free(memory);
}

/* Keys for one set, whose tags differ, whatever the seed. */
static struct rate_place places[64];

static void open_one_set(void)
{
    open_table(1);
    for (unsigned i = 0; i < 64; i++)
        places[i] = (struct rate_place){ table.sets, (uint64_t)(i + 1) << 44 };
}

static void what_has_passed_makes_room_unnoticed(void **state)
{
    (void)state;
    open_one_set();
    const struct rate r = rate_of(1, 1000, 1);
    for (unsigned i = 0; i < 64; i++) {
        const uint64_t now = (i + 1) * 150 * MS; /* seven are running at a time, of eight words */
        const struct rate_verdict v = rate_table_take(places[i], &r, 1, now);
        assert_true(v.allowed && !v.forgot);
        for (unsigned running = i + 1; running-- && running + 6 > i;)
            assert_false(rate_table_take(places[running], &r, 1, now).allowed);
    }
    mem_free(memory);
}

static void a_full_set_goes_on_from_who_used_least(void **state)
{
    (void)state;
    open_one_set();
    const struct rate r = rate_of(10, 1000, 10);
    const uint64_t now = 1000 * MS;
    for (unsigned key = 0; key < 8; key++) {
        for (unsigned i = 0; i < (key == 4 ? 3u : 10u); i++)
            assert_true(rate_table_take(places[key], &r, 1, now).allowed);
    }
    struct rate_verdict v = rate_table_take(places[8], &r, 1, now);
    assert_true(v.allowed && v.forgot);
    assert_int_equal(v.remaining, 6); /* the other had had three of ten */
    for (unsigned i = 0; i < 6; i++)
        assert_true(rate_table_take(places[8], &r, 1, now).allowed);
    for (unsigned key = 0; key < 64; key++) /* whoever comes: the set has given all that it may */
        assert_false(rate_table_take(places[key], &r, 1, now).allowed);
    mem_free(memory);
}

static void a_set_never_gives_more_than_its_words(void **state)
{
    (void)state;
    open_one_set();
    const struct rate r = rate_of(10, 1000, 10);
    unsigned allowed = 0;
    for (unsigned i = 0; i < 100000; i++) /* for ten seconds, always another one */
        allowed += rate_table_take(places[(i * 7) % 64], &r, 1, 1000 * MS + i * MS / 10).allowed;
    assert_true(allowed <= 8 * (10 + 10 * 10));
    mem_free(memory);
}

static void who_opens_it_again_finds_the_same(void **state)
{
    (void)state;
    open_table(1000);
    const struct rate r = rate_of(1, 3600000, 1);
    for (uint64_t key = 0; key < 100; key++)
        assert_true(take(&r, key, 1000 * MS).allowed);
    rate_table_open(&table, memory, 1000);
    for (uint64_t key = 0; key < 100; key++)
        assert_false(take(&r, key, 1000 * MS).allowed);
    mem_free(memory);
}

static void a_set_is_a_cache_line(void **state)
{
    (void)state;
    assert_int_equal(sizeof(struct rate_set), 64);
    assert_int_equal(offsetof(struct rate_memory, sets), 64);
    assert_int_equal(rate_table_bytes(1000000), 64 + 64 * 500001);
}

/* ---- workers together
 *
 * Threads ask for the same keys at the same moment, so that they enter, charge and replace one another's.
 * What they were given together must be what the rate allows, to the last one. Their clocks differ. */
#define THREADS 4
#define KEYS 6
#define ROUNDS_MAX 4000

static struct {
    struct rate rate;
    unsigned rounds, burst;
    pthread_barrier_t barrier;
    _Atomic unsigned allowed[ROUNDS_MAX][KEYS];
} race;

static void *race_run(void *arg)
{
    const uint64_t apart = (uintptr_t)arg * 100; /* far less than an interval */
    for (unsigned round = 0; round < race.rounds; round++) {
        pthread_barrier_wait(&race.barrier);
        /* all keys of the last round have passed and are replaced now */
        const uint64_t now = (round + 1) * 10000 * MS + apart;
        for (unsigned i = 0; i < (race.burst / 2 + 1) * KEYS; i++) {
            const unsigned key = i % KEYS;
            race.allowed[round][key] +=
                rate_table_take(places[key + (round % 2) * KEYS], &race.rate, 1, now).allowed;
        }
    }
    return NULL;
}

static void race_of(unsigned rounds, unsigned burst)
{
    open_one_set();
    race.rate = rate_of(burst, 1000, burst);
    race.rounds = rounds;
    race.burst = burst;
    memset(race.allowed, 0, sizeof race.allowed);
    pthread_barrier_init(&race.barrier, NULL, THREADS);
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, race_run, (void *)i), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&race.barrier);
    for (unsigned round = 0; round < rounds; round++) {
        for (unsigned key = 0; key < KEYS; key++)
            assert_int_equal(race.allowed[round][key], burst);
    }
    mem_free(memory);
}

static void workers_together_give_exactly_what_is_allowed(void **state)
{
    (void)state;
    race_of(ROUNDS_MAX, 7); /* mostly entering keys */
    race_of(300, 200);      /* mostly charging them */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_burst_passes_and_then_one_an_interval),
        cmocka_unit_test(who_waits_as_told_is_let_in),
        cmocka_unit_test(any_rate_is_kept),
        cmocka_unit_test(a_pause_gives_the_burst_back_and_no_more),
        cmocka_unit_test(a_clock_that_lags_a_turn_behind_is_no_gift),
        cmocka_unit_test(a_cost_is_so_many_requests),
        cmocka_unit_test(a_look_charges_nothing_and_a_refund_gives_back),
        cmocka_unit_test(all_of_it_is_back_when_it_says),
        cmocka_unit_test(what_cannot_be_counted_is_refused),
        cmocka_unit_test(time_may_run_over),
        cmocka_unit_test(keys_are_counted_apart),
        cmocka_unit_test(what_has_passed_makes_room_unnoticed),
        cmocka_unit_test(a_full_set_goes_on_from_who_used_least),
        cmocka_unit_test(a_set_never_gives_more_than_its_words),
        cmocka_unit_test(who_opens_it_again_finds_the_same),
        cmocka_unit_test(a_set_is_a_cache_line),
        cmocka_unit_test(workers_together_give_exactly_what_is_allowed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

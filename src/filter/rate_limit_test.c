#include "filter/fakes_test.h"
/* first the fakes */
#include "filter/rate_limit.c"

#include <pthread.h>

#include "base/test.h"

#define MS NS_OF_MS

/* ---- the decision ---- */

static void a_burst_passes_and_then_one_an_interval(void **state)
{
    (void)state;
    const struct gcra g = gcra_of((struct conf_rate){ 50, 1000 }, 50);
    assert_int_equal(g.interval_ns, 20 * MS);
    uint64_t now = 7777 * MS;
    uint64_t tat = 0;
    for (int i = 0; i < 50; i++) {
        const struct verdict v = gcra_decide(&g, tat, now);
        assert_true(v.allowed);
        tat = v.tat_ns;
    }
    for (int i = 0; i < 10; i++) {
        struct verdict v = gcra_decide(&g, tat, now);
        assert_false(v.allowed);
        assert_int_equal(v.retry_ns, 20 * MS);
        assert_false(gcra_decide(&g, tat, now + v.retry_ns - 1).allowed);
        v = gcra_decide(&g, tat, now + v.retry_ns);
        assert_true(v.allowed);
        tat = v.tat_ns;
        now += 20 * MS;
    }
}

static void a_pause_gives_the_burst_back_and_no_more(void **state)
{
    (void)state;
    const struct gcra g = gcra_of((struct conf_rate){ 10, 60000 }, 3);
    uint64_t tat = 0;
    for (uint64_t now = 1; now < 100; now++) {
        const struct verdict v = gcra_decide(&g, tat, now);
        assert_int_equal(v.allowed, now <= 3);
        tat = v.allowed ? v.tat_ns : tat;
    }
    unsigned allowed = 0;
    for (uint64_t now = 3600000 * MS; now < 3600000 * MS + 100; now++) {
        const struct verdict v = gcra_decide(&g, tat, now);
        allowed += v.allowed;
        tat = v.allowed ? v.tat_ns : tat;
    }
    assert_int_equal(allowed, 3);
}

static void an_odd_rate_is_never_exceeded(void **state)
{
    (void)state;
    const struct gcra g = gcra_of((struct conf_rate){ 7, 1000 }, 1);
    assert_true(g.interval_ns * 7 >= 1000 * MS);
    assert_true(g.interval_ns * 7 < 1000 * MS + 7);
}

static void a_clock_that_lags_a_turn_behind_is_no_gift(void **state)
{
    (void)state;
    const struct gcra g = gcra_of((struct conf_rate){ 1, 1000 }, 1);
    const struct verdict v = gcra_decide(&g, 0, 5000 * MS);
    assert_false(gcra_decide(&g, v.tat_ns, 4999 * MS).allowed);
}

/* ---- the table ---- */

#define BUCKETS_MAX 100

/* Empty */
static struct table table_of(uint64_t buckets)
{
    static struct bucket memory[BUCKETS_MAX];
    must(buckets <= BUCKETS_MAX);
    memset(memory, 0, sizeof memory);
    return (struct table){ memory, buckets };
}

static unsigned take_many(const struct table *t, const struct gcra *g, uint64_t key, uint64_t now,
                          unsigned times)
{
    unsigned allowed = 0;
    while (times--)
        allowed += table_take(t, g, key, now).allowed;
    return allowed;
}

static void keys_are_counted_apart(void **state)
{
    (void)state;
    const struct table t = table_of(100);
    const struct gcra g = gcra_of((struct conf_rate){ 5, 1000 }, 5);
    for (uint64_t i = 1; i <= 200; i++)
        assert_int_equal(take_many(&t, &g, hash_u64(i), 1000 * MS, 8), 5);
    for (uint64_t i = 1; i <= 200; i++)
        assert_int_equal(take_many(&t, &g, hash_u64(i), 1200 * MS, 8), 1);
}

static void what_has_passed_makes_room_unnoticed(void **state)
{
    (void)state;
    const struct table t = table_of(1);
    const struct gcra g = gcra_of((struct conf_rate){ 1, 1000 }, 1);
    for (uint64_t i = 1; i <= 100; i++) {
        const uint64_t now = i * 200 * MS; /* five are running at a time, of seven slots */
        const struct verdict v = table_take(&t, &g, i, now);
        assert_true(v.allowed && !v.forgot);
        for (uint64_t running = i; running && running + 5 > i; running--)
            assert_false(table_take(&t, &g, running, now).allowed);
    }
}

static void a_full_bucket_forgets_who_used_least(void **state)
{
    (void)state;
    const struct table t = table_of(1);
    const struct gcra g = gcra_of((struct conf_rate){ 10, 1000 }, 10);
    for (uint64_t key = 1; key <= 7; key++)
        take_many(&t, &g, key, 1000 * MS, key == 4 ? 1 : 10);
    const struct verdict v = table_take(&t, &g, 8, 1000 * MS);
    assert_true(v.allowed && v.forgot);
    for (uint64_t key = 1; key <= 7; key++) {
        if (key != 4)
            assert_false(table_take(&t, &g, key, 1000 * MS).allowed);
    }
    assert_int_equal(take_many(&t, &g, 8, 1000 * MS, 20), 9);
}

/* Threads ask for the same keys at the same moment, so that they enter, charge and replace one another's.
 * What they were given together must be what the rate allows, to the last one. */
#define THREADS 4
#define KEYS 6
#define ROUNDS_MAX 4000

static struct {
    struct table table;
    struct gcra gcra;
    unsigned rounds, burst;
    pthread_barrier_t barrier;
    _Atomic unsigned allowed[ROUNDS_MAX][KEYS];
} race;

static void *race_run(void *arg)
{
    (void)arg;
    for (unsigned round = 0; round < race.rounds; round++) {
        pthread_barrier_wait(&race.barrier);
        /* all keys of the last round have passed and are replaced now */
        const uint64_t now = (round + 1) * 10000 * MS;
        for (unsigned i = 0; i < (race.burst / 2 + 1) * KEYS; i++) {
            const unsigned key = i % KEYS;
            race.allowed[round][key] +=
                table_take(&race.table, &race.gcra, 1 + key + (round % 2) * KEYS, now).allowed;
        }
    }
    return NULL;
}

static void race_of(unsigned rounds, unsigned burst)
{
    race.table = table_of(1);
    race.gcra = gcra_of((struct conf_rate){ burst, 1000 }, burst);
    race.rounds = rounds;
    race.burst = burst;
    memset(race.allowed, 0, sizeof race.allowed);
    pthread_barrier_init(&race.barrier, NULL, THREADS);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, race_run, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&race.barrier);
    for (unsigned round = 0; round < rounds; round++) {
        for (unsigned key = 0; key < KEYS; key++)
            assert_int_equal(race.allowed[round][key], burst);
    }
}

static void workers_together_give_exactly_what_is_allowed(void **state)
{
    (void)state;
    race_of(ROUNDS_MAX, 7); /* mostly entering keys */
    race_of(300, 200);      /* mostly charging them */
}

/* ---- keys ---- */

static uint64_t key_of_text(const char *text)
{
    struct addr a;
    assert_int_equal(addr_parse(bytes_from(text), &a), OK);
    return key_of_client(&a);
}

static void a_client_is_an_ipv4_address_or_an_ipv6_64(void **state)
{
    (void)state;
    assert_true(key_of_text("10.0.0.1:1000") == key_of_text("10.0.0.1:2000"));
    assert_true(key_of_text("10.0.0.1:1000") != key_of_text("10.0.0.2:1000"));
    assert_true(key_of_text("10.0.0.1:1000") == key_of_text("[::ffff:10.0.0.1]:7"));
    assert_true(key_of_text("[2001:db8:1:2::1]:1") == key_of_text("[2001:db8:1:2:ffff::9]:1"));
    assert_true(key_of_text("[2001:db8:1:2::1]:1") != key_of_text("[2001:db8:1:3::1]:1"));
    assert_true(key_of_text("unix:/run/a") == key_of_text("unix:/run/b"));
}

/* ---- the filter ---- */

static struct rate_limit *opened(struct rate_limit_conf conf)
{
    void *r = NULL;
    assert_int_equal(rate_limit_open(&conf, NULL, BYTES("/api/"), &r, NULL), OK);
    return r;
}

static void the_refused_get_429_and_when_to_come_again(void **state)
{
    (void)state;
    struct rate_limit *r =
        opened((struct rate_limit_conf){ .rate = { 2, 60000 }, .key = KEY_IP, .keys_max = 100 });
    struct addr client;
    assert_int_equal(addr_parse(BYTES("10.0.0.1:1"), &client), OK);
    fake.chained = 0;
    fake.now_us = 1000000;
    for (int i = 0; i < 3; i++) {
        fake.now_us += i == 2; /* 29.999999 s are left */
        struct exchange x;
        fake_exchange_open(&x);
        x.client = &client;
        assert_int_equal(rate_limit_handle(&x, r, NULL), OK);
        if (i == 2) {
            assert_int_equal(x.response.status, 429);
            assert_bytes_equal(x.answered_by, BYTES("rate_limit"));
            assert_bytes_equal(http_field_value(http_fields_find(&x.response.fields, BYTES("Retry-After"))),
                               BYTES("30"));
            assert_bytes_equal(
                http_field_value(http_fields_find(&x.response.fields, BYTES("RateLimit-Policy"))),
                BYTES("\"rate_limit\";q=2;w=60"));
            assert_bytes_equal(http_field_value(http_fields_find(&x.response.fields, BYTES("RateLimit"))),
                               BYTES("\"rate_limit\";r=0;t=30"));
        }
        fake_exchange_close(&x);
    }
    assert_int_equal(fake.chained, 2);
    assert_int_equal(metric_value(r->metrics, METRIC_ALLOWED), 2);
    assert_int_equal(metric_value(r->metrics, METRIC_LIMITED), 1);
    rate_limit_close(r);
}

static void a_reload_forgets_nothing(void **state)
{
    (void)state;
    const struct rate_limit_conf conf = { .rate = { 1, 60000 }, .keys_max = 100 };
    struct rate_limit *before = opened(conf);
    assert_true(table_take(&before->table, &before->gcra, 1, fake.now_us * 1000).allowed);
    struct rate_limit *after = opened(conf);
    rate_limit_close(before);
    assert_false(table_take(&after->table, &after->gcra, 1, fake.now_us * 1000).allowed);
    rate_limit_close(after);
    assert_int_equal(fake.shared_held, 0);
}

static void no_memory_is_said(void **state)
{
    (void)state;
    const struct rate_limit_conf conf = { .rate = { 1, 60000 }, .keys_max = 100 };
    err e = ERR_MEMORY;
    for (uint64_t n = 1; e; n++) {
        void *r = NULL;
        mem_fail_at(n);
        e = rate_limit_open(&conf, NULL, BYTES("/"), &r, NULL);
        mem_fail_at(0);
        assert_true(e == OK || (e == ERR_MEMORY && n < 10));
        if (r)
            rate_limit_close(r);
    }
}

static void a_burst_of_centuries_is_refused(void **state)
{
    (void)state;
    struct rate_limit_conf conf = { .rate = { 1, 3600000 }, .burst = 1000000000 };
    struct diag d = DIAG_NONE;
    assert_int_equal(rate_limit_check(&conf, &d), ERR_CONF);
    assert_true(d.set);
    conf.burst = 1000;
    assert_int_equal(rate_limit_check(&conf, &d), OK);
}

static int start(void **state)
{
    (void)state;
    metrics_init(1);
    return 0;
}

static int end(void **state)
{
    (void)state;
    metrics_close();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_burst_passes_and_then_one_an_interval),
        cmocka_unit_test(a_pause_gives_the_burst_back_and_no_more),
        cmocka_unit_test(an_odd_rate_is_never_exceeded),
        cmocka_unit_test(a_clock_that_lags_a_turn_behind_is_no_gift),
        cmocka_unit_test(keys_are_counted_apart),
        cmocka_unit_test(what_has_passed_makes_room_unnoticed),
        cmocka_unit_test(a_full_bucket_forgets_who_used_least),
        cmocka_unit_test(workers_together_give_exactly_what_is_allowed),
        cmocka_unit_test(a_client_is_an_ipv4_address_or_an_ipv6_64),
        cmocka_unit_test(the_refused_get_429_and_when_to_come_again),
        cmocka_unit_test(a_reload_forgets_nothing),
        cmocka_unit_test(no_memory_is_said),
        cmocka_unit_test(a_burst_of_centuries_is_refused),
    };
    return cmocka_run_group_tests(tests, start, end);
}

#include "gate/breaker.c"

#include <pthread.h>

#include "base/mem.h"
#include "base/test.h"

/* ---- the decision ---- */

/* 5% over 10s, at least 20, open for 5 s, 3 probes */
static const struct breaker_limits limits = {
    .errors_share = 50000, .requests_min = 20, .slice_ms = 1000, .open_ms = 5000, .probes = 3
};

static struct breaker_phase answered(const struct breaker_phase *p, enum breaker_verdict v, uint64_t requests,
                                     uint64_t errors)
{
    const struct breaker_totals t = { requests, errors, 0 };
    return phase_answer(p, &limits, p->turn, v, &t, 100000);
}

static void the_share_opens_it_and_too_few_never_do(void **state)
{
    (void)state;
    const struct breaker_phase closed = { 0 };
    assert_int_equal(answered(&closed, BREAKER_FAILURE, 19, 19).state, BREAKER_CLOSED);
    assert_int_equal(answered(&closed, BREAKER_FAILURE, 20, 1).state, BREAKER_OPEN);
    assert_int_equal(answered(&closed, BREAKER_FAILURE, 21, 1).state, BREAKER_CLOSED);
    assert_int_equal(answered(&closed, BREAKER_FAILURE, 1000000, 49999).state, BREAKER_CLOSED);
    assert_int_equal(answered(&closed, BREAKER_FAILURE, 1000000, 50000).state, BREAKER_OPEN);
    assert_int_equal(answered(&closed, BREAKER_SUCCESS, 20, 20).state, BREAKER_CLOSED);
    assert_int_equal(answered(&closed, BREAKER_NOTHING, 20, 20).state, BREAKER_CLOSED);
}

static void shares_compare_exactly(void **state)
{
    (void)state;
    for (unsigned errors = 1; errors <= 1000000; errors += errors < 1000 ? 1 : 997) {
        const struct breaker_limits l = { .errors_share = errors, .requests_min = 1 };
        assert_true(reached(&(struct breaker_totals){ 1000000, errors, 0 }, &l));
        assert_false(reached(&(struct breaker_totals){ 1000000, errors - 1, 0 }, &l));
    }
}

static struct breaker_phase asks(const struct breaker_phase *p, uint64_t now_ms,
                                 enum breaker_passage expected)
{
    enum breaker_passage passage;
    const struct breaker_phase next = phase_ask(p, &limits, 0, now_ms, &passage);
    phase_check(&next, &limits);
    assert_int_equal(passage, expected);
    return next;
}

static struct breaker_phase half_open(void)
{
    const struct breaker_phase open = { .state = BREAKER_OPEN, .turn = 1, .until_ms = 7000 };
    return asks(&open, 7000, BREAKER_PROBES);
}

static void open_refuses_until_its_time_is_up(void **state)
{
    (void)state;
    const struct breaker_phase closed = { .turn = 6 };
    struct breaker_phase p = answered(&closed, BREAKER_FAILURE, 20, 20);
    assert_int_equal(p.turn, 7);
    assert_int_equal(p.until_ms, 105000);
    p = asks(&p, 100000, BREAKER_REFUSED);
    p = asks(&p, 104999, BREAKER_REFUSED);
    assert_int_equal(p.state, BREAKER_OPEN);
    p = asks(&p, 105000, BREAKER_PROBES);
    assert_int_equal(p.state, BREAKER_HALF_OPEN);
    assert_int_equal(p.turn, 8);
    assert_int_equal(p.until_ms, 0);
}

static void half_open_lets_as_many_through_as_probes(void **state)
{
    (void)state;
    struct breaker_phase p = half_open();
    p = asks(&p, 7000, BREAKER_PROBES);
    p = asks(&p, 7000, BREAKER_PROBES);
    p = asks(&p, 7000, BREAKER_REFUSED);
    p = answered(&p, BREAKER_SUCCESS, 0, 0);
    p = asks(&p, 7000, BREAKER_REFUSED); /* three in all, not three at a time */
    p = answered(&p, BREAKER_NOTHING, 0, 0);
    p = asks(&p, 7000, BREAKER_PROBES); /* one that said nothing is sent again */
    p = asks(&p, 7000, BREAKER_REFUSED);
    p = answered(&p, BREAKER_SUCCESS, 0, 0);
    assert_int_equal(p.state, BREAKER_HALF_OPEN);
    p = answered(&p, BREAKER_SUCCESS, 0, 0);
    assert_int_equal(p.state, BREAKER_CLOSED);
    assert_int_equal(p.turn, 3);
    phase_check(&p, &limits);
}

static void one_failed_probe_opens_it_again(void **state)
{
    (void)state;
    struct breaker_phase p = half_open();
    p = asks(&p, 7000, BREAKER_PROBES);
    p = answered(&p, BREAKER_SUCCESS, 0, 0);
    p = answered(&p, BREAKER_FAILURE, 0, 0);
    assert_int_equal(p.state, BREAKER_OPEN);
    assert_int_equal(p.until_ms, 105000);
    phase_check(&p, &limits);
}

static void late_answers_say_nothing(void **state)
{
    (void)state;
    const struct breaker_totals t = { 100, 100, 0 };
    const struct breaker_phase phases[] = {
        { .turn = 4 },
        { .state = BREAKER_OPEN, .turn = 4, .until_ms = 1 },
        { .state = BREAKER_HALF_OPEN, .turn = 4, .sent = 3, .succeeded = 2 }
    };
    for (unsigned i = 0; i < 3; i++) {
        for (enum breaker_verdict v = BREAKER_NOTHING; v <= BREAKER_FAILURE; v++) {
            const struct breaker_phase p = phase_answer(&phases[i], &limits, 3, v, &t, 9999);
            assert_true(phase_word(&p) == phase_word(&phases[i]));
        }
    }
}

static void a_word_holds_a_phase(void **state)
{
    (void)state;
    const uint32_t turn_max = (1u << TURN_BITS) - 1;
    const struct breaker_phase phases[] = {
        { 0 },
        { .turn = turn_max },
        { .state = BREAKER_OPEN, .turn = turn_max, .until_ms = (UINT64_C(1) << UNTIL_BITS) - 1 },
        { .state = BREAKER_HALF_OPEN,
          .turn = turn_max,
          .sent = BREAKER_PROBES_MAX,
          .succeeded = BREAKER_PROBES_MAX - 1 },
        { .state = BREAKER_RAMP, .turn = turn_max, .until_ms = 12345 },
    };
    for (unsigned i = 0; i < sizeof phases / sizeof *phases; i++) {
        const struct breaker_phase p = phase_read(phase_word(&phases[i]));
        assert_int_equal(p.state, phases[i].state);
        assert_int_equal(p.turn, phases[i].turn);
        assert_int_equal(p.until_ms, phases[i].until_ms);
        assert_int_equal(p.sent, phases[i].sent);
        assert_int_equal(p.succeeded, phases[i].succeeded);
    }
    assert_int_equal(phase_move(&phases[1], BREAKER_OPEN).turn, 0);
}

/* ---- the ramp ---- */

static const struct breaker_limits ramped = { .errors_share = 500000,
                                              .requests_min = 10,
                                              .slice_ms = 1000,
                                              .open_ms = 5000,
                                              .ramp_ms = 10000,
                                              .probes = 1 };

static unsigned passing(const struct breaker_phase *p, uint64_t now_ms)
{
    unsigned passed = 0;
    for (uint64_t i = 0; i < 1000; i++) {
        enum breaker_passage passage;
        phase_ask(p, &ramped, (uint32_t)(i * UINT32_MAX / 1000), now_ms, &passage);
        passed += passage == BREAKER_PASSES;
    }
    return passed;
}

static void after_the_probes_a_growing_share_passes(void **state)
{
    (void)state;
    enum breaker_passage passage;
    const struct breaker_phase open = { .state = BREAKER_OPEN, .turn = 1, .until_ms = 7000 };
    struct breaker_phase p = phase_ask(&open, &ramped, 0, 7000, &passage);
    assert_int_equal(p.state, BREAKER_HALF_OPEN);
    p = phase_answer(&p, &ramped, p.turn, BREAKER_SUCCESS, NULL, 8000);
    assert_int_equal(p.state, BREAKER_RAMP);
    assert_int_equal(p.until_ms, 18000);
    phase_check(&p, &ramped);
    assert_in_range(passing(&p, 8000), 19, 21);
    assert_in_range(passing(&p, 10500), 249, 251);
    assert_in_range(passing(&p, 17000), 899, 901);
    p = phase_ask(&p, &ramped, UINT32_MAX, 18000, &passage);
    assert_int_equal(p.state, BREAKER_CLOSED);
    assert_int_equal(passage, BREAKER_PASSES);
}

static void the_share_opens_it_again_on_the_ramp(void **state)
{
    (void)state;
    const struct breaker_phase ramp = { .state = BREAKER_RAMP, .turn = 3, .until_ms = 18000 };
    const struct breaker_totals few = { 9, 9, 0 }, enough = { 10, 5, 0 };
    assert_int_equal(phase_answer(&ramp, &ramped, 3, BREAKER_FAILURE, &few, 9000).state, BREAKER_RAMP);
    const struct breaker_phase p = phase_answer(&ramp, &ramped, 3, BREAKER_FAILURE, &enough, 9000);
    assert_int_equal(p.state, BREAKER_OPEN);
    assert_int_equal(p.until_ms, 14000);
    assert_int_equal(p.turn, 4);
}

static void without_probes_the_ramp_comes_at_once(void **state)
{
    (void)state;
    struct breaker_limits l = ramped;
    l.probes = 0;
    enum breaker_passage passage;
    const struct breaker_phase open = { .state = BREAKER_OPEN, .turn = 1, .until_ms = 7000 };
    struct breaker_phase p = phase_ask(&open, &l, 0, 7000, &passage);
    assert_int_equal(p.state, BREAKER_RAMP);
    assert_int_equal(passage, BREAKER_PASSES);
    phase_check(&p, &l);
    l.ramp_ms = 0;
    p = phase_ask(&open, &l, UINT32_MAX, 7000, &passage);
    assert_int_equal(p.state, BREAKER_CLOSED);
    assert_int_equal(passage, BREAKER_PASSES);
}

static void what_began_before_the_ramp_says_nothing(void **state)
{
    (void)state;
    struct breaker_limits l = ramped;
    l.probes = 0;
    l.requests_min = 2;
    struct breaker *b = mem_get_aligned(breaker_bytes(1), 64);
    b->phase = phase_word(&(struct breaker_phase){ .state = BREAKER_RAMP, .turn = 3, .until_ms = 18000 });
    for (int i = 0; i < 5; i++)
        breaker_answer_since(b, &l, 1, 0, 7999, BREAKER_FAILURE, 9000);
    assert_int_equal(breaker_phase(b).state, BREAKER_RAMP);
    for (int i = 0; i < 2; i++)
        breaker_answer_since(b, &l, 1, 0, 8000, BREAKER_FAILURE, 9000);
    assert_int_equal(breaker_phase(b).state, BREAKER_OPEN);
    breaker_answer_since(b, &l, 1, 0, 8000, BREAKER_FAILURE, 9000);
    assert_int_equal(breaker_phase(b).until_ms, 14000);
    mem_free(b);
}

/* ---- slow answers ---- */

static void slow_answers_open_it_where_they_count(void **state)
{
    (void)state;
    struct breaker_limits l = ramped;
    const struct breaker_phase closed = { 0 };
    const struct breaker_totals t = { 20, 0, 10 };
    assert_int_equal(phase_answer(&closed, &l, 0, BREAKER_SLOW, &t, 1).state, BREAKER_CLOSED);
    l.slow_share = 500000;
    assert_int_equal(phase_answer(&closed, &l, 0, BREAKER_SLOW, &t, 1).state, BREAKER_OPEN);
    l.slow_share = 500001;
    assert_int_equal(phase_answer(&closed, &l, 0, BREAKER_SLOW, &t, 1).state, BREAKER_CLOSED);
    struct breaker *b = mem_get_aligned(breaker_bytes(2), 64);
    l.slow_share = 500000;
    for (unsigned i = 0; i < 10; i++) {
        breaker_answer(b, &l, 2, i % 2, 0, BREAKER_SUCCESS, 1000);
        breaker_answer(b, &l, 2, i % 2, 0, BREAKER_SLOW, 1000);
    }
    assert_int_equal(breaker_phase(b).state, BREAKER_OPEN);
    mem_free(b);
}

/* ---- the window ---- */

static struct breaker_totals totals_at(const struct breaker_window *w, uint32_t turn, uint32_t number)
{
    struct breaker_totals t = { 0 };
    window_add(w, turn, number, &t);
    return t;
}

static void the_window_slides(void **state)
{
    (void)state;
    struct breaker_window w = { 0 };
    for (uint32_t number = 100; number < 125; number++) {
        for (uint32_t i = 0; i < number; i++)
            window_count(&w, 0, number, i < 2 ? BREAKER_FAILURE : BREAKER_SUCCESS);
        uint64_t requests = 0;
        for (uint32_t n = number < 109 ? 100 : number - 9; n <= number; n++)
            requests += n;
        assert_int_equal(totals_at(&w, 0, number).requests, requests);
        assert_int_equal(totals_at(&w, 0, number).errors, number < 109 ? 2 * (number - 99) : 20);
    }
    assert_int_equal(totals_at(&w, 0, 133).requests, 124);
    assert_int_equal(totals_at(&w, 0, 134).requests, 0);
    assert_int_equal(totals_at(&w, 0, 123).errors, 20); /* a worker whose clock is a slice behind */
}

static void another_turn_counts_anew(void **state)
{
    (void)state;
    struct breaker_window w = { 0 };
    window_count(&w, 0, 5, BREAKER_FAILURE);
    assert_int_equal(totals_at(&w, 2, 5).requests, 0);
    window_count(&w, 2, 5, BREAKER_SUCCESS);
    assert_int_equal(totals_at(&w, 2, 5).requests, 1);
    assert_int_equal(totals_at(&w, 2, 5).errors, 0);
    assert_int_equal(totals_at(&w, 0, 5).requests, 0);
}

/* ---- workers together ----
 *
 * Rounds of: closed, all threads report errors; open, all threads ask when its time is up; half-open, the
 * probes are answered. Each move has to be made once, and exactly the probes may pass. */
#define THREADS 4
#define ROUNDS 200
#define ASKS 400
#define PROBES_AT_ONCE 700

static struct {
    struct breaker *breaker;
    struct breaker_limits limits;
    pthread_barrier_t barrier;
    _Atomic unsigned opened, half_opened, closed, passed;
    _Atomic unsigned wrong;
} race;

static void race_note(const struct breaker_step *s)
{
    if (s->before.turn == s->after.turn)
        return;
    race.opened += s->after.state == BREAKER_OPEN;
    race.half_opened += s->after.state == BREAKER_HALF_OPEN;
    race.closed += s->after.state == BREAKER_CLOSED;
}

static void race_answer(unsigned worker, uint32_t turn, enum breaker_verdict v, uint64_t now_ms)
{
    const struct breaker_step s =
        breaker_answer(race.breaker, &race.limits, THREADS, worker, turn, v, now_ms);
    race_note(&s);
}

static void race_round(unsigned worker, uint64_t now_ms)
{
    uint32_t turns[ASKS];
    unsigned count = 0;
    const uint32_t closed_turn = phase_read(race.breaker->phase).turn;
    pthread_barrier_wait(&race.barrier);
    for (unsigned i = 0; i < ASKS; i++) /* THREADS * ASKS errors: the last must find them all */
        race_answer(worker, closed_turn, BREAKER_FAILURE, now_ms);
    pthread_barrier_wait(&race.barrier);
    race.wrong += phase_read(race.breaker->phase).state != BREAKER_OPEN;
    pthread_barrier_wait(&race.barrier);
    for (unsigned i = 0; i < ASKS; i++) {
        const struct breaker_step s =
            breaker_ask(race.breaker, &race.limits, 0, now_ms + race.limits.open_ms);
        race_note(&s);
        if (s.passage == BREAKER_PROBES)
            turns[count++] = s.after.turn;
    }
    race.passed += count;
    pthread_barrier_wait(&race.barrier);
    while (count)
        race_answer(worker, turns[--count], BREAKER_SUCCESS, now_ms + race.limits.open_ms);
    pthread_barrier_wait(&race.barrier);
}

static void *race_run(void *arg)
{
    const unsigned worker = (unsigned)(uintptr_t)arg;
    for (unsigned round = 1; round <= ROUNDS; round++)
        race_round(worker, round * 100000ull);
    return NULL;
}

static void whoever_is_slower_decides_anew(void **state)
{
    (void)state;
    struct breaker b = { .phase = phase_word(&(struct breaker_phase){ .turn = 5 }) };
    struct breaker_step s = { .before = { .turn = 4 } };
    uint64_t word = phase_word(&s.before);
    s.after = phase_open(&s.before, &limits, 1000);
    assert_false(breaker_take(&b, &limits, &word, &s));
    assert_int_equal(phase_read(b.phase).state, BREAKER_CLOSED);
    assert_true(word == b.phase);
}

static void workers_together_move_it_once(void **state)
{
    (void)state;
    race.breaker = mem_get_aligned(breaker_bytes(THREADS), 64);
    race.limits = limits;
    race.limits.requests_min = THREADS * ASKS;
    race.limits.probes = PROBES_AT_ONCE;
    pthread_barrier_init(&race.barrier, NULL, THREADS);
    pthread_t threads[THREADS];
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, race_run, (void *)(uintptr_t)i), 0);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&race.barrier);
    mem_free(race.breaker);
    assert_int_equal(race.wrong, 0);
    assert_int_equal(race.opened, ROUNDS);
    assert_int_equal(race.half_opened, ROUNDS);
    assert_int_equal(race.closed, ROUNDS);
    assert_int_equal(race.passed, ROUNDS * PROBES_AT_ONCE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_share_opens_it_and_too_few_never_do),
        cmocka_unit_test(shares_compare_exactly),
        cmocka_unit_test(open_refuses_until_its_time_is_up),
        cmocka_unit_test(half_open_lets_as_many_through_as_probes),
        cmocka_unit_test(one_failed_probe_opens_it_again),
        cmocka_unit_test(late_answers_say_nothing),
        cmocka_unit_test(a_word_holds_a_phase),
        cmocka_unit_test(after_the_probes_a_growing_share_passes),
        cmocka_unit_test(the_share_opens_it_again_on_the_ramp),
        cmocka_unit_test(without_probes_the_ramp_comes_at_once),
        cmocka_unit_test(what_began_before_the_ramp_says_nothing),
        cmocka_unit_test(slow_answers_open_it_where_they_count),
        cmocka_unit_test(the_window_slides),
        cmocka_unit_test(another_turn_counts_anew),
        cmocka_unit_test(whoever_is_slower_decides_anew),
        cmocka_unit_test(workers_together_move_it_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

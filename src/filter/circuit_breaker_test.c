#include "filter/fakes_test.h"
/* first the fakes */
#define gate_workers fake_gate_workers
static unsigned fake_gate_workers(const struct gate *g)
{
    (void)g;
    return 2;
}
#include "filter/circuit_breaker.c"

#include <pthread.h>

#include "base/test.h"

/* ---- the decision ---- */

/* 5% over 10s, at least 20, open for 5 s, 3 probes */
static const struct limits limits = { 50000, 20, 1000, 5000, 3 };

static struct phase answered(const struct phase *p, enum verdict v, uint64_t requests, uint64_t errors)
{
    const struct totals t = { requests, errors };
    return phase_answer(p, &limits, p->turn, v, &t, 100000);
}

static void the_share_opens_it_and_too_few_never_do(void **state)
{
    (void)state;
    const struct phase closed = { 0 };
    assert_int_equal(answered(&closed, FAILURE, 19, 19).state, CLOSED);
    assert_int_equal(answered(&closed, FAILURE, 20, 1).state, OPEN);
    assert_int_equal(answered(&closed, FAILURE, 21, 1).state, CLOSED);
    assert_int_equal(answered(&closed, FAILURE, 1000000, 49999).state, CLOSED);
    assert_int_equal(answered(&closed, FAILURE, 1000000, 50000).state, OPEN);
    assert_int_equal(answered(&closed, SUCCESS, 20, 20).state, CLOSED);
    assert_int_equal(answered(&closed, NOTHING, 20, 20).state, CLOSED);
}

static void shares_compare_exactly(void **state)
{
    (void)state;
    for (unsigned errors = 1; errors <= 1000000; errors += errors < 1000 ? 1 : 997) {
        const struct circuit_breaker_conf conf = { .errors = errors / 1e6, .requests_min = 1 };
        const struct limits l = limits_of(&conf);
        assert_true(too_many_errors(&(struct totals){ 1000000, errors }, &l));
        assert_false(too_many_errors(&(struct totals){ 1000000, errors - 1 }, &l));
    }
}

static struct phase asks(const struct phase *p, uint64_t now_ms, enum passage expected)
{
    enum passage passage;
    const struct phase next = phase_ask(p, &limits, now_ms, &passage);
    phase_check(&next, &limits);
    assert_int_equal(passage, expected);
    return next;
}

static struct phase half_open(void)
{
    const struct phase open = { .state = OPEN, .turn = 1, .until_ms = 7000 };
    return asks(&open, 7000, PROBES);
}

static void open_refuses_until_its_time_is_up(void **state)
{
    (void)state;
    const struct phase closed = { .turn = 6 };
    struct phase p = answered(&closed, FAILURE, 20, 20);
    assert_int_equal(p.turn, 7);
    assert_int_equal(p.until_ms, 105000);
    p = asks(&p, 100000, REFUSED);
    p = asks(&p, 104999, REFUSED);
    assert_int_equal(p.state, OPEN);
    p = asks(&p, 105000, PROBES);
    assert_int_equal(p.state, HALF_OPEN);
    assert_int_equal(p.turn, 8);
    assert_int_equal(p.until_ms, 0);
}

static void half_open_lets_as_many_through_as_probes(void **state)
{
    (void)state;
    struct phase p = half_open();
    p = asks(&p, 7000, PROBES);
    p = asks(&p, 7000, PROBES);
    p = asks(&p, 7000, REFUSED);
    p = answered(&p, SUCCESS, 0, 0);
    p = asks(&p, 7000, REFUSED); /* three in all, not three at a time */
    p = answered(&p, NOTHING, 0, 0);
    p = asks(&p, 7000, PROBES); /* one that said nothing is sent again */
    p = asks(&p, 7000, REFUSED);
    p = answered(&p, SUCCESS, 0, 0);
    assert_int_equal(p.state, HALF_OPEN);
    p = answered(&p, SUCCESS, 0, 0);
    assert_int_equal(p.state, CLOSED);
    assert_int_equal(p.turn, 3);
    phase_check(&p, &limits);
}

static void one_failed_probe_opens_it_again(void **state)
{
    (void)state;
    struct phase p = half_open();
    p = asks(&p, 7000, PROBES);
    p = answered(&p, SUCCESS, 0, 0);
    p = answered(&p, FAILURE, 0, 0);
    assert_int_equal(p.state, OPEN);
    assert_int_equal(p.until_ms, 105000);
    phase_check(&p, &limits);
}

static void late_answers_say_nothing(void **state)
{
    (void)state;
    const struct totals t = { 100, 100 };
    const struct phase phases[] = { { .turn = 4 },
                                    { .state = OPEN, .turn = 4, .until_ms = 1 },
                                    { .state = HALF_OPEN, .turn = 4, .sent = 3, .succeeded = 2 } };
    for (unsigned i = 0; i < 3; i++) {
        for (enum verdict v = NOTHING; v <= FAILURE; v++) {
            const struct phase p = phase_answer(&phases[i], &limits, 3, v, &t, 9999);
            assert_true(phase_word(&p) == phase_word(&phases[i]));
        }
    }
}

static void a_word_holds_a_phase(void **state)
{
    (void)state;
    const uint32_t turn_max = (1u << TURN_BITS) - 1;
    const struct phase phases[] = {
        { 0 },
        { .turn = turn_max },
        { .state = OPEN, .turn = turn_max, .until_ms = (UINT64_C(1) << UNTIL_BITS) - 1 },
        { .state = HALF_OPEN, .turn = turn_max, .sent = PROBES_MAX, .succeeded = PROBES_MAX - 1 },
    };
    for (unsigned i = 0; i < sizeof phases / sizeof *phases; i++) {
        const struct phase p = phase_read(phase_word(&phases[i]));
        assert_int_equal(p.state, phases[i].state);
        assert_int_equal(p.turn, phases[i].turn);
        assert_int_equal(p.until_ms, phases[i].until_ms);
        assert_int_equal(p.sent, phases[i].sent);
        assert_int_equal(p.succeeded, phases[i].succeeded);
    }
    assert_int_equal(phase_move(&phases[1], OPEN).turn, 0);
}

/* ---- the window ---- */

static struct totals totals_at(const struct window *w, uint32_t turn, uint32_t number)
{
    struct totals t = { 0 };
    window_add(w, turn, number, &t);
    return t;
}

static void the_window_slides(void **state)
{
    (void)state;
    struct window w = { 0 };
    for (uint32_t number = 100; number < 125; number++) {
        for (uint32_t i = 0; i < number; i++)
            window_count(&w, 0, number, i < 2);
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
    struct window w = { 0 };
    window_count(&w, 0, 5, true);
    assert_int_equal(totals_at(&w, 2, 5).requests, 0);
    window_count(&w, 2, 5, false);
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
    struct limits limits;
    pthread_barrier_t barrier;
    _Atomic unsigned opened, half_opened, closed, passed;
    _Atomic unsigned wrong;
} race;

static void race_note(const struct step *s)
{
    if (s->before.turn == s->after.turn)
        return;
    race.opened += s->after.state == OPEN;
    race.half_opened += s->after.state == HALF_OPEN;
    race.closed += s->after.state == CLOSED;
}

static void race_answer(unsigned worker, uint32_t turn, enum verdict v, uint64_t now_ms)
{
    const struct step s = breaker_answer(race.breaker, &race.limits, THREADS, worker, turn, v, now_ms);
    race_note(&s);
}

static void race_round(unsigned worker, uint64_t now_ms)
{
    uint32_t turns[ASKS];
    unsigned count = 0;
    const uint32_t closed_turn = phase_read(race.breaker->phase).turn;
    pthread_barrier_wait(&race.barrier);
    for (unsigned i = 0; i < ASKS; i++) /* THREADS * ASKS errors: the last must find them all */
        race_answer(worker, closed_turn, FAILURE, now_ms);
    pthread_barrier_wait(&race.barrier);
    race.wrong += phase_read(race.breaker->phase).state != OPEN;
    pthread_barrier_wait(&race.barrier);
    for (unsigned i = 0; i < ASKS; i++) {
        const struct step s = breaker_ask(race.breaker, &race.limits, now_ms + race.limits.open_ms);
        race_note(&s);
        if (s.passage == PROBES)
            turns[count++] = s.after.turn;
    }
    race.passed += count;
    pthread_barrier_wait(&race.barrier);
    while (count)
        race_answer(worker, turns[--count], SUCCESS, now_ms + race.limits.open_ms);
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
    struct breaker b = { .phase = phase_word(&(struct phase){ .turn = 5 }) };
    struct step s = { .before = { .turn = 4 } };
    uint64_t word = phase_word(&s.before);
    s.after = phase_open(&s.before, &limits, 1000);
    assert_false(breaker_take(&b, &limits, &word, &s));
    assert_int_equal(phase_read(b.phase).state, CLOSED);
    assert_true(word == b.phase);
}

static void workers_together_move_it_once(void **state)
{
    (void)state;
    race.breaker = mem_get(sizeof *race.breaker + THREADS * sizeof(struct window));
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

/* ---- what counts as an error ---- */

static void servers_and_the_gate_fail_and_clients_do_not(void **state)
{
    (void)state;
    struct exchange x = { 0 };
    static const struct {
        unsigned status;
        enum verdict verdict;
    } cases[] = { { 101, SUCCESS }, { 200, SUCCESS }, { 404, SUCCESS }, { 429, SUCCESS },
                  { 500, FAILURE }, { 501, SUCCESS }, { 502, FAILURE }, { 503, FAILURE },
                  { 504, FAILURE }, { 505, SUCCESS }, { 599, FAILURE }, { 600, SUCCESS } };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        x.response.status = cases[i].status;
        assert_int_equal(verdict_of(&x, OK), cases[i].verdict);
    }
    assert_int_equal(verdict_of(&x, ERR_REFUSED), FAILURE);
    assert_int_equal(verdict_of(&x, ERR_TIMEOUT), FAILURE);
    assert_int_equal(verdict_of(&x, ERR_UNAVAILABLE), FAILURE);
    assert_int_equal(verdict_of(&x, ERR_CANCELLED), NOTHING);
    x.response.status = 503;
    x.answered_by = BYTES("another_filter");
    assert_int_equal(verdict_of(&x, OK), NOTHING);
    x.answered_by = BYTES_NONE;
    x.request_failed = ERR_CLOSED;
    assert_int_equal(verdict_of(&x, OK), NOTHING);
    assert_int_equal(verdict_of(&x, ERR_CLOSED), NOTHING);
}

/* ---- the filter ---- */

static const struct circuit_breaker_conf conf_usual = {
    .errors = 0.5, .window_ms = 10000, .requests_min = 4, .open_ms = 2500, .probes = 2
};

static struct circuit_breaker *opened(void)
{
    void *c = NULL;
    assert_int_equal(circuit_breaker_open(&conf_usual, NULL, BYTES("/api/*"), &c, NULL), OK);
    return c;
}

static unsigned server_status;

static void server_answers(struct exchange *x)
{
    x->response.status = server_status;
}

/* The status that the client gets; retry_after "" if there must be none. */
static unsigned ask(struct circuit_breaker *c, unsigned status, const char *retry_after)
{
    struct exchange x;
    fake_exchange_open(&x);
    fake.on_chain = server_answers;
    server_status = status;
    assert_int_equal(circuit_breaker_handle(&x, c, NULL), OK);
    const struct http_field *f = http_fields_find(&x.response.fields, BYTES("Retry-After"));
    if (f)
        assert_bytes_equal(x.answered_by, BYTES("circuit_breaker"));
    assert_bytes_equal(f ? http_field_value(f) : BYTES(""), bytes_from(retry_after));
    fake_exchange_close(&x);
    return x.response.status;
}

static uint64_t value(const struct circuit_breaker *c, enum circuit_breaker_metric m)
{
    return metric_value(c->metrics, m);
}

static void trip(struct circuit_breaker *c)
{
    fake.chained = 0;
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(ask(c, 500, ""), 500);
    assert_int_equal(fake.chained, 4);
    assert_int_equal(value(c, METRIC_OPEN), 1);
}

static void it_opens_refuses_probes_and_closes(void **state)
{
    (void)state;
    struct circuit_breaker *c = opened();
    trip(c);
    assert_int_equal(ask(c, 200, "3"), 503);
    fake.now_us += 1500000;
    assert_int_equal(ask(c, 200, "1"), 503);
    assert_int_equal(fake.chained, 4);

    fake.now_us += 1000000;
    assert_int_equal(ask(c, 200, ""), 200);
    assert_int_equal(value(c, METRIC_OPEN), 0);
    assert_int_equal(value(c, METRIC_HALF_OPEN), 1);
    assert_int_equal(ask(c, 500, ""), 500);
    assert_int_equal(ask(c, 200, "3"), 503);

    fake.now_us += 2500000;
    assert_int_equal(ask(c, 200, ""), 200);
    assert_int_equal(ask(c, 200, ""), 200);
    assert_int_equal(value(c, METRIC_HALF_OPEN), 0);
    assert_int_equal(value(c, METRIC_OPEN), 0);
    for (unsigned i = 0; i < 3; i++) /* what came before it opened is forgotten */
        assert_int_equal(ask(c, 500, ""), 500);
    assert_int_equal(ask(c, 200, ""), 200);

    assert_int_equal(value(c, METRIC_OPENED), 2);
    assert_int_equal(value(c, METRIC_CLOSED), 1);
    assert_int_equal(value(c, METRIC_REFUSED), 3);
    assert_int_equal(value(c, METRIC_PROBES), 4);
    assert_int_equal(value(c, METRIC_ERRORS), 8);
    circuit_breaker_close(c);
}

static struct circuit_breaker *asked_meanwhile;

static void server_answers_late(struct exchange *x)
{
    x->response.status = 200;
    fake.on_chain = NULL;
    struct exchange other;
    fake_exchange_open(&other);
    assert_int_equal(circuit_breaker_handle(&other, asked_meanwhile, NULL), OK);
    assert_int_equal(other.response.status, 503);
    assert_bytes_equal(http_field_value(http_fields_find(&other.response.fields, BYTES("Retry-After"))),
                       BYTES("1"));
    fake_exchange_close(&other);
}

static void others_wait_while_the_probes_are_out(void **state)
{
    (void)state;
    struct circuit_breaker *c = opened();
    trip(c);
    fake.now_us += 2500000;
    assert_int_equal(ask(c, 200, ""), 200);
    struct exchange x;
    fake_exchange_open(&x);
    asked_meanwhile = c;
    fake.on_chain = server_answers_late;
    assert_int_equal(circuit_breaker_handle(&x, c, NULL), OK);
    fake_exchange_close(&x);
    assert_int_equal(value(c, METRIC_CLOSED), 1);
    circuit_breaker_close(c);
}

static void an_error_of_the_chain_counts_and_is_passed_on(void **state)
{
    (void)state;
    struct circuit_breaker *c = opened();
    fake.on_chain = NULL;
    fake.chain_result = ERR_REFUSED;
    for (unsigned i = 0; i < 4; i++) {
        struct exchange x;
        fake_exchange_open(&x);
        assert_int_equal(circuit_breaker_handle(&x, c, NULL), ERR_REFUSED);
        fake_exchange_close(&x);
    }
    fake.chain_result = OK;
    assert_int_equal(value(c, METRIC_OPEN), 1);
    circuit_breaker_close(c);
}

static void a_reload_forgets_nothing(void **state)
{
    (void)state;
    struct circuit_breaker *before = opened();
    trip(before);
    struct circuit_breaker *after = opened();
    circuit_breaker_close(before);
    assert_int_equal(ask(after, 200, "3"), 503);
    assert_int_equal(value(after, METRIC_OPEN), 1);
    circuit_breaker_close(after);
    assert_int_equal(fake.shared_held, 0);
}

static void the_last_holder_takes_it_out_of_the_gauges(void **state)
{
    (void)state;
    struct metric_instance *metrics; /* another generation's, with other settings */
    assert_int_equal(metric_instance_open(&metric_group, (const struct bytes[]){ BYTES("/api/*") }, &metrics),
                     OK);
    struct circuit_breaker *c = opened();
    trip(c);
    circuit_breaker_close(c);
    assert_int_equal(metric_value(metrics, METRIC_OPEN), 0);
    assert_int_equal(metric_value(metrics, METRIC_OPENED), 1);
    metric_instance_free(metrics);
}

static void no_memory_is_said(void **state)
{
    (void)state;
    err e = ERR_MEMORY;
    for (uint64_t n = 1; e; n++) {
        void *c = NULL;
        mem_fail_at(n);
        e = circuit_breaker_open(&conf_usual, NULL, BYTES("/"), &c, NULL);
        mem_fail_at(0);
        assert_true(e == OK || (e == ERR_MEMORY && n < 10));
        if (c)
            circuit_breaker_close(c);
        assert_int_equal(fake.shared_held, 0);
    }
}

static int start(void **state)
{
    (void)state;
    log_set_level(LOG_ERROR);
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
        cmocka_unit_test(the_share_opens_it_and_too_few_never_do),
        cmocka_unit_test(shares_compare_exactly),
        cmocka_unit_test(open_refuses_until_its_time_is_up),
        cmocka_unit_test(half_open_lets_as_many_through_as_probes),
        cmocka_unit_test(one_failed_probe_opens_it_again),
        cmocka_unit_test(late_answers_say_nothing),
        cmocka_unit_test(a_word_holds_a_phase),
        cmocka_unit_test(the_window_slides),
        cmocka_unit_test(another_turn_counts_anew),
        cmocka_unit_test(whoever_is_slower_decides_anew),
        cmocka_unit_test(workers_together_move_it_once),
        cmocka_unit_test(servers_and_the_gate_fail_and_clients_do_not),
        cmocka_unit_test(it_opens_refuses_probes_and_closes),
        cmocka_unit_test(others_wait_while_the_probes_are_out),
        cmocka_unit_test(an_error_of_the_chain_counts_and_is_passed_on),
        cmocka_unit_test(a_reload_forgets_nothing),
        cmocka_unit_test(the_last_holder_takes_it_out_of_the_gauges),
        cmocka_unit_test(no_memory_is_said),
    };
    return cmocka_run_group_tests(tests, start, end);
}

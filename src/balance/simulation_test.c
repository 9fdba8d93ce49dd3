/* What the balancers make of two slow servers and one that fails fast, of 16: doc/balancing.md has the table.
 */
#include "balance/simulation_test.h"

#include "base/test.h"

static struct simulation_result of(const char *balance)
{
    struct simulation is = simulation_preset;
    is.balance = balance;
    return simulate(&is);
}

static void what_measures_beats_what_counts_by_five(void **state)
{
    (void)state;
    const struct simulation_result round_robin = of("round_robin");
    const struct simulation_result random = of("random");
    const struct simulation_result least_request = of("least_request");
    const struct simulation_result peak_ewma = of("peak_ewma");
    assert_true(round_robin.p99_ms >= 5 * least_request.p99_ms);
    assert_true(round_robin.p99_ms >= 5 * peak_ewma.p99_ms);
    assert_true(random.p99_ms >= 5 * peak_ewma.p99_ms);
}

/* The server that fails at once is never busy: least_request sends it more than its sixteenth, peak_ewma
 * nearly nothing. */
static void who_fails_fast_gets_less_and_not_more(void **state)
{
    (void)state;
    const struct simulation_result least_request = of("least_request");
    const struct simulation_result peak_ewma = of("peak_ewma");
    assert_true(least_request.failing_share > 1.0 / 16);
    assert_true(peak_ewma.failing_share < 0.2 / 16);
    assert_true(peak_ewma.errors < 0.01);
}

static void the_same_seed_gives_the_same(void **state)
{
    (void)state;
    const struct simulation_result a = of("peak_ewma");
    const struct simulation_result b = of("peak_ewma");
    assert_memory_equal(&a, &b, sizeof a);
}

/* With 8 workers, each of which sees an eighth, and other seeds, it is the same picture. */
static void holds_for_more_workers_and_other_seeds(void **state)
{
    (void)state;
    for (uint64_t seed = 2; seed < 5; seed++) {
        struct simulation is = simulation_preset;
        is.workers = 8;
        is.requests = 60000;
        is.seed = seed;
        const double round_robin_ms = simulate(&is).p99_ms;
        is.balance = "least_request";
        assert_true(round_robin_ms >= 5 * simulate(&is).p99_ms);
        is.balance = "peak_ewma";
        const struct simulation_result peak_ewma = simulate(&is);
        assert_true(round_robin_ms >= 5 * peak_ewma.p99_ms);
        assert_true(peak_ewma.errors < 0.01);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_measures_beats_what_counts_by_five),
        cmocka_unit_test(who_fails_fast_gets_less_and_not_more),
        cmocka_unit_test(the_same_seed_gives_the_same),
        cmocka_unit_test(holds_for_more_workers_and_other_seeds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

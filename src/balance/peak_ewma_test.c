#include "balance/peak_ewma.c"

#include "balance/servers_test.h"
#include "base/test.h"

static struct test_servers servers;
static struct peak_ewma *balancer;

static void begin(uint32_t count, const uint32_t *weights)
{
    const struct peak_ewma_conf conf = { .decay_ms = 10000, .failure_ms = 1000 };
    void *state = NULL;
    random_seed(1);
    test_servers_init(&servers, count, weights);
    assert_int_equal(peak_ewma_open(&conf, servers.at, count, &state, NULL), OK);
    balancer = state;
}

static void end(void)
{
    peak_ewma_close(balancer);
}

static void tell(uint32_t i, uint64_t now_ms, uint64_t latency_ms, bool failed)
{
    const struct outcome o = { .now_us = now_ms * 1000, .latency_us = latency_ms * 1000, .failed = failed };
    peak_ewma_done(balancer, servers.at, i, &o);
}

static double cost_ms(uint32_t i, uint64_t now_ms)
{
    return cost(balancer, &balancer->measured[i], &servers.at[i], now_ms * 1000) / 1000;
}

#define assert_near(x, wanted) assert_true((x) > (wanted)*0.99 && (x) < (wanted)*1.01)

static void jumps_up_at_once_and_sinks_slowly(void **unused)
{
    (void)unused;
    begin(1, NULL);
    tell(0, 1000, 10, false);
    assert_near(cost_ms(0, 1000), 10);
    tell(0, 1001, 500, false);
    assert_near(cost_ms(0, 1001), 500);
    tell(0, 1002, 10, false); /* one good answer proves little */
    assert_true(cost_ms(0, 1002) > 490);
    tell(0, 11002, 10, false); /* to a third in 10 s */
    assert_near(cost_ms(0, 11002), 10 + 490 / 2.718);
    for (uint64_t ms = 11010; ms < 100000; ms += 10)
        tell(0, ms, 10, false);
    assert_near(cost_ms(0, 99990), 10);
    end();
}

static void a_failure_counts_as_slow_however_fast(void **unused)
{
    (void)unused;
    begin(2, NULL);
    for (uint64_t ms = 1000; ms < 1020; ms++) {
        tell(0, ms, 1, true);
        tell(1, ms, 50, false);
    }
    assert_true(cost_ms(0, 1020) > 600); /* nearly all of the last 16 failed */
    assert_near(cost_ms(1, 1020), 50);
    for (int i = 0; i < 100; i++)
        assert_int_equal(peak_ewma_pick(balancer, servers.at, 2, &(struct pick){ .now_us = 1020000 }), 1);
    tell(1, 1021, 1, true); /* a fast failure does not make it look fast */
    assert_true(cost_ms(1, 1021) > 50 + 60);
    tell(1, 1022, 30000, true); /* a deadline that passed is as slow as it was */
    assert_true(cost_ms(1, 1022) > 30000);
    end();
}

static void who_was_avoided_is_asked_again_after_a_while(void **unused)
{
    (void)unused;
    begin(2, NULL);
    for (int i = 0; i < 3; i++)
        tell(0, 1000, 1, true);
    uint64_t ms = 1000;
    for (; ms < 300000; ms += 10) {
        tell(1, ms, 10, false);
        if (peak_ewma_pick(balancer, servers.at, 2, &(struct pick){ .now_us = ms * 1000 }) == 0)
            break;
    }
    assert_in_range(ms, 20000, 60000); /* 190 ms of failures sink to 10 in 30 s */
    tell(0, ms, 5, false);
    assert_true(cost_ms(0, ms) < cost_ms(1, ms) + 10);
    end();
}

static void what_is_under_way_and_the_weight_count(void **unused)
{
    (void)unused;
    begin(2, (const uint32_t[]){ 3, 1 });
    tell(0, 1000, 10, false);
    tell(1, 1000, 10, false);
    servers.at[0].load = 5; /* 6 / 3 × 10 ms */
    assert_near(cost_ms(0, 1000), 20);
    servers.at[1].load = 2;
    assert_near(cost_ms(1, 1000), 30);
    const struct pick p = { .now_us = 1000000 };
    for (int i = 0; i < 100; i++)
        assert_int_equal(peak_ewma_pick(balancer, servers.at, 2, &p), 0);
    servers.at[0].load = 11;
    for (int i = 0; i < 100; i++)
        assert_int_equal(peak_ewma_pick(balancer, servers.at, 2, &p), 1);
    end();
}

static void idle_and_unknown_servers_are_chosen_by_weight(void **unused)
{
    (void)unused;
    const uint32_t weights[] = { 1, 1, 1, 1 };
    begin(4, weights);
    for (uint32_t i = 0; i < 40000; i++)
        servers.picked[peak_ewma_pick(balancer, servers.at, 4, &(struct pick){ .now_us = 1 })]++;
    for (uint32_t i = 0; i < 4; i++)
        assert_in_range(servers.picked[i], 9500, 10500);
    end();
}

static void the_refused_are_never_taken(void **unused)
{
    (void)unused;
    begin(10, NULL);
    test_servers_set_down(&servers, 0, 10, true);
    servers.shared[7].down = 0;
    for (int i = 0; i < 100; i++)
        assert_int_equal(peak_ewma_pick(balancer, servers.at, 10, &(struct pick){ .now_us = 1 }), 7);
    servers.shared[7].down = 1;
    assert_int_equal(peak_ewma_pick(balancer, servers.at, 10, &(struct pick){ .now_us = 1 }), PICK_NONE);
    end();
}

static void no_memory_is_said(void **unused)
{
    (void)unused;
    const struct peak_ewma_conf conf = { .decay_ms = 10000 };
    test_servers_init(&servers, 3, NULL);
    for (uint64_t n = 1; n <= 5; n++) {
        void *state = NULL;
        mem_fail_at(n);
        assert_int_equal(peak_ewma_open(&conf, servers.at, 3, &state, NULL), ERR_MEMORY);
        assert_null(state);
    }
    mem_fail_at(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jumps_up_at_once_and_sinks_slowly),
        cmocka_unit_test(a_failure_counts_as_slow_however_fast),
        cmocka_unit_test(who_was_avoided_is_asked_again_after_a_while),
        cmocka_unit_test(what_is_under_way_and_the_weight_count),
        cmocka_unit_test(idle_and_unknown_servers_are_chosen_by_weight),
        cmocka_unit_test(the_refused_are_never_taken),
        cmocka_unit_test(no_memory_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "balance/round_robin.c"

#include "balance/servers_test.h"
#include "base/test.h"

static struct test_servers servers;
static const struct pick any_time = { .now_us = 1 };

static struct round_robin *opened(uint32_t count, const uint32_t *weights)
{
    test_servers_init(&servers, count, weights);
    void *r = NULL;
    assert_int_equal(round_robin_open(NULL, servers.at, count, &r, NULL), OK);
    return r;
}

static uint32_t pick_one(struct round_robin *r, const struct pick *p)
{
    const uint32_t chosen = round_robin_pick(r, servers.at, servers.count, p);
    if (chosen != NONE)
        servers.picked[chosen]++;
    return chosen;
}

/* From the schedule's first slot, after every pick: each server has its share, rounded down or up. */
static void assert_fair_throughout(uint32_t count, const uint32_t *weights)
{
    struct round_robin *r = opened(count, weights);
    r->at = 0;
    uint64_t total = 0;
    for (uint32_t i = 0; i < count; i++)
        total += servers.at[i].weight;
    for (uint64_t picks = 1; picks <= 2 * total; picks++) {
        assert_true(pick_one(r, &any_time) < count);
        for (uint32_t i = 0; i < count; i++) {
            const uint64_t share = servers.at[i].weight * picks;
            assert_true(servers.picked[i] >= share / total);
            assert_true(servers.picked[i] <= (share + total - 1) / total);
        }
    }
    mem_free(r);
}

static void shares_are_exact_and_smooth(void **state)
{
    (void)state;
    assert_fair_throughout(3, (const uint32_t[]){ 5, 1, 1 });
    assert_fair_throughout(3, (const uint32_t[]){ 1, 2, 3 });
    assert_fair_throughout(2, (const uint32_t[]){ 1, 1000 });
    assert_fair_throughout(5, (const uint32_t[]){ 7, 7, 7, 3, 2 });
    assert_fair_throughout(1, (const uint32_t[]){ 9 });
    uint32_t weights[40];
    for (int round = 0; round < 50; round++) {
        const uint32_t count = 1 + random_below(40);
        for (uint32_t i = 0; i < count; i++)
            weights[i] = 1 + random_below(30);
        assert_fair_throughout(count, weights);
    }
}

/* For 5, 1, 1 more holds: no run of picks, wherever it begins, strays from its share by more than one. */
static void no_window_strays(void **state)
{
    (void)state;
    struct round_robin *r = opened(3, (const uint32_t[]){ 5, 1, 1 });
    for (uint32_t from = 0; from < 7; from++) {
        r->at = from;
        memset(servers.picked, 0, sizeof servers.picked);
        for (uint32_t picks = 1; picks <= 14; picks++) {
            pick_one(r, &any_time);
            for (uint32_t i = 0; i < 3; i++) {
                const int64_t off =
                    (int64_t)(7 * servers.picked[i]) - (int64_t)(servers.at[i].weight * picks);
                assert_true(off <= 7 && off >= -7);
            }
        }
    }
    mem_free(r);
}

static void equal_weights_take_turns(void **state)
{
    (void)state;
    uint32_t weights[SERVERS_MAX];
    for (uint32_t i = 0; i < SERVERS_MAX; i++)
        weights[i] = 20;
    struct round_robin *r = opened(SERVERS_MAX, weights);
    assert_int_equal(r->slots, SERVERS_MAX);
    const uint32_t first = pick_one(r, &any_time);
    for (uint32_t i = 1; i < 3 * SERVERS_MAX; i++)
        assert_int_equal(pick_one(r, &any_time), (first + i) % SERVERS_MAX);
    mem_free(r);
}

static void workers_begin_at_different_places(void **state)
{
    (void)state;
    uint32_t at[8];
    bool same = true;
    for (int i = 0; i < 8; i++) {
        struct round_robin *r = opened(SERVERS_MAX, NULL);
        at[i] = r->at;
        same = same && at[i] == at[0];
        mem_free(r);
    }
    assert_false(same);
}

static void the_refused_are_passed_over(void **state)
{
    (void)state;
    struct round_robin *r = opened(5, NULL);
    servers.shared[1].down = 1;
    servers.shared[3].ejected_until_us = 2;
    const struct pick p = { .now_us = 1, .tried = { 0 }, .tried_count = 1 };
    for (int i = 0; i < 100; i++)
        pick_one(r, &p);
    assert_int_equal(servers.picked[0] + servers.picked[1] + servers.picked[3], 0);
    assert_int_equal(servers.picked[2] + servers.picked[4], 100);

    test_servers_set_down(&servers, 0, 5, true);
    assert_int_equal(pick_one(r, &any_time), NONE);
    assert_true(pick_one(r, &(struct pick){ .now_us = 1, .any = true }) < 5);
    mem_free(r);
}

static void a_heavy_server_that_is_down_costs_a_bounded_walk(void **state)
{
    (void)state;
    struct round_robin *r = opened(3, (const uint32_t[]){ 1000, 1, 1 });
    servers.shared[0].down = 1;
    for (int i = 0; i < 1000; i++) {
        const uint32_t before = r->at;
        assert_true(pick_one(r, &any_time) != NONE);
        assert_true((r->at + r->slots - before) % r->slots <= 6);
    }
    assert_in_range(servers.picked[1], 400, 600);
    assert_in_range(servers.picked[2], 400, 600);
    mem_free(r);
}

static void no_memory_is_said(void **state)
{
    (void)state;
    test_servers_init(&servers, 3, NULL);
    for (uint64_t n = 1; n <= 3; n++) {
        void *r = NULL;
        mem_fail_at(n);
        assert_int_equal(round_robin_open(NULL, servers.at, 3, &r, NULL), ERR_MEMORY);
        assert_null(r);
    }
    mem_fail_at(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_are_exact_and_smooth),
        cmocka_unit_test(no_window_strays),
        cmocka_unit_test(equal_weights_take_turns),
        cmocka_unit_test(workers_begin_at_different_places),
        cmocka_unit_test(the_refused_are_passed_over),
        cmocka_unit_test(a_heavy_server_that_is_down_costs_a_bounded_walk),
        cmocka_unit_test(no_memory_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

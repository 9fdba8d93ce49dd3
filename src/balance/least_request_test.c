#include "balance/least_request.c"

#include "balance/servers_test.h"
#include "base/hash.h"
#include "base/test.h"

extern const struct balancer round_robin_balancer;

static struct test_servers servers;
static const struct pick any_time = { .now_us = 1 };

static void *opened(const struct balancer *b, uint32_t count, const uint32_t *weights)
{
    random_seed(1);
    test_servers_init(&servers, count, weights);
    void *state = NULL;
    assert_int_equal(b->open(NULL, servers.at, count, &state, NULL), OK);
    return state;
}

static void pick_many(void *state, uint32_t times)
{
    for (uint32_t i = 0; i < times; i++)
        servers.picked[least_request_pick(state, servers.at, servers.count, &any_time)]++;
}

static void idle_servers_are_chosen_by_weight(void **state)
{
    (void)state;
    const uint32_t weights[] = { 1, 2, 3, 10, 4 };
    void *l = opened(&least_request_balancer, 5, weights);
    pick_many(l, 200000);
    for (uint32_t i = 0; i < 5; i++)
        assert_in_range(servers.picked[i], weights[i] * 9800, weights[i] * 10200);
    least_request_close(l);

    l = opened(&least_request_balancer, 1000, NULL);
    pick_many(l, 1000000);
    for (uint32_t i = 0; i < 1000; i++)
        assert_in_range(servers.picked[i], 850, 1150);
    least_request_close(l);
}

static void of_two_the_less_busy_for_its_weight_is_taken(void **state)
{
    (void)state;
    void *l = opened(&least_request_balancer, 2, (const uint32_t[]){ 2, 1 });
    servers.at[0].load = 7;
    servers.at[1].load = 3;
    pick_many(l, 1000);
    /* 3/1 < 7/2; only where one server was drawn again and again does the busier one get a request */
    assert_in_range(servers.picked[0], 0, 150);
    servers.at[1].load = 4;
    memset(servers.picked, 0, sizeof servers.picked);
    pick_many(l, 1000);
    assert_in_range(servers.picked[1], 0, 20);
    least_request_close(l);
}

static void the_refused_are_never_taken(void **state)
{
    (void)state;
    void *l = opened(&least_request_balancer, 1000, NULL);
    test_servers_set_down(&servers, 0, 1000, true);
    servers.shared[617].down = 0;
    servers.shared[4].down = 0;
    const struct pick p = { .now_us = 1, .tried = { 4 }, .tried_count = 1 };
    for (int i = 0; i < 100; i++)
        assert_int_equal(least_request_pick(l, servers.at, servers.count, &p), 617);
    servers.shared[617].ejected_until_us = 2;
    assert_int_equal(least_request_pick(l, servers.at, servers.count, &p), PICK_NONE);
    const struct pick panic = { .now_us = 1, .any = true };
    assert_true(least_request_pick(l, servers.at, servers.count, &panic) < 1000);
    least_request_close(l);

    l = opened(&least_request_balancer, 0, NULL);
    assert_int_equal(least_request_pick(l, servers.at, 0, &any_time), PICK_NONE);
    least_request_close(l);
}

/* A service in steps of 1 ms: a request comes each step; each server works on one at a time, those that come
 * meanwhile wait in line; 2 of 10 servers take 40 ms for one, the others 4 ms. Returns how long all requests
 * together were there. */
static uint64_t simulate(const struct balancer *b)
{
    void *state = opened(b, 10, NULL);
    uint32_t work_left_ms[10] = { 0 };
    uint64_t together_ms = 0;
    for (uint32_t now = 0; now < 20000; now++) {
        const uint32_t chosen = b->pick(state, servers.at, 10, &any_time);
        if (servers.at[chosen].load++ == 0)
            work_left_ms[chosen] = chosen < 2 ? 40 : 4;
        for (uint32_t i = 0; i < 10; i++) {
            together_ms += servers.at[i].load;
            if (servers.at[i].load && --work_left_ms[i] == 0 && --servers.at[i].load)
                work_left_ms[i] = i < 2 ? 40 : 4;
        }
    }
    b->close(state);
    return together_ms;
}

static void slow_servers_hold_up_fewer_than_in_round_robin(void **state)
{
    (void)state;
    const uint64_t round_robin = simulate(&round_robin_balancer);
    const uint64_t least_request = simulate(&least_request_balancer);
    assert_true(least_request < round_robin / 10);
}

static void no_memory_is_said(void **state)
{
    (void)state;
    test_servers_init(&servers, 3, NULL);
    for (uint64_t n = 1; n <= 5; n++) {
        void *l = NULL;
        mem_fail_at(n);
        assert_int_equal(least_request_open(NULL, servers.at, 3, &l, NULL), ERR_MEMORY);
        assert_null(l);
    }
    mem_fail_at(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(idle_servers_are_chosen_by_weight),
        cmocka_unit_test(of_two_the_less_busy_for_its_weight_is_taken),
        cmocka_unit_test(the_refused_are_never_taken),
        cmocka_unit_test(slow_servers_hold_up_fewer_than_in_round_robin),
        cmocka_unit_test(no_memory_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

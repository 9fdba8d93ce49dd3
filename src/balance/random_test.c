#include "balance/random.c"

#include "balance/servers_test.h"
#include "base/test.h"

static struct test_servers servers;
static const struct pick any_time = { .now_us = 1 };

static void *opened(uint32_t count, const uint32_t *weights)
{
    random_seed(1);
    test_servers_init(&servers, count, weights);
    void *state = NULL;
    assert_int_equal(random_open(NULL, servers.at, count, &state, NULL), OK);
    return state;
}

static void shares_follow_the_weights(void **unused)
{
    (void)unused;
    const uint32_t weights[] = { 1, 2, 3, 10, 4 };
    void *r = opened(5, weights);
    for (uint32_t i = 0; i < 200000; i++)
        servers.picked[random_pick(r, servers.at, 5, &any_time)]++;
    for (uint32_t i = 0; i < 5; i++)
        assert_in_range(servers.picked[i], weights[i] * 9800, weights[i] * 10200);
    random_close(r);
}

static void the_refused_are_never_taken(void **unused)
{
    (void)unused;
    void *r = opened(1000, NULL);
    test_servers_set_down(&servers, 0, 1000, true);
    servers.shared[617].down = 0;
    servers.shared[4].down = 0;
    const struct pick p = { .now_us = 1, .tried = { 4 }, .tried_count = 1 };
    for (int i = 0; i < 100; i++)
        assert_int_equal(random_pick(r, servers.at, 1000, &p), 617);
    servers.shared[617].down = 1;
    assert_int_equal(random_pick(r, servers.at, 1000, &p), PICK_NONE);
    assert_true(random_pick(r, servers.at, 1000, &(struct pick){ .any = true }) < 1000);
    random_close(r);

    r = opened(0, NULL);
    assert_int_equal(random_pick(r, servers.at, 0, &any_time), PICK_NONE);
    random_close(r);
}

static void no_memory_is_said(void **unused)
{
    (void)unused;
    test_servers_init(&servers, 3, NULL);
    for (uint64_t n = 1; n <= 5; n++) {
        void *r = NULL;
        mem_fail_at(n);
        assert_int_equal(random_open(NULL, servers.at, 3, &r, NULL), ERR_MEMORY);
        assert_null(r);
    }
    mem_fail_at(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_follow_the_weights),
        cmocka_unit_test(the_refused_are_never_taken),
        cmocka_unit_test(no_memory_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

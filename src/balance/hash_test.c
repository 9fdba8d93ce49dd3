#include "balance/hash.c"

#include <stdio.h>

#include "balance/servers_test.h"
#include "base/test.h"

#define KEYS 100000

static struct test_servers servers;

/* Servers from, from + 1, ...: the names say which are the same in two rings. */
static struct ring *opened(uint32_t from, uint32_t count, const uint32_t *weights, int64_t load_max_percent)
{
    const struct hash_conf conf = { .load_max_percent = load_max_percent, .points = 256 };
    void *state = NULL;
    test_servers_init(&servers, count, weights);
    for (uint32_t i = 0; i < count; i++)
        snprintf(servers.shared[i].text, sizeof servers.shared[i].text, "10.0.0.%u:80", from + i);
    assert_int_equal(hash_open(&conf, servers.at, count, &state, NULL), OK);
    return state;
}

static uint32_t pick_key(struct ring *r, uint64_t key)
{
    const struct pick p = { .now_us = 1, .hash = hash_u64(key + 1) };
    return hash_pick(r, servers.at, servers.count, &p);
}

static void begin_on(struct ring *r, uint32_t i)
{
    servers.at[i].load++;
    hash_load(r, i, 1);
}

static uint32_t before[KEYS];

/* moved[0]: keys of the one that left; moved[1]: of others, though their server is still there */
static void count_moves(struct ring *r, uint32_t left, uint32_t shift, uint32_t moved[2])
{
    moved[0] = moved[1] = 0;
    for (uint32_t key = 0; key < KEYS; key++) {
        const uint32_t now = pick_key(r, key) + shift;
        moved[0] += before[key] == left;
        moved[1] += before[key] != left && before[key] != now;
        assert_true(now != left);
    }
}

static void a_server_that_leaves_moves_its_keys_only(void **unused)
{
    (void)unused;
    for (uint32_t count = 3; count <= 100; count += count < 16 ? 13 : 84) {
        struct ring *r = opened(0, count, NULL, LOAD_MAX_OFF);
        for (uint32_t key = 0; key < KEYS; key++)
            before[key] = pick_key(r, key);
        for (uint32_t left = 0; left < count; left++) { /* refused for a while */
            uint32_t moved[2];
            servers.shared[left].down = 1;
            count_moves(r, left, 0, moved);
            assert_int_equal(moved[1], 0);
            assert_true(moved[0] <= KEYS * 1.25 / count);
            servers.shared[left].down = 0;
            if (count > 16)
                left += 9;
        }
        hash_close(r);
        uint32_t moved[2]; /* gone from the configuration: 0 is not in this ring */
        r = opened(1, count - 1, NULL, LOAD_MAX_OFF);
        count_moves(r, 0, 1, moved);
        assert_int_equal(moved[1], 0);
        hash_close(r);
    }
}

static void the_order_in_the_file_does_not_matter(void **unused)
{
    (void)unused;
    struct ring *r = opened(0, 16, NULL, LOAD_MAX_OFF);
    for (uint32_t key = 0; key < KEYS; key++)
        before[key] = pick_key(r, key);
    hash_close(r);
    const struct hash_conf conf = { .load_max_percent = LOAD_MAX_OFF, .points = 256 };
    void *state;
    for (uint32_t i = 0; i < 16; i++)
        snprintf(servers.shared[i].text, sizeof servers.shared[i].text, "10.0.0.%u:80", 15 - i);
    assert_int_equal(hash_open(&conf, servers.at, 16, &state, NULL), OK);
    for (uint32_t key = 0; key < KEYS; key++)
        assert_int_equal(pick_key(state, key), 15 - before[key]);
    hash_close(state);
}

static void shares_follow_the_weights(void **unused)
{
    (void)unused;
    const uint32_t weights[] = { 1, 2, 3, 4 };
    struct ring *r = opened(0, 4, weights, LOAD_MAX_OFF);
    for (uint32_t key = 0; key < KEYS; key++)
        servers.picked[pick_key(r, key)]++;
    for (uint32_t i = 0; i < 4; i++)
        assert_in_range(servers.picked[i], weights[i] * KEYS / 10 * 0.8, weights[i] * KEYS / 10 * 1.2);
    hash_close(r);
}

/* However the keys are chosen and whatever ends when: nobody is given a request while it has its bound. */
static void the_bound_holds(void **unused)
{
    (void)unused;
    static const uint32_t weights[] = { 1, 1, 1, 1, 2, 3, 1, 1 };
    struct ring *r = opened(0, 8, weights, 125);
    random_seed(1);
    for (uint32_t i = 0; i < 200000; i++) {
        if (r->load && (r->load > 400 || random_below(100) < 45)) {
            uint32_t ends = random_below(8);
            while (servers.at[ends].load == 0)
                ends = (ends + 1) % 8;
            servers.at[ends].load--;
            hash_load(r, ends, -1);
            continue;
        }
        const uint32_t chosen = pick_key(r, random_below(100) < 90 ? 7 : random_below(1000)); /* a hot key */
        begin_on(r, chosen);
        const double bound = 1.25 * (double)r->load * weights[chosen] / 11;
        assert_true(servers.at[chosen].load < bound + 1);
    }
    hash_close(r);
}

static void one_key_on_its_own_spreads_as_far_as_it_must(void **unused)
{
    (void)unused;
    struct ring *r = opened(0, 10, NULL, 125);
    for (uint32_t i = 0; i < 1000; i++)
        begin_on(r, pick_key(r, 3));
    uint32_t used = 0;
    for (uint32_t i = 0; i < 10; i++) {
        assert_in_range(servers.at[i].load, 0, 125);
        used += servers.at[i].load > 0;
    }
    assert_int_equal(used, 8); /* 1000 / 125 */
    hash_close(r);
    r = opened(0, 10, NULL, LOAD_MAX_OFF);
    for (uint32_t i = 0; i < 1000; i++) {
        const uint32_t chosen = pick_key(r, 3);
        begin_on(r, chosen);
        assert_int_equal(servers.at[chosen].load, i + 1);
    }
    hash_close(r);
}

static void the_refused_are_never_taken(void **unused)
{
    (void)unused;
    struct ring *r = opened(0, 1000, NULL, 125);
    test_servers_set_down(&servers, 0, 1000, true);
    servers.shared[617].down = 0;
    for (uint64_t key = 0; key < 100; key++)
        assert_int_equal(pick_key(r, key), 617);
    servers.at[617].load = 1000; /* full, but there is nobody else */
    hash_load(r, 617, 1000);
    for (uint64_t key = 0; key < 100; key++)
        assert_int_equal(pick_key(r, key), 617);
    servers.shared[617].down = 1;
    assert_int_equal(pick_key(r, 1), PICK_NONE);
    hash_close(r);
    r = opened(0, 0, NULL, 125);
    assert_int_equal(pick_key(r, 1), PICK_NONE);
    hash_close(r);
}

static void a_ring_too_large_is_refused(void **unused)
{
    (void)unused;
    const struct hash_conf conf = { .load_max_percent = 125, .points = 65536 };
    struct diag d = DIAG_NONE;
    struct service_conf service = { .servers.count = 100 };
    assert_int_equal(hash_check_service(&conf, &service, &d), ERR_CONF);
    assert_non_null(strstr(d.text, "6553600 points"));
    service.servers.count = 64;
    assert_int_equal(hash_check_service(&conf, &service, &d), OK);
}

static void no_memory_is_said(void **unused)
{
    (void)unused;
    const struct hash_conf conf = { .load_max_percent = 125, .points = 16 };
    test_servers_init(&servers, 3, NULL);
    for (uint64_t n = 1; n <= 3; n++) {
        void *state = NULL;
        mem_fail_at(n);
        assert_int_equal(hash_open(&conf, servers.at, 3, &state, NULL), ERR_MEMORY);
        assert_null(state);
    }
    mem_fail_at(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_server_that_leaves_moves_its_keys_only),
        cmocka_unit_test(the_order_in_the_file_does_not_matter),
        cmocka_unit_test(shares_follow_the_weights),
        cmocka_unit_test(the_bound_holds),
        cmocka_unit_test(one_key_on_its_own_spreads_as_far_as_it_must),
        cmocka_unit_test(the_refused_are_never_taken),
        cmocka_unit_test(a_ring_too_large_is_refused),
        cmocka_unit_test(no_memory_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

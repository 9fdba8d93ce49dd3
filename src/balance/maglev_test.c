#include "balance/maglev.c"

#include <stdio.h>

#include "balance/servers_test.h"
#include "base/test.h"

#define KEYS 100000

static struct test_servers servers;

static struct maglev *opened(uint32_t from, uint32_t count, const uint32_t *weights)
{
    const struct maglev_conf conf = { .table_size = 65537 };
    void *state = NULL;
    test_servers_init(&servers, count, weights);
    for (uint32_t i = 0; i < count; i++)
        snprintf(servers.shared[i].text, sizeof servers.shared[i].text, "10.0.0.%u:80", from + i);
    assert_int_equal(maglev_open(&conf, servers.at, count, &state, NULL), OK);
    return state;
}

static uint32_t pick_key(struct maglev *m, uint64_t key)
{
    const struct pick p = { .now_us = 1, .hash = hash_u64(key + 1) };
    return maglev_pick(m, servers.at, servers.count, &p);
}

static void places_are_shared_by_weight(void **unused)
{
    (void)unused;
    struct maglev *m = opened(0, 16, NULL);
    uint32_t places[1000] = { 0 };
    for (uint32_t i = 0; i < m->size; i++)
        places[m->table[i]]++;
    for (uint32_t i = 0; i < 16; i++)
        assert_in_range(places[i], m->size / 16, m->size / 16 + 1);
    mem_free(m);

    const uint32_t weights[] = { 1, 2, 3, 1000, 4 };
    m = opened(0, 5, weights);
    memset(places, 0, sizeof places);
    for (uint32_t i = 0; i < m->size; i++)
        places[m->table[i]]++;
    for (uint32_t i = 0; i < 5; i++)
        assert_in_range(places[i], weights[i] * m->size / 1010 - 3, weights[i] * m->size / 1010 + 4);
    mem_free(m);
}

static uint32_t before[KEYS];

static void a_server_that_leaves_moves_its_keys(void **unused)
{
    (void)unused;
    struct maglev *m = opened(0, 16, NULL);
    for (uint32_t key = 0; key < KEYS; key++)
        before[key] = pick_key(m, key);
    servers.shared[0].down = 1; /* for a while: its keys only */
    uint32_t moved = 0;
    uint32_t got[16] = { 0 };
    for (uint32_t key = 0; key < KEYS; key++) {
        const uint32_t now = pick_key(m, key);
        if (before[key] != 0) {
            assert_int_equal(now, before[key]);
        } else {
            moved++;
            got[now]++;
        }
    }
    assert_true(moved <= KEYS * 1.25 / 16);
    for (uint32_t i = 1; i < 16; i++) /* and they go to all the others */
        assert_in_range(got[i], moved / 15 / 2, moved / 15 * 2);
    mem_free(m);

    m = opened(1, 15, NULL); /* for good: hardly any others, too */
    moved = 0;
    for (uint32_t key = 0; key < KEYS; key++)
        moved += pick_key(m, key) + 1 != before[key];
    assert_true(moved <= KEYS * 1.25 / 16);
    mem_free(m);
}

static void the_refused_are_never_taken(void **unused)
{
    (void)unused;
    struct maglev *m = opened(0, 1000, NULL);
    test_servers_set_down(&servers, 0, 1000, true);
    servers.shared[617].down = 0;
    for (uint64_t key = 0; key < 100; key++)
        assert_int_equal(pick_key(m, key), 617);
    servers.shared[617].down = 1;
    assert_int_equal(pick_key(m, 1), PICK_NONE);
    mem_free(m);
    m = opened(0, 0, NULL);
    assert_int_equal(pick_key(m, 1), PICK_NONE);
    mem_free(m);
}

static void what_cannot_work_is_refused(void **unused)
{
    (void)unused;
    struct maglev_conf conf = { .by_text = BYTES("ip"), .table_size = 65536 };
    struct diag d = DIAG_NONE;
    assert_int_equal(maglev_check(&conf, &d), ERR_CONF);
    assert_non_null(strstr(d.text, "not a prime"));
    conf.table_size = 7;
    assert_int_equal(maglev_check(&conf, &d), OK);
    d = DIAG_NONE;
    void *state = NULL;
    const struct service_conf service = { .servers.count = 8 };
    assert_int_equal(maglev_check_service(&conf, &service, &d), ERR_CONF);
    test_servers_init(&servers, 7, NULL);
    assert_non_null(strstr(d.text, "8 servers do not fit"));
    for (uint64_t n = 1; n <= 2; n++) {
        mem_fail_at(n);
        assert_int_equal(maglev_open(&conf, servers.at, 7, &state, &d), ERR_MEMORY);
        assert_null(state);
    }
    mem_fail_at(0);
    assert_int_equal(maglev_open(&conf, servers.at, 7, &state, &d), OK);
    mem_free(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(places_are_shared_by_weight),
        cmocka_unit_test(a_server_that_leaves_moves_its_keys),
        cmocka_unit_test(the_refused_are_never_taken),
        cmocka_unit_test(what_cannot_work_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

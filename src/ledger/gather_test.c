#include "ledger/gather.h"

#include "base/test.h"

#define COMMIT_US 180

static void half_of_what_is_about_goes_at_once(void **state)
{
    (void)state;
    struct gather g = { 0 };
    gather_answered(&g, 25, 25, COMMIT_US);
    assert_true(gather_is_enough(&g, 25));
    assert_int_equal(0, gather_begin(&g, 25, 1000));
    gather_answered(&g, 24, 25, COMMIT_US);
    assert_true(gather_is_enough(&g, 25));
    assert_false(gather_is_enough(&g, 24));
    /* where there are many a look for more is worth it, but no waiting */
    gather_answered(&g, 200, 200, COMMIT_US);
    assert_false(gather_is_enough(&g, 200));
    assert_int_equal(0, gather_begin(&g, 200, 1000));
}

static void fewer_wait_for_the_rest_of_the_half(void **state)
{
    (void)state;
    struct gather g = { 0 };
    gather_answered(&g, 50, 0, COMMIT_US);
    assert_false(gather_is_enough(&g, 1));
    assert_int_equal(2 * COMMIT_US, gather_begin(&g, 1, 1000));
    assert_int_equal(24, gather_missing(&g, 1));
    assert_int_equal(2 * COMMIT_US - 100, gather_look(&g, 20, 1100));
    assert_int_equal(5, gather_missing(&g, 20));
    assert_int_equal(0, gather_look(&g, 25, 1200));
    assert_int_equal(1, gather_missing(&g, 25)); /* never none: that is no sleep */
}

static void a_lone_client_never_waits(void **state)
{
    (void)state;
    struct gather g = { 0 };
    assert_int_equal(0, gather_begin(&g, 1, 0));
    for (uint64_t us = 0; us < 1000000; us += 1000) {
        gather_answered(&g, 1, 0, COMMIT_US);
        assert_true(gather_is_enough(&g, 1));
        assert_int_equal(0, gather_begin(&g, 1, us));
    }
    gather_answered(&g, 1, 1, COMMIT_US); /* nor do two, that take turns */
    assert_true(gather_is_enough(&g, 1));
}

/* It waits once, and from the next batch on not any more. */
static void who_stays_behind_alone_waits_once(void **state)
{
    (void)state;
    struct gather g = { 0 };
    gather_answered(&g, 50, 0, COMMIT_US);
    assert_int_not_equal(0, gather_begin(&g, 1, 0));
    assert_int_not_equal(0, gather_look(&g, 1, 2 * COMMIT_US - 1));
    assert_int_equal(0, gather_look(&g, 1, 2 * COMMIT_US));
    for (unsigned i = 0; i < 1000; i++) {
        gather_answered(&g, 1, 0, COMMIT_US);
        assert_int_equal(0, gather_begin(&g, 1, 1000 + i));
    }
}

/* Those who were answered do not come back in time. */
static void waiting_that_brings_nothing_becomes_rare(void **state)
{
    (void)state;
    struct gather g = { 0 };
    unsigned waits = 0;
    uint64_t now_us = 0;
    for (unsigned i = 0; i < 1000; i++) {
        gather_answered(&g, 20, 0, COMMIT_US);
        if (gather_begin(&g, 2, now_us)) {
            waits++;
            now_us += 2 * COMMIT_US;
            assert_int_equal(0, gather_look(&g, 3, now_us));
        }
        now_us += COMMIT_US;
    }
    assert_in_range(waits, 6 + 1000 / 64 - 2, 6 + 1000 / 64 + 2);
    /* it still finds out when that changes */
    while (!gather_begin(&g, 2, now_us))
        gather_answered(&g, 20, 0, COMMIT_US);
    assert_int_equal(0, gather_look(&g, 10, now_us + 10));
    gather_answered(&g, 20, 0, COMMIT_US);
    assert_int_not_equal(0, gather_begin(&g, 2, now_us));
}

static void no_batch_waits_longer_than_the_bound(void **state)
{
    (void)state;
    struct gather g = { 0 };
    gather_answered(&g, 100, 0, 10 * 1000 * 1000); /* a disk that takes ten seconds */
    assert_int_equal(GATHER_US_MAX, gather_begin(&g, 1, 5000));
    assert_int_equal(1, gather_look(&g, 49, 5000 + GATHER_US_MAX - 1));
    assert_int_equal(0, gather_look(&g, 49, 5000 + GATHER_US_MAX));
    g = (struct gather){ 0 };
    gather_answered(&g, 100, 0, UINT64_MAX);
    assert_int_equal(GATHER_US_MAX, gather_begin(&g, 1, 5000));
}

static void a_write_that_is_not_synced_is_not_waited_for(void **state)
{
    (void)state;
    struct gather g = { 0 };
    for (unsigned i = 0; i < 100; i++)
        gather_answered(&g, 50, 0, 8);
    assert_int_equal(0, gather_begin(&g, 1, 0));
    assert_false(gather_is_enough(&g, 50)); /* but looked for, as that takes no time */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(half_of_what_is_about_goes_at_once),
        cmocka_unit_test(fewer_wait_for_the_rest_of_the_half),
        cmocka_unit_test(a_lone_client_never_waits),
        cmocka_unit_test(who_stays_behind_alone_waits_once),
        cmocka_unit_test(waiting_that_brings_nothing_becomes_rare),
        cmocka_unit_test(no_batch_waits_longer_than_the_bound),
        cmocka_unit_test(a_write_that_is_not_synced_is_not_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

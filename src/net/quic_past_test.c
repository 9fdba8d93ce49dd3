#include "net/quic_past.h"

#include "base/test.h"

#define VALIDATION_US 9000000

static uint64_t way(const char *local, const char *remote)
{
    struct addr a, b;
    assert_int_equal(addr_parse(bytes_from(local), &a), OK);
    assert_int_equal(addr_parse(bytes_from(remote), &b), OK);
    return quic_way(&a.sock.any, &b.sock.any);
}

static void ways_differ_by_address_and_port_of_either_side(void **state)
{
    (void)state;
    uint64_t home = way("10.0.0.1:443", "192.0.2.7:5000");
    assert_true(home == way("10.0.0.1:443", "192.0.2.7:5000"));
    assert_true(home != way("10.0.0.1:443", "192.0.2.7:5001"));
    assert_true(home != way("10.0.0.1:443", "192.0.2.8:5000"));
    assert_true(home != way("10.0.0.2:443", "192.0.2.7:5000"));
    assert_true(way("[::1]:443", "[2001:db8::1]:5000") != way("[::1]:443", "[2001:db8::2]:5000"));

    struct addr local, flow;
    assert_int_equal(addr_parse(bytes_from("[::1]:443"), &local), OK);
    assert_int_equal(addr_parse(bytes_from("[2001:db8::1]:5000"), &flow), OK);
    flow.sock.v6.sin6_flowinfo = 7; /* says nothing of where it is */
    assert_true(quic_way(&local.sock.any, &flow.sock.any) == way("[::1]:443", "[2001:db8::1]:5000"));
}

static void what_was_left_is_refused_until_it_is_validated(void **state)
{
    (void)state;
    struct quic_past p = { 0 };
    assert_false(quic_past_refuses(&p, 1, 1, 0, VALIDATION_US));
    assert_false(quic_past_refuses(&p, 2, 1, 0, VALIDATION_US)); /* it moves from 1 to 2 */
    quic_past_left(&p, 1, 1000);
    assert_true(quic_past_refuses(&p, 1, 2, 1000, VALIDATION_US));
    assert_false(quic_past_refuses(&p, 2, 2, 1000, VALIDATION_US));
    assert_false(quic_past_refuses(&p, 3, 2, 2000, VALIDATION_US)); /* and on to 3 */
    quic_past_left(&p, 2, 5000000);
    /* The library may still fall back to the first. */
    assert_true(quic_past_refuses(&p, 1, 3, 1000 + VALIDATION_US + 1, VALIDATION_US));
    assert_true(quic_past_refuses(&p, 2, 3, 5000000 + VALIDATION_US, VALIDATION_US));
    assert_false(quic_past_refuses(&p, 1, 3, 5000000 + VALIDATION_US + 1, VALIDATION_US));
    assert_int_equal(p.count, 0);
}

/* The validation failed, and the library has gone back by itself. */
static void where_it_is_is_never_refused(void **state)
{
    (void)state;
    struct quic_past p = { 0 };
    quic_past_left(&p, 1, 0);
    assert_false(quic_past_refuses(&p, 1, 1, 10, VALIDATION_US));
}

static void who_moves_without_end_stays(void **state)
{
    (void)state;
    struct quic_past p = { 0 };
    for (uint64_t i = 0; i < QUIC_PAST_WAYS_MAX; i++) {
        assert_false(quic_past_refuses(&p, i + 1, i, i, VALIDATION_US));
        quic_past_left(&p, i, i);
    }
    assert_true(quic_past_refuses(&p, 100, QUIC_PAST_WAYS_MAX, 100, VALIDATION_US));
    assert_false(quic_past_refuses(&p, 100, QUIC_PAST_WAYS_MAX, 100 + VALIDATION_US, VALIDATION_US));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ways_differ_by_address_and_port_of_either_side),
        cmocka_unit_test(what_was_left_is_refused_until_it_is_validated),
        cmocka_unit_test(where_it_is_is_never_refused),
        cmocka_unit_test(who_moves_without_end_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

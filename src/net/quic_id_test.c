#include "net/quic_id.h"

#include "base/test.h"

static const struct hash_key key = { 0x0123456789abcdef, 0xfedcba9876543210 };

static void an_id_says_where_its_connection_is(void **state)
{
    (void)state;
    random_seed(1);
    for (unsigned i = 0; i < 10000; i++) {
        const struct quic_place p = { .process = random_below(QUIC_PROCESSES_MAX),
                                      .worker = random_below(QUIC_WORKERS_MAX),
                                      .slot = random_below(QUIC_SLOTS_MAX),
                                      .turn = random_below(QUIC_TURNS) };
        uint8_t id[QUIC_ID_BYTES];
        quic_id_make(key, &p, random_u64(), id);
        struct quic_place q = quic_id_read(key, id);
        assert_int_equal(q.process, p.process);
        assert_int_equal(q.worker, p.worker);
        assert_int_equal(q.slot, p.slot);
        assert_int_equal(q.turn, p.turn);
    }
}

/* Bits that two ids of one connection have in common are as many as those of any two random texts. */
static void ids_of_one_connection_have_nothing_in_common(void **state)
{
    (void)state;
    random_seed(2);
    const struct quic_place p = { .process = 1, .worker = 3, .slot = 77, .turn = 5 };
    uint64_t same = 0;
    enum { PAIRS = 4096 };
    for (unsigned i = 0; i < PAIRS; i++) {
        uint8_t a[QUIC_ID_BYTES], b[QUIC_ID_BYTES];
        quic_id_make(key, &p, random_u64(), a);
        quic_id_make(key, &p, random_u64(), b);
        for (unsigned j = 0; j < QUIC_ID_BYTES; j++)
            same += 8 - (unsigned)__builtin_popcount((unsigned)(a[j] ^ b[j]));
    }
    /* mean PAIRS * 64, standard deviation sqrt(PAIRS * 128 / 4) = 362; six of them */
    assert_in_range(same, PAIRS * 64 - 2172, PAIRS * 64 + 2172);
}

static void another_key_reads_something_else(void **state)
{
    (void)state;
    random_seed(3);
    const struct quic_place p = { .process = 1, .worker = 0, .slot = 0, .turn = 0 };
    const struct hash_key other = { key.k0 + 1, key.k1 };
    unsigned same = 0;
    for (unsigned i = 0; i < 1000; i++) {
        uint8_t id[QUIC_ID_BYTES];
        quic_id_make(key, &p, random_u64(), id);
        struct quic_place q = quic_id_read(other, id);
        same += q.process == p.process && q.worker == p.worker;
    }
    assert_int_equal(same, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_id_says_where_its_connection_is),
        cmocka_unit_test(ids_of_one_connection_have_nothing_in_common),
        cmocka_unit_test(another_key_reads_something_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

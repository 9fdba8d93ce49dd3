#include <pthread.h>

#include "base/test.h"
#include "net/tls_tickets.h"

static struct tls_ticket_key key(unsigned char n)
{
    struct tls_ticket_key k;
    memset(&k, n, sizeof k);
    return k;
}

static bool opens(const struct tls_tickets *t, unsigned char n)
{
    struct tls_ticket_key want = key(n), got;
    bool newest;
    return tls_tickets_find(t, want.name, &got, &newest) && memcmp(&got, &want, sizeof got) == 0;
}

static bool seals(const struct tls_tickets *t, unsigned char n)
{
    struct tls_ticket_key want = key(n), got;
    return tls_tickets_newest(t, &got) && memcmp(&got, &want, sizeof got) == 0;
}

static void test_the_newest_seals_and_three_open(void **state)
{
    (void)state;
    struct tls_tickets t = { 0 };
    assert_false(seals(&t, 0));
    for (unsigned char n = 1; n <= 5; n++) {
        struct tls_ticket_key k = key(n);
        tls_tickets_push(&t, &k, n);
        assert_true(seals(&t, n));
    }
    assert_true(opens(&t, 5) && opens(&t, 4) && opens(&t, 3));
    assert_false(opens(&t, 2) || opens(&t, 1));
}

static void test_who_writes_is_not_read(void **state)
{
    (void)state;
    struct tls_tickets t = { 0 };
    struct tls_ticket_key k = key(1);
    tls_tickets_push(&t, &k, 1);
    atomic_fetch_add(&t.turn, 1); /* and died there */
    assert_false(seals(&t, 1));
    assert_false(opens(&t, 1));
#if WEIR_HAVE_OPENSSL
    assert_true(tls_tickets_rotate(&t, 1000, 10));
    assert_true(opens(&t, 1));
    assert_false(seals(&t, 1));
#endif
}

/* Each key is made of one byte: a mixture of two would be seen. */
#define READERS 2
#define ROUNDS 20000
static struct tls_tickets busy;
static _Atomic bool writing;

static void *reads(void *arg)
{
    _Atomic unsigned *mixtures = arg;
    while (atomic_load(&writing)) {
        struct tls_ticket_key got;
        const unsigned char *at = (const unsigned char *)&got;
        if (tls_tickets_newest(&busy, &got) && memcmp(at, at + 1, sizeof got - 1) != 0)
            atomic_fetch_add(mixtures, 1);
    }
    return NULL;
}

static void test_readers_beside_a_writer_see_whole_keys(void **state)
{
    (void)state;
    pthread_t threads[READERS];
    _Atomic unsigned mixtures = 0;
    atomic_store(&writing, true);
    for (unsigned i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, reads, &mixtures), 0);
    for (unsigned n = 0; n < ROUNDS; n++) {
        struct tls_ticket_key k = key((unsigned char)n);
        tls_tickets_push(&busy, &k, n);
    }
    atomic_store(&writing, false);
    for (unsigned i = 0; i < READERS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(atomic_load(&mixtures), 0);
}

static void test_files(void **state)
{
    (void)state;
    struct tls_tickets t = { 0 };
    struct diag d = DIAG_NONE;
    char text[TLS_TICKET_KEY_BYTES * (TLS_TICKET_KEYS_MAX + 1)];
    for (unsigned i = 0; i <= TLS_TICKET_KEYS_MAX; i++)
        memset(text + i * TLS_TICKET_KEY_BYTES, (int)i + 1, TLS_TICKET_KEY_BYTES);
    assert_int_equal(tls_tickets_read(&t, (struct bytes){ text, 3 * TLS_TICKET_KEY_BYTES }, 1, &d), OK);
    assert_true(seals(&t, 1) && opens(&t, 3));
    assert_false(opens(&t, 4));
    assert_int_equal(tls_tickets_read(&t, (struct bytes){ text, 79 }, 1, &d), ERR_CONF);
    assert_int_equal(tls_tickets_read(&t, BYTES_NONE, 1, &d), ERR_CONF);
    assert_int_equal(tls_tickets_read(&t, (struct bytes){ text, sizeof text }, 1, &d), ERR_CONF);
    assert_true(seals(&t, 1)); /* it stays */
}

#if WEIR_HAVE_OPENSSL
static void test_keys_grow_old(void **state)
{
    (void)state;
    struct tls_tickets t = { 0 };
    struct tls_ticket_key first, later;
    assert_true(tls_tickets_rotate(&t, 1000, 10) && tls_tickets_newest(&t, &first));
    assert_true(tls_tickets_rotate(&t, 1009, 10) && tls_tickets_newest(&t, &later));
    assert_memory_equal(&first, &later, sizeof first);
    assert_true(tls_tickets_rotate(&t, 1010, 10) && tls_tickets_newest(&t, &later));
    assert_memory_not_equal(&first, &later, sizeof first);
    assert_true(tls_tickets_rotate(&t, 5, 10)); /* a clock that was set back */
    assert_int_equal(t.count, 3);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_newest_seals_and_three_open),
        cmocka_unit_test(test_who_writes_is_not_read),
        cmocka_unit_test(test_readers_beside_a_writer_see_whole_keys),
        cmocka_unit_test(test_files),
#if WEIR_HAVE_OPENSSL
        cmocka_unit_test(test_keys_grow_old),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

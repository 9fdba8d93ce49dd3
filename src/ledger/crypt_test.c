#include <pthread.h>

#include "ledger/crypt.h"

#include <stdlib.h>

#include "base/test.h"

#define KEY_1 "1:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define KEY_1_OTHER "1:ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff"
#define KEY_2 "2:ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff"
#define ABOUT BYTES("the record's key")
#define PLAIN BYTES("an order that nobody may read")

static struct crypt *open_with(const char *keys)
{
    struct diag d = DIAG_NONE;
    struct crypt *c;
    setenv("WEIR_TEST_KEY", keys, 1);
    assert_int_equal(crypt_open(BYTES("env:WEIR_TEST_KEY"), &c, &d), OK);
    return c;
}

/* What was sealed is opened, by the right key, with the right words about it, and as it was: nothing else. */
static void only_what_was_sealed_is_opened(void **state)
{
    (void)state;
    if (!WEIR_HAVE_OPENSSL)
        skip();
    struct diag d = DIAG_NONE;
    char sealed[128], out[128];
    size_t len, got;
    struct crypt *c = open_with(KEY_1);
    assert_int_equal(crypt_seal_record(c, ABOUT, PLAIN, sealed, &len, &d), OK);
    assert_int_equal(len, PLAIN.len + CRYPT_EXTRA_BYTES);
    const struct bytes whole = { sealed, len };
    assert_int_equal(crypt_open_record(c, 0, 1, ABOUT, whole, out, &got, &d), OK);
    assert_bytes_equal(((struct bytes){ out, got }), PLAIN);
    for (size_t i = 0; i < len; i++) { /* the nonce, the value, the tag */
        sealed[i] ^= 1;
        assert_int_equal(crypt_open_record(c, 0, 1, ABOUT, whole, out, &got, &d), ERR_SYNTAX);
        sealed[i] ^= 1;
    }
    for (size_t shorter = 0; shorter < len; shorter++)
        assert_int_equal(crypt_open_record(c, 0, 1, ABOUT, (struct bytes){ sealed, shorter }, out, &got, &d),
                         ERR_SYNTAX);
    assert_int_equal(crypt_open_record(c, 0, 1, BYTES("another key"), whole, out, &got, &d), ERR_SYNTAX);
    assert_int_equal(crypt_open_record(c, 0, 2, ABOUT, whole, out, &got, &d), ERR_DENIED);
    crypt_close(c);
    c = open_with(KEY_1_OTHER);
    assert_int_equal(crypt_open_record(c, 0, 1, ABOUT, whole, out, &got, &d), ERR_SYNTAX);
    crypt_close(c);
}

static void the_same_is_never_sealed_alike(void **state)
{
    (void)state;
    if (!WEIR_HAVE_OPENSSL)
        skip();
    struct diag d = DIAG_NONE;
    char one[128], two[128];
    size_t len;
    struct crypt *c = open_with(KEY_1);
    assert_int_equal(crypt_seal_record(c, ABOUT, PLAIN, one, &len, &d), OK);
    assert_int_equal(crypt_seal_record(c, ABOUT, PLAIN, two, &len, &d), OK);
    assert_memory_not_equal(one, two, 12);
    assert_memory_not_equal(one + 12, two + 12, PLAIN.len);
    crypt_close(c);
}

static struct crypt_segment *segment_with(struct crypt *c, unsigned char salt)
{
    struct diag d = DIAG_NONE;
    struct crypt_segment *s;
    const unsigned char salts[CRYPT_SALT_BYTES] = { salt };
    assert_int_equal(crypt_segment_open(c, 1, salts, &s, &d), OK);
    return s;
}

/* The first key is for what is written; what an older one has sealed is opened as long as that is there. */
static void keys_are_rotated(void **state)
{
    (void)state;
    if (!WEIR_HAVE_OPENSSL)
        skip();
    struct diag d = DIAG_NONE;
    char old[128], new[128], out[128], batch[128];
    size_t len, got;
    struct crypt *c = open_with(KEY_1);
    struct crypt_segment *s = segment_with(c, 1);
    assert_int_equal(crypt_seal_record(c, ABOUT, PLAIN, old, &len, &d), OK);
    memcpy(batch, PLAIN.ptr, PLAIN.len);
    assert_int_equal(crypt_seal_batch(s, 7, ABOUT, batch, PLAIN.len, &d), OK);
    crypt_segment_close(s);
    crypt_close(c);
    c = open_with(KEY_2 "\n" KEY_1);
    assert_int_equal(crypt_key_id(c), 2);
    assert_int_equal(crypt_open_record(c, 0, 1, ABOUT, (struct bytes){ old, len }, out, &got, &d), OK);
    assert_bytes_equal(((struct bytes){ out, got }), PLAIN);
    s = segment_with(c, 1);
    assert_int_equal(crypt_open_batch(s, 7, ABOUT, batch, PLAIN.len + CRYPT_TAG_BYTES, &d), OK);
    assert_memory_equal(batch, PLAIN.ptr, PLAIN.len);
    crypt_segment_close(s);
    assert_int_equal(crypt_seal_record(c, ABOUT, PLAIN, new, &len, &d), OK);
    crypt_close(c);
    c = open_with(KEY_2);
    assert_int_equal(crypt_open_record(c, 0, 2, ABOUT, (struct bytes){ new, len }, out, &got, &d), OK);
    assert_int_equal(crypt_open_record(c, 0, 1, ABOUT, (struct bytes){ old, len }, out, &got, &d),
                     ERR_DENIED);
    crypt_close(c);
}

struct opener {
    pthread_t thread;
    struct crypt *crypt;
    unsigned number;
    struct bytes sealed;
    unsigned wrong;
};

static void *open_many(void *arg)
{
    struct opener *o = arg;
    for (unsigned i = 0; i < 20000; i++) {
        struct diag d = DIAG_NONE;
        char out[128];
        size_t len;
        o->wrong += crypt_open_record(o->crypt, o->number, 1, ABOUT, o->sealed, out, &len, &d) != OK ||
                    !bytes_eq((struct bytes){ out, len }, PLAIN);
    }
    return NULL;
}

/* As a start does it: each has what it works with for itself. */
static void several_threads_open_at_a_time(void **state)
{
    (void)state;
    if (!WEIR_HAVE_OPENSSL)
        skip();
    struct diag d = DIAG_NONE;
    struct opener openers[CRYPT_OPENERS];
    char sealed[128];
    size_t len;
    struct crypt *c = open_with(KEY_1);
    assert_int_equal(crypt_seal_record(c, ABOUT, PLAIN, sealed, &len, &d), OK);
    for (unsigned i = 0; i < CRYPT_OPENERS; i++) {
        openers[i] = (struct opener){ .crypt = c, .number = i, .sealed = { sealed, len } };
        assert_int_equal(pthread_create(&openers[i].thread, NULL, open_many, &openers[i]), 0);
    }
    for (unsigned i = 0; i < CRYPT_OPENERS; i++)
        pthread_join(openers[i].thread, NULL);
    for (unsigned i = 0; i < CRYPT_OPENERS; i++)
        assert_int_equal(openers[i].wrong, 0);
    crypt_close(c);
}

static void a_batch_is_opened_where_it_was_written(void **state)
{
    (void)state;
    if (!WEIR_HAVE_OPENSSL)
        skip();
    struct diag d = DIAG_NONE;
    char batch[128], at[128];
    const size_t len = PLAIN.len, sealed = len + CRYPT_TAG_BYTES;
    struct crypt *c = open_with(KEY_1);
    struct crypt_segment *here = segment_with(c, 1), *elsewhere = segment_with(c, 2);
    memcpy(batch, PLAIN.ptr, len);
    assert_int_equal(crypt_seal_batch(here, 7, ABOUT, batch, len, &d), OK);
    assert_null(memmem(batch, sealed, "nobody", 6));
    memcpy(at, batch, sealed);
    assert_int_equal(crypt_open_batch(here, 7, ABOUT, at, sealed, &d), OK);
    assert_memory_equal(at, PLAIN.ptr, len);
    memcpy(at, batch, sealed);
    assert_int_equal(crypt_open_batch(here, 8, ABOUT, at, sealed, &d), ERR_SYNTAX);
    memcpy(at, batch, sealed);
    assert_int_equal(crypt_open_batch(here, 7, BYTES("another head"), at, sealed, &d), ERR_SYNTAX);
    memcpy(at, batch, sealed);
    assert_int_equal(crypt_open_batch(elsewhere, 7, ABOUT, at, sealed, &d), ERR_SYNTAX);
    for (size_t i = 0; i < sealed; i++) {
        memcpy(at, batch, sealed);
        at[i] ^= 1;
        assert_int_equal(crypt_open_batch(here, 7, ABOUT, at, sealed, &d), ERR_SYNTAX);
    }
    crypt_segment_close(here);
    crypt_segment_close(elsewhere);
    crypt_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_what_was_sealed_is_opened),
        cmocka_unit_test(the_same_is_never_sealed_alike),
        cmocka_unit_test(keys_are_rotated),
        cmocka_unit_test(several_threads_open_at_a_time),
        cmocka_unit_test(a_batch_is_opened_where_it_was_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "gate/jwt_keys.h"

#include "base/must.h"
#include "base/test.h"

#if WEIR_HAVE_OPENSSL && WEIR_HAVE_JANSSON
#include "base/mem.h"
#include "proto/jwt_vectors_test.h"

static struct arena arena;

static struct jwt_keys *keys_of(const char *text, bool secrets)
{
    struct jwt_keys *k;
    struct diag d = DIAG_NONE;
    if (jwt_keys_parse(bytes_from(text), secrets, &k, &d) != OK)
        fail_msg("%s", d.text);
    return k;
}

static err verify(const struct jwt_keys *k, const char *token)
{
    struct jwt t;
    assert_int_equal(jwt_read(bytes_from(token), &arena, &t), OK);
    err e = jwt_keys_verify(k, &t);
    jwt_close(&t);
    return e;
}

static const char *const public_tokens[] = {
    TOKEN_RS256, TOKEN_RS384, TOKEN_RS512, TOKEN_PS256, TOKEN_PS384,
    TOKEN_PS512, TOKEN_ES256, TOKEN_ES384, TOKEN_ES512, TOKEN_EDDSA
};
static const char *const secret_tokens[] = { TOKEN_HS256, TOKEN_HS384, TOKEN_HS512 };

static void each_algorithm_holds(void **state)
{
    (void)state;
    struct jwt_keys *k = keys_of(KEYS, false);
    struct jwt_keys *secret = keys_of(KEYS_SECRET, true);
    assert_int_equal(jwt_keys_count(k), 5);
    for (unsigned i = 0; i < 10; i++) {
        if (verify(k, public_tokens[i]) != OK)
            fail_msg("%s", public_tokens[i]);
        assert_int_equal(verify(secret, public_tokens[i]), ERR_NOT_FOUND);
    }
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(verify(secret, secret_tokens[i]), OK);
        assert_int_equal(verify(k, secret_tokens[i]), ERR_NOT_FOUND);
    }
    jwt_keys_drop(k);
    jwt_keys_drop(secret);
}

/* One bit of any byte of any part. */
static void a_tampered_one_does_not(void **state)
{
    (void)state;
    struct jwt_keys *k = keys_of(KEYS, false);
    static char text[4096];
    for (unsigned i = 0; i < 10; i++) {
        size_t len = strlen(public_tokens[i]);
        for (size_t at = 0; at < len; at += 7) {
            struct jwt t;
            memcpy(text, public_tokens[i], len + 1);
            text[at] = text[at] == 'A' ? 'B' : 'A';
            if (strcmp(text, public_tokens[i]) == 0 || jwt_read(bytes_from(text), &arena, &t) != OK)
                continue;
            if (jwt_keys_verify(k, &t) == OK)
                fail_msg("at %zu of %s", at, public_tokens[i]);
            jwt_close(&t);
        }
    }
    jwt_keys_drop(k);
}

/* The signature of one token under another's head. */
static void signatures_of_others_do_not_fit(void **state)
{
    (void)state;
    struct jwt_keys *k = keys_of(KEYS, false);
    for (unsigned i = 0; i < 10; i++) {
        for (unsigned j = 0; j < 10; j++) {
            struct jwt one, other;
            assert_int_equal(jwt_read(bytes_from(public_tokens[i]), &arena, &one), OK);
            assert_int_equal(jwt_read(bytes_from(public_tokens[j]), &arena, &other), OK);
            one.signature = other.signature;
            assert_int_equal(jwt_keys_verify(k, &one), i == j ? OK : ERR_DENIED);
            one.signature.len = 0;
            assert_int_equal(jwt_keys_verify(k, &one), ERR_DENIED);
            jwt_close(&one);
            jwt_close(&other);
        }
    }
    jwt_keys_drop(k);
}

/* One signature has one form: zeros in front of its numbers make another token of the same worth. */
static void a_padded_signature_does_not_fit(void **state)
{
    (void)state;
    struct jwt_keys *k = keys_of(KEYS, false);
    struct jwt t;
    char padded[66] = { 0 };
    assert_int_equal(jwt_read(BYTES(TOKEN_ES256), &arena, &t), OK);
    memcpy(padded + 1, t.signature.ptr, 32);
    memcpy(padded + 34, t.signature.ptr + 32, 32);
    t.signature = (struct bytes){ padded, sizeof padded };
    assert_int_equal(jwt_keys_verify(k, &t), ERR_DENIED);
    jwt_close(&t);
    jwt_keys_drop(k);
}

static void a_public_key_is_never_a_secret(void **state)
{
    (void)state;
    struct jwt_keys *k = keys_of(KEYS, true);
    assert_int_equal(verify(k, TOKEN_CONFUSED), ERR_NOT_FOUND);
    jwt_keys_drop(k);
}

static void a_key_is_used_for_what_it_says(void **state)
{
    (void)state;
    struct jwt_keys *k = keys_of(KEYS_RS256_ONLY, false);
    assert_int_equal(verify(k, TOKEN_RS256), OK);
    assert_int_equal(verify(k, TOKEN_RS384), ERR_NOT_FOUND);
    assert_int_equal(verify(k, TOKEN_PS256), ERR_NOT_FOUND);
    assert_int_equal(verify(k, TOKEN_ES256), ERR_NOT_FOUND);
    jwt_keys_drop(k);
    k = keys_of(KEYS_NAMELESS, false); /* fits any kid */
    assert_int_equal(verify(k, TOKEN_RS256), OK);
    jwt_keys_drop(k);
}

static void what_is_of_no_use_is_left_out(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } wrong[] = {
        { "", "no key set" },
        { "[]", "no key set" },
        { "{}", "no key set" },
        { "{\"keys\":{}}", "no key set" },
        { "{\"keys\":[]}", "none can be used" },
        { "{\"keys\":[],\"keys\":[]}", "no key set" },
        { KEYS_USELESS, "of its 9 keys none can be used" },
        { KEYS_SECRET, "none can be used" },
    };
    struct jwt_keys *k;
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct diag d = DIAG_NONE;
        assert_int_equal(jwt_keys_parse(bytes_from(wrong[i].text), false, &k, &d), ERR_CONF);
        if (!strstr(d.text, wrong[i].words))
            fail_msg("%s: %s", wrong[i].text, d.text);
    }
}

static void secrets_are_long_enough(void **state)
{
    (void)state;
    static char secret[64];
    struct jwt_keys *k;
    struct diag d = DIAG_NONE;
    for (unsigned i = 0; i < 64; i++)
        secret[i] = (char)i;
    assert_int_equal(jwt_keys_secret((struct bytes){ secret, 31 }, &k, &d), ERR_CONF);
    assert_non_null(strstr(d.text, "at least 32"));
    assert_int_equal(jwt_keys_secret(BYTES(""), &k, &d), ERR_CONF);
    assert_int_equal(jwt_keys_secret((struct bytes){ secret, 64 }, &k, &d), OK);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(verify(k, secret_tokens[i]), OK);
    jwt_keys_drop(k);
    secret[0] = 1;
    assert_int_equal(jwt_keys_secret((struct bytes){ secret, 64 }, &k, &d), OK);
    assert_int_equal(verify(k, TOKEN_HS256), ERR_DENIED);
    jwt_keys_drop(k);
    assert_int_equal(jwt_keys_secret((struct bytes){ secret, 32 }, &k, &d), OK);
    assert_int_equal(verify(k, TOKEN_HS384), ERR_NOT_FOUND); /* too short for that one */
    jwt_keys_drop(k);
    mem_fail_at(1);
    assert_int_equal(jwt_keys_secret((struct bytes){ secret, 32 }, &k, NULL), ERR_MEMORY);
    assert_int_equal(jwt_keys_parse(BYTES(KEYS), false, &k, NULL), ERR_MEMORY);
    mem_fail_at(0);
}

static int open_arena(void **state)
{
    (void)state;
    arena_open(&arena, &arena_heap, 64 << 20, NULL, 0);
    return 0;
}

static int close_arena(void **state)
{
    (void)state;
    arena_close(&arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_algorithm_holds),
        cmocka_unit_test(a_tampered_one_does_not),
        cmocka_unit_test(signatures_of_others_do_not_fit),
        cmocka_unit_test(a_padded_signature_does_not_fit),
        cmocka_unit_test(a_public_key_is_never_a_secret),
        cmocka_unit_test(a_key_is_used_for_what_it_says),
        cmocka_unit_test(what_is_of_no_use_is_left_out),
        cmocka_unit_test(secrets_are_long_enough),
    };
    return cmocka_run_group_tests(tests, open_arena, close_arena);
}
#else
int main(void)
{
    return 0;
}
#endif

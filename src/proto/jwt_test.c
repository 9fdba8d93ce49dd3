#include "proto/jwt.h"

#include "base/must.h"
#include "base/test.h"

#if WEIR_HAVE_JANSSON
#include <math.h>
#include <stdio.h>

#include "proto/jwt_vectors_test.h"

static struct arena arena;

static err read_token(const char *text, struct jwt *t)
{
    return jwt_read(bytes_from(text), &arena, t);
}

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static size_t encode(char *out, const char *text)
{
    size_t len = strlen(text), at = 0;
    for (size_t i = 0; i < len; i += 3) {
        uint32_t bits = 0;
        for (size_t j = 0; j < 3; j++)
            bits = bits << 8 | (i + j < len ? (unsigned char)text[i + j] : 0);
        for (unsigned j = 0; j < 4 && i + j <= len; j++)
            out[at++] = digits[bits >> (18 - 6 * j) & 63];
    }
    return at;
}

/* A token of these texts. */
static const char *token_of(const char *header, const char *claims)
{
    static char out[8192];
    size_t at = encode(out, header);
    out[at++] = '.';
    at += encode(out + at, claims);
    snprintf(out + at, sizeof out - at, ".AAAA");
    return out;
}

static void a_real_one_is_read(void **state)
{
    (void)state;
    struct jwt t;
    struct bytes text;
    assert_int_equal(read_token(TOKEN_RS256, &t), OK);
    assert_int_equal(t.alg, JWT_RS256);
    assert_bytes_equal(t.kid, BYTES("rsa"));
    assert_bytes_equal(t.typ, BYTES("JWT"));
    assert_int_equal(t.signature.len, 256);
    assert_true(jwt_claim_text(&t, BYTES("sub"), &arena, &text));
    assert_bytes_equal(text, BYTES("alice"));
    assert_true(jwt_claim_text(&t, BYTES("exp"), &arena, &text));
    assert_bytes_equal(text, BYTES("4102444800"));
    assert_true(jwt_claim_text(&t, BYTES("roles"), &arena, &text));
    assert_bytes_equal(text, BYTES("admin,dev"));
    assert_true(jwt_claim_text(&t, BYTES("realm.n"), &arena, &text));
    assert_bytes_equal(text, BYTES("7"));
    assert_true(jwt_claim_text(&t, BYTES("realm.ok"), &arena, &text));
    assert_bytes_equal(text, BYTES("true"));
    assert_false(jwt_claim_text(&t, BYTES("realm"), &arena, &text));
    assert_false(jwt_claim_text(&t, BYTES("none"), &arena, &text));
    assert_false(jwt_claim_text(&t, BYTES("evil"), &arena, &text)); /* a line end in it */
    assert_false(jwt_claim_text(&t, BYTES(""), &arena, &text));
    assert_true(jwt_claim_has(&t, BYTES("scope"), BYTES("write")));
    assert_true(jwt_claim_has(&t, BYTES("scope"), BYTES("*")));
    assert_false(jwt_claim_has(&t, BYTES("scope"), BYTES("writ")));
    assert_true(jwt_claim_has(&t, BYTES("roles"), BYTES("admin")));
    assert_false(jwt_claim_has(&t, BYTES("roles"), BYTES("adm")));
    assert_true(jwt_claim_has(&t, BYTES("realm.ok"), BYTES("true")));
    assert_false(jwt_claim_has(&t, BYTES("none"), BYTES("*")));
    jwt_close(&t);
}

static void what_is_no_token_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *token;
        err e;
    } cases[] = {
        { "", ERR_SYNTAX },
        { ".", ERR_SYNTAX },
        { "..", ERR_SYNTAX },
        { "a.b.c", ERR_SYNTAX },
        { "e30.e30", ERR_SYNTAX },
        { "e30.e30.", ERR_SYNTAX },
        { "e30.e30.AA.AA.AA", ERR_SYNTAX },
        { "e30.e30.AA", ERR_SYNTAX }, /* no alg */
        { TOKEN_NONE, ERR_SYNTAX },
        { TOKEN_NONE_SIGNED, ERR_UNSUPPORTED },
        { TOKEN_RS256 "=", ERR_SYNTAX },
        { TOKEN_RS256 ".", ERR_SYNTAX },
        { " " TOKEN_RS256, ERR_SYNTAX },
    };
    static const struct {
        const char *header, *claims;
        err e;
    } made[] = {
        { "{\"alg\":\"RS256\"}", "{}", OK },
        { "{\"alg\":\"rs256\"}", "{}", ERR_UNSUPPORTED },
        { "{\"alg\":\"None\"}", "{}", ERR_UNSUPPORTED },
        { "{\"alg\":7}", "{}", ERR_SYNTAX },
        { "{\"alg\":\"RS256\",\"alg\":\"HS256\"}", "{}", ERR_SYNTAX },
        { "{\"alg\":\"RS256\",\"kid\":1}", "{}", ERR_SYNTAX },
        { "{\"alg\":\"RS256\",\"crit\":[\"exp\"]}", "{}", ERR_UNSUPPORTED },
        { "{\"alg\":\"RS256\",\"b64\":false,\"crit\":[\"b64\"]}", "{}", ERR_UNSUPPORTED },
        { "{\"alg\":\"RS256\"}", "{\"exp\":1,\"exp\":2}", ERR_SYNTAX },
        { "{\"alg\":\"RS256\"}", "[]", ERR_SYNTAX },
        { "{\"alg\":\"RS256\"}", "7", ERR_SYNTAX },
        { "{\"alg\":\"RS256\"}", "{} x", ERR_SYNTAX },
        { "{\"alg\":\"RS256\"}", "{\"a\":\"\xff\"}", ERR_SYNTAX },
        { "{\"alg\":\"RS256\"}", "{\"a\":\"\\u0000\"}", ERR_SYNTAX },
    };
    struct jwt t;
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (read_token(cases[i].token, &t) != cases[i].e)
            fail_msg("%s", cases[i].token);
    }
    for (unsigned i = 0; i < sizeof made / sizeof *made; i++) {
        err e = read_token(token_of(made[i].header, made[i].claims), &t);
        if (e != made[i].e)
            fail_msg("%s %s: %s", made[i].header, made[i].claims, err_name(e));
        if (!e)
            jwt_close(&t);
    }
}

static void depth_and_length_are_bounded(void **state)
{
    (void)state;
    static char deep[4000];
    static char longest[JWT_BYTES_MAX + 2];
    struct jwt t;
    for (unsigned depth = JWT_DEPTH_MAX - 1; depth <= 900; depth += 884) {
        size_t at = (size_t)snprintf(deep, sizeof deep, "{\"a\":");
        memset(deep + at, '[', depth);
        at += depth;
        memset(deep + at, ']', depth);
        at += depth;
        snprintf(deep + at, sizeof deep - at, ",\"b\":\"[[[[[[[[[[[[[[[[[[[[[[\\\"\"}");
        err e = read_token(token_of("{\"alg\":\"RS256\"}", deep), &t);
        assert_int_equal(e, depth < JWT_DEPTH_MAX ? OK : ERR_SYNTAX);
        if (!e)
            jwt_close(&t);
    }
    memset(longest, 'a', sizeof longest - 1);
    assert_int_equal(read_token(longest, &t), ERR_LIMIT);
}

static enum jwt_verdict judge(const char *claims, const struct jwt_rules *r, double now_s, double *exp_s)
{
    struct jwt t;
    assert_int_equal(read_token(token_of("{\"alg\":\"RS256\"}", claims), &t), OK);
    enum jwt_verdict v = jwt_judge(&t, r, now_s, exp_s);
    jwt_close(&t);
    return v;
}

static void times_are_judged_with_leeway(void **state)
{
    (void)state;
    const struct jwt_rules strict = { .leeway_s = 10, .expiry = true };
    const struct jwt_rules loose = { .leeway_s = 10 };
    static const struct {
        const char *claims;
        enum jwt_verdict verdict; /* at 1000 */
    } cases[] = {
        { "{\"exp\":1001}", JWT_FINE },
        { "{\"exp\":991}", JWT_FINE },
        { "{\"exp\":990}", JWT_EXPIRED },
        { "{\"exp\":990.5}", JWT_FINE },
        { "{\"exp\":1e300}", JWT_FINE },
        { "{\"exp\":-1}", JWT_EXPIRED },
        { "{\"exp\":\"2000\"}", JWT_BAD_CLAIM },
        { "{\"exp\":null}", JWT_BAD_CLAIM },
        { "{\"exp\":true}", JWT_BAD_CLAIM },
        { "{}", JWT_NO_EXPIRY },
        { "{\"exp\":2000,\"nbf\":1010}", JWT_FINE },
        { "{\"exp\":2000,\"nbf\":1011}", JWT_TOO_EARLY },
        { "{\"exp\":2000,\"iat\":1011}", JWT_TOO_EARLY },
        { "{\"exp\":2000,\"iat\":\"x\"}", JWT_BAD_CLAIM },
        { "{\"exp\":2000,\"nbf\":[]}", JWT_BAD_CLAIM },
    };
    double exp_s;
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (judge(cases[i].claims, &strict, 1000, &exp_s) != cases[i].verdict)
            fail_msg("%s", cases[i].claims);
    }
    assert_int_equal(judge("{}", &loose, 1000, &exp_s), JWT_FINE);
    assert_true(isinf(exp_s));
    assert_int_equal(judge("{\"exp\":2000}", &loose, 1000, &exp_s), JWT_FINE);
    assert_true(exp_s == 2010);
}

static void issuers_and_audiences_are_judged(void **state)
{
    (void)state;
    static const struct bytes issuers[] = { { "login", 5 }, { "other", 5 } };
    static const struct bytes audiences[] = { { "shop", 4 } };
    const struct jwt_rules r = { issuers, audiences, 2, 1, 0, false };
    static const struct {
        const char *claims;
        enum jwt_verdict verdict;
    } cases[] = {
        { "{\"iss\":\"login\",\"aud\":\"shop\"}", JWT_FINE },
        { "{\"iss\":\"other\",\"aud\":[\"pay\",\"shop\"]}", JWT_FINE },
        { "{\"iss\":\"logi\",\"aud\":\"shop\"}", JWT_ISSUER },
        { "{\"aud\":\"shop\"}", JWT_ISSUER },
        { "{\"iss\":[\"login\"],\"aud\":\"shop\"}", JWT_ISSUER },
        { "{\"iss\":\"login\"}", JWT_AUDIENCE },
        { "{\"iss\":\"login\",\"aud\":[]}", JWT_AUDIENCE },
        { "{\"iss\":\"login\",\"aud\":[7,[\"shop\"]]}", JWT_AUDIENCE },
        { "{\"iss\":\"login\",\"aud\":\"shopping\"}", JWT_AUDIENCE },
        { "{\"iss\":\"login\",\"aud\":{\"shop\":1}}", JWT_AUDIENCE },
    };
    double exp_s;
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (judge(cases[i].claims, &r, 1000, &exp_s) != cases[i].verdict)
            fail_msg("%s", cases[i].claims);
    }
}

static int open_arena(void **state)
{
    (void)state;
    arena_open(&arena, &arena_heap, 1 << 22, NULL, 0);
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
        cmocka_unit_test(a_real_one_is_read),
        cmocka_unit_test(what_is_no_token_is_refused),
        cmocka_unit_test(depth_and_length_are_bounded),
        cmocka_unit_test(times_are_judged_with_leeway),
        cmocka_unit_test(issuers_and_audiences_are_judged),
    };
    return cmocka_run_group_tests(tests, open_arena, close_arena);
}
#else
int main(void)
{
    return 0;
}
#endif

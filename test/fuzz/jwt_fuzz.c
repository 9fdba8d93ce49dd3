/* jwt: whatever token comes, it is read or refused; what was read has its parts inside the text, and its
 * claims can be asked for. And whatever key set comes, it is taken or refused with words. */
#include "fuzz.h"
#include "gate/jwt_keys.h"
#include "proto/jwt.h"

#if WEIR_HAVE_OPENSSL && WEIR_HAVE_JANSSON
#include "proto/http.h"

static void check_token(struct bytes text, struct arena *a)
{
    static const struct bytes names[] = { { "sub", 3 }, { "aud", 3 }, { "a.b", 3 }, { "scope", 5 } };
    const struct jwt_rules rules = {
        .issuers = names, .audiences = names, .issuers_count = 2, .audiences_count = 2
    };
    struct jwt t;
    struct bytes claim;
    double exp_s;
    err e = jwt_read(text, a, &t);
    fuzz_check(e == OK || e == ERR_SYNTAX || e == ERR_UNSUPPORTED || e == ERR_LIMIT);
    if (e)
        return;
    fuzz_check(t.alg < JWT_ALG_COUNT && t.signature.len > 0);
    fuzz_check(t.signed_text.ptr == text.ptr && t.signed_text.len < text.len);
    (void)jwt_judge(&t, &rules, 1e9, &exp_s);
    for (unsigned i = 0; i < 4; i++) {
        if (jwt_claim_text(&t, names[i], a, &claim))
            fuzz_check(http_is_field_value(claim));
        (void)jwt_claim_has(&t, names[i], BYTES("x"));
    }
    jwt_close(&t);
}

static void check_keys(struct bytes text)
{
    struct jwt_keys *k;
    struct diag d = DIAG_NONE;
    err e = jwt_keys_parse(text, true, &k, &d);
    fuzz_check(e == OK || (e == ERR_CONF && d.set));
    if (e)
        return;
    fuzz_check(jwt_keys_count(k) > 0);
    jwt_keys_drop(k);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    struct bytes text = { (const char *)data, size };
    arena_open(&a, &arena_heap, 1 << 20, NULL, 0);
    if (size && data[0] == '{')
        check_keys(text);
    else
        check_token(text, &a);
    arena_close(&a);
    return 0;
}
#else
FUZZ_NOTHING
#endif

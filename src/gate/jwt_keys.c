#include "gate/jwt_keys.h"

#if WEIR_HAVE_OPENSSL && WEIR_HAVE_JANSSON
#include <jansson.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>
#include <stdatomic.h>

#include "base/base64.h"
#include "base/mem.h"

#define RSA_BITS_MIN 2048
#define RSA_BITS_MAX 8192
#define SECRET_BYTES_MAX 1024
#define NUMBER_BYTES_MAX (RSA_BITS_MAX / 8)
#define TEXT_BYTES_MAX 256

struct key {
    EVP_PKEY *public_key; /* NULL: a secret */
    bool algs[JWT_ALG_COUNT];
    char kid[TEXT_BYTES_MAX];
    size_t kid_len;
    bool has_kid;
    char secret[SECRET_BYTES_MAX];
    size_t secret_len;
};

struct jwt_keys {
    _Atomic uint32_t holds;
    size_t count;
    struct key keys[];
};

struct jwt_keys *jwt_keys_hold(struct jwt_keys *k)
{
    atomic_fetch_add(&k->holds, 1);
    return k;
}

void jwt_keys_drop(struct jwt_keys *k)
{
    if (!k || atomic_fetch_sub(&k->holds, 1) != 1)
        return;
    for (size_t i = 0; i < k->count; i++) {
        EVP_PKEY_free(k->keys[i].public_key);
        OPENSSL_cleanse(k->keys[i].secret, sizeof k->keys[i].secret);
    }
    mem_free(k);
}

size_t jwt_keys_count(const struct jwt_keys *k)
{
    return k->count;
}

static struct jwt_keys *keys_new(size_t room)
{
    struct jwt_keys *k = mem_get(sizeof *k + room * sizeof *k->keys);
    if (k)
        k->holds = 1;
    return k;
}

/* ---- from JSON ---- */

static struct bytes text_of(const json_t *jwk, const char *name)
{
    const json_t *value = json_object_get(jwk, name);
    if (!json_is_string(value))
        return BYTES_NONE;
    return (struct bytes){ json_string_value(value), json_string_length(value) };
}

struct number {
    unsigned char bytes[NUMBER_BYTES_MAX + 8];
    size_t len;
};

static bool number_of(const json_t *jwk, const char *name, struct number *n)
{
    struct bytes text = text_of(jwk, name);
    if (!text.len || base64_bytes_max(text.len) > sizeof n->bytes)
        return false;
    return base64_decode(BASE64_URL, text, (char *)n->bytes, &n->len) == OK && n->len > 0;
}

static EVP_PKEY *key_from(const char *type, OSSL_PARAM_BLD *b)
{
    EVP_PKEY *key = NULL;
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(b);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    if (params && ctx && EVP_PKEY_fromdata_init(ctx) == 1 &&
        EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
        key = NULL;
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    return key;
}

static EVP_PKEY *rsa_of(const json_t *jwk)
{
    struct number n, e;
    if (!number_of(jwk, "n", &n) || !number_of(jwk, "e", &e))
        return NULL;
    OSSL_PARAM_BLD *b = OSSL_PARAM_BLD_new();
    BIGNUM *bn_n = BN_bin2bn(n.bytes, (int)n.len, NULL);
    BIGNUM *bn_e = BN_bin2bn(e.bytes, (int)e.len, NULL);
    EVP_PKEY *key = NULL;
    const bool sane = bn_n && bn_e && BN_is_odd(bn_e) && !BN_is_one(bn_e) && BN_num_bits(bn_e) <= 64;
    if (b && sane && OSSL_PARAM_BLD_push_BN(b, OSSL_PKEY_PARAM_RSA_N, bn_n) == 1 &&
        OSSL_PARAM_BLD_push_BN(b, OSSL_PKEY_PARAM_RSA_E, bn_e) == 1)
        key = key_from("RSA", b);
    OSSL_PARAM_BLD_free(b);
    BN_free(bn_n);
    BN_free(bn_e);
    if (key && (EVP_PKEY_get_bits(key) < RSA_BITS_MIN || EVP_PKEY_get_bits(key) > RSA_BITS_MAX)) {
        EVP_PKEY_free(key);
        return NULL;
    }
    return key;
}

static const struct {
    const char *jose, *openssl;
    size_t bytes; /* of a coordinate */
    enum jwt_alg alg;
} curves[] = {
    { "P-256", "P-256", 32, JWT_ES256 },
    { "P-384", "P-384", 48, JWT_ES384 },
    { "P-521", "P-521", 66, JWT_ES512 },
};

static bool is_on_its_curve(EVP_PKEY *key)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
    bool fine = ctx && EVP_PKEY_public_check(ctx) == 1;
    EVP_PKEY_CTX_free(ctx);
    return fine;
}

static EVP_PKEY *ec_point_of(unsigned curve, const struct number *x, const struct number *y)
{
    unsigned char point[1 + 2 * 66];
    const size_t bytes = curves[curve].bytes;
    EVP_PKEY *key = NULL;
    if (x->len != bytes || y->len != bytes)
        return NULL;
    point[0] = 4; /* uncompressed, SEC 1 2.3.3 */
    memcpy(point + 1, x->bytes, bytes);
    memcpy(point + 1 + bytes, y->bytes, bytes);
    OSSL_PARAM_BLD *b = OSSL_PARAM_BLD_new();
    if (b && OSSL_PARAM_BLD_push_utf8_string(b, OSSL_PKEY_PARAM_GROUP_NAME, curves[curve].openssl, 0) == 1 &&
        OSSL_PARAM_BLD_push_octet_string(b, OSSL_PKEY_PARAM_PUB_KEY, point, 1 + 2 * bytes) == 1)
        key = key_from("EC", b);
    OSSL_PARAM_BLD_free(b);
    if (key && !is_on_its_curve(key)) {
        EVP_PKEY_free(key);
        return NULL;
    }
    return key;
}

static EVP_PKEY *ec_of(const json_t *jwk, enum jwt_alg *ret_alg)
{
    struct number x, y;
    for (unsigned i = 0; i < sizeof curves / sizeof *curves; i++) {
        if (!bytes_eq(text_of(jwk, "crv"), bytes_from(curves[i].jose)))
            continue;
        *ret_alg = curves[i].alg;
        return number_of(jwk, "x", &x) && number_of(jwk, "y", &y) ? ec_point_of(i, &x, &y) : NULL;
    }
    return NULL;
}

static EVP_PKEY *ed_of(const json_t *jwk)
{
    struct number x;
    if (!bytes_eq(text_of(jwk, "crv"), BYTES("Ed25519")) || !number_of(jwk, "x", &x) || x.len != 32)
        return NULL;
    return EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, x.bytes, x.len);
}

static void allow_family(struct key *k, enum jwt_family family)
{
    for (unsigned i = 0; i < JWT_ALG_COUNT; i++) {
        if (jwt_alg_family((enum jwt_alg)i) == family)
            k->algs[i] = true;
    }
}

/* RFC 7518 3.2: a secret is at least as long as the hash. */
static bool allow_secret(struct key *k)
{
    bool any = false;
    for (unsigned i = JWT_HS256; i <= JWT_HS512; i++)
        any |= k->algs[i] = k->secret_len >= jwt_alg_hash_bytes((enum jwt_alg)i);
    return any;
}

static bool read_kind(const json_t *jwk, bool secrets, struct key *k)
{
    struct bytes kty = text_of(jwk, "kty");
    struct number secret;
    enum jwt_alg alg;
    if (bytes_eq(kty, BYTES("RSA"))) {
        k->public_key = rsa_of(jwk);
        allow_family(k, JWT_FAMILY_RSA);
        allow_family(k, JWT_FAMILY_RSA_PSS);
    } else if (bytes_eq(kty, BYTES("EC"))) {
        k->public_key = ec_of(jwk, &alg);
        if (k->public_key)
            k->algs[alg] = true;
    } else if (bytes_eq(kty, BYTES("OKP"))) {
        k->public_key = ed_of(jwk);
        k->algs[JWT_EDDSA] = true;
    } else if (bytes_eq(kty, BYTES("oct")) && secrets && number_of(jwk, "k", &secret) &&
               secret.len <= sizeof k->secret) {
        memcpy(k->secret, secret.bytes, secret.len);
        k->secret_len = secret.len;
        return allow_secret(k);
    }
    return k->public_key != NULL;
}

static bool read_names(const json_t *jwk, struct key *k)
{
    struct bytes use = text_of(jwk, "use");
    struct bytes alg_name = text_of(jwk, "alg");
    struct bytes kid = text_of(jwk, "kid");
    enum jwt_alg alg;
    if ((use.ptr && !bytes_eq(use, BYTES("sig"))) || kid.len > sizeof k->kid)
        return false;
    if (kid.len)
        memcpy(k->kid, kid.ptr, kid.len);
    k->kid_len = kid.len;
    k->has_kid = kid.ptr != NULL;
    if (!alg_name.ptr)
        return true;
    if (!jwt_alg_of(alg_name, &alg) || !k->algs[alg])
        return false;
    memset(k->algs, 0, sizeof k->algs);
    k->algs[alg] = true;
    return true;
}

static void read_key(struct jwt_keys *keys, const json_t *jwk, bool secrets)
{
    struct key *k = &keys->keys[keys->count];
    if (json_is_object(jwk) && read_kind(jwk, secrets, k) && read_names(jwk, k)) {
        keys->count++;
        return;
    }
    EVP_PKEY_free(k->public_key);
    memset(k, 0, sizeof *k);
}

static err read_set(const json_t *set, bool secrets, struct jwt_keys **ret_keys, struct diag *reterr)
{
    const json_t *list = json_object_get(set, "keys");
    size_t count = json_array_size(list);
    if (!json_is_array(list) || count > JWKS_KEYS_MAX) {
        diag_set(reterr, "no key set: expected {\"keys\": [...]} with at most %d keys", JWKS_KEYS_MAX);
        return ERR_CONF;
    }
    struct jwt_keys *keys = keys_new(count);
    if (!keys)
        return ERR_MEMORY;
    for (size_t i = 0; i < count; i++)
        read_key(keys, json_array_get(list, i), secrets);
    ERR_clear_error();
    if (!keys->count) {
        diag_set(reterr,
                 "of its %zu keys none can be used here: RSA (2048 bits and more), EC (P-256, P-384, P-521) "
                 "or OKP (Ed25519), for signatures",
                 count);
        jwt_keys_drop(keys);
        return ERR_CONF;
    }
    *ret_keys = keys;
    return OK;
}

err jwt_keys_parse(struct bytes jwks, bool secrets, struct jwt_keys **ret_keys, struct diag *reterr)
{
    json_t *set = jwks.len <= JWKS_BYTES_MAX ? jwt_parse_json(jwks) : NULL;
    if (!set) {
        diag_set(reterr, "no key set: not JSON, members that stand twice, or longer than %u bytes",
                 JWKS_BYTES_MAX);
        return ERR_CONF;
    }
    err e = read_set(set, secrets, ret_keys, reterr);
    json_decref(set);
    return e;
}

err jwt_keys_secret(struct bytes secret, struct jwt_keys **ret_keys, struct diag *reterr)
{
    struct jwt_keys *keys = keys_new(1);
    if (!keys)
        return ERR_MEMORY;
    struct key *k = &keys->keys[0];
    if (secret.len <= sizeof k->secret && secret.len) {
        memcpy(k->secret, secret.ptr, secret.len);
        k->secret_len = secret.len;
    }
    if (!allow_secret(k)) {
        diag_set(reterr,
                 "the secret has %zu bytes; HS256 needs at least 32 (RFC 7518 3.2), and %d are the most",
                 secret.len, SECRET_BYTES_MAX);
        jwt_keys_drop(keys);
        return ERR_CONF;
    }
    keys->count = 1;
    *ret_keys = keys;
    return OK;
}

/* ---- checking ---- */

static const EVP_MD *hash_of(enum jwt_alg alg)
{
    switch (jwt_alg_hash_bytes(alg)) {
    case 32:
        return EVP_sha256();
    case 48:
        return EVP_sha384();
    case 64:
        return EVP_sha512();
    default:
        return NULL; /* EdDSA has its own */
    }
}

/* JWS has r and s side by side (RFC 7518 3.4), OpenSSL wants DER. */
#define DER_BYTES_MAX 160

static bool der_of(const struct jwt *t, unsigned char *der, size_t *ret_len)
{
    const size_t half = t->signature.len / 2;
    const unsigned char *from = (const unsigned char *)t->signature.ptr;
    const size_t wanted = t->alg == JWT_ES256 ? 32 : t->alg == JWT_ES384 ? 48 : 66;
    if (t->signature.len != 2 * wanted)
        return false;
    ECDSA_SIG *sig = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(from, (int)half, NULL);
    BIGNUM *s = BN_bin2bn(from + half, (int)half, NULL);
    if (!sig || !r || !s || ECDSA_SIG_set0(sig, r, s) != 1) {
        BN_free(r);
        BN_free(s);
        ECDSA_SIG_free(sig);
        return false;
    }
    int len = i2d_ECDSA_SIG(sig, NULL);
    bool fits = len > 0 && len <= DER_BYTES_MAX;
    if (fits)
        *ret_len = (size_t)i2d_ECDSA_SIG(sig, &der);
    ECDSA_SIG_free(sig);
    return fits;
}

static bool set_padding(EVP_PKEY_CTX *ctx, enum jwt_alg alg)
{
    switch (jwt_alg_family(alg)) {
    case JWT_FAMILY_RSA:
        return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) == 1;
    case JWT_FAMILY_RSA_PSS: /* RFC 7518 3.5: the salt is as long as the hash */
        return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) == 1 &&
               EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) == 1;
    default:
        return true;
    }
}

static bool public_fits(const struct key *k, const struct jwt *t)
{
    unsigned char der[DER_BYTES_MAX];
    const unsigned char *signature = (const unsigned char *)t->signature.ptr;
    size_t len = t->signature.len;
    if (jwt_alg_family(t->alg) == JWT_FAMILY_EC) {
        if (!der_of(t, der, &len))
            return false;
        signature = der;
    }
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *key_ctx;
    bool fits = ctx && EVP_DigestVerifyInit(ctx, &key_ctx, hash_of(t->alg), NULL, k->public_key) == 1 &&
                set_padding(key_ctx, t->alg) &&
                EVP_DigestVerify(ctx, signature, len, (const unsigned char *)t->signed_text.ptr,
                                 t->signed_text.len) == 1;
    EVP_MD_CTX_free(ctx);
    ERR_clear_error();
    return fits;
}

static bool secret_fits(const struct key *k, const struct jwt *t)
{
    unsigned char made[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    if (!HMAC(hash_of(t->alg), k->secret, (int)k->secret_len, (const unsigned char *)t->signed_text.ptr,
              t->signed_text.len, made, &len))
        return false;
    return len == t->signature.len && CRYPTO_memcmp(made, t->signature.ptr, len) == 0;
}

/* A token that names no key may be of any; a key that has no name fits any token. */
static bool is_for(const struct key *k, const struct jwt *t)
{
    if (!k->algs[t->alg])
        return false;
    return !t->kid.ptr || !k->has_kid || bytes_eq(t->kid, (struct bytes){ k->kid, k->kid_len });
}

#define TRIES_MAX 8 /* keys tried for one token: it may not name one of many */

err jwt_keys_verify(const struct jwt_keys *k, const struct jwt *t)
{
    unsigned tried = 0;
    for (size_t i = 0; i < k->count && tried < TRIES_MAX; i++) {
        const struct key *key = &k->keys[i];
        if (!is_for(key, t))
            continue;
        tried++;
        if (key->public_key ? public_fits(key, t) : secret_fits(key, t))
            return OK;
    }
    return tried ? ERR_DENIED : ERR_NOT_FOUND;
}
#endif

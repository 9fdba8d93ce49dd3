/* jwt: a signed JSON Web Token, cut and read (RFC 7519 in the compact form of RFC 7515). No keys, no clock.
 *
 *      base64url(header) . base64url(claims) . base64url(signature)
 *      ├────────── what is signed ──────────┤
 *
 * Strict: what two readers could understand differently is refused: members that stand twice, a `crit`
 * header, nesting beyond JWT_DEPTH_MAX, text that is not UTF-8, NUL. Encrypted tokens (five parts) are not
 * read. The JSON is jansson's, from the heap. One thread. */
#pragma once
#include "base/arena.h"
#include "base/bytes.h"
#include "base/err.h"

#define JWT_BYTES_MAX 16384
#define JWT_DEPTH_MAX 16 /* jansson's parser calls itself for each level, and a fiber's stack is small */

/* id       name     family    hash bytes */
#define JWT_ALG_LIST(X)            \
    X(RS256, "RS256", RSA, 32)     \
    X(RS384, "RS384", RSA, 48)     \
    X(RS512, "RS512", RSA, 64)     \
    X(PS256, "PS256", RSA_PSS, 32) \
    X(PS384, "PS384", RSA_PSS, 48) \
    X(PS512, "PS512", RSA_PSS, 64) \
    X(ES256, "ES256", EC, 32)      \
    X(ES384, "ES384", EC, 48)      \
    X(ES512, "ES512", EC, 64)      \
    X(EDDSA, "EdDSA", ED, 0)       \
    X(HS256, "HS256", HMAC, 32)    \
    X(HS384, "HS384", HMAC, 48)    \
    X(HS512, "HS512", HMAC, 64)

/* "none" is none of them and has no place here. */
enum jwt_alg {
#define X(id, name, family, bytes) JWT_##id,
    JWT_ALG_LIST(X)
#undef X
        JWT_ALG_COUNT
};

enum jwt_family { JWT_FAMILY_RSA, JWT_FAMILY_RSA_PSS, JWT_FAMILY_EC, JWT_FAMILY_ED, JWT_FAMILY_HMAC };

/* false: unknown, "none" among them. By case, as the RFC has it. */
bool jwt_alg_of(struct bytes name, enum jwt_alg *ret_alg);
const char *jwt_alg_name(enum jwt_alg alg);
enum jwt_family jwt_alg_family(enum jwt_alg alg);
unsigned jwt_alg_hash_bytes(enum jwt_alg alg);

struct json_t;

struct jwt {
    enum jwt_alg alg;
    struct bytes kid; /* ptr NULL: none */
    struct bytes typ; /* ptr NULL: none */
    struct bytes signed_text;
    struct bytes signature; /* decoded, in the arena */
    struct json_t *header, *claims;
};

/* Decoded parts are in the arena, slices point into them, the header and the claims. OK: jwt_close it.
 * ERR_SYNTAX: no token; ERR_UNSUPPORTED: one with an algorithm that is not known, or a critical extension;
 * ERR_LIMIT: too long, or no memory in the arena. */
err jwt_read(struct bytes token, struct arena *a, struct jwt *ret) CHECK_RESULT;
void jwt_close(struct jwt *t);

/* JSON text as it may come from outside: bounded in depth, no member twice, objects only. NULL: it is not. */
struct json_t *jwt_parse_json(struct bytes text);

/* What the claims say of time (seconds since 1970) and of whom it is from and for. */
enum jwt_verdict {
    JWT_FINE,
    JWT_EXPIRED,   /* exp has passed */
    JWT_TOO_EARLY, /* nbf or iat is to come */
    JWT_NO_EXPIRY, /* exp is missing, and wanted */
    JWT_BAD_CLAIM, /* exp, nbf or iat is no number */
    JWT_ISSUER,    /* iss is none of those that are wanted */
    JWT_AUDIENCE,  /* aud has none of those that are wanted */
};
struct jwt_rules {
    const struct bytes *issuers, *audiences;
    size_t issuers_count, audiences_count; /* 0: anything, nothing as well */
    double leeway_s;
    bool expiry; /* exp must be there */
};
/* ret_exp_s: when it ends, leeway included; HUGE_VAL: never. Pure. */
enum jwt_verdict jwt_judge(const struct jwt *t, const struct jwt_rules *r, double now_s, double *ret_exp_s);
const char *jwt_verdict_text(enum jwt_verdict v);

/* A claim as text: a string as it is, numbers and true/false as JSON has them, of an array of strings all of
 * them with commas between. Names with dots lead into objects ("realm_access.roles") when no claim has the
 * whole name. false: there is none, or it cannot stand in a field. In the arena. */
bool jwt_claim_text(const struct jwt *t, struct bytes name, struct arena *a, struct bytes *ret_text);
/* Whether a claim is that text, or an array or a list between spaces ("read write") that has it. "*": whether
 * it is there at all. */
bool jwt_claim_has(const struct jwt *t, struct bytes name, struct bytes value);

/* jwt_keys: the keys that tokens are checked with: a JSON Web Key Set (RFC 7517, 7518 6), or one secret.
 *
 *      kty RSA (2048 bits and more)   RS256 .. PS512         kty EC    ES256 P-256, ES384 P-384, ES512 P-521
 *      kty OKP Ed25519                EdDSA                  kty oct   HS256 .. HS512, only where it is asked
 * for
 *
 * A key is only ever used with the algorithms of its own kind, and with the one that it names itself (`alg`):
 * what a token says of its algorithm chooses among keys and never turns a public key into a secret.
 *
 * Made by any thread, immutable, counted; any thread may check with it. */
#pragma once
#include "base/diag.h"
#include "proto/jwt.h"

#define JWKS_BYTES_MAX (256u << 10)
#define JWKS_KEYS_MAX 256

struct jwt_keys;

/* Keys of a kind that is not known, or for encryption, are left out; secrets too, unless they are wanted
 * (`secrets`: a file of one's own, never one from the net). ERR_CONF: no key set, or no key is left;
 * ERR_MEMORY. */
err jwt_keys_parse(struct bytes jwks, bool secrets, struct jwt_keys **ret_keys,
                   struct diag *reterr) CHECK_RESULT;
/* One secret for HS256 (32 bytes and more), HS384 (48), HS512 (64). ERR_CONF: too short. */
err jwt_keys_secret(struct bytes secret, struct jwt_keys **ret_keys, struct diag *reterr) CHECK_RESULT;
struct jwt_keys *jwt_keys_hold(struct jwt_keys *k);
/* NULL is allowed. */
void jwt_keys_drop(struct jwt_keys *k);
size_t jwt_keys_count(const struct jwt_keys *k);

/* OK; ERR_NOT_FOUND: there is no key for it (the kid is unknown); ERR_DENIED: the signature is wrong. */
err jwt_keys_verify(const struct jwt_keys *k, const struct jwt *t) CHECK_RESULT;

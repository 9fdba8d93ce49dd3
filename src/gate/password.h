/* password: whether a password fits a hash as htpasswd files have them.
 *
 *      $2a$ $2b$ $2y$ bcrypt    $6$ SHA-512-crypt    $5$ SHA-256-crypt    $y$ yescrypt      by libcrypt
 *      $apr1$ Apache's MD5                                                  here, MD5 by OpenSSL
 *
 * What is no match for today's machines is refused when the file is read: plain text, DES, {SHA}, $1$. Slow
 * by design: never on a worker. Any thread. */
#pragma once
#include "base/bytes.h"
#include "base/diag.h"
#include "base/err.h"

#define PASSWORD_BYTES_MAX 256 /* a longer one fits nothing */
#define PASSWORD_HASH_BYTES_MAX 256

/* Whether password_fits knows this kind, and it takes seconds at most (cost and rounds are bounded).
 * ERR_CONF, with words; ERR_UNSUPPORTED: known, and not in this build. */
err password_hash_check(struct bytes hash, struct diag *reterr) CHECK_RESULT;
/* hash: NUL-terminated, checked. In time that does not depend on where the two differ. */
bool password_fits(struct bytes password, const char *hash);

/* tls_pair: a certificate with its key, as files have them, and the names that it stands for. For
 * tls_context.c. */
#pragma once
#include "net/tls_context.h"

#if WEIR_HAVE_OPENSSL

#include <openssl/x509.h>

#define TLS_NAME_BYTES_MAX 255
#define TLS_KEY_KINDS 4 /* RSA, ECDSA, Ed25519, others */

struct tls_pair {
    X509 *certificate;
    EVP_PKEY *key;
    STACK_OF(X509) * chain;
    struct tls_staple *staple; /* NULL of one that was made here */
    bool wants_staple;         /* tls_staple_want was called */
    unsigned kind;             /* of the key */
};

/* On failure what was read is still to be freed. ret_ocsp_why: why its OCSP answer cannot be used (yet). */
err tls_pair_read(const struct tls_files *f, struct tls_pair *p, struct diag *ret_ocsp_why,
                  struct diag *reterr) CHECK_RESULT;
void tls_pair_free(struct tls_pair *p);
unsigned tls_key_kind(EVP_PKEY *key);
void tls_pair_describe(const struct tls_pair *p, struct tls_certificate *ret);

/* Lower case, without a dot at the end. False: it is no name. */
bool tls_name_fold(struct bytes name, char out[TLS_NAME_BYTES_MAX + 1], struct bytes *ret);
/* Calls fn for each DNS name of the certificate, folded. */
err tls_pair_names(const struct tls_pair *p, err (*fn)(void *arg, struct bytes name), void *arg) CHECK_RESULT;
/* name: folded; a wildcard is a name too, and covers itself exactly. */
enum tls_cover { TLS_COVER_NONE, TLS_COVER_WILDCARD, TLS_COVER_EXACT };
enum tls_cover tls_pair_covers(const struct tls_pair *p, struct bytes name);

/* What OpenSSL says about the last failure of this thread, which is then forgotten. */
const char *tls_last_error(void);

#endif

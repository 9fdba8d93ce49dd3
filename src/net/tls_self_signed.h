/* tls_self_signed: a certificate for a first try: ECDSA P-256, valid for 90 days, made anew each time. */
#pragma once
#include "base/bytes.h"
#include "base/err.h"

#if WEIR_HAVE_OPENSSL

struct x509_st;
struct evp_pkey_st;

/* For localhost, 127.0.0.1, ::1, this machine's name, and name (may be empty; a name or an address). Both are
 * the caller's to free. */
err tls_self_signed(struct bytes name, struct x509_st **ret_certificate,
                    struct evp_pkey_st **ret_key) CHECK_RESULT;

#endif

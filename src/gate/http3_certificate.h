/* http3_certificate: the certificates of a TLS listener as GnuTLS takes them, which speaks TLS for QUIC where
 * OpenSSL does for TCP: PEM texts, read from the same files; of a self-signed one the very same certificate.
 * Start, reload, and when a file has changed; it may wait for a disk. Any thread. */
#pragma once
#include "base/arena.h"
#include "base/diag.h"
#include "base/err.h"
#include "net/quic_tls.h"

struct ssl_ctx_st;
struct tls_listen_conf;

struct http3_certificates {
    struct arena arena;
    struct quic_certificate *at;
    unsigned count;
};

/* context: OpenSSL's, that the listener has now. ERR_CONF with words, ERR_MEMORY; free it in any case. */
err http3_certificates_read(const struct tls_listen_conf *conf, struct ssl_ctx_st *context,
                            struct http3_certificates *ret, struct diag *reterr) CHECK_RESULT;
void http3_certificates_free(struct http3_certificates *c);

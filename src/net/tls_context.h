/* tls_context: what the connections of one listener, or those to one service, are made with. An SSL_CTX of
 * OpenSSL's with everything set: certificates by name, versions, ciphers, ALPN, whom to trust. Immutable once
 * made; counted by OpenSSL (each connection holds it): SSL_CTX_free lets go of it. Any thread.
 *
 *      SNI "a.example"  ──exact──▶ context of a.example
 *      "b.x.example"    ──*.x────▶ context of *.x.example
 *      none, other      ─────────▶ context of the first certificate
 *
 * RSA and ECDSA certificates of one name stand side by side in one context: the client's signature algorithms
 * decide.
 *
 * Names: RFC 6066 3, RFC 9525 6.3 (a wildcard is the whole left-most label, and stands for one). */
#pragma once
#include "base/bytes.h"
#include "base/diag.h"
#include "base/err.h"

#if WEIR_HAVE_OPENSSL

struct ssl_ctx_st;
struct tls_tickets;

/* Paths, NUL behind them; ptr NULL: none. */
struct tls_files {
    struct bytes certificate; /* with its chain, PEM */
    struct bytes key;         /* PEM; may stand in the certificate's file */
    struct bytes ocsp;        /* an answer in DER that is given with it (net/tls_staple.h) */
    bool ocsp_fetch;          /* it is asked for */
};

enum tls_verify { TLS_VERIFY_OFF, TLS_VERIFY_OPTIONAL, TLS_VERIFY_REQUIRED };

struct tls_options {
    struct tls_files
        *files; /* of a server, the first one is used where no name fits; of a client one or none */
    size_t count;
    bool self_signed;     /* a server's: makes a certificate, after the files' */
    struct bytes name;    /* of the self-signed one, beside localhost and the loopback addresses */
    int version_min;      /* 12 or 13 */
    struct bytes ciphers; /* of TLS 1.2, OpenSSL's names; empty: the house's */
    struct bytes suites;  /* of TLS 1.3 */
    struct bytes groups;  /* of the key exchange */
    struct bytes
        alpn; /* as on the wire: each with its length before it; of a server in order of preference */
    enum tls_verify verify;
    const struct tls_tickets
        *tickets;           /* a server's; outlives the context; NULL: OpenSSL makes keys of its own */
    bool covers_all;        /* a server's: tls_context_covers anything */
    unsigned tickets_count; /* so many after a full handshake (TLS 1.3); 0: sessions are not gone on with */
    struct bytes ca;        /* path of those whose certificates are believed; empty: the system's */
};

/* One that a context has. */
struct tls_certificate {
    char name[256];    /* the first of its names, for people */
    const char *key;   /* "rsa", "ecdsa", "ed25519", "other" */
    int64_t not_after; /* seconds since 1970 */
    bool expired;
    char ocsp_why[256]; /* why there is no OCSP answer to go with it; empty: there is, or none is wanted */
};

/* Can they be read, and do certificate and key go together? ERR_CONF. */
err tls_files_check(const struct tls_files *files, struct diag *reterr) CHECK_RESULT;
/* ERR_CONF: in words why; ERR_MEMORY. */
err tls_server_context(const struct tls_options *o, struct ssl_ctx_st **ret_context,
                       struct diag *reterr) CHECK_RESULT;
err tls_client_context(const struct tls_options *o, struct ssl_ctx_st **ret_context,
                       struct diag *reterr) CHECK_RESULT;
/* Its certificates; they live as long as it does. */
const struct tls_certificate *tls_context_certificates(const struct ssl_ctx_st *context, size_t *ret_count);
/* The OCSP answer of one of them, which lives as long as the context. NULL: it has none. */
struct tls_staple *tls_context_staple(const struct ssl_ctx_st *context, size_t index);
/* May who asked for server_name over a connection ask for host, too (RFC 9110 7.4)? Not if another
 * certificate has that name and the one that was given has not. Who asked for no name was given no choice,
 * and a host that no certificate has is nobody's secret: both may. context: any that such a connection has.
 */
bool tls_context_covers(const struct ssl_ctx_st *context, struct bytes server_name, struct bytes host);
/* Has it a certificate whose signatures take so long that no worker should make them (RSA)? */
bool tls_context_is_slow(const struct ssl_ctx_st *context);
void tls_context_hold(struct ssl_ctx_st *context);
/* NULL is let be. */
void tls_context_drop(struct ssl_ctx_st *context);

#endif

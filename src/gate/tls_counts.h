/* tls_counts: what is counted of one worker's handshakes with clients of a listener, or with servers of a
 * service. That worker only. */
#pragma once
#include "core/metrics.h"
#include "net/tls.h"

#if WEIR_HAVE_OPENSSL

#define TLS_COUNTS_KINDS_MAX 24

/*    id           reason         why contains */
#define TLS_FAILURE_LIST(X)                       \
    X(PLAIN_HTTP, "plain_http", "plain HTTP")     \
    X(CIPHER, "cipher", "no shared cipher")       \
    X(VERSION, "version", "unsupported protocol") \
    X(VERSIONS, "version", "version")             \
    X(ALPN, "alpn", "no application protocol")    \
    X(CERTIFICATE, "certificate", "certificate")  \
    X(ISSUER, "certificate", "ca")                \
    X(NAME, "certificate", "mismatch")            \
    X(OTHER, "protocol", "")                      \
    X(TIMEOUT, "timeout", NULL)                   \
    X(CLOSED, "closed", NULL)                     \
    X(GIVEN_UP, "given_up", NULL)

enum tls_failure {
#define X(id, reason, contains) TLS_FAILURE_##id,
    TLS_FAILURE_LIST(X)
#undef X
        TLS_FAILURE_COUNT
};

struct tls_count {
    struct metric_instance *instance;
    struct metric_cells *cells;
};

struct tls_counts {
    struct tls_watcher watcher; /* for tls_accept and tls_connect */
    bool servers;               /* of a service */
    struct bytes where;         /* the listener's address, or the service; borrowed */
    /* By version, cipher and resumed: opened when there is the first of its kind. */
    struct {
        const char *version, *cipher;
        bool resumed;
        struct tls_count count;
    } kinds[TLS_COUNTS_KINDS_MAX];
    struct tls_count failures[TLS_FAILURE_COUNT];
};

void tls_counts_open(struct tls_counts *c, struct bytes where, bool servers);
void tls_counts_close(struct tls_counts *c);

/* Of a handshake that failed. Pure. */
enum tls_failure tls_failure_of(err e, const char *why);
const char *tls_failure_reason(enum tls_failure f);

#endif

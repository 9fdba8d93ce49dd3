/* carrier: what an exchange needs to know of the protocol that carries it: a few functions, one const table a
 * protocol (HTTP/1.1: gate/http1_server.c).
 *
 *      exchange ──▶ carrier (functions)
 *             └───▶ carried (that protocol's own: a request of a connection, a stream)
 *
 * Filters, balancers and bodies do not come here. On the exchange's fiber. */
#pragma once
#include "gate/exchange.h"
#include "net/tls_fact.h"

struct carrier {
    /* How a log names it: "HTTP/2". NULL: by request.version_minor (HTTP/1.0, HTTP/1.1). */
    const char *protocol;
    /* Passes a 1xx on to the client. */
    err (*interim)(struct exchange *x, const struct http_response *r);
    /* The socket of the client's connection, which other exchanges may share. -1: there is none (QUIC). */
    int (*fd)(const struct exchange *x);
    /* What is known of its TLS connection; NULL: there never is one. */
    struct bytes (*tls)(const struct exchange *x, enum tls_fact fact);
    /* May its TLS connection carry requests for that host (tls_context_covers)? NULL: any. */
    bool (*covers)(const struct exchange *x, struct bytes host);
    /* Has the client left, or taken back its request? Never waits. */
    bool (*gone)(const struct exchange *x);
};

/* The client's socket; -1: there is none. */
static inline int exchange_client_fd(const struct exchange *x)
{
    return x->carrier ? x->carrier->fd(x) : -1;
}

/* Empty: it came in the clear, or that is not known. */
static inline struct bytes exchange_tls_fact(const struct exchange *x, enum tls_fact fact)
{
    return x->carrier && x->carrier->tls ? x->carrier->tls(x, fact) : BYTES_NONE;
}

/* May the answer have one (RFC 9110 6.4.1)? */
static inline bool exchange_may_have_body(const struct exchange *x)
{
    const unsigned status = x->response.status;
    return x->request.method != HTTP_HEAD && status != 204 && status != 304 && status >= 200;
}

/* What the request's body does to its reader (e) is the client's doing: it is remembered as that. */
static inline err exchange_note_body(struct exchange *x, err e)
{
    if (e && e != ERR_CANCELLED)
        x->request_failed = e;
    return e;
}

/* A body that is announced to be longer than clients may send is not waited for. False: 413, said by that
 * protocol. */
bool exchange_admit_body(struct exchange *x, struct bytes protocol);

static inline bool exchange_tls_covers(const struct exchange *x, struct bytes host)
{
    return !x->carrier || !x->carrier->covers || x->carrier->covers(x, host);
}

static inline bool exchange_client_gone(const struct exchange *x)
{
    return x->carrier && x->carrier->gone(x);
}

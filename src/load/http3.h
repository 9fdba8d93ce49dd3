/* http3: an HTTP/3 connection of the generator's (RFC 9114), around one nghttp3_conn and a QUIC connection of
 * its own. Requests go out as streams, and what comes of each is told as it comes, on the loop's stack.
 *
 *      http3_ask ──▶ nghttp3 ──▶ net/quic: packets at the end of the turn
 *      net/quic ──▶ nghttp3 ──▶ hooks: field, data, done; news
 *
 * It has no fiber and waits for nothing. That worker only. */
#pragma once
#include "base/list.h"
#include "load/framed.h"

#if WEIR_HAVE_NGTCP2
#include "net/http3_base.h"
#include "net/quic_client.h"

struct http3_stream;

/* One request on its way. The owner's; it stays until done. */
struct http3_ask {
    struct link link; /* of the connection's */
    struct http3_stream *stream;
    uint64_t bytes; /* of the answer's stream, frames and all */
    uint16_t status;
    bool headed; /* the final head is whole */
};

struct http3_conn;

/* They may ask, and cancel, but must not close the connection. */
struct http3_hooks {
    /* A head begins: what came of one before was interim. May be NULL, as may field and data. */
    void (*begin)(struct http3_conn *c, struct http3_ask *a);
    /* Pseudo fields too; no trailers. */
    void (*field)(struct http3_conn *c, struct http3_ask *a, struct bytes name, struct bytes value);
    void (*data)(struct http3_conn *c, struct http3_ask *a, struct bytes piece);
    /* OK: it is answered. ERR_REFUSED: the server has not looked at it. ERR_RESET, ERR_PROTOCOL. Not told of
     * what is in flight when the connection ends. */
    void (*done)(struct http3_conn *c, struct http3_ask *a, err why);
    /* It is ready, takes more requests than before, or none any more. */
    void (*news)(struct http3_conn *c);
};

struct http3_conn {
    struct http3_base base; /* first */
    const struct http3_hooks *hooks;
    struct link asks; /* in flight */
    struct link streams;
    uint64_t bytes; /* that came and are not yet counted as an answer's */
    bool ready;     /* the handshake is over */
    bool ending;    /* the server takes nothing new (GOAWAY) */
    err why;        /* of its end: quic_why */
};

/* Begins to connect: news follows. */
err http3_open(struct http3_conn *c, const struct http3_hooks *hooks, const struct addr *to,
               const struct addr *from, const struct quic_client_tls *tls, const char *name,
               uint64_t timeout_us) CHECK_RESULT;
/* Not within a hook. */
void http3_close(struct http3_conn *c);
/* How many more requests it takes now. */
uint64_t http3_room(const struct http3_conn *c);
/* One more stream: its packets leave at the end of this turn. r's fields stay until a is done, its body too,
 * and longer, unless it is copied. ERR_REFUSED: the connection takes no more; ERR_LIMIT: not now. */
err http3_ask(struct http3_conn *c, struct http3_ask *a, const struct framed_request *r,
              bool copied) CHECK_RESULT;
/* a is given up; it is the owner's again, and done is not called. */
void http3_cancel(struct http3_conn *c, struct http3_ask *a);

#endif

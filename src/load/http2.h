/* http2: an HTTP/2 connection of the generator's (RFC 9113), around one nghttp2_session. Requests go out as
 * streams, and what comes of each is told as it comes.
 *
 *      http2_ask ──▶ nghttp2 ──http2_flush──▶ io          io ──http2_feed──▶ nghttp2 ──▶ hooks: field, data,
 * done
 *
 * It has no fiber and waits for nothing but where http2_flush says so: whoever has the connection reads and
 * writes when it suits him. That worker only. */
#pragma once
#include "core/io.h"
#include "load/framed.h"

#if WEIR_HAVE_NGHTTP2
#include <nghttp2/nghttp2.h>

/* Streams that an answered SETTINGS is waited for with. */
#define HTTP2_FIRST_STREAMS 1u

/* One request on its way. The owner's; it stays until done. */
struct http2_ask {
    struct link link;  /* of the connection's */
    struct bytes body; /* not yet framed */
    uint64_t bytes;    /* of the answer, frames and all */
    int32_t id;
    uint16_t status;
    bool headed; /* the final head is whole */
    bool ended;  /* the answer is whole */
};

struct http2_conn;

struct http2_hooks {
    /* A head begins: what came of one before was interim. May be NULL, as may field and data. */
    void (*begin)(struct http2_conn *c, struct http2_ask *a);
    /* Pseudo fields too; no trailers. */
    void (*field)(struct http2_conn *c, struct http2_ask *a, struct bytes name, struct bytes value);
    void (*data)(struct http2_conn *c, struct http2_ask *a, struct bytes piece);
    /* OK: it is answered. ERR_REFUSED: the server ends the connection and has not looked at it. ERR_RESET,
     * ERR_PROTOCOL. Not told of what is in flight when the connection is closed. */
    void (*done)(struct http2_conn *c, struct http2_ask *a, err why);
};

struct http2_conn {
    nghttp2_session *ng;
    struct io *io;
    const struct http2_hooks *hooks;
    struct http2_ask *current; /* whose frames come in; NULL: somebody else's */
    struct link asks;          /* in flight */
    uint32_t streams_max;      /* that the server takes at a time */
    bool ending;               /* the server takes nothing new (GOAWAY) */
    bool wrong;                /* it has broken the rules, and was told so */
};

/* Sends SETTINGS with the next flush. The connection stays the caller's. */
void http2_open(struct http2_conn *c, struct io *io, const struct http2_hooks *hooks);
void http2_close(struct http2_conn *c);
/* One more stream: framed by the next flush. r stays until a is done. ERR_REFUSED: the connection takes no
 * more. */
err http2_ask(struct http2_conn *c, struct http2_ask *a, const struct framed_request *r) CHECK_RESULT;
/* a is given up; it is the owner's again, and done is not called. */
void http2_cancel(struct http2_conn *c, struct http2_ask *a);
/* Writes what windows allow. wait: until the socket has taken it, from a fiber; else what does not fit waits
 * for the next flush. ERR_CLOSED, ERR_PROTOCOL: the session is over. */
err http2_flush(struct http2_conn *c, bool wait, uint64_t deadline_us) CHECK_RESULT;
/* Reads what has arrived at io. ERR_PROTOCOL. */
err http2_feed(struct http2_conn *c) CHECK_RESULT;

#endif

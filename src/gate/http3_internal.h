/* http3_internal: what the files of gate/http3 share: a connection and its streams. That worker only. */
#pragma once
#include "gate/carrier.h"
#include "gate/clients.h"
#include "gate/exchange.h"
#include "net/http3_base.h"
#include "proto/http2_head.h"

struct http3_conn {
    struct http3_base base; /* first; when quic is gone, streams whose fibers still run keep the rest */
    struct client_conn client;
    struct link streams;
    uint32_t streams_count;
    uint64_t requests;
    bool going;    /* GOAWAY was sent: no new requests will be taken, soon */
    bool end_told; /* ... and which is the last that is taken */
    bool closed;   /* it ends now */
    bool parked;   /* counted as that: it asks for nothing */
    bool told;     /* of a stream's end, by nghttp3_conn_close_stream */
};

/* Bytes of a body, copied: in until they are taken, out until they are acknowledged. */
#define HTTP3_BLOCK_BYTES 4096
struct http3_block {
    struct http3_block *next;
    uint32_t begin, end;
    char data[HTTP3_BLOCK_BYTES - 16];
};

struct http3_queue {
    struct http3_block *first, *last;
    uint64_t bytes;
};

#define HTTP3_STREAM_FIRST_BYTES (4 * 1024)
/* Queued and not acknowledged, of one answer; whoever sends waits while there is more. */
#define HTTP3_OUT_BYTES_MAX (256 * 1024)

struct http3_far;

/*   head read ─▶ (early data: held until the handshake) ─▶ fiber: exchange ─▶ answer queued ─▶ all
 * acknowledged ─▶ free └ what is left of the request is not wanted ┘  */
struct http3_stream {
    struct link link;
    struct http3_conn *conn;
    int64_t id;
    struct fiber *fiber;           /* of the exchange; NULL: not begun, or over */
    struct fiber *reader, *writer; /* waits for bytes, for room */
    struct http3_far *far;         /* it is a WebSocket now, and has no fiber */
    struct http3_queue in, out;
    struct http3_block *out_next; /* of out, where the library has not yet been: NULL: nothing */
    uint32_t out_next_at;         /* within that block */
    uint64_t moved_us;            /* when it was begun, or the client last acknowledged something */
    struct link waits; /* of those whose head is not whole, or whose exchange is over: by moved_us */
    err in_failed;
    bool head_ended, held, early;
    bool in_ended, out_ended, out_read; /* by the client; by us; all of that by the library */
    bool over;                          /* the exchange is */
    bool gone;                          /* the client has taken the request back, or is lost */
    bool lib_closed;                    /* the library has forgotten it */
    bool serving;                       /* the chain runs; given up when the client goes */
    bool sending;                       /* the answer's body: the same */
    uint64_t in_bytes;                  /* of the body, taken so far */
    struct body body;
    struct addr client;
    struct http2_head head, trailers;
    struct http_fields trailer_fields;
    const struct http_fields *out_trailers;
    struct exchange x;
    char first[HTTP3_STREAM_FIRST_BYTES] __attribute__((aligned(8)));
};

/* ---- http3_server.c ---- */

struct http3_stream *http3_stream_open(struct http3_conn *c, int64_t id);
/* The client has taken the request back, or is lost. */
void http3_stream_gone(struct http3_stream *s);
/* The library has forgotten it. */
void http3_stream_closed(struct http3_stream *s);
/* Its exchange is over, and the client has taken some more of the answer. */
void http3_stream_moved(struct http3_stream *s);
/* The exchange is over and the library is done with the stream. */
void http3_stream_free(struct http3_stream *s);
/* It is over; the answer may still be on its way. cut: the client must not take it for a whole one. */
void http3_stream_over(struct http3_stream *s, bool cut);

/* ---- http3_callbacks.c ---- */

extern const nghttp3_callbacks http3_callbacks;

/* ---- http3_stream.c ---- */

void http3_stream_run(void *stream);
extern const struct carrier http3_carrier;
void http3_stream_acked(struct http3_stream *s, uint64_t bytes);
/* So many bytes of s->in are done with. */
void http3_stream_took(struct http3_stream *s, size_t n);
/* Queues some of the answer's body, and lets it go. */
void http3_stream_put(struct http3_stream *s, struct bytes data);
void http3_stream_push(struct http3_stream *s);
/* For the library: what is to be sent next. */
nghttp3_ssize http3_stream_read_out(nghttp3_conn *lib, int64_t id, nghttp3_vec *vecs, size_t count,
                                    uint32_t *flags, void *conn, void *stream);

/* ---- http3_far.c ---- */

/* s has its 200, and x.tunnel: from here on it is relayed. It ends with http3_stream_over. */
void http3_far_relay(struct http3_stream *s);
/* Something has come, or the end; some of what went out is acknowledged; the client is lost. */
void http3_far_news(struct http3_far *t);
void http3_far_acked(struct http3_far *t);
void http3_far_lost(struct http3_far *t);

/* ---- http3_queue.c ---- */

struct http3_block *http3_block_take(void);
void http3_block_give(struct http3_block *b);
void http3_queue_append(struct http3_queue *q, struct bytes data);
/* Takes n bytes off the front. */
void http3_queue_drop(struct http3_queue *q, uint64_t n);
void http3_queue_clear(struct http3_queue *q);

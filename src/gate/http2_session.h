/* http2_session: one HTTP/2 connection (RFC 9113), of a client or to a server, around one nghttp2_session.
 *
 *      io ──bytes──▶ nghttp2 ──▶ streams: each a fiber's, which waits for its head, pulls its body
 *      io ◀──frames── nghttp2 ◀── streams: each lends what its fiber has, as far as windows allow
 *
 * The connection itself has no fiber: bytes that arrive are read on the loop's stack and put where they
 * belong; what the streams of a turn say goes out in one send. Only while the peer takes nothing does a fiber
 * wait for it. A stream's body that is not pulled is not acknowledged: its window closes, and nobody else's.
 * That worker only. */
#pragma once
#include <nghttp2/nghttp2.h>

#include "core/io.h"
#include "gate/body.h"
#include "gate/http2_abuse.h"
#include "proto/http2_head.h"

struct http2_session;
struct http2_stream;
struct http2_piece;

/* With so much queued nothing more is framed: what is ready then goes by priority once there is room. One
 * frame more still fits into IO_SEND_BYTES_MAX, so that nobody waits while framing. */
#define HTTP2_QUEUED_BYTES_MAX (40 * 1024)

/* Of so many streams it is remembered that their peer had said all. */
#define HTTP2_DONE_MAX 4

/* A server's or a client's half of what happens on a connection. On the loop's stack or any fiber; none may
 * wait. */
struct http2_side {
    bool server;
    /* A head is whole (s->head; trailers are kept in s->trailers and not told). Server: a request. Client: a
     * response, or a 1xx. */
    void (*head)(struct http2_stream *s);
    /* The peer has reset the stream, or the connection is lost (s->failed says what). Not told of streams
     * that ended well. */
    void (*lost)(struct http2_stream *s);
    /* The last stream has ended, or settings, GOAWAY or a PING's answer have come: time to look. May be NULL.
     */
    void (*look)(struct http2_session *c);
    /* The deadline of rest passed. */
    void (*overdue)(struct http2_session *c);
    /* When the connection, that waits for input, is overdue. */
    uint64_t (*deadline)(struct http2_session *c);
    /* It is over, and no stream is used any more: the memory is the owner's. */
    void (*free)(struct http2_session *c);
    /* Closed for that kind of abuse. May be NULL. */
    void (*abused)(struct http2_session *c, enum http2_abuse_kind kind);
};

struct http2_limits {
    uint32_t streams_max;      /* that the peer may have open */
    uint32_t window_bytes;     /* of a stream */
    uint32_t connection_bytes; /* window of the connection; as much is acknowledged before it is read, and
                                  more while some stream is waited for */
    uint32_t frame_bytes_max;  /* that the peer may send */
    uint32_t table_bytes;      /* of header compression */
    uint32_t list_bytes_max;   /* of a head */
    uint32_t fields_max;       /* of a head */
    uint32_t abuse_scale;      /* 0: the peer is not watched */
    uint64_t write_timeout_ms; /* in which the peer takes nothing */
    bool connect_protocol;     /* extended CONNECT (RFC 8441) is offered */
};

struct http2_session {
    nghttp2_session *ng; /* NULL: the connection is over */
    struct io *io;
    const struct http2_side *side;
    struct http2_limits limits;
    struct link streams;
    uint32_t streams_count; /* open, or used by a fiber */
    uint32_t used_count;    /* used by a fiber */
    uint32_t unread_bytes;  /* received and not given back, of all streams */
    uint32_t owed_bytes;    /* of the connection's window, not yet acknowledged */
    uint32_t hungry_count;  /* streams that somebody waits for input of: nothing is owed then */
    struct http2_abuse abuse;
    struct http2_stream *reading; /* whose head is coming in */
    uint64_t reading_us;          /* since when */
    uint64_t heard_us;            /* when bytes last came */
    struct fiber *drainer;        /* while the peer takes nothing */
    struct turn_hook flush_soon;
    int32_t newest_id;            /* of the peer's streams */
    int32_t last_id;              /* of the peer's streams, of those we have begun to answer */
    int32_t done[HTTP2_DONE_MAX]; /* the peer's streams that it has ended or taken back itself, the newest */
    uint8_t done_next;            /* place in done */
    uint8_t fault;                /* nghttp2_error_code of what the peer did; 0: PROTOCOL_ERROR */
    uint8_t head_have;            /* bytes of head */
    unsigned char head[9];        /* of the next frame that comes */
    uint32_t payload_left;        /* of the last one, or of the preface */
    uint16_t calm;                /* enum http2_abuse_kind + 1: it is over for that */
    err why;                      /* of over */
    bool over; /* nothing may be said to nghttp2 any more; streams that fibers use are still there */
    bool parked, busy, flushing, feeding, closing;
    bool soon;            /* flush_soon is queued */
    bool draining;        /* drainer is there, or comes */
    bool gaps;            /* the peer has passed over some streams */
    bool goaway_sent;     /* no stream above last_id is answered any more */
    bool goaway_received; /* nothing new may be asked */
    bool pinged;          /* and the answer has not come */
    bool settled;         /* the peer's SETTINGS have come */
    int32_t goaway_last;  /* of goaway_received: the last stream that the peer will answer */
};

/* Bits of what a stream is. */
enum http2_stream_flag {
    HTTP2_OPEN = 1 << 0,       /* nghttp2 has it */
    HTTP2_USED = 1 << 1,       /* a fiber has it, and lets go with http2_stream_leave */
    HTTP2_HEADED = 1 << 2,     /* its (final) head has come */
    HTTP2_ENDED = 1 << 3,      /* the peer has said all */
    HTTP2_DEFERRED = 1 << 4,   /* nghttp2 waits to be told that there is something to send */
    HTTP2_LAST = 1 << 5,       /* what is lent is all there will be */
    HTTP2_SAID = 1 << 6,       /* the end is framed */
    HTTP2_BARE = 1 << 7,       /* its head was all of it */
    HTTP2_AFTER = 1 << 8,      /* when the end is framed the peer is told to stop, if it has not */
    HTTP2_TAKEN_BACK = 1 << 9, /* the peer has reset it */
};

struct http2_stream {
    struct link link;
    struct http2_session *session; /* its ng is NULL when the connection is lost */
    int32_t id;
    uint32_t flags;
    uint32_t error; /* nghttp2_error_code of the peer's RST_STREAM */
    err failed;     /* why nothing more comes or goes; ERR_REFUSED: the peer did nothing about it */
    void *owner;
    struct fiber *waiting; /* for input */
    struct fiber *writing; /* for its output to be taken */
    struct http2_far *far; /* of http2_stream_io */
    void (*news)(
        struct http2_stream *s); /* for one without fibers: either of these has come; NULL otherwise */
    /* in */
    struct http2_head head, tail; /* tail: of the trailers */
    struct http_fields fields, trailers;
    struct http2_piece *first, *last;
    uint64_t bytes, bytes_max;                   /* of the body: given so far; ERR_LIMIT beyond */
    uint64_t pause_ms_max;                       /* ERR_TIMEOUT when nothing comes for so long */
    void (*before_wait)(struct http2_stream *s); /* once, before the body is first waited for; may be NULL */
    struct body body;
    /* out */
    struct bytes out; /* lent, not yet framed */
    struct body *out_body;
    uint64_t out_left; /* of it, not yet pulled; BODY_LENGTH_UNKNOWN */
    size_t out_taken;  /* of what was lent, and still to be given */
    bool out_raw;      /* out_body stands in a socket: it is given as it is framed */
    uint32_t tiny;     /* frames in a row that a window cut to next to nothing */
    uint64_t out_bytes;
    const struct http_fields *out_trailers;
    struct arena arena; /* of the heads */
    char first_bytes[1280] __attribute__((aligned(8)));
};

/* ---- a connection ---- */

/* c: zeroed memory of the caller's, with side and limits. Takes over io, and sends SETTINGS. */
void http2_session_open(struct http2_session *c, struct io *io);
/* Reads what has arrived and goes on by itself from there. */
void http2_session_start(struct http2_session *c);
/* Frames what is ready, now or at the end of the turn. */
void http2_session_flush(struct http2_session *c);
void http2_session_soon(struct http2_session *c);
/* The deadline has changed. */
void http2_session_rest(struct http2_session *c);
/* No new streams from here on; those there are go on. soon: the peer is told first and may still begin some
 * until it has heard of it (RFC 9113 6.8). */
void http2_session_goaway(struct http2_session *c, bool soon);
/* The peer has done that; when it is too much the connection ends with the next flush. */
void http2_session_note(struct http2_session *c, enum http2_abuse_kind kind);
/* At once, with GOAWAY. */
void http2_session_close(struct http2_session *c);
/* Somebody waits for input of a stream of c's, or does no more. It must not wait for what others have not
 * taken: that is bounded by their own windows. */
void http2_session_hungry(struct http2_session *c, bool hungry);
/* A stream is gone, perhaps the last that kept c alive. */
void http2_session_release(struct http2_session *c);
/* Over: streams fail with why. What is queued still goes out, unless it broke. */
void http2_session_end(struct http2_session *c, err why);

/* ---- a stream ---- */

/* A new one, that nghttp2 has under that id (0: not yet). */
struct http2_stream *http2_stream_new(struct http2_session *c, int32_t id);
/* A fiber takes it, or lets go of it: what is open of it then is reset with that code. */
void http2_stream_use(struct http2_stream *s);
void http2_stream_leave(struct http2_stream *s, uint32_t code);
void http2_stream_reset(struct http2_stream *s, uint32_t code);
bool http2_stream_is_whole(const struct http2_stream *s); /* both sides have said all */

/* s->body, and may be asked for by its functions or these. */
extern const struct body_ops http2_body_ops;
err http2_body_pull(struct body *b, uint64_t deadline_us, struct bytes *ret_bytes) CHECK_RESULT;
void http2_body_give(struct body *b, size_t n);
bool http2_body_ready(struct body *b);

/* Where nghttp2 is to find a stream's output. */
nghttp2_data_provider http2_stream_provider(struct http2_stream *s);
/* b is what the stream is to send, length bytes of it (BODY_LENGTH_UNKNOWN: all), with its trailers behind.
 */
void http2_stream_begin(struct http2_stream *s, struct body *b, uint64_t length);
/* Pulls its first piece, so that it goes out with the head when that is submitted afterwards. */
err http2_stream_lend(struct http2_stream *s, uint64_t deadline_us) CHECK_RESULT;
/* There is something to send again (s->out, or its end): nghttp2 learns of it. */
void http2_stream_resume(struct http2_stream *s);
/* The stream as an io, both ways, which is the caller's from now on: its close leaves the stream. Its head
 * has been sent, and no fiber waits for it (gate/http2_far.c). */
struct io *http2_stream_io(struct http2_stream *s);
/* Sends all of it (and what was lent already). idle_us: longest time in which nothing is taken. *ret_from:
 * when it fails, whether the body failed and not the stream. */
err http2_stream_send(struct http2_stream *s, uint64_t idle_us, uint64_t deadline_us,
                      bool *ret_from) CHECK_RESULT;

/* The peer itself has ended that stream of its own, or taken it back. */
bool http2_session_is_done(const struct http2_session *c, int32_t id);

/* A session of nghttp2 that says what happens to c and its streams (http2_callbacks.c). */
nghttp2_session *http2_callbacks_session(struct http2_session *c);

/* ---- what nghttp2 says of a stream (http2_session.c to http2_stream.c) ---- */

void http2_stream_begin_head(struct http2_stream *s);
void http2_stream_end_head(struct http2_stream *s, bool ended);
void http2_stream_input(struct http2_stream *s, struct bytes data);
void http2_stream_end_input(struct http2_stream *s);
void http2_stream_closed(struct http2_stream *s, uint32_t code);
void http2_stream_cut(struct http2_stream *s, err why);
/* True: all that was lent is framed, and its fiber, woken now, has more. */
bool http2_stream_frame(struct http2_stream *s, struct bytes frame_head, size_t n);

/* The one that is coming in. */
static inline struct http2_head *http2_stream_head(struct http2_stream *s)
{
    return s->flags & HTTP2_HEADED ? &s->tail : &s->head;
}

/* ---- heads ---- */

/* An array of fields for nghttp2, first those of the caller's choice (pseudo fields), then all that may pass.
 * copy: nghttp2 shall keep the text itself, because the frame may wait. */
struct http2_fields {
    nghttp2_nv *at;
    size_t count;
    uint8_t flags;
};
err http2_fields_open(struct http2_fields *f, struct arena *a, uint32_t fields, bool copy) CHECK_RESULT;
void http2_fields_put(struct http2_fields *f, struct bytes name, struct bytes value);
err http2_fields_put_all(struct http2_fields *f, struct arena *a,
                         const struct http_fields *from) CHECK_RESULT;
/* A frame that is submitted now is framed by the next flush: its text need not be kept. */
bool http2_session_is_clear(const struct http2_session *c);

/* http1_body: the body of an HTTP/1 message as it stands on a connection: by length, chunked, or up to the
 * end (RFC 9112 6). Both sides of the gate use it. It borrows the io; it lives in what reads the message. */
#pragma once
#include "base/arena.h"
#include "core/io.h"
#include "gate/body.h"
#include "proto/http1.h"

struct http1_body {
    struct body body;
    struct io *io;
    enum http_framing framing;
    bool ended;
    err failed;            /* sticky: a body that broke stays broken */
    uint64_t left;         /* of HTTP_BODY_LENGTH */
    uint64_t bytes;        /* given so far */
    uint64_t bytes_max;    /* ERR_LIMIT beyond */
    uint64_t pause_ms_max; /* ERR_TIMEOUT when nothing comes for so long */
    size_t lent;           /* of a chunk: bytes that io_pull lends and that are data */
    /* Called once before the first pull that has to wait: an expected 100-continue goes out. May be NULL. */
    void (*before_wait)(struct http1_body *b);
    void *owner;
    struct http1_chunked chunked;
    const struct http1_limits *limits;
    struct arena *arena; /* for trailers */
    struct http1_trailers trailer_text;
    struct http_fields trailers;
};

/* content_length as in the parsed head. Set before_wait and owner afterwards if they are needed. */
void http1_body_init(struct http1_body *b, struct io *io, enum http_framing framing, uint64_t content_length,
                     uint64_t bytes_max, uint64_t pause_ms_max, const struct http1_limits *limits,
                     struct arena *arena);
extern const struct body_ops http1_body_ops;
err http1_body_pull(struct body *b, uint64_t deadline_us, struct bytes *ret_bytes) CHECK_RESULT;
void http1_body_give(struct body *b, size_t n);
struct io *http1_body_raw(struct body *b, uint64_t *ret_left);
void http1_body_moved(struct body *b, uint64_t n);
bool http1_body_ready(struct body *b);
/* Has all of it been taken off the connection, so that the next message can follow? With a part left that has
 * arrived already and is short, takes it off. */
bool http1_body_finish(struct http1_body *b, size_t discard_bytes_max);

/* Writes a body to a connection in HTTP/1 framing: by HTTP_BODY_LENGTH or _CLOSE as it is, lent or spliced
 * where that is possible; by HTTP_BODY_CHUNKED in chunks, with its trailers. idle_us     longest time in
 * which `to` takes nothing ret_bytes   how many of the body's bytes were passed on, also when it fails
 *   ret_from    when it fails: true if the body failed, false if `to` did
 * With HTTP_BODY_LENGTH a body that ends before `length` bytes is ERR_CLOSED, and one that goes on is cut
 * there. */
err http1_body_send(struct io *to, struct body *b, enum http_framing framing, uint64_t length,
                    uint64_t idle_us, uint64_t deadline_us, uint64_t *ret_bytes, bool *ret_from) CHECK_RESULT;

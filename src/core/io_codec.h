/* io_codec: what stands between a connection's socket and its queues where the bytes on the wire are not
 * those that fibers see (TLS). To everything above an io with a codec is an io.
 *
 *      socket ─▶ [buffer] ─received─▶ codec ─io_codec_room / io_codec_decoded─▶ recv queue ─▶ io_pull
 *      io_write, io_lend ─▶ plain queue ─encode─▶ codec ─io_codec_emit─▶ send queue ─▶ socket
 *
 * What a turn of the loop has queued is encoded once, at its end, and goes out in one send. A codec may have
 * to speak first (a handshake): nothing is decoded or encoded before it has said io_codec_opened.
 *
 * All calls: on the connection's worker. The ops are called on the loop's stack or on a fiber's, and must not
 * wait. */
#pragma once
#include "core/io.h"

struct io_codec;
struct segment;
struct segment_queue {
    struct segment *head, *tail;
};

struct io_codec_ops {
    /* Bytes have arrived: void when it returns. */
    void (*received)(struct io_codec *c, struct bytes raw);
    /* The socket's end. False: the peer had not said that it has no more, so something may be missing. */
    bool (*ended)(struct io_codec *c);
    /* Encodes what stands in the plain queue, as far as it can now. */
    void (*encode)(struct io_codec *c);
    /* The same, and then says that there is no more. Called once. */
    void (*end)(struct io_codec *c);
    /* The connection is gone. */
    void (*free)(struct io_codec *c);
};

/* The first member of a codec's own struct. */
struct io_codec {
    const struct io_codec_ops *ops;
    struct io *io;
    struct segment_queue plain; /* queued, not encoded yet */
    bool open;
    /* Set by the codec: what has come it looks at later, so an end behind that is not yet anybody's news. */
    bool away;
    bool said_end; /* ops->end was called */
};

/* From now on c is between io's socket and its queues; what has been received and not consumed goes through
 * it first, what was queued before goes out as it is. c->ops is set. */
void io_set_codec(struct io *io, struct io_codec *c);
/* NULL: plain. */
struct io_codec *io_codec_of(const struct io *io);
/* From a fiber: waits until c is open. What went wrong otherwise. */
err io_codec_wait(struct io_codec *c, uint64_t deadline_us) CHECK_RESULT;

/* ---- for codecs ---- */

/* Room to decode into, at the end of the recv queue; at least 4 KiB. io_codec_decoded says how much was
 * written; 0: none of it was needed. */
char *io_codec_room(struct io_codec *c, size_t *ret_room);
void io_codec_decoded(struct io_codec *c, size_t n);
/* The next bytes to encode; len 0: none. io_codec_encoded takes them off the queue. */
struct bytes io_codec_plain(struct io_codec *c);
/* The same, but where there are several short runs they are copied together, up to size bytes into `into`. */
struct bytes io_codec_plain_run(struct io_codec *c, char *into, size_t size);
void io_codec_encoded(struct io_codec *c, size_t n);
/* To be sent, after all that was emitted before. Copied. */
void io_codec_emit(struct io_codec *c, struct bytes raw);
/* It can decode and encode now: who waits or is parked learns of it (OK). */
void io_codec_opened(struct io_codec *c);
/* It is no longer away, and has looked at what came meanwhile: io_codec_news follows. */
void io_codec_back(struct io_codec *c);
/* The peer has said that it has no more. */
void io_codec_peer_ended(struct io_codec *c);
/* Both ways are over; what was emitted still goes out. */
void io_codec_failed(struct io_codec *c, err why);
/* After any of these where the loop did not cause it (a helper's answer): wakes whoever waits for it. */
void io_codec_news(struct io_codec *c);
/* The same from within encode and end: they are told, but nobody is called from here. */
void io_codec_news_soon(struct io_codec *c);

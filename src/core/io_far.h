/* io_far: an io without a socket of its own: somebody else moves its bytes, as a stream of HTTP/2 does for a
 * WebSocket. To everything above it is an io: pulled, lent, parked, joined to another one (core/io.h).
 *
 *      mover ── io_far_put ──▶ recv queue ──▶ io_pull        io_write, io_lend ──▶ send queue ── io_far_out
 * ──▶ mover
 *
 * All calls on one worker. The ops are called on the loop's stack or a fiber's and must not wait. */
#pragma once
#include "core/io.h"

struct io_far;

struct io_far_ops {
    /* There is room: io_far_put what has arrived, as long as io_far_wants. */
    void (*want)(struct io_far *f);
    /* Something is queued: io_far_out shows it, io_far_took takes it off, now or later. */
    void (*send)(struct io_far *f);
    /* Nothing more comes after what was queued, all of which is taken. */
    void (*end)(struct io_far *f);
    /* The io is closed and void; broken: not everything that was queued was taken, or it was aborted. */
    void (*closed)(struct io_far *f, bool broken);
};

/* A member of the mover's own struct. */
struct io_far {
    const struct io_far_ops *ops;
    struct io *io; /* NULL once it is closed */
};

/* f->ops is set. */
struct io *io_far_open(struct io_far *f);
bool io_far_wants(const struct io_far *f);
/* Copied; whoever waits learns of it by io_far_news. */
void io_far_put(struct io_far *f, struct bytes data);
/* No more will arrive. */
void io_far_put_end(struct io_far *f);
/* Both ways are over. */
void io_far_fail(struct io_far *f, err why);
/* After any of these, unless it was from within `want`. */
void io_far_news(struct io_far *f);
/* The next bytes to be sent; len 0: none. */
struct bytes io_far_out(const struct io_far *f);
void io_far_took(struct io_far *f, size_t n);

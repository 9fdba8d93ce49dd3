/* io_internal: a connection as the files of core/ see it. */
#pragma once
#include <sys/uio.h>

#include "core/buffer.h"
#include "core/io.h"
#include "core/io_codec.h"
#include "core/io_far.h"
#include "core/loop.h"
#include "core/timer.h"

enum io_phase {
    IO_OPEN,
    IO_FLUSHING,   /* io_close: what is queued still goes out */
    IO_DISCARDING, /* io_close: half-closed, what arrives is dropped */
    IO_GONE        /* closed; waits for the kernel to let go of it */
};

enum io_flag {
    IO_PARKED = 1 << 0,
    IO_ENDED = 1 << 1, /* the peer's FIN was seen */
    IO_DIRTY = 1 << 2, /* in ios.dirty */
    IO_FIN_WANTED = 1 << 3,
    IO_FIN_SENT = 1 << 4,
    IO_DISCARD = 1 << 5,   /* after IO_FLUSHING comes IO_DISCARDING */
    IO_RAW = 1 << 6,       /* input is spliced: nothing may be received into buffers */
    IO_WAKE_SOON = 1 << 7, /* in ios.wake_soon */
    /* epoll */
    IO_READABLE = 1 << 8,
    IO_SEND_BLOCKED = 1 << 9,
    IO_HUNG_UP = 1 << 10, /* RDHUP, HUP or ERR came: a short read is not the last one */
    /* io_uring: a completion is outstanding */
    IO_RECV_ARMED = 1 << 11,
    IO_SEND_ARMED = 1 << 12,
    IO_POLL_IN_ARMED = 1 << 13,
    IO_POLL_OUT_ARMED = 1 << 14,
    IO_KERNEL_HAS = IO_RECV_ARMED | IO_SEND_ARMED | IO_POLL_IN_ARMED | IO_POLL_OUT_ARMED,
    IO_RECV_CANCELLED = 1 << 15,
    IO_PAUSED = 1 << 16,     /* too much is unconsumed: io_consume asks for input again */
    IO_WATCHED = 1 << 17,    /* io_watch: wake is told of the end */
    IO_CODED = 1 << 18,      /* there is a codec */
    IO_OPENED = 1 << 19,     /* it is open, and nobody was told yet */
    IO_CUT = 1 << 20,        /* with IO_ENDED: the codec's peer had more to say */
    IO_FAR = 1 << 21,        /* it has no socket: io_far moves its bytes */
    IO_SEND_WAITS = 1 << 22, /* io_uring: there was no room, so the next send waits for it */
    IO_SEND_QUIET = 1 << 23, /* with IO_SEND_ARMED: only what did not go out whole has a completion */
    IO_LISTED = IO_DIRTY | IO_WAKE_SOON,
};

/* Three cache lines; 15,000 idle ones must cost little, and a request touches few. */
struct io {
    int fd;
    uint32_t flags;
    uint8_t phase;
    uint8_t in_failed, out_failed; /* err */
    uint8_t bulk;                  /* so many more receives are made one by one (loop_uring.c) */
    uint32_t in_bytes;             /* received, not consumed */
    uint32_t out_bytes;            /* queued, not sent */
    uint32_t drain_max;            /* the writer waits for out_bytes to be at most this */
    struct lease *in_head, *in_tail;
    struct segment_queue out;
    struct fiber *reader, *writer;
    uint64_t read_deadline_us, write_deadline_us; /* DEADLINE_NONE: nobody waits */
    void (*wake)(void *owner, err why);
    void *owner;
    struct io *next_dirty; /* or in the free list */
    struct io *next_soon;
    struct timer timer; /* stands at the earlier deadline or before */
    struct link all;
    union {
        struct io_codec *codec; /* with IO_CODED */
        struct io_far *far;     /* with IO_FAR */
    };
} __attribute__((aligned(64)));

_Static_assert(sizeof(struct io) <= 192, "an idle connection is three cache lines");

struct io_listener {
    int fd;
    bool accepting; /* the loop has it */
    bool stopping;  /* accept_stop is at work */
    bool paused;
    bool within;    /* room counts */
    uint32_t room;  /* so many more may be accepted */
    uint32_t armed; /* io_uring, within: accepts under way, one connection each; never more than room */
    void (*on_accept)(void *owner, struct io *io);
    void *owner;
    struct timer retry; /* after EMFILE */
} __attribute__((aligned(64)));

struct fd_wait {
    int fd;
    short events;
    bool armed;
    err result;
    struct fiber *fiber; /* NULL: given up */
    struct fd_wait *next;
} __attribute__((aligned(64)));

struct pipe_pair {
    int in, out; /* read end, write end */
    struct pipe_pair *next;
};

/* Of one worker. */
struct ios {
    struct link all;
    uint32_t count;
    uint32_t closing; /* IO_FLUSHING or IO_DISCARDING, and waits for an fd that the kernel has to let go of: a
                         worker that stops waits for them */
    struct io *dirty, **dirty_end;
    struct io *soon, **soon_end;
    struct io *dead;        /* freed at the end of the turn: events of this turn may still name them */
    struct lease *out;      /* between io_out and io_out_end: not queued yet */
    struct lease *decoding; /* between io_codec_room and io_codec_decoded */
    struct io *free;
    struct slab *slabs;
    struct pipe_pair *pipes;
    uint32_t pipe_count;
};

void ios_open(struct ios *ios);
/* Aborts what is open still. */
void ios_abort_all(struct ios *ios);
void ios_close(struct ios *ios);
/* At the end of a turn, in this order. */
void ios_wake_soon(struct ios *ios);
void ios_flush(struct ios *ios);
void ios_bury(struct ios *ios);
void pipes_close(struct ios *ios);

/* An io of IO_FAR, with everything but who moves its bytes. */
struct io *io_make_far(void);
extern const struct loop_ops loop_far;

/* ---- told by the loops ---- */

/* len bytes came, which stand at the beginning of l: to the end of the receive queue, or through the codec.
 */
void io_received(struct io *io, struct lease *l, uint32_t len);
/* The socket's end. */
void io_received_end(struct io *io);
/* Bytes came, or the end, or in_failed was set. */
void io_input_changed(struct io *io);
/* n bytes went out, or failed. */
void io_sent(struct io *io, size_t n, err failed);
/* What want_ready or recv_stop was called for. */
void io_ready(struct io *io, bool writable);
void io_accepted(struct io_listener *l, int fd);
/* accept failed: puts accepting off where that helps. */
void io_accept_failed(struct io_listener *l, int number);
void io_free(struct io *io);
void fd_wait_done(struct fd_wait *wait, err result);

/* ---- for the loops and between the files of io ---- */

/* To the end of the receive queue; small pieces are copied into the room behind the last one. */
void io_append(struct io *io, struct lease *l, uint32_t len);
void io_drop_input(struct io *io);
void io_mark_dirty(struct io *io);
static inline bool io_wants_input(const struct io *io)
{
    return io->in_bytes < IO_RECV_BYTES_MAX / 2 && !(io->flags & (IO_ENDED | IO_RAW)) && !io->in_failed &&
           io->phase != IO_GONE;
}
/* All that came before the end has been looked at. */
static inline bool io_has_ended(const struct io *io)
{
    return io->flags & IO_ENDED && !(io->flags & IO_CODED && io->codec->away && io->phase == IO_OPEN);
}
/* An end is told as this. */
static inline err io_end_of(const struct io *io)
{
    return io->flags & IO_CUT ? ERR_RESET : ERR_CLOSED;
}
void io_drop_output(struct io *io);
/* Sends what is queued; where there is a codec, encodes it before. */
void io_send(struct io *io);
/* The pieces at the front of what is queued, as many as one call sends; their bytes. */
#define IO_PARTS_PER_SEND 16
size_t io_out_parts(const struct io *io, struct iovec parts[IO_PARTS_PER_SEND], size_t *ret_count);
void io_queue_segment(struct io *io, struct segment_queue *q, struct lease *l, char *ptr, size_t len);
/* Takes n bytes off the front. */
void io_unqueue(struct segment_queue *q, size_t n);
void io_drop_queue(struct segment_queue *q);
/* Says the codec's last word, if it has one. */
void io_codec_say_end(struct io *io);
/* Who waits for input learns that something has happened; nobody is called from here. */
void io_tell_soon(struct io *io);
void io_codec_drop_plain(struct io_codec *c);
void io_codec_free(struct io *io);
void io_wake_parked(struct io *io, err why);
void io_send_fin(struct io *io);
/* What is queued, when nothing comes behind it: it leaves in one packet with the FIN, which MSG_MORE makes it
 * wait for and which follows at once. What the kernel does not take whole stays queued. */
void io_send_last(struct io *io);
void io_set_read_deadline(struct io *io, uint64_t deadline_us);
void io_set_write_deadline(struct io *io, uint64_t deadline_us);
/* From here on nothing is received into buffers by itself (IO_RAW). */
void io_ask_stop(struct io *io);
/* The same, and waits until it is so. */
err io_stop_input(struct io *io, uint64_t deadline_us) CHECK_RESULT;
/* Large bodies were spliced from it: its next one shall not be received into buffers before it can be. */
#define IO_BULK_RECEIVES 8
/* As io_splice until `from` ends (ERR_CLOSED) or has said nothing for quiet_us (ERR_AGAIN: it can be parked
 * again, nothing is under way). ERR_TIMEOUT: `to` has taken nothing for idle_us. */
err io_splice_flow(struct io *from, struct io *to, uint64_t quiet_us, uint64_t idle_us,
                   uint64_t *ret_moved) CHECK_RESULT;
/* Waits for more than there is. */
err io_wait_input(struct io *io, uint64_t deadline_us) CHECK_RESULT;
/* Waits until the socket itself is ready. */
err io_wait_ready(struct io *io, bool writable, uint64_t deadline_us) CHECK_RESULT;
/* Closes now. */
void io_finish(struct io *io);
void io_close_step(struct io *io);

/* io: a connection (stream socket, listener) as fibers see it: read, decide, write.
 *
 *            recv queue: leases of pooled buffers             send queue: pooled buffers and lent leases
 *   socket ──▶ [buf]─[buf]─▶ io_pull / io_consume        io_write / io_out / io_lend ─▶ [buf]─[lease] ──▶
 * socket
 *
 * Input is pulled and leased: io_pull lends what has arrived, io_consume hands it back. Not pulling is
 * back-pressure. Output is queued and goes out at the end of the loop's turn, all of a turn in one send; a
 * writer blocks only while more than IO_SEND_BYTES_MAX wait. One fiber reads and one writes at a time (they
 * may be the same).
 *
 * An idle connection owns no fiber and no buffer: io_park ends the wait of the fiber that owns it; the next
 * byte, the end, an error or the deadline calls the waker on the loop's stack, which usually spawns a fiber.
 *
 * All calls: on the worker that made it. */
#pragma once
#include <sys/socket.h>

#include "base/addr.h"
#include "base/bytes.h"
#include "base/err.h"
#include "core/worker.h"

struct io;

/* One receive or send buffer. */
#define IO_BUFFER_BYTES (16 * 1024)
#define IO_SEND_BYTES_MAX (64 * 1024)
/* Received and not yet pulled bytes of one connection, about: more is left in the kernel. */
#define IO_RECV_BYTES_MAX (64 * 1024)
/* The longest run of contiguous bytes that io_pull_more can gather. */
#define IO_CONTIGUOUS_BYTES_MAX (128 * 1024)

/* ---- making and ending ---- */

/* Takes over a connected, non-blocking socket. */
struct io *io_open(int fd);
/* Takes over an unconnected, non-blocking socket (options set by the caller, net/tcp.c) and connects it. On
 * failure the socket is closed. ERR_REFUSED, ERR_TIMEOUT, ERR_UNREACHABLE, ERR_CANCELLED, ... */
err io_connect(int fd, const struct addr *to, uint64_t deadline_us, struct io **ret_io) CHECK_RESULT;
/* Sends what is queued (linger_us at most), then closes and frees; io is gone for the caller at once, and the
 * fiber does not wait. discard: first half-closes and drops what still arrives for a while, so that an answer
 * to a request that was not read whole is not lost to a reset (RFC 9112 9.6). */
void io_close(struct io *io, uint64_t linger_us, bool discard);
/* Drops what is queued and closes. reset: the peer gets an RST instead of a FIN. */
void io_abort(struct io *io, bool reset);
int io_fd(const struct io *io);

/* ---- reading (from a fiber) ---- */

/* Lends what has arrived and is not consumed: at least one byte, else waits.
 * ERR_CLOSED: the peer's end, everything before it was consumed. ERR_TIMEOUT: the connection is still good.
 */
err io_pull(struct io *io, uint64_t deadline_us, struct bytes *ret_bytes) CHECK_RESULT;
/* Waits for more than the `have` unconsumed bytes that io_pull lent, and lends all of them in one run (which
 * may have moved: earlier slices are void). ERR_LIMIT beyond IO_CONTIGUOUS_BYTES_MAX. ERR_CLOSED: no more
 * will come. */
err io_pull_more(struct io *io, size_t have, uint64_t deadline_us, struct bytes *ret_bytes) CHECK_RESULT;
/* What has arrived, without waiting; len 0: nothing. */
struct bytes io_peek(struct io *io);
/* Hands back the first n bytes of what was lent. They are void, unless io_hold was called on them. */
void io_consume(struct io *io, size_t n);
/* Keeps the buffer that the unconsumed bytes begin in alive beyond io_consume, until lease_drop. For heads
 * whose slices are used while the body is pulled. */
struct lease;
struct lease *io_hold(struct io *io);
void lease_drop(struct lease *l);

/* ---- writing ---- */

/* Room for n contiguous bytes (n <= IO_BUFFER_BYTES) at the end of the send queue; never waits. io_out_end
 * says how many were written; nothing may happen to the connection in between. */
char *io_out(struct io *io, size_t n);
void io_out_end(struct io *io, size_t n);
/* Copies to the send queue. Waits while more than IO_SEND_BYTES_MAX are queued; from the loop's stack it
 * never waits. An error of an earlier send is told here, or by io_drain: ERR_RESET, ERR_TIMEOUT. */
err io_write(struct io *io, struct bytes data, uint64_t deadline_us) CHECK_RESULT;
/* Queues n unconsumed bytes of `from` (from its io_pull) without copying, and consumes them. */
err io_lend(struct io *io, struct io *from, size_t n, uint64_t deadline_us) CHECK_RESULT;
/* Waits until at most queued_max bytes are queued. */
err io_drain(struct io *io, size_t queued_max, uint64_t deadline_us) CHECK_RESULT;
size_t io_queued(const struct io *io);
/* OK while nothing has failed in either direction. */
err io_failed(const struct io *io);
/* Has the peer ended its side (all data before that may not be consumed yet)? */
bool io_peer_ended(const struct io *io);
/* No more output: FIN after what is queued. */
void io_end(struct io *io);

/* ---- moving bodies ---- */

/* Moves n bytes from one socket to the other in the kernel (splice), after what is queued and unconsumed.
 * Each stall longer than idle_us is ERR_TIMEOUT, and so is the deadline. Others have their turn in between.
 * ERR_CLOSED: `from` ended early. n = UINT64_MAX: until `from` ends (then OK). *ret_moved counts also when it
 * fails. failed_side: 0 from, 1 to. */
err io_splice(struct io *from, struct io *to, uint64_t n, uint64_t idle_us, uint64_t deadline_us,
              uint64_t *ret_moved, int *ret_failed_side) CHECK_RESULT;
/* Sends n bytes of a file, after what is queued (sendfile). The caller sees to it that they are in memory
 * (core/file.h), and has others take their turn. Deadlines as above. ERR_CLOSED: the file is shorter. */
err io_send_file(struct io *to, int fd, uint64_t offset, size_t n, uint64_t idle_us, uint64_t deadline_us,
                 uint64_t *ret_moved) CHECK_RESULT;

/* ---- tunnels ---- */

/* Two connections joined: what the one sends the other gets, both ways, and each end is passed on
 * (half-close). While nothing moves it has no fiber and no buffer. Much at once is spliced. Lives in the
 * caller's memory. */
struct tunnel;
struct tunnel_ops;
struct tunnel_way {
    struct tunnel *tunnel;
    struct io *from, *to;
    uint64_t moved;      /* bytes */
    struct fiber *fiber; /* while it has more to do than fits a turn */
    uint8_t state;
};

struct tunnel {
    struct tunnel_way ways[2]; /* a to b, b to a */
    uint64_t idle_us;
    uint64_t active_us; /* when something last moved */
    err failed;         /* what went wrong first */
    bool ending;        /* set by ops: it is over, without a mistake */
    bool stopped;
    const struct tunnel_ops *ops; /* NULL: all passes as it is */
    void (*done)(struct tunnel *t, err why);
};

/* What becomes of the bytes at hand: so many pass, then so many are dropped. Both 0: more of them have to
 * stand in one run before that can be said. */
struct tunnel_cut {
    size_t pass, drop;
};

/* For somebody in the middle who knows what is said there: sees all that passes, may leave some out, and may
 * write to either side (io_out) where that fits in. Nothing is spliced then. On the loop's stack or a fiber;
 * must not wait. */
struct tunnel_ops {
    struct tunnel_cut (*look)(struct tunnel_way *w, struct bytes run);
    /* Until when w->from may say nothing; instead of idle_us, which still bounds how long a side takes
     * nothing, or leaves something unfinished. */
    uint64_t (*deadline)(const struct tunnel_way *w);
    /* That has passed, or did as it stood when it was last asked for. */
    void (*due)(struct tunnel_way *w);
    /* w->from has ended its side, which was passed on. */
    void (*ended)(struct tunnel_way *w);
};

/* done is called once, later, on the loop's stack or a fiber: OK: both have ended, or ops say so;
 * ERR_TIMEOUT: nothing moved either way, or one side took nothing, for idle_us; ERR_CANCELLED; or what
 * failed. Then nothing of it runs any more: a and b are the caller's again, to be closed. */
void tunnel_start(struct tunnel *t, struct io *a, struct io *b, uint64_t idle_us,
                  void (*done)(struct tunnel *t, err why));
/* The same with ops. */
void tunnel_start_watched(struct tunnel *t, struct io *a, struct io *b, uint64_t idle_us,
                          const struct tunnel_ops *ops, void (*done)(struct tunnel *t, err why));
/* done(ERR_CANCELLED) follows, or is called from here. */
void tunnel_cancel(struct tunnel *t);
/* A deadline of its ops has come nearer, or ending was set outside of them: done(OK) may be called from here.
 */
void tunnel_look_again(struct tunnel *t);

/* ---- resting ---- */

/* Puts the connection to rest: wake(owner, why) is called once on the loop's stack: OK: bytes are there
 * (io_peek); ERR_CLOSED, ERR_RESET: the peer's end; ERR_TIMEOUT: the deadline. With unconsumed bytes already
 * there it is called at the end of this turn. Queued output still goes out. */
void io_park(struct io *io, void (*wake)(void *owner, err why), void *owner, uint64_t deadline_us);
/* Takes it back before that: wake will not be called. */
void io_unpark(struct io *io);

/* Not at rest, and perhaps read by a fiber: ended(owner, why) is called once, on the loop's stack or before
 * this returns, when the peer has ended its side (ERR_CLOSED) or the connection broke. What has arrived
 * before stays. Ends with io_unwatch or io_close; never with a call. */
void io_watch(struct io *io, void (*ended)(void *owner, err why), void *owner);
void io_unwatch(struct io *io);

/* ---- listening ---- */

struct io_listener;
/* Takes over a listening socket (and makes it non-blocking). on_accept(owner, io) for each connection: on the
 * loop's stack, or on the caller's within io_listener_pause and io_listener_close. It must not block. */
err io_listen(int fd, void (*on_accept)(void *owner, struct io *io), void *owner,
              struct io_listener **ret_listener) CHECK_RESULT;
/* The same, with room for so many connections: no more than that are ever accepted, not one, until
 * io_listener_room says anew how many. What does not fit stays in the kernel's queue. (Only when room is
 * taken back a few that were under way may still come, within that call.) */
err io_listen_within(int fd, uint32_t room, void (*on_accept)(void *owner, struct io *io), void *owner,
                     struct io_listener **ret_listener) CHECK_RESULT;
void io_listener_room(struct io_listener *l, uint32_t room);
/* Stops or goes on accepting: a worker that has reached its limit leaves connections in the kernel's queue.
 * What the kernel had accepted already is still handed over, within this call. */
void io_listener_pause(struct io_listener *l, bool pause);
/* Accepts what stands in the kernel's queue already (and there is room for), then closes (close_fd) or leaves
 * the socket to its owner. Also where another process accepts from the same socket: the kernel wakes one of
 * the two for a connection, and if that was this one just before it stopped, nobody else learns of it. */
void io_listener_close(struct io_listener *l, bool close_fd);

/* ---- anything else that can be polled ---- */

/* Waits until fd is readable or writable (events as of poll). One fiber per fd at a time; not for an fd that
 * an io owns. */
err io_wait_fd(int fd, short events, uint64_t deadline_us) CHECK_RESULT;

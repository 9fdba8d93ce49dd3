/* loop: what stands between io.c and the kernel; one table for io_uring, one for epoll.
 *
 * A loop tells io.c what happened through io_input_changed, io_sent, io_ready and io_accepted
 * (io_internal.h). All calls: on the worker's thread. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/diag.h"
#include "base/err.h"

/* The kernel's own header decides; liburing is not needed. */
#ifndef WEIR_HAVE_URING
#if __has_include(<linux/io_uring.h>)
#include <linux/io_uring.h>
#ifdef IORING_RECV_MULTISHOT
#define WEIR_HAVE_URING 1
#endif
#endif
#endif
#ifndef WEIR_HAVE_URING
#define WEIR_HAVE_URING 0
#endif

struct worker;
struct io;
struct io_listener;
struct fd_wait;

struct loop_ops {
    const char *name;
    err (*open)(struct worker *w, struct diag *reterr);
    void (*close)(struct worker *w);
    /* Submits what was prepared, waits for events (timeout_us 0: does not wait; UINT64_MAX: for ever) and
     * hands them on. Calls worker_slept as soon as it is back. */
    void (*turn)(struct worker *w, uint64_t timeout_us);
    /* A new io: false when the kernel refuses (no memory). */
    bool (*attach)(struct io *io);
    /* Closes io->fd and gives io to io_free, at once or when the kernel has let go of it. */
    void (*detach)(struct io *io);
    /* Somebody wants input now: it comes by io_input_changed, or is there when this returns. */
    void (*recv)(struct io *io);
    /* No more input is taken by itself until recv is called again. False: not stopped yet; io_ready follows.
     */
    bool (*recv_stop)(struct io *io);
    /* Sends what is queued, as far as the kernel takes it; io_sent tells. */
    void (*send)(struct io *io);
    /* The socket said EAGAIN; io_ready is called when it is readable (or writable, or broken). True: it is so
     * already. */
    bool (*want_ready)(struct io *io, bool writable);
    err (*accept_start)(struct io_listener *l);
    /* When this returns no more io_accepted comes. */
    void (*accept_stop)(struct io_listener *l);
    /* Calls fd_wait_done once; fd_wait_cancel gives it up. */
    err (*fd_wait)(struct fd_wait *wait);
    void (*fd_wait_cancel)(struct fd_wait *wait);
};

extern const struct loop_ops loop_epoll;
#if WEIR_HAVE_URING
extern const struct loop_ops loop_uring;
/* Really sets up a ring and receives over it; in words why not. */
bool loop_uring_probe(char *ret_reason, unsigned reason_size);
#endif

/* uring: one io_uring instance: set-up, submission, completion, the ring of provided buffers. Straight on the
 * system calls, so that what a library of the distribution does not know yet can be used where the kernel
 * does.
 *
 * One thread, which is also the one that opened it (SINGLE_ISSUER). */
#pragma once
#include <linux/io_uring.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct uring {
    int fd; /* or its index when registered */
    int real_fd;
    unsigned enter_flags;
    unsigned setup_flags;
    uint64_t enters;

    struct io_uring_sqe *sqes;
    unsigned *sq_head, *sq_tail, *sq_flags, *sq_array; /* shared with the kernel; no array: NO_SQARRAY */
    unsigned sq_mask, sq_entries, sq_next;

    struct io_uring_cqe *cqes;
    unsigned *cq_head, *cq_tail;
    unsigned cq_mask;

    struct io_uring_cqe *stash; /* taken out of the ring before their turn */
    unsigned stash_next, stash_count, stash_size;

    void *rings, *sqe_memory;
    size_t rings_bytes, sqe_bytes;
};

err uring_open(struct uring *u, unsigned entries, unsigned completions);
void uring_close(struct uring *u);
/* Submits what is prepared and waits for at least `wanted` completions (0: does not wait) or timeout_us. */
void uring_enter(struct uring *u, unsigned wanted, uint64_t timeout_us);
/* Is all submitted that was prepared, and is each completion of it to be seen that came at once? */
bool uring_is_level(const struct uring *u);
/* A cleared entry; submits by itself when the queue is full. */
struct io_uring_sqe *uring_sqe(struct uring *u);
unsigned uring_sqes_left(const struct uring *u);
/* The next completion, by value: its place may be used again. */
bool uring_cqe(struct uring *u, struct io_uring_cqe *ret_cqe);
/* How many it would give now. */
unsigned uring_cqes_ready(const struct uring *u);
/* The same, passing by those that were stashed; what is not handled is put back with uring_stash, in order.
 */
bool uring_cqe_fresh(struct uring *u, struct io_uring_cqe *ret_cqe);
void uring_stash(struct uring *u, const struct io_uring_cqe *cqe);

/* Provided buffers; used by the kernel first-in first-out. */
struct uring_buffers {
    struct io_uring_buf_ring *ring;
    unsigned mask;
    uint16_t tail;
    uint16_t group;
    size_t bytes;
};
/* entries: a power of two. */
err uring_buffers_open(struct uring *u, struct uring_buffers *b, unsigned entries, uint16_t group);
void uring_buffers_close(struct uring *u, struct uring_buffers *b);
/* Returns the number by which a completion names it. Not seen by the kernel before uring_buffers_publish. */
uint16_t uring_buffers_add(struct uring_buffers *b, void *data, unsigned len);
void uring_buffers_publish(struct uring_buffers *b);

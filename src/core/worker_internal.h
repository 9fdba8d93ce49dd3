/* worker_internal: what the files of core/ keep in a worker. */
#pragma once
#include <stdatomic.h>

#include "core/buffer.h"
#include "core/fiber_internal.h"
#include "core/io_internal.h"
#include "core/loop.h"
#include "core/timer_wheel.h"
#include "core/worker.h"

struct chunk;

struct worker {
    uint64_t now_us;
    const struct loop_ops *ops;
    void *loop; /* the loop's own */
    struct fibers fibers;
    struct buffers buffers;
    struct ios ios;
    struct turn_hook *hooks, **hooks_end;
    struct turn_hook *end_hooks; /* the last one points at itself */
    struct chunk *chunks;        /* pooled arena chunks */
    uint32_t chunk_count;
    uint64_t wall_offset_us; /* wall - now */
    uint64_t wall_synced_us;
    void *slots[WORKER_SLOTS];
    struct wheel wheel;

    unsigned index;
    int cpu;
    char name[16];
    int wake_fd; /* eventfd; its counter is never read: edges suffice */
    pthread_t thread;
    bool on_own_thread;
    void (*start)(void *arg);
    void *start_arg;
    struct worker *next; /* of all workers, for the debugger and the dump */

    bool busy;      /* the next turn follows at once */
    bool stop_seen; /* from here on the loop sleeps again: fibers may take a while to end */
    uint64_t turns, syscalls, no_buffers;
    _Atomic uint64_t lag_us_max;

    /* what other threads touch, on lines of its own */
    _Alignas(64) _Atomic(struct mail *) mails; /* the newest first */
    atomic_bool asleep;
    _Atomic uint32_t posting; /* threads that are in worker_post */
    atomic_bool stop;
};

extern _Thread_local struct worker *worker_this;

/* The loop is back from waiting: takes the time. */
void worker_slept(struct worker *w);

/* Who moves io's bytes. */
static inline const struct loop_ops *io_ops(const struct io *io)
{
    return io->flags & IO_FAR ? &loop_far : worker_this->ops;
}

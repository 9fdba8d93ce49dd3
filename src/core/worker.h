/* worker: one thread with one event loop, its fibers, timers, buffers and connections. Nothing is shared
 * between workers on the request path; they speak by mail.
 *
 *      turn:  take completions ─▶ run what became ready ─▶ flush every connection that has output ─▶ submit
 * and wait
 *
 * Two loops stand behind one contract (core/io.h): io_uring and epoll. */
#pragma once
#include <stdint.h>

#include "base/arena.h"
#include "base/diag.h"
#include "base/err.h"

struct worker;
struct fiber;

enum loop_kind { LOOP_AUTO, LOOP_URING, LOOP_EPOLL };

struct worker_opts {
    unsigned index;      /* 0 .. workers - 1; the control worker is the last */
    enum loop_kind loop; /* LOOP_AUTO: io_uring where the kernel lets us, else epoll */
    int cpu;             /* pinned to it; -1: not pinned */
    const char *name;    /* of the thread, up to 15 characters */
};

/* Which loop LOOP_AUTO would be here, and in words why ("io_uring: Operation not permitted"). */
enum loop_kind loop_choose(enum loop_kind wanted, char *ret_reason, unsigned reason_size);
const char *loop_name(enum loop_kind kind);

/* Makes the loop and starts the thread; start(arg) runs there first, on a fiber. ERR_MEMORY, ERR_SYSTEM,
 * ERR_UNSUPPORTED (that loop is not to be had here). */
err worker_start(const struct worker_opts *opts, void (*start)(void *arg), void *arg,
                 struct worker **ret_worker, struct diag *reterr) CHECK_RESULT;
/* The same on the calling thread; returns when worker_stop was called and no fiber lives any more. */
err worker_run(const struct worker_opts *opts, void (*start)(void *arg), void *arg,
               struct diag *reterr) CHECK_RESULT;
/* Any thread: the loop ends as soon as no fiber lives, and is then freed. */
void worker_stop(struct worker *w);
/* Waits for the thread. */
void worker_join(struct worker *w);

/* This thread's; NULL on a thread that is none. */
struct worker *worker_self(void);
unsigned worker_index(const struct worker *w);
/* Monotonic microseconds as of the start of this turn. */
uint64_t worker_now_us(void);
/* The same clock, read now: for what measures its own work, or is compared with other workers. Any thread. */
uint64_t worker_clock_us(void);
/* Wall clock as of this turn, microseconds since 1970. */
uint64_t worker_wall_us(void);
/* The CPU clock is not cached: for deadlines take worker_now_us() + something. */
static inline uint64_t deadline_in_ms(uint64_t ms);

/* What a module keeps for this worker. Slots are given out once, at start. */
#define WORKER_SLOTS 16
void **worker_slot(struct worker *w, unsigned slot);

/* Mail: run(mail) is called on w's loop (not on a fiber; it may spawn one). The mail is the sender's until
 * run is called, then the receiver's. Any thread; w is woken only if it sleeps. In order from one sender. */
struct mail {
    struct mail *next;
    void (*run)(struct mail *m);
};
void worker_post(struct worker *w, struct mail *m);

/* Runs on the loop's stack at the end of every turn, before output is flushed, while set. For batching. */
struct turn_hook {
    struct turn_hook *next;
    void (*run)(struct turn_hook *h);
};
/* Once, at the end of this turn. A hook that is queued is not queued twice. */
void worker_end_of_turn(struct turn_hook *h);
/* Runs when this worker's loop has ended, with no fiber and no connection left: for what a module keeps in
 * memory of the thread. Once each; from any code of this worker. */
void worker_on_end(struct turn_hook *h);

/* Chunks for request arenas: pooled blocks of this worker (larger ones from the heap). */
extern const struct arena_source arena_worker;

struct worker_stats {
    uint64_t turns;         /* of the loop */
    uint64_t busy_us;       /* CPU time of its thread */
    uint64_t syscalls;      /* submissions (io_uring) or I/O calls (epoll) */
    uint64_t lag_us_max;    /* longest turn since the last look */
    uint64_t buffers_bytes; /* receive and send buffers that exist */
    uint64_t connections;   /* open io objects */
    uint64_t no_buffers;    /* receives put off because no buffer was free */
};
/* Approximate when read from another thread. */
struct worker_stats worker_stats(struct worker *w);

#include "core/fiber.h"
static inline uint64_t deadline_in_ms(uint64_t ms)
{
    return ms >= DEADLINE_NONE / 1000 ? DEADLINE_NONE : worker_now_us() + ms * 1000;
}

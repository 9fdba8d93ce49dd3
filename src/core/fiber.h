/* fiber: a function with a small pooled stack of its own. What blocks a fiber never blocks its worker.
 *
 *      spawn ──▶ READY ──▶ RUNNING ──▶ (fn returns) stack back to the pool
 *                  ▲          │
 *                wake      wait / sleep / I/O
 *                  │          ▼
 *                  └────── WAITING ── deadline passes ──▶ READY (ERR_TIMEOUT)
 *
 * A fiber lives and dies on the worker that spawned it. Stacks are mmap'd with a guard page, recycled last-in
 * first-out and trimmed after a burst; their high-water mark is a metric. AddressSanitizer and valgrind are
 * told of every switch. All calls: from a worker's thread; those that wait: from a fiber. */
#pragma once
#include <stdint.h>

#include "base/err.h"
#include "base/list.h"

struct fiber;
struct worker;

/* Usable bytes of a stack; the last page before it is the guard. Deep work (a library's callbacks) must fit.
 */
#define FIBER_STACK_BYTES (64 * 1024)

/* fn(arg) runs on a new fiber, in this turn of the loop, after those that are ready already. Aborts when the
 * kernel gives no more mappings, so callers bound how many they spawn. */
void fiber_spawn(void (*fn)(void *arg), void *arg);
/* The same for new work from outside, a client's next request: it begins behind all that is under way, in the
 * order in which it came. In a turn of the loop that many begin, or a quarter of the turn's switches if that
 * is more; the rest waits for the next turns. So under load few are begun and not yet ended, and their
 * stacks, buffers and connections to servers stay in the processor's caches; and who is under way, however
 * busy, leaves a quarter of a turn to those who have not begun. */
#define FIBERS_ADMITTED_PER_TURN 64
void fiber_admit(void (*fn)(void *arg), void *arg);
/* NULL on the loop's own stack (in callbacks of timers, mails and parked connections). */
struct fiber *fiber_self(void);
/* Lets the others that are ready run first. */
void fiber_yield(void);
/* Waits until fiber_wake (OK), the deadline (ERR_TIMEOUT) or fiber_cancel (ERR_CANCELLED).
 * deadline_us: on worker_now_us()'s clock; DEADLINE_NONE waits for ever. Spurious wake-ups do not happen, but
 * a wake that came before the wait counts: the wait returns at once. */
err fiber_wait(uint64_t deadline_us) CHECK_RESULT;
/* Same worker only; from elsewhere post a mail that does it. Waking twice is waking once. */
void fiber_wake(struct fiber *f);
/* Every wait of f, now and from now on, returns ERR_CANCELLED: it unwinds by itself. */
void fiber_cancel(struct fiber *f);
/* The same until f itself says that it is over. For one of two that do the same when the other was faster. */
void fiber_interrupt(struct fiber *f);
void fiber_interrupt_end(void);
/* All of this worker's but the caller. */
void fiber_cancel_all(void);
err fiber_sleep_us(uint64_t us) CHECK_RESULT;

#define DEADLINE_NONE UINT64_MAX

/* Fibers in line for something; first come, first served. One worker. */
struct wait_queue {
    struct link fibers;
    uint32_t count;
};
void wait_queue_init(struct wait_queue *q);
err wait_queue_wait(struct wait_queue *q, uint64_t deadline_us) CHECK_RESULT;
/* false: nobody waits. */
bool wait_queue_wake_one(struct wait_queue *q);
void wait_queue_wake_all(struct wait_queue *q);

struct fiber_stats {
    uint32_t live;                   /* running, ready or waiting */
    uint32_t pooled;                 /* stacks at rest */
    uint32_t stack_high_water_bytes; /* whole pages, of any stack so far; looked at when stacks are trimmed
                                        and here */
    uint64_t spawned;
};
struct fiber_stats fiber_stats(struct worker *w);
/* Each live fiber of this worker with its backtrace, to stderr (weir does it on a signal; tool/gdb/fibers.py
 * does the same in a debugger or a core file). */
void fiber_dump_all(struct worker *w);

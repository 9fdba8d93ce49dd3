/* fiber_internal: what fiber.c keeps in a worker, and the waits that core/ itself is made of. */
#pragma once
#include "core/fiber.h"
#include "core/timer.h"

enum fiber_state { FIBER_READY, FIBER_RUNNING, FIBER_WAITING, FIBER_BLOCKED, FIBER_HELD };

/* Lies at the top of its mapping, so that a switch touches lines that the fiber touches anyway.
 *
 *      base                                                        base + guard + FIBER_STACK_BYTES
 *      [ guard page ][ ....... grows down ◀── frames ][ struct stack ][ colour ] */
struct stack {
    void *sp; /* where it was left */
    struct fiber *fiber;
    struct link rest; /* in fibers.rest; the hot end is the front */
    char *base;       /* NULL: the thread's own stack, on which the loop runs */
    void *fake_stack; /* AddressSanitizer's */
    const void *bottom;
    size_t size;
    unsigned valgrind_id;
};

struct fiber {
    struct link line;    /* of the ready, or in a wait_queue */
    struct link live;    /* in fibers.live */
    struct stack *stack; /* NULL until it first runs */
    void (*fn)(void *arg);
    void *arg;
    struct wait_queue *queue;
    uint64_t deadline_us;
    struct timer timer; /* stands at the deadline or before: re-armed when it fires early */
    uint8_t state;      /* enum fiber_state */
    uint8_t result;     /* err: of the wait that ends */
    bool woken;         /* fiber_wake came before fiber_wait */
    bool wake_seen;     /* fiber_wake ended a wait, and f has not run since */
    bool cancelled;
    bool interrupted;
};

/* Stacks that nobody needed for so long go back to the kernel. */
#define FIBER_TRIM_US (3 * 1000 * 1000)

struct fibers {
    struct fiber *current; /* NULL: the loop */
    struct link ready;
    struct link later;   /* yielded: ready in the next turn */
    struct link outside; /* fiber_admit: they have not begun */
    struct link live;
    struct link rest; /* stacks at rest */
    struct stack loop;
    struct fiber *free; /* linked by line.next */
    uint32_t switches;  /* in this turn */
    uint32_t begun;     /* of `outside`, in this turn */
    uint32_t live_count;
    uint32_t rest_count;
    uint32_t rest_low_water; /* since the last trim: that many stacks were not needed */
    uint32_t stacks;         /* that exist; also colours them */
    uint32_t high_water_bytes;
    uint64_t spawned;
    struct timer trim;
    struct fiber *dump; /* fiber_dump_all has switched to it */
    void *slabs;
};

void fibers_open(struct fibers *fs);
void fibers_close(struct fibers *fs);
/* Runs those that are ready, on the loop's stack. */
void fibers_run(struct fibers *fs);
static inline bool fibers_idle(const struct fibers *fs)
{
    return list_empty(&fs->ready) && list_empty(&fs->later) && list_empty(&fs->outside);
}

/* Leaves the fiber until fiber_resume (its result) or fiber_cancel (ERR_CANCELLED). fiber_wake does not end
 * it. The caller keeps who is to resume, and forgets it when this returns. */
err fiber_block(void) CHECK_RESULT;
/* And until then at the latest (ERR_TIMEOUT). */
err fiber_block_until(uint64_t deadline_us) CHECK_RESULT;
/* Leaves the fiber until fiber_resume, cancelled or not: somebody uses what is on its stack. */
void fiber_hold(void);
struct fiber *fiber_spawn_get(void (*fn)(void *arg), void *arg);
/* Of a fiber that is not blocked or held: nothing happens. */
void fiber_resume(struct fiber *f, err result);

/* fiber_switch_*.S: saves what the ABI wants preserved on this stack, its pointer in *save_sp, and goes on
 * where `to` was left. The x87 and SSE control words are left out: nothing here ever changes rounding. */
void fiber_switch(void **save_sp, void *to);
/* The first thing that runs on a new stack; expects what fiber.c put there. */
void fiber_entry(void);
/* Called by fiber_entry. */
_Noreturn void fiber_main(struct stack *s);

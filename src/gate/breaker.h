/* breaker: whether requests are let through, decided from what came of those before them.
 *
 *      ┌────────┐   share reached    ┌──────┐  time is up   ┌───────────┐  probes went well
 * ┌─────────────────┐ │ CLOSED │ ─────────────────▶ │ OPEN │ ────────────▶ │ HALF_OPEN │ ─────────────────▶ │
 * RAMP            │ │ passes │                    │      │ ◀──────────── │ n probes  │                    │ a
 * growing share │ └────────┘                    └──────┘  one failed   └───────────┘ └─────────────────┘ ▲ ▲
 * share reached                  │      │ │ └─────────────────────────────────────────────────────────┘ │
 *          └──────────────────────────────────────── time is up ──────────────────────────────────────────┘
 *
 * (M. Nygard, "Release It!", 2007, "Circuit Breaker".) Without probes OPEN goes on to RAMP, without a ramp
 * HALF_OPEN to CLOSED. In RAMP as in CLOSED the share of errors, or of slow answers, in a sliding window
 * opens it.
 *
 * One breaker serves all workers and outlives reloads. What it is doing is one word that is only moved by
 * compare-and-swap, so that each move is made by one worker, once. Answers are counted by each worker for
 * itself and added up only when one is an error or slow. The memory is zeroed at first and has no pointers.
 * Pure but for that memory: time and chance are arguments; any thread. */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BREAKER_SHARE_ONE 1000000u /* shares are in millionths: whole numbers compare exactly */
#define BREAKER_PROBES_MAX 1000

struct breaker_limits {
    uint64_t errors_share;
    uint64_t slow_share; /* 0: slow answers do not count */
    uint64_t slow_ms;
    uint64_t requests_min;
    uint64_t slice_ms;
    uint64_t open_ms;
    uint64_t ramp_ms; /* 0: none */
    uint32_t probes;  /* 0: none */
};

enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN, BREAKER_RAMP };

/* Each change of state begins a new turn. An answer speaks only of the turn in which its request was let
 * through: what comes late says nothing about the servers as they are now. */
struct breaker_phase {
    enum breaker_state state;
    uint32_t turn;
    uint64_t until_ms;        /* of OPEN: when it goes on; of RAMP: when it is over */
    uint32_t sent, succeeded; /* of HALF_OPEN: probes that are out or went well, and those that went well */
};

enum breaker_passage { BREAKER_REFUSED, BREAKER_PASSES, BREAKER_PROBES };
/* SLOW: an answer, and no error, but later than slow_ms. */
enum breaker_verdict { BREAKER_NOTHING, BREAKER_SUCCESS, BREAKER_SLOW, BREAKER_FAILURE };

struct breaker_totals {
    uint64_t requests, errors, slow;
};

/* ---- the window
 *
 *      window of worker 0     turn │ slice │ slice │ ... (10 of them)        slice: requests, errors, slow
 *      window of worker 1     turn │ slice │ slice │ ...
 *
 * Time is cut into slices, a tenth of the window each; a slice stands at its number modulo 10. A count
 * carries the number of its slice (number << 32 | count), so what is too old is left out by whoever reads it
 * and written over by whoever counts next; and it carries the turn, in the window's head. Only the worker
 * that owns a window writes to it: counting is a plain add in memory that nobody else writes to. */

#define BREAKER_SLICES 10

struct breaker_slice {
    _Atomic uint64_t requests, errors, slow;
};

/* Whole cache lines. */
struct breaker_window {
    _Atomic uint64_t turn;
    struct breaker_slice slices[BREAKER_SLICES];
    uint64_t unused;
};
_Static_assert(sizeof(struct breaker_window) % 64 == 0, "two workers would share a cache line");

/* What all workers share; zeroed memory is a closed breaker that has seen nothing. */
struct breaker {
    _Atomic uint64_t phase;
    _Atomic uint64_t holders; /* states that have it open */
    uint64_t unused[6];
    struct breaker_window windows[]; /* one a worker, the control worker included */
};

static inline size_t breaker_bytes(unsigned workers)
{
    return sizeof(struct breaker) + workers * sizeof(struct breaker_window);
}

struct breaker_step {
    struct breaker_phase before, after;
    enum breaker_passage passage; /* of breaker_ask */
    struct breaker_totals totals; /* of breaker_answer, when it was asked for them */
};

/* A request asks to be let through. chance: any number, evenly drawn; a RAMP decides by it. */
struct breaker_step breaker_ask(struct breaker *b, const struct breaker_limits *l, uint32_t chance,
                                uint64_t now_ms);
/* A request that was let through in that turn was answered. Of the thread whose window is windows[worker]. */
struct breaker_step breaker_answer(struct breaker *b, const struct breaker_limits *l, unsigned workers,
                                   unsigned worker, uint32_t turn, enum breaker_verdict verdict,
                                   uint64_t now_ms);
/* The same for a request of which is only known when it was let through; for breakers without probes. */
struct breaker_step breaker_answer_since(struct breaker *b, const struct breaker_limits *l, unsigned workers,
                                         unsigned worker, uint64_t began_ms, enum breaker_verdict verdict,
                                         uint64_t now_ms);
struct breaker_phase breaker_phase(const struct breaker *b);
/* What its windows hold of this turn. */
struct breaker_totals breaker_totals(const struct breaker *b, const struct breaker_limits *l,
                                     unsigned workers, uint64_t now_ms);
/* Closes it; the phase that it was in. */
struct breaker_phase breaker_reset(struct breaker *b);

/* budget: how much may be done on top of the requests that came, as a share of them. Retries and hedges each
 * have one, so that what is meant to help in a small failure does not make a large one worse (M. Nygard,
 * "Release It!"; Google, "Site Reliability Engineering", chapter 22; Finagle's RetryBudget).
 *
 *      taken in the last 10 s  <  max(share * requests of the last 10 s, extra_per_s * 10)
 *
 * One serves a service on all workers and over reloads. Requests are counted by each worker for itself, in
 * memory that nobody else writes to; what is taken is counted by all of them in one place, since it is rare.
 * No lock; the time is an argument. */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

#define BUDGET_SLICES 10
#define BUDGET_SLICE_MS 1000

/* Whole cache lines: one a worker. A count carries the number of its slice: number << 32 | count. */
struct budget_window {
    _Atomic uint64_t requests[BUDGET_SLICES];
    uint64_t unused[6];
};
_Static_assert(sizeof(struct budget_window) % 64 == 0, "two workers would share a cache line");

/* Zeroed memory is one in which nothing has happened. */
struct budget {
    _Atomic uint64_t taken[BUDGET_SLICES];
    uint64_t unused[6];
    struct budget_window windows[];
};

/* kind: "retry", "hedge". Held until budget_close; the same one for all that name the same. windows: one for
 * each worker, the control worker included. Start-up and reload only. NULL: no memory. */
struct budget *budget_open(const char *kind, struct bytes service, unsigned windows);
void budget_close(struct budget *b);

/* A request came. The owner of that window only. */
void budget_count(struct budget *b, unsigned window, uint64_t now_ms);
/* One more may be done, and is counted as done: any worker. Exact: never more than the budget says, however
 * many ask at the same moment. share: 0 to 1. */
bool budget_take(struct budget *b, unsigned windows, double share, uint64_t extra_per_s, uint64_t now_ms);

#include "gate/budget.h"

#include "base/arena.h"
#include "gate/filter.h"

/* At ten million requests a second 32 bits last for a slice of 400 seconds. */
static uint64_t count_next(uint64_t count, uint32_t number)
{
    return (uint32_t)(count >> 32) == number ? count + 1 : (uint64_t)number << 32 | 1;
}

/* Workers read the clock at different moments: a slice may have begun already that is not there yet here. */
static uint64_t count_value(uint64_t count, uint32_t number)
{
    return (int32_t)(number - (uint32_t)(count >> 32)) < BUDGET_SLICES ? (uint32_t)count : 0;
}

static uint64_t sum(const _Atomic uint64_t *counts, uint32_t number)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < BUDGET_SLICES; i++)
        n += count_value(atomic_load_explicit(&counts[i], memory_order_relaxed), number);
    return n;
}

struct budget *budget_open(const char *kind, struct bytes service, unsigned windows)
{
    struct arena a;
    arena_open(&a, &arena_heap, 1 << 16, NULL, 0);
    /* 1: the version of the layout */
    struct bytes name = arena_print(&a, "budget 1 %s %u %.*s", kind, windows, BYTES_ARG(service));
    struct budget *b = name.ptr ? shared_get(name, sizeof *b + windows * sizeof *b->windows) : NULL;
    arena_close(&a);
    return b;
}

void budget_close(struct budget *b)
{
    shared_put(b);
}

void budget_count(struct budget *b, unsigned window, uint64_t now_ms)
{
    const uint32_t number = (uint32_t)(now_ms / BUDGET_SLICE_MS);
    _Atomic uint64_t *at = &b->windows[window].requests[number % BUDGET_SLICES];
    atomic_store_explicit(at, count_next(atomic_load_explicit(at, memory_order_relaxed), number),
                          memory_order_relaxed);
}

/* It is counted first and looked at then: of two workers that take the last one at the same moment at most
 * one gets it. */
bool budget_take(struct budget *b, unsigned windows, double share, uint64_t extra_per_s, uint64_t now_ms)
{
    const uint32_t number = (uint32_t)(now_ms / BUDGET_SLICE_MS);
    _Atomic uint64_t *at = &b->taken[number % BUDGET_SLICES];
    uint64_t before = *at;
    while (!atomic_compare_exchange_weak(at, &before, count_next(before, number))) {
    }
    uint64_t requests = 0;
    for (unsigned i = 0; i < windows; i++)
        requests += sum(b->windows[i].requests, number);
    const double least = (double)extra_per_s * BUDGET_SLICES * BUDGET_SLICE_MS / 1000;
    const double most = share * (double)requests > least ? share * (double)requests : least;
    if ((double)sum(b->taken, number) <= most)
        return true;
    uint64_t now = *at; /* give it back, unless the slice is another's by now */
    while ((uint32_t)(now >> 32) == number && (uint32_t)now &&
           !atomic_compare_exchange_weak(at, &now, now - 1)) {
    }
    return false;
}

/* arrivals: when each request is due, by a curve: one after the other, whatever the answers do.
 *
 *      even     |    |    |    |         the n-th when the curve's count reaches n
 *      poisson  | |      ||   |          a Poisson process of that intensity (time change of a unit one)
 *
 * Pure: no clock. One of `shares` that share a curve takes every shares-th of an even one, and a Poisson
 * process of that part of the intensity: together they are the whole. One thread. */
#pragma once
#include "load/curve.h"

#define ARRIVALS_LIST(X) \
    X(EVEN, "even")      \
    X(POISSON, "poisson")

enum arrivals_kind {
#define X(id, word) ARRIVALS_##id,
    ARRIVALS_LIST(X)
#undef X
};

struct arrivals {
    const struct curve *curve;
    enum arrivals_kind kind;
    double at;   /* how many are due before the one at hand */
    double step; /* the shares */
    size_t cell; /* of the curve, that the last one lay in */
    uint64_t random;
    const uint64_t *times; /* of a list; else NULL */
    size_t times_count, next;
};

#define ARRIVALS_NONE UINT64_MAX

/* The curve is borrowed. */
void arrivals_open(struct arrivals *a, const struct curve *curve, enum arrivals_kind kind, unsigned share,
                   unsigned shares, uint64_t seed);
/* Due at these times (ns, growing), whatever any curve says; borrowed. */
void arrivals_open_list(struct arrivals *a, const uint64_t *times, size_t count, unsigned share,
                        unsigned shares);
/* Nanoseconds from the curve's beginning; ARRIVALS_NONE: no more. Never less than the one before. */
uint64_t arrivals_next(struct arrivals *a);

/* splitmix64 (Steele, Lea, Flood, 2014): a stream for each seed. */
uint64_t arrivals_random(uint64_t *state);
/* More than 0, at most 1. */
double arrivals_uniform(uint64_t *state);

#include "load/arrivals.h"

#include <math.h>

uint64_t arrivals_random(uint64_t *state)
{
    uint64_t x = *state += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

double arrivals_uniform(uint64_t *state)
{
    return (double)((arrivals_random(state) >> 11) + 1) * 0x1p-53;
}

static double gap(struct arrivals *a)
{
    return a->kind == ARRIVALS_POISSON ? -log(arrivals_uniform(&a->random)) * a->step : a->step;
}

void arrivals_open(struct arrivals *a, const struct curve *curve, enum arrivals_kind kind, unsigned share,
                   unsigned shares, uint64_t seed)
{
    *a = (struct arrivals){ .curve = curve, .kind = kind, .step = shares, .random = seed + share };
    arrivals_random(&a->random);
    a->at = kind == ARRIVALS_POISSON ? gap(a) : share;
}

void arrivals_open_list(struct arrivals *a, const uint64_t *times, size_t count, unsigned share,
                        unsigned shares)
{
    *a = (struct arrivals){ .times = times, .times_count = count, .next = share, .step = shares };
}

static uint64_t next_of_list(struct arrivals *a)
{
    if (a->next >= a->times_count)
        return ARRIVALS_NONE;
    uint64_t due = a->times[a->next];
    a->next += (size_t)a->step;
    return due;
}

uint64_t arrivals_next(struct arrivals *a)
{
    if (a->times)
        return next_of_list(a);
    const struct curve *c = a->curve;
    while (a->cell < c->cells && c->counts[a->cell + 1] <= a->at)
        a->cell++;
    if (a->cell == c->cells)
        return ARRIVALS_NONE;
    double low = c->counts[a->cell], high = c->counts[a->cell + 1];
    double part = a->at > low ? (a->at - low) / (high - low) : 0;
    a->at += gap(a);
    return (uint64_t)(((double)a->cell + part) * c->cell_s * 1e9);
}

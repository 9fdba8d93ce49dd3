/* limit: finds the highest rate that holds, by trying: doubling until it fails, then halving the gap.
 *
 *      rate  ▁▂▄█ fails    ▆ holds    ▇ fails    ▆▇ ... until the gap is under 5 %
 *
 * Pure: who asks measures. One thread. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#define LIMIT_STEPS_MAX 64u
#define LIMIT_GAP 0.05

struct limit_step {
    double rate;                   /* that was tried */
    double achieved;               /* answers a second, without errors */
    double p50_ms, p99_ms, errors; /* errors: a share */
    bool held;
    bool generator; /* it was the generator that could not */
};

struct limit_found {
    struct limit_step steps[LIMIT_STEPS_MAX];
    size_t count;
    double holds; /* the highest rate that held; 0: none */
    double fails; /* the lowest that did not; 0: none */
    double rate_max;
    bool done;
};

void limit_open(struct limit_found *f, double rate_first, double rate_max);
/* The rate to try next; 0: it is found, or there is nothing more to try. */
double limit_next(const struct limit_found *f);
void limit_tell(struct limit_found *f, const struct limit_step *step);
/* The knee: the rate from which on the p99 grows faster than the rate does (the point of the steps that held
 * that lies furthest below the line from the first to the last, both axes scaled to 1; Satopaa et al., 2011).
 * 0: too few steps to tell. */
double limit_knee(const struct limit_found *f);

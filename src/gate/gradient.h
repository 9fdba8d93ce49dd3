/* gradient: how many at the same time are best, from how long they take. Pure.
 *
 * Gradient2 of Netflix's concurrency-limits (github.com/Netflix/concurrency-limits, Gradient2Limit.java;
 * T. Jurkovic and others, "Performance Under Load", 2018): while a window's answers take as long as they did
 * in the long run the limit grows by the square root of itself; when they take longer than that by more than
 * `tolerance`, something queues somewhere behind, and the limit shrinks by that ratio. */
#pragma once

struct gradient {
    double limit;
    double long_us; /* 0: nothing known yet */
};

/* A window's. */
struct sample {
    double mean_us;
    double running_max; /* the most that ran at the same time */
};

struct gradient_bounds {
    double at_least, at_most;
    double tolerance; /* of the time in the long run, on top of it */
};

struct gradient gradient_step(const struct gradient_bounds *b, struct gradient g, struct sample s);
/* The square root, by Newton; of what is between 1 and a million. */
double gradient_root(double value);

/* curve: how much load is wanted over time: requests a second, or virtual users.
 *
 *      constant ▁▁▁▁   ramp ▁▂▃▅   steps ▁▁▃▃▅▅   sine ▃▅▃▁▃▅   normal ▁▃▅▃▁   history ▂▇▁▃   burst ▁▁██
 *
 * A curve is compiled from stages, one after the other, into a table of equal cells that says how many were
 * due up to each edge, so that asking costs the same whatever the shape. Immutable once open; any thread. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define CURVE_SECONDS_MAX (30.0 * 24 * 3600)
#define CURVE_LEVEL_MAX 1e9

/*    id        level over the stage's seconds t (0 to seconds) */
#define STAGE_LIST(X)                                                                         \
    X(CONSTANT, "from")                                                                       \
    X(RAMP, "from + (to - from) * t / seconds")                                               \
    X(STEPS, "from + (to - from) * floor(t / seconds * steps) / (steps - 1)")                 \
    X(SINE, "the middle of from and to, less half their distance times cos(2 pi t / period)") \
    X(NORMAL, "from + (to - from) * exp(-((t - peak) / deviation)^2 / 2)")                    \
    X(HISTORY, "points, joined by lines")

enum stage_kind {
#define X(id, level) STAGE_##id,
    STAGE_LIST(X)
#undef X
};

struct curve_point {
    double at_s, level;
};

struct stage {
    enum stage_kind kind;
    double seconds;
    double from, to;                  /* levels */
    double period_s;                  /* of SINE */
    double peak_s, deviation_s;       /* of NORMAL */
    unsigned steps;                   /* of STEPS, 1 and more */
    const struct curve_point *points; /* of HISTORY, by time; borrowed */
    size_t points_count;
};

/* At t seconds of the stage. */
double stage_level(const struct stage *s, double t);
/* The area below the level from the stage's beginning to t: how many are due until then. */
double stage_count(const struct stage *s, double t);

struct curve {
    double seconds, cell_s;
    size_t cells;
    double *counts; /* cells + 1 of them: what is due up to each edge */
};

/* ERR_MEMORY. */
err curve_open(struct curve *c, const struct stage *stages, size_t count) CHECK_RESULT;
void curve_close(struct curve *c);
/* How many are due in all. */
double curve_count(const struct curve *c);
/* The mean level of the cell at t; 0 outside. */
double curve_level(const struct curve *c, double t);

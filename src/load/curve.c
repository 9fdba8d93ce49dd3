#include "load/curve.h"

#include <math.h>

#include "base/mem.h"

#define CELL_S_MIN 0.01
#define CELLS_MAX (1u << 20)
#define PI 3.14159265358979323846

/* ---- one stage ---- */

static double steps_level(const struct stage *s, double t)
{
    double step = floor(t / s->seconds * s->steps);
    if (s->steps < 2)
        return s->from;
    step = step > s->steps - 1 ? s->steps - 1 : step;
    return s->from + (s->to - s->from) * step / (s->steps - 1);
}

static double history_level(const struct stage *s, double t)
{
    const struct curve_point *p = s->points;
    size_t low = 0, high = s->points_count;
    if (!high)
        return 0;
    while (high - low > 1) {
        size_t middle = (low + high) / 2;
        if (p[middle].at_s <= t)
            low = middle;
        else
            high = middle;
    }
    if (t <= p[low].at_s || high == s->points_count)
        return p[low].level;
    return p[low].level + (p[high].level - p[low].level) * (t - p[low].at_s) / (p[high].at_s - p[low].at_s);
}

double stage_level(const struct stage *s, double t)
{
    double off;
    switch (s->kind) {
    case STAGE_RAMP:
        return s->from + (s->to - s->from) * t / s->seconds;
    case STAGE_STEPS:
        return steps_level(s, t);
    case STAGE_SINE:
        return (s->from + s->to) / 2 - (s->to - s->from) / 2 * cos(2 * PI * t / s->period_s);
    case STAGE_NORMAL:
        off = (t - s->peak_s) / s->deviation_s;
        return s->from + (s->to - s->from) * exp(-off * off / 2);
    case STAGE_HISTORY:
        return history_level(s, t);
    case STAGE_CONSTANT:
        break;
    }
    return s->from;
}

static double steps_count(const struct stage *s, double t)
{
    double width = s->seconds / s->steps, sum = 0;
    for (unsigned i = 0; i < s->steps && i * width < t; i++) {
        double end = (i + 1) * width < t ? (i + 1) * width : t;
        sum += steps_level(s, (i + 0.5) * width) * (end - i * width);
    }
    return sum;
}

static double history_count(const struct stage *s, double t)
{
    const struct curve_point *p = s->points;
    double sum = 0, at = 0, level = history_level(s, 0);
    for (size_t i = 0; i < s->points_count && p[i].at_s < t; i++) {
        if (p[i].at_s <= at)
            continue;
        sum += (level + p[i].level) / 2 * (p[i].at_s - at);
        at = p[i].at_s;
        level = p[i].level;
    }
    return sum + (level + history_level(s, t)) / 2 * (t - at);
}

double stage_count(const struct stage *s, double t)
{
    switch (s->kind) {
    case STAGE_RAMP:
        return s->from * t + (s->to - s->from) * t * t / (2 * s->seconds);
    case STAGE_STEPS:
        return steps_count(s, t);
    case STAGE_SINE:
        return (s->from + s->to) / 2 * t -
               (s->to - s->from) / 2 * s->period_s / (2 * PI) * sin(2 * PI * t / s->period_s);
    case STAGE_NORMAL:
        return s->from * t + (s->to - s->from) * s->deviation_s * sqrt(PI / 2) *
                                 (erf((t - s->peak_s) / (s->deviation_s * sqrt(2))) +
                                  erf(s->peak_s / (s->deviation_s * sqrt(2))));
    case STAGE_HISTORY:
        return history_count(s, t);
    case STAGE_CONSTANT:
        break;
    }
    return s->from * t;
}

/* ---- all of them ---- */

/* Up to t, which lies in stage *at or behind it; *before is what the stages before *at had. */
static double count_to(const struct stage *stages, size_t count, double t, size_t *at, double *start_s,
                       double *before)
{
    while (*at < count && t - *start_s >= stages[*at].seconds) {
        *before += stage_count(&stages[*at], stages[*at].seconds);
        *start_s += stages[*at].seconds;
        ++*at;
    }
    return *at < count ? *before + stage_count(&stages[*at], t - *start_s) : *before;
}

err curve_open(struct curve *c, const struct stage *stages, size_t count)
{
    double seconds = 0, start_s = 0, before = 0;
    size_t at = 0;
    for (size_t i = 0; i < count; i++)
        seconds += stages[i].seconds;
    *c = (struct curve){ .seconds = seconds };
    bool flat = count == 1 && stages[0].kind == STAGE_CONSTANT;
    double cells = ceil(seconds / CELL_S_MIN);
    c->cells = flat || cells < 1 ? 1 : cells > CELLS_MAX ? CELLS_MAX : (size_t)cells;
    c->cell_s = seconds / (double)c->cells;
    c->counts = mem_get((c->cells + 1) * sizeof c->counts[0]);
    if (!c->counts)
        return ERR_MEMORY;
    for (size_t i = 1; i <= c->cells; i++) {
        double t = i == c->cells ? seconds : (double)i * c->cell_s;
        c->counts[i] = count_to(stages, count, t, &at, &start_s, &before);
    }
    return OK;
}

void curve_close(struct curve *c)
{
    mem_free(c->counts);
    *c = (struct curve){ 0 };
}

double curve_count(const struct curve *c)
{
    return c->counts[c->cells];
}

double curve_level(const struct curve *c, double t)
{
    if (t < 0 || t >= c->seconds)
        return 0;
    size_t cell = (size_t)(t / c->cell_s);
    cell = cell < c->cells ? cell : c->cells - 1;
    return (c->counts[cell + 1] - c->counts[cell]) / c->cell_s;
}

#include "gate/gradient.h"

#define SMOOTHING 0.2    /* of a window's result in the limit */
#define LONG_RISE 0.002  /* of a window in the long run, when it is slower: about a minute at 100 ms */
#define LONG_FALL 0.1    /* when it is faster */
#define GRADIENT_MIN 0.5 /* a limit loses at most half of it (smoothed) in one window */

static double clamp(double value, double min, double max)
{
    return value < min ? min : value > max ? max : value;
}

double gradient_root(double value)
{
    double r = value > 1000 ? 1000 : value;
    for (int i = 0; i < 20; i++)
        r = (r + value / r) / 2;
    return r;
}

struct gradient gradient_step(const struct gradient_bounds *b, struct gradient g, struct sample s)
{
    if (s.mean_us <= 0)
        return g;
    if (g.long_us <= 0)
        g.long_us = s.mean_us;
    g.long_us += (s.mean_us - g.long_us) * (s.mean_us > g.long_us ? LONG_RISE : LONG_FALL);
    const double gradient = clamp((1 + b->tolerance) * g.long_us / s.mean_us, GRADIENT_MIN, 1);
    if (gradient >= 1 && s.running_max < g.limit / 2)
        return g; /* nobody needs more */
    const double wanted = g.limit * gradient + gradient_root(g.limit);
    g.limit = clamp(g.limit * (1 - SMOOTHING) + wanted * SMOOTHING, b->at_least, b->at_most);
    return g;
}

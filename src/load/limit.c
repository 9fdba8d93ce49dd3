#include "load/limit.h"

void limit_open(struct limit_found *f, double rate_first, double rate_max)
{
    *f = (struct limit_found){ .rate_max = rate_max };
    f->steps[0].rate = rate_first < rate_max ? rate_first : rate_max;
}

double limit_next(const struct limit_found *f)
{
    if (f->done || f->count == LIMIT_STEPS_MAX)
        return 0;
    return f->steps[f->count].rate;
}

static double choose(const struct limit_found *f)
{
    if (f->fails <= 0)
        return f->holds * 2 < f->rate_max ? f->holds * 2 : f->rate_max;
    if (f->holds <= 0)
        return f->fails / 2;
    return (f->holds + f->fails) / 2;
}

void limit_tell(struct limit_found *f, const struct limit_step *step)
{
    f->steps[f->count++] = *step;
    if (step->held && step->rate > f->holds)
        f->holds = step->rate;
    if (!step->held && (f->fails <= 0 || step->rate < f->fails))
        f->fails = step->rate;
    double next = choose(f);
    bool narrow = f->fails > 0 && f->holds > 0 && f->fails - f->holds <= LIMIT_GAP * f->holds;
    f->done = f->count == LIMIT_STEPS_MAX || narrow || f->holds >= f->rate_max || next < 1;
    if (!f->done)
        f->steps[f->count].rate = next;
}

/* The steps that held, by rate. */
static size_t held_steps(const struct limit_found *f, const struct limit_step *out[LIMIT_STEPS_MAX])
{
    size_t count = 0;
    for (size_t i = 0; i < f->count; i++) {
        if (!f->steps[i].held)
            continue;
        size_t at = count++;
        for (; at > 0 && out[at - 1]->rate > f->steps[i].rate; at--)
            out[at] = out[at - 1];
        out[at] = &f->steps[i];
    }
    return count;
}

double limit_knee(const struct limit_found *f)
{
    const struct limit_step *held[LIMIT_STEPS_MAX];
    size_t count = held_steps(f, held);
    if (count < 3)
        return 0;
    const struct limit_step *a = held[0], *b = held[count - 1];
    double best = 0, knee = b->rate, width = b->rate - a->rate, height = b->p99_ms - a->p99_ms;
    if (width <= 0 || height <= 0)
        return knee; /* flat: no knee before the limit itself */
    for (size_t i = 1; i + 1 < count; i++) {
        double x = (held[i]->rate - a->rate) / width, y = (held[i]->p99_ms - a->p99_ms) / height;
        if (x - y > best) {
            best = x - y;
            knee = held[i]->rate;
        }
    }
    return knee;
}

#include "load/stages.h"

#include <math.h>
#include <stdlib.h>

#define PI 3.14159265358979323846

/* ---- history ---- */

static bool number_of(struct bytes text, double *ret)
{
    char digits[40], *end;
    text = bytes_trim(text);
    if (!text.len || text.len >= sizeof digits)
        return false;
    memcpy(digits, text.ptr, text.len);
    digits[text.len] = 0;
    *ret = strtod(digits, &end);
    return !*end && isfinite(*ret) && *ret >= 0;
}

/* "12.5" seconds, "20:15", "20:15:30". */
static bool time_of(struct bytes text, double *ret_s)
{
    double part, sum = 0, unit = 3600;
    struct bytes one;
    if (bytes_index(text, ':') == text.len)
        return number_of(text, ret_s);
    while (bytes_split(&text, ':', &one)) {
        if (unit < 1 || !number_of(one, &part))
            return false;
        sum += part * unit;
        unit /= 60;
    }
    *ret_s = sum;
    return true;
}

/* A first line of numbers is no line of names but the first point. */
static bool has_names(const struct csv *c)
{
    double number;
    return !time_of(c->names[0], &number);
}

static err take_point(const struct csv *c, const struct bytes *cells, struct curve_point *points, size_t n,
                      double *first_s, struct diag *reterr)
{
    struct curve_point *p = &points[n];
    bool timed = c->columns > 1;
    double time_s = (double)n;
    if ((timed && !time_of(cells[0], &time_s)) || !number_of(cells[timed], &p->level) ||
        p->level > CURVE_LEVEL_MAX) {
        diag_set(reterr, "point %zu: \"%.*s\" is not a time and a level", n + 1, BYTES_ARG(cells[0]));
        return ERR_CONF;
    }
    if (n == 0)
        *first_s = time_s;
    p->at_s = time_s - *first_s;
    if (n && p->at_s <= points[n - 1].at_s) {
        diag_set(reterr, "point %zu: its time is not after the one before", n + 1);
        return ERR_CONF;
    }
    return OK;
}

err stages_read_history(struct bytes text, struct arena *a, struct curve_point **ret_points,
                        size_t *ret_count, struct diag *reterr)
{
    struct csv c;
    double first_s = 0;
    size_t n = 0;
    err e = csv_read(text, a, &c, reterr);
    if (e)
        return e == ERR_SYNTAX ? ERR_CONF : e;
    struct curve_point *points = arena_get(a, (c.rows + 1) * sizeof *points);
    if (!points)
        return ERR_MEMORY;
    if (!has_names(&c))
        e = take_point(&c, c.names, points, n++, &first_s, reterr);
    for (size_t row = 0; row < c.rows && !e; row++)
        e = take_point(&c, &c.cells[row * c.columns], points, n++, &first_s, reterr);
    if (!e && n < 2) {
        diag_set(reterr, "a history has two points at least");
        e = ERR_CONF;
    }
    *ret_points = points;
    *ret_count = n;
    return e;
}

void stages_fit_normal(const struct curve_point *points, size_t count, struct stage *ret_stage)
{
    double area = 0, first = 0, second = 0, seconds = points[count - 1].at_s;
    for (size_t i = 0; i + 1 < count; i++) { /* each piece as if it stood at its middle */
        double width = points[i + 1].at_s - points[i].at_s, at = points[i].at_s + width / 2;
        double part = (points[i].level + points[i + 1].level) / 2 * width;
        area += part;
        first += part * at;
        second += part * at * at;
    }
    double mean = area > 0 ? first / area : seconds / 2;
    double variance = area > 0 ? second / area - mean * mean : 0;
    double deviation = variance > 1e-6 ? sqrt(variance) : seconds / 6;
    *ret_stage = (struct stage){ .kind = STAGE_NORMAL,
                                 .seconds = seconds,
                                 .to = area / (deviation * sqrt(2 * PI)),
                                 .peak_s = mean,
                                 .deviation_s = deviation };
}

/* ---- one stage ---- */

struct stages {
    struct scenario *s;
    struct diag *reterr;
    struct stage *all;
    size_t count;
    bool decided, rate;
};

/* All levels of a scenario are rates, or all are users. */
static err level(struct stages *st, struct bytes text, double *ret)
{
    bool rate;
    if (!text.ptr || !level_parse(text, ret, &rate))
        return OK;
    if (st->decided && rate != st->rate) {
        diag_set(st->reterr,
                 "here are rates (100/s) as well as users (100): it must be one of them everywhere");
        return ERR_CONF;
    }
    st->decided = true;
    st->rate = rate;
    return OK;
}

static double seconds(uint64_t ms)
{
    return (double)ms / 1000;
}

static double peak_of(const struct curve_point *points, size_t count)
{
    double peak = 0;
    for (size_t i = 0; i < count; i++)
        peak = fmax(peak, points[i].level);
    return peak;
}

static err from_history(struct stages *st, const struct stage_part_conf *p, bool normal, struct stage *out)
{
    struct bytes text;
    struct curve_point *points = NULL;
    size_t count = 0;
    err e = scenario_read_file(st->s, p->history, &text, st->reterr);
    if (!e)
        e = stages_read_history(text, &st->s->arena, &points, &count, st->reterr);
    if (!e && !p->to.ptr && !st->decided) { /* requests a second, as history is */
        st->decided = true;
        st->rate = true;
    }
    if (e)
        return e;
    if (normal) {
        stages_fit_normal(points, count, out);
        return level(st, p->to, &out->to);
    }
    double peak = peak_of(points, count), wanted = peak;
    e = level(st, p->to, &wanted);
    for (size_t i = 0; i < count && peak > 0; i++)
        points[i].level *= wanted / peak;
    *out = (struct stage){
        .kind = STAGE_HISTORY, .seconds = points[count - 1].at_s, .points = points, .points_count = count
    };
    return e;
}

static err wrong(struct stages *st, const char *why)
{
    diag_set(st->reterr, "%s", why);
    return ERR_CONF;
}

static err compile_normal(struct stages *st, const struct stage_part_conf *p, struct stage *out)
{
    if (p->history.ptr)
        return from_history(st, p, true, out);
    if (!p->to.ptr || !p->peak_ms || !p->deviation_ms || !p->duration_ms)
        return wrong(
            st, "normal needs its height, peak, deviation and duration: 1000/s around 30m within 10m for 1h");
    *out = (struct stage){ .kind = STAGE_NORMAL,
                           .seconds = seconds(p->duration_ms),
                           .peak_s = seconds(p->peak_ms),
                           .deviation_s = seconds(p->deviation_ms) };
    err e = level(st, p->from, &out->from);
    return e ? e : level(st, p->to, &out->to);
}

static err compile_burst(struct stages *st, const struct stage_part_conf *p, struct stage *out)
{
    const struct stage *before = st->count ? &st->all[st->count - 1] : NULL;
    if (!before)
        return wrong(st, "a burst is so many times the stage before: it cannot be the first");
    double base = stage_level(before, before->seconds);
    if (base * (double)p->times > CURVE_LEVEL_MAX)
        return wrong(st, "the burst is too high");
    *out = (struct stage){ .kind = STAGE_CONSTANT,
                           .seconds = seconds(p->duration_ms),
                           .from = base * (double)p->times };
    return OK;
}

static err compile_plain(struct stages *st, enum stage_kind kind, const struct stage_part_conf *p,
                         struct stage *out)
{
    *out = (struct stage){ .kind = kind,
                           .seconds = seconds(p->duration_ms),
                           .period_s = seconds(p->period_ms),
                           .steps = (unsigned)p->steps };
    err e = level(st, p->from, &out->from);
    return e ? e : level(st, p->to, &out->to);
}

static err compile_stage(struct stages *st, const struct stage_conf *c)
{
    struct stage *out = &st->all[st->count];
    err e;
    if (c->constant)
        e = compile_plain(st, STAGE_CONSTANT, c->constant, out);
    else if (c->ramp)
        e = compile_plain(st, STAGE_RAMP, c->ramp, out);
    else if (c->steps)
        e = compile_plain(st, STAGE_STEPS, c->steps, out);
    else if (c->sine)
        e = compile_plain(st, STAGE_SINE, c->sine, out);
    else if (c->normal)
        e = compile_normal(st, c->normal, out);
    else if (c->history)
        e = from_history(st, c->history, false, out);
    else
        e = compile_burst(st, c->burst, out);
    if (e && st->reterr && !st->reterr->file) {
        st->reterr->file = st->s->file;
        st->reterr->line = c->mark.line;
        st->reterr->column = c->mark.column;
    }
    st->count++;
    return e;
}

err stages_compile(struct scenario *s, struct diag *reterr)
{
    const struct scenario_conf *conf = s->conf;
    const struct stage_conf *stages = conf->stages.items;
    struct stages st = { .s = s, .reterr = reterr };
    err e = OK;
    st.all = arena_get_zero(&s->arena, (conf->stages.count + 1) * sizeof *st.all);
    if (!st.all)
        return ERR_MEMORY;
    for (size_t i = 0; i < conf->stages.count && !e; i++)
        e = compile_stage(&st, &stages[i]);
    if (!conf->stages.count) {
        struct stage *only = &st.all[st.count++];
        *only = (struct stage){ .kind = STAGE_CONSTANT,
                                .seconds = seconds(conf->duration_ms),
                                .from = (double)conf->users };
        st.rate = conf->rate.ptr != NULL;
        if (st.rate)
            e = level(&st, conf->rate, &only->from);
    }
    if (!e)
        e = curve_open(&s->curve, st.all, st.count);
    if (!e && s->curve.seconds > CURVE_SECONDS_MAX)
        e = wrong(&st, "the stages take longer than 30 days");
    s->rate = st.rate;
    s->seconds = s->curve.seconds;
    return e;
}

#include "load/threshold.h"

#include <stdio.h>
#include <stdlib.h>

#include "load/report.h"

static err wrong(struct diag *reterr, struct bytes text, const char *why)
{
    diag_set(reterr, "\"%.*s\" is no condition (like p99 < 200ms, errors < 0.1%%): %s",
             (int)(text.len < 80 ? text.len : 80), text.ptr, why);
    return ERR_SYNTAX;
}

/* A number at the front of *rest, which goes on behind it. */
static bool take_number(struct bytes *rest, double *ret)
{
    char digits[32], *end;
    size_t len = 0;
    while (len < rest->len && len + 1 < sizeof digits &&
           ((rest->ptr[len] >= '0' && rest->ptr[len] <= '9') || rest->ptr[len] == '.')) {
        digits[len] = rest->ptr[len];
        len++;
    }
    digits[len] = 0;
    if (!len || digits[0] == '.')
        return false;
    *ret = strtod(digits, &end);
    *rest = bytes_trim(bytes_skip(*rest, len));
    return *end == 0;
}

static bool take_measure(struct bytes name, struct threshold *t)
{
    static const struct {
        const char *name;
        enum threshold_of of;
    } words[] = { { "min", THRESHOLD_MIN },
                  { "mean", THRESHOLD_MEAN },
                  { "max", THRESHOLD_MAX },
                  { "errors", THRESHOLD_ERRORS },
                  { "rate", THRESHOLD_RATE } };
    for (unsigned i = 0; i < sizeof words / sizeof *words; i++) {
        if (bytes_eq(name, bytes_from(words[i].name))) {
            t->of = words[i].of;
            return true;
        }
    }
    struct bytes number = name.len ? bytes_skip(name, 1) : name;
    t->of = THRESHOLD_QUANTILE;
    if (!name.len || name.ptr[0] != 'p' || !take_number(&number, &t->share) || number.len)
        return false;
    t->share /= 100;
    return t->share <= 1;
}

/* The kind's name may hold dots itself: it ends at the last one that leaves a measure. */
static bool take_name(struct bytes name, struct threshold *t)
{
    if (take_measure(name, t))
        return true;
    for (size_t i = name.len; i-- > 1;) {
        if (name.ptr[i] != '.' || !take_measure(bytes_skip(name, i + 1), t))
            continue;
        t->kind = (struct bytes){ name.ptr, i };
        return true;
    }
    return false;
}

static bool take_value(struct bytes text, struct threshold *t)
{
    if (!take_number(&text, &t->value))
        return false;
    if (t->of == THRESHOLD_ERRORS) {
        t->value /= 100;
        return bytes_eq(text, BYTES("%"));
    }
    if (t->of == THRESHOLD_RATE)
        return !text.len || bytes_eq(text, BYTES("/s"));
    static const struct {
        const char *unit;
        double ns;
    } units[] = { { "us", 1e3 }, { "ms", 1e6 }, { "s", 1e9 }, { "m", 60e9 } };
    for (unsigned i = 0; i < sizeof units / sizeof *units; i++) {
        if (bytes_eq(text, bytes_from(units[i].unit))) {
            t->value *= units[i].ns;
            return true;
        }
    }
    return false;
}

static err parse_one(struct bytes text, struct threshold *t, struct diag *reterr)
{
    size_t at = 0;
    *t = (struct threshold){ .text = text };
    while (at < text.len && text.ptr[at] != '<' && text.ptr[at] != '>')
        at++;
    if (at == text.len)
        return wrong(reterr, text, "there is no < or > in it");
    t->above = text.ptr[at] == '>';
    t->equal = at + 1 < text.len && text.ptr[at + 1] == '=';
    if (!take_name(bytes_trim((struct bytes){ text.ptr, at }), t))
        return wrong(reterr, text, "on the left stands pNN, min, mean, max, errors or rate");
    if (take_value(bytes_trim(bytes_skip(text, at + 1 + t->equal)), t))
        return OK;
    return wrong(reterr, text,
                 t->of == THRESHOLD_ERRORS ? "errors are a percentage"
                 : t->of == THRESHOLD_RATE ? "a rate is a number a second"
                                           : "a latency is a number with us, ms, s or m");
}

err thresholds_parse(struct bytes text, struct thresholds *ret, struct diag *reterr)
{
    struct bytes part;
    ret->count = 0;
    while (bytes_split(&text, ',', &part)) {
        if (ret->count == THRESHOLDS_MAX)
            return wrong(reterr, part, "there are too many");
        err e = parse_one(bytes_trim(part), &ret->all[ret->count], reterr);
        if (e)
            return e;
        ret->count++;
    }
    return ret->count ? OK : wrong(reterr, text, "it is empty");
}

static int kind_index(const struct threshold *t, const struct load *l)
{
    for (unsigned i = 0; i < l->kinds_count; i++) {
        if (bytes_eq(t->kind, l->kinds[i]))
            return (int)i;
    }
    return -1;
}

const struct threshold *thresholds_unknown(const struct thresholds *t, const struct load *l)
{
    for (unsigned i = 0; i < t->count; i++) {
        if (t->all[i].kind.len && kind_index(&t->all[i], l) < 0)
            return &t->all[i];
    }
    return NULL;
}

static double measure(const struct threshold *t, const struct load_kind *k, const struct load_report *r)
{
    const struct histogram *h = report_latency(r->load, k);
    double errors = (double)load_kind_errors(k);
    double tried = (double)load_kind_tried(k);
    switch (t->of) {
    case THRESHOLD_QUANTILE:
        return (double)histogram_quantile_ns(h, t->share);
    case THRESHOLD_MIN:
        return (double)h->min_ns;
    case THRESHOLD_MEAN:
        return histogram_mean_ns(h);
    case THRESHOLD_MAX:
        return (double)h->max_ns;
    case THRESHOLD_ERRORS:
        return tried > 0 ? errors / tried : 0;
    case THRESHOLD_RATE:
        break;
    }
    return r->seconds > 0 ? ((double)load_kind_good(k)) / r->seconds : 0;
}

bool threshold_is_met(const struct threshold *t, const struct load_report *r, double *ret_value)
{
    const struct load_kind *k = &r->total->kinds[0];
    if (t->kind.len)
        k = &r->all->kinds[kind_index(t, r->load)];
    else
        load_stats_total(r->all, r->total);
    double value = *ret_value = measure(t, k, r);
    if (t->equal && value == t->value)
        return true;
    return t->above ? value > t->value : value < t->value;
}

const char *threshold_print(const struct threshold *t, double value, char out[96])
{
    char time[24];
    if (t->of == THRESHOLD_ERRORS)
        snprintf(time, sizeof time, "%.3g%%", value * 100);
    else if (t->of == THRESHOLD_RATE)
        snprintf(time, sizeof time, "%.1f/s", value);
    else
        report_time((uint64_t)value, time);
    snprintf(out, 96, "%.*s: it is %s", (int)(t->text.len < 60 ? t->text.len : 60), t->text.ptr, time);
    return out;
}

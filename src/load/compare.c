#include "load/compare.h"

#include <math.h>
#include <stdio.h>

#include "load/report.h"

#define NAME_WIDTH 28

struct comparison {
    struct text *t;
    double worse;
    struct compare_found *found;
};

enum unit { UNIT_NS, UNIT_RATE, UNIT_SHARE };

static const char *print_value(enum unit unit, double value, char out[32])
{
    char time[24];
    if (unit == UNIT_SHARE)
        snprintf(out, 32, "%.3g%%", value * 100);
    else if (unit == UNIT_RATE)
        snprintf(out, 32, "%.1f", value);
    else
        snprintf(out, 32, "%s", report_time((uint64_t)value, time));
    return out;
}

/* By how much b is worse: 0.1 is a tenth; negative: better. */
static double worse_by(enum unit unit, double a, double b)
{
    if (unit == UNIT_SHARE)
        return b - a;
    if (a <= 0 || b <= 0)
        return a == b ? 0 : (b > a) == (unit == UNIT_NS) ? INFINITY : -INFINITY;
    return unit == UNIT_RATE ? (a - b) / a : (b - a) / a;
}

static void row(struct comparison *c, const char *name, enum unit unit, double a, double b)
{
    char cells[2][32], change[32] = "";
    double by = worse_by(unit, a, b);
    const char *word = by > c->worse ? "  worse" : by < -c->worse ? "  better" : "";
    c->found->worse += by > c->worse;
    c->found->better += by < -c->worse;
    if (unit == UNIT_SHARE)
        snprintf(change, sizeof change, "%+.3g points", (b - a) * 100);
    else if (a > 0)
        snprintf(change, sizeof change, "%+.1f%%", (b - a) / a * 100);
    text_print(c->t, "  %-*s%14s%14s%14s%s\n", NAME_WIDTH, name, print_value(unit, a, cells[0]),
               print_value(unit, b, cells[1]), change, word);
}

static double share_failed(const struct json *k)
{
    double tried = json_member_number(k, "tried");
    return tried > 0 ? json_member_number(k, "failed") / tried : 0;
}

static const struct json *latency_of(const struct json *k)
{
    const struct json *latency = json_member(k, "latency_ns"), *response = json_member(latency, "response");
    return response ? response : json_member(latency, "service");
}

static void rows(struct comparison *c, const struct json *a, const struct json *b)
{
    static const char *const percentiles[] = { "p50", "p90", "p99", "p99_9", "max", "mean" };
    row(c, "answers a second", UNIT_RATE, json_member_number(a, "rate"), json_member_number(b, "rate"));
    row(c, "failed", UNIT_SHARE, share_failed(a), share_failed(b));
    for (unsigned i = 0; i < sizeof percentiles / sizeof *percentiles; i++)
        row(c, percentiles[i], UNIT_NS, json_member_number(latency_of(a), percentiles[i]),
            json_member_number(latency_of(b), percentiles[i]));
}

static const struct json *kind_named(const struct json *run, struct bytes name)
{
    JSON_EACH(k, json_member(run, "kinds"))
    {
        if (bytes_eq(json_member_text(k, "name"), name))
            return k;
    }
    return NULL;
}

static void print_head(struct text *t, const struct json *a, const struct json *b)
{
    struct bytes names[] = { json_member_text(a, "target"), json_member_text(b, "target") };
    text_print(t, "\n  a: %.*s, %.1f s\n  b: %.*s, %.1f s\n", BYTES_ARG(names[0]),
               json_member_number(a, "seconds"), BYTES_ARG(names[1]), json_member_number(b, "seconds"));
    if (json_member_number(a, "open_loop") != json_member_number(b, "open_loop"))
        text_print(t, "  note: one is an open loop and the other a closed one: their latencies are not the "
                      "same thing\n");
    const struct json *generators[] = { json_member(a, "generator"), json_member(b, "generator") };
    for (unsigned i = 0; i < 2; i++) {
        struct bytes verdict = json_member_text(generators[i], "verdict");
        if (verdict.len)
            text_print(t, "  note: %c: %.*s\n", 'a' + (char)i, BYTES_ARG(verdict));
    }
}

void compare_print(struct text *t, const struct json *a, const struct json *b, double worse,
                   struct compare_found *ret_found)
{
    struct comparison c = { .t = t, .worse = worse, .found = ret_found };
    *ret_found = (struct compare_found){ 0 };
    print_head(t, a, b);
    text_print(t, "\n  %-*s%14s%14s%14s\n", NAME_WIDTH, "", "a", "b", "change");
    rows(&c, json_member(a, "total"), json_member(b, "total"));
    const struct json *kinds = json_member(a, "kinds");
    if (!kinds || kinds->count < 2)
        return;
    JSON_EACH(k, kinds)
    {
        struct bytes name = json_member_text(k, "name");
        const struct json *other = kind_named(b, name);
        text_print(t, "\n  %.*s%s\n", BYTES_ARG(name), other ? "" : ": not in b");
        if (other)
            rows(&c, k, other);
    }
}

#include "load/report.h"

#include <inttypes.h>
#include <stdio.h>

#define BUSY_LIMIT 0.95
#define LAG_LIMIT_NS 2000000u
#define VERDICT_SECONDS_MIN 0.5 /* in less time nothing can be said */
#define STATUSES_SHOWN_MAX 8u

const char *report_time(uint64_t ns, char out[24])
{
    double v = (double)ns;
    if (ns < 1000000)
        snprintf(out, 24, v < 10e3 ? "%.2fus" : v < 100e3 ? "%.1fus" : "%.0fus", v / 1e3);
    else if (ns < 1000000000)
        snprintf(out, 24, v < 10e6 ? "%.2fms" : v < 100e6 ? "%.1fms" : "%.0fms", v / 1e6);
    else
        snprintf(out, 24, v < 10e9 ? "%.2fs" : v < 100e9 ? "%.1fs" : "%.0fs", v / 1e9);
    return out;
}

const char *report_count(uint64_t n, char out[32])
{
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%" PRIu64, n), at = 0;
    for (int i = 0; i < len; i++) {
        if (i && (len - i) % 3 == 0)
            out[at++] = ',';
        out[at++] = digits[i];
    }
    out[at] = 0;
    return out;
}

const char *report_bytes(double bytes, char out[24])
{
    static const char *const units[] = { "B", "kB", "MB", "GB", "TB", "PB" };
    unsigned unit = 0;
    for (; bytes >= 1000 && unit < 5; unit++)
        bytes /= 1000;
    snprintf(out, 24, unit ? "%.1f %s" : "%.0f %s", bytes, units[unit]);
    return out;
}

struct bytes report_verdict(const struct load_report *r, char out[256])
{
    char lag[24];
    int len = 0;
    uint64_t lag_ns = histogram_quantile_ns(&r->all->lag, 0.99);
    const char *more =
        r->load->shares > 1 ? "more threads (-t) or another machine (--agents)" : "-t 2 or more";
    if (r->seconds < VERDICT_SECONDS_MIN)
        return BYTES_NONE;
    if (r->busy >= BUSY_LIMIT)
        len = snprintf(
            out, 256,
            "the generator itself was the limit: a thread of it was busy for %.0f%% of the time. Try %s",
            r->busy * 100 > 100 ? 100 : r->busy * 100, more);
    else if (r->load->open_loop && lag_ns > LAG_LIMIT_NS)
        len = snprintf(
            out, 256,
            "the generator itself was late: 1%% of the requests left %s or more after they were due, with a "
            "connection free. This machine was busy with something else",
            report_time(lag_ns, lag));
    return (struct bytes){ out, (size_t)(len < 256 ? len : 255) };
}

static double share_of(uint64_t part, uint64_t all)
{
    return all ? (double)part / (double)all : 0;
}

static double a_second(double n, double seconds)
{
    return seconds > 0 ? n / seconds : 0;
}

static void put_latency(struct text *t, const char *name, const struct histogram *h)
{
    static const double shares[] = { 0.5, 0.9, 0.99, 0.999 };
    char cell[24];
    text_print(t, "  %-12s", name);
    for (unsigned i = 0; i < 4; i++)
        text_print(t, "%10s", report_time(histogram_quantile_ns(h, shares[i]), cell));
    text_print(t, "%10s", report_time(h->max_ns, cell));
    text_print(t, "%10s", report_time((uint64_t)histogram_mean_ns(h), cell));
    text_print(t, "%10s\n", report_time((uint64_t)histogram_deviation_ns(h), cell));
}

static void put_statuses(struct text *t, const struct load_kind *k)
{
    char count[32];
    unsigned shown = 0, more = 0;
    for (unsigned i = 0; i < LOAD_STATUSES; i++) {
        if (!k->statuses[i])
            continue;
        if (shown == STATUSES_SHOWN_MAX) {
            more++;
            continue;
        }
        text_print(t, "%s %u: %s", shown++ ? " " : "  status     ", i + LOAD_STATUS_MIN,
                   report_count(k->statuses[i], count));
    }
    if (more)
        text_print(t, "  and %u more", more);
    if (shown)
        text_add(t, BYTES("\n"));
}

static void put_errors(struct text *t, const struct load_kind *k)
{
    char count[32];
    for (unsigned i = 0; i < LOAD_ERRORS; i++) {
        if (k->errors[i])
            text_print(t, "  error       %-9s %12s   %s\n", load_error_word((enum load_error)i),
                       report_count(k->errors[i], count), load_error_meaning((enum load_error)i));
    }
}

static void put_kind(struct text *t, const struct load_report *r, unsigned i)
{
    const struct load_kind *k = &r->all->kinds[i];
    const struct histogram *h = report_latency(r->load, k);
    char count[32], errors[32], cells[4][24];
    struct bytes name = r->load->kinds[i];
    text_print(t, "  %-18.*s%13s%12.1f%10s%10s%10s%10s%10s\n", (int)(name.len < 18 ? name.len : 18), name.ptr,
               report_count(k->answers, count), a_second((double)k->answers, r->seconds),
               report_count(load_kind_errors(k), errors),
               report_time(histogram_quantile_ns(h, 0.5), cells[0]),
               report_time(histogram_quantile_ns(h, 0.9), cells[1]),
               report_time(histogram_quantile_ns(h, 0.99), cells[2]), report_time(h->max_ns, cells[3]));
}

static void put_steps(struct text *t, const struct limit_found *f)
{
    text_print(t, "  %12s%14s%12s%12s%10s\n", "rate/s", "answered/s", "p50", "p99", "errors");
    for (size_t i = 0; i < f->count; i++) {
        const struct limit_step *s = &f->steps[i];
        char p50[24], p99[24];
        text_print(t, "  %12.1f%14.1f%12s%12s%9.2f%%  %s%s\n", s->rate, s->achieved,
                   report_time((uint64_t)(s->p50_ms * 1e6), p50),
                   report_time((uint64_t)(s->p99_ms * 1e6), p99), s->errors * 100,
                   s->held ? "holds" : "fails", s->generator ? ", by the generator" : "");
    }
    double knee = limit_knee(f);
    text_print(t, "\n  limit        %.0f/s holds", f->holds);
    if (f->fails > 0)
        text_print(t, ", %.0f/s does not", f->fails);
    else
        text_print(t, ", and that is the most that was asked for");
    text_print(t, "\n");
    if (knee > 0)
        text_print(t, "  knee         %.0f/s: beyond it the latency grows faster than the rate\n", knee);
}

static void put_head(struct text *t, const struct load_report *r, const struct report_about *about)
{
    const struct load *l = r->load;
    const char *loop = about->limit ? "search" : l->open_loop ? "open loop" : "closed loop";
    text_print(t, "\n  %.*s   %u %s%s%s, %u thread%s, %s, %.1f s%s\n\n", (int)about->target.len,
               about->target.ptr, l->connections, l->carrier->unit, l->connections == 1 ? "" : "s",
               l->http2   ? " of HTTP/2"
               : l->http3 ? " of HTTP/3"
                          : "",
               l->shares, l->shares == 1 ? "" : "s", loop, about->limit ? r->seconds_run : r->seconds,
               r->interrupted ? ", interrupted" : "");
}

static void put_counts(struct text *t, const struct load_report *r, const struct load_kind *k)
{
    char count[32], failed[32], in[24], in_s[24];
    uint64_t errors = load_kind_errors(k);
    text_print(t, "  answers   %14s %14.1f/s      failed %s (%.3g%%)\n", report_count(k->answers, count),
               a_second((double)k->answers, r->seconds), report_count(errors, failed),
               share_of(errors, load_kind_tried(k)) * 100);
    text_print(t, "  received  %14s %14s/s      connects %s\n", report_bytes((double)k->bytes_in, in),
               report_bytes(a_second((double)k->bytes_in, r->seconds), in_s),
               report_count(r->all->connects, count));
    if (r->all->iterations)
        text_print(t, "  scenarios %14s %14.1f/s\n", report_count(r->all->iterations, count),
                   a_second((double)r->all->iterations, r->seconds));
    if (r->all->messages_out || r->all->messages_in)
        text_print(t, "  messages  %14s %14.1f/s      sent %s\n", report_count(r->all->messages_in, count),
                   a_second((double)r->all->messages_in, r->seconds),
                   report_count(r->all->messages_out, failed));
}

static void put_kinds(struct text *t, const struct load_report *r)
{
    if (r->load->kinds_count < 2)
        return;
    text_print(t, "\n  %-18s%13s%12s%10s%10s%10s%10s%10s\n", "kind", "answers", "/s", "errors", "p50", "p90",
               "p99", "max");
    for (unsigned i = 0; i < r->load->kinds_count; i++)
        put_kind(t, r, i);
}

static void put_notes(struct text *t, const struct load_report *r)
{
    char words[256], count[32];
    struct bytes verdict = report_verdict(r, words);
    if (r->abandoned)
        text_print(t, "  note        %s requests were still in flight at the end\n",
                   report_count(r->abandoned, count));
    if (verdict.len)
        text_print(t, "  note        %.*s\n", BYTES_ARG(verdict));
}

void report_table(struct text *t, const struct load_report *r, const struct report_about *about)
{
    load_stats_total(r->all, r->total);
    const struct load_kind *k = &r->total->kinds[0];
    put_head(t, r, about);
    if (about->limit) {
        put_steps(t, about->limit);
        text_add(t, BYTES("\n"));
        return;
    }
    put_counts(t, r, k);
    text_print(t, "\n  %-12s%10s%10s%10s%10s%10s%10s%10s\n", "latency", "p50", "p90", "p99", "p99.9", "max",
               "mean", "stdev");
    if (r->load->open_loop)
        put_latency(t, "response", &k->response);
    put_latency(t, "service", &k->service);
    text_add(t, BYTES("\n"));
    put_statuses(t, k);
    put_errors(t, k);
    put_kinds(t, r);
    put_notes(t, r);
    text_add(t, BYTES("\n"));
}

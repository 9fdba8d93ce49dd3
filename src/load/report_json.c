/* The report for programs: JSON and CSV. */
#include "base/json.h"
#include "load/hdr.h"
#include "load/report.h"

static void put_histogram(struct text *t, const char *key, const struct histogram *h)
{
    static const struct {
        const char *key;
        double share;
    } shares[] = { { "p50", 0.5 },  { "p75", 0.75 },    { "p90", 0.9 },      { "p95", 0.95 },
                   { "p99", 0.99 }, { "p99_9", 0.999 }, { "p99_99", 0.9999 } };
    json_begin(t, key, '{');
    json_u64(t, "count", h->count);
    json_u64(t, "min", h->min_ns);
    json_number(t, "mean", histogram_mean_ns(h));
    json_number(t, "stdev", histogram_deviation_ns(h));
    for (unsigned i = 0; i < sizeof shares / sizeof *shares; i++)
        json_u64(t, shares[i].key, histogram_quantile_ns(h, shares[i].share));
    json_u64(t, "max", h->max_ns);
    json_u64(t, "sum", h->sum_ns);
    hdr_json(t, "hdr", h);
    json_end(t, '}');
}

static void put_errors(struct text *t, const uint64_t errors[LOAD_ERRORS])
{
    json_begin(t, "errors", '{');
    for (unsigned i = 0; i < LOAD_ERRORS; i++) {
        if (errors[i])
            json_u64(t, load_error_word((enum load_error)i), errors[i]);
    }
    json_end(t, '}');
}

static void put_kind(struct text *t, const struct load *l, const struct load_kind *k, double seconds)
{
    char status[8];
    json_u64(t, "sent", k->sent);
    json_u64(t, "answers", k->answers);
    json_u64(t, "good", load_kind_good(k));
    json_u64(t, "failed", load_kind_errors(k));
    json_u64(t, "tried", load_kind_tried(k));
    json_number(t, "rate", seconds > 0 ? (double)k->answers / seconds : 0);
    json_u64(t, "bytes_in", k->bytes_in);
    json_u64(t, "bytes_out", k->bytes_out);
    put_errors(t, k->errors);
    json_begin(t, "statuses", '{');
    for (unsigned i = 0; i < LOAD_STATUSES; i++) {
        if (!k->statuses[i])
            continue;
        status[u64_to_text(i + LOAD_STATUS_MIN, status)] = 0;
        json_u64(t, status, k->statuses[i]);
    }
    json_end(t, '}');
    json_begin(t, "latency_ns", '{');
    if (l->open_loop)
        put_histogram(t, "response", &k->response);
    put_histogram(t, "service", &k->service);
    json_end(t, '}');
}

static void put_limit(struct text *t, const struct limit_found *f)
{
    json_begin(t, "limit", '{');
    json_number(t, "holds", f->holds);
    json_number(t, "fails", f->fails);
    json_number(t, "knee", limit_knee(f));
    json_begin(t, "steps", '[');
    for (size_t i = 0; i < f->count; i++) {
        const struct limit_step *s = &f->steps[i];
        json_begin(t, NULL, '{');
        json_number(t, "rate", s->rate);
        json_number(t, "answered", s->achieved);
        json_number(t, "p50_ms", s->p50_ms);
        json_number(t, "p99_ms", s->p99_ms);
        json_number(t, "errors", s->errors);
        json_bool(t, "holds", s->held);
        json_bool(t, "generator", s->generator);
        json_end(t, '}');
    }
    json_end(t, ']');
    json_end(t, '}');
}

static void put_point(struct text *t, const struct load_point *p)
{
    json_begin(t, NULL, '{');
    json_number(t, "at", p->at_s);
    json_number(t, "seconds", p->seconds);
    json_number(t, "wanted", p->wanted);
    json_u64(t, "sent", p->sent);
    json_u64(t, "answers", p->answers);
    json_u64(t, "bytes_in", p->bytes_in);
    put_errors(t, p->errors);
    json_u64(t, "p50", p->p50_ns);
    json_u64(t, "p90", p->p90_ns);
    json_u64(t, "p99", p->p99_ns);
    json_u64(t, "p99_9", p->p999_ns);
    json_u64(t, "max", p->max_ns);
    json_u64(t, "service_p50", p->service_p50_ns);
    json_u64(t, "service_p99", p->service_p99_ns);
    json_u64(t, "connections", p->connections);
    json_u64(t, "in_flight", p->in_flight);
    json_number(t, "busy", p->busy);
    json_end(t, '}');
}

static void put_run(struct text *t, const struct load_report *r, const struct report_about *about)
{
    const struct load *l = r->load;
    json_text(t, "target", about->target);
    json_bool(t, "open_loop", l->open_loop);
    json_bool(t, "http2", l->http2);
    json_bool(t, "http3", l->http3);
    json_u64(t, "connections", l->connections);
    json_text(t, "unit", bytes_from(l->carrier->unit));
    json_u64(t, "threads", l->shares);
    json_number(t, "started", (double)r->started_wall_us / 1e6);
    json_number(t, "seconds", r->seconds);
    json_bool(t, "interrupted", r->interrupted);
    json_u64(t, "abandoned", r->abandoned);
    json_u64(t, "connects", r->all->connects);
    json_u64(t, "iterations", r->all->iterations);
    json_u64(t, "messages_out", r->all->messages_out);
    json_u64(t, "messages_in", r->all->messages_in);
    json_begin(t, "generator", '{');
    char words[256];
    json_number(t, "busy", r->busy);
    put_histogram(t, "lag_ns", &r->all->lag);
    json_text(t, "verdict", report_verdict(r, words));
    json_end(t, '}');
}

void report_json(struct text *t, const struct load_report *r, const struct report_about *about)
{
    json_begin(t, NULL, '{');
    put_run(t, r, about);
    json_begin(t, "total", '{');
    load_stats_total(r->all, r->total);
    put_kind(t, r->load, &r->total->kinds[0], r->seconds);
    json_end(t, '}');
    json_begin(t, "kinds", '[');
    for (unsigned i = 0; i < r->load->kinds_count; i++) {
        json_begin(t, NULL, '{');
        json_text(t, "name", r->load->kinds[i]);
        put_kind(t, r->load, &r->all->kinds[i], r->seconds);
        json_end(t, '}');
    }
    json_end(t, ']');
    if (about->limit)
        put_limit(t, about->limit);
    json_begin(t, "points", '[');
    for (size_t i = 0; i < r->points_count; i++)
        put_point(t, &r->points[i]);
    json_end(t, ']');
    json_end(t, '}');
    text_add(t, BYTES("\n"));
}

void report_csv(struct text *t, const struct load_report *r)
{
    text_add(
        t, BYTES("at_s,seconds,wanted,sent,answers,bytes_in,p50_us,p90_us,p99_us,p99.9_us,max_us,connections,"
                 "in_flight,busy"));
    for (unsigned i = 0; i < LOAD_ERRORS; i++)
        text_print(t, ",%s", load_error_word((enum load_error)i));
    text_add(t, BYTES("\n"));
    for (size_t n = 0; n < r->points_count; n++) {
        const struct load_point *p = &r->points[n];
        text_print(t, "%.3f,%.3f,%.1f,%llu,%llu,%llu,%.1f,%.1f,%.1f,%.1f,%.1f,%u,%u,%.3f", p->at_s,
                   p->seconds, p->wanted, (unsigned long long)p->sent, (unsigned long long)p->answers,
                   (unsigned long long)p->bytes_in, (double)p->p50_ns / 1e3, (double)p->p90_ns / 1e3,
                   (double)p->p99_ns / 1e3, (double)p->p999_ns / 1e3, (double)p->max_ns / 1e3, p->connections,
                   p->in_flight, p->busy);
        for (unsigned i = 0; i < LOAD_ERRORS; i++)
            text_print(t, ",%llu", (unsigned long long)p->errors[i]);
        text_add(t, BYTES("\n"));
    }
}

#include "load/prometheus.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/list.h"

/* Bounds of the latency buckets, in seconds: as Prometheus' own defaults, and finer below. */
static const double bounds_s[] = { 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025,
                                   0.05,   0.1,     0.25,   0.5,   1,      2.5,   5,    10 };

static void head(struct text *t, const char *name, const char *type, const char *help)
{
    text_print(t, "# HELP weir_load_%s %s\n# TYPE weir_load_%s %s\n", name, help, name, type);
}

/* A label's value: backslash, quote and newline escaped. */
static void put_label(struct text *t, struct bytes value)
{
    for (size_t i = 0; i < value.len; i++) {
        char c = value.ptr[i];
        if (c == '\n')
            text_add(t, BYTES("\\n"));
        else if (c == '"' || c == '\\')
            text_print(t, "\\%c", c);
        else
            text_add(t, (struct bytes){ &c, 1 });
    }
}

static void begin(struct text *t, const char *name, struct bytes kind)
{
    text_print(t, "weir_load_%s{kind=\"", name);
    put_label(t, kind);
    text_add(t, BYTES("\""));
}

static void put_histogram(struct text *t, const char *name, struct bytes kind, const struct histogram *h)
{
    char full[64];
    snprintf(full, sizeof full, "%s_bucket", name);
    for (unsigned i = 0; i < sizeof bounds_s / sizeof *bounds_s; i++) {
        begin(t, full, kind);
        text_print(t, ",le=\"%g\"} %" PRIu64 "\n", bounds_s[i],
                   histogram_count_to(h, (uint64_t)(bounds_s[i] * 1e9)));
    }
    begin(t, full, kind);
    text_print(t, ",le=\"+Inf\"} %" PRIu64 "\n", h->count);
    snprintf(full, sizeof full, "%s_sum", name);
    begin(t, full, kind);
    text_print(t, "} %.9g\n", (double)h->sum_ns / 1e9);
    snprintf(full, sizeof full, "%s_count", name);
    begin(t, full, kind);
    text_print(t, "} %" PRIu64 "\n", h->count);
}

static void put_statuses(struct text *t, const struct load_report *r)
{
    head(t, "answers_total", "counter", "Whole answers");
    for (unsigned i = 0; i < r->load->kinds_count; i++) {
        const struct load_kind *k = &r->all->kinds[i];
        for (unsigned s = 0; s < LOAD_STATUSES; s++) {
            if (!k->statuses[s])
                continue;
            begin(t, "answers_total", r->load->kinds[i]);
            text_print(t, ",status=\"%u\"} %" PRIu64 "\n", s + LOAD_STATUS_MIN, k->statuses[s]);
        }
    }
}

static void put_errors(struct text *t, const struct load_report *r)
{
    head(t, "errors_total", "counter", "What went wrong");
    for (unsigned i = 0; i < r->load->kinds_count; i++) {
        for (unsigned e = 0; e < LOAD_ERRORS; e++) {
            begin(t, "errors_total", r->load->kinds[i]);
            text_print(t, ",error=\"%s\"} %" PRIu64 "\n", load_error_word((enum load_error)e),
                       r->all->kinds[i].errors[e]);
        }
    }
}

static void put_messages(struct text *t, const struct load_report *r)
{
    head(t, "messages_total", "counter", "Messages of WebSockets");
    text_print(t, "weir_load_messages_total{direction=\"out\"} %" PRIu64 "\n", r->all->messages_out);
    text_print(t, "weir_load_messages_total{direction=\"in\"} %" PRIu64 "\n", r->all->messages_in);
}

static void put_gauges(struct text *t, const struct load_report *r)
{
    static const struct load_point none;
    const struct load_point *p = r->points_count ? &r->points[r->points_count - 1] : &none;
    head(t, "connections", "gauge", "Open connections");
    text_print(t, "weir_load_connections %u\n", p->connections);
    head(t, "in_flight", "gauge", "Requests, or visits of a scenario, on their way");
    text_print(t, "weir_load_in_flight %u\n", p->in_flight);
    head(t, "wanted", "gauge",
         "Requests or visits a second, or users, that are wanted now; 0 in a closed loop");
    text_print(t, "weir_load_wanted %g\n", p->wanted);
    head(t, "busy_ratio", "gauge", "Share of the time that the busiest thread of the generator is busy");
    text_print(t, "weir_load_busy_ratio %.3f\n", p->busy);
}

void prometheus_print(struct text *t, const struct load_report *r)
{
    head(t, "requests_total", "counter", "Requests sent");
    for (unsigned i = 0; i < r->load->kinds_count; i++) {
        begin(t, "requests_total", r->load->kinds[i]);
        text_print(t, "} %" PRIu64 "\n", r->all->kinds[i].sent);
    }
    put_statuses(t, r);
    put_errors(t, r);
    head(t, "service_seconds", "histogram", "From when a request was sent to its answer's last byte");
    for (unsigned i = 0; i < r->load->kinds_count; i++)
        put_histogram(t, "service_seconds", r->load->kinds[i], &r->all->kinds[i].service);
    if (r->load->open_loop) {
        head(t, "response_seconds", "histogram", "From when a request was due to its answer's last byte");
        for (unsigned i = 0; i < r->load->kinds_count; i++)
            put_histogram(t, "response_seconds", r->load->kinds[i], &r->all->kinds[i].response);
    }
    put_messages(t, r);
    put_gauges(t, r);
}

static void handle(struct serve *s, struct serve_call *c)
{
    const struct prometheus *p = (const struct prometheus *)s;
    struct text t = { 0 };
    if (!bytes_eq(c->request.path, BYTES("/metrics"))) {
        serve_answer(c, 404, "text/plain", BYTES("there is /metrics\n"));
        return;
    }
    prometheus_print(&t, p->report);
    serve_answer(c, 200, "text/plain; version=0.0.4", (struct bytes){ t.at, t.len });
    text_free(&t);
}

static err start(struct run_part *part, const struct load_report *r, struct diag *reterr)
{
    struct prometheus *p = container_of(part, struct prometheus, part);
    p->report = r;
    return serve_open(&p->serve, &p->at, reterr);
}

static void stop(struct run_part *part)
{
    serve_close(&container_of(part, struct prometheus, part)->serve);
}

void prometheus_open(struct prometheus *p, const struct addr *at)
{
    *p = (struct prometheus){ .serve = { .handle = handle },
                              .part = { .start = start, .stop = stop },
                              .at = *at };
}

#include "gate/tls_watch.h"

#if WEIR_HAVE_OPENSSL

#include <stdio.h>

#include "core/log.h"
#include "core/metrics.h"
#include "core/timer.h"
#include "core/worker.h"
#include "gate/gate.h"
#include "gate/tls_listener.h"
#include "gate/tls_ocsp.h"
#include "gate/tls_service.h"
#include "net/tls_context.h"
#include "net/tls_staple.h"

#define LOOK_MS 1000
#define CERTIFICATES_MAX 1000 /* whose ends are told */

/* ---- metrics ---- */

static const struct metric_def read_defs[] = {
    { "certificate_reads_total", METRIC_COUNTER, "Times that changed files of TLS settings were read again" },
    { "certificate_failures_total", METRIC_COUNTER,
      "Of those, that found something wrong and kept what there was" },
    { "ocsp_fetches_total", METRIC_COUNTER,
      "Times that a responder was asked for a certificate's OCSP answer" },
    { "ocsp_failures_total", METRIC_COUNTER, "Of those, that brought none that can be used" },
};
static const struct metric_group read_group = { "tls", read_defs, 4, NULL };
static const struct metric_def end_defs[] = {
    { "certificate_expiry_seconds", METRIC_GAUGE, "When the certificate ends, in seconds since 1970" },
    { "ocsp_expiry_seconds", METRIC_GAUGE,
      "When the OCSP answer ends that is given with it, in seconds since 1970; 0: there is none" }
};
static const struct metric_group end_group = { "tls", end_defs, 2,
                                               (const char *const[]){ "listen", "name", "key", NULL } };

static struct {
    struct timer timer;
    struct metric_instance *reads;
    struct metric_cells *cells;
    struct metric_instance *ends[CERTIFICATES_MAX];
    unsigned ends_count;
    struct turn_hook end;
    bool open;
    bool asked; /* OCSP responders, since the metrics were told */
} here;

static void tell_end(const struct listen_conf *listen, const struct tls_certificate *c,
                     struct tls_staple *staple)
{
    char text[ADDR_TEXT_BYTES_MAX];
    struct metric_instance *m;
    addr_print(&listen->address, text);
    const struct bytes values[] = { bytes_from(text), bytes_from(c->name), bytes_from(c->key) };
    if (here.ends_count == CERTIFICATES_MAX || metric_instance_open(&end_group, values, &m) != OK)
        return;
    here.ends[here.ends_count++] = m;
    struct metric_cells *cells = metric_cells(m, worker_index(worker_self()));
    metric_set(cells, 0, c->not_after);
    metric_set(cells, 1, staple ? tls_staple_end(staple) : 0);
}

static void warn(void *arg, const char *name, const char *what)
{
    log_warn("tls", "certificate %s listen=%s name=%s", what, (const char *)arg, name);
}

static void forget_ends(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        metric_instance_free(here.ends[i]);
    for (unsigned i = count; i < here.ends_count; i++)
        here.ends[i - count] = here.ends[i];
    here.ends_count -= count;
}

/* The new ones first, so that what stays keeps its place in the export. */
static void tell_ends(const struct generation *g)
{
    unsigned before = here.ends_count;
    if (before > CERTIFICATES_MAX / 2) {
        forget_ends(before);
        before = 0;
    }
    for (size_t i = 0; i < g->listen.count; i++) {
        size_t count = 0;
        struct ssl_ctx_st *context = g->listen_tls[i] ? tls_listener_context(g->listen_tls[i]) : NULL;
        const struct tls_certificate *c = context ? tls_context_certificates(context, &count) : NULL;
        for (size_t k = 0; k < count; k++)
            tell_end((const struct listen_conf *)g->listen.items + i, &c[k], tls_context_staple(context, k));
        tls_context_drop(context);
    }
    forget_ends(before);
}

static void warn_of(const struct listen_conf *listen, struct tls_listener *l)
{
    char text[ADDR_TEXT_BYTES_MAX];
    addr_print(&listen->address, text);
    if (l)
        tls_listener_warnings(l, warn, text);
}

/* ---- looking ---- */

static bool count_look(enum tls_look l)
{
    if (l != TLS_LOOK_SAME)
        metric_inc(here.cells, 0);
    if (l == TLS_LOOK_BAD)
        metric_inc(here.cells, 1);
    return l == TLS_LOOK_FRESH;
}

/* How asking a responder went. */
static void told(bool fine)
{
    metric_inc(here.cells, 2);
    metric_add(here.cells, 3, !fine);
    here.asked = true;
}

static void look(struct timer *t)
{
    const struct gate *g = gate_current();
    bool fresh = false;
    if (!g)
        return;
    const struct generation *of = g->generation;
    for (size_t i = 0; i < of->listen.count; i++) {
        const bool now = of->listen_tls[i] && count_look(tls_listener_look(of->listen_tls[i]));
        if (now)
            warn_of((const struct listen_conf *)of->listen.items + i, of->listen_tls[i]);
        fresh |= now;
    }
    for (size_t i = 0; i < of->conf->services.count; i++)
        fresh |= of->service_tls[i] && count_look(tls_service_look(of->service_tls[i]));
    if (fresh || here.asked)
        tell_ends(of);
    here.asked = false;
    tls_ocsp_look(told);
    timer_set(t, deadline_in_ms(LOOK_MS));
}

static void end_here(struct turn_hook *h)
{
    (void)h;
    forget_ends(here.ends_count);
    metric_instance_free(here.reads);
}

static bool has_tls(const struct generation *g)
{
    bool any = false;
    for (size_t i = 0; i < g->listen.count; i++)
        any |= g->listen_tls[i] != NULL;
    for (size_t i = 0; i < g->conf->services.count; i++)
        any |= g->service_tls[i] != NULL;
    return any;
}

void tls_watch(void)
{
    const struct gate *g = gate_current();
    if (!g || (!here.open && !has_tls(g->generation)))
        return;
    if (!here.open) {
        if (metric_instance_open(&read_group, NULL, &here.reads) != OK)
            return;
        here.cells = metric_cells(here.reads, worker_index(worker_self()));
        here.open = true;
        here.end.run = end_here;
        worker_on_end(&here.end);
        timer_init(&here.timer, look);
    }
    tell_ends(g->generation);
    for (size_t i = 0; i < g->generation->listen.count; i++)
        warn_of((const struct listen_conf *)g->generation->listen.items + i, g->generation->listen_tls[i]);
    tls_ocsp_look(told);
    timer_set(&here.timer, deadline_in_ms(LOOK_MS));
}

#else

void tls_watch(void)
{
}

#endif

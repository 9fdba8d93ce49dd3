/* outlier: takes a server out of the choice that does worse than it should, by what real requests find out,
 * and lets it back after a while.
 *
 *      outlier: on        or    {failures: 3, errors: 5, error_ratio: 20%, rest: 10s, max_ejected: 50%}
 *
 *      ┌──────┐  failures in a row, errors in a row (each worker, at once)    ┌─────┐
 *      │ well │ ────────────────────────────────────────────────────────────▶ │ out │  rest * n, at most
 * rest_max; │      │  more errors than the others (control worker, each interval)  │     │  n: times that
 * were not forgiven └──────┘ ◀──────────────────────────────────────────────────────────── └─────┘ the time
 * is up; an interval without an ejection forgives one time
 *
 * Never more than max_ejected of a service are out. The ratio is compared with that of the other servers
 * together (leave one out), as in Envoy's success rate detection, but with the server itself left out of what
 * it is compared with: of three servers one that always fails would otherwise not stand out from its own
 * average.
 *
 * What is known of a server lies in server_shared and in `counts` below: over all workers and reloads,
 * atomics. */
#include <inttypes.h>
#include <stdatomic.h>

#include "base/mem.h"
#include "core/log.h"
#include "core/metrics.h"
#include "gate/filter.h"
#include "gate/gate_metrics.h"
#include "gate/service.h"

#define TAG "outlier"
#define TURN_US_MAX (10 * 1000000)
#define LOOK_MS 250 /* how soon a return is seen and logged; the choice itself goes by the clock */
/* Standard deviations: a difference that chance makes once in 700 comparisons or less often (one-sided). */
#define SIGMAS 3.0

struct outlier_conf {
    int64_t failures, errors; /* in a row; 0: not looked at */
    double error_ratio;
    uint64_t interval_ms;
    int64_t requests_min, servers_min;
    uint64_t rest_ms, rest_max_ms;
    double max_ejected;
};

static err outlier_check(void *conf, struct diag *reterr)
{
    const struct outlier_conf *c = conf;
    if (c->rest_ms <= c->rest_max_ms)
        return OK;
    diag_set(reterr, "rest_max: shorter than rest");
    return ERR_CONF;
}

/* ---- decisions, pure ---- */

static uint64_t rest_us(const struct outlier_conf *c, uint32_t times)
{
    const uint64_t ms = c->rest_ms * times;
    return (ms < c->rest_max_ms ? ms : c->rest_max_ms) * 1000;
}

/* One more, when `out` of `count` are out already? */
static bool may_eject(const struct outlier_conf *c, uint32_t out, uint32_t count)
{
    return (double)(out + 1) <= c->max_ejected * (double)count + 1e-9;
}

/* What came of the requests of one interval. */
struct sample {
    uint64_t requests, errors;
    bool out;
};

static bool is_counted(const struct outlier_conf *c, const struct sample *s)
{
    return !s->out && s->requests >= (uint64_t)c->requests_min;
}

static double ratio_of(uint64_t errors, uint64_t requests)
{
    return (double)errors / (double)requests;
}

/* How far the errors of samples[i] lie above those of the others that are counted, in variances (the square
 * of standard deviations); what the others differ among themselves counts as chance too. Below 0: not far
 * enough. */
static double stands_out(const struct outlier_conf *c, const struct sample *samples, uint32_t count,
                         uint32_t i)
{
    uint64_t requests = 0, errors = 0;
    double sum = 0, squares = 0, others = 0;
    for (uint32_t j = 0; j < count; j++) {
        if (j == i || !is_counted(c, &samples[j]))
            continue;
        const double r = ratio_of(samples[j].errors, samples[j].requests);
        requests += samples[j].requests;
        errors += samples[j].errors;
        sum += r;
        squares += r * r;
        others++;
    }
    if (others + 1 < (double)c->servers_min || others == 0)
        return -1;
    const double above =
        ratio_of(samples[i].errors, samples[i].requests) - ratio_of(errors, requests) - c->error_ratio;
    if (above < 0 || c->error_ratio >= 1)
        return -1;
    const double pooled = ratio_of(errors + samples[i].errors, requests + samples[i].requests);
    const double chance = pooled * (1 - pooled) * (1 / (double)samples[i].requests + 1 / (double)requests);
    const double spread = squares / others - sum / others * (sum / others);
    const double variance = chance + (spread > 0 ? spread : 0);
    const double difference = above + c->error_ratio;
    const double z2 = difference * difference / (variance > 1e-12 ? variance : 1e-12);
    return z2 >= SIGMAS * SIGMAS ? z2 : -1;
}

/* The one that stands out most; UINT32_MAX: none does. */
static uint32_t find_outlier(const struct outlier_conf *c, const struct sample *samples, uint32_t count)
{
    uint32_t worst = UINT32_MAX;
    double most = 0;
    for (uint32_t i = 0; i < count; i++) {
        const double z2 = is_counted(c, &samples[i]) ? stands_out(c, samples, count, i) : -1;
        if (z2 > most) {
            most = z2;
            worst = i;
        }
    }
    return worst;
}

/* ---- metrics ---- */

#define OUTLIER_METRICS(X)                                                                                 \
    X(BY_FAILURES, "ejected_for_failures_total", METRIC_COUNTER, "Times it was out for failures in a row") \
    X(BY_ERRORS, "ejected_for_errors_total", METRIC_COUNTER, "Times it was out for errors in a row")       \
    X(BY_RATIO, "ejected_for_ratio_total", METRIC_COUNTER, "Times it was out for more errors than others") \
    X(SPARED, "spared_total", METRIC_COUNTER, "Times it stayed because enough others were out")            \
    X(RETURNED, "returned_total", METRIC_COUNTER, "Times it came back")                                    \
    X(EJECTED, "ejected", METRIC_GAUGE, "1 while it is out")

enum outlier_metric {
#define X(id, name, type, help) METRIC_##id,
    OUTLIER_METRICS(X)
#undef X
        METRIC_COUNT
};

static const struct metric_group metric_group = {
    .module = TAG,
    .defs =
        (const struct metric_def[]){
#define X(id, name, type, help) { name, type, help },
            OUTLIER_METRICS(X)
#undef X
        },
    .count = METRIC_COUNT,
    .labels = (const char *const[]){ "service", "server", NULL },
};

static const char *const why_texts[] = { [METRIC_BY_FAILURES] = "failures in a row",
                                         [METRIC_BY_ERRORS] = "errors in a row",
                                         [METRIC_BY_RATIO] = "more errors than the others" };

/* ---- what all workers share ---- */

/* Of one server. */
struct counts {
    _Atomic uint32_t errors; /* in a row; failures in a row are in server_shared */
    _Atomic uint32_t recent; /* ejected since the last interval began: not forgiven */
};

/* Of a service: one worker at a time ejects, so that two do not pass max_ejected together. */
struct turn {
    _Atomic uint64_t since_us; /* 0: nobody does */
};

static void *shared_open(const char *what, struct bytes service, const char *server, size_t size)
{
    struct arena a;
    arena_open(&a, &arena_heap, 1 << 16, NULL, 0);
    /* 2: the version of the layout */
    const struct bytes name = arena_print(&a, "outlier 2 %s %.*s %s", what, BYTES_ARG(service), server);
    void *memory = name.ptr ? shared_get(name, size) : NULL;
    arena_close(&a);
    return memory;
}

/* One of these a worker and generation, and one with the fiber that looks at the ratios. */
struct member {
    struct server_shared *shared;
    struct counts *counts;
    struct metric_instance *metrics;
    struct metric_cells *cells;
    /* of the fiber's only */
    struct metric_instance *requests; /* the upstream group's */
    struct sample before;
    bool out;
};

struct watch {
    struct outlier_conf conf;
    struct turn *turn;
    struct bytes service; /* behind the members */
    struct fiber *fiber;
    bool stopping;
    uint32_t count;
    struct member members[];
};

static void watch_free(struct watch *w)
{
    for (uint32_t i = 0; i < w->count; i++) {
        struct member *m = &w->members[i];
        shared_put(m->counts);
        metric_instance_free(m->metrics);
        metric_instance_free(m->requests);
        server_shared_drop(m->shared);
    }
    shared_put(w->turn);
    mem_free(w);
}

static struct watch *watch_new(const struct outlier_conf *conf, struct bytes service, uint32_t count)
{
    struct watch *w = mem_get(sizeof *w + count * sizeof *w->members + service.len + 1);
    if (!w)
        return NULL;
    char *text = (char *)&w->members[count];
    memcpy(text, service.ptr, service.len);
    w->service = (struct bytes){ text, service.len };
    w->conf = *conf;
    w->turn = shared_open("turn", service, "", sizeof *w->turn);
    if (w->turn)
        return w;
    mem_free(w);
    return NULL;
}

static err member_open(struct watch *w, struct server_shared *shared)
{
    struct member *m = &w->members[w->count];
    const struct bytes labels[] = { w->service, bytes_from(shared->text) };
    m->counts = shared_open("server", w->service, shared->text, sizeof *m->counts);
    if (!m->counts)
        return ERR_MEMORY;
    server_shared_hold(shared);
    m->shared = shared;
    w->count++;
    err e = metric_instance_open(&metric_group, labels, &m->metrics);
    if (!e)
        m->cells = metric_cells(m->metrics, worker_index(worker_self()));
    return e;
}

/* ---- ejecting: any worker ---- */

/* Traffic causes these lines. */
static struct log_limit log_limit = LOG_LIMIT(10);

static bool is_out(const struct member *m, uint64_t now_us)
{
    return atomic_load_explicit(&m->shared->ejected_until_us, memory_order_relaxed) > now_us;
}

static uint32_t count_out(const struct watch *w, uint64_t now_us)
{
    uint32_t out = 0;
    for (uint32_t i = 0; i < w->count; i++)
        out += is_out(&w->members[i], now_us);
    return out;
}

static void begin_anew(struct member *m)
{
    atomic_store_explicit(&m->shared->failures, 0, memory_order_relaxed);
    atomic_store_explicit(&m->counts->errors, 0, memory_order_relaxed);
}

static void eject_in_turn(const struct watch *w, struct member *m, enum outlier_metric why, uint64_t now_us)
{
    const uint32_t out = count_out(w, now_us);
    if (is_out(m, now_us))
        return;
    begin_anew(m);
    if (!may_eject(&w->conf, out, w->count)) {
        metric_inc(m->cells, METRIC_SPARED);
        log_limited(&log_limit, LOG_WARN, TAG,
                    "stays, enough are out service=%.*s server=%s why=\"%s\" out=%u/%u",
                    BYTES_ARG(w->service), m->shared->text, why_texts[why], out, w->count);
        return;
    }
    const uint32_t times = atomic_fetch_add_explicit(&m->shared->ejections, 1, memory_order_relaxed) + 1;
    const uint64_t us = rest_us(&w->conf, times);
    atomic_store_explicit(&m->counts->recent, 1, memory_order_relaxed);
    atomic_store_explicit(&m->shared->ejected_until_us, now_us + us, memory_order_relaxed);
    metric_inc(m->cells, why);
    log_limited(&log_limit, LOG_WARN, TAG,
                "ejected service=%.*s server=%s why=\"%s\" rest_ms=%" PRIu64 " out=%u/%u",
                BYTES_ARG(w->service), m->shared->text, why_texts[why], us / 1000, out + 1, w->count);
}

/* When another worker is at it this one lets it be: what it has counted is still counted with the next
 * result. A turn that was never ended (a copy of this memory was taken in the middle) ends by itself. */
static void eject(const struct watch *w, struct member *m, enum outlier_metric why, uint64_t now_us)
{
    uint64_t since_us = atomic_load_explicit(&w->turn->since_us, memory_order_relaxed);
    if (since_us && now_us - since_us < TURN_US_MAX)
        return;
    if (!atomic_compare_exchange_strong(&w->turn->since_us, &since_us, now_us))
        return;
    eject_in_turn(w, m, why, now_us);
    atomic_store(&w->turn->since_us, 0);
}

/* ---- the request path ---- */

/* Written only when it changes: all workers read these lines for each request. */
static void forget(_Atomic uint32_t *in_a_row)
{
    if (atomic_load_explicit(in_a_row, memory_order_relaxed))
        atomic_store_explicit(in_a_row, 0, memory_order_relaxed);
}

static bool reaches(_Atomic uint32_t *in_a_row, int64_t most)
{
    return atomic_fetch_add_explicit(in_a_row, 1, memory_order_relaxed) + 1 >= most && most;
}

static void outlier_result(void *state, struct server *s, enum server_result r, uint64_t now_us)
{
    const struct watch *w = state;
    struct member *m = (struct member *)&w->members[s->index];
    if (r != SERVER_FAILED)
        forget(&m->shared->failures);
    if (r == SERVER_ANSWERED)
        forget(&m->counts->errors);
    else if (r == SERVER_ERRED && reaches(&m->counts->errors, w->conf.errors))
        eject(w, m, METRIC_BY_ERRORS, now_us);
    else if (r == SERVER_FAILED && reaches(&m->shared->failures, w->conf.failures))
        eject(w, m, METRIC_BY_FAILURES, now_us);
}

static err outlier_watch(const void *conf, struct service *s, void **ret_state, struct diag *reterr)
{
    (void)reterr;
    struct watch *w = watch_new(conf, s->name, s->servers_count);
    err e = w ? OK : ERR_MEMORY;
    for (uint32_t i = 0; !e && i < s->servers_count; i++)
        e = member_open(w, s->servers[i].shared);
    if (e && w)
        watch_free(w);
    if (!e)
        *ret_state = w;
    return e;
}

static void outlier_unwatch(void *state)
{
    watch_free(state);
}

/* ---- the control worker ---- */

static struct sample sample_now(const struct member *m)
{
    return (struct sample){ .requests = metric_value(m->requests, UPSTREAM_REQUESTS),
                            .errors = metric_value(m->requests, UPSTREAM_FAILURES) +
                                      metric_value(m->requests, UPSTREAM_ERRORS) };
}

static void look(struct watch *w)
{
    const uint64_t now_us = worker_now_us();
    for (uint32_t i = 0; i < w->count; i++) {
        struct member *m = &w->members[i];
        const bool out = is_out(m, now_us);
        if (out == m->out)
            continue;
        m->out = out;
        metric_set(m->cells, METRIC_EJECTED, out);
        if (out)
            continue;
        metric_inc(m->cells, METRIC_RETURNED);
        log_info(TAG, "back service=%.*s server=%s", BYTES_ARG(w->service), m->shared->text);
    }
}

static void forgive(struct member *m, uint64_t now_us)
{
    const bool recent = atomic_exchange_explicit(&m->counts->recent, 0, memory_order_relaxed);
    const uint32_t times = atomic_load_explicit(&m->shared->ejections, memory_order_relaxed);
    if (!recent && times && !is_out(m, now_us))
        atomic_store_explicit(&m->shared->ejections, times - 1, memory_order_relaxed);
}

static void interval_ends(struct watch *w)
{
    const uint64_t now_us = worker_now_us();
    struct sample *samples = mem_get(w->count * sizeof *samples);
    if (!samples)
        return;
    for (uint32_t i = 0; i < w->count; i++) {
        struct member *m = &w->members[i];
        const struct sample now = sample_now(m);
        samples[i] = (struct sample){ .requests = now.requests - m->before.requests,
                                      .errors = now.errors - m->before.errors,
                                      .out = is_out(m, now_us) };
        m->before = now;
    }
    for (uint32_t i; (i = find_outlier(&w->conf, samples, w->count)) != UINT32_MAX;) {
        eject(w, &w->members[i], METRIC_BY_RATIO, now_us);
        samples[i].out = true; /* or is spared: the others are compared without it */
    }
    mem_free(samples);
    for (uint32_t i = 0; i < w->count; i++)
        forgive(&w->members[i], now_us);
}

static void run(void *arg)
{
    struct watch *w = arg;
    uint64_t end_us = worker_now_us() + w->conf.interval_ms * 1000;
    w->fiber = fiber_self();
    for (uint32_t i = 0; i < w->count; i++)
        w->members[i].before = sample_now(&w->members[i]);
    while (!w->stopping) {
        const uint64_t left_us = end_us > worker_now_us() ? end_us - worker_now_us() : 0;
        if (fiber_sleep_us(left_us < LOOK_MS * 1000 ? left_us : LOOK_MS * 1000) != OK)
            break;
        if (worker_now_us() >= end_us) {
            interval_ends(w);
            end_us = worker_now_us() + w->conf.interval_ms * 1000;
        }
        look(w);
    }
    for (uint32_t i = 0; i < w->count; i++)
        metric_set(w->members[i].cells, METRIC_EJECTED, 0);
    watch_free(w);
}

static err outlier_start(const void *conf, struct bytes service, struct server_shared *const *servers,
                         const struct addr *addrs, uint32_t count, void **ret_state, struct diag *reterr)
{
    (void)addrs;
    (void)reterr;
    struct watch *w = watch_new(conf, service, count);
    err e = w ? OK : ERR_MEMORY;
    for (uint32_t i = 0; !e && i < count; i++) {
        struct metric_cells *unused;
        e = member_open(w, servers[i]);
        if (!e)
            e = server_metrics_open(w->service, servers[i]->text, &w->members[i].requests, &unused);
    }
    if (e) {
        if (w)
            watch_free(w);
        return e;
    }
    fiber_spawn(run, w);
    *ret_state = w;
    return OK;
}

static void outlier_stop(void *state)
{
    struct watch *w = state;
    w->stopping = true;
    if (w->fiber)
        fiber_cancel(w->fiber);
}

#define AT(member) offsetof(struct outlier_conf, member)

const struct service_module outlier_module = {
    .conf = { .name = TAG,
              .size = sizeof(struct outlier_conf),
              .phrases = (const char *const[]){ "{failures} failures",
                                                "{failures} failures or {errors} errors", NULL },
              .fields =
                  (const struct conf_field[]){
                      { .name = "failures",
                        .type = CONF_INT,
                        .offset = AT(failures),
                        .preset = "3",
                        .max = 10000,
                        .doc = "attempts in a row that got no answer (no connection, none in time, a broken "
                               "one); 0: "
                               "not looked at" },
                      { .name = "errors",
                        .type = CONF_INT,
                        .offset = AT(errors),
                        .preset = "5",
                        .max = 10000,
                        .doc = "answers in a row with a status of 500 or above; 0: not looked at" },
                      { .name = "error_ratio",
                        .type = CONF_PERCENT,
                        .offset = AT(error_ratio),
                        .preset = "20%",
                        .min = 0.001,
                        .max = 1,
                        .doc = "a share of errors and failures that lies so far above that of the other "
                               "servers, and "
                               "further than chance explains; 100%: not looked at" },
                      { .name = "interval",
                        .type = CONF_MS,
                        .offset = AT(interval_ms),
                        .preset = "10s",
                        .min = 100,
                        .max = 3600000,
                        .doc = "over which ratios are compared, and without an ejection in which one is "
                               "forgiven" },
                      { .name = "requests_min",
                        .type = CONF_INT,
                        .offset = AT(requests_min),
                        .preset = "50",
                        .min = 1,
                        .max = 1000000000,
                        .doc = "a server with fewer requests in an interval is not compared" },
                      { .name = "servers_min",
                        .type = CONF_INT,
                        .offset = AT(servers_min),
                        .preset = "3",
                        .min = 2,
                        .max = 1000000,
                        .doc = "so many have to be comparable" },
                      { .name = "rest",
                        .type = CONF_MS,
                        .offset = AT(rest_ms),
                        .preset = "10s",
                        .min = 1,
                        .max = 86400000,
                        .doc = "how long a server is out the first time; the second time twice that, and so "
                               "on" },
                      { .name = "rest_max",
                        .type = CONF_MS,
                        .offset = AT(rest_max_ms),
                        .preset = "5m",
                        .min = 1,
                        .max = 86400000,
                        .doc = "at most" },
                      { .name = "max_ejected",
                        .type = CONF_PERCENT,
                        .offset = AT(max_ejected),
                        .preset = "50%",
                        .max = 1,
                        .doc = "share of the servers that may be out at the same time, rounded down" },
                      { 0 } },
              .check = outlier_check,
              .doc =
                  "Takes a server out of the choice that does worse than it should, and lets it back after a "
                  "while." },
    .start = outlier_start,
    .stop = outlier_stop,
    .watch = outlier_watch,
    .result = outlier_result,
    .unwatch = outlier_unwatch,
};

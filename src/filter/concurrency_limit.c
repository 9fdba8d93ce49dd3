/* concurrency_limit: at most so many requests of a route at the same time, over all workers; 503 beyond. How
 * many is said, or found from how long answers take.
 *
 *      concurrency_limit: 200
 *      concurrency_limit: adaptive
 *
 *      handle: running + weight > limit ? answer 503 : chain_next         end of exchange: running - weight
 *
 * The adaptive limit follows gate/gradient.h. Envoy's gradient controller
 * (envoy.filters.http.adaptive_concurrency) measures the ideal time anew every minute by letting only a few
 * requests pass for a while; that finds it more exactly and refuses for it. Here the long run is followed
 * instead, down quickly and up slowly, so nothing is refused to measure.
 *
 * All workers and generations share one limit: a few words that are moved by atomics. */
#include <inttypes.h>
#include <stdatomic.h>

#include "base/mem.h"
#include "core/metrics.h"
#include "gate/filter.h"
#include "gate/gradient.h"
#include "gate/grpc.h"

#define ADAPTIVE CONF_INT_WORD(0)
static const char *const requests_words[] = { "adaptive", NULL };

struct concurrency_limit_conf {
    int64_t requests_max; /* or ADAPTIVE */
    uint64_t retry_after_ms;
    int64_t start, at_least, at_most;
    double tolerance; /* of the time in the long run, on top of it */
    uint64_t window_ms;
};

/* ---- the decision, pure ---- */

#define SAMPLES_MIN 10 /* a window goes on until it has so many */

static struct gradient gradient_next(const struct concurrency_limit_conf *c, struct gradient g,
                                     struct sample s)
{
    const struct gradient_bounds bounds = { (double)c->at_least, (double)c->at_most, c->tolerance };
    return gradient_step(&bounds, g, s);
}

/* ---- the limit that all share ---- */

#define LIMIT_ONE 1000 /* in thousandths */

/* Zeroed at first; no pointers. */
struct shared_limit {
    _Atomic int64_t running;
    _Atomic uint64_t limit; /* in thousandths; 0: as configured */
    _Atomic uint64_t long_us;
    _Atomic uint64_t window_until_us;
    _Atomic uint64_t sum_us, count;
    _Atomic int64_t running_max;
    _Atomic uint64_t holders;
};

static uint64_t limit_of(const struct shared_limit *s, const struct concurrency_limit_conf *c)
{
    if (c->requests_max != ADAPTIVE)
        return (uint64_t)c->requests_max;
    const uint64_t limit = atomic_load_explicit(&s->limit, memory_order_relaxed);
    return limit ? limit / LIMIT_ONE : (uint64_t)c->start;
}

/* A request heavier than the limit may run alone. */
static bool enter(struct shared_limit *s, const struct concurrency_limit_conf *c, uint32_t weight,
                  int64_t *ret_running)
{
    const int64_t limit = (int64_t)limit_of(s, c);
    const int64_t running = atomic_fetch_add_explicit(&s->running, weight, memory_order_relaxed);
    *ret_running = running + weight;
    if (running + weight <= limit || running == 0)
        return true;
    atomic_fetch_sub_explicit(&s->running, weight, memory_order_relaxed);
    return false;
}

/* Whoever finds the window over closes it. True: the limit may be another one now. */
static bool window_close(struct shared_limit *s, const struct concurrency_limit_conf *c, uint64_t now_us)
{
    uint64_t until = atomic_load_explicit(&s->window_until_us, memory_order_relaxed);
    if (now_us < until || atomic_load_explicit(&s->count, memory_order_relaxed) < SAMPLES_MIN)
        return false;
    if (!atomic_compare_exchange_strong(&s->window_until_us, &until, now_us + c->window_ms * 1000))
        return false;
    const uint64_t count = atomic_exchange(&s->count, 0);
    const uint64_t sum_us = atomic_exchange(&s->sum_us, 0);
    const int64_t running_max = atomic_exchange(&s->running_max, 0);
    if (count == 0)
        return false;
    const uint64_t limit = atomic_load(&s->limit);
    const struct gradient before = { limit ? (double)limit / LIMIT_ONE : (double)c->start,
                                     (double)atomic_load(&s->long_us) };
    const struct gradient after =
        gradient_next(c, before, (struct sample){ (double)sum_us / (double)count, (double)running_max });
    atomic_store(&s->limit, (uint64_t)(after.limit * LIMIT_ONE));
    atomic_store(&s->long_us, (uint64_t)(after.long_us + 0.5));
    return true;
}

static void sample_add(struct shared_limit *s, uint64_t took_us, int64_t running)
{
    atomic_fetch_add_explicit(&s->sum_us, took_us, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->count, 1, memory_order_relaxed);
    int64_t most = atomic_load_explicit(&s->running_max, memory_order_relaxed);
    while (running > most && !atomic_compare_exchange_weak_explicit(
                                 &s->running_max, &most, running, memory_order_relaxed, memory_order_relaxed))
        ;
}

/* ---- metrics ---- */

#define CONCURRENCY_LIMIT_METRICS(X)                                                     \
    X(REFUSED, "refused_total", METRIC_COUNTER, "Requests that found all places taken")  \
    X(RUNNING, "running", METRIC_GAUGE, "Requests that run, each counted by its weight") \
    X(LIMIT, "limit", METRIC_GAUGE, "How many may")

enum concurrency_limit_metric {
#define X(id, name, type, help) METRIC_##id,
    CONCURRENCY_LIMIT_METRICS(X)
#undef X
        METRIC_COUNT
};

static const struct metric_group metric_group = {
    .module = "concurrency_limit",
    .defs =
        (const struct metric_def[]){
#define X(id, name, type, help) { name, type, help },
            CONCURRENCY_LIMIT_METRICS(X)
#undef X
        },
    .count = METRIC_COUNT,
    .labels = (const char *const[]){ "route", NULL },
};

/* ---- the filter ---- */

struct concurrency_limit {
    const struct concurrency_limit_conf *conf;
    struct shared_limit *shared;
    struct metric_instance *metrics;
    struct metric_cells *cells;
};

/* The exchange is over, its body too: when handle returns only the response's head is there. */
static void running_end(struct exchange *x, void *arg)
{
    struct concurrency_limit *l = arg;
    atomic_fetch_sub_explicit(&l->shared->running, x->weight, memory_order_relaxed);
    metric_sub(l->cells, METRIC_RUNNING, x->weight);
}

/* Retry-After: RFC 9110 10.2.3. */
static err refuse(struct exchange *x, const struct concurrency_limit *l)
{
    metric_inc(l->cells, METRIC_REFUSED);
    exchange_answer(x, 503, BYTES_NONE, BYTES_NONE, BYTES("concurrency_limit"));
    const struct bytes seconds = arena_print(&x->arena, "%" PRIu64, (l->conf->retry_after_ms + 999) / 1000);
    if (!seconds.ptr)
        return ERR_LIMIT;
    return http_fields_set(&x->response.fields, &x->arena, BYTES("Retry-After"), seconds);
}

/* What failed at once says nothing of how long answers take; a timeout does. */
static bool is_sample(const struct exchange *x, err e)
{
    if (x->request_failed || x->answered_by.len)
        return false;
    return e ? e == ERR_TIMEOUT : exchange_outcome(x) < 500;
}

static void learn(struct concurrency_limit *l, const struct exchange *x, err e, uint64_t began_us,
                  int64_t running)
{
    const uint64_t now_us = worker_now_us();
    if (!is_sample(x, e))
        return;
    const uint64_t before = limit_of(l->shared, l->conf);
    sample_add(l->shared, now_us - began_us + 1, running);
    if (window_close(l->shared, l->conf, now_us))
        metric_add(l->cells, METRIC_LIMIT, limit_of(l->shared, l->conf) - before);
}

static err concurrency_limit_handle(struct exchange *x, void *state, struct chain *next)
{
    struct concurrency_limit *l = state;
    int64_t running;
    if (!enter(l->shared, l->conf, x->weight, &running))
        return refuse(x, l);
    metric_add(l->cells, METRIC_RUNNING, x->weight);
    err e = exchange_on_end(x, running_end, l);
    if (e) {
        running_end(x, l);
        return e;
    }
    const uint64_t began_us = worker_now_us();
    e = chain_next(next, x);
    if (l->conf->requests_max == ADAPTIVE)
        learn(l, x, e, began_us, running);
    return e;
}

/* The gauge is what all workers' cells add up to: the first who holds the limit enters it, the last takes it
 * out. */
static void concurrency_limit_close(void *state)
{
    struct concurrency_limit *l = state;
    if (l->cells && atomic_fetch_sub(&l->shared->holders, 1) == 1)
        metric_sub(l->cells, METRIC_LIMIT, limit_of(l->shared, l->conf));
    metric_instance_free(l->metrics);
    if (l->shared)
        shared_put(l->shared);
    mem_free(l);
}

/* The same limit of the same route goes on after a reload; another one begins anew. */
static struct shared_limit *shared_limit_get(const struct concurrency_limit_conf *c, struct bytes scope)
{
    struct arena a;
    arena_open(&a, &arena_heap, 1 << 20, NULL, 0);
    const struct bytes name = arena_print(
        &a, "concurrency_limit/1 %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 " %d %" PRIu64 " %.*s",
        c->requests_max, c->start, c->at_least, c->at_most, (int)(c->tolerance * 1000), c->window_ms,
        BYTES_ARG(scope));
    struct shared_limit *s = name.ptr ? shared_get(name, sizeof *s) : NULL;
    arena_close(&a);
    return s;
}

static err concurrency_limit_open(const void *conf, struct gate *g, struct bytes scope, void **ret_state,
                                  struct diag *reterr)
{
    (void)g;
    (void)reterr;
    struct concurrency_limit *l = mem_get(sizeof *l);
    if (!l)
        return ERR_MEMORY;
    l->conf = conf;
    l->shared = shared_limit_get(l->conf, scope);
    err e = l->shared ? metric_instance_open(&metric_group, &scope, &l->metrics) : ERR_MEMORY;
    if (e) {
        concurrency_limit_close(l);
        return e;
    }
    l->cells = metric_cells(l->metrics, worker_index(worker_self()));
    if (atomic_fetch_add(&l->shared->holders, 1) == 0)
        metric_add(l->cells, METRIC_LIMIT, limit_of(l->shared, l->conf));
    *ret_state = l;
    return OK;
}

static void concurrency_limit_report(void *state, struct text *json)
{
    const struct concurrency_limit *l = state;
    json_bool(json, "adaptive", l->conf->requests_max == ADAPTIVE);
    json_u64(json, "limit", limit_of(l->shared, l->conf));
    json_i64(json, "running", atomic_load(&l->shared->running));
    json_u64(json, "long_us", atomic_load(&l->shared->long_us));
    json_u64(json, "refused", metric_value(l->metrics, METRIC_REFUSED));
}

static err concurrency_limit_check(void *conf, struct diag *reterr)
{
    const struct concurrency_limit_conf *c = conf;
    if (c->at_least <= c->start && c->start <= c->at_most)
        return OK;
    diag_set(reterr, "start has to be between at_least and at_most");
    return ERR_CONF;
}

const struct filter concurrency_limit_filter = {
    .conf = { .name = "concurrency_limit",
              .size = sizeof(struct concurrency_limit_conf),
              .phrases = (const char *const[]){ "{requests_max}", "{requests_max} up to {at_most}", NULL },
              .fields =
                  (const struct conf_field[]){
                      { .name = "requests_max",
                        .type = CONF_INT,
                        .offset = offsetof(struct concurrency_limit_conf, requests_max),
                        .required = true,
                        .min = 1,
                        .max = 1000000,
                        .words = requests_words,
                        .doc = "requests of this route that may run at the same time, over all workers; "
                               "`adaptive`: "
                               "found from how long answers take" },
                      { .name = "retry_after",
                        .type = CONF_MS,
                        .offset = offsetof(struct concurrency_limit_conf, retry_after_ms),
                        .preset = "1s",
                        .min = 1000,
                        .max = 3600000,
                        .doc = "what a refused client is told to wait (Retry-After)" },
                      { .name = "start",
                        .type = CONF_INT,
                        .offset = offsetof(struct concurrency_limit_conf, start),
                        .preset = "20",
                        .min = 1,
                        .max = 1000000,
                        .doc = "of an adaptive limit: where it begins" },
                      { .name = "at_least",
                        .type = CONF_INT,
                        .offset = offsetof(struct concurrency_limit_conf, at_least),
                        .preset = "5",
                        .min = 1,
                        .max = 1000000,
                        .doc = "it never is lower" },
                      { .name = "at_most",
                        .type = CONF_INT,
                        .offset = offsetof(struct concurrency_limit_conf, at_most),
                        .preset = "1000",
                        .min = 1,
                        .max = 1000000,
                        .doc = "it never is higher" },
                      { .name = "tolerance",
                        .type = CONF_PERCENT,
                        .offset = offsetof(struct concurrency_limit_conf, tolerance),
                        .preset = "50%",
                        .min = 0.01,
                        .max = 1,
                        .doc = "how much longer than in the long run answers may take before it shrinks" },
                      { .name = "window",
                        .type = CONF_MS,
                        .offset = offsetof(struct concurrency_limit_conf, window_ms),
                        .preset = "100ms",
                        .min = 1,
                        .max = 60000,
                        .doc = "how often it is found anew, from at least ten answers" },
                      { 0 } },
              .check = concurrency_limit_check,
              .doc = "Bounds how many requests of a route run at the same time." },
    .open = concurrency_limit_open,
    .handle = concurrency_limit_handle,
    .close = concurrency_limit_close,
    .report = concurrency_limit_report,
};

/* overload: while weir itself has more to do than it can, some of the requests get 503 at once, those of low
 * priority first.
 *
 *      overload: on
 *
 *      CPU of the process ──▶ 0 at cpu_from ... 1 at cpu_full ─┐
 *                                                              ├─ the higher ─▶ pressure ─▶ share shed, by
 * priority age of the loop's turn ▶ 0 at lag_from ... 1 at lag_full┘
 *
 *      pressure    0       1/3      2/3       1
 *      low         0% ───▶ 100%     100%      100%
 *      normal      0%      0% ────▶ 100%      100%
 *      high        0%      0%       0% ─────▶ 100%
 *
 * Pressure rises at once and falls within `recovery`, so that what is shed does not flap. Nothing is measured
 * unless requests come: the first of them in each tenth of a second looks at the clocks. */
#include <inttypes.h>
#include <stdatomic.h>
#include <time.h>

#include "base/hash.h"
#include "base/mem.h"
#include "core/metrics.h"
#include "gate/filter.h"
#include "gate/priority.h"

static const char *const spare_words[] = { "nobody", "high", "normal", NULL };

struct overload_conf {
    double cpu_from, cpu_full;
    uint64_t lag_from_ms, lag_full_ms;
    uint64_t recovery_ms;
    int spare; /* index into spare_words */
    uint64_t retry_after_ms;
};

/* ---- the decision, pure ---- */

#define ONE 1000000u /* pressure and shares are in millionths */
#define SAMPLE_US 100000u
#define LAG_SHARE 8 /* an eighth of each new age goes into the mean */

static uint32_t between(double value, double from, double full)
{
    if (value <= from)
        return 0;
    return value >= full ? ONE : (uint32_t)((value - from) / (full - from) * ONE);
}

static uint32_t pressure_of(const struct overload_conf *c, double cpu, uint64_t lag_us)
{
    const uint32_t by_cpu = between(cpu, c->cpu_from, c->cpu_full);
    const uint32_t by_lag =
        between((double)lag_us, (double)c->lag_from_ms * 1000, (double)c->lag_full_ms * 1000);
    return by_cpu > by_lag ? by_cpu : by_lag;
}

/* Up at once, down by as much as the time allows. */
static uint32_t pressure_next(const struct overload_conf *c, uint32_t before, uint32_t now,
                              uint64_t passed_us)
{
    const uint64_t fall = c->recovery_ms ? passed_us * (ONE / 1000) / c->recovery_ms : ONE;
    const uint32_t least = before > fall ? before - (uint32_t)fall : 0;
    return now > least ? now : least;
}

static uint32_t share_shed(uint32_t pressure, enum priority p)
{
    const int64_t share = (int64_t)pressure * 3 - (int64_t)ONE * p;
    return share <= 0 ? 0 : share >= ONE ? ONE : (uint32_t)share;
}

/* chance: any number, evenly drawn */
static bool shed(const struct overload_conf *c, uint32_t pressure, enum priority p, uint32_t chance)
{
    if (c->spare && (int)p > PRIORITY_HIGH - c->spare)
        return false;
    return (uint64_t)chance * ONE >> 32 < share_shed(pressure, p);
}

/* ---- what all workers share ---- */

/* Zeroed at first; no pointers. Of the process, so one for all routes with the same settings. */
struct shared_pressure {
    _Atomic uint64_t next_us; /* of the clock: when to look again */
    _Atomic uint64_t cpu_us;  /* of the process, at the last look */
    _Atomic uint64_t at_us;
    _Atomic uint32_t pressure;
    _Atomic uint32_t cpu;        /* in millionths of all workers' cores */
    _Atomic uint64_t lag_us_max; /* of all workers, since the last look */
    _Atomic uint64_t lag_us;     /* at the last look */
};

static uint64_t clock_us(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void look(struct shared_pressure *s, const struct overload_conf *c, unsigned workers, uint64_t now_us)
{
    uint64_t next = atomic_load_explicit(&s->next_us, memory_order_relaxed);
    if (now_us < next || !atomic_compare_exchange_strong(&s->next_us, &next, now_us + SAMPLE_US))
        return;
    const uint64_t cpu_us = clock_us(CLOCK_PROCESS_CPUTIME_ID);
    const uint64_t cpu_before = atomic_exchange(&s->cpu_us, cpu_us);
    const uint64_t before_us = atomic_exchange(&s->at_us, now_us);
    const uint64_t lag_us = atomic_exchange(&s->lag_us_max, 0);
    if (next == 0 || before_us >= now_us || cpu_before > cpu_us)
        return; /* the first look, or the first of this process */
    const uint64_t passed_us = now_us - before_us;
    const double cpu = (double)(cpu_us - cpu_before) / ((double)passed_us * workers);
    const uint32_t pressure =
        pressure_next(c, atomic_load(&s->pressure), pressure_of(c, cpu, lag_us), passed_us);
    atomic_store(&s->cpu, (uint32_t)(cpu * ONE));
    atomic_store(&s->lag_us, lag_us);
    atomic_store(&s->pressure, pressure);
}

/* ---- metrics ---- */

#define OVERLOAD_METRICS(X)                                                                         \
    X(SHED_LOW, "shed_low_total", METRIC_COUNTER, "Requests of low priority that got 503")          \
    X(SHED_NORMAL, "shed_normal_total", METRIC_COUNTER, "Requests of normal priority that got 503") \
    X(SHED_HIGH, "shed_high_total", METRIC_COUNTER, "Requests of high priority that got 503")

enum overload_metric {
#define X(id, name, type, help) METRIC_##id,
    OVERLOAD_METRICS(X)
#undef X
        METRIC_COUNT
};

static const struct metric_group metric_group = {
    .module = "overload",
    .defs =
        (const struct metric_def[]){
#define X(id, name, type, help) { name, type, help },
            OVERLOAD_METRICS(X)
#undef X
        },
    .count = METRIC_COUNT,
    .labels = (const char *const[]){ "route", NULL },
};

/* ---- the filter ---- */

struct overload {
    const struct overload_conf *conf;
    struct shared_pressure *shared;
    unsigned workers;
    uint64_t lag_us; /* this worker's mean */
    struct metric_instance *metrics;
    struct metric_cells *cells;
};

/* How long this turn of the loop has lasted already: so long the request has waited for its turn, at least.
 */
static uint64_t turn_age_us(struct overload *o, uint64_t now_us)
{
    const uint64_t began_us = worker_now_us();
    const uint64_t age_us = now_us > began_us ? now_us - began_us : 0;
    o->lag_us += ((age_us << 8) >> 3) - o->lag_us / LAG_SHARE; /* in 256ths of a microsecond */
    return o->lag_us >> 8;
}

static void note_lag(struct shared_pressure *s, uint64_t lag_us)
{
    uint64_t most = atomic_load_explicit(&s->lag_us_max, memory_order_relaxed);
    while (lag_us > most && !atomic_compare_exchange_weak_explicit(
                                &s->lag_us_max, &most, lag_us, memory_order_relaxed, memory_order_relaxed))
        ;
}

/* Retry-After: RFC 9110 10.2.3. */
static err refuse(struct exchange *x, const struct overload *o)
{
    metric_inc(o->cells, METRIC_SHED_LOW + x->priority);
    exchange_answer(x, 503, BYTES_NONE, BYTES_NONE, BYTES("overload"));
    const struct bytes seconds = arena_print(&x->arena, "%" PRIu64, (o->conf->retry_after_ms + 999) / 1000);
    if (!seconds.ptr)
        return ERR_LIMIT;
    return http_fields_set(&x->response.fields, &x->arena, BYTES("Retry-After"), seconds);
}

static err overload_handle(struct exchange *x, void *state, struct chain *next)
{
    struct overload *o = state;
    const uint64_t now_us = clock_us(CLOCK_MONOTONIC);
    note_lag(o->shared, turn_age_us(o, now_us));
    look(o->shared, o->conf, o->workers, now_us);
    const uint32_t pressure = atomic_load_explicit(&o->shared->pressure, memory_order_relaxed);
    if (pressure && shed(o->conf, pressure, (enum priority)x->priority, (uint32_t)random_u64()))
        return refuse(x, o);
    return chain_next(next, x);
}

static void overload_close(void *state)
{
    struct overload *o = state;
    metric_instance_free(o->metrics);
    if (o->shared)
        shared_put(o->shared);
    mem_free(o);
}

static struct shared_pressure *shared_pressure_get(const struct overload_conf *c)
{
    struct arena a;
    arena_open(&a, &arena_heap, 1 << 16, NULL, 0);
    const struct bytes name =
        arena_print(&a, "overload/1 %g %g %" PRIu64 " %" PRIu64 " %" PRIu64, c->cpu_from, c->cpu_full,
                    c->lag_from_ms, c->lag_full_ms, c->recovery_ms);
    struct shared_pressure *s = name.ptr ? shared_get(name, sizeof *s) : NULL;
    arena_close(&a);
    return s;
}

static err overload_open(const void *conf, struct gate *g, struct bytes scope, void **ret_state,
                         struct diag *reterr)
{
    (void)reterr;
    struct overload *o = mem_get(sizeof *o);
    if (!o)
        return ERR_MEMORY;
    o->conf = conf;
    o->workers = gate_workers(g);
    o->shared = shared_pressure_get(o->conf);
    err e = o->shared ? metric_instance_open(&metric_group, &scope, &o->metrics) : ERR_MEMORY;
    if (e) {
        overload_close(o);
        return e;
    }
    o->cells = metric_cells(o->metrics, worker_index(worker_self()));
    *ret_state = o;
    return OK;
}

static void overload_report(void *state, struct text *json)
{
    const struct overload *o = state;
    json_number(json, "pressure", atomic_load(&o->shared->pressure) / (double)ONE);
    json_number(json, "cpu", atomic_load(&o->shared->cpu) / (double)ONE);
    json_u64(json, "lag_us", atomic_load(&o->shared->lag_us));
    json_u64(json, "shed_low", metric_value(o->metrics, METRIC_SHED_LOW));
    json_u64(json, "shed_normal", metric_value(o->metrics, METRIC_SHED_NORMAL));
    json_u64(json, "shed_high", metric_value(o->metrics, METRIC_SHED_HIGH));
}

static err overload_check(void *conf, struct diag *reterr)
{
    const struct overload_conf *c = conf;
    if (c->cpu_from < c->cpu_full && c->lag_from_ms < c->lag_full_ms)
        return OK;
    diag_set(reterr, "cpu_full has to be above cpu_from, and lag_full above lag_from");
    return ERR_CONF;
}

const struct filter overload_filter = {
    .conf = { .name = "overload",
              .size = sizeof(struct overload_conf),
              .fields =
                  (const struct conf_field[]){
                      { .name = "cpu_from",
                        .type = CONF_PERCENT,
                        .offset = offsetof(struct overload_conf, cpu_from),
                        .preset = "85%",
                        .max = 1,
                        .doc = "CPU use of the process, of one core a worker, at which shedding begins" },
                      { .name = "cpu_full",
                        .type = CONF_PERCENT,
                        .offset = offsetof(struct overload_conf, cpu_full),
                        .preset = "98%",
                        .max = 1,
                        .doc = "at which everything is shed" },
                      { .name = "lag_from",
                        .type = CONF_MS,
                        .offset = offsetof(struct overload_conf, lag_from_ms),
                        .preset = "20ms",
                        .max = 3600000,
                        .doc = "how long requests wait in a worker before they are looked at, in the mean, "
                               "at which "
                               "shedding begins" },
                      { .name = "lag_full",
                        .type = CONF_MS,
                        .offset = offsetof(struct overload_conf, lag_full_ms),
                        .preset = "200ms",
                        .max = 3600000,
                        .doc = "at which everything is shed" },
                      { .name = "recovery",
                        .type = CONF_MS,
                        .offset = offsetof(struct overload_conf, recovery_ms),
                        .preset = "5s",
                        .max = 3600000,
                        .doc = "in which time full pressure falls to none" },
                      { .name = "spare",
                        .type = CONF_WORD,
                        .offset = offsetof(struct overload_conf, spare),
                        .preset = "nobody",
                        .words = spare_words,
                        .doc = "who is never shed: `nobody`, `high` priority, or `normal` and high" },
                      { .name = "retry_after",
                        .type = CONF_MS,
                        .offset = offsetof(struct overload_conf, retry_after_ms),
                        .preset = "1s",
                        .min = 1000,
                        .max = 3600000,
                        .doc = "what a refused client is told to wait (Retry-After)" },
                      { 0 } },
              .check = overload_check,
              .doc = "Sheds requests, those of low priority first, while weir itself has more to do than it "
                     "can." },
    .open = overload_open,
    .handle = overload_handle,
    .close = overload_close,
    .report = overload_report,
};

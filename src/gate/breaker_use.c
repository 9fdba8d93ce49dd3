#include "gate/breaker_use.h"

#include <inttypes.h>

#include "base/hash.h"
#include "base/mem.h"
#include "core/log.h"
#include "core/metrics.h"
#include "gate/filter.h"
#include "gate/grpc.h"

const struct conf_struct breaker_slow_struct = {
    .name = "slow",
    .size = sizeof(struct breaker_slow_conf),
    .phrases = (const char *const[]){ "{ratio} over {over}", NULL },
    .fields =
        (const struct conf_field[]){
            { .name = "over",
              .type = CONF_MS,
              .offset = offsetof(struct breaker_slow_conf, over_ms),
              .required = true,
              .min = 1,
              .max = 3600000,
              .doc = "an answer whose head takes longer than this is slow" },
            { .name = "ratio",
              .type = CONF_PERCENT,
              .offset = offsetof(struct breaker_slow_conf, ratio),
              .preset = "50%",
              .min = 0.0001,
              .max = 1,
              .doc = "the share of slow answers in the window that opens the breaker" },
            { 0 } },
    .doc = "Slow answers open a breaker too: `50% over 500ms`.",
};

/* ---- metrics ---- */

#define BREAKER_METRICS(X)                                                                              \
    X(OPENED, "opened_total", METRIC_COUNTER, "Times it opened, again after a failed probe included")   \
    X(CLOSED, "closed_total", METRIC_COUNTER, "Times it closed")                                        \
    X(REFUSED, "refused_total", METRIC_COUNTER, "Requests that were refused because it was not closed") \
    X(PROBES, "probes_total", METRIC_COUNTER, "Requests let through while half-open")                   \
    X(ERRORS, "errors_total", METRIC_COUNTER, "Requests let through whose answer was an error")         \
    X(SLOW, "slow_total", METRIC_COUNTER, "Requests let through whose answer was slow")                 \
    X(OPEN, "open", METRIC_GAUGE, "1 while it is open")                                                 \
    X(HALF_OPEN, "half_open", METRIC_GAUGE, "1 while it is half-open")                                  \
    X(RAMP, "ramp", METRIC_GAUGE, "1 while the share that passes grows")

enum breaker_metric {
#define X(id, name, type, help) METRIC_##id,
    BREAKER_METRICS(X)
#undef X
        METRIC_COUNT
};

static const struct metric_group metric_group = {
    .module = "circuit_breaker",
    .defs =
        (const struct metric_def[]){
#define X(id, name, type, help) { name, type, help },
            BREAKER_METRICS(X)
#undef X
        },
    .count = METRIC_COUNT,
    .labels = (const char *const[]){ "route", "service", "server", NULL },
};

/* ---- opening ---- */

static struct breaker_limits limits_of(const struct breaker_conf *c, bool of_server)
{
    return (struct breaker_limits){
        .errors_share = (uint64_t)(c->errors * BREAKER_SHARE_ONE + 0.5),
        .slow_share = c->slow ? (uint64_t)(c->slow->ratio * BREAKER_SHARE_ONE + 0.5) : 0,
        .slow_ms = c->slow ? c->slow->over_ms : 0,
        .requests_min = (uint64_t)c->requests_min,
        .slice_ms = (c->window_ms + BREAKER_SLICES - 1) / BREAKER_SLICES,
        .open_ms = c->open_ms,
        .ramp_ms = c->ramp_ms,
        .probes = of_server ? 0 : (uint32_t)c->probes,
    };
}

static struct bytes scope_print(struct arena *a, const struct breaker_scope *s)
{
    if (s->route.len)
        return arena_print(a, "route=%.*s", BYTES_ARG(s->route));
    if (s->server.len)
        return arena_print(a, "service=%.*s server=%.*s", BYTES_ARG(s->service), BYTES_ARG(s->server));
    return arena_print(a, "service=%.*s", BYTES_ARG(s->service));
}

/* The same breaker of the same thing finds its state again after a reload; another one begins anew. */
static err open_memory(struct breaker_use *u, const struct breaker_scope *scope)
{
    const struct breaker_limits *l = &u->limits;
    struct arena a;
    arena_open(&a, &arena_heap, 1 << 20, NULL, 0);
    const struct bytes text = scope_print(&a, scope);
    const struct bytes name =
        arena_print(&a,
                    "circuit_breaker/2 %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64
                    " %" PRIu64 " %" PRIu32 " %u %.*s",
                    l->errors_share, l->slow_share, l->slow_ms, l->slice_ms, l->requests_min, l->open_ms,
                    l->ramp_ms, l->probes, u->workers, BYTES_ARG(text));
    char *copy = text.ptr && name.ptr ? mem_get(text.len + 1) : NULL;
    if (copy) {
        memcpy(copy, text.ptr, text.len);
        u->text = (struct bytes){ copy, text.len };
        u->breaker = shared_get(name, breaker_bytes(u->workers));
    }
    arena_close(&a);
    if (!u->breaker)
        return ERR_MEMORY;
    atomic_fetch_add(&u->breaker->holders, 1);
    return OK;
}

err breaker_use_open(struct breaker_use *u, const struct breaker_conf *conf,
                     const struct breaker_scope *scope, struct gate *g)
{
    *u = (struct breaker_use){ .limits = limits_of(conf, scope->server.len != 0),
                               .worker = worker_index(worker_self()),
                               .workers = gate_workers(g) + 1 }; /* and the control worker, behind them */
    err e = open_memory(u, scope);
    if (!e)
        e = metric_instance_open(&metric_group,
                                 (const struct bytes[]){ scope->route, scope->service, scope->server },
                                 &u->metrics);
    if (e) {
        breaker_use_close(u);
        *u = (struct breaker_use){ 0 };
        return e;
    }
    u->cells = metric_cells(u->metrics, u->worker);
    return OK;
}

/* Every move is made once, by one worker, which adds what it takes away from another's cell: the gauges' sums
 * over the workers are what is. */
static void gauges_move(const struct breaker_use *u, enum breaker_state from, enum breaker_state to)
{
    static const int metric_of[] = { [BREAKER_CLOSED] = -1,
                                     [BREAKER_OPEN] = METRIC_OPEN,
                                     [BREAKER_HALF_OPEN] = METRIC_HALF_OPEN,
                                     [BREAKER_RAMP] = METRIC_RAMP };
    if (metric_of[from] >= 0)
        metric_sub(u->cells, (unsigned)metric_of[from], 1);
    if (metric_of[to] >= 0)
        metric_add(u->cells, (unsigned)metric_of[to], 1);
}

/* The metrics may live on (a reload with other settings opens the same ones): who holds the breaker last
 * takes its state out of the gauges. Somebody who opens it at this very moment finds it closed. */
void breaker_use_close(struct breaker_use *u)
{
    if (u->breaker && atomic_fetch_sub(&u->breaker->holders, 1) == 1 && u->cells)
        gauges_move(u, breaker_reset(u->breaker).state, BREAKER_CLOSED);
    metric_instance_free(u->metrics);
    if (u->breaker)
        shared_put(u->breaker);
    mem_free((void *)(uintptr_t)u->text.ptr);
}

/* ---- asking and answering ---- */

/* Traffic causes these lines. */
static struct log_limit log_limit = LOG_LIMIT(10);

static void log_move(const struct breaker_use *u, const struct breaker_step *s)
{
    static const char *const words[] = { [BREAKER_CLOSED] = "closed",
                                         [BREAKER_HALF_OPEN] = "half-open",
                                         [BREAKER_RAMP] = "lets a growing share pass" };
    const enum breaker_state from = s->before.state, to = s->after.state;
    if (to == BREAKER_OPEN && from == BREAKER_HALF_OPEN)
        log_limited(&log_limit, LOG_WARN, "circuit_breaker", "opened again, a probe failed %.*s",
                    BYTES_ARG(u->text));
    else if (to == BREAKER_OPEN)
        log_limited(&log_limit, LOG_WARN, "circuit_breaker",
                    "opened%s %.*s errors=%" PRIu64 " slow=%" PRIu64 " requests=%" PRIu64,
                    from == BREAKER_RAMP ? " again" : "", BYTES_ARG(u->text), s->totals.errors,
                    s->totals.slow, s->totals.requests);
    else
        log_limited(&log_limit, LOG_INFO, "circuit_breaker", "%s %.*s", words[to], BYTES_ARG(u->text));
}

static void moved(const struct breaker_use *u, const struct breaker_step *s)
{
    if (s->before.turn == s->after.turn)
        return;
    gauges_move(u, s->before.state, s->after.state);
    if (s->after.state == BREAKER_OPEN)
        metric_inc(u->cells, METRIC_OPENED);
    if (s->after.state == BREAKER_CLOSED)
        metric_inc(u->cells, METRIC_CLOSED);
    log_move(u, s);
}

enum breaker_passage breaker_use_ask(struct breaker_use *u, uint32_t *ret_turn)
{
    const struct breaker_phase now = breaker_phase(u->breaker);
    *ret_turn = now.turn;
    if (now.state == BREAKER_CLOSED) /* by far the usual: no chance is drawn */
        return BREAKER_PASSES;
    const struct breaker_step s =
        breaker_ask(u->breaker, &u->limits, (uint32_t)random_u64(), worker_now_us() / 1000);
    moved(u, &s);
    if (s.passage == BREAKER_PROBES)
        metric_inc(u->cells, METRIC_PROBES);
    *ret_turn = s.after.turn;
    return s.passage;
}

/* 501 and 505 say what the request asked for (RFC 9110 15.6.2, 15.6.6): a client could open the breaker for
 * all others with a method that no server knows. */
bool breaker_is_error(unsigned status)
{
    return status >= 500 && status <= 599 && status != 501 && status != 505;
}

enum breaker_verdict breaker_use_timed(const struct breaker_use *u, uint64_t began_us)
{
    const bool slow = u->limits.slow_share && worker_now_us() - began_us > u->limits.slow_ms * 1000;
    return slow ? BREAKER_SLOW : BREAKER_SUCCESS;
}

/* What the answer's head says about the servers. An err makes the gate answer 502, 503 or 504. */
static enum breaker_verdict verdict_of(const struct breaker_use *u, const struct exchange *x, err e,
                                       uint64_t began_us)
{
    if (x->request_failed || e == ERR_CANCELLED)
        return BREAKER_NOTHING; /* the client's fault */
    if (e)
        return BREAKER_FAILURE;
    if (x->answered_by.len)
        return BREAKER_NOTHING; /* another filter; no server was asked */
    return breaker_is_error(exchange_outcome(x)) ? BREAKER_FAILURE : breaker_use_timed(u, began_us);
}

static void count_verdict(struct breaker_use *u, enum breaker_verdict v)
{
    if (v == BREAKER_FAILURE)
        metric_inc(u->cells, METRIC_ERRORS);
    if (v == BREAKER_SLOW)
        metric_inc(u->cells, METRIC_SLOW);
}

void breaker_use_answer(struct breaker_use *u, uint32_t turn, const struct exchange *x, err e,
                        uint64_t began_us)
{
    const enum breaker_verdict v = verdict_of(u, x, e, began_us);
    count_verdict(u, v);
    const struct breaker_step s =
        breaker_answer(u->breaker, &u->limits, u->workers, u->worker, turn, v, worker_now_us() / 1000);
    moved(u, &s);
}

void breaker_use_tell(struct breaker_use *u, enum breaker_verdict verdict, uint64_t began_us,
                      uint64_t *ret_opened_until_us)
{
    count_verdict(u, verdict);
    const struct breaker_step s = breaker_answer_since(u->breaker, &u->limits, u->workers, u->worker,
                                                       began_us / 1000, verdict, worker_now_us() / 1000);
    moved(u, &s);
    const bool opened = s.before.turn != s.after.turn && s.after.state == BREAKER_OPEN;
    *ret_opened_until_us = opened ? s.after.until_ms * 1000 : 0;
}

/* Retry-After: RFC 9110 10.2.3; while half-open it may be over at any moment. */
err breaker_use_refuse(struct breaker_use *u, struct exchange *x)
{
    const struct breaker_phase p = breaker_phase(u->breaker);
    const uint64_t now_ms = worker_now_us() / 1000;
    const uint64_t left_ms = p.state == BREAKER_OPEN && p.until_ms > now_ms ? p.until_ms - now_ms : 1;
    metric_inc(u->cells, METRIC_REFUSED);
    exchange_answer(x, 503, BYTES_NONE, BYTES_NONE, BYTES("circuit_breaker"));
    const struct bytes seconds = arena_print(&x->arena, "%" PRIu64, (left_ms + 999) / 1000);
    if (!seconds.ptr)
        return ERR_LIMIT;
    return http_fields_set(&x->response.fields, &x->arena, BYTES("Retry-After"), seconds);
}

/* ---- for operators ---- */

void breaker_use_report(const struct breaker_use *u, struct text *json)
{
    static const char *const words[] = { [BREAKER_CLOSED] = "closed",
                                         [BREAKER_OPEN] = "open",
                                         [BREAKER_HALF_OPEN] = "half_open",
                                         [BREAKER_RAMP] = "ramp" };
    const uint64_t now_ms = worker_now_us() / 1000;
    const struct breaker_phase p = breaker_phase(u->breaker);
    const struct breaker_totals t = breaker_totals(u->breaker, &u->limits, u->workers, now_ms);
    json_text(json, "state", bytes_from(words[p.state]));
    if (p.until_ms > now_ms)
        json_u64(json, "left_ms", p.until_ms - now_ms);
    json_u64(json, "window_requests", t.requests);
    json_u64(json, "window_errors", t.errors);
    json_u64(json, "window_slow", t.slow);
    json_u64(json, "opened", metric_value(u->metrics, METRIC_OPENED));
    json_u64(json, "closed", metric_value(u->metrics, METRIC_CLOSED));
    json_u64(json, "refused", metric_value(u->metrics, METRIC_REFUSED));
}

/* circuit_breaker: when too many answers of a route are errors, its requests get 503 at once for a while
 * instead of being sent to servers that cannot answer them.
 *
 *      circuit_breaker: 5% over 10s
 *
 *      ┌────────┐  share of errors reached   ┌──────────────┐   time is up    ┌───────────────────┐
 *      │ CLOSED │ ─────────────────────────▶ │ OPEN         │ ──────────────▶ │ HALF_OPEN         │
 *      │ passes │                            │ refuses all  │ ◀────────────── │ lets probes pass, │
 *      └────────┘                            └──────────────┘ a probe failed  │ refuses the rest  │
 *          ▲                                                                  └────────┬──────────┘
 *          └──────────────────────── all probes went well ─────────────────────────────┘
 *
 * (M. Nygard, "Release It!", 2007, "Circuit Breaker".) One breaker serves a route on all workers and outlives
 * reloads. What it is doing is one word that is only moved by compare-and-swap, so that each move is made by
 * one worker, once. Answers are counted by each worker for itself and added up only when one is an error. */
#include <inttypes.h>
#include <stdatomic.h>

#include "base/mem.h"
#include "base/must.h"
#include "core/log.h"
#include "core/metrics.h"
#include "gate/filter.h"

struct circuit_breaker_conf {
    double errors;
    uint64_t window_ms;
    int64_t requests_min;
    uint64_t open_ms;
    int64_t probes;
};

/* ---- the decision, pure ---- */

#define SHARE_ONE 1000000u /* shares are in millionths: whole numbers compare exactly */
#define PROBES_MAX 1000

struct limits {
    uint64_t errors_share;
    uint64_t requests_min;
    uint64_t slice_ms;
    uint64_t open_ms;
    uint32_t probes;
};

enum state { CLOSED, OPEN, HALF_OPEN };

/* Each change of state begins a new turn. An answer speaks only of the turn in which its request was let
 * through: what comes late says nothing about the servers as they are now. */
struct phase {
    enum state state;
    uint32_t turn;
    uint64_t until_ms;        /* of OPEN: when probes may go */
    uint32_t sent, succeeded; /* of HALF_OPEN: probes that are out or went well, and those that went well */
};

enum passage { REFUSED, PASSES, PROBES };
enum verdict { NOTHING, SUCCESS, FAILURE };

struct totals {
    uint64_t requests, errors;
};

static const bool moves[3][3] = {
    [CLOSED] = { [OPEN] = true },
    [OPEN] = { [HALF_OPEN] = true },
    [HALF_OPEN] = { [CLOSED] = true, [OPEN] = true },
};

#define TURN_BITS 22
#define UNTIL_BITS 40 /* of milliseconds: 34 years after the machine was started */
#define PROBE_BITS 20

static uint64_t low_bits(uint64_t value, unsigned bits)
{
    return value & ((UINT64_C(1) << bits) - 1);
}

static void phase_check(const struct phase *p, const struct limits *l)
{
    must(p->state == OPEN || p->until_ms == 0);
    must(p->state == HALF_OPEN || p->sent == 0);
    must(p->succeeded <= p->sent && p->sent <= l->probes);
    must(p->succeeded < l->probes);
}

static struct phase phase_move(const struct phase *p, enum state to)
{
    must(moves[p->state][to]);
    return (struct phase){ .state = to, .turn = (uint32_t)low_bits(p->turn + 1, TURN_BITS) };
}

static struct phase phase_open(const struct phase *p, const struct limits *l, uint64_t now_ms)
{
    struct phase open = phase_move(p, OPEN);
    open.until_ms = low_bits(now_ms + l->open_ms, UNTIL_BITS);
    return open;
}

/* A request asks to be let through. */
static struct phase phase_ask(const struct phase *p, const struct limits *l, uint64_t now_ms,
                              enum passage *ret_passage)
{
    struct phase next = *p;
    *ret_passage = p->state == CLOSED ? PASSES : REFUSED;
    if (p->state == OPEN && now_ms >= p->until_ms)
        next = phase_move(p, HALF_OPEN);
    if (next.state == HALF_OPEN && next.sent < l->probes) {
        next.sent++;
        *ret_passage = PROBES;
    }
    return next;
}

static bool too_many_errors(const struct totals *t, const struct limits *l)
{
    return t->requests >= l->requests_min && t->errors * SHARE_ONE >= l->errors_share * t->requests;
}

/* A request that was let through in that turn was answered. t: what the window holds, this answer included;
 * asked for only after a FAILURE in CLOSED: a success never opens the breaker. */
static struct phase phase_answer(const struct phase *p, const struct limits *l, uint32_t turn,
                                 enum verdict verdict, const struct totals *t, uint64_t now_ms)
{
    struct phase next = *p;
    if (p->turn != turn)
        return next;
    if (p->state == CLOSED)
        return verdict == FAILURE && too_many_errors(t, l) ? phase_open(p, l, now_ms) : next;
    must(p->state == HALF_OPEN && p->sent > p->succeeded);
    if (verdict == FAILURE)
        return phase_open(p, l, now_ms);
    if (verdict == NOTHING)
        next.sent--;
    else if (++next.succeeded == l->probes)
        next = phase_move(p, CLOSED);
    return next;
}

/* ---- the window ----
 *
 *      window of worker 0     turn │ slice │ slice │ ... (10 of them)        slice: requests, errors
 *      window of worker 1     turn │ slice │ slice │ ...
 *
 * Time is cut into slices, a tenth of the window each; a slice stands at its number modulo 10. A count
 * carries the number of its slice (number << 32 | count), so what is too old is left out by whoever reads it
 * and written over by whoever counts next; and it carries the turn, in the window's head. Only the worker
 * that owns a window writes to it: counting is a plain add in memory that nobody else writes to. */

#define SLICES 10

struct slice {
    _Atomic uint64_t requests;
    _Atomic uint64_t errors;
};

/* Whole cache lines. */
struct window {
    _Atomic uint64_t turn;
    struct slice slices[SLICES];
    uint64_t unused[3];
};
_Static_assert(sizeof(struct window) % 64 == 0, "two workers would share a cache line");

/* What all workers share; zeroed memory is a closed breaker that has seen nothing. */
struct breaker {
    _Atomic uint64_t phase;
    _Atomic uint64_t holders; /* states that have it open */
    uint64_t unused[6];
    struct window windows[]; /* one a worker, the control worker included */
};

/* At ten million answers a second 32 bits last for a slice of six minutes. */
static uint64_t count_next(uint64_t count, uint32_t number)
{
    return (uint32_t)(count >> 32) == number ? count + 1 : (uint64_t)number << 32 | 1;
}

/* Workers read the clock at different moments: a slice may have begun already that is not there yet here. */
static uint64_t count_value(uint64_t count, uint32_t number)
{
    return (int32_t)(number - (uint32_t)(count >> 32)) < SLICES ? (uint32_t)count : 0;
}

static uint32_t slice_number(const struct limits *l, uint64_t now_ms)
{
    return (uint32_t)(now_ms / l->slice_ms);
}

/* The owner only. An error is counted in the order of all workers' (not relaxed): of two workers that count
 * one at the same moment at least one sees both. */
static void window_count(struct window *w, uint32_t turn, uint32_t number, bool is_error)
{
    if (atomic_load_explicit(&w->turn, memory_order_relaxed) != turn) {
        for (unsigned i = 0; i < SLICES; i++)
            w->slices[i].requests = w->slices[i].errors = 0;
        w->turn = turn;
    }
    struct slice *s = &w->slices[number % SLICES];
    const uint64_t requests = atomic_load_explicit(&s->requests, memory_order_relaxed);
    atomic_store_explicit(&s->requests, count_next(requests, number), memory_order_relaxed);
    if (is_error)
        s->errors = count_next(s->errors, number);
}

static void window_add(const struct window *w, uint32_t turn, uint32_t number, struct totals *t)
{
    if (w->turn != turn)
        return;
    for (unsigned i = 0; i < SLICES; i++) {
        t->errors += count_value(w->slices[i].errors, number);
        t->requests += count_value(w->slices[i].requests, number);
    }
}

/* ---- the breaker: any thread ---- */

static struct phase phase_read(uint64_t word)
{
    struct phase p = { .state = (enum state)(word >> (TURN_BITS + UNTIL_BITS)),
                       .turn = (uint32_t)low_bits(word >> UNTIL_BITS, TURN_BITS) };
    if (p.state == OPEN)
        p.until_ms = low_bits(word, UNTIL_BITS);
    if (p.state == HALF_OPEN) {
        p.sent = (uint32_t)low_bits(word >> PROBE_BITS, PROBE_BITS);
        p.succeeded = (uint32_t)low_bits(word, PROBE_BITS);
    }
    return p;
}

static uint64_t phase_word(const struct phase *p)
{
    return (uint64_t)p->state << (TURN_BITS + UNTIL_BITS) | (uint64_t)p->turn << UNTIL_BITS | p->until_ms |
           (uint64_t)p->sent << PROBE_BITS | p->succeeded;
}

struct step {
    struct phase before, after;
    enum passage passage; /* of breaker_ask */
    struct totals totals; /* of breaker_answer */
};

/* False: another worker was faster; word is what it left. */
static bool breaker_take(struct breaker *b, const struct limits *l, uint64_t *word, const struct step *s)
{
    const uint64_t after = phase_word(&s->after);
    phase_check(&s->after, l);
    return after == *word || atomic_compare_exchange_strong(&b->phase, word, after);
}

static struct step breaker_ask(struct breaker *b, const struct limits *l, uint64_t now_ms)
{
    struct step s = { 0 };
    uint64_t word = b->phase;
    do {
        s.before = phase_read(word);
        s.after = phase_ask(&s.before, l, now_ms, &s.passage);
    } while (!breaker_take(b, l, &word, &s));
    return s;
}

static struct totals breaker_totals(const struct breaker *b, unsigned workers, uint32_t turn, uint32_t number)
{
    struct totals t = { 0 };
    for (unsigned i = 0; i < workers; i++)
        window_add(&b->windows[i], turn, number, &t);
    return t;
}

/* Of the thread whose window is windows[worker]. */
static struct step breaker_answer(struct breaker *b, const struct limits *l, unsigned workers,
                                  unsigned worker, uint32_t turn, enum verdict verdict, uint64_t now_ms)
{
    struct step s = { 0 };
    uint64_t word = b->phase;
    s.before = phase_read(word);
    if (s.before.state == CLOSED && s.before.turn == turn && verdict != NOTHING) {
        const uint32_t number = slice_number(l, now_ms);
        window_count(&b->windows[worker], turn, number, verdict == FAILURE);
        if (verdict == FAILURE)
            s.totals = breaker_totals(b, workers, turn, number);
    }
    do {
        s.before = phase_read(word);
        s.after = phase_answer(&s.before, l, turn, verdict, &s.totals, now_ms);
    } while (!breaker_take(b, l, &word, &s));
    return s;
}

/* ---- metrics ---- */

#define CIRCUIT_BREAKER_METRICS(X)                                                                    \
    X(OPENED, "opened_total", METRIC_COUNTER, "Times it opened, again after a failed probe included") \
    X(CLOSED, "closed_total", METRIC_COUNTER, "Times it closed, because all probes went well")        \
    X(REFUSED, "refused_total", METRIC_COUNTER, "Requests that got 503 because it was not closed")    \
    X(PROBES, "probes_total", METRIC_COUNTER, "Requests let through while half-open")                 \
    X(ERRORS, "errors_total", METRIC_COUNTER, "Requests let through whose answer was an error")       \
    X(OPEN, "open", METRIC_GAUGE, "1 while it is open")                                               \
    X(HALF_OPEN, "half_open", METRIC_GAUGE, "1 while it is half-open")

enum circuit_breaker_metric {
#define X(id, name, type, help) METRIC_##id,
    CIRCUIT_BREAKER_METRICS(X)
#undef X
        METRIC_COUNT
};

static const struct metric_group metric_group = {
    .module = "circuit_breaker",
    .defs =
        (const struct metric_def[]){
#define X(id, name, type, help) { name, type, help },
            CIRCUIT_BREAKER_METRICS(X)
#undef X
        },
    .count = METRIC_COUNT,
    .labels = (const char *const[]){ "route", NULL },
};

/* ---- the filter ---- */

struct circuit_breaker {
    struct limits limits;
    struct breaker *breaker;
    unsigned worker, workers;
    struct metric_instance *metrics;
    struct metric_cells *cells;
    struct bytes scope; /* text behind this struct */
};

/* Every move is made once, by one worker, which adds what it takes away from another's cell: the gauges' sums
 * over the workers are what is. */
static void gauges_move(const struct circuit_breaker *c, enum state from, enum state to)
{
    static const int metric_of[] = { [CLOSED] = -1, [OPEN] = METRIC_OPEN, [HALF_OPEN] = METRIC_HALF_OPEN };
    if (metric_of[from] >= 0)
        metric_sub(c->cells, (unsigned)metric_of[from], 1);
    if (metric_of[to] >= 0)
        metric_add(c->cells, (unsigned)metric_of[to], 1);
}

/* Traffic causes these lines. */
static struct log_limit log_limit = LOG_LIMIT(10);

static void moved(const struct circuit_breaker *c, const struct step *s)
{
    const enum state from = s->before.state;
    const enum state to = s->after.state;
    if (s->before.turn == s->after.turn)
        return;
    gauges_move(c, from, to);
    if (to == OPEN)
        metric_inc(c->cells, METRIC_OPENED);
    if (to == CLOSED)
        metric_inc(c->cells, METRIC_CLOSED);
    if (from == CLOSED)
        log_limited(&log_limit, LOG_WARN, "circuit_breaker",
                    "opened route=%.*s errors=%" PRIu64 " requests=%" PRIu64, BYTES_ARG(c->scope),
                    s->totals.errors, s->totals.requests);
    else if (to == OPEN)
        log_limited(&log_limit, LOG_WARN, "circuit_breaker", "opened again, a probe failed route=%.*s",
                    BYTES_ARG(c->scope));
    else
        log_limited(&log_limit, LOG_INFO, "circuit_breaker", "%s route=%.*s",
                    to == CLOSED ? "closed" : "half-open", BYTES_ARG(c->scope));
}

/* 501 and 505 say what the request asked for (RFC 9110 15.6.2, 15.6.6): a client could open the breaker for
 * all others with a method that no server knows. */
static bool is_error_status(unsigned status)
{
    return status >= 500 && status <= 599 && status != 501 && status != 505;
}

/* What the answer's head says about the servers. An err makes the gate answer 502, 503 or 504. */
static enum verdict verdict_of(const struct exchange *x, err e)
{
    if (x->request_failed || e == ERR_CANCELLED)
        return NOTHING; /* the client's fault */
    if (e)
        return FAILURE;
    if (x->answered_by.len)
        return NOTHING; /* another filter; no server was asked */
    return is_error_status(x->response.status) ? FAILURE : SUCCESS;
}

/* Retry-After: RFC 9110 10.2.3; while half-open it may be over at any moment. */
static err refuse(struct exchange *x, const struct phase *p, uint64_t now_ms)
{
    exchange_answer(x, 503, BYTES_NONE, BYTES_NONE, BYTES("circuit_breaker"));
    const uint64_t left_ms = p->state == OPEN ? p->until_ms - now_ms : 1;
    const struct bytes seconds = arena_print(&x->arena, "%" PRIu64, (left_ms + 999) / 1000);
    if (!seconds.ptr)
        return ERR_LIMIT;
    return http_fields_set(&x->response.fields, &x->arena, BYTES("Retry-After"), seconds);
}

static err circuit_breaker_handle(struct exchange *x, void *state, struct chain *next)
{
    struct circuit_breaker *c = state;
    const uint64_t now_ms = worker_now_us() / 1000;
    const struct step asked = breaker_ask(c->breaker, &c->limits, now_ms);
    moved(c, &asked);
    if (asked.passage == REFUSED) {
        metric_inc(c->cells, METRIC_REFUSED);
        return refuse(x, &asked.after, now_ms);
    }
    if (asked.passage == PROBES)
        metric_inc(c->cells, METRIC_PROBES);
    const err e = chain_next(next, x);
    const enum verdict v = verdict_of(x, e);
    if (v == FAILURE)
        metric_inc(c->cells, METRIC_ERRORS);
    const struct step answered = breaker_answer(c->breaker, &c->limits, c->workers, c->worker,
                                                asked.after.turn, v, worker_now_us() / 1000);
    moved(c, &answered);
    return e;
}

/* The metrics may live on (a reload with other settings opens the same ones): who holds the breaker last
 * takes its state out of the gauges. Somebody who opens it at this very moment finds it closed. */
static void breaker_drop(struct circuit_breaker *c)
{
    if (atomic_fetch_sub(&c->breaker->holders, 1) > 1 || !c->cells)
        return;
    const struct phase left = phase_read(atomic_exchange(&c->breaker->phase, 0));
    gauges_move(c, left.state, CLOSED);
}

static void circuit_breaker_close(void *state)
{
    struct circuit_breaker *c = state;
    if (c->breaker)
        breaker_drop(c);
    metric_instance_free(c->metrics);
    if (c->breaker)
        shared_put(c->breaker);
    mem_free(c);
}

static struct limits limits_of(const struct circuit_breaker_conf *c)
{
    return (struct limits){
        .errors_share = (uint64_t)(c->errors * SHARE_ONE + 0.5),
        .requests_min = (uint64_t)c->requests_min,
        .slice_ms = (c->window_ms + SLICES - 1) / SLICES,
        .open_ms = c->open_ms,
        .probes = (uint32_t)c->probes,
    };
}

/* The same breaker of the same route finds its state again after a reload; another one begins anew. */
static struct breaker *breaker_get(const struct limits *l, unsigned workers, struct bytes scope)
{
    struct arena a;
    arena_open(&a, &arena_heap, 1 << 20, NULL, 0);
    const struct bytes name = arena_print(
        &a, "circuit_breaker %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu32 " %u %.*s",
        l->errors_share, l->slice_ms, l->requests_min, l->open_ms, l->probes, workers, BYTES_ARG(scope));
    struct breaker *b = name.ptr ? shared_get(name, sizeof *b + workers * sizeof(struct window)) : NULL;
    arena_close(&a);
    if (b)
        atomic_fetch_add(&b->holders, 1);
    return b;
}

static err circuit_breaker_open(const void *conf, struct gate *g, struct bytes scope, void **ret_state,
                                struct diag *reterr)
{
    (void)reterr;
    struct circuit_breaker *c = mem_get(sizeof *c + scope.len);
    if (!c)
        return ERR_MEMORY;
    c->limits = limits_of(conf);
    c->worker = worker_index(worker_self());
    c->workers = gate_workers(g) + 1; /* and the control worker, behind them, opens it too */
    c->scope = (struct bytes){ (const char *)(c + 1), scope.len };
    memcpy(c + 1, scope.ptr, scope.len);
    c->breaker = breaker_get(&c->limits, c->workers, scope);
    err e = c->breaker ? metric_instance_open(&metric_group, &scope, &c->metrics) : ERR_MEMORY;
    if (e) {
        circuit_breaker_close(c);
        return e;
    }
    c->cells = metric_cells(c->metrics, c->worker);
    *ret_state = c;
    return OK;
}

const struct filter circuit_breaker_filter = {
    .conf = { .name = "circuit_breaker",
              .size = sizeof(struct circuit_breaker_conf),
              .phrases = (const char *const[]){ "{errors} over {window}", "{errors}", NULL },
              .fields =
                  (const struct conf_field[]){
                      { .name = "errors",
                        .type = CONF_PERCENT,
                        .offset = offsetof(struct circuit_breaker_conf, errors),
                        .required = true,
                        .min = 0.0001,
                        .max = 1,
                        .doc = "the share of errors among the answers of the window that opens it" },
                      { .name = "window",
                        .type = CONF_MS,
                        .offset = offsetof(struct circuit_breaker_conf, window_ms),
                        .preset = "10s",
                        .min = 100,
                        .max = 3600000,
                        .doc = "how far back answers count" },
                      { .name = "requests_min",
                        .type = CONF_INT,
                        .offset = offsetof(struct circuit_breaker_conf, requests_min),
                        .preset = "20",
                        .min = 1,
                        .max = 1e9,
                        .doc = "fewer answers than these in the window never open it" },
                      { .name = "open",
                        .type = CONF_MS,
                        .offset = offsetof(struct circuit_breaker_conf, open_ms),
                        .preset = "5s",
                        .min = 1,
                        .max = 86400000,
                        .doc = "how long it refuses everything before it lets probes through" },
                      { .name = "probes",
                        .type = CONF_INT,
                        .offset = offsetof(struct circuit_breaker_conf, probes),
                        .preset = "3",
                        .min = 1,
                        .max = PROBES_MAX,
                        .doc =
                            "requests let through after that; when all of them go well it closes, when one "
                            "fails it opens again" },
                      { 0 } },
              .doc = "Answers with 503 instead of asking the servers, while too many of their answers are "
                     "errors." },
    .open = circuit_breaker_open,
    .handle = circuit_breaker_handle,
    .close = circuit_breaker_close,
};

/* hedge: a second try at another server when the first takes longer than most; the first good answer wins and
 * the other is given up (J. Dean and L. A. Barroso, "The Tail at Scale", 2013).
 *
 *      hedge: p95                               hedge: {after: 50ms, budget: 5%}
 *
 *   first try  ├──────────────────────────────────────────╳ interrupted, its connection closed
 *   after p95             ├─ second try ──────────▶ answer  ──▶ client
 *
 * Only of idempotent requests without a body, and only so many more as the budget has room for. The first try
 * runs on the exchange's own fiber: one that is answered in time costs a timer that is set and stopped. That
 * worker only. */
#pragma once
#include "core/conf.h"
#include "gate/exchange.h"
#include "gate/http1_client.h"

struct budget;
struct metric_instance;
struct metric_cells;
struct pick;

struct hedge_conf {
    struct bytes after; /* "p95", "50ms" */
    double budget;
    int64_t budget_per_s;
    uint64_t after_min_ms;
    uint64_t after_ms; /* made of `after`: a fixed time; 0: share goes */
    double share;      /* made of `after`: 0.95 */
};
extern const struct conf_struct hedge_struct;

/* ---- how long answers take: pure ----
 *
 * Eight buckets an octave of microseconds (12% apart), halved every LATENCY_HALF_MS, so that the last minute
 * counts.
 */
#define LATENCY_BUCKETS 208
#define LATENCY_HALF_MS 10000
#define LATENCY_SAMPLES_MIN 50 /* with fewer nothing is known */

struct latency {
    uint32_t counts[LATENCY_BUCKETS];
    uint64_t total;
    uint64_t halved_ms;
};
void latency_note(struct latency *l, uint64_t us, uint64_t now_ms);
/* The time that this share of the answers did not take longer than, at most 12% too high. UINT64_MAX:
 * unknown. */
uint64_t latency_at(const struct latency *l, double share);

/* ---- of a service on one worker ---- */

/*    index             name                 type            help */
#define HEDGE_METRIC_LIST(X)                                                                           \
    X(HEDGE_STARTED, "started_total", METRIC_COUNTER, "Second tries")                                  \
    X(HEDGE_WON, "won_total", METRIC_COUNTER, "Second tries whose answer went to the client")          \
    X(HEDGE_REFUSED, "refused_total", METRIC_COUNTER, "Second tries not made: the budget was used up") \
    X(HEDGE_AFTER, "after_microseconds", METRIC_GAUGE,                                                 \
      "When a second try begins, of all workers added up; 0: not yet known")

enum hedge_metric {
#define X(index, name, type, help) index,
    HEDGE_METRIC_LIST(X)
#undef X
};

struct hedge {
    const struct hedge_conf *conf; /* NULL: none */
    struct budget *budget;
    unsigned workers, worker;
    struct latency latency;
    uint64_t after_us; /* worked out now and then */
    uint32_t fresh;    /* notes since then */
    struct metric_instance *metrics;
    struct metric_cells *cells;
};

/* conf NULL is allowed. workers: without the control worker. */
err hedge_open(struct hedge *h, const struct hedge_conf *conf, struct bytes service,
               unsigned workers) CHECK_RESULT;
void hedge_close(struct hedge *h);

/* May this exchange be asked twice at the same time? */
bool hedge_suits(const struct exchange *x);
/* Asks server (which the caller has chosen with pick) and perhaps another one beside it; the same contract as
 * proxy_ask (gate/proxy.h). x->server is who answered. */
err hedge_ask(struct exchange *x, struct server *server, const struct pick *pick, uint64_t deadline_us,
              struct attempt *ret_attempt) CHECK_RESULT;

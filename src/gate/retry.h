/* retry: whether a request that went wrong is asked again, and how long that has to wait.
 *
 *      retry: {on: [connect, reset, 503], attempts: 2, budget: 20%, per_try_timeout: 500ms, backoff:
 * 25ms..250ms}
 *
 *   what happened ─▶ retry_cause ─▶ one of `on`, harmless, attempts left? ─▶ pause fits the deadline? ─▶
 * budget
 *
 * Of a service, or of a route, which then goes before the service's. The decisions are pure: time and
 * randomness are arguments. The proxy (gate/proxy.c) drives them. */
#pragma once
#include "core/conf.h"
#include "gate/exchange.h"

struct budget;
struct metric_instance;
struct metric_cells;

struct backoff_conf {
    uint64_t from_ms, to_ms;
};

/* Why an attempt was not good. A table for the configuration's words, too. */
#define RETRY_CAUSE_LIST(X)                                                            \
    X(RETRY_CONNECT, "connect") /* nothing was sent: no connection could be had     */ \
    X(RETRY_RESET, "reset")     /* sent, and the connection ended before any answer */ \
    X(RETRY_TIMEOUT, "timeout") /* sent, and no answer in time                      */ \
    X(RETRY_STATUS, "status")   /* an answer with one of the statuses               */ \
    X(RETRY_GRPC, "grpc")       /* a call's, with one of gRPC's                     */

enum retry_cause {
#define X(name, text) name,
    RETRY_CAUSE_LIST(X)
#undef X
        RETRY_CAUSES,
    RETRY_NEVER = RETRY_CAUSES /* a good answer, or one that broke off in its middle */
};

struct retry_conf {
    int64_t attempts;    /* beyond the first */
    struct conf_list on; /* struct bytes */
    double budget;
    int64_t budget_per_s;
    uint64_t per_try_timeout_ms;  /* CONF_MS_OFF: first_byte_timeout alone */
    struct backoff_conf *backoff; /* NULL: off */
    uint64_t retry_after_max_ms;
    uint64_t body_bytes_max;
    uint32_t causes;        /* bits, made of `on` */
    uint64_t statuses[4];   /* bits of 400 to 655, made of `on` */
    uint32_t grpc_statuses; /* bits of enum grpc_status, made of `on` */
};
extern const struct conf_struct retry_struct;

#define RETRY_STATUS_FIRST 400

/* How an attempt ended. */
struct retry_outcome {
    err failed;        /* OK: there is an answer */
    bool sent;         /* some of the request may have reached the server */
    bool answered;     /* some of an answer has come back */
    unsigned status;   /* of the answer */
    int grpc_status;   /* of a call that was answered by its status alone; GRPC_NO_STATUS */
    bool idempotent;   /* RFC 9110 9.2.2 */
    bool replayable;   /* its body is still there, if it has one */
    uint32_t attempts; /* made so far, this one included */
};

enum retry_cause retry_cause(const struct retry_outcome *o);
/* May and shall it be asked again, as far as the configuration is concerned? */
bool retry_wanted(const struct retry_conf *c, const struct retry_outcome *o);
/* Before the next attempt; random: any number. Full jitter: an even share of an interval that doubles (M.
 * Brooker, "Exponential Backoff And Jitter", 2015). A server that could not be reached has no work that a
 * pause would spare: other_left says that another one can be asked at once. retry_after_ms: what the answer
 * asked for, 0: nothing. UINT64_MAX: so long that the answer goes to the client instead. */
uint64_t retry_pause_us(const struct retry_conf *c, const struct retry_outcome *o, bool other_left,
                        uint64_t retry_after_ms, uint64_t random);
/* Retry-After (RFC 9110 10.2.3) in seconds, or as a date against now_s (of 1970). 0: there is none, or it
 * makes no sense. */
uint64_t retry_after_ms(const struct http_response *r, uint64_t now_s);

/* ---- of a service on one worker ---- */

/*    index             name                 type            help */
#define RETRY_METRIC_LIST(X)                                             \
    X(RETRY_TAKEN, "taken_total", METRIC_COUNTER, "Attempts made again") \
    X(RETRY_RESCUED, "rescued_total", METRIC_COUNTER,                    \
      "Requests that an attempt made again has answered well")           \
    X(RETRY_REFUSED, "refused_total", METRIC_COUNTER,                    \
      "Attempts not made again because the budget was used up")

enum retry_metric {
#define X(index, name, type, help) index,
    RETRY_METRIC_LIST(X)
#undef X
};

struct retry {
    struct budget *budget;
    unsigned workers, worker;
    struct metric_instance *metrics;
    struct metric_cells *cells;
};

/* workers: without the control worker. ERR_MEMORY, ERR_LIMIT; then it is still to be closed. */
err retry_open(struct retry *r, struct bytes service, unsigned workers) CHECK_RESULT;
void retry_close(struct retry *r);
/* What goes for this exchange: its route's, else its service's; NULL: neither has one. */
const struct retry_conf *retry_of(const struct exchange *x);

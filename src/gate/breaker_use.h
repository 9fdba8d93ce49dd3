/* breaker_use: a breaker (gate/breaker.h) as this worker uses it: its settings, its metrics, its lines in the
 * log, and what an answer says about the servers. For the filter circuit_breaker (a breaker of a route) and
 * for services (of all requests of a service, or of each server).
 *
 * Opened once a worker and generation, on that worker; that worker only. */
#pragma once
#include "base/json.h"
#include "core/conf.h"
#include "gate/breaker.h"
#include "gate/exchange.h"

struct gate;

struct breaker_slow_conf {
    double ratio;
    uint64_t over_ms;
};

struct breaker_conf {
    double errors;
    uint64_t window_ms;
    int64_t requests_min;
    struct breaker_slow_conf *slow; /* NULL: slow answers do not count */
    uint64_t open_ms;
    int64_t probes;
    uint64_t ramp_ms;
};

/* The fields of a struct breaker_conf at offset base of another one. */
#define BREAKER_CONF_FIELDS(base)                                                                           \
    { .name = "errors",                                                                                     \
      .type = CONF_PERCENT,                                                                                 \
      .offset = (base) + offsetof(struct breaker_conf, errors),                                             \
      .required = true,                                                                                     \
      .min = 0.0001,                                                                                        \
      .max = 1,                                                                                             \
      .doc = "the share of errors among the answers of the window that opens it" },                         \
        { .name = "window",                                                                                 \
          .type = CONF_MS,                                                                                  \
          .offset = (base) + offsetof(struct breaker_conf, window_ms),                                      \
          .preset = "10s",                                                                                  \
          .min = 100,                                                                                       \
          .max = 3600000,                                                                                   \
          .doc = "how far back answers count" },                                                            \
        { .name = "requests_min",                                                                           \
          .type = CONF_INT,                                                                                 \
          .offset = (base) + offsetof(struct breaker_conf, requests_min),                                   \
          .preset = "20",                                                                                   \
          .min = 1,                                                                                         \
          .max = 1e9,                                                                                       \
          .doc = "fewer answers than these in the window never open it" },                                  \
        { .name = "slow",                                                                                   \
          .type = CONF_STRUCT,                                                                              \
          .offset = (base) + offsetof(struct breaker_conf, slow),                                           \
          .sub = &breaker_slow_struct,                                                                      \
          .doc = "the share of slow answers that opens it as well" },                                       \
        { .name = "open",                                                                                   \
          .type = CONF_MS,                                                                                  \
          .offset = (base) + offsetof(struct breaker_conf, open_ms),                                        \
          .preset = "5s",                                                                                   \
          .min = 1,                                                                                         \
          .max = 86400000,                                                                                  \
          .doc = "how long it refuses everything" },                                                        \
        { .name = "probes",                                                                                 \
          .type = CONF_INT,                                                                                 \
          .offset = (base) + offsetof(struct breaker_conf, probes),                                         \
          .preset = "3",                                                                                    \
          .min = 1,                                                                                         \
          .max = BREAKER_PROBES_MAX,                                                                        \
          .doc = "requests let through after that: when all of them go well it goes on, when one fails it " \
                 "opens again; a breaker of a server has none" },                                           \
    {                                                                                                       \
        .name = "ramp", .type = CONF_MS, .offset = (base) + offsetof(struct breaker_conf, ramp_ms),         \
        .preset = "5s", .max = 3600000,                                                                     \
        .doc = "in which time the share that passes grows to all, after the probes; 0ms: all pass at once"  \
    }

extern const struct conf_struct breaker_slow_struct;

struct breaker_use {
    struct breaker_limits limits;
    struct breaker *breaker;
    unsigned worker, workers;
    struct metric_instance *metrics;
    struct metric_cells *cells;
    struct bytes text; /* "route=/api/" for the log, on the heap */
};

/* What the breaker belongs to: one of the three, or a service and a server. Part of the shared memory's name.
 */
struct breaker_scope {
    struct bytes route, service, server;
};

/* ERR_MEMORY: nothing is open. */
err breaker_use_open(struct breaker_use *u, const struct breaker_conf *conf,
                     const struct breaker_scope *scope, struct gate *g) CHECK_RESULT;
/* An all-zero one may be closed too. */
void breaker_use_close(struct breaker_use *u);

/* BREAKER_REFUSED, or the request may pass; *ret_turn is for breaker_use_answer. */
enum breaker_passage breaker_use_ask(struct breaker_use *u, uint32_t *ret_turn);
/* What came of it, as far as the answer's head. e: what chain_next returned. */
void breaker_use_answer(struct breaker_use *u, uint32_t turn, const struct exchange *x, err e,
                        uint64_t began_us);
/* Counts a refusal, and answers x with 503 and Retry-After. */
err breaker_use_refuse(struct breaker_use *u, struct exchange *x) CHECK_RESULT;
/* For a breaker without turns: what came of something that began then. *ret_opened_until_us: when this opened
 * it, until when it is open on worker_now_us()'s clock; else 0. */
void breaker_use_tell(struct breaker_use *u, enum breaker_verdict verdict, uint64_t began_us,
                      uint64_t *ret_opened_until_us);

/* SUCCESS or SLOW, by the settings. */
enum breaker_verdict breaker_use_timed(const struct breaker_use *u, uint64_t began_us);
/* Whether a status says that the server failed: 5xx but 501 and 505, which speak of the request. */
bool breaker_is_error(unsigned status);
/* Members of an open JSON object: state, what the window holds, what was counted. */
void breaker_use_report(const struct breaker_use *u, struct text *json);

/* conf_sample: a root table that uses every type, for the tests and the fuzz target of conf; not in weir
 * itself. */
#pragma once
#include "core/conf.h"

#define LIST_OF(...)      \
    (const char *const[]) \
    {                     \
        __VA_ARGS__, NULL \
    }

struct sample_server {
    struct conf_mark mark_unused; /* so that mark_offset below is not 0 */
    struct conf_mark mark;
    struct addr address;
    int64_t weight;
};

struct sample_health {
    int method;
    struct bytes path;
    uint64_t interval_ms, timeout_ms;
};

struct sample_service {
    struct bytes name;
    struct conf_mark mark;
    struct conf_list servers;
    struct conf_module balance;
    struct sample_health *health_check;
    uint64_t idle_ms;
    struct conf_list headers; /* struct conf_pair */
};

struct sample_rate_limit {
    struct conf_rate rate;
    int key;
    int64_t burst;
};

struct sample_mirror {
    double share;
    struct bytes service;
};

struct sample_breaker {
    double share;
    uint64_t window_ms;
};

struct sample_hash {
    struct bytes key;
    int64_t points;
};

struct sample_route {
    struct bytes match;
    struct bytes service;
    struct conf_list filters;  /* struct conf_module */
    struct conf_list retry_on; /* int64_t */
};

struct sample_root {
    struct conf_list listen; /* struct addr */
    struct addr admin;
    int64_t workers;
    struct bytes access_log;
    bool quiet;
    uint64_t body_bytes_max;
    struct conf_list routes;   /* struct sample_route */
    struct conf_list services; /* struct sample_service */
    struct sample_health *probe;
};

static const struct conf_field sample_server_fields[] = {
    { .name = "address",
      .type = CONF_ADDR,
      .offset = offsetof(struct sample_server, address),
      .required = true,
      .doc = "Where it listens." },
    { .name = "weight",
      .type = CONF_INT,
      .offset = offsetof(struct sample_server, weight),
      .preset = "1",
      .min = 1,
      .max = 1000,
      .doc = "Its share against the others." },
    { .name = NULL },
};
static const struct conf_struct sample_server = {
    .name = "server",
    .size = sizeof(struct sample_server),
    .fields = sample_server_fields,
    .phrases = LIST_OF("{address}", "{address} weight {weight}"),
    .mark_offset = offsetof(struct sample_server, mark),
    .doc = "One server of a service.",
};

static const struct conf_field sample_health_fields[] = {
    { .name = "method",
      .type = CONF_WORD,
      .offset = offsetof(struct sample_health, method),
      .preset = "GET",
      .words = LIST_OF("GET", "HEAD", "OPTIONS"),
      .doc = "The request's method." },
    { .name = "path",
      .type = CONF_TEXT,
      .offset = offsetof(struct sample_health, path),
      .required = true,
      .doc = "The path that is asked | the probe." },
    { .name = "interval",
      .type = CONF_MS,
      .offset = offsetof(struct sample_health, interval_ms),
      .preset = "5s",
      .min = 100,
      .max = 3600000,
      .doc = "How often." },
    { .name = "timeout",
      .type = CONF_MS,
      .offset = offsetof(struct sample_health, timeout_ms),
      .preset = "1s",
      .doc = "How long an answer may take." },
    { .name = NULL },
};
static err sample_health_check(void *conf, struct diag *reterr)
{
    const struct sample_health *h = conf;
    if (h->timeout_ms < h->interval_ms)
        return OK;
    diag_set(reterr, "the timeout must be shorter than the interval");
    return ERR_CONF;
}
static const struct conf_struct sample_health = {
    .name = "health_check",
    .size = sizeof(struct sample_health),
    .fields = sample_health_fields,
    .phrases = LIST_OF("{method} {path} every {interval}", "{path} every {interval}", "{path}"),
    .check = sample_health_check,
    .doc = "Asks every server whether it is well.",
};

static const struct conf_struct sample_round_robin = { .name = "round_robin", .doc = "In turn." };
static const struct conf_struct sample_least_request = { .name = "least_request", .doc = "To the idlest." };
static const struct conf_field sample_hash_fields[] = {
    { .name = "key",
      .type = CONF_TEXT,
      .offset = offsetof(struct sample_hash, key),
      .required = true,
      .doc = "What is hashed." },
    { .name = "points",
      .type = CONF_INT,
      .offset = offsetof(struct sample_hash, points),
      .preset = "100",
      .min = 1,
      .doc = "Points on the ring, per server." },
    { .name = NULL },
};
static const struct conf_struct sample_hash = {
    .name = "hash",
    .size = sizeof(struct sample_hash),
    .fields = sample_hash_fields,
    .phrases = LIST_OF("by {key}"),
    .doc = "The same key to the same server.",
};
static const struct conf_struct *const sample_balancers[] = { &sample_round_robin, &sample_least_request,
                                                              &sample_hash, NULL };

static const struct conf_field sample_service_fields[] = {
    { .name = "servers",
      .type = CONF_LIST,
      .offset = offsetof(struct sample_service, servers),
      .sub = &sample_server,
      .required = true,
      .max = 1000,
      .doc = "The servers." },
    { .name = "balance",
      .type = CONF_MODULE,
      .offset = offsetof(struct sample_service, balance),
      .preset = "round_robin",
      .modules = sample_balancers,
      .doc = "Who gets the next request." },
    { .name = "health_check",
      .type = CONF_STRUCT,
      .offset = offsetof(struct sample_service, health_check),
      .sub = &sample_health,
      .doc = "Whether servers are asked." },
    { .name = "idle",
      .type = CONF_MS,
      .offset = offsetof(struct sample_service, idle_ms),
      .preset = "60s",
      .max = 86400000,
      .words = conf_word_off,
      .doc = "When an unused connection is closed." },
    { .name = "headers",
      .type = CONF_PAIRS,
      .offset = offsetof(struct sample_service, headers),
      .doc = "Set on each request." },
    { .name = NULL },
};
static const struct conf_struct sample_service = {
    .name = "service",
    .size = sizeof(struct sample_service),
    .fields = sample_service_fields,
    .mark_offset = offsetof(struct sample_service, mark),
    .doc = "Servers that do the same.",
};

static const struct conf_field sample_rate_limit_fields[] = {
    { .name = "rate",
      .type = CONF_RATE,
      .offset = offsetof(struct sample_rate_limit, rate),
      .required = true,
      .min = 1,
      .doc = "How much." },
    { .name = "key",
      .type = CONF_WORD,
      .offset = offsetof(struct sample_rate_limit, key),
      .preset = "all",
      .words = LIST_OF("all", "ip", "host"),
      .doc = "Of whom." },
    { .name = "burst",
      .type = CONF_INT,
      .offset = offsetof(struct sample_rate_limit, burst),
      .preset = "auto",
      .words = LIST_OF("auto"),
      .doc = "How much at once." },
    { .name = NULL },
};
static const struct conf_struct sample_rate_limit = {
    .name = "rate_limit",
    .size = sizeof(struct sample_rate_limit),
    .fields = sample_rate_limit_fields,
    .phrases = LIST_OF("{rate}", "{rate} per {key}", "{rate} per {key} burst {burst}"),
    .doc = "Refuses.",
};

static const struct conf_field sample_mirror_fields[] = {
    { .name = "share",
      .type = CONF_PERCENT,
      .offset = offsetof(struct sample_mirror, share),
      .preset = "100%",
      .doc = "How much." },
    { .name = "service",
      .type = CONF_REF,
      .offset = offsetof(struct sample_mirror, service),
      .ref = "services",
      .required = true,
      .doc = "To whom." },
    { .name = NULL },
};
static const struct conf_struct sample_mirror = {
    .name = "mirror",
    .size = sizeof(struct sample_mirror),
    .fields = sample_mirror_fields,
    .phrases = LIST_OF("to {service}", "{share} to {service}"),
    .doc = "Copies requests.",
};

static const struct conf_field sample_breaker_fields[] = {
    { .name = "share",
      .type = CONF_PERCENT,
      .offset = offsetof(struct sample_breaker, share),
      .preset = "5%",
      .min = 0.001,
      .max = 1,
      .doc = "Failures that open it." },
    { .name = "window",
      .type = CONF_MS,
      .offset = offsetof(struct sample_breaker, window_ms),
      .preset = "10s",
      .doc = "Over how long." },
    { .name = NULL },
};
static const struct conf_struct sample_breaker = {
    .name = "circuit_breaker",
    .size = sizeof(struct sample_breaker),
    .fields = sample_breaker_fields,
    .phrases = LIST_OF("{share} over {window}"),
    .doc = "Gives a failing service a rest.",
};

/* in the order of the chain */
static const struct conf_struct *const sample_filters[] = { &sample_rate_limit, &sample_breaker,
                                                            &sample_mirror, NULL };

static const struct conf_field sample_route_fields[] = {
    { .name = "match",
      .type = CONF_TEXT,
      .offset = offsetof(struct sample_route, match),
      .preset = "/*",
      .doc = "Paths that go this way." },
    { .name = "service",
      .type = CONF_REF,
      .offset = offsetof(struct sample_route, service),
      .ref = "services",
      .required = true,
      .doc = "Where they go." },
    { .name = "retry_on",
      .type = CONF_LIST,
      .offset = offsetof(struct sample_route, retry_on),
      .item = CONF_INT,
      .preset = "[502, 503]",
      .min = 400,
      .max = 599,
      .doc = "Worth another try." },
    { .name = "filters",
      .type = CONF_MODULES,
      .offset = offsetof(struct sample_route, filters),
      .modules = sample_filters,
      .doc = "What is done on the way." },
    { .name = NULL },
};
static const struct conf_struct sample_route = {
    .name = "route",
    .size = sizeof(struct sample_route),
    .fields = sample_route_fields,
    .doc = "From a request to a service.",
};

static const struct conf_field sample_root_fields[] = {
    { .name = "listen",
      .type = CONF_LIST,
      .offset = offsetof(struct sample_root, listen),
      .item = CONF_ADDR,
      .required = true,
      .doc = "Where clients come in." },
    { .name = "admin",
      .type = CONF_ADDR,
      .offset = offsetof(struct sample_root, admin),
      .doc = "Where operators look." },
    { .name = "workers",
      .type = CONF_INT,
      .offset = offsetof(struct sample_root, workers),
      .preset = "auto",
      .min = 1,
      .max = 256,
      .words = LIST_OF("auto"),
      .doc = "Threads." },
    { .name = "access_log",
      .type = CONF_TEXT,
      .offset = offsetof(struct sample_root, access_log),
      .preset = "off",
      .doc = "stdout, off or a path." },
    { .name = "quiet", .type = CONF_BOOL, .offset = offsetof(struct sample_root, quiet), .doc = "Say less." },
    { .name = "body_bytes_max",
      .type = CONF_BYTES,
      .offset = offsetof(struct sample_root, body_bytes_max),
      .preset = "1m",
      .max = 1 << 30,
      .doc = "Larger bodies are refused." },
    { .name = "routes",
      .type = CONF_LIST,
      .offset = offsetof(struct sample_root, routes),
      .sub = &sample_route,
      .doc = "Asked from the top." },
    { .name = "services",
      .type = CONF_MAP,
      .offset = offsetof(struct sample_root, services),
      .sub = &sample_service,
      .doc = "By name." },
    { .name = "probe",
      .type = CONF_STRUCT,
      .offset = offsetof(struct sample_root, probe),
      .sub = &sample_health,
      .preset = "{path: /self, interval: 10s}",
      .doc = "Of weir itself." },
    { .name = NULL },
};
static const struct conf_struct sample_root = {
    .name = "weir",
    .size = sizeof(struct sample_root),
    .fields = sample_root_fields,
    .doc = "The whole configuration.",
};

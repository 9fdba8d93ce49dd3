/* scenario_conf: what stands in a scenario's file. Filled by the tables; immutable. */
#pragma once
#include "core/conf.h"
#include "load/curve.h"
#include "load/think.h"

struct csv;

/* One of the ways a stage goes; which members count says the kind. Levels as they were written. */
struct stage_part_conf {
    struct bytes from, to;
    uint64_t duration_ms, period_ms, peak_ms, deviation_ms;
    int64_t steps, times;
    struct bytes history;
};

struct stage_conf {
    struct stage_part_conf *constant, *ramp, *steps, *sine, *normal, *history, *burst;
    struct conf_mark mark;
};

struct expect_conf {
    struct conf_list status; /* struct bytes */
    struct bytes contains, matches;
    struct conf_list json; /* struct conf_pair */
    uint64_t within_ms;
};

struct step_conf {
    struct bytes name;
    struct conf_mark mark;
    struct bytes get, head, post, put, patch, del, options;
    struct bytes websocket, send;
    int64_t receive, close; /* 0: not said */
    struct bytes body, body_file, json;
    struct conf_list fields; /* struct conf_pair */
    struct conf_list take;   /* struct conf_pair */
    struct expect_conf *expect;
    struct think_conf *think;
};

struct flow_conf {
    struct bytes name;
    struct conf_mark mark;
    int64_t weight;
    struct conf_list steps; /* struct step_conf */
};

struct data_conf {
    struct bytes name;
    struct conf_mark mark;
    struct bytes file;
    int order; /* enum data_order */
};

#define DATA_ORDER_LIST(X)  \
    X(IN_ORDER, "in_order") \
    X(RANDOM, "random")     \
    X(PER_USER, "per_user")

enum data_order {
#define X(id, word) DATA_##id,
    DATA_ORDER_LIST(X)
#undef X
};

struct scenario_conf {
    struct bytes target;
    int64_t users, users_max;
    struct bytes rate;
    uint64_t duration_ms, warmup_ms, timeout_ms, spread_ms;
    int arrivals;            /* enum arrivals_kind */
    struct conf_list stages; /* struct stage_conf */
    struct think_conf *think;
    struct conf_list fields; /* struct conf_pair */
    bool cookies, http2, http3;
    struct conf_list data;   /* struct data_conf */
    struct conf_list before; /* struct step_conf */
    struct conf_list flows;  /* struct flow_conf */
    struct bytes script;
    struct conf_list variables; /* struct bytes */
};

extern const struct conf_struct scenario_conf_struct;

/* "100/s" "90/m" (rate: a second), "500" (users). */
bool level_parse(struct bytes text, double *ret_level, bool *ret_rate);

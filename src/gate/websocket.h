/* websocket: RFC 6455 connections between a client and a server.
 *
 *   request ─▶ asked rightly? place free? ─▶ server ─▶ 101, proven? ─▶ relayed: frames pass as they are
 *                 │ 400, 403, 426, 503                    │ 502            │
 *                 ▼                                       ▼                └─ pings, time-outs, limits, 1001
 * on stop
 *
 * Nothing of the client's reaches the server between its request and the server's 101, and nothing that is no
 * frame afterwards. A relay that rests has no fiber and no buffer. That worker only; what all workers share
 * of a route is an atomic count. */
#pragma once
#include "base/list.h"
#include "core/conf.h"
#include "core/io.h"
#include "core/metrics.h"
#include "gate/exchange.h"
#include "proto/websocket.h"

struct gate;
struct route_conf;

#define WEBSOCKET_IDLE_AUTO CONF_UINT_WORD(0)
#define WEBSOCKET_IDLE_OFF CONF_UINT_WORD(1)

struct websocket_conf {
    uint64_t ping_ms; /* CONF_MS_OFF: none are sent */
    uint64_t pong_timeout_ms;
    uint64_t idle_timeout_ms; /* or WEBSOCKET_IDLE_AUTO, WEBSOCKET_IDLE_OFF */
    uint64_t close_timeout_ms;
    int64_t connections_max;    /* 0: no bound */
    uint64_t message_bytes_max; /* 0: no bound */
    struct conf_list origins;   /* struct bytes; empty: all */
    struct conf_mark mark;
};
extern const struct conf_struct websocket_conf_struct;

/* ---- of a route on one worker ---- */

/*    index                        name                                type            help */
#define WEBSOCKET_METRIC_LIST(X)                                                                           \
    X(WEBSOCKET_OPEN, "open", METRIC_GAUGE, "Connections")                                                 \
    X(WEBSOCKET_OPENED, "opened_total", METRIC_COUNTER, "Connections that were opened")                    \
    X(WEBSOCKET_REFUSED, "refused_total", METRIC_COUNTER, "Requests for one that the gate refused itself") \
    X(WEBSOCKET_UNPROVEN, "unproven_total", METRIC_COUNTER,                                                \
      "Servers' answers that were no proper acceptance")                                                   \
    X(WEBSOCKET_CLIENT_MESSAGES, "client_messages_total", METRIC_COUNTER, "Messages from clients")         \
    X(WEBSOCKET_SERVER_MESSAGES, "server_messages_total", METRIC_COUNTER, "Messages from servers")         \
    X(WEBSOCKET_CLIENT_BYTES, "client_bytes_total", METRIC_COUNTER,                                        \
      "Bytes from clients, frames' heads included")                                                        \
    X(WEBSOCKET_SERVER_BYTES, "server_bytes_total", METRIC_COUNTER,                                        \
      "Bytes from servers, frames' heads included")                                                        \
    X(WEBSOCKET_PINGS, "pings_total", METRIC_COUNTER, "Pings of the gate's own")                           \
    X(WEBSOCKET_PINGS_LOST, "pings_lost_total", METRIC_COUNTER, "Those that nothing came back to in time")

enum websocket_metric {
#define X(index, name, type, help) index,
    WEBSOCKET_METRIC_LIST(X)
#undef X
        WEBSOCKET_METRICS
};

/* Those of WEBSOCKET_CODE_LIST, and all others together. */
enum websocket_close {
#define X(id, code, sent, name) WEBSOCKET_CLOSE_##id,
    WEBSOCKET_CODE_LIST(X)
#undef X
        WEBSOCKET_CLOSE_OTHER,
    WEBSOCKET_CLOSES
};

struct websocket_route {
    const struct websocket_conf *conf;
    _Atomic int64_t *places; /* taken, over all workers; NULL: connections_max is not set */
    struct metric_instance *metrics, *closes[WEBSOCKET_CLOSES];
    struct metric_cells *cells, *close_cells[WEBSOCKET_CLOSES];
    bool shared; /* it serves all routes that say nothing about websocket */
};

/* *ret_route NULL: they are off there. The first route that says nothing opens *common, which is closed once.
 * On failure nothing is to be closed but *common. */
err websocket_route_open(const struct route_conf *conf, struct websocket_route **common,
                         struct websocket_route **ret_route) CHECK_RESULT;
void websocket_route_close(struct websocket_route *r);
/* Of a common one. */
void websocket_common_close(struct websocket_route *r);

/* ---- the handshake: on the exchange's fiber */

/* Does x ask for one? */
bool websocket_is_asked(const struct exchange *x);
/* Before a server is asked. False: it was answered. */
bool websocket_admit(struct exchange *x);
/* x has a 101 in answer to that. ERR_PROTOCOL: the server has not shown that it understood (4.1). */
err websocket_prove(struct exchange *x) CHECK_RESULT;

/* ---- the relay */

/* Side 0 is the client, side 1 the server. streams[i]: what comes from side i. */
struct websocket {
    struct tunnel tunnel;
    struct websocket_stream streams[2];
    struct link link; /* of this worker's */
    const struct websocket_route *route;
    uint64_t idle_us;      /* DEADLINE_NONE: for ever */
    uint64_t active_us;    /* when something of theirs last passed */
    uint64_t heard_us[2];  /* when anything last came from there */
    uint64_t pinged_us[2]; /* 0: no ping of ours waits for something to come */
    uint64_t close_us;     /* DEADLINE_NONE: nobody has said Close */
    uint32_t ping_word;    /* what our pings carry */
    uint16_t code;         /* of the first Close, or why there was none; 0: open */
    uint16_t owed[2];      /* the code of a Close for that side, at the next boundary; 0: none */
    bool told[2];          /* a Close has gone there, or nothing can any more */
    void (*done)(struct websocket *w, err why);
};

/* After the 101 has been queued for the client. Both ios stay the caller's, to be closed after done, which is
 * called once, later, on the loop's stack or a fiber. OK: closed in an orderly way, if not always for a happy
 * reason. */
void websocket_start(struct websocket *w, const struct exchange *x, struct io *client,
                     void (*done)(struct websocket *w, err why));
/* Each of this worker's is closed with 1001 on both sides, a few in each turn of the loop, and so are those
 * that are begun from now on. */
void websocket_drain(void);

/* upstream: the connections of one worker to one server address, kept for reuse and counted.
 *
 *   idle (last used first)      in use                     shared (upstream: pipelined)
 *   ○ ○ ○ parked in the loop    ● one exchange at a time   ◐ many exchanges in a row
 *
 * Found again over reloads by its name (service, address and socket options), so that a reload closes
 * nothing. Each generation that uses it holds it. That worker only. */
#pragma once
#include "core/fiber.h"
#include "gate/gate_conf.h"
#include "gate/http1_body.h"
#include "net/tcp.h"

struct exchange;
struct server;
struct tls_client;
struct tls_service;

struct upstream {
    struct link link; /* of the worker's list */
    struct bytes name;
    struct addr addr;
    struct tcp_options tcp;
    uint32_t holds;       /* generations, and open connections */
    uint32_t generations; /* 0: nobody will ask for a connection again */
    uint32_t connections; /* open or being opened, of exclusive use */
    struct link idle;     /* struct upstream_conn */
    uint32_t idle_count;
    struct wait_queue waiting;
    uint32_t promised;  /* woken from `waiting` and not yet served: newcomers leave that many for them */
    struct link shared; /* struct shared_conn */
    uint32_t shared_count;
    struct link http2; /* struct http2_upstream */
    uint32_t http2_count;
    struct wait_queue http2_waiting; /* for a place on one of them */
    struct tls_client *tls; /* NULL: in the clear */
    char text[512];         /* what name points into; congestion behind it */
};

/* A connection that one exchange has for itself. */
struct upstream_conn {
    struct http1_body body; /* of the response at hand; first, so that a body leads to its connection */
    struct link link;
    struct io *io;
    struct upstream *upstream;
    struct exchange *x; /* whom it serves; NULL: idle */
    struct server *server;
    struct lease *head; /* the response's head as it was received */
    uint64_t connected_us;
    bool reused;     /* an exchange has ended on it before */
    bool keep_alive; /* what the response said */
    /* The fiber that sends the request's body while the response is waited for. */
    struct fiber *pump;
    struct fiber *pump_waiter;
    err pump_failed;
    bool pump_from_client; /* the client's side failed, not the server's */
    bool request_sent;     /* whole */
};

struct upstream *upstream_get(struct bytes service, const struct addr *addr, const struct tcp_conf *tcp);
/* The same to a server that speaks TLS; tls NULL: it does not. */
struct upstream *upstream_get_tls(struct bytes service, const struct addr *addr, const struct tcp_conf *tcp,
                                  struct tls_service *tls, const struct server_conf *server);
void upstream_put(struct upstream *u);

/* Connects to it, and shakes hands where it speaks TLS; with a PROXY header (proxied) that is left to
 * upstream_shake, which goes behind it. The connection is to be counted by upstream_enter, or by
 * upstream_take's own. From a fiber. */
err upstream_connect(struct upstream *u, bool proxied, uint64_t deadline_us, struct io **ret_io) CHECK_RESULT;
/* Where it speaks TLS. On failure io is still the caller's. */
err upstream_shake(struct upstream *u, struct io *io, uint64_t deadline_us) CHECK_RESULT;

/* A connection: the one used last, or a new one (fresh: always a new one), or after waiting for one.
 * ERR_LIMIT: too many wait; ERR_TIMEOUT, ERR_REFUSED, ...: could not connect. *ret_connecting: the failure
 * was in connecting to the server (and not in waiting here). */
err upstream_take(struct upstream *u, const struct service_conf *conf, bool fresh, uint64_t deadline_us,
                  struct upstream_conn **ret_conn, bool *ret_connecting) CHECK_RESULT;
/* reusable: the response was read whole and both sides keep it open. */
void upstream_give(struct upstream_conn *c, const struct service_conf *conf, bool reusable);

/* A connection that is opened and closed elsewhere (L4) takes a place among them; false: connections_max is
 * reached. */
bool upstream_enter(struct upstream *u, const struct service_conf *conf);
void upstream_leave(struct upstream *u);

/* A connection that held the upstream is gone. */
void upstream_drop_hold(struct upstream *u);

/* There may be room for one of those who wait. */
void upstream_wake_one(struct upstream *u);

/* The worker ends: idle connections are closed. */
void upstream_close_idle(void);

/* l4_tcp: TCP services.
 *
 *      accepted ─▶ [WAITING for the PROXY header, then for the TLS handshake: parked]
 *                     │                    │
 *                     ▼                    ▼ no server, failed
 *               CONNECTING (a fiber) ─▶ the end ◀─┐
 *                     └───▶ JOINED: a tunnel, no fiber */
#include "base/mem.h"
#include "base/pool.h"
#include "core/io.h"
#include "gate/access_log.h"
#include "gate/gate.h"
#include "gate/gate_metrics.h"
#include "gate/l4.h"
#include "gate/listening.h"
#include "gate/proxied.h"
#include "gate/queue.h"
#include "gate/service_open.h"
#include "gate/tls_listener.h"
#include "gate/upstream.h"
#include "net/tls.h"

/* What is queued may take that long to leave after the end. */
#define LINGER_US (5 * 1000000)

enum phase { WAITING, CONNECTING, JOINED };

struct l4_tcp {
    struct io_listener *io; /* NULL: stopped */
    uint32_t connections;
    struct addr at;
};

struct connection {
    struct tunnel tunnel;
    struct link link; /* of here.all */
    struct l4_tcp *listener;
    struct gate *gate;           /* held */
    struct listening *listening; /* of it */
    struct server *server;       /* NULL: none yet */
    struct io *client, *upstream;
    uint64_t start_us;
    uint32_t attempts;
    uint8_t phase;
    bool proxied; /* begins with a PROXY header */
    bool header_read;
    struct peer peer, destination; /* destination: as the header says; family 0: it does not */
};

static _Thread_local struct {
    bool ready;
    bool aborting; /* what connects shall not go on */
    uint32_t count;
    struct link all;
    struct pool pool;
    struct turn_hook end;
} here;

static void end_pool(struct turn_hook *h)
{
    (void)h;
    pool_close(&here.pool);
    here.ready = false;
}

static void prepare(void)
{
    if (here.ready)
        return;
    here.ready = true;
    here.end.run = end_pool;
    worker_on_end(&here.end);
    list_init(&here.all);
    pool_init(&here.pool, sizeof(struct connection));
}

/* ---- the end ---- */

static unsigned status_of(err e, bool joined)
{
    if (e == OK || joined)
        return 200;
    if (e == ERR_SYNTAX)
        return 400;
    if (e == ERR_DENIED)
        return 403;
    if (e == ERR_LIMIT || e == ERR_UNAVAILABLE)
        return 503;
    return e == ERR_TIMEOUT ? 504 : 502;
}

/* The connection as an exchange, for what goes by exchanges: balancers and the access log. */
static void as_exchange(const struct connection *c, struct exchange *x, struct addr *client)
{
    exchange_open(x, c->gate, NULL, 0);
    *client = peer_addr(&c->peer);
    x->client = client;
    x->scheme = "tcp";
    x->request.method_text = BYTES("TCP");
    x->request.target = bytes_from(c->listening->text);
    x->service = c->listening->service;
    x->server = c->server;
    x->start_us = c->start_us;
    x->attempts = c->attempts;
}

static void look_at_room(struct l4_tcp *t)
{
    const struct listening *l = listening_find(gate_current(), &t->at, LISTEN_TCP);
    if (!t->io || !l)
        return;
    uint64_t max = (uint64_t)l->conf->connections_max;
    io_listener_room(t->io, max > t->connections ? (uint32_t)(max - t->connections) : 0);
}

static void count_end(const struct connection *c, err why)
{
    struct metric_cells *cells = c->listening->cells;
    metric_sub(cells, TCP_OPEN, 1);
    metric_observe_ns(cells, TCP_SECONDS, (worker_now_us() - c->start_us) * 1000);
    if (why)
        metric_inc(cells, why == ERR_DENIED ? TCP_REFUSED : TCP_FAILURES);
    if (c->attempts > 1)
        metric_add(cells, TCP_RETRIES, c->attempts - 1);
}

/* From whatever phase; both sides are closed afterwards. */
static void end(struct connection *c, err why)
{
    struct l4_tcp *t = c->listener;
    struct exchange x;
    struct addr client;
    bool joined = c->phase == JOINED;
    as_exchange(c, &x, &client);
    if (joined) {
        x.request_bytes = c->tunnel.ways[0].moved;
        x.response_bytes = c->tunnel.ways[1].moved;
        metric_add(c->listening->cells, TCP_RECEIVED, x.request_bytes);
        metric_add(c->listening->cells, TCP_SENT, x.response_bytes);
    }
    x.failed = why;
    x.response.status = status_of(why, joined);
    count_end(c, why);
    access_log_exchange(&x);
    if (c->server) {
        server_end(c->server, &x);
        upstream_leave(c->server->upstream);
    }
    /* who was cut shall not take it for an end */
    bool cut = why == ERR_RESET || why == ERR_CANCELLED;
    struct io *const sides[] = { c->client, c->upstream };
    for (int i = 0; i < 2; i++) {
        if (sides[i] && cut)
            io_abort(sides[i], true);
        else if (sides[i])
            io_close(sides[i], LINGER_US, false);
    }
    exchange_release(&x);
    list_remove(&c->link);
    here.count--;
    gate_drop(c->gate);
    pool_give(&here.pool, c);
    t->connections--;
    if (t->io)
        look_at_room(t);
    else if (t->connections == 0)
        mem_free(t);
}

static void tunnel_done(struct tunnel *t, err why)
{
    end(container_of(t, struct connection, tunnel), why);
}

/* ---- choosing and connecting ---- */

static err connect_to(struct connection *c, struct exchange *x, struct server *server)
{
    const struct service_conf *conf = x->service->conf;
    if (!upstream_enter(server->upstream, conf)) {
        queue_give_up(server);
        return ERR_LIMIT;
    }
    uint64_t began_us = worker_now_us();
    x->server = server;
    c->attempts = ++x->attempts;
    metric_inc(server->cells, UPSTREAM_REQUESTS);
    server_begin(server, x);
    err e = upstream_connect(server->upstream, conf->proxy_protocol, deadline_in_ms(conf->connect_timeout_ms),
                             &c->upstream);
    if (!e) {
        x->response.status = 200;
        server_tell(server, x, began_us, false);
        server_result(server, SERVER_ANSWERED);
        c->server = server;
        return OK;
    }
    if (e != ERR_CANCELLED)
        server_tell(server, x, began_us, true);
    server_end(server, x);
    upstream_leave(server->upstream);
    if (e != ERR_CANCELLED)
        server_result(server, SERVER_FAILED);
    return e;
}

/* Nothing was sent, so another server may be tried. */
static err connect_some(struct connection *c, struct exchange *x)
{
    struct pick p = pick_begin(x);
    err e = ERR_UNAVAILABLE;
    for (int64_t tries = 0; tries < x->service->conf->tries_max; tries++) {
        struct server *server;
        err chosen = queue_choose(x, &p, &server);
        if (chosen || !server)
            return chosen ? chosen : e;
        e = connect_to(c, x, server);
        if (!e || e == ERR_CANCELLED)
            return e;
        p.tried[p.tried_count++] = server->index;
        p.now_us = worker_now_us();
    }
    return e;
}

static err open_upstream(struct connection *c)
{
    struct exchange x;
    struct addr client, destination = peer_addr(&c->destination);
    as_exchange(c, &x, &client);
    err e = connect_some(c, &x);
    int version = x.service->conf->proxy_protocol;
    if (!e && version != PROXY_PROTOCOL_OFF)
        proxied_write(c->upstream, (enum proxy_protocol_version)version, &client,
                      c->destination.family ? &destination : NULL, io_fd(c->client));
    if (!e && version != PROXY_PROTOCOL_OFF)
        e = upstream_shake(c->server->upstream, c->upstream,
                           deadline_in_ms(x.service->conf->connect_timeout_ms));
    exchange_release(&x);
    return e;
}

static err read_header(struct connection *c)
{
    struct proxy_protocol said;
    err e = proxied_read(c->client, &c->peer,
                         deadline_in_ms(c->gate->generation->conf->client->head_timeout_ms), &said);
    c->header_read = true;
    if (e || said.local)
        return e;
    c->peer = peer_from(&said.source);
    if (said.destination.len)
        c->destination = peer_from(&said.destination);
    return OK;
}

static void run(void *arg);

static void shaken(void *owner, struct io *io, err why)
{
    struct connection *c = owner;
    (void)io;
    c->phase = CONNECTING;
    if (why)
        end(c, why);
    else
        fiber_spawn(run, c);
}

static void run(void *arg)
{
    struct connection *c = arg;
    err e = c->proxied && !c->header_read ? read_header(c) : OK;
    if (!e && here.aborting)
        e = ERR_CANCELLED;
    if (!e && c->listening->tls && !tls_of(c->client)) {
        c->phase = WAITING;
        tls_listener_shake(c->listening, c->client, shaken, c);
        return;
    }
    if (!e)
        e = open_upstream(c);
    if (!e && here.aborting)
        e = ERR_CANCELLED;
    if (e) {
        end(c, e);
        return;
    }
    metric_observe_ns(c->listening->cells, TCP_CONNECT, (worker_now_us() - c->start_us) * 1000);
    c->phase = JOINED;
    tunnel_start(&c->tunnel, c->client, c->upstream, c->listening->idle_us, tunnel_done);
}

/* ---- coming ---- */

static void header_woke(void *owner, err why)
{
    struct connection *c = owner;
    if (why) {
        end(c, why);
        return;
    }
    c->phase = CONNECTING;
    fiber_spawn(run, c);
}

static void on_accept(void *owner, struct io *io)
{
    struct l4_tcp *t = owner;
    struct listening *l = listening_find(gate_current(), &t->at, LISTEN_TCP);
    if (!l) { /* a reload has taken the listener away, and its last clients come while it is being closed */
        io_abort(io, true);
        return;
    }
    struct connection *c = pool_take(&here.pool);
    *c = (struct connection){ .listener = t,
                              .gate = gate_current(),
                              .listening = l,
                              .client = io,
                              .start_us = worker_now_us(),
                              .peer = peer_of(io_fd(io)) };
    gate_hold(c->gate);
    list_push_back(&here.all, &c->link);
    here.count++;
    t->connections++;
    metric_inc(l->cells, TCP_CONNECTIONS);
    metric_add(l->cells, TCP_OPEN, 1);
    struct addr peer = peer_addr(&c->peer);
    switch (listening_judge(l, &peer)) {
    case LISTENING_REFUSED:
        end(c, ERR_DENIED);
        break;
    case LISTENING_PROXIED:
        c->proxied = true;
        io_park(io, header_woke, c, deadline_in_ms(c->gate->generation->conf->client->head_timeout_ms));
        break;
    case LISTENING_PLAIN:
        if (l->tls) {
            tls_listener_shake(l, io, shaken, c);
            break;
        }
        c->phase = CONNECTING;
        fiber_spawn(run, c);
        break;
    }
}

/* ---- listeners ---- */

err l4_tcp_start(int fd, const struct addr *at, struct l4_tcp **ret_tcp)
{
    prepare();
    struct l4_tcp *t = mem_get(sizeof *t);
    if (!t)
        return ERR_MEMORY;
    t->at = *at;
    const struct listening *l = listening_find(gate_current(), at, LISTEN_TCP);
    err e = io_listen_within(fd, l ? (uint32_t)l->conf->connections_max : 0, on_accept, t, &t->io);
    if (e) {
        mem_free(t);
        return e;
    }
    *ret_tcp = t;
    return OK;
}

void l4_tcp_stop(struct l4_tcp *t)
{
    struct io_listener *io = t->io;
    t->connections++; /* so that it lives while its last clients come, and perhaps go */
    t->io = NULL;
    io_listener_close(io, true);
    if (--t->connections == 0)
        mem_free(t);
}

void l4_tcp_look(struct l4_tcp *t)
{
    look_at_room(t);
}

uint32_t l4_tcp_count(void)
{
    return here.count;
}

/* One that connects sees it when its fiber is cancelled. */
void l4_tcp_abort(void)
{
    if (!here.ready)
        return;
    here.aborting = true;
    struct link *at = here.all.next;
    while (at != &here.all) {
        struct connection *c = container_of(at, struct connection, link);
        at = at->next;
        if (c->phase == JOINED) {
            tunnel_cancel(&c->tunnel);
        } else if (c->phase == WAITING) {
            io_unpark(c->client);
            end(c, ERR_CANCELLED);
        }
    }
}

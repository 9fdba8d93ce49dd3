#include "gate/upstream.h"

#include <stdio.h>

#include "base/mem.h"
#include "base/must.h"
#include "base/pool.h"
#include "gate/tls_service.h"
#include "gate/upstream_http2.h"
#include "gate/upstream_shared.h"

/* This worker's upstreams and the objects they are made of. */
static _Thread_local struct {
    bool ready;
    struct link all;
    struct pool conns;
    struct turn_hook end;
} here;

static void end_pool(struct turn_hook *h)
{
    (void)h;
    pool_close(&here.conns);
    here.ready = false;
}

static void prepare(void)
{
    if (here.ready)
        return;
    here.end.run = end_pool;
    worker_on_end(&here.end);
    list_init(&here.all);
    pool_init(&here.conns, sizeof(struct upstream_conn));
    here.ready = true;
}

static struct upstream *find(struct bytes name)
{
    LIST_EACH (at, &here.all) {
        struct upstream *u = container_of(at, struct upstream, link);
        if (bytes_eq(u->name, name))
            return u;
    }
    return NULL;
}

/* congestion stays at the end. */
static size_t make_name(char *out, size_t size, struct bytes service, const struct addr *addr,
                        const struct tcp_conf *tcp, const struct tls_service *tls)
{
    char text[ADDR_TEXT_BYTES_MAX];
    addr_print(addr, text);
    int n = snprintf(out, size, "%.*s %s %d%d%d %llu %llu %llu %llx %s", BYTES_ARG(service), text,
                     tcp->nodelay, tcp->keepalive, tcp->fast_open, (unsigned long long)tcp->keepalive_idle_ms,
                     (unsigned long long)tcp->send_buffer_bytes, (unsigned long long)tcp->recv_buffer_bytes,
                     (unsigned long long)(tls ? tls_service_number(tls) : 0),
                     tcp->congestion.len ? tcp->congestion.ptr : "");
    return (size_t)n < size ? (size_t)n : size - 1;
}

static void set_tcp(struct upstream *u, const struct tcp_conf *tcp)
{
    u->tcp = (struct tcp_options){
        .nodelay = tcp->nodelay,
        .keepalive = tcp->keepalive,
        .fast_open = tcp->fast_open,
        .keepalive_idle_ms = tcp->keepalive_idle_ms,
        .send_buffer_bytes = tcp->send_buffer_bytes,
        .recv_buffer_bytes = tcp->recv_buffer_bytes,
        /* the name ends with it, and lives as long as the upstream does; the configuration does not */
        .congestion = tcp->congestion.len ? u->name.ptr + u->name.len - tcp->congestion.len : NULL,
    };
}

struct upstream *upstream_get(struct bytes service, const struct addr *addr, const struct tcp_conf *tcp)
{
    return upstream_get_tls(service, addr, tcp, NULL, NULL);
}

static struct upstream *make(struct bytes name, const struct addr *addr, const struct tcp_conf *tcp,
                             struct tls_service *tls, const struct server_conf *server)
{
    struct upstream *u = mem_get(sizeof *u);
    if (!u)
        return NULL;
    if (tls && !(u->tls = tls_client_open(tls, server))) {
        mem_free(u);
        return NULL;
    }
    memcpy(u->text, name.ptr, name.len);
    u->name = (struct bytes){ u->text, name.len };
    u->addr = *addr;
    set_tcp(u, tcp);
    list_init(&u->idle);
    list_init(&u->shared);
    wait_queue_init(&u->waiting);
    list_init(&u->http2);
    wait_queue_init(&u->http2_waiting);
    list_push_back(&here.all, &u->link);
    return u;
}

struct upstream *upstream_get_tls(struct bytes service, const struct addr *addr, const struct tcp_conf *tcp,
                                  struct tls_service *tls, const struct server_conf *server)
{
    char text[sizeof((struct upstream *)0)->text];
    prepare();
    struct bytes name = { text, make_name(text, sizeof text, service, addr, tcp, tls) };
    struct upstream *u = find(name);
    if (u && tls)
        tls_client_use(u->tls, tls);
    else if (!u)
        u = make(name, addr, tcp, tls, server);
    if (!u)
        return NULL;
    u->holds++;
    u->generations++;
    return u;
}

void upstream_drop_hold(struct upstream *u)
{
    if (--u->holds)
        return;
    list_remove(&u->link);
    tls_client_close(u->tls);
    mem_free(u);
}

static void conn_end(struct upstream_conn *c)
{
    struct upstream *u = c->upstream;
    io_close(c->io, 0, false);
    pool_give(&here.conns, c);
    u->connections--;
    upstream_wake_one(u);
    upstream_drop_hold(u);
}

static void close_all_idle(struct upstream *u)
{
    struct link *l;
    upstream_shared_close_idle(u);
#if WEIR_HAVE_NGHTTP2
    upstream_http2_close_idle(u);
#endif
    while ((l = list_pop_front(&u->idle))) {
        struct upstream_conn *c = container_of(l, struct upstream_conn, link);
        u->idle_count--;
        io_unpark(c->io);
        conn_end(c);
    }
}

void upstream_put(struct upstream *u)
{
    must(u->generations > 0);
    if (--u->generations == 0)
        close_all_idle(u);
    upstream_drop_hold(u);
}

void upstream_close_idle(void)
{
    if (!here.ready)
        return;
    struct link *at = here.all.next;
    while (at != &here.all) {
        struct upstream *u = container_of(at, struct upstream, link);
        at = at->next;
        u->holds++; /* while its connections let go of it */
        close_all_idle(u);
        upstream_drop_hold(u);
    }
}

/* An idle connection has something to say: it has ended, or its server speaks out of turn. Either way it
 * goes. */
static void idle_woke(void *owner, err why)
{
    (void)why;
    struct upstream_conn *c = owner;
    list_remove(&c->link);
    c->upstream->idle_count--;
    conn_end(c);
}

static struct upstream_conn *take_idle(struct upstream *u)
{
    struct link *l = list_pop_front(&u->idle);
    if (!l)
        return NULL;
    struct upstream_conn *c = container_of(l, struct upstream_conn, link);
    u->idle_count--;
    io_unpark(c->io);
    c->reused = true;
    return c;
}

err upstream_shake(struct upstream *u, struct io *io, uint64_t deadline_us)
{
    return u->tls ? tls_client_shake(u->tls, io, true, deadline_us) : OK;
}

err upstream_connect(struct upstream *u, bool proxied, uint64_t deadline_us, struct io **ret_io)
{
    struct io *io;
    err e = tcp_connect(&u->addr, &u->tcp, deadline_us, &io);
    if (e || proxied || !u->tls) {
        if (!e)
            *ret_io = io;
        return e;
    }
    e = upstream_shake(u, io, deadline_us);
    if (e)
        io_close(io, 0, false);
    else
        *ret_io = io;
    return e;
}

static err open_conn(struct upstream *u, const struct service_conf *conf, uint64_t deadline_us,
                     struct upstream_conn **ret_conn)
{
    uint64_t connect_us = deadline_in_ms(conf->connect_timeout_ms);
    struct io *io;
    u->holds++;
    u->connections++;
    err e =
        upstream_connect(u, conf->proxy_protocol, connect_us < deadline_us ? connect_us : deadline_us, &io);
    if (e) {
        u->connections--;
        upstream_wake_one(u);
        upstream_drop_hold(u);
        return e;
    }
    struct upstream_conn *c = pool_take(&here.conns);
    memset(c, 0, sizeof *c);
    c->io = io;
    c->upstream = u;
    c->connected_us = worker_now_us();
    *ret_conn = c;
    return OK;
}

void upstream_wake_one(struct upstream *u)
{
    if (u->waiting.count && wait_queue_wake_one(&u->waiting))
        u->promised++;
}

/* Room for one more connection, beyond what is promised to those who wait? */
static bool has_room(const struct upstream *u, const struct service_conf *conf)
{
    return u->connections + u->promised < (uint64_t)conf->connections_max;
}

static err wait_turn(struct upstream *u, const struct service_conf *conf, uint64_t deadline_us)
{
    if (u->waiting.count >= (uint64_t)conf->waiting_max)
        return ERR_LIMIT;
    err e = wait_queue_wait(&u->waiting, deadline_us);
    if (!e)
        u->promised--;
    return e == ERR_TIMEOUT ? ERR_LIMIT : e;
}

/* What is there now for one whose turn it is. OK with *ret_conn NULL: nothing. */
static err take_now(struct upstream *u, const struct service_conf *conf, bool fresh, uint64_t deadline_us,
                    struct upstream_conn **ret_conn, bool *ret_connecting)
{
    *ret_conn = NULL;
    if (!fresh && u->idle_count > u->promised) {
        *ret_conn = take_idle(u);
        return OK;
    }
    if (fresh && !has_room(u, conf) && u->idle_count > u->promised)
        conn_end(take_idle(u)); /* make room: one that rests for one that is new */
    if (!has_room(u, conf))
        return OK;
    *ret_connecting = true;
    return open_conn(u, conf, deadline_us, ret_conn);
}

err upstream_take(struct upstream *u, const struct service_conf *conf, bool fresh, uint64_t deadline_us,
                  struct upstream_conn **ret_conn, bool *ret_connecting)
{
    uint64_t wait_us = 0;
    fresh |= conf->proxy_protocol != 0; /* its header is one client's */
    *ret_connecting = false;
    for (;;) {
        err e = take_now(u, conf, fresh, deadline_us, ret_conn, ret_connecting);
        if (e || *ret_conn)
            return e;
        if (!wait_us)
            wait_us = deadline_in_ms(conf->wait_timeout_ms);
        e = wait_turn(u, conf, wait_us < deadline_us ? wait_us : deadline_us);
        if (e)
            return e;
    }
}

void upstream_give(struct upstream_conn *c, const struct service_conf *conf, bool reusable)
{
    struct upstream *u = c->upstream;
    c->x = NULL;
    c->server = NULL;
    if (!reusable || conf->upstream == UPSTREAM_CLOSE || conf->proxy_protocol || !u->generations ||
        io_peer_ended(c->io) || io_failed(c->io) || io_peek(c->io).len ||
        u->idle_count >= (uint64_t)conf->idle_max) {
        conn_end(c);
        return;
    }
    list_push_front(&u->idle, &c->link);
    u->idle_count++;
    io_park(c->io, idle_woke, c, deadline_in_ms(conf->idle_timeout_ms));
    upstream_wake_one(u);
}

bool upstream_enter(struct upstream *u, const struct service_conf *conf)
{
    if (!has_room(u, conf))
        return false;
    u->holds++;
    u->connections++;
    return true;
}

void upstream_leave(struct upstream *u)
{
    u->connections--;
    upstream_wake_one(u);
    upstream_drop_hold(u);
}

#include "gate/tls_listener.h"

#if WEIR_HAVE_OPENSSL

#include <pthread.h>
#include <stdio.h>
#include <time.h>

#include "base/mem.h"
#include "base/pool.h"
#include "core/log.h"
#include "gate/alpn.h"
#include "gate/clients.h"
#include "gate/gate.h"
#include "gate/gate_conf.h"
#include "gate/listening.h"
#include "gate/proxied.h"
#include "gate/shared.h"
#include "gate/tls_counts.h"
#include "net/tls.h"
#include "net/tls_conf.h"
#include "net/tls_context.h"
#include "net/tls_staple.h"
#include "net/tls_tickets.h"

struct tls_listener {
    const struct listen_conf *listen;
    const struct tls_listen_conf *conf;
    struct ssl_ctx_st *context;
    /* Protects context, which is replaced when a file has changed; a handshake takes hold of it. Nothing is
     * waited for with it held. */
    pthread_mutex_t mutex;
    struct tls_tickets *tickets; /* own, or those of all listeners that have no file with keys */
    struct tls_tickets own;
    uint64_t stamp; /* of the files that the context was made of */
};

/* ---- on the control thread ---- */

static bool rotate(const struct tls_listener *l)
{
    if (l->tickets == &l->own || shared_is_given())
        return true;
    return tls_tickets_rotate(l->tickets, (uint64_t)time(NULL), l->conf->ticket_rotate_ms / 1000);
}

static err open_tickets(struct tls_listener *l, struct diag *reterr)
{
    if (l->conf->ticket_keys.len) {
        l->tickets = &l->own;
        return tls_ticket_keys_read(l->conf, &l->own, reterr);
    }
    l->tickets = shared_get(BYTES("tls tickets 1"), sizeof *l->tickets);
    return l->tickets && rotate(l) ? OK : ERR_MEMORY;
}

/* What is spoken behind the handshake (RFC 7301); who offers none of it gets no connection. */
static struct bytes alpn_of(const struct listen_conf *l)
{
#define X(length, name, take) length name
    switch (listen_kind(l)) {
    case LISTEN_HTTP:
        return l->http2 ? BYTES(ALPN_LIST(X)) : BYTES(ALPN_HTTP1(X));
    case LISTEN_ADMIN:
    case LISTEN_LEDGER:
        return BYTES(ALPN_HTTP1(X));
    default:
        return BYTES_NONE;
    }
#undef X
}

static err make_context(const struct tls_listener *l, struct ssl_ctx_st **ret_context, struct diag *reterr)
{
    return tls_listen_context(l->conf, &l->listen->address, alpn_of(l->listen), l->tickets, ret_context,
                              reterr);
}

err tls_listener_open(const struct listen_conf *conf, struct tls_listener **ret_listener, struct diag *reterr)
{
    struct tls_listener *l = mem_get(sizeof *l);
    if (!l)
        return ERR_MEMORY;
    l->listen = conf;
    l->conf = conf->tls;
    tls_staple_keep_in(shared_get, shared_put);
    pthread_mutex_init(&l->mutex, NULL);
    l->stamp = tls_listen_files_stamp(conf->tls);
    err e = open_tickets(l, reterr);
    if (!e)
        e = make_context(l, &l->context, reterr);
    if (e) {
        tls_listener_close(l);
        return e;
    }
    *ret_listener = l;
    return OK;
}

void tls_listener_close(struct tls_listener *l)
{
    if (!l)
        return;
    tls_context_drop(l->context);
    if (l->tickets && l->tickets != &l->own)
        shared_put(l->tickets);
    pthread_mutex_destroy(&l->mutex);
    mem_free(l);
}

static err read_again(struct tls_listener *l, struct diag *reterr)
{
    struct ssl_ctx_st *fresh;
    err e = l->tickets == &l->own ? tls_ticket_keys_read(l->conf, &l->own, reterr) : OK;
    if (!e)
        e = make_context(l, &fresh, reterr);
    if (e)
        return e;
    pthread_mutex_lock(&l->mutex);
    struct ssl_ctx_st *old = l->context;
    l->context = fresh;
    pthread_mutex_unlock(&l->mutex);
    tls_context_drop(old);
    return OK;
}

enum tls_look tls_listener_look(struct tls_listener *l)
{
    struct diag d = DIAG_NONE;
    char text[ADDR_TEXT_BYTES_MAX];
    uint64_t stamp = tls_listen_files_stamp(l->conf);
    if (!rotate(l))
        log_error("tls", "no random bytes for a new ticket key");
    if (stamp == l->stamp)
        return TLS_LOOK_SAME;
    l->stamp = stamp;
    addr_print(&l->listen->address, text);
    err e = read_again(l, &d);
    if (e)
        log_error("tls", "what was read before is kept listen=%s why=\"%s\"", text,
                  d.set ? d.text : err_text(e));
    else
        log_info("tls", "files have changed and were read again listen=%s", text);
    return e ? TLS_LOOK_BAD : TLS_LOOK_FRESH;
}

struct ssl_ctx_st *tls_listener_context(struct tls_listener *l)
{
    pthread_mutex_lock(&l->mutex);
    struct ssl_ctx_st *c = l->context;
    tls_context_hold(c);
    pthread_mutex_unlock(&l->mutex);
    return c;
}

void tls_listener_warnings(struct tls_listener *l, void (*fn)(void *arg, const char *name, const char *what),
                           void *arg)
{
    size_t count;
    char text[300];
    struct ssl_ctx_st *context = tls_listener_context(l);
    const struct tls_certificate *c = tls_context_certificates(context, &count);
    for (size_t i = 0; i < count; i++) {
        snprintf(text, sizeof text, "goes without an OCSP answer: %s", c[i].ocsp_why);
        if (c[i].expired)
            fn(arg, c[i].name, "has ended");
        if (c[i].ocsp_why[0])
            fn(arg, c[i].name, text);
    }
    tls_context_drop(context);
}

/* ---- what arrives, on a worker ---- */

enum arrival_phase { HEADER_AWAITED, HEADER_READ, SHAKING };

struct arrival {
    struct client_conn client;
    struct io *io;
    struct gate *gate;           /* held: its listener is used */
    struct listening *listening; /* the gate's */
    tls_taker *taker;            /* NULL: by ALPN */
    uint64_t deadline_us;
    struct peer peer;
    uint8_t phase;
};

static _Thread_local struct {
    struct pool pool;
    struct turn_hook end;
} here;

static void end_here(struct turn_hook *h)
{
    (void)h;
    pool_close(&here.pool);
    here.pool.object_bytes = 0;
}

static void prepare(void)
{
    if (here.pool.object_bytes)
        return;
    pool_init(&here.pool, sizeof(struct arrival));
    here.end.run = end_here;
    worker_on_end(&here.end);
}

static void arrival_free(struct arrival *a)
{
    struct gate *g = a->gate;
    clients_remove(&a->client);
    pool_give(&here.pool, a);
    gate_drop(g);
}

static void give_up(struct arrival *a)
{
    io_close(a->io, 0, false);
    arrival_free(a);
}

/* ---- the protocol's part */

static tls_taker *taker_of(struct bytes alpn)
{
#define X(length, name, take)        \
    if (bytes_eq(alpn, BYTES(name))) \
        return take;
    ALPN_LIST(X)
#undef X
    return http1_server_accept_from;
}

static void shaken(void *owner, struct io *io, err why)
{
    struct arrival *a = owner;
    if (why) {
        give_up(a);
        return;
    }
    struct clients *s = a->client.clients;
    struct peer peer = a->peer;
    tls_taker *take = a->taker ? a->taker : taker_of(tls_alpn(tls_of(io)));
    arrival_free(a);
    take(s, io, &peer);
}

static void accept_with(struct listening *l, struct io *io, uint64_t deadline_us,
                        void (*done)(void *owner, struct io *io, err why), void *owner)
{
    struct ssl_ctx_st *c = tls_listener_context(l->tls);
    tls_accept(io, c, &l->tls_counts->watcher, deadline_us, done, owner);
    tls_context_drop(c);
}

void tls_listener_shake(struct listening *l, struct io *io, void (*done)(void *owner, struct io *io, err why),
                        void *owner)
{
    accept_with(l, io, deadline_in_ms(l->conf->tls->handshake_timeout_ms), done, owner);
}

static void shake(struct arrival *a)
{
    a->phase = SHAKING;
    accept_with(a->listening, a->io, a->deadline_us, shaken, a);
}

static void read_header(void *arg)
{
    struct arrival *a = arg;
    struct proxy_protocol said;
    a->peer = peer_of(io_fd(a->io));
    if (proxied_read(a->io, &a->peer, a->deadline_us, &said)) {
        give_up(a);
        return;
    }
    if (!said.local)
        a->peer = peer_from(&said.source);
    shake(a);
}

static void header_woke(void *owner, err why)
{
    struct arrival *a = owner;
    a->phase = HEADER_READ;
    if (why == OK)
        fiber_spawn(read_header, a);
    else
        give_up(a);
}

/* ---- let go of */

/* Who has begun is given the time that it has. */
static void close_idle(struct client_conn *c, bool used_only)
{
    struct arrival *a = container_of(c, struct arrival, client);
    if (used_only || a->phase != HEADER_AWAITED)
        return;
    io_unpark(a->io);
    give_up(a);
}

static void abort_now(struct client_conn *c)
{
    struct arrival *a = container_of(c, struct arrival, client);
    shutdown(io_fd(a->io), SHUT_RDWR); /* whoever waits for it sees its end */
}

static const struct client_protocol arrival_protocol = { .close_idle = close_idle, .abort = abort_now };

void tls_listener_accept(struct listening *l, struct clients *clients, struct io *io, bool proxied,
                         tls_taker *taker)
{
    prepare();
    struct arrival *a = pool_take(&here.pool);
    *a = (struct arrival){ .io = io,
                           .gate = gate_current(),
                           .listening = l,
                           .taker = taker,
                           .deadline_us = deadline_in_ms(l->conf->tls->handshake_timeout_ms) };
    gate_hold(a->gate);
    clients_add(clients, &a->client, &arrival_protocol);
    if (proxied) {
        a->phase = HEADER_AWAITED;
        io_park(io, header_woke, a, a->deadline_us);
    } else {
        shake(a);
    }
}

#else

err tls_listener_open(const struct listen_conf *conf, struct tls_listener **ret_listener, struct diag *reterr)
{
    (void)conf;
    (void)ret_listener;
    diag_set(reterr, "tls: this weir was built without OpenSSL");
    return ERR_CONF;
}

void tls_listener_close(struct tls_listener *l)
{
    (void)l;
}

enum tls_look tls_listener_look(struct tls_listener *l)
{
    (void)l;
    return TLS_LOOK_SAME;
}

void tls_listener_warnings(struct tls_listener *l, void (*fn)(void *arg, const char *name, const char *what),
                           void *arg)
{
    (void)l;
    (void)fn;
    (void)arg;
}

void tls_listener_shake(struct listening *l, struct io *io, void (*done)(void *owner, struct io *io, err why),
                        void *owner)
{
    (void)l;
    done(owner, io, ERR_UNSUPPORTED);
}

void tls_listener_accept(struct listening *l, struct clients *clients, struct io *io, bool proxied,
                         tls_taker *taker)
{
    (void)l;
    (void)clients;
    (void)proxied;
    (void)taker;
    io_abort(io, true);
}

#endif

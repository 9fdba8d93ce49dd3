#include "gate/listeners.h"

#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"
#include "core/io.h"
#include "core/log.h"
#include "gate/call.h"
#include "gate/clients.h"
#include "gate/gate.h"
#include "gate/http1_server.h"
#include "gate/http3_listen.h"
#include "gate/http3_server.h"
#include "gate/l4.h"
#include "gate/listening.h"
#include "gate/process.h"
#include "gate/resp.h"
#include "gate/tls_listener.h"
#include "net/tcp.h"
#include "net/udp.h"

/* One socket that one worker accepts on; by the listener's kind. */
struct accepting {
    struct accepting *next;
    struct io_listener *io;
    struct l4_tcp *tcp;
    struct l4_udp *udp;
    struct quic_listener *quic;
};

struct listener {
    struct link link;
    struct addr addr;
    enum listen_kind kind;
    bool proxied, tls;
    char name[512]; /* address and options: what makes it the same over a reload */
    bool wanted, used;
    bool given;     /* the next process accepts on it too */
    unsigned count; /* at least one a worker: socket i is worker i modulo workers' */
    int *fds;
    struct accepting *accepting; /* one a socket, filled on its worker */
};

/* Of the process before this one. */
struct adopted {
    struct link link;
    char name[sizeof((struct listener *)0)->name];
    bool used;
    unsigned count;
    int *fds;
};

static struct link all = { &all, &all };
static struct link adopted = { &adopted, &adopted };

static void make_name(const struct listen_conf *l, enum listen_kind kind, char *out, size_t size)
{
    char text[ADDR_TEXT_BYTES_MAX];
    const struct tcp_conf *t = &l->tcp;
    addr_print(&l->address, text);
    static const char *const kinds[] = { "http", "tcp", "udp", "udp http3", "resp" };
    snprintf(out, size, "%s%s%s %s %lld %d%d%d %llu %llu %llu %s", kinds[kind], l->tls ? " tls" : "",
             l->proxy_protocol ? " proxied" : "", text, (long long)l->backlog, t->nodelay, t->keepalive,
             t->fast_open, (unsigned long long)t->keepalive_idle_ms, (unsigned long long)t->send_buffer_bytes,
             (unsigned long long)t->recv_buffer_bytes, t->congestion.len ? t->congestion.ptr : "");
}

static struct listener *find_name(const char *name)
{
    LIST_EACH (at, &all) {
        struct listener *l = container_of(at, struct listener, link);
        if (strcmp(l->name, name) == 0)
            return l;
    }
    return NULL;
}

static bool is_udp(enum listen_kind kind)
{
    return kind == LISTEN_UDP || kind == LISTEN_HTTP3;
}

/* Sockets of one protocol and address share a port; TCP and UDP have ports of their own. */
static struct listener *find_addr(const struct addr *a, bool udp)
{
    LIST_EACH (at, &all) {
        struct listener *l = container_of(at, struct listener, link);
        if (addr_eq(&l->addr, a) && is_udp(l->kind) == udp)
            return l;
    }
    return NULL;
}

static void listener_free(struct listener *l, bool close_fds)
{
    for (unsigned i = 0; i < l->count && close_fds; i++)
        close(l->fds[i]);
    list_remove(&l->link);
    mem_free(l->fds);
    mem_free(l->accepting);
    mem_free(l);
}

static err open_fd(const struct listen_conf *conf, enum listen_kind kind, const struct tcp_options *opts,
                   int first, int *ret_fd, struct diag *reterr)
{
    if (!is_udp(kind))
        return first >= 0 ? tcp_listen_again(&conf->address, opts, first, ret_fd, reterr)
                          : tcp_listen(&conf->address, opts, true, ret_fd, reterr);
    return first >= 0
               ? udp_listen_again(first, opts->send_buffer_bytes, opts->recv_buffer_bytes, ret_fd, reterr)
               : udp_listen(&conf->address, opts->send_buffer_bytes, opts->recv_buffer_bytes, ret_fd, reterr);
}

static struct adopted *find_adopted(const char *name)
{
    LIST_EACH (at, &adopted) {
        struct adopted *a = container_of(at, struct adopted, link);
        if (!a->used && strcmp(a->name, name) == 0)
            return a;
    }
    return NULL;
}

/* One with the same address and other options: its first socket; -1: none. */
static int find_adopted_addr(const struct addr *addr, bool udp)
{
    char text[ADDR_TEXT_BYTES_MAX], wanted[ADDR_TEXT_BYTES_MAX + 2];
    addr_print(addr, text);
    snprintf(wanted, sizeof wanted, " %s ", text);
    LIST_EACH (at, &adopted) {
        const struct adopted *a = container_of(at, struct adopted, link);
        if (strstr(a->name, wanted) && (strncmp(a->name, "udp", 3) == 0) == udp)
            return a->fds[0];
    }
    return -1;
}

/* first: a socket on the address already; -1: none. */
static err open_fds(struct listener *l, const struct listen_conf *conf, int first, unsigned workers,
                    struct diag *reterr)
{
    const struct tcp_conf *t = &conf->tcp;
    const struct tcp_options opts = {
        .congestion = t->congestion.len ? t->congestion.ptr : NULL,
        .nodelay = t->nodelay,
        .keepalive = t->keepalive,
        .fast_open = t->fast_open,
        .keepalive_idle_ms = t->keepalive_idle_ms,
        .send_buffer_bytes = t->send_buffer_bytes,
        .recv_buffer_bytes = t->recv_buffer_bytes,
        .backlog = (int)conf->backlog,
    };
    for (unsigned i = l->count; i < workers; i++) {
        if (i)
            first = l->fds[0];
        err e = open_fd(conf, l->kind, &opts, first, &l->fds[i], reterr);
        if (e)
            return e;
        l->count = i + 1;
    }
    return OK;
}

static err open_one(const struct listen_conf *conf, enum listen_kind kind, const char *name, unsigned workers,
                    struct diag *reterr)
{
    struct listener *l = mem_get(sizeof *l);
    if (!l)
        return ERR_MEMORY;
    snprintf(l->name, sizeof l->name, "%s", name);
    l->addr = conf->address;
    l->kind = kind;
    l->proxied = conf->proxy_protocol != NULL;
    l->tls = conf->tls != NULL;
    l->wanted = true;
    struct adopted *a = find_adopted(name);
    unsigned count = a && a->count > workers ? a->count : workers;
    l->fds = mem_get(count * sizeof *l->fds);
    l->accepting = mem_get(count * sizeof *l->accepting);
    if (a && l->fds) {
        memcpy(l->fds, a->fds, a->count * sizeof *l->fds);
        l->count = a->count;
        a->used = true;
    }
    bool udp = is_udp(kind);
    const struct listener *same = find_addr(&conf->address, udp);
    int first = same ? same->fds[0] : find_adopted_addr(&conf->address, udp);
    err e = l->fds && l->accepting ? open_fds(l, conf, first, workers, reterr) : ERR_MEMORY;
    list_push_back(&all, &l->link);
    if (e)
        listener_free(l, true);
    return e;
}

/* Keeps the one that there is. */
static err want_one(const struct listen_conf *conf, enum listen_kind kind, unsigned workers,
                    struct diag *reterr)
{
    char name[sizeof((struct listener *)0)->name];
    make_name(conf, kind, name, sizeof name);
    struct listener *l = find_name(name);
    if (l && l->wanted) {
        diag_set(reterr, "listen: %s stands twice", name);
        return ERR_CONF;
    }
    if (!l)
        return open_one(conf, kind, name, workers, reterr);
    l->wanted = true;
    return OK;
}

err listeners_open(const struct conf_list *listen, unsigned workers, struct diag *reterr)
{
    LIST_EACH (at, &all)
        container_of(at, struct listener, link)->wanted = false;
    for (size_t i = 0; i < listen->count; i++) {
        const struct listen_conf *conf = (const struct listen_conf *)listen->items + i;
        const enum listen_kind kind = listen_kind(conf);
        if (kind >= LISTEN_ADMIN)
            continue;
        err e = want_one(conf, kind, workers, reterr);
        if (!e && conf->http3)
            e = want_one(conf, LISTEN_HTTP3, workers, reterr);
        if (e) {
            listeners_undo();
            return e;
        }
    }
    return OK;
}

void listeners_undo(void)
{
    struct link *at = all.next;
    while (at != &all) {
        struct listener *l = container_of(at, struct listener, link);
        at = at->next;
        if (!l->used)
            listener_free(l, true);
    }
}

/* ---- on the workers ---- */

struct per_worker {
    struct listener *listener;
    unsigned index;
    err failed;
};

/* Sockets that this worker accepts on. */
static _Thread_local struct accepting *accepting_here;

void listeners_full_here(bool full)
{
    for (struct accepting *a = accepting_here; a; a = a->next)
        io_listener_pause(a->io, full);
}

static void on_accept(void *owner, struct io *io)
{
    (void)owner;
    http1_server_accept(process_clients(), io);
}

static void take(struct listening *here, struct io *io, bool proxied)
{
    struct clients *clients = process_clients();
    if (here && here->tls)
        tls_listener_accept(here, clients, io, proxied, NULL);
    else if (proxied)
        http1_server_accept_proxied(clients, io);
    else
        http1_server_accept(clients, io);
}

/* A client that comes while its listener is being taken away is taken as it would be without; but TLS needs
 * its settings. */
static void on_accept_special(void *owner, struct io *io)
{
    static struct log_limit limit = LOG_LIMIT(1);
    struct listener *l = owner;
    struct listening *here = listening_find(gate_current(), &l->addr, LISTEN_HTTP);
    struct peer p = peer_of(io_fd(io));
    struct addr peer = peer_addr(&p);
    char text[ADDR_TEXT_BYTES_MAX];
    if (!here && l->tls) {
        io_abort(io, true);
        return;
    }
    switch (here ? listening_judge(here, &peer) : LISTENING_PLAIN) {
    case LISTENING_REFUSED:
        addr_print(&peer, text);
        log_limited(&limit, LOG_WARN, "proxy_protocol",
                    "refused a peer that is not trusted peer=%s listen=%s", text, here->text);
        io_abort(io, true);
        break;
    case LISTENING_PROXIED:
        take(here, io, true);
        break;
    case LISTENING_PLAIN:
        take(here, io, false);
        break;
    }
}

static void take_resp(struct clients *clients, struct io *io, const struct peer *peer)
{
    (void)peer;
    resp_accept(clients, io);
}

static void on_accept_resp(void *owner, struct io *io)
{
    struct listener *l = owner;
    struct listening *here = listening_find(gate_current(), &l->addr, LISTEN_RESP);
    if (!l->tls)
        resp_accept(process_clients(), io);
    else if (here && here->tls)
        tls_listener_accept(here, process_clients(), io, false, take_resp);
    else
        io_abort(io, true);
}

static void start_accepting(void *arg)
{
    struct per_worker *p = arg;
    struct listener *l = p->listener;
    struct accepting *a = &l->accepting[p->index];
    int fd = l->fds[p->index];
    if (l->kind == LISTEN_TCP)
        p->failed = l4_tcp_start(fd, &l->addr, &a->tcp);
    else if (l->kind == LISTEN_UDP)
        p->failed = l4_udp_start(fd, &l->addr, &a->udp);
    else if (l->kind == LISTEN_RESP)
        p->failed = io_listen(fd, on_accept_resp, l, &a->io);
#if WEIR_HAVE_NGTCP2
    else if (l->kind == LISTEN_HTTP3)
        p->failed = quic_listener_start(fd, &l->addr, &http3_owner, &a->quic);
#endif
    else
        p->failed = io_listen(fd, l->proxied || l->tls ? on_accept_special : on_accept, l, &a->io);
    if (p->failed || l->kind != LISTEN_HTTP)
        return;
    a->next = accepting_here;
    accepting_here = a;
    if (process_clients()->full)
        io_listener_pause(a->io, true);
}

static void stop_accepting(void *arg)
{
    struct per_worker *p = arg;
    struct accepting *mine = &p->listener->accepting[p->index];
    if (mine->tcp) {
        l4_tcp_stop(mine->tcp);
        return;
    }
    if (mine->udp) {
        l4_udp_stop(mine->udp);
        return;
    }
#if WEIR_HAVE_NGTCP2
    if (mine->quic) {
        http3_listener_left(mine->quic);
        quic_listener_stop(mine->quic, !p->listener->given);
        return;
    }
#endif
    if (!mine->io) {
        close(p->listener->fds[p->index]);
        return;
    }
    if (p->listener->kind == LISTEN_RESP) {
        io_listener_close(mine->io, true);
        return;
    }
    struct accepting **at = &accepting_here;
    while (*at != mine)
        at = &(*at)->next;
    *at = mine->next;
    io_listener_close(mine->io, true);
}

/* The configuration has changed around a listener that stays. */
static void look_again(void *arg)
{
    struct per_worker *p = arg;
    struct accepting *mine = &p->listener->accepting[p->index];
    if (mine->tcp)
        l4_tcp_look(mine->tcp);
}

static void use_one(struct listener *l, struct worker *const *workers, unsigned count)
{
    for (unsigned i = 0; i < l->count; i++) {
        struct per_worker p = { .listener = l, .index = i };
        call_worker(workers[i % count], start_accepting, &p);
        if (p.failed)
            log_error("listener", "worker %u cannot accept on %s: %s", i % count, l->name,
                      err_text(p.failed));
    }
    l->used = true;
    char text[ADDR_TEXT_BYTES_MAX];
    struct addr bound = { .len = sizeof bound.sock };
    bool named = getsockname(l->fds[0], &bound.sock.any, &bound.len) == 0;
    addr_print(named ? &bound : &l->addr, text);
    log_info("listener", "listening address=%s", text);
}

static void close_one(struct listener *l, struct worker *const *workers, unsigned count)
{
    for (unsigned i = 0; i < l->count; i++) {
        struct per_worker p = { .listener = l, .index = i };
        call_worker(workers[i % count], stop_accepting, &p);
    }
    bool again = l->given; /* another set of sockets of ours on the same path */
    LIST_EACH (at, &all) {
        struct listener *other = container_of(at, struct listener, link);
        again |= other != l && addr_eq(&other->addr, &l->addr);
    }
    if (l->addr.sock.any.sa_family == AF_UNIX && !again)
        unlink(l->addr.sock.local.sun_path);
    listener_free(l, false);
}

void listeners_use(struct worker *const *workers, unsigned count)
{
    struct link *at;
    for (at = all.next; at != &all; at = at->next) {
        struct listener *l = container_of(at, struct listener, link);
        if (!l->used) {
            use_one(l, workers, count);
            continue;
        }
        for (unsigned i = 0; i < l->count && l->kind == LISTEN_TCP; i++) {
            struct per_worker p = { .listener = l, .index = i };
            call_worker(workers[i % count], look_again, &p);
        }
    }
    at = all.next;
    while (at != &all) {
        struct listener *l = container_of(at, struct listener, link);
        at = at->next;
        if (!l->wanted)
            close_one(l, workers, count);
    }
}

void listeners_close(struct worker *const *workers, unsigned count)
{
    while (!list_empty(&all))
        close_one(container_of(all.next, struct listener, link), workers, count);
}

/* ---- upgrades ---- */

void listeners_each(void (*fn)(void *arg, const char *name, const int *fds, unsigned count), void *arg)
{
    LIST_EACH (at, &all) {
        const struct listener *l = container_of(at, struct listener, link);
        fn(arg, l->name, l->fds, l->count);
    }
}

void listeners_give(struct bytes name)
{
    LIST_EACH (at, &all) {
        struct listener *l = container_of(at, struct listener, link);
        l->given |= bytes_eq(bytes_from(l->name), name);
    }
}

void listeners_give_none(void)
{
    LIST_EACH (at, &all)
        container_of(at, struct listener, link)->given = false;
}

static void adopted_free(struct adopted *a)
{
    for (unsigned i = 0; i < a->count && !a->used; i++)
        close(a->fds[i]);
    list_remove(&a->link);
    mem_free(a->fds);
    mem_free(a);
}

err listeners_adopt(struct bytes name, const int *fds, unsigned count)
{
    char text[sizeof((struct adopted *)0)->name];
    snprintf(text, sizeof text, "%.*s", BYTES_ARG(name));
    struct adopted *a = find_adopted(text);
    if (!a) {
        a = mem_must_get(sizeof *a);
        memcpy(a->name, text, sizeof a->name);
        list_push_back(&adopted, &a->link);
    }
    int *more = mem_must_get((a->count + count + 1) * sizeof *more);
    if (a->count)
        memcpy(more, a->fds, a->count * sizeof *more);
    memcpy(more + a->count, fds, count * sizeof *more);
    mem_free(a->fds);
    a->fds = more;
    a->count += count;
    return a->count ? OK : ERR_SYNTAX;
}

void listeners_adopted(void (*fn)(void *arg, const char *name), void *arg)
{
    while (!list_empty(&adopted)) {
        struct adopted *a = container_of(adopted.next, struct adopted, link);
        if (a->used)
            fn(arg, a->name);
        adopted_free(a);
    }
}

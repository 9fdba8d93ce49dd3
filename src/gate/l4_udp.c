/* l4_udp: UDP services.
 *
 *      clients ─▶ listener's socket ─▶ session by client and local address ─▶ its own socket ─▶ server
 *              ◀─ from that local address ◀──────────────────────────────────────────────────┘
 *
 * The kernel gives all datagrams of one client to the same worker (SO_REUSEPORT), so sessions are a worker's
 * own. One fiber a listener reads what clients send; one fiber a worker reads what servers answer, from an
 * epoll of all sessions' sockets: a session has no fiber. Sessions that were idle for too long are taken from
 * the end of a list by time. */
#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/pool.h"
#include "core/io.h"
#include "core/log.h"
#include "core/timer.h"
#include "gate/access_log.h"
#include "gate/gate.h"
#include "gate/gate_metrics.h"
#include "gate/l4.h"
#include "gate/listening.h"
#include "gate/queue.h"
#include "gate/service_open.h"
#include "net/tcp.h"
#include "net/udp.h"

#define TAG "udp"
/* Batches of one socket before others have their turn. */
#define BATCHES_PER_TURN 8
#define ANSWERS_PER_TURN 64 /* sessions */
#define SWEEP_US_MAX 1000000
#define SWEEP_US_MIN 10000
/* After its listener has stopped a session may be idle for so long. */
#define STOPPED_IDLE_US 1000000
#define BUCKETS_MAX (1u << 20)
#define WAIT_FAILED_US 10000

struct l4_udp {
    struct link link; /* of here.listeners */
    struct addr at;
    int fd;
    bool stopped;
    bool reading;         /* its fiber lives, or is about to */
    struct fiber *reader; /* NULL: not yet, or no more */
    uint32_t sessions;
    struct link by_time; /* the one idle for the longest is first */
    uint32_t bucket_mask;
    struct session **buckets;
};

struct session {
    struct link link;     /* of by_time */
    struct session *next; /* in its bucket */
    struct l4_udp *listener;
    struct gate *gate;           /* held */
    struct listening *listening; /* of it */
    struct server *server;
    int fd;
    uint32_t attempts;
    uint64_t hash;
    uint64_t start_us, active_us;
    uint64_t received_bytes, sent_bytes;
    uint64_t awaited; /* answers, where the configuration says how many come */
    struct addr client;
    struct udp_local local;
};

static _Thread_local struct {
    bool ready;
    uint32_t count; /* of sessions */
    struct link listeners;
    struct pool pool;
    struct udp_batch batch;
    int epoll;
    bool answering; /* its fiber lives, or is about to */
    struct fiber *answers;
    struct timer sweep;
    struct turn_hook end;
} here;

static void sweep(struct timer *t);

static void end_here(struct turn_hook *h)
{
    (void)h;
    timer_stop(&here.sweep);
    pool_close(&here.pool);
    udp_batch_close(&here.batch);
    close(here.epoll);
    here.ready = false;
}

static err prepare(void)
{
    if (here.ready)
        return OK;
    here.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (here.epoll < 0)
        return err_from_errno(errno);
    err e = udp_batch_open(&here.batch);
    if (e) {
        close(here.epoll);
        return e;
    }
    list_init(&here.listeners);
    pool_init(&here.pool, sizeof(struct session));
    timer_init(&here.sweep, sweep);
    here.end.run = end_here;
    worker_on_end(&here.end);
    here.ready = true;
    return OK;
}

/* ---- sessions: finding ---- */

static uint64_t hash_of(const struct udp_message *m)
{
    char key[64];
    size_t len = 0;
    const struct addr *a = &m->peer;
    if (a->sock.any.sa_family == AF_INET) {
        memcpy(key, &a->sock.v4.sin_addr, 4);
        memcpy(key + 4, &a->sock.v4.sin_port, 2);
        len = 6;
    } else {
        memcpy(key, &a->sock.v6.sin6_addr, 16);
        memcpy(key + 16, &a->sock.v6.sin6_port, 2);
        memcpy(key + 18, &a->sock.v6.sin6_scope_id, 4);
        len = 22;
    }
    memcpy(key + len, m->local.ip, 16);
    return hash_bytes((struct bytes){ key, len + 16 });
}

static bool same_peer(const struct addr *a, const struct addr *b)
{
    if (a->sock.any.sa_family != b->sock.any.sa_family)
        return false;
    if (a->sock.any.sa_family == AF_INET)
        return a->sock.v4.sin_port == b->sock.v4.sin_port &&
               a->sock.v4.sin_addr.s_addr == b->sock.v4.sin_addr.s_addr;
    return a->sock.v6.sin6_port == b->sock.v6.sin6_port &&
           a->sock.v6.sin6_scope_id == b->sock.v6.sin6_scope_id &&
           memcmp(&a->sock.v6.sin6_addr, &b->sock.v6.sin6_addr, 16) == 0;
}

static struct session *find(struct l4_udp *u, uint64_t hash, const struct udp_message *m)
{
    struct session *s = u->buckets[hash & u->bucket_mask];
    while (s && !(s->hash == hash && same_peer(&s->client, &m->peer) &&
                  memcmp(s->local.ip, m->local.ip, sizeof m->local.ip) == 0))
        s = s->next;
    return s;
}

/* ---- sessions: the end ---- */

static void as_exchange(const struct session *s, struct exchange *x, struct addr *client)
{
    struct peer peer = peer_from(&s->client);
    exchange_open(x, s->gate, NULL, 0);
    *client = peer_addr(&peer);
    x->client = client;
    x->scheme = "udp";
    x->request.method_text = BYTES("UDP");
    x->request.target = bytes_from(s->listening->text);
    x->service = s->listening->service;
    x->server = s->server;
    x->start_us = s->start_us;
    x->attempts = s->attempts;
    x->request_bytes = s->received_bytes;
    x->response_bytes = s->sent_bytes;
}

static void listener_free(struct l4_udp *u)
{
    close(u->fd);
    list_remove(&u->link);
    mem_free(u->buckets);
    mem_free(u);
}

static void answers_end(void)
{
    if (here.answers && here.count == 0 && list_empty(&here.listeners))
        fiber_cancel(here.answers);
}

static void release(struct l4_udp *u)
{
    if (u->stopped && u->sessions == 0 && !u->reading) {
        listener_free(u);
        answers_end();
    }
}

static void end(struct session *s, err why)
{
    struct l4_udp *u = s->listener;
    struct exchange x;
    struct addr client;
    as_exchange(s, &x, &client);
    x.failed = why;
    x.response.status = why == ERR_UNAVAILABLE || why == ERR_LIMIT ? 503 : why ? 502 : 200;
    access_log_exchange(&x);
    if (s->server)
        server_end(s->server, &x);
    exchange_release(&x);
    metric_sub(s->listening->cells, UDP_OPEN, 1);
    if (why)
        metric_inc(s->listening->cells, UDP_FAILURES);
    if (s->fd >= 0)
        close(s->fd); /* takes it out of the epoll as well */
    struct session **at = &u->buckets[s->hash & u->bucket_mask];
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    list_remove(&s->link);
    gate_drop(s->gate);
    pool_give(&here.pool, s);
    u->sessions--;
    here.count--;
    release(u);
}

static uint64_t idle_us(const struct session *s)
{
    uint64_t us = s->listening->idle_us;
    return s->listener->stopped && us > STOPPED_IDLE_US ? STOPPED_IDLE_US : us;
}

static void sweep_listener(struct l4_udp *u, uint64_t *period_us)
{
    struct link *at = u->by_time.next;
    while (at != &u->by_time) {
        struct session *s = container_of(at, struct session, link);
        bool last = at->next == &u->by_time; /* ending it may free the list's head */
        at = at->next;
        if (s->active_us + idle_us(s) > worker_now_us()) {
            if (idle_us(s) / 4 < *period_us)
                *period_us = idle_us(s) / 4;
            return;
        }
        end(s, OK);
        if (last)
            return;
    }
}

static void sweep(struct timer *t)
{
    uint64_t period_us = SWEEP_US_MAX;
    struct link *at = here.listeners.next;
    while (at != &here.listeners) {
        struct l4_udp *u = container_of(at, struct l4_udp, link);
        at = at->next;
        sweep_listener(u, &period_us);
    }
    if (here.count)
        timer_set(t, worker_now_us() + (period_us > SWEEP_US_MIN ? period_us : SWEEP_US_MIN));
}

/* ---- sessions: the beginning ---- */

static err connect_to(struct session *s, struct exchange *x, struct server *server)
{
    s->attempts = ++x->attempts;
    metric_inc(server->cells, UPSTREAM_REQUESTS);
    err e = udp_connect(&server->addr, &s->fd);
    struct epoll_event ev = { .events = EPOLLIN, .data.ptr = s };
    if (!e && epoll_ctl(here.epoll, EPOLL_CTL_ADD, s->fd, &ev) < 0) {
        e = err_from_errno(errno);
        close(s->fd);
        s->fd = -1;
    }
    if (e)
        return e;
    x->server = s->server = server;
    server_begin(server, x);
    return OK;
}

/* not: the server that has just failed; NULL: none */
static err choose(struct session *s, const struct server * not )
{
    struct exchange x;
    struct addr client;
    as_exchange(s, &x, &client);
    struct pick p = pick_begin(&x);
    if (not &&s->listening->service == not ->service)
        p.tried[p.tried_count++] = not ->index;
    err e = ERR_UNAVAILABLE;
    while (p.tried_count < PICK_TRIED_MAX) {
        struct server *server = queue_try(&x, &p);
        if (!server)
            break;
        e = connect_to(s, &x, server);
        if (!e)
            break;
        queue_give_up(server);
        p.tried[p.tried_count++] = server->index;
    }
    exchange_release(&x);
    return e;
}

static struct session *begin(struct l4_udp *u, const struct udp_message *m, uint64_t hash,
                             const struct server * not )
{
    struct listening *l = listening_find(gate_current(), &u->at, LISTEN_UDP);
    if (!l || u->stopped)
        return NULL;
    if (u->sessions >= (uint64_t)l->conf->sessions_max) {
        static struct log_limit limit = LOG_LIMIT(1);
        log_limited(&limit, LOG_WARN, TAG, "no room for another session listen=%s sessions_max=%lld", l->text,
                    (long long)l->conf->sessions_max);
        return NULL;
    }
    struct session *s = pool_take(&here.pool);
    *s = (struct session){ .listener = u,
                           .gate = gate_current(),
                           .listening = l,
                           .fd = -1,
                           .hash = hash,
                           .start_us = worker_now_us(),
                           .active_us = worker_now_us(),
                           .client = m->peer,
                           .local = m->local };
    gate_hold(s->gate);
    s->next = u->buckets[hash & u->bucket_mask];
    u->buckets[hash & u->bucket_mask] = s;
    list_push_back(&u->by_time, &s->link);
    u->sessions++;
    here.count++;
    metric_inc(l->cells, UDP_SESSIONS);
    metric_add(l->cells, UDP_OPEN, 1);
    if (!timer_is_set(&here.sweep))
        timer_set(&here.sweep,
                  worker_now_us() + (l->idle_us / 4 < SWEEP_US_MAX ? l->idle_us / 4 : SWEEP_US_MAX));
    err e = choose(s, not );
    if (!e)
        return s;
    end(s, e);
    return NULL;
}

static void touch(struct session *s)
{
    s->active_us = worker_now_us();
    list_remove(&s->link);
    list_push_back(&s->listener->by_time, &s->link);
}

/* ---- from clients ---- */

static uint64_t datagrams_of(const struct udp_message *m, unsigned count)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < count; i++)
        n += udp_datagrams(&m[i]);
    return n;
}

static void count_dropped(struct l4_udp *u, uint64_t n)
{
    struct listening *l = listening_find(gate_current(), &u->at, LISTEN_UDP);
    if (l && n)
        metric_add(l->cells, UDP_DROPPED, n);
}

static uint64_t bytes_of(const struct udp_message *m, unsigned count)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < count; i++)
        n += m[i].len;
    return n;
}

/* How many datagrams left; what the socket does not take is lost, as on any wire. */
static uint64_t send_what_goes(int fd, const struct udp_message *m, unsigned count, const struct addr *to,
                               const struct udp_local *from)
{
    uint64_t sent = 0;
    const err e = udp_send(fd, m, count, to, from, &sent);
    (void)e;
    return sent;
}

/* Messages of one client. A server that is gone says so only after something was sent to it: then another one
 * gets what could not be sent. */
static void pass_on(struct l4_udp *u, const struct udp_message *m, unsigned count)
{
    uint64_t hash = hash_of(m);
    struct session *s = find(u, hash, m);
    const uint64_t all = datagrams_of(m, count);
    uint64_t sent = 0;
    if (!s)
        s = begin(u, m, hash, NULL);
    if (!s) {
        count_dropped(u, all);
        return;
    }
    err e = udp_send(s->fd, m, count, NULL, NULL, &sent);
    if (e == ERR_REFUSED && sent == 0) {
        struct server *gone = s->server;
        server_result(gone, SERVER_FAILED);
        struct gate *g = s->gate;
        gate_hold(g); /* gone is part of it */
        end(s, e);
        s = begin(u, m, hash, gone);
        gate_drop(g);
        if (s)
            sent = send_what_goes(s->fd, m, count, NULL, NULL);
    }
    if (!s || sent < all)
        count_dropped(u, all - sent);
    if (!s)
        return;
    touch(s);
    s->received_bytes += bytes_of(m, count);
    s->awaited += sent * (uint64_t)s->listening->conf->responses;
    metric_add(s->listening->cells, UDP_RECEIVED, sent);
    metric_add(s->listening->cells, UDP_RECEIVED_BYTES, bytes_of(m, count));
}

static bool same_session(const struct udp_message *a, const struct udp_message *b)
{
    return same_peer(&a->peer, &b->peer) && memcmp(a->local.ip, b->local.ip, sizeof a->local.ip) == 0;
}

static err read_batches(struct l4_udp *u)
{
    for (unsigned n = 0; n < BATCHES_PER_TURN; n++) {
        struct udp_batch *b = &here.batch;
        err e = udp_recv(u->fd, b);
        if (e)
            return e;
        for (unsigned i = 0, next; i < b->count; i = next) {
            for (next = i + 1; next < b->count && same_session(&b->messages[i], &b->messages[next]);)
                next++;
            pass_on(u, &b->messages[i], next - i);
        }
        if (b->count < UDP_BATCH)
            return ERR_AGAIN;
    }
    return OK;
}

/* ERR_CANCELLED is the only failure. */
static err wait_readable(int fd)
{
    err e = io_wait_fd(fd, POLLIN, DEADLINE_NONE);
    if (e && e != ERR_CANCELLED)
        e = fiber_sleep_us(WAIT_FAILED_US);
    return e == ERR_CANCELLED ? e : OK;
}

static void read_clients(void *arg)
{
    struct l4_udp *u = arg;
    err e = OK;
    u->reader = fiber_self();
    while (!u->stopped && e != ERR_CANCELLED) {
        e = read_batches(u);
        if (e == OK)
            fiber_yield();
        else
            e = wait_readable(u->fd);
    }
    u->reader = NULL;
    u->reading = false;
    release(u);
}

/* ---- from servers ---- */

/* False: the session has ended. */
static bool answer(struct session *s)
{
    struct udp_batch *b = &here.batch;
    err e = udp_recv(s->fd, b);
    if (e == ERR_AGAIN)
        return true;
    if (e) {
        server_result(s->server, SERVER_FAILED);
        end(s, e);
        return false;
    }
    const uint64_t all = datagrams_of(b->messages, b->count);
    const uint64_t sent = send_what_goes(s->listener->fd, b->messages, b->count, &s->client, &s->local);
    if (sent < all)
        metric_add(s->listening->cells, UDP_DROPPED, all - sent);
    server_result(s->server, SERVER_ANSWERED);
    touch(s);
    s->sent_bytes += bytes_of(b->messages, b->count);
    metric_add(s->listening->cells, UDP_SENT, sent);
    metric_add(s->listening->cells, UDP_SENT_BYTES, bytes_of(b->messages, b->count));
    bool last = s->awaited && s->awaited <= all;
    s->awaited -= s->awaited < all ? s->awaited : all;
    if (last)
        end(s, OK);
    return !last;
}

/* Level-triggered: what is not read now is told again. A session that ends here ends only itself, so that the
 * others of the same look stay what they are. */
static void read_answers(void *arg)
{
    (void)arg;
    err e = OK;
    here.answers = fiber_self();
    while (e != ERR_CANCELLED && (here.count || !list_empty(&here.listeners))) {
        struct epoll_event events[ANSWERS_PER_TURN];
        int n = epoll_wait(here.epoll, events, ANSWERS_PER_TURN, 0);
        for (int i = 0; i < n; i++)
            (void)answer(events[i].data.ptr);
        if (n == ANSWERS_PER_TURN)
            fiber_yield();
        else
            e = wait_readable(here.epoll);
    }
    here.answers = NULL;
    here.answering = false;
}

/* ---- listeners ---- */

static uint32_t buckets_for(uint64_t sessions_max)
{
    uint32_t n = 64;
    while (n < sessions_max && n < BUCKETS_MAX)
        n *= 2;
    return n;
}

err l4_udp_start(int fd, const struct addr *at, struct l4_udp **ret_udp)
{
    err e = prepare();
    if (e)
        return e;
    const struct listening *l = listening_find(gate_current(), at, LISTEN_UDP);
    struct l4_udp *u = mem_get(sizeof *u);
    uint32_t buckets = buckets_for(l ? (uint64_t)l->conf->sessions_max : 0);
    if (u)
        u->buckets = mem_get(buckets * sizeof(void *));
    if (!u || !u->buckets) {
        mem_free(u);
        return ERR_MEMORY;
    }
    u->at = *at;
    u->fd = fd;
    u->bucket_mask = buckets - 1;
    list_init(&u->by_time);
    list_push_back(&here.listeners, &u->link);
    u->reading = true;
    fiber_spawn(read_clients, u);
    if (!here.answering)
        fiber_spawn(read_answers, NULL);
    here.answering = true;
    *ret_udp = u;
    return OK;
}

void l4_udp_stop(struct l4_udp *u)
{
    u->stopped = true;
    if (u->reader)
        fiber_cancel(u->reader); /* it lets go of the listener */
    if (here.count)
        timer_set(&here.sweep, worker_now_us() + SWEEP_US_MIN);
}

uint32_t l4_udp_count(void)
{
    return here.count;
}

void l4_udp_abort(void)
{
    if (!here.ready)
        return;
    struct link *at = here.listeners.next;
    while (at != &here.listeners) {
        struct l4_udp *u = container_of(at, struct l4_udp, link);
        at = at->next;
        for (uint32_t left = u->sessions; left > 0; left--)
            end(container_of(u->by_time.next, struct session, link), ERR_CANCELLED);
    }
}

/* Listeners, and where datagrams go. */
#include "net/quic.h"

#if WEIR_HAVE_NGTCP2
#include <netinet/in.h>
#include <poll.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/mem.h"
#include "core/fiber.h"
#include "core/io.h"
#include "core/log.h"
#include "net/quic_internal.h"

/* Batches of one socket before others have their turn; and none is gone on with after that time, which a few
 * handshakes may take. */
#define BATCHES_PER_TURN 8
#define READ_US_PER_TURN 1000
#define INITIALS 4096 /* buckets, a power of two */
#define SLOTS_FIRST 64
#define NO_SLOT UINT32_MAX
#define WAIT_FAILED_US 10000

_Thread_local struct quic_worker quic_here;

static const struct metric_def metric_defs[] = {
#define X(index, name, type, help) { name, type, help },
    QUIC_METRIC_LIST(X)
#undef X
};
static const struct metric_group metric_group = { "quic", metric_defs, QUIC_METRICS, NULL };

/* ---- the worker ---- */

static void send_all(struct turn_hook *h)
{
    (void)h;
    struct quic_conn *c = quic_here.dirty;
    quic_here.dirty = NULL;
    quic_here.dirty_end = &quic_here.dirty;
    while (c) {
        struct quic_conn *next = c->next_dirty;
        c->dirty = false;
        quic_conn_write(c); /* may free it, or mark it dirty again */
        c = next;
    }
}

void quic_abort(void)
{
    if (!quic_here.ready)
        return;
    LIST_EACH (at, &quic_here.conns)
        quic_close(container_of(at, struct quic_conn, link), NGHTTP3_H3_NO_ERROR);
    send_all(&quic_here.send);
    while (!list_empty(&quic_here.conns))
        quic_conn_free(container_of(quic_here.conns.next, struct quic_conn, link));
}

static void end_here(struct turn_hook *h)
{
    (void)h;
    quic_abort();
    while (!list_empty(&quic_here.listeners)) {
        struct quic_listener *l = container_of(quic_here.listeners.next, struct quic_listener, link);
        l->stopped = true;
        l->has_reader = false;
        l->read.next = NULL; /* no turn comes any more */
        quic_listener_release(l);
    }
    pool_close(&quic_here.pool);
    metric_instance_free(quic_here.metrics);
    udp_batch_close(&quic_here.batch);
    mem_free(quic_here.slots);
    mem_free(quic_here.initials);
    mem_free(quic_here.out);
    quic_here = (struct quic_worker){ 0 };
}

err quic_prepare(void)
{
    struct quic_worker *w = &quic_here;
    if (w->ready)
        return OK;
    err e = udp_batch_open(&w->batch);
    if (e)
        return e;
    w->out = mem_get(UDP_MESSAGE_BYTES);
    w->initials = mem_get(INITIALS * sizeof *w->initials);
    e = w->out && w->initials ? metric_instance_open(&metric_group, NULL, &w->metrics) : ERR_MEMORY;
    if (e) {
        mem_free(w->out);
        mem_free(w->initials);
        udp_batch_close(&w->batch);
        return e;
    }
    w->cells = metric_cells(w->metrics, worker_index(worker_self()));
    list_init(&w->listeners);
    list_init(&w->conns);
    pool_init(&w->pool, sizeof(struct quic_conn));
    w->free_slot = NO_SLOT;
    w->dirty_end = &w->dirty;
    w->send.run = send_all;
    w->end.run = end_here;
    worker_on_end(&w->end);
    w->ready = true;
    return OK;
}

uint32_t quic_count(void)
{
    return quic_here.count;
}

void quic_want_send(struct quic_conn *c)
{
    if (c->dirty)
        return;
    c->dirty = true;
    c->next_dirty = NULL;
    *quic_here.dirty_end = c;
    quic_here.dirty_end = &c->next_dirty;
    worker_end_of_turn(&quic_here.send);
}

/* ---- places ---- */

/* Twice as many; what they were stays valid. */
static void more_slots(void)
{
    struct quic_worker *w = &quic_here;
    uint32_t count = w->slots_count ? w->slots_count * 2 : SLOTS_FIRST;
    struct quic_slot *slots = mem_must_get(count * sizeof *slots);
    if (w->slots_count)
        memcpy(slots, w->slots, w->slots_count * sizeof *slots);
    for (uint32_t i = count; i-- > w->slots_count;) {
        slots[i].next_free = w->free_slot;
        w->free_slot = i;
    }
    mem_free(w->slots);
    w->slots = slots;
    w->slots_count = count;
}

void quic_slot_take(struct quic_conn *c)
{
    if (quic_here.free_slot == NO_SLOT)
        more_slots();
    c->slot = quic_here.free_slot;
    struct quic_slot *s = &quic_here.slots[c->slot];
    quic_here.free_slot = s->next_free;
    s->conn = c;
    c->turn = s->turn;
}

void quic_slot_give(struct quic_conn *c)
{
    struct quic_slot *s = &quic_here.slots[c->slot];
    s->conn = NULL;
    s->turn = (s->turn + 1) % QUIC_TURNS;
    s->next_free = quic_here.free_slot;
    quic_here.free_slot = c->slot;
}

static struct quic_conn *at_place(const struct quic_place *p)
{
    if (p->process != quic_process_number() || p->worker != quic_worker_number() ||
        p->slot >= quic_here.slots_count)
        return NULL;
    const struct quic_slot *s = &quic_here.slots[p->slot];
    return s->turn == p->turn ? s->conn : NULL;
}

/* What clients call their connections before they know our ids. */

void quic_initials_add(struct quic_conn *c)
{
    c->initial_hash = hash_bytes((struct bytes){ (const char *)c->initial.data, c->initial.datalen });
    struct quic_conn **bucket = &quic_here.initials[c->initial_hash % INITIALS];
    c->next_initial = *bucket;
    *bucket = c;
}

void quic_initials_remove(struct quic_conn *c)
{
    struct quic_conn **at = &quic_here.initials[c->initial_hash % INITIALS];
    while (*at != c)
        at = &(*at)->next_initial;
    *at = c->next_initial;
}

struct quic_conn *quic_initials_find(const uint8_t *id, size_t len)
{
    uint64_t hash = hash_bytes((struct bytes){ (const char *)id, len });
    struct quic_conn *c = quic_here.initials[hash % INITIALS];
    while (c &&
           !(c->initial_hash == hash && c->initial.datalen == len && memcmp(c->initial.data, id, len) == 0))
        c = c->next_initial;
    return c;
}

/* ---- what comes in ---- */

static void drop(void)
{
    quic_inc(QUIC_DROPPED);
}

/* It is of no connection that there is. */
static void receive_unknown(const struct quic_datagram *d, const ngtcp2_version_cid *v, bool version_unknown)
{
    struct quic_listener *l = quic_listener_at(d->at);
    bool is_long = d->data[0] & 0x80;
    if (!l)
        drop();
    else if (version_unknown)
        quic_stateless_version(l, v, d);
    else if (is_long)
        quic_stateless_initial(l, d);
    else
        quic_stateless_reset(l, v->dcid, d);
}

void quic_receive(const struct quic_datagram *d)
{
    ngtcp2_version_cid v = { 0 };
    if (d->len == 0) {
        drop();
        return;
    }
    int e = ngtcp2_pkt_decode_version_cid(&v, d->data, d->len, QUIC_ID_BYTES);
    if (e && e != NGTCP2_ERR_VERSION_NEGOTIATION) {
        drop();
        return;
    }
    struct quic_conn *c = NULL;
    bool is_long = d->data[0] & 0x80;
    if (v.dcidlen == QUIC_ID_BYTES) {
        const struct quic_place p = quic_id_read(quic_id_key(), v.dcid);
        c = at_place(&p);
        if (!is_long && quic_is_of_successor(&p)) { /* it reads these sockets too, and has not lost it */
            drop();
            return;
        }
        if (!c && !d->forwarded && quic_route(&p, d)) {
            quic_inc(QUIC_FORWARDED);
            return;
        }
    }
    if (!c && is_long)
        c = quic_initials_find(v.dcid, v.dcidlen);
    if (c)
        quic_conn_read(c, d);
    else
        receive_unknown(d, &v, e == NGTCP2_ERR_VERSION_NEGOTIATION);
}

static void receive_message(struct quic_listener *l, const struct udp_message *m)
{
    uint32_t step = m->segment ? m->segment : m->len;
    for (uint32_t at = 0; at < m->len; at += step) {
        const struct quic_datagram d = {
            .at = &l->at,
            .peer = &m->peer,
            .local = &m->local,
            .data = (const uint8_t *)m->data + at,
            .len = m->len - at < step ? m->len - at : step,
            .ecn = m->ecn,
        };
        quic_inc(QUIC_RECEIVED);
        metric_add(quic_here.cells, QUIC_RECEIVED_BYTES, d.len);
        if (!l->client)
            quic_receive(&d);
        else if (l->only)
            quic_conn_read(l->only, &d);
    }
}

/* What is left of the batch. False: the time is over before. */
static bool take_batch(uint64_t until_us)
{
    struct quic_worker *w = &quic_here;
    while (w->batch_of && w->batch_at < w->batch.count) {
        receive_message(w->batch_of, &w->batch.messages[w->batch_at++]);
        if (w->batch_at < w->batch.count && worker_clock_us() >= until_us)
            return false;
    }
    w->batch_of = NULL;
    return worker_clock_us() < until_us;
}

/* On the loop's stack. Comes again in the next turn as long as there was something: then it looks once in
 * vain before the reader waits, which costs less than waiting each time. */
static void read_socket(struct turn_hook *h)
{
    struct quic_listener *l = container_of(h, struct quic_listener, read);
    const uint64_t until_us = worker_clock_us() + READ_US_PER_TURN;
    bool in_time = take_batch(until_us), more = !in_time;
    for (unsigned n = 0; in_time && n < BATCHES_PER_TURN && l->reading; n++) {
        struct udp_batch *b = &quic_here.batch;
        err e = udp_recv(l->fd, b);
        if (e == ERR_REFUSED && l->only)
            quic_conn_lost(l->only, e);
        if (e)
            break;
        quic_here.batch_of = l;
        quic_here.batch_at = 0;
        in_time = take_batch(until_us);
        more = true;
        if (b->count < UDP_BATCH)
            break;
    }
    metric_add(quic_here.cells, QUIC_TURNS_FULL, !in_time);
    if (more && (l->reading || quic_here.batch_of == l))
        worker_end_of_turn(h);
    else if (l->reader)
        fiber_wake(l->reader);
    else
        quic_listener_release(l);
}

/* Fibers have small stacks, and TLS wants a deep one: this one only waits. */
static void wait_for_datagrams(void *arg)
{
    struct quic_listener *l = arg;
    err e = OK;
    l->reader = fiber_self();
    while (l->reading && e != ERR_CANCELLED) {
        e = io_wait_fd(l->fd, POLLIN, DEADLINE_NONE);
        if (e == OK) {
            worker_end_of_turn(&l->read);
            e = fiber_wait(DEADLINE_NONE);
        } else if (e != ERR_CANCELLED) {
            e = fiber_sleep_us(WAIT_FAILED_US);
        }
    }
    l->reading = l->has_reader = false;
    l->reader = NULL;
    quic_listener_release(l);
}

/* ---- listeners ---- */

/* What the path carries is found out by probes (RFC 8899), so nothing may be cut into fragments on its way.
 */
static void forbid_fragments(int fd, int family)
{
    int v4 = IP_PMTUDISC_PROBE, v6 = IPV6_PMTUDISC_PROBE;
    (void)!setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &v4, sizeof v4);
    if (family == AF_INET6)
        (void)!setsockopt(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, &v6, sizeof v6);
}

err quic_listener_start(int fd, const struct addr *at, const struct quic_owner *owner,
                        struct quic_listener **ret_listener)
{
    err e = quic_prepare();
    if (e)
        return e;
    struct addr bound = { .len = sizeof bound.sock };
    if (getsockname(fd, &bound.sock.any, &bound.len) < 0)
        return ERR_SYSTEM;
    struct quic_listener *l = mem_get(sizeof *l);
    if (!l)
        return ERR_MEMORY;
    forbid_fragments(fd, bound.sock.any.sa_family);
    udp_want_ecn(fd, bound.sock.any.sa_family);
    l->at = *at;
    l->bound = bound;
    l->fd = fd;
    l->owner = owner;
    l->reading = true;
    l->read.run = read_socket;
    l->has_reader = true;
    list_push_back(&quic_here.listeners, &l->link);
    fiber_spawn(wait_for_datagrams, l);
    *ret_listener = l;
    return OK;
}

/* Its last connection has ended, or its reader. */
void quic_listener_release(struct quic_listener *l)
{
    if (!l->stopped || l->conns)
        return;
    l->reading = false;
    if (l->has_reader || l->read.next) { /* they let go of it */
        if (l->reader)
            fiber_cancel(l->reader);
        return;
    }
    close(l->fd);
    list_remove(&l->link);
    mem_free(l);
}

void quic_listener_stop(struct quic_listener *l, bool reading)
{
    l->stopped = true;
    l->reading &= reading;
    if (!l->reading && l->reader)
        fiber_cancel(l->reader);
    quic_listener_release(l);
}

/* The newest: one whose options have changed stands before the one that it replaces. */
struct quic_listener *quic_listener_at(const struct addr *at)
{
    struct quic_listener *found = NULL;
    LIST_EACH (link, &quic_here.listeners) {
        struct quic_listener *l = container_of(link, struct quic_listener, link);
        if (addr_eq(&l->at, at) && (!found || !l->stopped))
            found = l;
    }
    return found;
}

/* ---- what goes out ---- */

struct addr quic_local_addr(const struct quic_listener *l, const struct udp_local *local)
{
    struct addr a = l->bound;
    if (local->family == AF_INET && a.sock.any.sa_family == AF_INET) {
        memcpy(&a.sock.v4.sin_addr, local->ip, 4);
    } else if (local->family == AF_INET6 && a.sock.any.sa_family == AF_INET6) {
        memcpy(&a.sock.v6.sin6_addr, local->ip, 16);
        a.sock.v6.sin6_scope_id = local->interface;
    }
    return a;
}

void quic_send(struct quic_listener *l, const struct addr *to, const struct udp_local *from, const void *data,
               size_t len, uint32_t segment, uint8_t ecn)
{
    uint64_t sent = 0;
    const struct udp_message m = {
        .data = (char *)(uintptr_t)data, .len = (uint32_t)len, .segment = segment, .ecn = ecn
    };
    err e = udp_send(l->fd, &m, 1, to, from, &sent);
    metric_add(quic_here.cells, QUIC_SENT, sent);
    metric_add(quic_here.cells, QUIC_SENT_BYTES, len);
    l->refused |= l->client && e == ERR_REFUSED;
    if (e) /* lost, as on any path: it is sent again if it matters */
        metric_add(quic_here.cells, QUIC_UNSENT, udp_datagrams(&m) - sent);
}

#endif

#include "gate/queue.h"

#include <pthread.h>

#include "base/list.h"
#include "base/mem.h"
#include "base/must.h"
#include "core/metrics.h"
#include "core/timer.h"
#include "gate/gate.h"
#include "gate/priority.h"
#include "gate/service_open.h"

#ifndef QUEUE_LOOK_MS
#define QUEUE_LOOK_MS 100
#endif
/* What a refused client is told to wait. */
#define RETRY_AFTER "1"

/* ---- settings ---- */

static const char *const order_words[] = { "oldest", "newest", NULL };

const struct conf_struct queue_struct = {
    .name = "queue",
    .size = sizeof(struct queue_conf),
    .phrases = (const char *const[]){ "{max} for {timeout}", "{max}", NULL },
    .fields =
        (const struct conf_field[]){ { .name = "max",
                                       .type = CONF_INT,
                                       .offset = offsetof(struct queue_conf, max),
                                       .preset = "1000",
                                       .min = 1,
                                       .max = 1000000,
                                       .doc = "requests that may wait for a place, over all workers (503)" },
                                     { .name = "timeout",
                                       .type = CONF_MS,
                                       .offset = offsetof(struct queue_conf, timeout_ms),
                                       .preset = "2s",
                                       .min = 1,
                                       .max = 600000,
                                       .doc = "how long one may wait (503)" },
                                     { .name = "order",
                                       .type = CONF_WORD,
                                       .offset = offsetof(struct queue_conf, order),
                                       .preset = "oldest",
                                       .words = order_words,
                                       .doc = "who is served first, among those of the same priority; with "
                                              "`newest` a full line lets the oldest go for one that comes" },
                                     { 0 } },
    .doc = "A line before servers that have requests_max in flight.",
};

/* ---- decisions, pure ---- */

#define TIME_BITS 56

/* What comes first is greater; 0 is nobody. */
static uint64_t urgency(enum queue_order order, unsigned class, uint64_t since_us)
{
    const uint64_t most = (UINT64_C(1) << TIME_BITS) - 1;
    const uint64_t time = since_us & most;
    return (uint64_t)(class + 1) << TIME_BITS | (order == QUEUE_OLDEST ? most - time : time);
}

/* May one that comes now take the place of the last of `class`, when the line is full? */
static bool may_displace(enum queue_order order, unsigned coming, unsigned class)
{
    return coming > class || (order == QUEUE_NEWEST && coming == class);
}

/* ---- what all workers share ---- */

/* Of one server. */
struct places {
    struct link link;
    _Atomic uint32_t taken;
    uint32_t holds;
    char text[ADDR_TEXT_BYTES_MAX];
};

/* One worker's line. head and rung are for all, the rest is the worker's own. */
struct line {
    _Atomic uint64_t head; /* urgency of the first one; 0: nobody waits here */
    _Atomic uint32_t rung;
    struct hub *hub;
    struct worker *worker;
    struct mail bell;
    struct link classes[PRIORITY_COUNT]; /* struct waiter, oldest first */
    uint32_t waiting;
    enum queue_order order;
    struct timer timer;
} __attribute__((aligned(64)));

/* Of one service, over all its generations. */
struct hub {
    struct link link;
    struct bytes name;      /* behind the lines */
    _Atomic uint32_t holds; /* queues, and bells that ring */
    _Atomic uint32_t waiting;
    unsigned count;
    struct link places;
    struct line lines[];
};

/* Protects the list of hubs, their lists of places and those counts; nothing is waited for while it is held.
 * Start-up and reload, and the very last bell of a hub. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct link hubs = { &hubs, &hubs };

/* The last one lets go of it under the lock, so that nobody finds it meanwhile. */
static void hub_drop(struct hub *h)
{
    uint32_t holds = atomic_load(&h->holds);
    while (holds > 1) {
        if (atomic_compare_exchange_weak(&h->holds, &holds, holds - 1))
            return;
    }
    pthread_mutex_lock(&lock);
    const bool last = atomic_fetch_sub(&h->holds, 1) == 1;
    if (last)
        list_remove(&h->link);
    pthread_mutex_unlock(&lock);
    if (last) {
        must(list_empty(&h->places));
        mem_free(h);
    }
}

static void line_open(struct line *l, struct hub *h);

static struct hub *hub_new(struct bytes name, unsigned count)
{
    struct hub *h = mem_get_aligned(sizeof *h + count * sizeof *h->lines + name.len, _Alignof(struct hub));
    if (!h)
        return NULL;
    char *text = (char *)&h->lines[count];
    memcpy(text, name.ptr, name.len);
    h->name = (struct bytes){ text, name.len };
    h->count = count;
    list_init(&h->places);
    for (unsigned i = 0; i < count; i++)
        line_open(&h->lines[i], h);
    list_push_back(&hubs, &h->link);
    return h;
}

static struct hub *hub_get(struct bytes name, unsigned count)
{
    struct hub *h = NULL;
    pthread_mutex_lock(&lock);
    LIST_EACH (at, &hubs) {
        struct hub *found = container_of(at, struct hub, link);
        if (bytes_eq(found->name, name) && found->count == count)
            h = found;
    }
    if (!h)
        h = hub_new(name, count);
    if (h)
        atomic_fetch_add(&h->holds, 1);
    pthread_mutex_unlock(&lock);
    return h;
}

static struct places *places_get(struct hub *h, const char *text)
{
    struct places *p = NULL;
    pthread_mutex_lock(&lock);
    LIST_EACH (at, &h->places) {
        if (strcmp(container_of(at, struct places, link)->text, text) == 0)
            p = container_of(at, struct places, link);
    }
    if (!p && (p = mem_get(sizeof *p))) {
        memcpy(p->text, text, strlen(text) + 1);
        list_push_back(&h->places, &p->link);
    }
    if (p)
        p->holds++;
    pthread_mutex_unlock(&lock);
    return p;
}

static void places_put(struct places *p)
{
    pthread_mutex_lock(&lock);
    const bool last = --p->holds == 0;
    if (last)
        list_remove(&p->link);
    pthread_mutex_unlock(&lock);
    if (last)
        mem_free(p);
}

/* ---- of a service on one worker ---- */

#define QUEUE_METRICS(X)                                                                                  \
    X(WAITED, "waited_total", METRIC_COUNTER, "Requests that waited for a place and got one")             \
    X(FULL, "full_total", METRIC_COUNTER, "Requests refused because the line was full, or there is none") \
    X(LATE, "late_total", METRIC_COUNTER, "Requests refused because no place was free in time")           \
    X(DISPLACED, "displaced_total", METRIC_COUNTER, "Requests refused for one that goes before them")     \
    X(WAITING, "waiting", METRIC_GAUGE, "Requests that wait for a place")                                 \
    X(WAIT, "wait_seconds", METRIC_HISTOGRAM, "How long those waited that got a place")

enum queue_metric {
#define X(id, name, type, help) METRIC_##id,
    QUEUE_METRICS(X)
#undef X
        METRIC_COUNT
};

static const struct metric_group metric_group = {
    .module = "queue",
    .defs =
        (const struct metric_def[]){
#define X(id, name, type, help) { name, type, help },
            QUEUE_METRICS(X)
#undef X
        },
    .count = METRIC_COUNT,
    .labels = (const char *const[]){ "service", NULL },
};

struct queue {
    struct hub *hub;
    struct line *line;
    const struct queue_conf *conf; /* NULL: nobody waits */
    struct metric_instance *metrics;
    struct metric_cells *cells;
};

static err open_places(struct service *s, struct hub *h)
{
    for (uint32_t i = 0; i < s->servers_count; i++) {
        struct server *server = &s->servers[i];
        const int64_t of_server = server->conf->requests_max;
        const int64_t max = of_server ? of_server : s->conf->requests_max;
        if (!max)
            continue;
        server->places = places_get(h, server->shared->text);
        if (!server->places)
            return ERR_MEMORY;
        server->taken = &server->places->taken;
        server->requests_max = (uint32_t)max;
    }
    return OK;
}

static bool is_bounded(const struct service_conf *conf)
{
    const struct server_conf *server = conf->servers.items;
    bool bounded = conf->requests_max > 0;
    for (size_t i = 0; i < conf->servers.count; i++)
        bounded |= server[i].requests_max > 0;
    return bounded;
}

err queue_open(struct service *s, unsigned workers)
{
    const unsigned worker = worker_index(worker_self());
    if (!is_bounded(s->conf))
        return OK;
    s->queue = mem_get(sizeof *s->queue);
    if (!s->queue)
        return ERR_MEMORY;
    struct queue *q = s->queue;
    q->conf = s->conf->queue;
    q->hub = hub_get(s->name, workers + 1);
    if (!q->hub)
        return ERR_MEMORY;
    q->line = &q->hub->lines[worker];
    q->line->worker = worker_self();
    if (q->conf)
        q->line->order = (enum queue_order)q->conf->order;
    err e = metric_instance_open(&metric_group, &s->name, &q->metrics);
    if (!e) {
        q->cells = metric_cells(q->metrics, worker);
        e = open_places(s, q->hub);
    }
    return e;
}

void queue_close(struct service *s)
{
    struct queue *q = s->queue;
    if (!q)
        return;
    for (uint32_t i = 0; i < s->servers_count; i++) {
        if (s->servers[i].places)
            places_put(s->servers[i].places);
    }
    metric_instance_free(q->metrics);
    if (q->hub)
        hub_drop(q->hub);
    mem_free(q);
}

/* ---- places ---- */

static bool take_place(struct server *s)
{
    uint32_t taken = atomic_load(s->taken);
    while (taken < s->requests_max) {
        if (atomic_compare_exchange_weak(s->taken, &taken, taken + 1))
            return true;
    }
    return false;
}

/* One that is to be had now, and a place at it. */
static struct server *take_server(struct service *s, struct pick *p)
{
    for (;;) {
        struct server *server = service_pick(s, p);
        if (!server || !server->taken || take_place(server))
            return server;
        /* the last place went to somebody else between the look and the grasp: there is one less now */
    }
}

/* Is there a place at all, tried or not? */
static bool has_place(const struct service *s)
{
    const uint64_t now_us = worker_now_us();
    for (uint32_t i = 0; i < s->servers_count; i++) {
        const struct server *server = &s->servers[i];
        if (server_is_well(server, now_us) &&
            !(server->taken && atomic_load(server->taken) >= server->requests_max))
            return true;
    }
    return false;
}

/* ---- the line: its worker ---- */

/* On the stack of its fiber. */
struct waiter {
    struct link link;
    struct fiber *fiber;
    struct exchange *x;
    const struct pick *pick;
    struct server *server; /* whose place it got */
    uint64_t since_us;
    bool displaced;
};

static struct waiter *first_of(struct line *l, unsigned class)
{
    struct link *list = &l->classes[class];
    if (list_empty(list))
        return NULL;
    return container_of(l->order == QUEUE_OLDEST ? list->next : list->prev, struct waiter, link);
}

static struct waiter *last_of(struct line *l, unsigned class)
{
    struct link *list = &l->classes[class];
    if (list_empty(list))
        return NULL;
    return container_of(l->order == QUEUE_OLDEST ? list->prev : list->next, struct waiter, link);
}

static struct waiter *first(struct line *l)
{
    for (unsigned class = PRIORITY_COUNT; class -- > 0;) {
        struct waiter *w = first_of(l, class);
        if (w)
            return w;
    }
    return NULL;
}

static void say_who_is_first(struct line *l)
{
    const struct waiter *w = first(l);
    atomic_store(&l->head, w ? urgency(l->order, w->x->priority, w->since_us) : 0);
}

static void look_again(struct line *l)
{
    timer_set(&l->timer, deadline_in_ms(QUEUE_LOOK_MS));
}

static void join(struct line *l, struct waiter *w)
{
    list_push_back(&l->classes[w->x->priority], &w->link);
    if (l->waiting++ == 0)
        look_again(l);
    say_who_is_first(l);
}

static void leave(struct line *l, struct waiter *w)
{
    list_remove(&w->link);
    atomic_fetch_sub(&l->hub->waiting, 1);
    if (--l->waiting == 0)
        timer_stop(&l->timer);
    say_who_is_first(l);
}

/* What was tried counts only as long as there is a choice. */
static struct server *server_for(const struct waiter *w)
{
    struct pick p = *w->pick;
    p.now_us = worker_now_us();
    struct server *server = take_server(w->x->service, &p);
    if (server || !p.tried_count)
        return server;
    p.tried_count = 0;
    return take_server(w->x->service, &p);
}

static void ring_first(struct hub *h, const struct line *but);

/* Places go to those who are first, as far as there are any. */
static void serve(struct line *l)
{
    struct waiter *w;
    while ((w = first(l))) {
        struct server *server = server_for(w);
        if (!server)
            return;
        leave(l, w);
        w->server = server;
        fiber_wake(w->fiber);
    }
    if (atomic_load(&l->hub->waiting))
        ring_first(l->hub, l); /* there may be more places, and nobody here who wants them */
}

static void bell_rings(struct mail *m)
{
    struct line *l = container_of(m, struct line, bell);
    atomic_store(&l->rung, 0); /* from here on it can be rung again */
    serve(l);
    hub_drop(l->hub);
}

static void ring(struct line *l)
{
    if (atomic_exchange(&l->rung, 1))
        return; /* it is on its way, and will look after what was done before it was rung */
    atomic_fetch_add(&l->hub->holds, 1);
    worker_post(l->worker, &l->bell);
}

/* The line whose first one comes before all others; but: not this one. */
static void ring_first(struct hub *h, const struct line *but)
{
    struct line *best = NULL;
    uint64_t most = 0;
    for (unsigned i = 0; i < h->count; i++) {
        const uint64_t head = &h->lines[i] == but ? 0 : atomic_load(&h->lines[i].head);
        if (head > most) {
            most = head;
            best = &h->lines[i];
        }
    }
    if (best)
        ring(best);
}

static void time_to_look(struct timer *t)
{
    struct line *l = container_of(t, struct line, timer);
    serve(l);
    if (l->waiting)
        look_again(l);
}

static void line_open(struct line *l, struct hub *h)
{
    l->hub = h;
    l->bell.run = bell_rings;
    timer_init(&l->timer, time_to_look);
    for (unsigned class = 0; class < PRIORITY_COUNT; class ++)
        list_init(&l->classes[class]);
}

void queue_place_give(struct server *s)
{
    struct hub *h = s->service->queue->hub;
    atomic_fetch_sub(s->taken, 1);
    if (atomic_load(&h->waiting))
        ring_first(h, NULL);
}

/* ---- one request ---- */

/* Lets one go that would be served last, of this worker's line. */
static bool displace(struct queue *q, unsigned coming)
{
    struct line *l = q->line;
    for (unsigned class = 0; class < PRIORITY_COUNT && may_displace(l->order, coming, class); class ++) {
        struct waiter *w = last_of(l, class);
        if (!w)
            continue;
        w->displaced = true;
        leave(l, w);
        fiber_wake(w->fiber);
        return true;
    }
    return false;
}

static bool enter(struct queue *q, const struct exchange *x)
{
    const uint32_t max = (uint32_t)q->conf->max;
    if (atomic_fetch_add(&q->hub->waiting, 1) < max)
        return true;
    if (displace(q, x->priority))
        return true;
    atomic_fetch_sub(&q->hub->waiting, 1);
    return false;
}

static err wait_in_line(struct queue *q, struct waiter *w)
{
    struct exchange *x = w->x;
    uint64_t deadline_us = deadline_in_ms(q->conf->timeout_ms);
    if (deadline_us > x->deadline_us)
        deadline_us = x->deadline_us;
    join(q->line, w);
    metric_add(q->cells, METRIC_WAITING, 1);
    if (has_place(x->service))
        ring_first(q->hub, NULL);
    err e = OK;
    while (!e && !w->server && !w->displaced)
        e = fiber_wait(deadline_us);
    metric_sub(q->cells, METRIC_WAITING, 1);
    if (w->server)
        return OK;
    if (!w->displaced)
        leave(q->line, w);
    if (e == ERR_CANCELLED)
        return e;
    metric_inc(q->cells, w->displaced ? METRIC_DISPLACED : METRIC_LATE);
    return ERR_LIMIT;
}

err queue_choose(struct exchange *x, struct pick *p, struct server **ret_server)
{
    struct queue *q = x->service->queue;
    struct server *server = NULL;
    if (!q) {
        *ret_server = service_pick(x->service, p);
        return OK;
    }
    const bool line = q->conf && atomic_load(&q->hub->waiting); /* nobody goes before those who wait */
    if (!line) {
        server = take_server(x->service, p);
        if (server || !p->full) {
            *ret_server = server;
            return OK;
        }
    }
    if (!q->conf || !enter(q, x)) {
        metric_inc(q->cells, METRIC_FULL);
        return ERR_LIMIT;
    }
    /* Not the turn's time: it is compared with that of other workers, whose turns began at other times. */
    struct waiter w = { .fiber = fiber_self(), .x = x, .pick = p, .since_us = worker_clock_us() };
    err e = wait_in_line(q, &w);
    if (e)
        return e;
    metric_inc(q->cells, METRIC_WAITED);
    metric_observe_ns(q->cells, METRIC_WAIT, (worker_clock_us() - w.since_us) * 1000);
    *ret_server = w.server;
    return OK;
}

struct server *queue_try(struct exchange *x, struct pick *p)
{
    return take_server(x->service, p);
}

void queue_give_up(struct server *s)
{
    if (s->taken)
        queue_place_give(s);
}

err queue_refuse(struct exchange *x)
{
    exchange_answer(x, 503, BYTES_NONE, BYTES_NONE, BYTES("queue"));
    return http_fields_set(&x->response.fields, &x->arena, BYTES("Retry-After"), BYTES(RETRY_AFTER));
}

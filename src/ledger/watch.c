#include "ledger/watch.h"

#include <pthread.h>
#include <stdatomic.h>

#include "core/worker.h"
#include "ledger/board.h"

#define SLOTS 1024

struct watch_port {
    struct worker *worker;
    struct link told; /* struct waiter */
    struct mail mail;
    bool is_posted;
};

/* Protects the slots, the ports' lists and what watches and waiters have in them; nothing is waited for with
 * it held. The writer takes it only when somebody watches a key of that slot. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct link slots[SLOTS]; /* struct watch, in order of arrival */
static _Atomic uint32_t counts[SLOTS];
static _Thread_local struct watch_port port_here;

static struct link *slot_of(uint64_t hash)
{
    struct link *slot = &slots[hash % SLOTS];
    if (!slot->next)
        list_init(slot);
    return slot;
}

/* ---- telling ---- */

static void wake_told(struct mail *m)
{
    struct watch_port *p = container_of(m, struct watch_port, mail);
    pthread_mutex_lock(&mutex);
    p->is_posted = false;
    while (!list_empty(&p->told)) {
        struct waiter *w = container_of(p->told.next, struct waiter, told_link);
        list_remove(&w->told_link);
        w->is_queued = false;
        waiter_wake(w);
    }
    pthread_mutex_unlock(&mutex);
}

static void queue(struct waiter *w)
{
    struct watch_port *p = w->port;
    if (w->is_queued)
        return;
    w->is_queued = true;
    list_push_back(&p->told, &w->told_link);
    if (p->is_posted)
        return;
    p->is_posted = true;
    worker_post(p->worker, &p->mail);
}

void watch_tell(uint64_t hash, bool gone, uint64_t value)
{
    atomic_thread_fence(memory_order_seq_cst); /* shown first, then looked who watches; they: the other way */
    if (!atomic_load(&counts[hash % SLOTS]))
        return;
    pthread_mutex_lock(&mutex);
    LIST_EACH (at, slot_of(hash)) {
        struct watch *x = container_of(at, struct watch, link);
        if (x->hash != hash || !x->is_first || (x->knows && !gone && x->value == value))
            continue;
        x->knows = !gone;
        x->value = value;
        queue(x->waiter);
    }
    pthread_mutex_unlock(&mutex);
}

void watch_tell_all(void)
{
    pthread_mutex_lock(&mutex);
    for (unsigned i = 0; i < SLOTS; i++) {
        LIST_EACH (at, slot_of(i))
            queue(container_of(at, struct watch, link)->waiter);
    }
    pthread_mutex_unlock(&mutex);
}

/* ---- waiting ---- */

static void close_port(struct turn_hook *h)
{
    (void)h;
    port_here.worker = NULL;
}

static void open_port(void)
{
    static _Thread_local struct turn_hook end;
    port_here = (struct watch_port){ .worker = worker_self(), .mail = { .run = wake_told } };
    list_init(&port_here.told);
    end.run = close_port;
    worker_on_end(&end);
}

void waiter_open(struct waiter *w)
{
    if (!port_here.worker)
        open_port();
    *w = (struct waiter){ .port = &port_here };
}

static struct watch *next_in_line(const struct watch *x)
{
    LIST_EACH (at, slot_of(x->hash)) {
        struct watch *other = container_of(at, struct watch, link);
        if (other != x && other->hash == x->hash && other->line == x->line)
            return other;
    }
    return NULL;
}

void watch_begin(struct watch *x, struct waiter *w, uint8_t rules, struct bytes key, uint64_t line)
{
    *x = (struct watch){ .waiter = w, .hash = board_hash(rules, key), .line = line };
    pthread_mutex_lock(&mutex);
    x->is_first = !line || !next_in_line(x);
    list_push_back(slot_of(x->hash), &x->link);
    atomic_fetch_add(&counts[x->hash % SLOTS], 1);
    pthread_mutex_unlock(&mutex);
    atomic_thread_fence(memory_order_seq_cst);
}

bool watch_is_first(const struct watch *x)
{
    pthread_mutex_lock(&mutex);
    const bool is_first = x->is_first;
    pthread_mutex_unlock(&mutex);
    return is_first;
}

void watch_end(struct watch *x)
{
    pthread_mutex_lock(&mutex);
    list_remove(&x->link);
    atomic_fetch_sub(&counts[x->hash % SLOTS], 1);
    struct watch *next = x->line && x->is_first ? next_in_line(x) : NULL;
    if (next) {
        next->is_first = true;
        queue(next->waiter);
    }
    pthread_mutex_unlock(&mutex);
}

void waiter_close(struct waiter *w)
{
    pthread_mutex_lock(&mutex);
    if (w->is_queued)
        list_remove(&w->told_link);
    w->is_queued = false;
    pthread_mutex_unlock(&mutex);
}

err waiter_wait(struct waiter *w, uint64_t deadline_us)
{
    err e = OK;
    w->fiber = fiber_self();
    while (!e && !w->is_told)
        e = fiber_wait(deadline_us);
    w->fiber = NULL;
    if (w->is_told)
        e = OK;
    w->is_told = false;
    return e;
}

void waiter_wake(struct waiter *w)
{
    w->is_told = true;
    if (w->fiber)
        fiber_wake(w->fiber);
}

#include "gate/tap.h"

#include "base/mem.h"
#include "core/fiber.h"
#include "gate/call.h"
#include "gate/process.h"

/* The number of a place says whose turn it is: that of the position it is free for, or one more when it is
 * filled. */
struct place {
    _Atomic uint64_t number;
    uint32_t len;
    char line[TAP_LINE_BYTES_MAX];
};

struct tap {
    struct tap_match match;
    bool fields, ended;
    struct worker *reader;
    struct fiber *waiting;
    struct mail mail;
    _Atomic bool mailed; /* it is on its way */
    _Atomic uint64_t dropped;
    uint64_t read_at;
    _Atomic uint64_t write_at;
    struct place places[TAP_LINES];
};

_Atomic unsigned taps_open;
static _Atomic(struct tap *) taps[TAPS_MAX];

/* ---- workers ---- */

static void wake(struct tap *t)
{
    if (!atomic_exchange(&t->mailed, true))
        worker_post(t->reader, &t->mail);
}

static void offer(struct tap *t, const struct exchange *x)
{
    uint64_t took_us = worker_now_us() - x->start_us;
    if (!tap_matches(&t->match, x, took_us))
        return;
    uint64_t at = atomic_load_explicit(&t->write_at, memory_order_relaxed);
    struct place *p;
    for (;;) {
        p = &t->places[at % TAP_LINES];
        uint64_t number = atomic_load_explicit(&p->number, memory_order_acquire);
        if (number < at) { /* it still holds what the reader has not taken */
            atomic_fetch_add_explicit(&t->dropped, 1, memory_order_relaxed);
            return;
        }
        if (number == at && atomic_compare_exchange_weak_explicit(&t->write_at, &at, at + 1,
                                                                  memory_order_relaxed, memory_order_relaxed))
            break;
        if (number > at)
            at = atomic_load_explicit(&t->write_at, memory_order_relaxed);
    }
    p->len = (uint32_t)tap_line(x, t->fields, took_us, worker_wall_us() - took_us, p->line);
    atomic_store_explicit(&p->number, at + 1, memory_order_release);
    wake(t);
}

void tap_offer(const struct exchange *x)
{
    for (unsigned i = 0; i < TAPS_MAX; i++) {
        struct tap *t = atomic_load_explicit(&taps[i], memory_order_acquire);
        if (t)
            offer(t, x);
    }
}

/* ---- the reader ---- */

static void mailed(struct mail *m)
{
    struct tap *t = container_of(m, struct tap, mail);
    atomic_store(&t->mailed, false);
    if (t->waiting)
        fiber_wake(t->waiting);
}

err tap_open(const struct tap_match *m, bool fields, struct tap **ret_tap)
{
    unsigned i = 0;
    while (i < TAPS_MAX && atomic_load(&taps[i]))
        i++;
    if (i == TAPS_MAX)
        return ERR_LIMIT;
    struct tap *t = mem_get(sizeof *t);
    if (!t)
        return ERR_MEMORY;
    t->match = *m;
    for (unsigned j = 0; j < m->count; j++) /* they point into the text beside them */
        t->match.terms[j].text.ptr = t->match.text + (m->terms[j].text.ptr - m->text);
    t->fields = fields;
    t->reader = worker_self();
    t->mail.run = mailed;
    for (unsigned j = 0; j < TAP_LINES; j++)
        atomic_store_explicit(&t->places[j].number, j, memory_order_relaxed);
    atomic_store_explicit(&taps[i], t, memory_order_release);
    atomic_fetch_add(&taps_open, 1);
    *ret_tap = t;
    return OK;
}

static size_t take(struct tap *t, char *out, size_t size)
{
    size_t len = 0;
    for (;;) {
        struct place *p = &t->places[t->read_at % TAP_LINES];
        if (atomic_load_explicit(&p->number, memory_order_acquire) != t->read_at + 1 || len + p->len > size)
            return len;
        memcpy(out + len, p->line, p->len);
        len += p->len;
        atomic_store_explicit(&p->number, t->read_at + TAP_LINES, memory_order_release);
        t->read_at++;
    }
}

err tap_read(struct tap *t, uint64_t deadline_us, char *out, size_t size, size_t *ret_len)
{
    for (;;) {
        *ret_len = take(t, out, size);
        if (*ret_len)
            return OK;
        if (t->ended)
            return ERR_CLOSED;
        t->waiting = fiber_self();
        err e = fiber_wait(deadline_us);
        t->waiting = NULL;
        if (e)
            return e;
    }
}

uint64_t tap_dropped(struct tap *t)
{
    return atomic_exchange_explicit(&t->dropped, 0, memory_order_relaxed);
}

static void pass(void *arg)
{
    (void)arg; /* to have run there is all: who was offering has done so */
}

void tap_close(struct tap *t)
{
    struct worker *const *workers;
    unsigned count = process_workers(&workers);
    for (unsigned i = 0; i < TAPS_MAX; i++) {
        if (atomic_load(&taps[i]) == t)
            atomic_store(&taps[i], NULL);
    }
    atomic_fetch_sub(&taps_open, 1);
    for (unsigned i = 0; i < count; i++)
        call_worker(workers[i], pass, NULL);
    while (atomic_load(&t->mailed)) /* the last mail is ours to receive */
        fiber_yield();
    mem_free(t);
}

void tap_end_all(void)
{
    for (unsigned i = 0; i < TAPS_MAX; i++) {
        struct tap *t = atomic_load(&taps[i]);
        if (!t)
            continue;
        t->ended = true;
        if (t->waiting)
            fiber_wake(t->waiting);
    }
}

#include "gate/waiting_room.h"

static uint64_t load(const _Atomic uint64_t *at)
{
    return atomic_load_explicit(at, memory_order_relaxed);
}

static bool swap(_Atomic uint64_t *at, uint64_t *before, uint64_t after)
{
    return atomic_compare_exchange_weak_explicit(at, before, after, memory_order_relaxed,
                                                 memory_order_relaxed);
}

/* ---- the bucket ---- */

/* *ret_wait_ns: when there is none, until there is. */
static bool take(struct waiting_room *w, const struct waiting_rate *r, uint64_t now_ns, uint64_t *ret_wait_ns)
{
    const uint64_t room_ns = r->interval_ns * (r->burst - 1);
    uint64_t due = load(&w->due_ns);
    for (;;) {
        const uint64_t from = due > now_ns ? due : now_ns;
        if (from - now_ns > room_ns) {
            *ret_wait_ns = from - now_ns - room_ns;
            return false;
        }
        if (swap(&w->due_ns, &due, from + r->interval_ns))
            return true;
    }
}

/* More tokens lie there than who was called has had time to take: half of the burst, and two. */
static bool has_too_many(const struct waiting_room *w, const struct waiting_rate *r, uint64_t now_ns)
{
    return load(&w->due_ns) + 2 * r->interval_ns <= now_ns + r->interval_ns * (r->burst - 1) / 2;
}

/* ---- the line ---- */

uint64_t waiting_count(const struct waiting_room *w)
{
    const uint64_t open = load(&w->open), issued = load(&w->issued);
    return issued > open ? issued - open : 0;
}

/* Who moves open_ns moves open by what that stands for. */
static void advance(struct waiting_room *w, const struct waiting_rate *r, uint64_t now_ns)
{
    uint64_t since = load(&w->open_ns);
    if (now_ns <= since || now_ns - since < r->interval_ns || !waiting_count(w))
        return;
    const uint64_t steps = (now_ns - since) / r->interval_ns;
    if (!atomic_compare_exchange_strong_explicit(&w->open_ns, &since, since + steps * r->interval_ns,
                                                 memory_order_relaxed, memory_order_relaxed))
        return; /* another worker does it */
    const uint64_t more = has_too_many(w, r, now_ns) ? 2 * steps : steps;
    uint64_t open = load(&w->open), to;
    do {
        const uint64_t issued = load(&w->issued);
        const uint64_t left = issued > open ? issued - open : 0;
        to = open + (more < left ? more : left);
    } while (!swap(&w->open, &open, to));
}

static struct waiting_verdict wait_with(const struct waiting_room *w, const struct waiting_rate *r,
                                        uint64_t ticket, uint64_t wait_ns)
{
    const uint64_t open = load(&w->open);
    const uint64_t position = ticket > open ? ticket - open : 1;
    const uint64_t line_ns = position * r->interval_ns;
    return (struct waiting_verdict){ .word = WAITING_WAIT,
                                     .ticket = ticket,
                                     .position = position,
                                     .wait_ns = line_ns > wait_ns ? line_ns : wait_ns };
}

struct waiting_verdict waiting_enter(struct waiting_room *w, const struct waiting_rate *r,
                                     uint64_t waiting_max, uint64_t now_ns)
{
    uint64_t wait_ns = 0;
    advance(w, r, now_ns);
    const uint64_t waiting = waiting_count(w);
    if (!waiting && take(w, r, now_ns, &wait_ns))
        return (struct waiting_verdict){ .word = WAITING_COME_IN };
    if (waiting >= waiting_max)
        return (struct waiting_verdict){ .word = WAITING_FULL,
                                         .wait_ns = wait_ns + (waiting + 1) * r->interval_ns };
    if (!waiting)
        atomic_store_explicit(&w->open_ns, now_ns, memory_order_relaxed);
    const uint64_t ticket = atomic_fetch_add_explicit(&w->issued, 1, memory_order_relaxed) + 1;
    return wait_with(w, r, ticket, wait_ns);
}

/* false: it, or one that stands at its place since, was used before. */
static bool use(struct waiting_room *w, uint64_t ticket)
{
    _Atomic uint64_t *at = &w->used[ticket % WAITING_USED_MAX];
    uint64_t before = load(at);
    while (before < ticket) {
        if (swap(at, &before, ticket))
            return true;
    }
    return false;
}

struct waiting_verdict waiting_again(struct waiting_room *w, const struct waiting_rate *r,
                                     uint64_t waiting_max, uint64_t ticket, uint64_t now_ns)
{
    uint64_t wait_ns;
    if (!ticket || ticket > load(&w->issued) || load(&w->used[ticket % WAITING_USED_MAX]) >= ticket)
        return waiting_enter(w, r, waiting_max, now_ns);
    advance(w, r, now_ns);
    if (ticket > load(&w->open))
        return wait_with(w, r, ticket, 0);
    if (!take(w, r, now_ns, &wait_ns))
        return wait_with(w, r, ticket, wait_ns);
    if (!use(w, ticket)) /* by another request in this moment, which got in */
        return waiting_enter(w, r, waiting_max, now_ns);
    return (struct waiting_verdict){ .word = WAITING_COME_IN };
}

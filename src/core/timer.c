#include "core/timer.h"

#include "base/must.h"
#include "core/timer_wheel.h"
#include "core/worker_internal.h"

#define LEVEL_BITS 6
#define TICK_MAX ((1ULL << (WHEEL_LEVELS * LEVEL_BITS)) - 1)

void wheel_init(struct wheel *wheel, uint64_t now_us)
{
    *wheel = (struct wheel){ .tick = now_us / WHEEL_TICK_US };
    for (unsigned level = 0; level < WHEEL_LEVELS; level++)
        for (unsigned slot = 0; slot < WHEEL_SLOTS; slot++)
            list_init(&wheel->slots[level][slot]);
}

static uint64_t timer_tick(const struct timer *t)
{
    /* Rounded up: never early. */
    uint64_t tick = t->due_us / WHEEL_TICK_US + (t->due_us % WHEEL_TICK_US != 0);
    return tick < TICK_MAX ? tick : TICK_MAX;
}

static void wheel_insert(struct wheel *wheel, struct timer *t)
{
    uint64_t tick = timer_tick(t);
    if (tick <= wheel->tick)
        tick = wheel->tick + 1; /* not in this run: a callback that sets itself in the past must not spin */
    unsigned level = (63u - (unsigned)__builtin_clzll((tick ^ wheel->tick) | 1)) / LEVEL_BITS;
    unsigned slot = (unsigned)(tick >> (level * LEVEL_BITS)) % WHEEL_SLOTS;
    wheel->occupied[level] |= 1ULL << slot;
    list_push_back(&wheel->slots[level][slot], &t->link);
}

void wheel_stop(struct wheel *wheel, struct timer *t)
{
    if (!timer_is_set(t))
        return;
    struct link *head = t->link.next;
    bool was_alone = head == t->link.prev;
    list_remove(&t->link);
    struct link *first = &wheel->slots[0][0];
    if (!was_alone || head < first || head >= first + WHEEL_LEVELS * WHEEL_SLOTS)
        return; /* the head may also be wheel_run's own */
    unsigned index = (unsigned)(head - first);
    wheel->occupied[index / WHEEL_SLOTS] &= ~(1ULL << (index % WHEEL_SLOTS));
}

void wheel_set(struct wheel *wheel, struct timer *t, uint64_t due_us)
{
    wheel_stop(wheel, t);
    t->due_us = due_us;
    wheel_insert(wheel, t);
}

/* The slot whose time comes first, and that time; false when the wheel is empty. */
static bool wheel_first(const struct wheel *wheel, unsigned *ret_level, unsigned *ret_slot,
                        uint64_t *ret_tick)
{
    for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
        if (!wheel->occupied[level])
            continue;
        unsigned slot = (unsigned)__builtin_ctzll(wheel->occupied[level]);
        unsigned shift = level * LEVEL_BITS;
        uint64_t above = wheel->tick >> (shift + LEVEL_BITS) << (shift + LEVEL_BITS);
        *ret_level = level;
        *ret_slot = slot;
        *ret_tick = above | (uint64_t)slot << shift;
        return true;
    }
    return false;
}

uint64_t wheel_next_us(const struct wheel *wheel)
{
    unsigned level, slot;
    uint64_t tick;
    return wheel_first(wheel, &level, &slot, &tick) ? tick * WHEEL_TICK_US : UINT64_MAX;
}

void wheel_run(struct wheel *wheel, uint64_t now_us)
{
    uint64_t now_tick = now_us / WHEEL_TICK_US, tick;
    unsigned level, slot;
    while (wheel_first(wheel, &level, &slot, &tick) && tick <= now_tick) {
        wheel->tick = tick;
        wheel->occupied[level] &= ~(1ULL << slot);
        struct link due, *from = &wheel->slots[level][slot];
        list_init(&due);
        if (!list_empty(from)) { /* all of them at once: callbacks may set and stop while they are walked */
            due = *from;
            due.next->prev = due.prev->next = &due;
            list_init(from);
        }
        for (struct link *l; (l = list_pop_front(&due));) {
            struct timer *t = container_of(l, struct timer, link);
            if (timer_tick(t) <= wheel->tick)
                t->fire(t);
            else
                wheel_insert(wheel, t);
        }
    }
    if (wheel->tick < now_tick)
        wheel->tick = now_tick;
}

void timer_set(struct timer *t, uint64_t due_us)
{
    must(t->fire != NULL);
    wheel_set(&worker_this->wheel, t, due_us);
}

void timer_stop(struct timer *t)
{
    if (timer_is_set(t))
        wheel_stop(&worker_this->wheel, t);
}

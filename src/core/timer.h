/* timer: a callback when its time has come, on the loop's stack of one worker. Intrusive: nothing is
 * allocated. A hierarchical wheel with ticks of 1 ms: set and stop cost O(1); a timer fires at its due time
 * or up to one tick later, never before. The callback may set, stop or free any timer, this one too. */
#pragma once
#include <stdint.h>

#include "base/list.h"

struct timer {
    struct link link;
    uint64_t due_us;
    void (*fire)(struct timer *t);
};

static inline void timer_init(struct timer *t, void (*fire)(struct timer *t))
{
    *t = (struct timer){ .fire = fire };
}

/* Of this thread's worker. Setting a timer that is set moves it. */
void timer_set(struct timer *t, uint64_t due_us);
/* A timer that is not set may be stopped too. */
void timer_stop(struct timer *t);

static inline int timer_is_set(const struct timer *t)
{
    return list_linked(&t->link);
}

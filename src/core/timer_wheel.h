/* timer_wheel: the wheel behind core/timer.h, without a clock of its own so that tests can drive it.
 *
 * Seven levels of 64 slots; a slot of level n is 64^n ticks wide. A timer lies on the level of the highest
 * group of six bits in which its tick differs from the current one, so a level never wraps around its current
 * position, and the first set bit of the lowest level that has one is what happens next:
 *
 *      level 1  ......[slot: 64 ticks]........     when its time comes its timers move down
 *      level 0  ..|now|.....[slot: 1 tick]....     when its time comes its timers fire
 *
 * One thread. */
#pragma once
#include <stdint.h>

#include "core/timer.h"

#define WHEEL_TICK_US 1000
#define WHEEL_LEVELS 7 /* 64^7 ms are 139 years: no uptime gets there */
#define WHEEL_SLOTS 64

struct wheel {
    uint64_t tick; /* everything up to this one has fired */
    uint64_t occupied[WHEEL_LEVELS];
    struct link slots[WHEEL_LEVELS][WHEEL_SLOTS];
};

void wheel_init(struct wheel *wheel, uint64_t now_us);
void wheel_set(struct wheel *wheel, struct timer *t, uint64_t due_us);
void wheel_stop(struct wheel *wheel, struct timer *t);
/* Fires what is due by now_us. */
void wheel_run(struct wheel *wheel, uint64_t now_us);
/* When wheel_run has something to do next, at the latest; UINT64_MAX: never. */
uint64_t wheel_next_us(const struct wheel *wheel);

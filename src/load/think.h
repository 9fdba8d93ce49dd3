/* think: how long a virtual user waits between two requests. Pure; any thread. */
#pragma once
#include "core/conf.h"

/* One of these is set: */
struct think_conf {
    uint64_t fixed_ms;
    uint64_t from_ms, to_ms;          /* even between the two */
    uint64_t exponential_ms;          /* the mean: as calls come at random */
    uint64_t normal_ms, deviation_ms; /* never below 0 */
};

extern const struct conf_struct think_conf_struct;

#define THINK_US_MAX (24u * 3600 * UINT64_C(1000000))

/* One draw, in microseconds; at most THINK_US_MAX. NULL: 0. */
uint64_t think_draw(const struct think_conf *t, uint64_t *random);

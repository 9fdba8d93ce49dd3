#include "load/think.h"

#include <math.h>

#include "load/arrivals.h"

#define MS_MAX (24.0 * 3600 * 1000)
#define PI 3.14159265358979323846

static err check(void *conf, struct diag *reterr)
{
    const struct think_conf *t = conf;
    if (t->to_ms || t->from_ms) {
        if (t->from_ms <= t->to_ms)
            return OK;
        diag_set(reterr, "the shorter time stands first: 1s to 3s");
        return ERR_CONF;
    }
    return OK;
}

#define FIELD(name_, member, doc_)                                                               \
    {                                                                                            \
        .name = name_, .type = CONF_MS, .offset = offsetof(struct think_conf, member), .min = 0, \
        .max = MS_MAX, .doc = doc_                                                               \
    }

const struct conf_struct think_conf_struct = {
    .name = "think",
    .size = sizeof(struct think_conf),
    .phrases = (const char *const[]){ "{fixed}", "{from} to {to}", "exponential {exponential}",
                                      "normal {normal} within {deviation}", NULL },
    .fields =
        (const struct conf_field[]){
            FIELD("fixed", fixed_ms, "always so long"),
            FIELD("from", from_ms, "evenly distributed from here ..."),
            FIELD("to", to_ms, "... to here"),
            FIELD("exponential", exponential_ms, "exponentially distributed with this mean"),
            FIELD("normal", normal_ms, "normally distributed around this, never below 0 ..."),
            FIELD("deviation", deviation_ms, "... with this standard deviation"),
            { 0 } },
    .check = check,
    .doc = "How long a user waits: `1s`, `1s to 3s`, `exponential 2s`, `normal 2s within 500ms`.",
};

/* Box and Muller, 1958. */
static double normal(uint64_t *random)
{
    double radius = sqrt(-2 * log(arrivals_uniform(random)));
    return radius * cos(2 * PI * arrivals_uniform(random));
}

uint64_t think_draw(const struct think_conf *t, uint64_t *random)
{
    double ms = 0;
    if (!t)
        return 0;
    if (t->fixed_ms)
        ms = (double)t->fixed_ms;
    else if (t->to_ms)
        ms = (double)t->from_ms + (double)(t->to_ms - t->from_ms) * arrivals_uniform(random);
    else if (t->exponential_ms)
        ms = -log(arrivals_uniform(random)) * (double)t->exponential_ms;
    else if (t->normal_ms)
        ms = (double)t->normal_ms + normal(random) * (double)t->deviation_ms;
    double us = ms * 1000;
    return us <= 0 ? 0 : us < (double)THINK_US_MAX ? (uint64_t)us : THINK_US_MAX;
}

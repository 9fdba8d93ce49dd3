/* threshold: conditions on a result, as people write them:
 *
 *      p99 < 200ms, errors < 0.1%          buy.p99.9 <= 1s, rate > 5000/s
 *
 * p and a number (a percentile), min, mean, max: of the latency, a duration. errors: a share of what was
 * sent, in percent. rate: answers without errors a second. With a kind's name and a dot in front: of that
 * kind alone. Pure; any thread. */
#pragma once
#include "base/bytes.h"
#include "base/diag.h"
#include "load/run.h"

#define THRESHOLDS_MAX 16u

enum threshold_of {
    THRESHOLD_QUANTILE,
    THRESHOLD_MIN,
    THRESHOLD_MEAN,
    THRESHOLD_MAX,
    THRESHOLD_ERRORS,
    THRESHOLD_RATE
};

struct threshold {
    struct bytes text; /* as it was written */
    struct bytes kind; /* empty: all */
    enum threshold_of of;
    double share;      /* of a percentile: 0.99 */
    bool above, equal; /* > or <; with = */
    double value;      /* ns, a share, or a second */
};

struct thresholds {
    struct threshold all[THRESHOLDS_MAX];
    unsigned count;
};

/* text is borrowed. ERR_SYNTAX, with words. */
err thresholds_parse(struct bytes text, struct thresholds *ret, struct diag *reterr) CHECK_RESULT;
/* The first that names a kind that there is not; NULL: all are known. */
const struct threshold *thresholds_unknown(const struct thresholds *t, const struct load *l);
/* Is it so? ret_value: what it really is. */
bool threshold_is_met(const struct threshold *t, const struct load_report *r, double *ret_value);
/* "p99 231ms" */
const char *threshold_print(const struct threshold *t, double value, char out[96]);

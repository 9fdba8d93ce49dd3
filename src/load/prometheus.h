/* prometheus: the run's counts at /metrics while it goes on. On the control worker. */
#pragma once
#include "base/text.h"
#include "load/run.h"
#include "load/serve.h"

/* Everything since the warm-up, in the text format 0.0.4. */
void prometheus_print(struct text *t, const struct load_report *r);

struct prometheus {
    struct serve serve; /* first */
    struct run_part part;
    const struct load_report *report;
    struct addr at;
};
/* Makes it a part of a run: it listens while that lasts. */
void prometheus_open(struct prometheus *p, const struct addr *at);

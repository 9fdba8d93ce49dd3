#include "gate/http2_metrics.h"

#include "core/metrics_here.h"

static const struct metric_def defs[] = {
#define X(index, name, type, help) { name, type, help },
    HTTP2_METRIC_LIST(X)
#undef X
};
static const struct metric_group group = { "http2", defs, sizeof defs / sizeof *defs, NULL };

static struct metric_cells *cells(void)
{
    static _Thread_local struct metrics_here here;
    return metrics_here(&here, &group);
}

void http2_count(enum http2_metric index)
{
    metric_inc(cells(), index);
}

void http2_count_by(enum http2_metric index, int n)
{
    if (n >= 0)
        metric_add(cells(), index, (uint64_t)n);
    else
        metric_sub(cells(), index, (uint64_t)-n);
}

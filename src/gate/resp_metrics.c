#include "gate/resp_metrics.h"

#include "core/metrics_here.h"

static const struct metric_def defs[] = {
#define X(index, name, type, help) { name, type, help },
    RESP_METRIC_LIST(X)
#undef X
};
static const struct metric_group group = { "resp", defs, sizeof defs / sizeof *defs, NULL };

static struct metric_cells *cells(void)
{
    static _Thread_local struct metrics_here here;
    return metrics_here(&here, &group);
}

void resp_count(enum resp_metric index, uint64_t n)
{
    metric_add(cells(), index, n);
}

void resp_uncount(enum resp_metric index)
{
    metric_sub(cells(), index, 1);
}

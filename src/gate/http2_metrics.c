#include "gate/http2_metrics.h"

#include "base/must.h"
#include "core/worker.h"

static const struct metric_def defs[] = {
#define X(index, name, type, help) { name, type, help },
    HTTP2_METRIC_LIST(X)
#undef X
};
static const struct metric_group group = { "http2", defs, sizeof defs / sizeof *defs, NULL };

/* Opened with the first connection. */
static _Thread_local struct {
    struct metric_instance *metrics;
    struct metric_cells *cells;
    struct turn_hook end;
} here;

static void end_here(struct turn_hook *h)
{
    (void)h;
    metric_instance_free(here.metrics);
    here.cells = NULL;
}

static struct metric_cells *cells(void)
{
    if (here.cells)
        return here.cells;
    must(metric_instance_open(&group, NULL, &here.metrics) == OK);
    here.cells = metric_cells(here.metrics, worker_index(worker_self()));
    here.end.run = end_here;
    worker_on_end(&here.end);
    return here.cells;
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

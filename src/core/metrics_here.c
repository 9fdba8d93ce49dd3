#include "core/metrics_here.h"

#include "base/must.h"

static void end_here(struct turn_hook *hook)
{
    struct metrics_here *h = container_of(hook, struct metrics_here, end);
    metric_instance_free(h->metrics);
    h->cells = NULL;
}

struct metric_cells *metrics_here(struct metrics_here *h, const struct metric_group *g)
{
    if (h->cells)
        return h->cells;
    must(metric_instance_open(g, NULL, &h->metrics) == OK);
    h->cells = metric_cells(h->metrics, worker_index(worker_self()));
    h->end.run = end_here;
    worker_on_end(&h->end);
    return h->cells;
}

/* metrics_here: a group's cells of this worker, opened with its first count and given back when the worker
 * ends. For what has no generation: connections outlive those. One _Thread_local struct for each group. */
#pragma once
#include "core/metrics.h"
#include "core/worker.h"

struct metrics_here {
    struct metric_instance *metrics;
    struct metric_cells *cells; /* NULL: not opened yet */
    struct turn_hook end;
};

/* g has no labels. On a worker. */
struct metric_cells *metrics_here(struct metrics_here *h, const struct metric_group *g);

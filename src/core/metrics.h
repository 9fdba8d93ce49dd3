/* metrics: what Prometheus reads. Counting is one plain add to a cell that the caller's worker alone writes.
 *
 *      group (const table of a module)          instance: one set of label values, refcounted
 *      http1: requests_total, latency_seconds ─▶ {service="shop"} ─▶ cells of worker 0 │ worker 1 │ ... │
 * main {service="pay"}  ─▶ cells of worker 0 │ worker 1 │ ... │ main
 *
 * Counting: the owning thread only, no lock, no atomic read-modify-write. Opening, closing and exporting: any
 * thread, under one mutex (it protects the registry and nothing may be waited for while it is held); never on
 * the request path. Export sums the cells while the workers go on: each value is right, two may be a moment
 * apart. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"

enum metric_type {
    METRIC_COUNTER,  /* only grows; its name ends in _total */
    METRIC_GAUGE,    /* may go down; what one worker adds another may take away: the sum counts */
    METRIC_HISTOGRAM /* of durations, in nanoseconds here and seconds outside; its name ends in _seconds */
};

struct metric_def {
    const char *name; /* what and unit: "requests_total"; outside: weir_<module>_<name> */
    enum metric_type type;
    const char *help; /* one line */
};

/* Metrics that share their labels. A module's static const table, made from an X-macro so that the enum that
 * indexes defs cannot run apart from it; it is known by its address and lives as long as the process. */
struct metric_group {
    const char *module;
    const struct metric_def *defs;
    unsigned count;
    const char *const *labels; /* their names; ends with NULL; NULL: none */
};

#define METRIC_LABELS_MAX 8
#define METRIC_INSTANCES_MAX 100000 /* of one group */

/* Once, before any other call: how many workers there will ever be. */
void metrics_init(unsigned workers_max);
/* Frees what is still open: at the very end (and in tests). */
void metrics_close(void);

struct metric_instance;
struct metric_cells;

/* The instance with these label values (one for each of the group's labels; copied), made at zero when there
 * is none: what a reload opens again before it closes the old goes on counting. Each open wants one
 * metric_instance_free. ERR_MEMORY, ERR_LIMIT. */
err metric_instance_open(const struct metric_group *group, const struct bytes *values,
                         struct metric_instance **ret_instance) CHECK_RESULT;
/* Gives it back; with the last one it vanishes from the export and its cells are freed: so only when no
 * worker can write to it any more (the generation that opened it has ended). NULL is allowed. */
void metric_instance_free(struct metric_instance *instance);

/* The cells of one worker, alive as long as the instance. worker_index below workers_max is that worker's
 * own; workers_max itself is the main thread's; metrics_beside() that of one thread beside the workers, for
 * each module that has one. Look up once, keep the pointer. */
struct metric_cells *metric_cells(struct metric_instance *instance, unsigned worker_index);
unsigned metrics_beside(void);

/* ---- counting: the owner of the cells only; i is the index into the group's defs */

struct metric_cells {
    uint64_t first; /* of count cells: a value, or for a histogram where its buckets begin, in cells */
};

static inline void metric_cell_add(uint64_t *cell, uint64_t n)
{
    __atomic_store_n(cell, __atomic_load_n(cell, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
}

static inline void metric_add(struct metric_cells *cells, unsigned i, uint64_t n)
{
    metric_cell_add(&cells->first + i, n);
}

static inline void metric_inc(struct metric_cells *cells, unsigned i)
{
    metric_add(cells, i, 1);
}

/* Gauges only. */
static inline void metric_sub(struct metric_cells *cells, unsigned i, uint64_t n)
{
    metric_add(cells, i, 0 - n);
}

/* Gauges only: this thread's share of the sum. */
static inline void metric_set(struct metric_cells *cells, unsigned i, int64_t value)
{
    __atomic_store_n(&cells->first + i, (uint64_t)value, __ATOMIC_RELAXED);
}

/* Two buckets an octave from 2^14 ns (16 us) to 2^36 ns (69 s), and one above: bounds 1, 1.5, 2, 3, 4, 6 ...
 * times 2^14. A bucket holds what is at most its bound, as Prometheus' le says. */
#define METRIC_BUCKET_SHIFT_MIN 14
#define METRIC_BUCKET_SHIFT_MAX 36
#define METRIC_BUCKETS (2 + 2 * (METRIC_BUCKET_SHIFT_MAX - METRIC_BUCKET_SHIFT_MIN))

static inline unsigned metric_bucket(uint64_t ns)
{
    uint64_t x = ns - (ns != 0); /* the bound itself belongs below */
    if (x >> METRIC_BUCKET_SHIFT_MIN == 0)
        return 0;
    if (x >> METRIC_BUCKET_SHIFT_MAX)
        return METRIC_BUCKETS - 1;
    unsigned octave = 63 - (unsigned)__builtin_clzll(x);
    return 1 + 2 * (octave - METRIC_BUCKET_SHIFT_MIN) + (unsigned)(x >> (octave - 1) & 1);
}

/* The largest that bucket i holds; UINT64_MAX for the last. */
uint64_t metric_bucket_bound_ns(unsigned i);

/* Histograms only. */
static inline void metric_observe_ns(struct metric_cells *cells, unsigned i, uint64_t ns)
{
    uint64_t *buckets = &cells->first + (&cells->first)[i];
    metric_cell_add(&buckets[metric_bucket(ns)], 1);
    metric_cell_add(&buckets[METRIC_BUCKETS], ns);
}

/* ---- reading: any thread */

/* Summed over the workers; of a histogram how many were observed. */
uint64_t metric_value(const struct metric_instance *instance, unsigned i);
/* How many each bucket of a histogram holds (not cumulated). */
void metric_histogram(const struct metric_instance *instance, unsigned i,
                      uint64_t ret_counts[METRIC_BUCKETS]);

/* Everything, in the Prometheus text format 0.0.4. write is called many times with the mutex held: it gathers
 * into memory and neither waits nor calls back. */
struct metric_writer {
    void (*write)(void *arg, struct bytes text);
    void *arg;
};
void metrics_write(const struct metric_writer *w);

/* The metrics of the process and its workers, read when they are asked for. */
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/text.h"
#include "build_info.h"
#include "gate/access_log.h"
#include "gate/cpus.h"
#include "gate/process.h"

void admin_write_process_metrics(struct text *t);

static void head(struct text *t, const char *name, const char *type, const char *help)
{
    text_print(t, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void one(struct text *t, const char *name, const char *type, const char *help, double value)
{
    head(t, name, type, help);
    text_print(t, "%s %.17g\n", name, value);
}

/*    name                                   type       value                          help */
#define WORKER_METRIC_LIST(X)                                                                                \
    X("weir_worker_turns_total", "counter", (double)s.turns, "Turns of the event loop")                      \
    X("weir_worker_busy_seconds_total", "counter", (double)s.busy_us / 1e6,                                  \
      "Time not spent waiting for events")                                                                   \
    X("weir_worker_lag_seconds_max", "gauge", (double)s.lag_us_max / 1e6,                                    \
      "Longest turn since the last look")                                                                    \
    X("weir_worker_buffer_bytes", "gauge", (double)s.buffers_bytes, "Receive and send buffers")              \
    X("weir_worker_connections", "gauge", (double)s.connections, "Open connections, to clients and servers") \
    X("weir_worker_no_buffers_total", "counter", (double)s.no_buffers,                                       \
      "Receives put off for want of a buffer")                                                               \
    X("weir_worker_fibers", "gauge", (double)f.live, "Fibers that are running or waiting")                   \
    X("weir_worker_fibers_spawned_total", "counter", (double)f.spawned, "Fibers begun")                      \
    X("weir_worker_fiber_stacks", "gauge", (double)f.pooled, "Stacks kept for fibers to come")               \
    X("weir_worker_fiber_stack_bytes_max", "gauge", (double)f.stack_high_water_bytes,                        \
      "Most that a fiber used of its stack")

static void write_workers(struct text *t)
{
    struct worker *const *workers;
    unsigned count = process_workers(&workers);
    struct worker_stats stats[CPUS_MAX + 1];
    for (unsigned i = 0; i < count; i++)
        stats[i] = worker_stats(workers[i]); /* once: looking sets the longest turn back */
#define X(name, type, value, help)                                        \
    head(t, name, type, help);                                            \
    for (unsigned i = 0; i < count; i++) {                                \
        struct worker_stats s = stats[i];                                 \
        struct fiber_stats f = fiber_stats(workers[i]);                   \
        (void)s;                                                          \
        (void)f;                                                          \
        if (i + 1 < count)                                                \
            text_print(t, "%s{worker=\"%u\"} %.17g\n", name, i, value);   \
        else                                                              \
            text_print(t, "%s{worker=\"control\"} %.17g\n", name, value); \
    }
    WORKER_METRIC_LIST(X)
#undef X
}

static double cpu_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double resident_bytes(void)
{
    FILE *f = fopen("/proc/self/statm", "re");
    unsigned long pages = 0;
    if (f && fscanf(f, "%*u %lu", &pages) != 1)
        pages = 0;
    if (f)
        fclose(f);
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

void admin_write_process_metrics(struct text *t)
{
    write_workers(t);
    one(t, "process_cpu_seconds_total", "counter", "CPU time of the process", cpu_seconds());
    one(t, "process_resident_memory_bytes", "gauge", "Resident memory", resident_bytes());
    one(t, "weir_conf_generation", "gauge", "Number of the configuration in force",
        (double)process_generation()->number);
    one(t, "weir_conf_reloads_total", "counter", "Configurations taken over", (double)process_reloads(false));
    one(t, "weir_conf_reloads_refused_total", "counter", "Configurations refused",
        (double)process_reloads(true));
    one(t, "weir_access_log_dropped_total", "counter", "Lines that were dropped because the disk was behind",
        (double)access_log_dropped());
    head(t, "weir_build_info", "gauge", "What runs");
    text_print(t, "weir_build_info{version=\"%s\"} 1\n", WEIR_VERSION);
}

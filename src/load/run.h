/* run: starts the workers, takes what they have seen every interval, ends them. On the control worker, which
 * is the main thread; its fiber may wait. */
#pragma once
#include "load/load.h"

/* One interval, for what is drawn over time. Times in ns; of a closed loop response is service. */
struct load_point {
    double at_s, seconds; /* from the beginning of the run, warm-up included */
    double wanted;        /* level of the curve; 0: closed loop */
    uint64_t sent, answers, errors[LOAD_ERRORS];
    uint64_t bytes_in;
    uint64_t p50_ns, p90_ns, p99_ns, p999_ns, max_ns; /* response */
    uint64_t service_p50_ns, service_p99_ns;
    uint32_t connections, in_flight;
    double busy; /* of the busiest worker, 0 to 1 */
};

struct load_report {
    const struct load *load;
    struct load_stats *all;    /* since the warm-up */
    struct load_stats *recent; /* of the last interval */
    struct load_stats *total;  /* room for the sum of kinds */
    struct load_point *points;
    size_t points_count, points_max;
    double seconds;      /* that `all` took */
    double seconds_run;  /* of all measurements together */
    double seconds_left; /* of what was planned; while it runs */
    double seconds_planned;
    uint64_t started_wall_us;
    uint64_t abandoned; /* in flight when patience ended */
    double busy;        /* of the busiest worker, over `all` */
    bool interrupted;   /* by a signal */
    bool warming;
};

/* Called after each interval, on the control worker's fiber. */
struct load_watcher {
    struct load_watcher *next;
    void (*look)(struct load_watcher *w, const struct load_report *r);
};

/* What goes on beside a run, on the control worker: begun before it, ended after it. */
struct run_part {
    struct run_part *next;
    err (*start)(struct run_part *part, const struct load_report *r, struct diag *reterr);
    void (*stop)(struct run_part *part);
};

struct run_plan {
    const struct load *load;
    const struct curve *curve; /* of a rate, or of users; NULL: quick's closed loop */
    double seconds, warmup_s;  /* the warm-up comes first and does not count */
    uint64_t interval_us;
    uint64_t start_wall_us; /* begin then; 0: at once */
    struct load_watcher *watchers;
    struct run_part *parts;
};

/* The sum of kinds into the figures of a point: what run and agents make of `recent`. p->seconds is set. */
void report_fill_point(struct load_report *r, struct load_point *p);
/* Keeps the point and adds `recent` to `all`, unless it is still warming. */
void report_take(struct load_report *r, const struct load_point *p);
err report_open(struct load_report *r, const struct load *l) CHECK_RESULT;

/* What is done with a run; on the control worker, from its fiber. */
struct run;

/* Makes this thread the control worker, calls drive(run, arg) on its fiber with the workers up, and ends them
 * when it returns. ERR_MEMORY, ERR_SYSTEM, ERR_UNSUPPORTED. */
err run_with(const struct run_plan *plan, void (*drive)(struct run *run, void *arg), void *arg,
             struct load_report *ret_report, struct diag *reterr) CHECK_RESULT;
void load_report_close(struct load_report *r);

/* The whole plan, once. */
void run_whole(struct run *run);
/* One measurement at that curve: warm-up, window, and what is in flight; the report's `all` is of it alone.
 * False: interrupted. */
bool run_measure(struct run *run, const struct curve *curve, double warmup_s, double seconds);
const struct load_report *run_report(const struct run *run);

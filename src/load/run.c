#include "load/run.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"
#include "core/fiber.h"
#include "core/io.h"
#include "gate/call.h"
#include "gate/cpus.h"

#define START_IN_MS 5
#define LOOK_MS 10 /* at what is in flight, and at requests_max */
#define PATIENCE_EXTRA_S 1.0
#define POINTS_MAX 100000u
#define PORTS_SPREAD 5u /* windows between the threads' first ones */

struct member {
    struct load_worker lw;
    struct load_stats *spare;
    uint64_t busy_us, window_busy_us; /* at the last interval, at the window's start */
    err opened;
};

struct run {
    const struct run_plan *plan;
    void (*drive)(struct run *run, void *arg);
    void *arg;
    struct diag *reterr;
    struct load_report report;
    struct member *members;
    unsigned started;
    struct fiber *fiber;          /* of drive */
    struct run_part *failed_part; /* could not start: those behind it have not */
    struct load_signals signals;
    bool aborting; /* a second signal */
    bool over;
    err result;
    uint64_t start_ns, interval_ns; /* of the run; of the interval at hand */
    double wanted;
    double after_s; /* what comes behind the part that is watched */
};

/* ---- on a load worker ---- */

static void member_open(void *arg)
{
    struct member *m = arg;
    m->opened = m->lw.load->carrier->open(&m->lw);
}

struct begin {
    struct load_worker *lw;
    const struct curve *curve;
    uint64_t start_ns;
    err result;
};

static void member_begin(void *arg)
{
    struct begin *b = arg;
    b->lw->stopping = false;
    b->lw->curve = b->curve;
    b->lw->start_ns = b->start_ns;
    if (b->lw->load->open_loop)
        b->result = pace_start(b->lw, b->curve, b->start_ns);
    else
        b->lw->load->carrier->begin(b->lw);
}

static void member_stop(void *arg)
{
    struct load_worker *lw = arg;
    if (lw->load->open_loop)
        pace_stop(lw);
    lw->stopping = true;
    if (lw->load->carrier->stop)
        lw->load->carrier->stop(lw);
}

struct taking {
    struct member *m;
    uint64_t left;
    uint64_t last_ns;
    uint32_t connections, in_flight;
};

static void look(void *arg)
{
    struct taking *t = arg;
    const struct load_worker *lw = &t->m->lw;
    t->left = lw->left;
    t->last_ns = lw->last_ns;
    t->connections = lw->connections;
    t->in_flight = lw->in_flight;
}

static void take(void *arg)
{
    struct taking *t = arg;
    struct member *m = t->m;
    struct load_stats *full = m->lw.stats;
    m->lw.stats = m->spare;
    m->spare = full;
    look(arg);
}

static void end_fibers(void *arg)
{
    struct load_worker *lw = arg;
    do {
        fiber_cancel_all();
        fiber_yield();
    } while (fiber_stats(worker_self()).live > 1);
    lw->load->carrier->close(lw);
}

static void member_close(void *arg)
{
    fiber_spawn(end_fibers, arg);
}

/* ---- intervals ---- */

static double seconds_since(uint64_t from_ns, uint64_t to_ns)
{
    return to_ns > from_ns ? (double)(to_ns - from_ns) / 1e9 : 0;
}

static void note_busy(struct run *run, struct load_point *p)
{
    for (unsigned i = 0; i < run->started; i++) {
        struct member *m = &run->members[i];
        uint64_t busy_us = worker_stats(m->lw.worker).busy_us;
        double share = p->seconds > 0 ? (double)(busy_us - m->busy_us) / 1e6 / p->seconds : 0;
        p->busy = share > p->busy ? share : p->busy;
        m->busy_us = busy_us;
    }
}

void report_fill_point(struct load_report *r, struct load_point *p)
{
    load_stats_total(r->recent, r->total);
    const struct load_kind *k = &r->total->kinds[0];
    const struct histogram *h = r->load->open_loop ? &k->response : &k->service;
    p->sent = k->sent;
    p->answers = k->answers;
    p->bytes_in = k->bytes_in;
    memcpy(p->errors, k->errors, sizeof p->errors);
    p->p50_ns = histogram_quantile_ns(h, 0.5);
    p->p90_ns = histogram_quantile_ns(h, 0.9);
    p->p99_ns = histogram_quantile_ns(h, 0.99);
    p->p999_ns = histogram_quantile_ns(h, 0.999);
    p->max_ns = h->max_ns;
    p->service_p50_ns = histogram_quantile_ns(&k->service, 0.5);
    p->service_p99_ns = histogram_quantile_ns(&k->service, 0.99);
}

static void keep_point(struct load_report *r, const struct load_point *p)
{
    if (r->points_count == POINTS_MAX)
        return;
    if (r->points_count == r->points_max) {
        size_t more = r->points_max * 2 + 64;
        struct load_point *points = mem_must_get(more * sizeof *points);
        if (r->points_count)
            memcpy(points, r->points, r->points_count * sizeof *points);
        mem_free(r->points);
        r->points = points;
        r->points_max = more;
    }
    r->points[r->points_count++] = *p;
}

void report_take(struct load_report *r, const struct load_point *p)
{
    if (p->seconds > 0)
        keep_point(r, p);
    if (!r->warming)
        load_stats_merge(r->all, r->recent);
}

/* Takes what all workers have seen since the last time. Returns when the last answer was in. */
static uint64_t gather(struct run *run)
{
    struct load_report *r = &run->report;
    struct load_point p = { .wanted = run->wanted };
    uint64_t last_ns = 0;
    load_stats_reset(r->recent);
    for (unsigned i = 0; i < run->started; i++) {
        struct taking t = { .m = &run->members[i] };
        call_worker(t.m->lw.worker, take, &t);
        load_stats_merge(r->recent, t.m->spare);
        load_stats_reset(t.m->spare);
        p.connections += t.connections;
        p.in_flight += t.in_flight;
        last_ns = t.last_ns > last_ns ? t.last_ns : last_ns;
    }
    uint64_t now_ns = load_now_ns();
    p.at_s = seconds_since(run->start_ns, run->interval_ns);
    p.seconds = seconds_since(run->interval_ns, now_ns);
    run->interval_ns = now_ns;
    note_busy(run, &p);
    report_fill_point(r, &p);
    report_take(r, &p);
    for (struct load_watcher *w = run->plan->watchers; w; w = w->next)
        w->look(w, r);
    return last_ns;
}

static void sum_in_flight(struct run *run, uint64_t *ret_in_flight, bool *ret_any_left)
{
    *ret_in_flight = 0;
    *ret_any_left = false;
    for (unsigned i = 0; i < run->started; i++) {
        struct taking t = { .m = &run->members[i] };
        call_worker(t.m->lw.worker, look, &t);
        *ret_in_flight += t.in_flight;
        *ret_any_left = *ret_any_left || t.left > 0;
    }
}

/* ---- a measurement ---- */

static bool is_used_up(struct run *run)
{
    uint64_t in_flight;
    bool any_left;
    if (!run->plan->load->requests_max)
        return false;
    sum_in_flight(run, &in_flight, &any_left);
    return !any_left && !in_flight;
}

/* Until end_ns, with a look every interval. False: it ended before. */
static bool watch_until(struct run *run, const struct curve *curve, uint64_t end_ns)
{
    uint64_t step_us = run->plan->interval_us, next_us = worker_now_us() + step_us;
    bool bounded = run->plan->load->requests_max > 0;
    struct load_report *r = &run->report;
    while (!r->interrupted) {
        uint64_t end_us = end_ns / 1000, until_us = next_us < end_us ? next_us : end_us;
        if (bounded && until_us > worker_now_us() + LOOK_MS * 1000)
            until_us = worker_now_us() + LOOK_MS * 1000;
        err e = fiber_wait(until_us);
        uint64_t now_ns = load_now_ns();
        if (now_ns >= end_ns)
            return true;
        if ((e && e != ERR_TIMEOUT) || (bounded && is_used_up(run)))
            return false;
        if (now_ns / 1000 < next_us)
            continue;
        next_us += step_us;
        r->seconds_left = seconds_since(now_ns, end_ns) + run->after_s;
        run->wanted = curve ? curve_level(curve, seconds_since(run->start_ns, now_ns)) : 0;
        gather(run);
    }
    return false;
}

static void begin_all(struct run *run, const struct curve *curve)
{
    run->start_ns = load_now_ns() + START_IN_MS * 1000000u;
    run->interval_ns = run->start_ns;
    run->wanted = curve ? curve_level(curve, 0) : 0;
    for (unsigned i = 0; i < run->started; i++) {
        struct begin b = { .lw = &run->members[i].lw, .curve = curve, .start_ns = run->start_ns };
        call_worker(b.lw->worker, member_begin, &b);
        if (b.result && !run->result) {
            diag_set(run->reterr, "cannot pace: %s", err_text(b.result));
            run->result = b.result;
        }
    }
}

static void stop_all(struct run *run)
{
    for (unsigned i = 0; i < run->started; i++)
        call_worker(run->members[i].lw.worker, member_stop, &run->members[i].lw);
}

/* What was sent is waited for: its own timeout ends it. */
static void drain(struct run *run)
{
    uint64_t in_flight,
        patience_ns = load_now_ns() + run->plan->load->timeout_us * 1000 + (uint64_t)(PATIENCE_EXTRA_S * 1e9);
    bool any_left;
    for (;;) {
        sum_in_flight(run, &in_flight, &any_left);
        if (!in_flight || run->aborting || load_now_ns() > patience_ns)
            break;
        if (fiber_wait(worker_now_us() + LOOK_MS * 1000) == ERR_CANCELLED)
            break;
    }
    run->report.abandoned += in_flight;
}

static void open_window(struct run *run)
{
    for (unsigned i = 0; i < run->started; i++)
        run->members[i].window_busy_us = worker_stats(run->members[i].lw.worker).busy_us;
}

static void close_window(struct run *run, double seconds)
{
    struct load_report *r = &run->report;
    r->busy = 0;
    for (unsigned i = 0; i < run->started; i++) {
        const struct member *m = &run->members[i];
        double used = (double)(worker_stats(m->lw.worker).busy_us - m->window_busy_us) / 1e6;
        if (seconds > 0 && used / seconds > r->busy)
            r->busy = used / seconds;
    }
}

bool run_measure(struct run *run, const struct curve *curve, double warmup_s, double seconds)
{
    struct load_report *r = &run->report;
    load_stats_reset(r->all);
    r->warming = warmup_s > 0;
    r->abandoned = 0;
    r->seconds_planned = warmup_s + seconds;
    begin_all(run, curve);
    uint64_t window_ns = run->start_ns + (uint64_t)(warmup_s * 1e9);
    open_window(run);
    bool whole = !run->result;
    if (whole && r->warming) {
        run->after_s = seconds;
        whole = watch_until(run, curve, window_ns);
        run->after_s = 0;
        gather(run);
        r->warming = false;
        window_ns = run->interval_ns;
        open_window(run);
    }
    if (whole)
        whole = watch_until(run, curve, window_ns + (uint64_t)(seconds * 1e9));
    stop_all(run);
    uint64_t end_ns = load_now_ns();
    close_window(run, seconds_since(window_ns, end_ns));
    drain(run);
    uint64_t last_ns = gather(run);
    bool all_in = run->plan->load->requests_max && last_ns > window_ns;
    r->seconds = seconds_since(window_ns, all_in || last_ns > end_ns ? last_ns : end_ns);
    r->seconds_run += r->seconds;
    r->seconds_left = 0;
    return !r->interrupted;
}

static void wait_for_the_start(struct run *run)
{
    uint64_t at_us = run->plan->start_wall_us;
    while (!run->report.interrupted && at_us > worker_wall_us()) {
        if (fiber_wait(worker_now_us() + (at_us - worker_wall_us())) == ERR_CANCELLED)
            break;
    }
}

void run_whole(struct run *run)
{
    wait_for_the_start(run);
    if (!run->report.interrupted)
        run_measure(run, run->plan->curve, run->plan->warmup_s, run->plan->seconds);
}

const struct load_report *run_report(const struct run *run)
{
    return &run->report;
}

/* ---- life ---- */

/* The first asks for the end, the second does not wait for what is in flight. */
static void signals_run(void *arg)
{
    struct run *run = arg;
    while (io_wait_fd(run->signals.fd, POLLIN, DEADLINE_NONE) == OK) {
        for (unsigned n = load_signals_take(&run->signals); n; n--) {
            run->aborting = run->report.interrupted;
            run->report.interrupted = true;
        }
        if (!run->over)
            fiber_wake(run->fiber);
    }
}

static void nothing(void *arg)
{
    (void)arg;
}

static err start_member(struct run *run, unsigned i, const int *cpus, unsigned cpus_count)
{
    struct member *m = &run->members[i];
    const struct load *l = run->plan->load;
    char name[16];
    snprintf(name, sizeof name, "load-%u", i);
    m->lw = (struct load_worker){ .load = l,
                                  .index = i,
                                  .left = l->requests_max
                                              ? load_share(l->requests_max, l->share_first + i, l->shares)
                                              : UINT64_MAX,
                                  .random = l->seed * 1000003 + l->share_first + i };
    for (unsigned n = 0; l->port_first && n < l->tcp_count; n++)
        ports_open(&m->lw.ports[n], l->port_first, l->port_last, (unsigned)getpid() * 7 + i * PORTS_SPREAD);
    err e = load_stats_open(l->kinds_count, &m->lw.stats);
    if (!e)
        e = load_stats_open(l->kinds_count, &m->spare);
    struct worker_opts o = { .index = i, .loop = l->loop, .cpu = -1, .name = name };
    if (l->threads == cpus_count)
        o.cpu = cpus[i];
    if (!e)
        e = worker_start(&o, nothing, NULL, &m->lw.worker, run->reterr);
    if (e)
        return e;
    run->started++;
    call_worker(m->lw.worker, member_open, m);
    return m->opened;
}

static err start_members(struct run *run)
{
    int cpus[CPUS_MAX];
    unsigned cpus_count = cpus_allowed(cpus);
    err e = OK;
    for (unsigned i = 0; i < run->plan->load->threads && !e; i++)
        e = start_member(run, i, cpus, cpus_count);
    if (e)
        diag_set(run->reterr, "cannot start a worker: %s", err_text(e));
    return e;
}

static void end_members(struct run *run)
{
    for (unsigned i = 0; i < run->started; i++) {
        struct load_worker *lw = &run->members[i].lw;
        call_worker(lw->worker, member_close, lw);
        worker_stop(lw->worker);
        worker_join(lw->worker);
    }
}

static err start_parts(struct run *run)
{
    for (struct run_part *p = run->plan->parts; p; p = p->next) {
        err e = p->start(p, &run->report, run->reterr);
        if (e) {
            run->failed_part = p;
            return e;
        }
    }
    run->failed_part = NULL;
    return OK;
}

static void control_run(void *arg)
{
    struct run *run = arg;
    run->fiber = fiber_self();
    run->failed_part = run->plan->parts; /* none has started */
    run->report.started_wall_us = worker_wall_us();
    fiber_spawn(signals_run, run);
    run->result = start_members(run);
    if (!run->result)
        run->result = start_parts(run);
    if (!run->result)
        run->drive(run, run->arg);
    run->over = true;
    for (struct run_part *p = run->plan->parts; p && p != run->failed_part; p = p->next)
        p->stop(p);
    end_members(run);
    fiber_cancel_all();
    worker_stop(worker_self());
}

err report_open(struct load_report *r, const struct load *l)
{
    *r = (struct load_report){ .load = l };
    err e = load_stats_open(l->kinds_count, &r->all);
    if (!e)
        e = load_stats_open(l->kinds_count, &r->recent);
    return e ? e : load_stats_open(1, &r->total);
}

void load_report_close(struct load_report *r)
{
    load_stats_close(r->all);
    load_stats_close(r->recent);
    load_stats_close(r->total);
    mem_free(r->points);
    *r = (struct load_report){ 0 };
}

static void members_free(struct run *run)
{
    for (unsigned i = 0; run->members && i < run->plan->load->threads; i++) {
        load_stats_close(run->members[i].lw.stats);
        load_stats_close(run->members[i].spare);
    }
    mem_free(run->members);
}

err run_with(const struct run_plan *plan, void (*drive)(struct run *run, void *arg), void *arg,
             struct load_report *ret_report, struct diag *reterr)
{
    struct run run = { .plan = plan, .drive = drive, .arg = arg, .reterr = reterr };
    err e = load_signals_open(&run.signals);
    if (e)
        return e;
    run.members = mem_get(plan->load->threads * sizeof *run.members);
    run.result = run.members ? report_open(&run.report, plan->load) : ERR_MEMORY;
    struct worker_opts o = {
        .index = plan->load->threads, .loop = plan->load->loop, .cpu = -1, .name = "load"
    };
    e = run.result;
    if (!e)
        e = worker_run(&o, control_run, &run, reterr);
    e = e ? e : run.result;
    members_free(&run);
    load_signals_close(&run.signals);
    if (e) {
        load_report_close(&run.report);
        diag_set(reterr, "%s", err_text(e));
        return e;
    }
    *ret_report = run.report;
    return OK;
}

/* --find-limit: measures what limit.h asks for, here or by agents. */
#include "command/load.h"
#include "load/report.h"

#define FIND_FIRST_RATE 100.0
#define FIND_RATE_MAX 10e6
#define FIND_TRIES 3
#define FIND_UNSENT_MAX 0.01
#define FIND_BUSY_MAX 0.9 /* of a thread: trying again would not help */

/* Where it is measured. */
struct place {
    struct run *run;
    struct agents *agents; /* NULL: here */
};

static void fill_step(struct limit_step *step, const struct load_report *r)
{
    const struct load_kind *k = &r->total->kinds[0];
    char words[256];
    step->achieved = r->seconds > 0 ? (double)load_kind_good(k) / r->seconds : 0;
    step->p50_ms = (double)histogram_quantile_ns(&k->response, 0.5) / 1e6;
    step->p99_ms = (double)histogram_quantile_ns(&k->response, 0.99) / 1e6;
    uint64_t tried = load_kind_tried(k);
    step->errors = tried ? (double)load_kind_errors(k) / (double)tried : 0;
    step->generator = report_verdict(r, words).len > 0;
}

/* A step holds when every condition does, and what was due was sent: otherwise the rate was never there. */
static bool holds(const struct thresholds *t, const struct load_report *r)
{
    double value;
    const struct load_kind *k = &r->total->kinds[0];
    if ((double)k->errors[LOAD_ERROR_UNSENT] > FIND_UNSENT_MAX * (double)load_kind_tried(k))
        return false;
    for (unsigned i = 0; i < t->count; i++) {
        if (!threshold_is_met(&t->all[i], r, &value))
            return false;
    }
    return true;
}

static bool measure_here(struct run *run, const struct load_job *job, double rate)
{
    struct stage stage = { .kind = STAGE_CONSTANT, .seconds = job->seconds + job->warmup_s, .from = rate };
    struct curve curve = { 0 };
    bool whole = curve_open(&curve, &stage, 1) == OK && run_measure(run, &curve, job->warmup_s, job->seconds);
    curve_close(&curve);
    return whole;
}

/* A step that failed because the generator was late is measured again: that says nothing of the server. */
static bool try_rate(const struct place *p, const struct load_find *f, struct limit_step *step)
{
    bool whole = true;
    for (unsigned i = 0; whole && i < FIND_TRIES; i++) {
        whole = p->agents ? agents_measure(p->agents, step->rate) : measure_here(p->run, f->job, step->rate);
        const struct load_report *r = p->agents ? agents_report(p->agents) : run_report(p->run);
        load_stats_total(r->all, r->total);
        fill_step(step, r);
        step->held = holds(&f->args->find_limit, r);
        if (step->held || !step->generator || r->busy > FIND_BUSY_MAX)
            break;
    }
    return whole;
}

static void find(const struct place *p, struct load_find *f)
{
    double rate;
    limit_open(&f->found, FIND_FIRST_RATE, FIND_RATE_MAX);
    while ((rate = limit_next(&f->found)) > 0) {
        struct limit_step step = { .rate = rate };
        if (!try_rate(p, f, &step))
            break;
        limit_tell(&f->found, &step);
    }
}

void load_find_here(struct run *run, void *f)
{
    const struct place p = { .run = run };
    find(&p, f);
}

void load_find_by_agents(struct agents *all, void *f)
{
    const struct place p = { .agents = all };
    find(&p, f);
}

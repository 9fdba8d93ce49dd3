/* agents: a run on several machines: agents start at the same moment, and what they see is added up, interval
 * by interval: counts and histograms, never percentiles.
 *
 *      clock? ×5 ─▶ each agent's offset ─▶ "begin at T" ─▶ lines of intervals ─▶ one report
 *
 * Main thread: it becomes the control worker. */
#pragma once
#include "load/run.h"

#define AGENTS_MAX 64u

struct agents;

struct agents_plan {
    const struct load *load; /* kinds and loop are used; threads are those of all agents together */
    const struct addr *addrs;
    const char *const *names; /* as they were written */
    unsigned count;
    const char *token;
    struct bytes args;  /* of the command: JSON strings with commas between, without brackets */
    struct bytes files; /* the same of {"name":...,"text":...} */
    unsigned threads;   /* of each agent */
    double seconds_planned;
    struct load_watcher *watchers;
    struct run_part *parts;
    /* What is done with them, on the control worker's fiber; NULL: one run as args say. */
    void (*drive)(struct agents *all, void *arg);
    void *arg;
};

/* The first signal has the agents end their run, the second gives them up. ERR_SYSTEM and others, with words.
 */
err agents_run(const struct agents_plan *plan, struct load_report *ret_report,
               struct diag *reterr) CHECK_RESULT;

/* ---- for drive */

/* One run of all of them, at so many requests or visits a second in all (0: as args say); the report's `all`
 * is of it alone. False: interrupted, or one has failed. */
bool agents_measure(struct agents *all, double rate);
const struct load_report *agents_report(const struct agents *all);

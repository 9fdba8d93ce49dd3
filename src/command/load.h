/* What the files of `weir load` share: the command line as it was understood. Main thread. */
#pragma once
#include "base/arena.h"
#include "load/run.h"
#include "load/threshold.h"

struct load_args {
    struct arena arena;
    struct load load;
    struct target target;
    struct bytes url;
    const char *scenario;              /* the file; NULL: quick */
    struct bytes method, body, fields; /* fields: "Name: value\r\n" each */
    struct bytes connect;              /* instead of the URL's host */
    uint64_t duration_ms, warmup_ms, timeout_ms, interval_ms;
    uint64_t pipeline;
    double rate; /* a second; 0: closed loop */
    bool has_host, connections_given, duration_given, warmup_given;
    const char *quick_only; /* an option that a scenario says itself; NULL: none was given */
    struct thresholds fail_if, find_limit;
    const char *json, *csv, *hdr, *html, *metrics;
    bool quiet;
    struct tcp_options tcp[LOAD_SOURCES_MAX];
    struct addr sources[LOAD_SOURCES_MAX];
};

#define LOAD_OK 0
#define LOAD_FAILED 1
#define LOAD_MISUSED 2
#define LOAD_THRESHOLD 3 /* --fail-if came true, or --find-limit found nothing */
#define LOAD_HELPED (-1)

/* What is to be run, from the options. */
struct load_job {
    struct curve curve;
    bool has_curve; /* else quick's closed loop */
    double seconds, warmup_s;
    struct bytes about; /* what the results call it */
};
/* Fills the job and args->load, runs it, says what came of it. Returns the exit code. */
int load_job_run(struct load_args *a, struct load_job *job);
/* A scenario's, from a->scenario. */
int load_scenario(struct load_args *a);
int load_fail(const char *what, const char *why);

/* Reads the options, argv[0] being the command's name. LOAD_OK, LOAD_MISUSED (said) or LOAD_HELPED (printed).
 */
int load_args_read(struct load_args *a, int argc, char **argv);

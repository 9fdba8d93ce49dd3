/* What the files of `weir load` share: the command line as it was understood. Main thread. */
#pragma once
#include "base/arena.h"
#include "base/text.h"
#include "load/agents.h"
#include "load/limit.h"
#include "load/quick.h"
#include "load/run.h"
#include "load/threshold.h"

struct scenario;

struct load_args {
    struct arena arena;
    struct load load;
    struct target target;
    struct bytes url;
    const char *scenario;              /* the file; NULL: quick */
    struct bytes method, body, fields; /* fields: "Name: value\r\n" each */
    uint64_t duration_ms, warmup_ms, timeout_ms, interval_ms;
    uint64_t pipeline; /* or streams */
    double rate;       /* a second; 0: closed loop */
    bool has_host, connections_given, duration_given, warmup_given, pipeline_given, streams_given;
    const char *quick_only; /* an option that a scenario says itself; NULL: none was given */
    struct thresholds fail_if, find_limit;
    const char *json, *csv, *hdr, *html;
    struct addr metrics; /* len 0: none */
    const char *replay;  /* an access log; NULL: none */
    double speed;
    struct addr agents[AGENTS_MAX];
    const char *agent_names[AGENTS_MAX];
    unsigned agents_count;
    bool insecure;                /* any certificate will do */
    struct quic_client_tls *quic; /* of HTTP/3 */
    struct bytes ca;              /* file of those whose certificates are believed; ptr NULL: the system's */
    const char *token;            /* of agents; NULL: none */
    struct text shipped;          /* options as agents are told them: JSON texts with commas between */
    bool emit;                    /* an agent's child: lines for another process */
    uint64_t start_us;            /* since 1970; 0: at once */
    bool step;                    /* rate is that of a step of somebody's search */
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
    struct bytes about;              /* what the results call it */
    const struct scenario *scenario; /* NULL: none */
};
/* A search of --find-limit, for run_with and agents_run; found is what came of it. */
struct load_find {
    const struct load_args *args;
    const struct load_job *job;
    struct limit_found found;
};
void load_find_here(struct run *run, void *find);
void load_find_by_agents(struct agents *all, void *find);
/* The run by a->agents; find: a search, NULL: none. */
err load_by_agents(struct load_args *a, const struct load_job *job, const struct run_plan *plan,
                   struct load_find *find, struct load_report *ret_report, struct diag *reterr) CHECK_RESULT;
/* `weir load agent`; argv[0] is "agent". */
int load_agent(int argc, char **argv);
/* Fills the job and args->load, runs it, says what came of it. Returns the exit code. */
int load_job_run(struct load_args *a, struct load_job *job);
/* The bytes of a request of the command line's fields. In the arena; ptr NULL: no memory. */
struct bytes load_request(struct load_args *a, struct bytes method, struct bytes path, struct bytes body);
/* The same as quick sends it. ERR_MEMORY; ERR_SYNTAX: it cannot be said in HTTP/2. */
err load_quick_request(struct load_args *a, struct bytes method, struct bytes path, struct bytes body,
                       struct quick_request *ret) CHECK_RESULT;
/* The plan for so many of them. */
struct quick_plan load_quick_plan(const struct load_args *a, const struct quick_request *requests,
                                  size_t count);
/* `weir load compare A B`; argv[0] is "compare". */
int load_compare(int argc, char **argv);
/* A replay of a->replay. */
int load_replay(struct load_args *a);
/* A scenario's, from a->scenario. */
int load_scenario(struct load_args *a);
int load_fail(const char *what, const char *why);
/* load.tls, or load.quic, for a target of https. */
int load_use_tls(struct load_args *a, const struct target *t);

/* Reads the options, argv[0] being the command's name. LOAD_OK, LOAD_MISUSED (said) or LOAD_HELPED (printed).
 */
int load_args_read(struct load_args *a, int argc, char **argv);

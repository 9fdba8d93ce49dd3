/* process_internal: what process.c, reload.c, drain.c and upgrade.c share: the one process. Control worker.
 */
#pragma once
#include <sys/types.h>

#include "gate/clients.h"
#include "gate/cpus.h"
#include "gate/process.h"

/* Addresses of weir's own, which the control worker answers. */
enum control_listener { CONTROL_ADMIN, CONTROL_LEDGER, CONTROL_LISTENERS };

struct process {
    const struct process_options *opts;
    struct worker *workers[CPUS_MAX + 1]; /* the control worker behind the others */
    unsigned count;                       /* without it */
    struct generation *generation;
    struct generation_origin origin; /* of that one */
    struct clients control[CONTROL_LISTENERS];
    uint64_t reloads, reloads_failed;
    pid_t successor; /* has taken over; 0: none */
    bool draining;
    uint64_t started_us;
    int signals;
    int exit_code;
};
extern struct process process_self;

/* fn(arg) on each worker in turn, without the control worker. */
void process_everywhere(void (*fn)(void *arg), void *arg);

/* ---- reload.c */

/* The file of the options, or that text instead. */
err reload_load(const struct bytes *text, struct generation **ret_generation,
                struct diag *reterr) CHECK_RESULT;
/* In force from now on. On failure nothing has changed, and g is the caller's still. */
err reload_apply(struct generation *g, const struct generation_origin *origin,
                 struct diag *reterr) CHECK_RESULT;
/* What the service modules were doing ends. */
void reload_stop_modules(void);
void process_log_failure(const char *what, err e, const struct diag *d);

/* ---- drain.c */

/* Waits for the clients, then ends workers and all. */
void drain_clients(void);
void drain_stop(void);

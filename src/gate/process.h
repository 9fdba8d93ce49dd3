/* process: weir as a whole: its workers, the control worker on the main thread, generations, signals, drain.
 *
 *   main thread (control worker): signals, reload, admin, health checks      worker 0 .. n-1: clients
 *
 *   SIGTERM, SIGINT  drain and stop (a second one: stop now)    SIGHUP   reload the file
 *   SIGUSR1          open the access log again                  SIGQUIT  every fiber's backtrace to stderr */
#pragma once
#include "core/worker.h"
#include "gate/gate.h"

struct http1_server;

struct process_options {
    const char *conf_path;
    enum loop_kind loop;
    /* Answers on the admin address; runs on the control worker. */
    void (*admin_serve)(struct exchange *x);
};

/* Until it is told to stop. Returns the exit code; a configuration that is wrong at start is told on stderr.
 */
int process_run(const struct process_options *opts);

/* This worker's server of the clients' listeners. */
struct http1_server *process_http1_server(void);

/* For admin and metrics, on the control worker. */
unsigned process_workers(
    struct worker *const **ret_workers); /* the control worker is the last, counted too */
const struct generation *process_generation(void);
uint64_t process_reloads(bool failed);
/* A member for each module that watches over that service. */
struct text;
void process_report_modules(struct bytes service, struct text *json);

/* What the arena of process_read_file may have to hold: all the sizes that its buffer had. */
#define FILE_ARENA_BYTES_MAX ((size_t)5 * CONF_FILE_BYTES_MAX)
/* Reads a whole file; ret_text is the arena's. */
err process_read_file(const char *path, struct arena *a, struct bytes *ret_text,
                      struct diag *reterr) CHECK_RESULT;

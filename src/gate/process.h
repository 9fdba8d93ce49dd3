/* process: weir as a whole: its workers, the control worker on the main thread, generations, signals, drain.
 *
 *   main thread (control worker): signals, reload, admin, health checks      worker 0 .. n-1: clients
 *
 *   SIGTERM, SIGINT  drain and stop (a second one: stop now)    SIGHUP   reload the file
 *   SIGUSR1          open the access log again                  SIGUSR2  upgrade: the binary on disk takes
 * over SIGQUIT          every fiber's backtrace to stderr */
#pragma once
#include "core/worker.h"
#include "gate/gate.h"

struct clients;
struct text;

struct process_options {
    char **argv; /* as the program was started, for the upgrade; ends with NULL */
    const char *conf_path;
    enum loop_kind loop;
    /* Answers on the admin address; runs on the control worker. */
    void (*admin_serve)(struct exchange *x);
    /* The same on the ledger's. */
    void (*ledger_serve)(struct exchange *x);
};

/* Until it is told to stop. Returns the exit code; a configuration that is wrong at start is told on stderr.
 */
int process_run(const struct process_options *opts);

/* Those of this worker's listeners. */
struct clients *process_clients(void);

/* ---- for admin and metrics, on the control worker */

unsigned process_workers(
    struct worker *const **ret_workers); /* the control worker is the last, counted too */
const struct generation *process_generation(void);
uint64_t process_reloads(bool failed);
/* A member for each module that watches over that service. */
void process_report_modules(struct bytes service, struct text *json);

/* Where a generation comes from. */
#define ORIGIN_WORD_BYTES_MAX 256
struct generation_origin {
    char author[ORIGIN_WORD_BYTES_MAX]; /* "file", "uid 0 (pid 12)", "admin anna" */
    char reason[ORIGIN_WORD_BYTES_MAX]; /* "start", "reload", "rollback to 7" */
    int64_t time_s;                     /* since 1970 */
    uint64_t rolled_back_to;            /* 0: it is the file's */
};
const struct generation_origin *process_origin(void);
/* DRAINING: no new clients; UPGRADED: because another process has them. */
enum process_state { PROCESS_SERVING, PROCESS_DRAINING, PROCESS_UPGRADED };
enum process_state process_state(void);
const char *process_conf_path(void);
uint64_t process_started_us(void); /* worker_now_us() */

/* What changes the process happens on one fiber, one after the other: signals and these. */
enum order_kind {
    ORDER_RELOAD,
    ORDER_ROLLBACK,
    ORDER_UPGRADE,
    ORDER_REOPEN /* the generation in force once more: what is worked out when it is opened has changed */
};
struct order {
    enum order_kind kind;
    char author[ORIGIN_WORD_BYTES_MAX];
    uint64_t number;   /* of ORDER_ROLLBACK: which generation */
    bool write;        /* of ORDER_ROLLBACK: into the file as well */
    struct diag *diag; /* words when it fails; the caller's */
    err failed;
    uint64_t ret_number; /* the generation in force then; of ORDER_UPGRADE the new process */
    struct order *next;
    struct fiber *waiting;
};
/* From a fiber of the control worker, that waits until it is done. ERR_UNAVAILABLE: weir is stopping. */
err process_order(struct order *o) CHECK_RESULT;

/* What the arena of process_read_file may have to hold: all the sizes that its buffer had. */
#define FILE_ARENA_BYTES_MAX ((size_t)5 * CONF_FILE_BYTES_MAX)
/* Reads a whole file; ret_text is the arena's. */
err process_read_file(const char *path, struct arena *a, struct bytes *ret_text,
                      struct diag *reterr) CHECK_RESULT;

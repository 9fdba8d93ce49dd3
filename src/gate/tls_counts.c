#include "gate/tls_counts.h"

#if WEIR_HAVE_OPENSSL

#include <string.h>

#include "base/list.h"
#include "core/worker.h"

static const struct metric_def handshake_defs[] = { { "handshakes_total", METRIC_COUNTER,
                                                      "Handshakes done" } };
static const struct metric_def failure_defs[] = { { "failures_total", METRIC_COUNTER,
                                                    "Handshakes that failed" } };

#define HANDSHAKE_LABELS(where)                     \
    (const char *const[])                           \
    {                                               \
        where, "version", "cipher", "resumed", NULL \
    }
#define FAILURE_LABELS(where) \
    (const char *const[])     \
    {                         \
        where, "reason", NULL \
    }

static const struct metric_group handshakes[2] = { { "tls", handshake_defs, 1, HANDSHAKE_LABELS("listen") },
                                                   { "tls_upstream", handshake_defs, 1,
                                                     HANDSHAKE_LABELS("service") } };
static const struct metric_group failures[2] = { { "tls", failure_defs, 1, FAILURE_LABELS("listen") },
                                                 { "tls_upstream", failure_defs, 1,
                                                   FAILURE_LABELS("service") } };

static const struct {
    const char *reason, *contains;
} reasons[] = {
#define X(id, reason, contains) { reason, contains },
    TLS_FAILURE_LIST(X)
#undef X
};

enum tls_failure tls_failure_of(err e, const char *why)
{
    if (e == ERR_TIMEOUT)
        return TLS_FAILURE_TIMEOUT;
    if (e == ERR_CANCELLED)
        return TLS_FAILURE_GIVEN_UP;
    if (e == ERR_RESET || e == ERR_CLOSED)
        return TLS_FAILURE_CLOSED;
    unsigned i = 0;
    while (!strstr(why, reasons[i].contains))
        i++;
    return (enum tls_failure)i;
}

const char *tls_failure_reason(enum tls_failure f)
{
    return reasons[f].reason;
}

/* Without memory nothing is counted. */
static void count(struct tls_count *c, const struct metric_group *group, const struct bytes *values)
{
    if (!c->instance && metric_instance_open(group, values, &c->instance) == OK)
        c->cells = metric_cells(c->instance, worker_index(worker_self()));
    if (c->cells)
        metric_inc(c->cells, 0);
}

static void count_done(struct tls_counts *c, const struct tls *t)
{
    const char *version = tls_version(t), *cipher = tls_cipher(t);
    bool resumed = tls_resumed(t);
    unsigned i = 0;
    while (
        i < TLS_COUNTS_KINDS_MAX - 1 && c->kinds[i].version &&
        !(c->kinds[i].version == version && c->kinds[i].cipher == cipher && c->kinds[i].resumed == resumed))
        i++;
    if (!c->kinds[i].version) {
        c->kinds[i].version = version;
        c->kinds[i].cipher = cipher;
        c->kinds[i].resumed = resumed;
    }
    count(&c->kinds[i].count, &handshakes[c->servers],
          (const struct bytes[]){ c->where, bytes_from(version), bytes_from(cipher),
                                  resumed ? BYTES("yes") : BYTES("no") });
}

static void handshake_done(struct tls_watcher *w, struct tls *t, err result, const char *why)
{
    struct tls_counts *c = container_of(w, struct tls_counts, watcher);
    if (result == OK) {
        count_done(c, t);
        return;
    }
    enum tls_failure f = tls_failure_of(result, why);
    count(&c->failures[f], &failures[c->servers],
          (const struct bytes[]){ c->where, bytes_from(tls_failure_reason(f)) });
}

/* ---- of a worker ---- */

static const struct metric_def step_defs[] = {
    [TLS_STEPS] = { "steps_total", METRIC_COUNTER, "Steps of handshakes, with clients and with servers" },
    [TLS_TURNS_FULL] = { "turns_full_total", METRIC_COUNTER,
                         "Turns of the loop that left such steps to the next" },
};
static const struct metric_group steps = { "tls", step_defs, sizeof step_defs / sizeof *step_defs, NULL };

static _Thread_local struct {
    struct metric_instance *steps;
    struct turn_hook end;
} here;

static void end_here(struct turn_hook *h)
{
    (void)h;
    tls_count_steps(NULL);
    metric_instance_free(here.steps);
    here.steps = NULL;
}

static void count_steps(void)
{
    if (here.steps || metric_instance_open(&steps, NULL, &here.steps) != OK)
        return;
    tls_count_steps(metric_cells(here.steps, worker_index(worker_self())));
    here.end.run = end_here;
    worker_on_end(&here.end);
}

void tls_counts_open(struct tls_counts *c, struct bytes where, bool servers)
{
    count_steps();
    *c = (struct tls_counts){ .watcher.done = handshake_done, .where = where, .servers = servers };
}

void tls_counts_close(struct tls_counts *c)
{
    for (unsigned i = 0; i < TLS_COUNTS_KINDS_MAX; i++)
        metric_instance_free(c->kinds[i].count.instance);
    for (unsigned i = 0; i < TLS_FAILURE_COUNT; i++)
        metric_instance_free(c->failures[i].instance);
}

#endif

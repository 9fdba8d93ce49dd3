/* health_check: asks each server of a service now and then whether it is well, and says so to all workers.
 *
 *      health_check: GET /healthz every 2s        or    tcp every 5s
 *
 *   scheduler (one fiber a service) ── every interval / servers ──▶ check (a fiber while it lasts)
 *                                                                     connect, ask, read the answer's head
 *                                                                     ▼
 *      well ──── `unhealthy_after` failures in a row ───▶ down              server_shared.down, read by all
 * workers ◀─── `healthy_after` successes in a row ─────
 *
 * Servers are asked one after the other, evenly over the interval with some jitter, so that 1,000 of them are
 * not asked in one instant. A server is taken as well until it is found down; what was found outlives a
 * reload. Runs on the control worker, and everything here is touched by its thread alone. */
#include <inttypes.h>
#include <stdio.h>

#include "base/hash.h"
#include "base/list.h"
#include "base/mem.h"
#include "core/log.h"
#include "core/metrics.h"
#include "gate/gate.h"
#include "gate/health_ask.h"
#include "gate/shared.h"
#include "gate/tls_service.h"

#define TAG "health_check"
/* Of one service at a time; more wait for one to end. */
#define CHECKS_MAX 256
/* The first round does not take the whole of a long interval. */
#define FIRST_ROUND_MS_MAX 1000

struct health_check_conf {
    struct health_ask_conf ask; /* what, and which answers are good */
    uint64_t interval_ms, timeout_ms;
    int64_t healthy_after, unhealthy_after;
};

/* ---- decisions, pure ---- */

struct health {
    bool down;
    uint32_t against; /* results in a row that say otherwise */
};

enum health_change { HEALTH_SAME, HEALTH_WENT_DOWN, HEALTH_CAME_UP };

static enum health_change health_step(struct health *h, bool well, uint32_t healthy, uint32_t unhealthy)
{
    if (well != h->down) {
        h->against = 0;
        return HEALTH_SAME;
    }
    if (++h->against < (h->down ? healthy : unhealthy))
        return HEALTH_SAME;
    h->down = !h->down;
    h->against = 0;
    return h->down ? HEALTH_WENT_DOWN : HEALTH_CAME_UP;
}

static err health_check_check(void *conf, struct diag *reterr)
{
    struct health_check_conf *c = conf;
    if (c->timeout_ms > c->interval_ms)
        c->timeout_ms = c->interval_ms; /* so that a server's checks never overlap */
    return health_ask_check(&c->ask, reterr);
}

/* ---- state ---- */

#define HEALTH_CHECK_METRICS(X)                                                          \
    X(SUCCEEDED, "succeeded_total", METRIC_COUNTER, "Checks that found the server well") \
    X(FAILED, "failed_total", METRIC_COUNTER, "Checks that did not")                     \
    X(UP, "up", METRIC_GAUGE, "1: the server gets requests; 0: found down")

enum health_check_metric {
#define X(id, name, type, help) METRIC_##id,
    HEALTH_CHECK_METRICS(X)
#undef X
        METRIC_COUNT
};

static const struct metric_group metric_group = {
    .module = TAG,
    .defs =
        (const struct metric_def[]){
#define X(id, name, type, help) { name, type, help },
            HEALTH_CHECK_METRICS(X)
#undef X
        },
    .count = METRIC_COUNT,
    .labels = (const char *const[]){ "service", "server", NULL },
};

struct checker;

struct checked {
    struct checker *checker;
    struct server_shared *shared; /* held */
    struct addr addr;
    struct tls_client *tls; /* NULL: in the clear */
    struct health health;
    bool busy;           /* a check is under way */
    struct fiber *fiber; /* of it, once it runs */
    struct metric_instance *metrics;
    struct metric_cells *cells;
};

/* Freed when it was stopped and its last fiber has ended. */
struct checker {
    struct checker *next;          /* of all that live */
    struct health_check_conf conf; /* its texts are copies in the arena */
    struct health_ask ask;
    struct arena arena;
    struct bytes service;
    bool stopping;
    bool waiting;                               /* the scheduler, for a check to end */
    enum proxy_protocol_version proxy_protocol; /* of the service: checks say that they are nobody's */
    bool http2;                                 /* so do the service's servers speak */
    struct fiber *scheduler;
    uint32_t checks; /* under way */
    uint32_t fibers; /* that live or are about to */
    uint32_t count;
    struct checked servers[];
};

static struct checker *checkers;

static bool is_checked(const struct server_shared *shared)
{
    for (const struct checker *c = checkers; c; c = c->next) {
        for (uint32_t i = 0; i < c->count; i++) {
            if (c->servers[i].shared == shared)
                return true;
        }
    }
    return false;
}

/* A server that nobody checks any more is not left down for ever; after a reload the next checker has it,
 * after an upgrade that of the next process. */
static void checker_free(struct checker *c)
{
    struct checker **at = &checkers;
    while (*at && *at != c)
        at = &(*at)->next;
    if (*at)
        *at = c->next;
    for (uint32_t i = 0; i < c->count; i++) {
        struct checked *s = &c->servers[i];
        if (s->health.down && !is_checked(s->shared) && !shared_is_given())
            atomic_store_explicit(&s->shared->down, 0, memory_order_relaxed);
        metric_instance_free(s->metrics);
        tls_client_close(s->tls);
        server_shared_drop(s->shared);
    }
    health_ask_close(&c->ask);
    arena_close(&c->arena);
    mem_free(c);
}

static void fiber_ended(struct checker *c)
{
    if (--c->fibers == 0)
        checker_free(c);
}

/* ---- one check ---- */

static void log_change(const struct checked *s, enum health_change change, const struct health_answer *a)
{
    const struct bytes service = s->checker->service;
    if (change == HEALTH_CAME_UP)
        log_info(TAG, "up again service=%.*s server=%s", BYTES_ARG(service), s->shared->text);
    else if (a->failed || a->why)
        log_warn(TAG, "down service=%.*s server=%s why=\"%s\"", BYTES_ARG(service), s->shared->text,
                 a->failed ? err_text(a->failed) : a->why);
    else
        log_warn(TAG, "down service=%.*s server=%s status=%u", BYTES_ARG(service), s->shared->text,
                 a->status);
}

static void note(struct checked *s, const struct health_answer *a)
{
    const struct health_check_conf *c = &s->checker->conf;
    metric_inc(s->cells, a->well ? METRIC_SUCCEEDED : METRIC_FAILED);
    const enum health_change change =
        health_step(&s->health, a->well, (uint32_t)c->healthy_after, (uint32_t)c->unhealthy_after);
    if (change == HEALTH_SAME)
        return;
    server_shared_set_down(s->shared, s->health.down, worker_now_us());
    metric_set(s->cells, METRIC_UP, !s->health.down);
    log_change(s, change, a);
}

static void check_run(void *arg)
{
    struct checked *s = arg;
    struct checker *c = s->checker;
    struct health_answer a = { .failed = ERR_CANCELLED };
    s->fiber = fiber_self();
    const struct health_way way = { c->proxy_protocol, s->tls, c->http2 };
    if (!c->stopping)
        a = health_ask(&c->ask, &s->addr, s->shared->text, &way, deadline_in_ms(c->conf.timeout_ms));
    s->fiber = NULL;
    s->busy = false;
    if (!c->stopping)
        note(s, &a);
    c->checks--;
    if (c->waiting)
        fiber_wake(c->scheduler);
    fiber_ended(c);
}

/* ---- the scheduler ---- */

static void check_spawn(struct checked *s)
{
    if (s->busy)
        return;
    s->busy = true;
    s->checker->checks++;
    s->checker->fibers++;
    fiber_spawn(check_run, s);
}

static err wait_until(uint64_t due_us)
{
    const uint64_t now_us = worker_now_us();
    return fiber_sleep_us(due_us > now_us ? due_us - now_us : 0);
}

static err wait_for_room(struct checker *c)
{
    err e = OK;
    c->waiting = true;
    while (!e && c->checks >= CHECKS_MAX)
        e = fiber_wait(DEADLINE_NONE);
    c->waiting = false;
    return e;
}

static err round_run(struct checker *c, uint64_t round_ms, uint64_t *due_us)
{
    const uint64_t gap_us = round_ms * 1000 / c->count;
    for (uint32_t i = 0; i < c->count; i++) {
        *due_us += gap_us;
        if (*due_us < worker_now_us())
            *due_us = worker_now_us();
        err e = wait_until(*due_us - random_u64() % (gap_us / 8 + 1));
        if (!e)
            e = wait_for_room(c);
        if (e || c->stopping)
            return ERR_CANCELLED;
        check_spawn(&c->servers[i]);
    }
    return OK;
}

static void scheduler_run(void *arg)
{
    struct checker *c = arg;
    const uint64_t interval_ms = c->conf.interval_ms;
    uint64_t due_us = worker_now_us();
    c->scheduler = fiber_self();
    err e = c->stopping || c->count == 0 ? ERR_CANCELLED : OK;
    if (!e)
        e = round_run(c, interval_ms < FIRST_ROUND_MS_MAX ? interval_ms : FIRST_ROUND_MS_MAX, &due_us);
    while (!e)
        e = round_run(c, interval_ms, &due_us);
    c->scheduler = NULL;
    c->waiting = false;
    fiber_ended(c);
}

/* ---- starting and stopping ---- */

static err checked_open(struct checker *c, struct server_shared *shared, const struct addr *addr)
{
    struct checked *s = &c->servers[c->count];
    const struct bytes labels[] = { c->service, bytes_from(shared->text) };
    err e = metric_instance_open(&metric_group, labels, &s->metrics);
    if (e)
        return e;
    s->checker = c;
    s->shared = shared;
    s->addr = *addr;
    s->health.down = atomic_load_explicit(&shared->down, memory_order_relaxed);
    s->cells = metric_cells(s->metrics, worker_index(worker_self()));
    metric_set(s->cells, METRIC_UP, !s->health.down);
    server_shared_hold(shared);
    c->count++;
    return OK;
}

static err copy_texts(struct checker *c)
{
    struct health_ask_conf *a = &c->conf.ask;
    struct bytes *const texts[] = { &a->path, &a->host, &a->contains, &a->regex, &a->send, &a->expect };
    for (unsigned i = 0; i < sizeof texts / sizeof *texts; i++) {
        *texts[i] = arena_copy(&c->arena, *texts[i]);
        if (!texts[i]->ptr)
            return ERR_MEMORY;
    }
    return OK;
}

/* How the service's servers are spoken to. */
static err learn_protocols(struct checker *c, const struct service *of)
{
    c->proxy_protocol = (enum proxy_protocol_version)of->conf->proxy_protocol;
    c->http2 = of->conf->protocol == SERVICE_HTTP2;
    for (uint32_t i = 0; of->tls && i < of->servers_count; i++) {
        for (uint32_t j = 0; j < c->count; j++) {
            struct checked *s = &c->servers[j];
            if (s->shared == of->servers[i].shared &&
                !(s->tls = tls_client_open(of->tls, of->servers[i].conf)))
                return ERR_MEMORY;
        }
    }
    return OK;
}

static err health_check_start(const void *conf, struct bytes service, struct server_shared *const *servers,
                              const struct addr *addrs, uint32_t count, void **ret_state, struct diag *reterr)
{
    (void)reterr;
    struct checker *c = mem_get(sizeof *c + count * sizeof *c->servers);
    if (!c)
        return ERR_MEMORY;
    memcpy(&c->conf, conf, sizeof c->conf);
    arena_open(&c->arena, &arena_heap, 1 << 20, NULL, 0);
    c->service = arena_copy(&c->arena, service);
    err e = c->service.ptr ? copy_texts(c) : ERR_MEMORY;
    if (!e)
        e = health_ask_open(&c->ask, &c->conf.ask);
    for (uint32_t i = 0; !e && i < count; i++)
        e = checked_open(c, servers[i], &addrs[i]);
    struct gate *g = gate_current();
    const struct service *of = g ? gate_service(g, service) : NULL;
    if (!e && of)
        e = learn_protocols(c, of);
    c->next = checkers;
    checkers = c;
    if (e) {
        checker_free(c);
        return e;
    }
    c->fibers = 1;
    fiber_spawn(scheduler_run, c);
    *ret_state = c;
    return OK;
}

static void health_check_stop(void *state)
{
    struct checker *c = state;
    c->stopping = true;
    if (c->scheduler)
        fiber_cancel(c->scheduler);
    for (uint32_t i = 0; i < c->count; i++) {
        if (c->servers[i].fiber)
            fiber_cancel(c->servers[i].fiber);
    }
}

const struct service_module health_check_module = {
    .conf = { .name = "health_check",
              .size = sizeof(struct health_check_conf),
              .phrases =
                  (const char *const[]){ "{method} {path} every {interval}", "{method} every {interval}",
                                         "{method} {path}", "{method}", NULL },
              .fields =
                  (const struct conf_field[]){
                      { .name = "method",
                        .type = CONF_WORD,
                        .offset = offsetof(struct health_check_conf, ask.method),
                        .preset = "GET",
                        .words = health_methods,
                        .doc = "how the server is asked; `tcp`: a connection is opened, and more only if "
                               "`send` or `expect` say so; `grpc`: by gRPC's health service" },
                      { .name = "path",
                        .type = CONF_TEXT,
                        .offset = offsetof(struct health_check_conf, ask.path),
                        .preset = "/",
                        .doc = "what it is asked for; of `grpc`: a service, `/`: the server as a whole" },
                      { .name = "interval",
                        .type = CONF_MS,
                        .offset = offsetof(struct health_check_conf, interval_ms),
                        .preset = "5s",
                        .min = 10,
                        .max = 24 * 3600 * 1000,
                        .doc = "how often each server is asked" },
                      { .name = "timeout",
                        .type = CONF_MS,
                        .offset = offsetof(struct health_check_conf, timeout_ms),
                        .preset = "1s",
                        .min = 1,
                        .doc = "an answer that takes longer is a failure; the interval at most" },
                      { .name = "healthy_after",
                        .type = CONF_INT,
                        .offset = offsetof(struct health_check_conf, healthy_after),
                        .preset = "2",
                        .min = 1,
                        .max = 1000,
                        .doc = "successes in a row that bring a server back" },
                      { .name = "unhealthy_after",
                        .type = CONF_INT,
                        .offset = offsetof(struct health_check_conf, unhealthy_after),
                        .preset = "3",
                        .min = 1,
                        .max = 1000,
                        .doc = "failures in a row that take a server out" },
                      { .name = "status",
                        .type = CONF_LIST,
                        .item = CONF_TEXT,
                        .offset = offsetof(struct health_check_conf, ask.status),
                        .preset = "200-299",
                        .doc = "answers that mean well: `200`, `[200-299, 301]`" },
                      { .name = "contains",
                        .type = CONF_TEXT,
                        .offset = offsetof(struct health_check_conf, ask.contains),
                        .doc = "text that must stand in the answer's body (its first 64 KiB)" },
                      { .name = "regex",
                        .type = CONF_TEXT,
                        .offset = offsetof(struct health_check_conf, ask.regex),
                        .doc = "regular expression (PCRE2) that must match somewhere in it" },
                      { .name = "send",
                        .type = CONF_TEXT,
                        .offset = offsetof(struct health_check_conf, ask.send),
                        .doc = "of `tcp`: what is said when the connection is there" },
                      { .name = "expect",
                        .type = CONF_TEXT,
                        .offset = offsetof(struct health_check_conf, ask.expect),
                        .doc = "of `tcp`: text that must come" },
                      { .name = "host",
                        .type = CONF_TEXT,
                        .offset = offsetof(struct health_check_conf, ask.host),
                        .doc = "the Host field; the server's address when not said" },
                      { 0 } },
              .check = health_check_check,
              .doc = "Asks each server now and then whether it is well, and keeps requests from those that "
                     "are not." },
    .start = health_check_start,
    .stop = health_check_stop,
};

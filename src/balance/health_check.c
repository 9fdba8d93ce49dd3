/* health_check: asks each server of a service now and then whether it is well, and says so to all workers.
 *
 *      health_check: GET /healthz every 2s        or    tcp every 5s
 *
 *   scheduler (one fiber a service) ── every interval / servers ──▶ check (a fiber while it lasts)
 *                                                                     connect, ask, read the answer's head
 *                                                                     ▼
 *      well ──── `unhealthy` failures in a row ───▶ down              server_shared.down, read by all workers
 *           ◀─── `healthy` successes in a row ─────
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
#include "gate/proxied.h"
#include "gate/shared.h"
#include "net/tcp.h"
#include "proto/http1.h"

#define TAG "health_check"
/* Of one service at a time; more wait for one to end. */
#define CHECKS_MAX 256
/* The first round does not take the whole of a long interval. */
#define FIRST_ROUND_MS_MAX 1000
#define PATH_BYTES_MAX 1024
#define HOST_BYTES_MAX 255

enum check_method { CHECK_GET, CHECK_HEAD, CHECK_OPTIONS, CHECK_TCP };
static const char *const method_words[] = { "GET", "HEAD", "OPTIONS", "tcp", NULL };

struct health_check_conf {
    int method;
    struct bytes path;
    uint64_t interval_ms, timeout_ms;
    int64_t healthy, unhealthy;
    struct conf_list status; /* struct bytes: "200" or "200-299" */
    struct bytes host;
    uint64_t status_bits[10]; /* of 0 to 639, made of status */
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

static bool status_is_well(const struct health_check_conf *c, unsigned status)
{
    return status / 64 < 10 && c->status_bits[status / 64] >> (status % 64) & 1;
}

/* "200" or "200-299" */
static bool status_add(struct health_check_conf *c, struct bytes text)
{
    struct bytes part;
    uint64_t first, last;
    if (!bytes_split(&text, '-', &part) || !bytes_to_u64(part, &first))
        return false;
    last = first;
    if (text.ptr && !bytes_to_u64(text, &last))
        return false;
    if (first < 200 || last > 599 || first > last)
        return false;
    for (uint64_t status = first; status <= last; status++)
        c->status_bits[status / 64] |= UINT64_C(1) << (status % 64);
    return true;
}

static bool is_plain(struct bytes text, size_t len_max)
{
    return text.len <= len_max && bytes_index(text, ' ') == text.len && http_is_field_value(text);
}

static err health_check_check(void *conf, struct diag *reterr)
{
    struct health_check_conf *c = conf;
    if (c->path.len == 0 || c->path.ptr[0] != '/' || !is_plain(c->path, PATH_BYTES_MAX)) {
        diag_set(reterr, "path: \"%.*s\" is not a path: expected like /healthz", BYTES_ARG(c->path));
        return ERR_CONF;
    }
    if (!is_plain(c->host, HOST_BYTES_MAX)) {
        diag_set(reterr, "host: \"%.*s\" is not a host", BYTES_ARG(c->host));
        return ERR_CONF;
    }
    const struct bytes *status = c->status.items;
    for (size_t i = 0; i < c->status.count; i++) {
        if (!status_add(c, status[i])) {
            diag_set(reterr, "status: \"%.*s\" is not a status: expected like 200 or 200-299 (of 200 to 599)",
                     BYTES_ARG(status[i]));
            return ERR_CONF;
        }
    }
    if (c->timeout_ms > c->interval_ms)
        c->timeout_ms = c->interval_ms; /* so that a server's checks never overlap */
    return OK;
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
    struct arena arena;
    struct bytes service;
    bool stopping;
    bool waiting;                               /* the scheduler, for a check to end */
    enum proxy_protocol_version proxy_protocol; /* of the service: checks say that they are nobody's */
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
        server_shared_drop(s->shared);
    }
    arena_close(&c->arena);
    mem_free(c);
}

static void fiber_ended(struct checker *c)
{
    if (--c->fibers == 0)
        checker_free(c);
}

/* ---- one check ---- */

static const struct http1_limits limits = { .line_bytes_max = 8192,
                                            .head_bytes_max = 32768,
                                            .fields_max = 64 };

static err read_status(struct io *io, enum http_method method, uint64_t deadline_us, unsigned *ret_status)
{
    struct http_field fields[64];
    struct bytes in;
    size_t seen = 0;
    err e = io_pull(io, deadline_us, &in);
    while (!e) {
        struct http_response r = { .fields = { fields, 0, limits.fields_max } };
        size_t used;
        e = http1_parse_response(in, seen, &limits, method, &r, &used);
        if (e == ERR_AGAIN) {
            seen = in.len;
            e = io_pull_more(io, in.len, deadline_us, &in);
            continue;
        }
        if (e)
            return e;
        if (r.status >= 200) {
            *ret_status = r.status;
            return OK;
        }
        io_consume(io, used);
        seen = 0;
        e = io_pull(io, deadline_us, &in);
    }
    return e;
}

static err ask_http(const struct checked *s, struct io *io, uint64_t deadline_us, unsigned *ret_status)
{
    const struct health_check_conf *c = &s->checker->conf;
    const struct bytes host = c->host.len ? c->host : bytes_from(s->shared->text);
    char request[PATH_BYTES_MAX + HOST_BYTES_MAX + 256];
    const int len = snprintf(request, sizeof request,
                             "%s %.*s HTTP/1.1\r\nHost: %.*s\r\nUser-Agent: weir-health-check\r\n"
                             "Accept: */*\r\nConnection: close\r\n\r\n",
                             method_words[c->method], BYTES_ARG(c->path), BYTES_ARG(host));
    err e = io_write(io, (struct bytes){ request, (size_t)len }, deadline_us);
    return e ? e
             : read_status(io, http_method_of(bytes_from(method_words[c->method])), deadline_us, ret_status);
}

/* ret_status: 0 when no answer was read (or none is asked for). */
static err ask(const struct checked *s, unsigned *ret_status)
{
    const uint64_t deadline_us = deadline_in_ms(s->checker->conf.timeout_ms);
    struct io *io;
    *ret_status = 0;
    err e = tcp_connect(&s->addr, NULL, deadline_us, &io);
    if (e)
        return e;
    if (s->checker->proxy_protocol)
        proxied_write(io, s->checker->proxy_protocol, NULL, NULL, -1);
    if (s->checker->conf.method != CHECK_TCP)
        e = ask_http(s, io, deadline_us, ret_status);
    io_abort(io, false);
    return e;
}

static void log_change(const struct checked *s, enum health_change change, err e, unsigned status)
{
    const struct bytes service = s->checker->service;
    if (change == HEALTH_CAME_UP)
        log_info(TAG, "up again service=%.*s server=%s", BYTES_ARG(service), s->shared->text);
    else if (e)
        log_warn(TAG, "down service=%.*s server=%s why=\"%s\"", BYTES_ARG(service), s->shared->text,
                 err_text(e));
    else
        log_warn(TAG, "down service=%.*s server=%s status=%u", BYTES_ARG(service), s->shared->text, status);
}

static void note(struct checked *s, err e, unsigned status)
{
    const struct health_check_conf *c = &s->checker->conf;
    const bool well = !e && (c->method == CHECK_TCP || status_is_well(c, status));
    metric_inc(s->cells, well ? METRIC_SUCCEEDED : METRIC_FAILED);
    const enum health_change change =
        health_step(&s->health, well, (uint32_t)c->healthy, (uint32_t)c->unhealthy);
    if (change == HEALTH_SAME)
        return;
    server_shared_set_down(s->shared, s->health.down, worker_now_us());
    metric_set(s->cells, METRIC_UP, !s->health.down);
    log_change(s, change, e, status);
}

static void check_run(void *arg)
{
    struct checked *s = arg;
    struct checker *c = s->checker;
    unsigned status = 0;
    s->fiber = fiber_self();
    const err e = c->stopping ? ERR_CANCELLED : ask(s, &status);
    s->fiber = NULL;
    s->busy = false;
    if (!c->stopping)
        note(s, e, status);
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

static err health_check_start(const void *conf, struct bytes service, struct server_shared *const *servers,
                              const struct addr *addrs, uint32_t count, void **ret_state, struct diag *reterr)
{
    (void)reterr;
    struct checker *c = mem_get(sizeof *c + count * sizeof *c->servers);
    if (!c)
        return ERR_MEMORY;
    memcpy(&c->conf, conf, sizeof c->conf);
    arena_open(&c->arena, &arena_heap, 1 << 20, NULL, 0);
    c->conf.path = arena_copy(&c->arena, c->conf.path);
    c->conf.host = arena_copy(&c->arena, c->conf.host);
    c->service = arena_copy(&c->arena, service);
    err e = c->conf.path.ptr && c->conf.host.ptr && c->service.ptr ? OK : ERR_MEMORY;
    for (uint32_t i = 0; !e && i < count; i++)
        e = checked_open(c, servers[i], &addrs[i]);
    struct gate *g = gate_current();
    const struct service *of = g ? gate_service(g, service) : NULL;
    if (of)
        c->proxy_protocol = (enum proxy_protocol_version)of->conf->proxy_protocol;
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
                        .offset = offsetof(struct health_check_conf, method),
                        .preset = "GET",
                        .words = method_words,
                        .doc = "how the server is asked; `tcp`: a connection is opened, and that is all" },
                      { .name = "path",
                        .type = CONF_TEXT,
                        .offset = offsetof(struct health_check_conf, path),
                        .preset = "/",
                        .doc = "what it is asked for" },
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
                      { .name = "healthy",
                        .type = CONF_INT,
                        .offset = offsetof(struct health_check_conf, healthy),
                        .preset = "2",
                        .min = 1,
                        .max = 1000,
                        .doc = "successes in a row that bring a server back" },
                      { .name = "unhealthy",
                        .type = CONF_INT,
                        .offset = offsetof(struct health_check_conf, unhealthy),
                        .preset = "3",
                        .min = 1,
                        .max = 1000,
                        .doc = "failures in a row that take a server out" },
                      { .name = "status",
                        .type = CONF_LIST,
                        .item = CONF_TEXT,
                        .offset = offsetof(struct health_check_conf, status),
                        .preset = "200-299",
                        .doc = "answers that mean well: `200`, `[200-299, 301]`" },
                      { .name = "host",
                        .type = CONF_TEXT,
                        .offset = offsetof(struct health_check_conf, host),
                        .doc = "the Host field; the server's address when not said" },
                      { 0 } },
              .check = health_check_check,
              .doc = "Asks each server now and then whether it is well, and keeps requests from those that "
                     "are not." },
    .start = health_check_start,
    .stop = health_check_stop,
};

/* simulation: a service in simulated time, to see what a balancer makes of slow and failing servers. Seeded:
 * the same figures in every run and on every machine.
 *
 *      arrivals (Poisson) ──▶ worker (any of `workers`, each with a balancer of its own) ──▶ pick
 *                                                                                            ▼
 *                     done ◀── answer, or 5 s are over ◀── server: `slots` at a time, the others in line
 *
 * Servers answer after a time drawn from an exponential distribution: fast ones of service_us, slow ones of
 * slow_factor times that; failing ones fail after FAILING_US, all requests at once. Used by simulation_test.c
 * and by bench/balancing.c. */
#pragma once
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/must.h"
#include "base/histogram.h"
#include "gate/registry.h"
#include "gate/service.h"
#include "proto/http.h"

#define SIMULATED_SERVERS_MAX 64
#define SIMULATED_WORKERS_MAX 8
#define FAILING_US 1000
#define PATIENCE_US 5000000
#define KEYS 10000

struct simulation {
    const char *balance; /* as in a configuration: "hash by path" */
    uint32_t workers, servers, slow, failing;
    uint32_t slots;
    double slow_factor, service_us;
    double rate_per_s;
    uint32_t requests;
    uint64_t seed;
};

/* 16 servers that could take 5,280 requests a second, two of them ten times slower, one failing fast; at
 * 2,400. */
static const struct simulation simulation_preset = { .balance = "round_robin",
                                                     .workers = 2,
                                                     .servers = 16,
                                                     .slow = 2,
                                                     .failing = 1,
                                                     .slots = 4,
                                                     .slow_factor = 10,
                                                     .service_us = 10000,
                                                     .rate_per_s = 2400,
                                                     .requests = 200000,
                                                     .seed = 1 };

struct simulation_result {
    double p50_ms, p99_ms, p999_ms; /* of all, failures too */
    double errors, slow_share, failing_share;
};

/* ---- the balancer's settings, from a text ---- */

struct balance_setting {
    struct conf_module balance;
};

static inline const void *simulation_conf(const char *text, struct arena *a, const struct balancer **ret)
{
    static const struct conf_struct *modules[64];
    for (unsigned i = 0; balancer_registry[i]; i++)
        modules[i] = &balancer_registry[i]->conf;
    const struct conf_field fields[] = {
        { .name = "balance", .type = CONF_MODULE, .modules = modules, .required = true }, { 0 }
    };
    const struct conf_struct root = { .name = "simulation",
                                      .size = sizeof(struct balance_setting),
                                      .fields = fields };
    char line[512];
    const int len = snprintf(line, sizeof line, "balance: %s\n", text);
    void *conf;
    struct diag d = DIAG_NONE;
    char said[600];
    err e = conf_parse((struct bytes){ line, (size_t)len }, "simulation", &root, a, NULL, &conf, &d);
    if (e)
        fprintf(stderr, "%s\n", diag_print(&d, said, sizeof said));
    must(e == OK);
    const struct balance_setting *s = conf;
    *ret = balancer_registry[s->balance.index];
    return s->balance.conf;
}

/* ---- events ---- */

struct request {
    uint64_t at_us; /* it came */
    uint32_t worker, server;
    uint32_t next; /* in the server's line */
    bool waiting;  /* in it, and has patience */
};

struct event {
    uint64_t at_us;
    uint32_t request;
    bool patience; /* is over; otherwise: the answer is there */
};

#define NOBODY UINT32_MAX

struct simulated_server {
    uint32_t busy;
    uint32_t first, last; /* in line */
    double rps;           /* answered lately: what it reports */
    uint64_t rps_us;
};

struct world {
    struct simulation is;
    const struct balancer *balancer;
    struct server_shared shared[SIMULATED_SERVERS_MAX];
    struct server servers[SIMULATED_WORKERS_MAX][SIMULATED_SERVERS_MAX];
    void *states[SIMULATED_WORKERS_MAX];
    struct simulated_server real[SIMULATED_SERVERS_MAX];
    struct request *requests;
    struct event *heap; /* the next one first */
    uint32_t heap_count, heap_max;
    uint64_t now_us;
    struct histogram latencies;
    uint64_t errors, to_slow, to_failing;
};

static inline void heap_push(struct world *w, uint64_t at_us, uint32_t request, bool patience)
{
    must(w->heap_count < w->heap_max);
    uint32_t i = w->heap_count++;
    for (; i && w->heap[(i - 1) / 2].at_us > at_us; i = (i - 1) / 2)
        w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = (struct event){ at_us, request, patience };
}

static inline struct event heap_pop(struct world *w)
{
    const struct event first = w->heap[0];
    const struct event last = w->heap[--w->heap_count];
    uint32_t i = 0;
    for (uint32_t child = 1; child < w->heap_count; child = 2 * i + 1) {
        if (child + 1 < w->heap_count && w->heap[child + 1].at_us < w->heap[child].at_us)
            child++;
        if (w->heap[child].at_us >= last.at_us)
            break;
        w->heap[i] = w->heap[child];
        i = child;
    }
    w->heap[i] = last;
    return first;
}

static inline double simulated_random(void)
{
    return (double)((random_u64() >> 11) + 1) * 0x1p-53;
}

static inline bool is_slow(const struct world *w, uint32_t server)
{
    return server < w->is.slow;
}

static inline bool is_failing(const struct world *w, uint32_t server)
{
    return server >= w->is.slow && server < w->is.slow + w->is.failing;
}

/* ---- what happens ---- */

static inline void simulation_load(struct world *w, const struct request *r, int32_t change)
{
    w->servers[r->worker][r->server].active += (uint32_t)change;
    w->servers[r->worker][r->server].load += (uint32_t)change;
    if (w->balancer->load)
        w->balancer->load(w->states[r->worker], r->server, change);
}

static inline void begin_service(struct world *w, uint32_t i)
{
    struct request *r = &w->requests[i];
    const double mean_us = w->is.service_us * (is_slow(w, r->server) ? w->is.slow_factor : 1);
    w->real[r->server].busy++;
    r->waiting = false;
    heap_push(w, w->now_us + (uint64_t)(-log(simulated_random()) * mean_us) + 1, i, false);
}

static inline void ended(struct world *w, struct request *r, bool failed)
{
    struct simulated_server *real = &w->real[r->server];
    const double passed_s = (double)(w->now_us - real->rps_us) / 1e6;
    real->rps = real->rps * exp(-passed_s) + 1; /* the requests of about the last second */
    real->rps_us = w->now_us;
    char report[128];
    const double slots = w->is.slots;
    const int len = snprintf(report, sizeof report, "TEXT rps_fractional=%.3f,cpu_utilization=%.3f,eps=%.3f",
                             real->rps, is_failing(w, r->server) ? 0.01 : (double)real->busy / slots,
                             is_failing(w, r->server) ? real->rps : 0.0);
    struct http_field field = { .name = "endpoint-load-metrics",
                                .name_len = 21,
                                .value = report,
                                .value_len = (uint32_t)len,
                                .id = FIELD_OTHER };
    struct http_response response = { .status = failed ? 503 : 200, .fields = { &field, 1, 1 } };
    const struct outcome o = { .now_us = w->now_us,
                               .latency_us = w->now_us - r->at_us,
                               .weight = 1,
                               .status = response.status,
                               .failed = failed,
                               .response = &response };
    simulation_load(w, r, -1);
    if (w->balancer->done)
        w->balancer->done(w->states[r->worker], w->servers[r->worker], r->server, &o);
    histogram_add(&w->latencies, o.latency_us * 1000);
    w->errors += failed;
}

static inline void next_in_line(struct world *w, uint32_t server)
{
    struct simulated_server *real = &w->real[server];
    while (real->first != NOBODY && real->busy < w->is.slots) {
        const uint32_t i = real->first;
        real->first = w->requests[i].next;
        if (w->requests[i].waiting)
            begin_service(w, i);
    }
}

static inline void arrive(struct world *w, uint32_t i)
{
    struct request *r = &w->requests[i];
    struct pick p = { .now_us = w->now_us, .weight = 1 };
    p.hash = hash_u64(random_below(KEYS) + 1);
    r->at_us = w->now_us;
    r->worker = random_below(w->is.workers);
    r->server = w->balancer->pick(w->states[r->worker], w->servers[r->worker], w->is.servers, &p);
    must(r->server < w->is.servers);
    w->to_slow += is_slow(w, r->server);
    w->to_failing += is_failing(w, r->server);
    simulation_load(w, r, 1);
    struct simulated_server *real = &w->real[r->server];
    if (is_failing(w, r->server)) {
        heap_push(w, w->now_us + FAILING_US, i, false);
    } else if (real->busy < w->is.slots) {
        begin_service(w, i);
    } else {
        r->waiting = true;
        r->next = NOBODY;
        if (real->first == NOBODY)
            real->first = i;
        else
            w->requests[real->last].next = i;
        real->last = i;
        heap_push(w, w->now_us + PATIENCE_US, i, true);
    }
}

static inline void happen(struct world *w, const struct event *event)
{
    struct request *r = &w->requests[event->request];
    if (event->patience) {
        if (r->waiting)
            ended(w, r, true);
        r->waiting = false;
        return;
    }
    if (!is_failing(w, r->server))
        w->real[r->server].busy--;
    ended(w, r, is_failing(w, r->server));
    next_in_line(w, r->server);
}

/* ---- all of it ---- */

static inline void world_open(struct world *w, const struct simulation *is, struct arena *a)
{
    *w = (struct world){ .is = *is };
    random_seed(is->seed);
    const void *conf = simulation_conf(is->balance, a, &w->balancer);
    w->requests = mem_must_get(is->requests * sizeof *w->requests);
    w->heap_max = 2 * is->requests;
    w->heap = mem_must_get(w->heap_max * sizeof *w->heap);
    for (uint32_t i = 0; i < is->servers; i++) {
        snprintf(w->shared[i].text, sizeof w->shared[i].text, "10.0.0.%u:80", i + 1);
        w->real[i].first = NOBODY;
        for (uint32_t worker = 0; worker < is->workers; worker++)
            w->servers[worker][i] = (struct server){ .index = i, .weight = 1, .shared = &w->shared[i] };
    }
    for (uint32_t worker = 0; worker < is->workers; worker++)
        must(w->balancer->open(conf, w->servers[worker], is->servers, &w->states[worker], NULL) == OK);
}

static inline void world_close(struct world *w)
{
    for (uint32_t worker = 0; worker < w->is.workers; worker++)
        w->balancer->close(w->states[worker]);
    mem_free(w->requests);
    mem_free(w->heap);
}

static inline struct simulation_result simulate(const struct simulation *is)
{
    struct arena a;
    struct world *w = mem_get_aligned(sizeof *w, _Alignof(struct world));
    must(w != NULL);
    arena_open(&a, &arena_heap, 1 << 20, NULL, 0);
    world_open(w, is, &a);
    uint64_t arrival_us = 1;
    for (uint32_t i = 0; i < is->requests || w->heap_count;) {
        if (i < is->requests && (w->heap_count == 0 || arrival_us <= w->heap[0].at_us)) {
            w->now_us = arrival_us;
            arrival_us += (uint64_t)(-log(simulated_random()) * 1e6 / is->rate_per_s);
            arrive(w, i++);
        } else {
            const struct event event = heap_pop(w);
            w->now_us = event.at_us;
            happen(w, &event);
        }
    }
    const double all = is->requests;
    const struct simulation_result result = {
        .p50_ms = (double)histogram_quantile_ns(&w->latencies, 0.5) / 1e6,
        .p99_ms = (double)histogram_quantile_ns(&w->latencies, 0.99) / 1e6,
        .p999_ms = (double)histogram_quantile_ns(&w->latencies, 0.999) / 1e6,
        .errors = (double)w->errors / all,
        .slow_share = (double)w->to_slow / all,
        .failing_share = (double)w->to_failing / all,
    };
    must(w->latencies.count == is->requests);
    world_close(w);
    mem_free(w);
    arena_close(&a);
    return result;
}

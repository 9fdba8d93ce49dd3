#include "gate/service.h"

#include "base/mem.h"
#include "gate/gate.h"
#include "gate/gate_metrics.h"
#include "gate/registry.h"
#include "gate/service_open.h"
#include "gate/upstream.h"

/* After so many failures in a row a server rests: 1 s, then 2, 4 ... at most 30. (Ejection by error ratio
 * against the others is outlier's; this only keeps requests from a server that is plainly gone.) */
#define FAILURES_MAX 3
#define EJECT_MS 1000
#define EJECT_SHIFT_MAX 5
#define EJECT_MS_MAX 30000

static err open_server(struct service *s, uint32_t i, const struct server_conf *conf, const struct addr *addr)
{
    struct server *server = &s->servers[i];
    server->addr = *addr;
    server->weight = (uint32_t)conf->weight;
    server->index = i;
    server->service = s;
    s->servers_count = i + 1;
    server->shared = server_shared_get(s->name, addr);
    if (!server->shared)
        return ERR_MEMORY;
    server->upstream = upstream_get(s->name, addr, &s->conf->tcp);
    if (!server->upstream)
        return ERR_MEMORY;
    return server_metrics_open(s->name, server->shared->text, &server->metrics, &server->cells);
}

/* The first of its modules that wants to see results. */
static err open_watcher(struct service *s, struct diag *reterr)
{
    const struct conf_list *list = &s->conf->modules;
    for (size_t i = 0; i < list->count; i++) {
        const struct conf_module *m = (const struct conf_module *)list->items + i;
        const struct service_module *module = service_module_registry[m->index];
        if (!module->watch)
            continue;
        err e = module->watch(m->conf, s, &s->watcher_state, reterr);
        if (!e)
            s->watcher = module;
        return e;
    }
    return OK;
}

err service_open(struct service *s, struct gate *g, const struct service_conf *conf, const struct addr *addrs,
                 struct diag *reterr)
{
    s->name = conf->name;
    s->conf = conf;
    s->gate = g;
    s->servers = mem_get(conf->servers.count * sizeof *s->servers);
    s->metrics = mem_get(sizeof *s->metrics);
    if (!s->servers || !s->metrics)
        return ERR_MEMORY;
    err e = service_metrics_open(s->metrics, s->name);
    if (e)
        return e;
    for (uint32_t i = 0; i < conf->servers.count; i++) {
        e = open_server(s, i, (const struct server_conf *)conf->servers.items + i, &addrs[i]);
        if (e)
            return e;
    }
    e = retry_open(&s->retry, s->name, gate_workers(g));
    if (!e)
        e = open_watcher(s, reterr);
    if (e)
        return e;
    const struct balancer *b = balancer_registry[conf->balance.index];
    if (b->open) {
        e = b->open(conf->balance.conf, s->servers, s->servers_count, &s->balancer_state, reterr);
        if (e)
            return e;
    }
    s->balancer = b;
    return OK;
}

void service_close(struct service *s)
{
    if (s->balancer && s->balancer->close)
        s->balancer->close(s->balancer_state);
    for (uint32_t i = 0; i < s->servers_count; i++) {
        if (s->servers[i].upstream)
            upstream_put(s->servers[i].upstream);
        metric_instance_free(s->servers[i].metrics);
        server_shared_drop(s->servers[i].shared);
    }
    if (s->watcher)
        s->watcher->unwatch(s->watcher_state);
    retry_close(&s->retry);
    if (s->metrics)
        service_metrics_close(s->metrics);
    mem_free(s->metrics);
    mem_free(s->servers);
}

struct pick pick_begin(struct exchange *x)
{
    struct pick p = { .now_us = worker_now_us(), .x = x, .weight = x->weight };
    const struct service *s = x->service;
    if (s->balancer->prepare)
        s->balancer->prepare(s->balancer_state, &p);
    return p;
}

struct server *service_pick(struct service *s, struct pick *p)
{
    uint32_t i = s->balancer->pick(s->balancer_state, s->servers, s->servers_count, p);
    if (i == UINT32_MAX && !p->any) {
        p->any = true;
        i = s->balancer->pick(s->balancer_state, s->servers, s->servers_count, p);
    }
    return i == UINT32_MAX ? NULL : &s->servers[i];
}

void server_begin(struct server *s, const struct exchange *x)
{
    s->active++;
    s->load += x->weight;
}

void server_end(struct server *s, const struct exchange *x)
{
    s->active--;
    s->load -= x->weight;
}

void server_tell(struct server *s, struct exchange *x, uint64_t began_us, bool failed)
{
    const struct service *service = s->service;
    if (!service->balancer->done)
        return;
    const uint64_t now_us = worker_now_us();
    struct outcome o = {
        .now_us = now_us, .latency_us = now_us - began_us, .weight = x->weight, .failed = failed
    };
    if (!failed) {
        o.response = &x->response;
        o.status = x->response.status;
        o.failed = o.status >= 500;
    }
    service->balancer->done(service->balancer_state, service->servers, s->index, &o);
}

void server_succeeded(struct server *s)
{
    struct server_shared *shared = s->shared;
    /* written only when it changes: all workers read this cache line for each request */
    if (atomic_load_explicit(&shared->failures, memory_order_relaxed))
        atomic_store_explicit(&shared->failures, 0, memory_order_relaxed);
    if (atomic_load_explicit(&shared->ejections, memory_order_relaxed))
        atomic_store_explicit(&shared->ejections, 0, memory_order_relaxed);
}

void server_failed(struct server *s)
{
    struct server_shared *shared = s->shared;
    metric_inc(s->cells, UPSTREAM_FAILURES);
    uint32_t failures = atomic_fetch_add_explicit(&shared->failures, 1, memory_order_relaxed) + 1;
    uint64_t now_us = worker_now_us();
    if (failures < FAILURES_MAX ||
        atomic_load_explicit(&shared->ejected_until_us, memory_order_relaxed) > now_us)
        return;
    uint32_t times = atomic_fetch_add_explicit(&shared->ejections, 1, memory_order_relaxed);
    uint64_t ms = (uint64_t)EJECT_MS << (times < EJECT_SHIFT_MAX ? times : EJECT_SHIFT_MAX);
    if (ms > EJECT_MS_MAX)
        ms = EJECT_MS_MAX;
    atomic_store_explicit(&shared->ejected_until_us, now_us + ms * 1000, memory_order_relaxed);
}

void server_result(struct server *s, enum server_result r)
{
    const struct service *service = s->service;
    if (r == SERVER_ERRED)
        metric_inc(s->cells, UPSTREAM_ERRORS);
    if (service->watcher) {
        metric_add(s->cells, UPSTREAM_FAILURES, r == SERVER_FAILED);
        service->watcher->result(service->watcher_state, s, r, worker_now_us());
    } else if (r == SERVER_FAILED) {
        server_failed(s);
    } else {
        server_succeeded(s);
    }
}

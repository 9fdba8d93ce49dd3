#include "gate/service.h"

#include "base/mem.h"
#include "gate/gate.h"
#include "gate/gate_metrics.h"
#include "gate/grpc.h"
#include "gate/queue.h"
#include "gate/registry.h"
#include "gate/service_breaker.h"
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
    server->conf = conf;
    server->weight = (uint32_t)conf->weight;
    server->index = i;
    server->service = s;
    s->servers_count = i + 1;
    server->shared = server_shared_get(s->name, addr);
    if (!server->shared)
        return ERR_MEMORY;
    const uint32_t weight = atomic_load_explicit(&server->shared->weight, memory_order_relaxed);
    if (weight)
        server->weight = weight;
    server->upstream = upstream_get_tls(s->name, addr, &s->conf->tcp, s->tls, conf);
    if (!server->upstream)
        return ERR_MEMORY;
    return server_metrics_open(s->name, server->shared->text, &server->metrics, &server->cells);
}

/* Servers of one priority and zone stand together, otherwise in the order of the file. */
static void order_fill(const struct service_conf *conf, uint32_t *order, uint32_t *ranks)
{
    const struct server_conf *servers = conf->servers.items;
    const uint32_t count = (uint32_t)conf->servers.count;
    uint32_t zones = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t same = 0;
        while (same < i && !bytes_eq(servers[same].zone, servers[i].zone))
            same++;
        ranks[i] = same < i ? ranks[same] : zones++;
    }
    uint32_t filled = 0;
    for (int64_t priority = 0; filled < count; priority++) {
        for (uint32_t zone = 0; zone < zones; zone++) {
            for (uint32_t i = 0; i < count; i++) {
                if (servers[i].priority == priority && ranks[i] == zone)
                    order[filled++] = i;
            }
        }
    }
}

static err open_servers(struct service *s, const struct addr *addrs)
{
    const uint32_t count = (uint32_t)s->conf->servers.count;
    uint32_t *order = mem_get(count * sizeof *order);
    uint32_t *ranks = mem_get(count * sizeof *ranks);
    err e = order && ranks ? OK : ERR_MEMORY;
    if (!e)
        order_fill(s->conf, order, ranks);
    for (uint32_t i = 0; !e && i < count; i++) {
        const struct server_conf *conf = (const struct server_conf *)s->conf->servers.items + order[i];
        e = open_server(s, i, conf, &addrs[order[i]]);
    }
    mem_free(order);
    mem_free(ranks);
    return e;
}

/* A server that a reload brought to servers that were there before starts slowly too. The control worker
 * alone looks: it opens every generation. */
static void greet_new_servers(struct service *s)
{
    if (worker_index(worker_self()) < gate_workers(s->gate))
        return;
    uint32_t known = 0;
    for (uint32_t i = 0; i < s->servers_count; i++)
        known += atomic_load_explicit(&s->servers[i].shared->known, memory_order_relaxed);
    for (uint32_t i = 0; i < s->servers_count; i++) {
        struct server_shared *shared = s->servers[i].shared;
        if (atomic_exchange_explicit(&shared->known, 1, memory_order_relaxed) == 0 && known)
            atomic_store_explicit(&shared->up_since_us, worker_now_us(), memory_order_relaxed);
    }
}

static err open_groups(struct service *s, struct diag *reterr)
{
    const struct balancer *b = balancer_registry[s->conf->balance.index];
    s->groups = mem_get(PRIORITIES_MAX * sizeof *s->groups);
    if (!s->groups)
        return ERR_MEMORY;
    s->balancer = b;
    for (uint32_t first = 0; first < s->servers_count;) {
        struct service_group *g = &s->groups[s->groups_count++];
        g->first = first;
        do {
            s->servers[first++].group = g;
        } while (first < s->servers_count &&
                 s->servers[first].conf->priority == s->servers[g->first].conf->priority);
        g->count = first - g->first;
        err e = b->open(s->conf->balance.conf, s->servers + g->first, g->count, &g->balancer_state, reterr);
        if (e)
            return e;
    }
    return OK;
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
    s->servers = mem_get_aligned(conf->servers.count * sizeof *s->servers, _Alignof(struct server));
    s->metrics = mem_get(sizeof *s->metrics);
    if (!s->servers || !s->metrics)
        return ERR_MEMORY;
    err e = service_metrics_open(s->metrics, s->name);
    if (!e && conf->protocol == SERVICE_HTTP2)
        e = grpc_metrics_open(&s->grpc, s->name);
    if (e)
        return e;
    e = open_servers(s, addrs);
    if (!e)
        e = service_breakers_open(s);
    if (!e)
        e = retry_open(&s->retry, s->name, gate_workers(g));
    if (!e)
        e = hedge_open(&s->hedge, conf->hedge, s->name, gate_workers(g));
    if (!e)
        e = queue_open(s, gate_workers(g));
    if (!e)
        e = open_watcher(s, reterr);
    if (e)
        return e;
    greet_new_servers(s);
    return open_groups(s, reterr);
}

void service_close(struct service *s)
{
    for (uint32_t i = 0; i < s->groups_count; i++) {
        if (s->groups[i].balancer_state)
            s->balancer->close(s->groups[i].balancer_state);
    }
    mem_free(s->groups);
    queue_close(s);
    service_breakers_close(s);
    for (uint32_t i = 0; i < s->servers_count; i++) {
        if (s->servers[i].upstream)
            upstream_put(s->servers[i].upstream);
        metric_instance_free(s->servers[i].metrics);
        server_shared_drop(s->servers[i].shared);
    }
    if (s->watcher)
        s->watcher->unwatch(s->watcher_state);
    hedge_close(&s->hedge);
    retry_close(&s->retry);
    grpc_metrics_close(s->grpc);
    if (s->metrics)
        service_metrics_close(s->metrics);
    mem_free(s->metrics);
    mem_free(s->servers);
}

void server_begin(struct server *s, const struct exchange *x)
{
    const struct balancer *b = s->service->balancer;
    s->active++;
    s->load += x->weight;
    if (b->load)
        b->load(s->group->balancer_state, s->index - s->group->first, (int32_t)x->weight);
}

void server_end(struct server *s, const struct exchange *x)
{
    const struct balancer *b = s->service->balancer;
    s->active--;
    s->load -= x->weight;
    if (b->load)
        b->load(s->group->balancer_state, s->index - s->group->first, -(int32_t)x->weight);
    if (s->taken)
        queue_place_give(s);
}

void server_tell(struct server *s, struct exchange *x, uint64_t began_us, bool failed)
{
    if (!failed)
        metric_observe_ns(s->cells, UPSTREAM_SECONDS, (worker_now_us() - began_us) * 1000);
    const struct service *service = s->service;
    if (service->breakers)
        server_breaker_tell(s, failed || breaker_is_error(exchange_outcome(x)), began_us);
    if (!service->balancer->done)
        return;
    const uint64_t now_us = worker_now_us();
    struct outcome o = {
        .now_us = now_us, .latency_us = now_us - began_us, .weight = x->weight, .failed = failed
    };
    if (!failed) {
        o.response = &x->response;
        o.status = exchange_outcome(x);
        o.failed = o.status >= 500;
    }
    const struct service_group *g = s->group;
    service->balancer->done(g->balancer_state, service->servers + g->first, s->index - g->first, &o);
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

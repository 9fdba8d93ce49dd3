#include "gate/gate.h"

#include "base/mem.h"
#include "base/must.h"
#include "gate/access_log.h"
#include "gate/alt_svc.h"
#include "gate/carrier.h"
#include "gate/gate_metrics.h"
#include "gate/grpc.h"
#include "gate/listening.h"
#include "gate/priority.h"
#include "gate/regex.h"
#include "gate/registry.h"
#include "gate/route_path.h"
#include "gate/service_open.h"
#include "gate/tap.h"
#include "gate/websocket.h"

static _Thread_local struct gate *current;

/* ---- opening ---- */

static struct service *find_service(struct gate *g, struct bytes name)
{
    uintptr_t place = (uintptr_t)map_get(&g->generation->services_by_name, name);
    return place ? &g->services[place - 1] : NULL;
}

static err open_services(struct gate *g, struct diag *reterr)
{
    const struct conf_list *list = &g->generation->conf->services;
    g->services = mem_get((list->count + 1) * sizeof *g->services);
    if (!g->services)
        return ERR_MEMORY;
    for (size_t i = 0; i < list->count; i++) {
        g->services_count = (unsigned)i + 1;
        g->services[i].tls = g->generation->service_tls[i];
        err e = service_open(&g->services[i], g, (const struct service_conf *)list->items + i,
                             g->generation->service_addrs[i], reterr);
        if (e)
            return e;
    }
    return OK;
}

/* At the end of a chain without a service: whoever was to answer or to choose one did neither. */
static err nobody_handle(struct exchange *x, void *state, struct chain *next)
{
    (void)state;
    if (x->service)
        return chain_next(next, x);
    exchange_answer(x, 404, BYTES_NONE, BYTES_NONE, BYTES("gate"));
    return OK;
}

static const struct filter nobody_filter = { .conf = { .name = "nobody" }, .handle = nobody_handle };

static err open_route(struct gate *g, struct route *r, const struct route_conf *conf, struct diag *reterr)
{
    r->conf = conf;
    r->service = conf->service.len ? find_service(g, conf->service) : NULL;
    must(r->service != NULL || !conf->service.len); /* CONF_REF has seen to it */
    r->chain = mem_get((conf->filters.count + 2) * sizeof *r->chain);
    err failed = r->chain ? websocket_route_open(conf, &g->websocket, &r->websocket) : ERR_MEMORY;
    if (failed)
        return failed;
    for (size_t i = 0; i < conf->filters.count; i++) {
        const struct conf_module *m = (const struct conf_module *)conf->filters.items + i;
        const struct filter *f = filter_registry[m->index];
        struct chain_link *l = &r->chain[i];
        err e = f->open ? f->open(m->conf, g, conf->match, &l->state, reterr) : OK;
        if (e) {
            if (reterr && !reterr->line) {
                reterr->line = m->mark.line;
                reterr->column = m->mark.column;
            }
            return e;
        }
        l->filter = f;
        r->links = (unsigned)i + 1;
    }
    if (!r->service)
        r->chain[r->links++].filter = &nobody_filter;
    return OK;
}

static err open_routes(struct gate *g, struct diag *reterr)
{
    const struct conf_list *list = &g->generation->conf->routes;
    g->routes = mem_get((list->count + 1) * sizeof *g->routes);
    if (!g->routes)
        return ERR_MEMORY;
    for (size_t i = 0; i < list->count; i++) {
        g->routes_count = (unsigned)i + 1;
        err e = open_route(g, &g->routes[i], (const struct route_conf *)list->items + i, reterr);
        if (e)
            return e;
    }
    return OK;
}

static void collect_early(struct gate *g, enum early when)
{
    struct early_links *e = &g->early[when];
    unsigned count = 0;
    for (unsigned i = 0; i < g->routes_count; i++) {
        for (const struct chain_link *l = g->routes[i].chain; l->filter; l++) {
            if (!l->filter->early || !l->filter->early(NULL, l->state, when))
                continue;
            if (count < EARLY_LINKS_MAX)
                e->links[count] = *l;
            count++;
        }
    }
    e->count = count <= EARLY_LINKS_MAX ? count : 0;
}

static void gate_close(struct gate *g)
{
    for (unsigned i = 0; i < g->routes_count; i++) {
        struct route *r = &g->routes[i];
        websocket_route_close(r->websocket);
        for (unsigned j = 0; j < r->links; j++) {
            if (r->chain[j].filter->close)
                r->chain[j].filter->close(r->chain[j].state);
        }
        mem_free(r->chain);
    }
    listening_close(g);
    for (unsigned i = 0; i < g->services_count; i++)
        service_close(&g->services[i]);
    if (g->unrouted)
        service_metrics_close(g->unrouted);
    mem_free(g->unrouted);
    websocket_common_close(g->websocket);
    mem_free(g->routes);
    mem_free(g->services);
    generation_drop(g->generation);
    mem_free(g);
}

err gate_open(struct generation *generation, struct gate **ret_gate, struct diag *reterr)
{
    struct gate *g = mem_get(sizeof *g);
    if (!g)
        return ERR_MEMORY;
    g->generation = generation;
    g->holds = 1;
    generation_hold(generation);
    g->unrouted = mem_get(sizeof *g->unrouted);
    err e = g->unrouted ? service_metrics_open(g->unrouted, BYTES("none")) : ERR_MEMORY;
    if (!e && router_has_regexes(generation->router))
        e = regex_ready();
    if (!e)
        e = open_services(g, reterr);
    if (!e)
        e = open_routes(g, reterr);
    if (!e)
        e = listening_open(g, reterr);
    if (e) {
        gate_close(g);
        return e;
    }
    for (unsigned i = 0; i < EARLY_COUNT; i++)
        collect_early(g, (enum early)i);
    *ret_gate = g;
    return OK;
}

/* ---- using ---- */

struct gate *gate_current(void)
{
    return current;
}

void gate_use(struct gate *g)
{
    struct gate *before = current;
    current = g;
    if (before)
        gate_drop(before);
}

void gate_hold(struct gate *g)
{
    g->holds++;
}

void gate_drop(struct gate *g)
{
    if (--g->holds == 0)
        gate_close(g);
}

struct service *gate_service(struct gate *g, struct bytes name)
{
    return find_service(g, name);
}

const struct route_conf *gate_opening(const struct gate *g)
{
    return g->routes[g->routes_count - 1].conf;
}

unsigned gate_workers(const struct gate *g)
{
    return g->generation->workers;
}

uint32_t gate_weight_of(const struct gate *g, struct bytes class)
{
    const struct conf_list *list = &g->generation->conf->weight_of;
    const struct weight_of_conf *classes = list->items;
    for (size_t i = 0; i < list->count; i++) {
        if (bytes_eq(classes[i].name, class))
            return (uint32_t)classes[i].weight;
    }
    return 0;
}

/* ---- serving ---- */

struct chain {
    const struct chain_link *at;
};

err chain_next(struct chain *next, struct exchange *x)
{
    const struct chain_link *l = next->at;
    if (!l->filter)
        return service_ask(x);
    struct chain rest = { l + 1 };
    return l->filter->handle(x, l->state, &rest);
}

static void answer_server_failure(struct exchange *x, err e)
{
    unsigned status = 502;
    x->failed = e;
    if (e == ERR_TIMEOUT)
        status = 504;
    else if (e == ERR_LIMIT || e == ERR_UNAVAILABLE)
        status = 503;
    if (x->client_gone)
        status = 499; /* nginx's number for it: nobody reads it but the log */
    exchange_answer(x, status, BYTES_NONE, BYTES_NONE, BYTES("gate"));
}

static void answer_request_body_failure(struct exchange *x, err e)
{
    x->failed = e;
    unsigned status = e == ERR_LIMIT ? 413 : e == ERR_TIMEOUT ? 408 : 400;
    exchange_answer(x, status, BYTES_NONE, BYTES_NONE, BYTES("gate"));
}

/* The gate's own answer when nobody gave one. */
void gate_answer_failure(struct exchange *x, err e)
{
    if (x->request_failed)
        answer_request_body_failure(x, x->request_failed);
    else
        answer_server_failure(x, e);
}

/* No route: nobody has such a path, or somebody does and takes other methods (RFC 9110 15.5.6). */
static void answer_unrouted(struct exchange *x, uint32_t methods)
{
    exchange_answer(x, methods ? 405 : 404, BYTES_NONE, BYTES_NONE, BYTES("gate"));
    struct bytes allow = BYTES_NONE;
    for (unsigned m = 0; m < HTTP_OTHER; m++) {
        if (methods >> m & 1)
            allow = arena_print(&x->arena, "%.*s%s%.*s", BYTES_ARG(allow), allow.len ? ", " : "",
                                BYTES_ARG(http_method_text(m)));
    }
    if (methods && allow.ptr)
        (void)!http_fields_add(&x->response.fields, &x->arena, BYTES("Allow"), allow);
}

static err note_captures(struct exchange *x, const struct route_hit *hit)
{
    size_t bytes = hit->count * sizeof hit->values[0];
    struct route_captures *c = arena_get(&x->arena, sizeof *c + bytes);
    if (!c)
        return ERR_LIMIT;
    c->count = hit->count;
    c->names = hit->names;
    memcpy(c->values, hit->values, bytes);
    x->captures = c;
    return OK;
}

static bool find_client(struct exchange *x)
{
    err e = trusted_proxies_apply(x->gate->generation->trusted_proxies, x);
    if (e == ERR_SYNTAX)
        exchange_answer(x, 400, BYTES_NONE, BYTES_NONE, BYTES("trusted_proxies"));
    else if (e)
        gate_answer_failure(x, e);
    return !e;
}

/* False: it is answered. */
static bool find_route(struct exchange *x)
{
    struct route_hit hit;
    err e = ERR_SYNTAX;
    if (x->request.method == HTTP_CONNECT) {
        exchange_answer(x, 501, BYTES_NONE, BYTES_NONE, BYTES("gate"));
        return false;
    }
    if (route_path(x->request.path, &x->arena, &x->path) == OK)
        e = router_find(x->gate->generation->router, &x->request, x->path, &x->arena, &hit);
    if (!e && hit.count)
        e = note_captures(x, &hit);
    if (e == ERR_NOT_FOUND)
        answer_unrouted(x, hit.methods);
    else if (e)
        exchange_answer(x, 400, BYTES_NONE, BYTES_NONE, BYTES("gate"));
    if (e)
        return false;
    x->rest = hit.rest;
    x->route = &x->gate->routes[hit.route];
    x->service = x->route->service;
    if (x->route->conf->priority)
        x->priority = (uint8_t)priority_of(x->route->conf->priority, &x->request.fields);
    return true;
}

/* Of "a.example:443" what stands before the port. */
static struct bytes host_of(struct bytes authority)
{
    return (struct bytes){ authority.ptr, bytes_index(authority, ':') };
}

/* RFC 9110 7.4, 15.5.20: its client was given another certificate, and has not made sure of this one. */
static bool is_misdirected(struct exchange *x)
{
    if (exchange_tls_covers(x, host_of(x->request.authority)))
        return false;
    exchange_answer(x, 421, BYTES_NONE, BYTES_NONE, BYTES("gate"));
    return true;
}

static void run_chain(struct exchange *x)
{
    if (x->gate->misdirects && is_misdirected(x))
        return;
    if (x->gate->generation->trusted_proxies && !find_client(x))
        return;
    if (!find_route(x))
        return;
    struct chain chain = { x->route->chain };
    err e = chain_next(&chain, x);
    if (e)
        gate_answer_failure(x, e);
}

void gate_serve(struct exchange *x)
{
    grpc_begin(x);
    run_chain(x);
    if (x->grpc)
        grpc_answer(x);
    if (x->gate->says_alt_svc)
        alt_svc_add(x);
}

void gate_done(struct exchange *x)
{
    service_metrics_count(x->service ? x->service->metrics : x->gate->unrouted, x);
    if (x->grpc && x->service && x->service->grpc)
        grpc_metrics_count(x->service->grpc, x);
    access_log_exchange(x);
    tap_exchange(x);
}

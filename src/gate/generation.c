#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "gate/access_log.h"
#include "gate/gate.h"
#include "gate/listen_conf.h"
#include "gate/registry.h"
#include "gate/route_match.h"
#include "gate/tls_listener.h"
#include "gate/tls_service.h"

#define GENERATION_BYTES_MAX (256u << 20)

static void diag_at(struct diag *d, struct conf_mark mark, const char *file)
{
    if (!d)
        return;
    d->file = file;
    d->line = mark.line;
    d->column = mark.column;
}

/* A name is looked up once, when the file is loaded; the first address counts. (Names that are followed as
 * they change are discovery's.) */
static err resolve(struct bytes text, struct addr *ret_addr, struct diag *reterr)
{
    if (addr_parse(text, ret_addr) == OK) {
        if (ret_addr->sock.any.sa_family != AF_INET6 ||
            !IN6_IS_ADDR_UNSPECIFIED(&ret_addr->sock.v6.sin6_addr))
            return OK;
        diag_set(reterr, "\"%s\" names no server: an address or a name is needed before the port", text.ptr);
        return ERR_CONF;
    }
    const char *colon = strrchr(text.ptr, ':');
    char host[256];
    if (!colon || colon == text.ptr || (size_t)(colon - text.ptr) >= sizeof host) {
        diag_set(reterr,
                 "\"%s\" is not an address: expected like 10.0.0.1:80, [::1]:80, name:80 or unix:/path",
                 text.ptr);
        return ERR_CONF;
    }
    snprintf(host, sizeof host, "%.*s", (int)(colon - text.ptr), text.ptr);
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV };
    struct addrinfo *found;
    int why = getaddrinfo(host, colon + 1, &hints, &found);
    if (why) {
        diag_set(reterr, "cannot find the address of \"%s\": %s", text.ptr, gai_strerror(why));
        return ERR_CONF;
    }
    *ret_addr = (struct addr){ .len = found->ai_addrlen };
    memcpy(&ret_addr->sock, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return OK;
}

static err resolve_service(struct generation *g, const struct service_conf *s, struct addr **ret_addrs,
                           struct diag *reterr)
{
    struct addr *addrs = arena_get_zero(&g->arena, s->servers.count * sizeof *addrs);
    if (!addrs)
        return ERR_MEMORY;
    for (size_t i = 0; i < s->servers.count; i++) {
        const struct server_conf *server = (const struct server_conf *)s->servers.items + i;
        err e = resolve(server->address, &addrs[i], reterr);
        if (e)
            return e;
        for (size_t j = 0; j < i && s->servers.count <= 64; j++) {
            if (addr_eq(&addrs[i], &addrs[j])) {
                diag_set(reterr, "server \"%s\" stands twice in one service", server->address.ptr);
                return ERR_CONF;
            }
        }
    }
    *ret_addrs = addrs;
    return OK;
}

static err resolve_all(struct generation *g, const char *file, struct diag *reterr)
{
    size_t count = g->conf->services.count;
    g->service_addrs = arena_get_zero(&g->arena, (count + 1) * sizeof *g->service_addrs);
    if (!g->service_addrs)
        return ERR_MEMORY;
    for (size_t i = 0; i < count; i++) {
        const struct service_conf *s = (const struct service_conf *)g->conf->services.items + i;
        err e = resolve_service(g, s, &g->service_addrs[i], reterr);
        const struct balancer *b = balancer_registry[s->balance.index];
        if (!e && b->check)
            e = b->check(s->balance.conf, s, reterr);
        if (e) {
            diag_at(reterr, s->mark, file);
            return e;
        }
    }
    return OK;
}

static err check_filters(const struct gate_conf *conf, const struct route_conf *route, const char *file,
                         struct diag *reterr)
{
    const struct filter_place place = { .root = conf, .route = route };
    const struct conf_module *m = route->filters.items;
    for (size_t i = 0; i < route->filters.count; i++) {
        const struct filter *f = filter_registry[m[i].index];
        err e = f->check_route ? f->check_route(m[i].conf, &place, reterr) : OK;
        if (e) {
            diag_at(reterr, m[i].mark, file);
            return e;
        }
    }
    return OK;
}

/* What one route's own settings do not show: its text, its place among the others, what its filters stand on.
 */
static err prepare_routes(struct generation *g, struct gate_conf *conf, const char *file, struct diag *reterr)
{
    struct route_conf *routes = conf->routes.items;
    for (size_t i = 0; i < conf->routes.count; i++) {
        routes[i].match = match_text(&routes[i].matches, &g->arena);
        if (!routes[i].match.ptr)
            return ERR_MEMORY;
    }
    err e = router_build(&conf->routes, &g->router, reterr);
    if (e == ERR_CONF && reterr && reterr->line)
        reterr->file = file;
    for (size_t i = 0; !e && i < conf->routes.count; i++)
        e = check_filters(conf, &routes[i], file, reterr);
    return e;
}

static err open_listeners_tls(struct generation *g, const char *file, struct diag *reterr)
{
    const struct conf_list *list = &g->listen;
    for (size_t i = 0; i < list->count; i++) {
        const struct listen_conf *l = (const struct listen_conf *)list->items + i;
        err e = l->tls ? tls_listener_open(l, &g->listen_tls[i], reterr) : OK;
        if (e) {
            diag_at(reterr, l->mark, file);
            return e;
        }
    }
    return OK;
}

static err open_tls(struct generation *g, const char *file, struct diag *reterr)
{
    const struct conf_list *list = &g->conf->services;
    g->listen_tls = arena_get_zero(&g->arena, g->listen.count * sizeof(struct tls_listener *));
    g->service_tls = arena_get_zero(&g->arena, (list->count + 1) * sizeof(struct tls_service *));
    if (!g->listen_tls || !g->service_tls)
        return ERR_MEMORY;
    for (size_t i = 0; i < list->count; i++) {
        const struct service_conf *s = (const struct service_conf *)list->items + i;
        err e = s->tls ? tls_service_open(s, &g->service_tls[i], reterr) : OK;
        if (e) {
            diag_at(reterr, s->mark, file);
            return e;
        }
    }
    return open_listeners_tls(g, file, reterr);
}

static void close_tls(struct generation *g)
{
    for (size_t i = 0; g->listen_tls && i < g->listen.count; i++)
        tls_listener_close(g->listen_tls[i]);
    for (size_t i = 0; g->service_tls && i < g->conf->services.count; i++)
        tls_service_drop(g->service_tls[i]);
}

static err fill(struct generation *g, struct bytes text, const char *file, struct conf_errors *errors,
                struct diag *reterr)
{
    void *conf;
    err e = conf_parse(text, file, &gate_conf_struct, &g->arena, errors, &conf, reterr);
    if (e)
        return e;
    g->conf = conf;
    const struct client_conf *client = g->conf->client;
    g->client_limits = (struct http1_limits){
        .line_bytes_max = (uint32_t)client->line_bytes_max,
        .head_bytes_max = (uint32_t)client->head_bytes_max,
        .fields_max = (uint32_t)client->fields_max,
    };
    g->text = arena_copy(&g->arena, text);
    if (!g->text.ptr)
        return ERR_MEMORY;
    const struct service_conf *services = g->conf->services.items;
    for (size_t i = 0; !e && i < g->conf->services.count; i++)
        e = map_set(&g->services_by_name, services[i].name, (void *)(uintptr_t)(i + 1));
    if (!e)
        e = prepare_routes(g, conf, file, reterr);
    for (unsigned i = 0; filter_registry[i] && !e; i++)
        e = filter_registry[i]->check ? filter_registry[i]->check(g->conf, i, reterr) : OK;
    if (e == ERR_CONF && reterr && reterr->line)
        reterr->file = file;
    if (!e)
        e = trusted_proxies_open(g->conf->trusted_proxies, &g->trusted_proxies, reterr);
    if (!e)
        e = listen_conf_all(g->conf, &g->arena, &g->listen);
    if (!e)
        e = open_tls(g, file, reterr);
    return e ? e : resolve_all(g, file, reterr);
}

static _Atomic uint64_t numbers;

err generation_load(struct bytes text, const char *file, struct conf_errors *errors,
                    struct generation **ret_generation, struct diag *reterr)
{
    struct generation *g = mem_get(sizeof *g);
    if (!g)
        return ERR_MEMORY;
    g->holds = 1;
    arena_open(&g->arena, &arena_heap, GENERATION_BYTES_MAX, NULL, 0);
    err e = fill(g, text, file, errors, reterr);
    if (e) {
        generation_drop(g);
        return e;
    }
    g->number = atomic_fetch_add(&numbers, 1) + 1;
    *ret_generation = g;
    return OK;
}

void generation_renumber(struct generation *g, uint64_t number)
{
    g->number = number;
    atomic_store(&numbers, number);
}

void generation_hold(struct generation *g)
{
    atomic_fetch_add(&g->holds, 1);
}

void generation_drop(struct generation *g)
{
    if (atomic_fetch_sub(&g->holds, 1) != 1)
        return;
    if (g->router)
        router_free(g->router);
    map_close(&g->services_by_name);
    trusted_proxies_close(g->trusted_proxies);
    close_tls(g);
    access_log_drop(g->access_log);
    arena_close(&g->arena);
    mem_free(g);
}

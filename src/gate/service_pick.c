/* The choice of a server: which priority, which of its servers, and what to do when too few are well. */
#include "gate/exchange.h"
#include "gate/gate_conf.h"
#include "gate/pick.h"
#include "gate/service_breaker.h"
#include "gate/service_open.h"
#include "gate/session.h"

/* The place + 1 of the server that x's session stays at; 0: it stays at none, or that is no more. */
static uint32_t kept_of(const struct exchange *x)
{
    const struct service *s = x->service;
    const struct bytes address = session_server(x->session, s->name);
    for (uint32_t i = 0; address.len && i < s->servers_count; i++) {
        if (bytes_eq(address, bytes_from(s->servers[i].shared->text)))
            return i + 1;
    }
    return 0;
}

struct pick pick_begin(struct exchange *x)
{
    struct pick p = { .now_us = worker_now_us(), .x = x, .weight = x->weight };
    const struct service *s = x->service;
    if (s->balancer->prepare)
        s->balancer->prepare(s->groups[0].balancer_state, &p);
    if (x->session)
        p.kept = kept_of(x);
    return p;
}

static struct server *pick_in(struct service *s, struct service_group *g, struct pick *p)
{
    struct server *servers = s->servers + g->first;
    uint32_t i = s->balancer->pick(g->balancer_state, servers, g->count, p);
    if (i == PICK_NONE && p->slow_start && !p->any) {
        p->slow_start = NULL; /* all that are left are warming up */
        i = s->balancer->pick(g->balancer_state, servers, g->count, p);
    }
    return i == PICK_NONE ? NULL : &servers[i];
}

/* The group that was chosen for it, else (all of it was tried) the others in their order. */
static struct server *pick_from(struct service *s, uint32_t chosen, struct pick *p)
{
    struct server *server = pick_in(s, &s->groups[chosen], p);
    for (uint32_t i = 0; !server && i < s->groups_count; i++)
        server = i == chosen ? NULL : pick_in(s, &s->groups[i], p);
    return server;
}

static struct server *pick_of_groups(struct service *s, struct pick *p)
{
    double capacity[PRIORITIES_MAX];
    double total = 0;
    for (uint32_t i = 0; i < s->groups_count; i++) {
        struct service_group *g = &s->groups[i];
        const uint32_t well = pick_count_well(&g->well, s->servers + g->first, g->count, p->now_us);
        capacity[i] = pick_capacity(well, g->count, s->conf->spill_below);
        total += capacity[i];
    }
    uint32_t chosen = pick_in_line(capacity, s->groups_count, s->groups_count > 1 ? pick_random() : 0);
    if (chosen == s->groups_count)
        chosen = 0;
    const struct service_group *g = &s->groups[chosen];
    /* with others beside it: when they cannot take what it lacks */
    if ((s->groups_count == 1 || total < 1) && g->well.well < s->conf->panic * g->count)
        p->any = true;
    return pick_from(s, chosen, p);
}

/* Would somebody do who is only full? */
static bool is_full(const struct service *s, const struct pick *p)
{
    for (uint32_t i = 0; i < s->servers_count; i++) {
        const struct server *server = &s->servers[i];
        if (server->taken && server_is_full(server) && pick_wants(p, server))
            return true;
    }
    return false;
}

static struct server *pick_one(struct service *s, struct pick *p)
{
    const struct service_conf *conf = s->conf;
    if (conf->slow_start && !p->any) {
        p->slow_start = conf->slow_start;
        p->seed = s->balancer->prepare ? p->hash : random_u64();
    }
    const bool plain = s->groups_count == 1 && conf->panic <= 0;
    struct server *server = plain ? pick_in(s, &s->groups[0], p) : pick_of_groups(s, p);
    p->full = !server && s->queue && is_full(s, p);
    if (!server && !p->any && !p->full) {
        p->any = true;
        server = pick_from(s, 0, p);
        p->full = !server && s->queue && is_full(s, p);
    }
    return server;
}

/* A server whose breaker lets only a share pass may have to stand back, unless nobody else is left. */
static struct server *pick_past_breakers(struct service *s, struct pick *p)
{
    const struct pick before = *p;
    struct server *stood_back = NULL;
    struct server *server = pick_one(s, p);
    while (server && !p->any && !server_breaker_passes(server)) {
        stood_back = stood_back ? stood_back : server;
        if (p->tried_count == PICK_TRIED_MAX)
            break;
        p->tried[p->tried_count++] = server->index;
        server = pick_one(s, p);
    }
    if (!stood_back)
        return server;
    if (server && !p->any)
        stood_back = server;
    p->tried_count = before.tried_count;
    p->any = before.any;
    return stood_back;
}

/* NULL: it cannot take it. */
static struct server *pick_kept(struct service *s, const struct pick *p)
{
    struct server *server = &s->servers[p->kept - 1];
    const bool free = pick_wants(p, server) && !(server->taken && server_is_full(server));
    return free && (!s->breakers || server_breaker_passes(server)) ? server : NULL;
}

struct server *service_pick(struct service *s, struct pick *p)
{
    struct server *kept = p->kept ? pick_kept(s, p) : NULL;
    if (kept)
        return kept;
    return s->breakers ? pick_past_breakers(s, p) : pick_one(s, p);
}

#include "gate/service_breaker.h"

#include "base/mem.h"
#include "gate/filter.h"
#include "gate/gate_conf.h"

enum per { PER_SERVICE, PER_SERVER };
static const char *const per_words[] = { "service", "server", NULL };

const struct conf_struct service_breaker_struct = {
    .name = "circuit_breaker",
    .size = sizeof(struct service_breaker_conf),
    .phrases = (const char *const[]){ "{errors} over {window} per {per}", "{errors} over {window}",
                                      "{errors} per {per}", "{errors}", NULL },
    .fields =
        (const struct conf_field[]){
            BREAKER_CONF_FIELDS(offsetof(struct service_breaker_conf, breaker)),
            { .name = "per",
              .type = CONF_WORD,
              .offset = offsetof(struct service_breaker_conf, per),
              .preset = "service",
              .words = per_words,
              .doc = "`service`: all its requests are refused; `server`: the server is left "
                     "out" },
            { 0 } },
    .doc = "A service's own breaker.",
};

err service_breakers_check(const struct conf_list *confs, struct diag *reterr)
{
    const struct service_breaker_conf *c = confs->items;
    if (confs->count <= 1 || (confs->count == 2 && c[0].per != c[1].per))
        return OK;
    diag_set(reterr, "circuit_breaker: one per service and one per server is all that a service can have");
    return ERR_CONF;
}

static err open_servers(struct service *s, const struct breaker_conf *conf)
{
    struct service_breakers *b = s->breakers;
    b->servers = mem_get(s->servers_count * sizeof *b->servers);
    if (!b->servers)
        return ERR_MEMORY;
    for (uint32_t i = 0; i < s->servers_count; i++) {
        const struct breaker_scope scope = { .service = s->name,
                                             .server = bytes_from(s->servers[i].shared->text) };
        err e = breaker_use_open(&b->servers[i], conf, &scope, s->gate);
        if (e)
            return e;
    }
    return OK;
}

static err open_service(struct service *s, const struct breaker_conf *conf)
{
    struct breaker_use *u = mem_get(sizeof *u);
    if (!u)
        return ERR_MEMORY;
    s->breakers->service = u;
    return breaker_use_open(u, conf, &(struct breaker_scope){ .service = s->name }, s->gate);
}

err service_breakers_open(struct service *s)
{
    const struct conf_list *confs = &s->conf->breakers;
    if (!confs->count)
        return OK;
    s->breakers = mem_get(sizeof *s->breakers);
    if (!s->breakers)
        return ERR_MEMORY;
    err e = OK;
    for (size_t i = 0; i < confs->count && !e; i++) {
        const struct service_breaker_conf *c = (const struct service_breaker_conf *)confs->items + i;
        e = c->per == PER_SERVER ? open_servers(s, &c->breaker) : open_service(s, &c->breaker);
    }
    return e;
}

void service_breakers_close(struct service *s)
{
    struct service_breakers *b = s->breakers;
    if (!b)
        return;
    for (uint32_t i = 0; b->servers && i < s->servers_count; i++)
        breaker_use_close(&b->servers[i]);
    if (b->service)
        breaker_use_close(b->service);
    mem_free(b->servers);
    mem_free(b->service);
    mem_free(b);
    s->breakers = NULL;
}

err service_ask(struct exchange *x)
{
    struct breaker_use *u = x->service->breakers ? x->service->breakers->service : NULL;
    uint32_t turn;
    if (!u)
        return proxy_handle(x);
    if (breaker_use_ask(u, &turn) == BREAKER_REFUSED)
        return breaker_use_refuse(u, x);
    const uint64_t began_us = worker_now_us();
    const err e = proxy_handle(x);
    breaker_use_answer(u, turn, x, e, began_us);
    return e;
}

static struct breaker_use *of_server(struct server *s)
{
    const struct service_breakers *b = s->service->breakers;
    return b && b->servers ? &b->servers[s->index] : NULL;
}

bool server_breaker_passes(struct server *s)
{
    struct breaker_use *u = of_server(s);
    uint32_t turn;
    return !u || breaker_use_ask(u, &turn) != BREAKER_REFUSED;
}

void server_breaker_tell(struct server *s, bool failed, uint64_t began_us)
{
    struct breaker_use *u = of_server(s);
    if (!u)
        return;
    uint64_t until_us;
    breaker_use_tell(u, failed ? BREAKER_FAILURE : breaker_use_timed(u, began_us), began_us, &until_us);
    if (until_us)
        atomic_store_explicit(&s->shared->broken_until_us, until_us, memory_order_relaxed);
}

#include "admin/state.h"

#include "base/mem.h"
#include "core/metrics.h"
#include "gate/call.h"
#include "gate/cpus.h"
#include "gate/gate.h"
#include "gate/gate_metrics.h"
#include "gate/process.h"
#include "gate/registry.h"

/* ---- services ---- */

/* Filled on each worker in turn. */
struct gathering {
    const struct generation *generation;
    unsigned service; /* index */
    uint32_t *active; /* of each server */
    struct text *text;
};

static void gather_here(void *arg)
{
    struct gathering *gathering = arg;
    const struct gate *g = gate_current();
    if (!g || g->generation != gathering->generation)
        return; /* a reload is on its way */
    const struct service *s = &g->services[gathering->service];
    for (uint32_t i = 0; i < s->servers_count; i++)
        gathering->active[i] += s->servers[i].active;
    if (!s->balancer->report)
        return;
    for (uint32_t i = 0; i < s->groups_count; i++) { /* one for each priority */
        const struct service_group *group = &s->groups[i];
        json_begin(gathering->text, NULL, '{');
        s->balancer->report(group->balancer_state, s->servers + group->first, group->count, gathering->text);
        json_end(gathering->text, '}');
    }
}

static const char *server_state(const struct server_shared *s, uint64_t now_us)
{
    if (atomic_load_explicit(&s->down, memory_order_relaxed))
        return "down";
    return atomic_load_explicit(&s->ejected_until_us, memory_order_relaxed) > now_us ? "ejected" : "up";
}

static void write_server(struct text *t, const struct server *s, uint32_t active)
{
    const struct server_shared *shared = s->shared;
    uint64_t now_us = worker_now_us();
    uint64_t until_us = atomic_load_explicit(&shared->ejected_until_us, memory_order_relaxed);
    json_begin(t, NULL, '{');
    json_text(t, "address", bytes_from(shared->text));
    json_text(t, "state", bytes_from(server_state(shared, now_us)));
    json_u64(t, "weight", s->weight);
    json_u64(t, "active", active);
    json_u64(t, "failures_in_a_row", atomic_load_explicit(&shared->failures, memory_order_relaxed));
    json_u64(t, "ejections", atomic_load_explicit(&shared->ejections, memory_order_relaxed));
    json_u64(t, "ejected_ms", until_us > now_us ? (until_us - now_us) / 1000 : 0);
    json_u64(t, "requests_total", metric_value(s->metrics, UPSTREAM_REQUESTS));
    json_u64(t, "failures_total", metric_value(s->metrics, UPSTREAM_FAILURES));
    json_end(t, '}');
}

static void write_service(struct text *t, const struct gate *g, unsigned index)
{
    struct worker *const *workers;
    unsigned count = process_workers(&workers) - 1;
    const struct service *s = &g->services[index];
    struct text balancers = { 0 };
    struct gathering gathering = { .generation = g->generation,
                                   .service = index,
                                   .active = mem_must_get((s->servers_count + 1) * sizeof(uint32_t)),
                                   .text = &balancers };
    for (unsigned i = 0; i < count; i++)
        call_worker(workers[i], gather_here, &gathering);
    json_begin(t, NULL, '{');
    json_text(t, "name", s->name);
    json_text(t, "balance", bytes_from(s->balancer->conf.name));
    json_begin(t, "servers", '[');
    for (uint32_t i = 0; i < s->servers_count; i++)
        write_server(t, &s->servers[i], gathering.active[i]);
    json_end(t, ']');
    if (balancers.len) { /* of each worker */
        json_begin(t, "balancers", '[');
        text_add(t, (struct bytes){ balancers.at, balancers.len });
        json_end(t, ']');
    }
    json_begin(t, "modules", '{');
    process_report_modules(s->name, t);
    json_end(t, '}');
    json_end(t, '}');
    text_free(&balancers);
    mem_free(gathering.active);
}

void state_write_services(const struct gate *g, struct text *t)
{
    json_begin(t, NULL, '{');
    json_begin(t, "services", '[');
    for (unsigned i = 0; i < g->services_count; i++)
        write_service(t, g, i);
    json_end(t, ']');
    json_end(t, '}');
}

/* ---- filters ---- */

static void write_filter(struct text *t, const struct route *r, const struct chain_link *l)
{
    json_begin(t, NULL, '{');
    json_text(t, "route", r->conf->match);
    json_text(t, "filter", bytes_from(l->filter->conf.name));
    json_begin(t, "state", '{');
    if (l->filter->report)
        l->filter->report(l->state, t);
    json_end(t, '}');
    json_end(t, '}');
}

void state_write_filters(const struct gate *g, struct text *t)
{
    json_begin(t, NULL, '{');
    json_begin(t, "filters", '[');
    for (unsigned i = 0; i < g->routes_count; i++) {
        for (unsigned j = 0; j < g->routes[i].links; j++)
            write_filter(t, &g->routes[i], &g->routes[i].chain[j]);
    }
    json_end(t, ']');
    json_end(t, '}');
}

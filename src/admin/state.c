/* Services with their servers, filters with their state; and what an operator sets for a server. Asks the
 * other workers and waits for them: the gate is held by the exchange meanwhile. */
#include <limits.h>

#include "admin/call.h"
#include "base/mem.h"
#include "core/log.h"
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

static const char *const server_states[] = { "enabled", "drain", "disabled", NULL };

static const char *server_condition(const struct server_shared *s, uint64_t now_us)
{
    if (atomic_load_explicit(&s->down, memory_order_relaxed))
        return "down";
    return atomic_load_explicit(&s->ejected_until_us, memory_order_relaxed) > now_us ? "ejected" : "up";
}

/* Pairs of a bucket's upper bound in microseconds (0: none) and how many it holds; empty ones are left out.
 */
static void write_histogram(struct text *t, const struct metric_instance *m, unsigned i)
{
    uint64_t counts[METRIC_BUCKETS];
    metric_histogram(m, i, counts);
    json_begin(t, "latency", '[');
    for (unsigned b = 0; b < METRIC_BUCKETS; b++) {
        if (!counts[b])
            continue;
        uint64_t bound_ns = metric_bucket_bound_ns(b);
        json_begin(t, NULL, '[');
        json_u64(t, NULL, bound_ns == UINT64_MAX ? 0 : bound_ns / 1000);
        json_u64(t, NULL, counts[b]);
        json_end(t, ']');
    }
    json_end(t, ']');
}

static void write_server(struct text *t, const struct server *s, uint32_t active)
{
    const struct server_shared *shared = s->shared;
    uint64_t now_us = worker_now_us();
    uint64_t until_us = atomic_load_explicit(&shared->ejected_until_us, memory_order_relaxed);
    json_begin(t, NULL, '{');
    json_text(t, "address", bytes_from(shared->text));
    json_text(t, "state", bytes_from(server_states[server_state(shared)]));
    json_text(t, "health", bytes_from(server_condition(shared, now_us)));
    json_u64(t, "weight", s->weight);
    json_bool(t, "weight_set", atomic_load_explicit(&shared->weight, memory_order_relaxed) != 0);
    json_u64(t, "active", active);
    json_u64(t, "failures_in_a_row", atomic_load_explicit(&shared->failures, memory_order_relaxed));
    json_u64(t, "ejections", atomic_load_explicit(&shared->ejections, memory_order_relaxed));
    json_u64(t, "ejected_ms", until_us > now_us ? (until_us - now_us) / 1000 : 0);
    json_u64(t, "requests_total", metric_value(s->metrics, UPSTREAM_REQUESTS));
    json_u64(t, "failures_total", metric_value(s->metrics, UPSTREAM_FAILURES));
    write_histogram(t, s->metrics, UPSTREAM_SECONDS);
    json_end(t, '}');
}

static void write_counts(struct text *t, const struct service *s)
{
    static const char *const classes[STATUS_CLASSES] = { "none", "1xx", "2xx", "3xx", "4xx", "5xx" };
    json_begin(t, "requests", '{');
    for (unsigned i = 0; i < STATUS_CLASSES; i++)
        json_u64(t, classes[i], metric_value(s->metrics->codes[i], 0));
    json_end(t, '}');
    json_u64(t, "retries_total", metric_value(s->metrics->instance, HTTP_RETRIES));
    json_u64(t, "failures_total", metric_value(s->metrics->instance, HTTP_FAILURES));
    write_histogram(t, s->metrics->instance, HTTP_SECONDS);
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
    write_counts(t, s);
    json_begin(t, "servers", '[');
    for (uint32_t i = 0; i < s->servers_count; i++)
        write_server(t, &s->servers[i], gathering.active[i]);
    json_end(t, ']');
    if (balancers.len) { /* of each worker, and each group of servers of one priority */
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

void services_get(struct call *c)
{
    const struct gate *g = c->x->gate;
    json_begin(c->out, NULL, '{');
    json_u64(c->out, "now_us", worker_now_us());
    json_begin(c->out, "services", '[');
    for (unsigned i = 0; i < g->services_count; i++)
        write_service(c->out, g, i);
    json_end(c->out, ']');
    json_end(c->out, '}');
    call_answer(c, "application/json");
}

/* UINT_MAX: there is none of that name, and a problem was answered. */
static unsigned find_service(struct call *c)
{
    const struct gate *g = c->x->gate;
    for (unsigned i = 0; i < g->services_count; i++) {
        if (bytes_eq(g->services[i].name, c->args[0]))
            return i;
    }
    call_problem(c->x, 404, "there is no service \"%.*s\"", BYTES_ARG(c->args[0]));
    return UINT_MAX;
}

void service_get(struct call *c)
{
    unsigned i = find_service(c);
    if (i == UINT_MAX)
        return;
    write_service(c->out, c->x->gate, i);
    call_answer(c, "application/json");
}

/* ---- what an operator sets ---- */

struct server_body {
    int state;
    int64_t weight;
};

#define STATE_KEEP 0
#define WEIGHT_KEEP CONF_INT_WORD(0)
#define WEIGHT_CONFIGURED CONF_INT_WORD(1)

const struct conf_struct server_body = {
    .name = "server",
    .size = sizeof(struct server_body),
    .fields =
        (const struct conf_field[]){
            { .name = "state",
              .type = CONF_WORD,
              .offset = offsetof(struct server_body, state),
              .words = (const char *const[]){ "keep", "enabled", "drain", "disabled", NULL },
              .doc = "`drain`: gets no new requests while another server can take them; `disabled`: none at "
                     "all" },
            { .name = "weight",
              .type = CONF_INT,
              .offset = offsetof(struct server_body, weight),
              .preset = "keep",
              .min = 1,
              .max = 1000,
              .words = (const char *const[]){ "keep", "configured", NULL },
              .doc = "another weight than the configured one; `configured`: that again" },
            { 0 } },
    .doc = "What an operator sets for a server.",
};

/* Balancers work their weights out when they are opened, so the generation is opened once more. */
static err set_weight(struct call *c, struct server_shared *s, int64_t weight, struct diag *reterr)
{
    uint32_t before = atomic_load(&s->weight);
    struct order o = { .kind = ORDER_REOPEN, .diag = reterr };
    memcpy(o.author, c->author, sizeof o.author);
    atomic_store(&s->weight, weight == WEIGHT_CONFIGURED ? 0 : (uint32_t)weight);
    err e = process_order(&o);
    if (e)
        atomic_store(&s->weight, before);
    return e;
}

static struct server *find_server(struct call *c, const struct service *s)
{
    for (uint32_t i = 0; i < s->servers_count; i++) {
        if (bytes_eq(bytes_from(s->servers[i].shared->text), c->args[1]))
            return &s->servers[i];
    }
    call_problem(c->x, 404, "service \"%.*s\" has no server \"%.*s\"", BYTES_ARG(s->name),
                 BYTES_ARG(c->args[1]));
    return NULL;
}

static uint64_t configured_weight(const struct server *s)
{
    return (uint64_t)s->conf->weight;
}

void server_change(struct call *c)
{
    const struct server_body *b = c->body;
    struct diag d = DIAG_NONE;
    unsigned i = find_service(c);
    const struct server *s = i == UINT_MAX ? NULL : find_server(c, &c->x->gate->services[i]);
    if (!s)
        return;
    if (b->state != STATE_KEEP) {
        if (server_state(s->shared) != SERVER_ENABLED && b->state - 1 == SERVER_ENABLED)
            atomic_store(&s->shared->up_since_us, worker_now_us()); /* for slow start */
        atomic_store(&s->shared->state, (uint32_t)b->state - 1);
        log_warn("server", "%.*s %s is %s (by %s)", BYTES_ARG(c->args[0]), s->shared->text,
                 server_states[b->state - 1], c->author);
    }
    err e = OK;
    if (b->weight != WEIGHT_KEEP)
        e = set_weight(c, s->shared, b->weight, &d);
    if (e) {
        call_failed(c, 422, e, &d);
        return;
    }
    json_begin(c->out, NULL, '{');
    json_text(c->out, "service", c->args[0]);
    json_text(c->out, "server", c->args[1]);
    json_text(c->out, "state", bytes_from(server_states[server_state(s->shared)]));
    uint32_t weight = atomic_load(&s->shared->weight);
    json_u64(c->out, "weight", weight ? weight : configured_weight(s));
    json_end(c->out, '}');
    call_answer(c, "application/json");
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

void filters_get(struct call *c)
{
    const struct gate *g = c->x->gate;
    struct text *t = c->out;
    json_begin(t, NULL, '{');
    json_begin(t, "filters", '[');
    for (unsigned i = 0; i < g->routes_count; i++) {
        for (unsigned j = 0; j < g->routes[i].links; j++)
            write_filter(t, &g->routes[i], &g->routes[i].chain[j]);
    }
    json_end(t, ']');
    json_end(t, '}');
    call_answer(c, "application/json");
}

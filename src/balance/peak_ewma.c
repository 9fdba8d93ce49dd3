/* peak_ewma: of two servers drawn at random, the one where a request is likely to be answered sooner, going
 * by how long its answers took lately; a server that fails counts as slow, however fast it says so.
 *
 *      cost = (latency + failing × failure) × (load + 1) / weight        the smaller cost of two wins
 *
 *      latency   of answers: jumps up to a slow one at once, sinks with e^(-t/decay) to what is seen now
 *      failing   share of failures, over about the last 16 attempts; fades with e^(-t/decay) when nobody asks
 *
 * Peak-sensitive as in Twitter's Finagle (loadbalancer/PeakEwma, 2015): an average reacts to a stall only
 * after many requests have met it. What decides is how often a failure is met, not how quickly: else the
 * server that fails at once looks like the best of all. Both values fade with time, so a server that was
 * avoided is asked again now and then, and a good answer lets it in again.
 *
 * Each worker measures for itself: it learns from a few requests, and nothing is shared on the way. Servers
 * that nobody has asked yet cost as little as the best: they are asked soon. */
#include <math.h>

#include "base/json.h"
#include "base/mem.h"
#include "gate/pick.h"

/* The weight of one attempt in the share of failures. */
#define FAILING_GAIN (1.0 / 16)

struct peak_ewma_conf {
    uint64_t decay_ms;
    uint64_t failure_ms;
};

struct measured {
    double latency_us;
    double failing; /* 0 to 1 */
    uint64_t at_us; /* of the last outcome; 0: none yet */
};

struct peak_ewma {
    struct alias alias;
    double decay_us;
    double failure_us;
    struct measured measured[];
};

/* ---- decisions, pure ---- */

static double fade(const struct peak_ewma *s, const struct measured *m, uint64_t now_us)
{
    return now_us > m->at_us ? exp(-(double)(now_us - m->at_us) / s->decay_us) : 1;
}

static void measure(const struct peak_ewma *s, struct measured *m, const struct outcome *o)
{
    const double kept = fade(s, m, o->now_us);
    const double latency_us = (double)o->latency_us;
    /* a failure tells nothing of how fast the server would have answered, unless it was slow */
    if (latency_us >= m->latency_us)
        m->latency_us = latency_us;
    else if (!o->failed)
        m->latency_us = latency_us + (m->latency_us - latency_us) * kept;
    m->failing *= kept;
    m->failing += ((o->failed ? 1 : 0) - m->failing) * FAILING_GAIN;
    m->at_us = o->now_us;
}

/* What is expected of a server that nobody has asked for long sinks to nothing, so that somebody does; one
 * request then measures it again, and its active request keeps the others away meanwhile. */
static double cost(const struct peak_ewma *s, const struct measured *m, const struct server *server,
                   uint64_t now_us)
{
    const double expected_us = 1 + (m->latency_us + m->failing * s->failure_us) * fade(s, m, now_us);
    return expected_us * (server->load + 1) / server->weight;
}

/* ---- the balancer ---- */

static err peak_ewma_open(const void *conf, const struct server *servers, uint32_t count, void **ret_state,
                          struct diag *reterr)
{
    (void)reterr;
    const struct peak_ewma_conf *c = conf;
    struct peak_ewma *s = mem_get(sizeof *s + count * sizeof *s->measured);
    if (!s)
        return ERR_MEMORY;
    s->decay_us = (double)c->decay_ms * 1000;
    s->failure_us = (double)c->failure_ms * 1000;
    err e = pick_weights_open(&s->alias, servers, count);
    if (e)
        mem_free(s);
    else
        *ret_state = s;
    return e;
}

static uint32_t peak_ewma_pick(void *state, const struct server *servers, uint32_t count,
                               const struct pick *p)
{
    (void)count;
    const struct peak_ewma *s = state;
    const uint32_t first = pick_draw(p, &s->alias, servers, PICK_NONE);
    if (first == PICK_NONE)
        return PICK_NONE;
    const uint32_t second = pick_draw(p, &s->alias, servers, first);
    if (second == PICK_NONE)
        return first;
    return cost(s, &s->measured[first], &servers[first], p->now_us) >
                   cost(s, &s->measured[second], &servers[second], p->now_us)
               ? second
               : first;
}

static void peak_ewma_done(void *state, const struct server *servers, uint32_t i, const struct outcome *o)
{
    (void)servers;
    struct peak_ewma *s = state;
    measure(s, &s->measured[i], o);
}

static void peak_ewma_report(void *state, const struct server *servers, uint32_t count, struct text *json)
{
    const struct peak_ewma *s = state;
    const uint64_t now_us = worker_now_us();
    json_begin(json, "peak_ewma", '[');
    for (uint32_t i = 0; i < count; i++) {
        const struct measured *m = &s->measured[i];
        json_begin(json, NULL, '{');
        json_text(json, "address", bytes_from(servers[i].shared->text));
        json_number(json, "latency_ms", m->latency_us / 1000);
        json_number(json, "failing", m->failing);
        json_number(json, "cost_ms", cost(s, m, &servers[i], now_us) / 1000);
        json_end(json, '}');
    }
    json_end(json, ']');
}

static void peak_ewma_close(void *state)
{
    struct peak_ewma *s = state;
    alias_close(&s->alias);
    mem_free(s);
}

const struct balancer peak_ewma_balancer = {
    .conf = { .name = "peak_ewma",
              .size = sizeof(struct peak_ewma_conf),
              .fields =
                  (const struct conf_field[]){
                      { .name = "decay",
                        .type = CONF_MS,
                        .offset = offsetof(struct peak_ewma_conf, decay_ms),
                        .preset = "10s",
                        .min = 100,
                        .max = 600000,
                        .doc = "how fast what was measured fades: to a third in that time" },
                      { .name = "failure",
                        .type = CONF_MS,
                        .offset = offsetof(struct peak_ewma_conf, failure_ms),
                        .preset = "1s",
                        .max = 60000,
                        .doc = "a server that fails always counts as that much slower, one that fails half "
                               "of the time as half of it" },
                      { 0 } },
              .doc = "Of two servers drawn at random, the one with the smaller (latency + failures) × "
                     "(requests under way + 1) / weight; a slow or failed answer counts at once." },
    .open = peak_ewma_open,
    .pick = peak_ewma_pick,
    .done = peak_ewma_done,
    .report = peak_ewma_report,
    .close = peak_ewma_close,
};

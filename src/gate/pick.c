#include "gate/pick.h"

#include "base/hash.h"
#include "base/mem.h"
#include "gate/gate_conf.h"
#include "gate/request_key.h"

/* Of refused servers, before they are searched one by one. */
#define DRAWS_MAX 4

err pick_weights_open(struct alias *a, const struct server *servers, uint32_t count)
{
    uint32_t *weights = mem_get((count + 1) * sizeof *weights);
    const bool enough = weights && alias_open(a, count);
    if (enough) {
        for (uint32_t i = 0; i < count; i++)
            weights[i] = servers[i].weight;
        alias_fill(a, weights);
    }
    mem_free(weights);
    return enough ? OK : ERR_MEMORY;
}

uint32_t pick_scan(const struct pick *p, const struct server *servers, uint32_t count, uint32_t but)
{
    if (count == 0)
        return PICK_NONE;
    uint32_t at = random_below(count);
    for (uint32_t i = 0; i < count; i++) {
        if (at != but && pick_allows(p, &servers[at]))
            return at;
        at = at + 1 < count ? at + 1 : 0;
    }
    return PICK_NONE;
}

uint32_t pick_draw(const struct pick *p, const struct alias *a, const struct server *servers, uint32_t but)
{
    if (a->count == 0)
        return PICK_NONE;
    for (uint32_t i = 0; i < DRAWS_MAX; i++) {
        const uint32_t drawn = alias_draw(a, random_u64());
        if (drawn != but && pick_allows(p, &servers[drawn]))
            return drawn;
    }
    return pick_scan(p, servers, a->count, but);
}

uint64_t pick_hash(const struct request_key *key, struct exchange *x)
{
    const struct bytes text = request_key_of(key, x);
    return text.len ? hash_sip13((struct hash_key){ 0, 0 }, text) : random_u64();
}

/* ---- who is well ---- */

uint32_t pick_count_well(struct well_count *w, const struct server *servers, uint32_t count, uint64_t now_us)
{
    if (w->at_us && now_us - w->at_us < WELL_COUNT_US)
        return w->well;
    w->at_us = now_us;
    w->well = 0;
    for (uint32_t i = 0; i < count; i++)
        w->well += server_is_well(&servers[i], now_us);
    return w->well;
}

uint32_t pick_in_line(const double *capacity, uint32_t count, double u)
{
    double total = 0;
    for (uint32_t i = 0; i < count; i++)
        total += capacity[i];
    u *= total < 1 ? total : 1;
    uint32_t last = count;
    for (uint32_t i = 0; i < count; i++) {
        if (capacity[i] <= 0)
            continue;
        if (u < capacity[i])
            return i;
        u -= capacity[i];
        last = i;
    }
    return last;
}

/* ---- slow start ---- */

const struct conf_struct slow_start_struct = {
    .name = "slow_start",
    .size = sizeof(struct slow_start_conf),
    .phrases = (const char *const[]){ "{over} from {from}", "{over}", NULL },
    .fields = (const struct conf_field[]){ { .name = "over",
                                             .type = CONF_MS,
                                             .offset = offsetof(struct slow_start_conf, over_ms),
                                             .required = true,
                                             .min = 1,
                                             .max = 3600000,
                                             .doc = "until it gets its whole share" },
                                           { .name = "from",
                                             .type = CONF_PERCENT,
                                             .offset = offsetof(struct slow_start_conf, from),
                                             .preset = "10%",
                                             .min = 0.001,
                                             .max = 1,
                                             .doc = "of its share in the beginning" },
                                           { 0 } },
    .doc = "A server that came back (or is new) gets a share that grows evenly.",
};

uint64_t slow_start_share(const struct slow_start_conf *c, uint64_t back_since_us, uint64_t now_us)
{
    const uint64_t whole = UINT64_C(1) << 32;
    if (back_since_us == 0 || back_since_us > now_us)
        return whole;
    const uint64_t passed_us = now_us - back_since_us;
    const uint64_t over_us = c->over_ms * 1000;
    if (passed_us >= over_us)
        return whole;
    const uint64_t least = (uint64_t)(c->from * (double)whole);
    const uint64_t share = (uint64_t)((double)passed_us / (double)over_us * (double)whole);
    return share > least ? share : least;
}

bool pick_is_warm(const struct pick *p, const struct server *s)
{
    const uint64_t up_us = atomic_load_explicit(&s->shared->up_since_us, memory_order_relaxed);
    const uint64_t ejected_us = atomic_load_explicit(&s->shared->ejected_until_us, memory_order_relaxed);
    const uint64_t back_us = up_us > ejected_us ? up_us : ejected_us;
    const uint64_t share = slow_start_share(p->slow_start, back_us, p->now_us);
    return share >> 32 || hash_u64(p->seed + (uint64_t)s->index * 0x9e3779b97f4a7c15ULL) >> 32 < share;
}

/* least_request: of two servers drawn at random, the one that is less busy for its weight.
 *
 *      draw ──▶ B (active 7, weight 2)  ┐
 *      draw ──▶ F (active 2, weight 1)  ┴─▶ 2/1 < 7/2 ─▶ F
 *
 * Two choices are nearly as good as looking at all of them, cost the same with 3 servers and with 1,000, and
 * keep workers, which each see their own requests only, from rushing at the same idle server (Mitzenmacher,
 * "The power of two choices in randomized load balancing", 2001). Servers are drawn in proportion to their
 * weights, so that the shares are right also when nobody is busy: by the alias method (Walker 1977; Vose
 * 1991), two random numbers and one table look-up a draw. */
#include "base/hash.h"
#include "base/mem.h"
#include "gate/service.h"

/* A column of the alias table: column i gives i with probability keep / 2^32, else other. */
struct column {
    uint32_t keep;
    uint32_t other;
};

struct least_request {
    uint32_t count;
    struct column columns[];
};

#define NONE UINT32_MAX
/* Of refused servers, for each of the two; then the first is searched for one by one and the second is left
 * out. */
#define DRAWS_MAX 4

/* ---- drawing by weight ---- */

/* Weights become parts of total: each column holds `total` parts, server i has weight * count of them.
 * Columns with less than that are filled up from those with more. */
static void columns_fill(struct column *columns, uint64_t *parts, uint32_t *order, uint32_t count,
                         uint64_t total)
{
    uint32_t small = 0;     /* order[0 .. small): columns that lack parts */
    uint32_t large = count; /* order[large .. count): those that have enough */
    for (uint32_t i = 0; i < count; i++)
        order[parts[i] < total ? small++ : --large] = i;
    while (small && large < count) {
        const uint32_t poor = order[--small];
        const uint32_t rich = order[large];
        columns[poor] = (struct column){ (uint32_t)((parts[poor] << 32) / total), rich };
        parts[rich] -= total - parts[poor];
        if (parts[rich] < total) {
            order[small++] = rich;
            large++;
        }
    }
    for (; large < count; large++)
        columns[order[large]] = (struct column){ UINT32_MAX, order[large] };
}

static err least_request_open(const void *conf, const struct server *servers, uint32_t count,
                              void **ret_state, struct diag *reterr)
{
    (void)conf;
    (void)reterr;
    struct least_request *l = mem_get(sizeof *l + count * sizeof *l->columns);
    uint64_t *parts = mem_get(count * sizeof *parts);
    uint32_t *order = mem_get(count * sizeof *order);
    const bool enough = l && parts && order;
    if (enough) {
        uint64_t total = 0;
        for (uint32_t i = 0; i < count; i++) {
            parts[i] = (uint64_t)servers[i].weight * count;
            total += servers[i].weight;
        }
        l->count = count;
        columns_fill(l->columns, parts, order, count, total);
        *ret_state = l;
    } else {
        mem_free(l);
    }
    mem_free(order);
    mem_free(parts);
    return enough ? OK : ERR_MEMORY;
}

static uint32_t draw(const struct least_request *l)
{
    const uint32_t i = random_below(l->count);
    return (uint32_t)random_u64() <= l->columns[i].keep ? i : l->columns[i].other;
}

/* ---- the choice ---- */

static uint32_t draw_allowed(const struct least_request *l, const struct server *servers,
                             const struct pick *p, uint32_t but)
{
    for (uint32_t i = 0; i < DRAWS_MAX; i++) {
        const uint32_t drawn = draw(l);
        if (drawn != but && pick_allows(p, &servers[drawn]))
            return drawn;
    }
    return NONE;
}

/* The draws met none: the first from a random place that is not refused. */
static uint32_t scan(const struct server *servers, uint32_t count, const struct pick *p, uint32_t but)
{
    const uint32_t from = random_below(count);
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t at = (from + i) % count;
        if (at != but && pick_allows(p, &servers[at]))
            return at;
    }
    return NONE;
}

/* load / weight, without dividing */
static bool is_busier(const struct server *a, const struct server *b)
{
    return (uint64_t)a->load * b->weight > (uint64_t)b->load * a->weight;
}

static uint32_t least_request_pick(void *state, const struct server *servers, uint32_t count,
                                   const struct pick *p)
{
    const struct least_request *l = state;
    if (count == 0)
        return NONE;
    uint32_t first = draw_allowed(l, servers, p, NONE);
    if (first == NONE)
        first = scan(servers, count, p, NONE);
    if (first == NONE)
        return NONE;
    /* always a second one where there is one: else a busy server gets a request now and then for want of it
     */
    uint32_t second = draw_allowed(l, servers, p, first);
    if (second == NONE)
        second = scan(servers, count, p, first);
    return second != NONE && is_busier(&servers[first], &servers[second]) ? second : first;
}

const struct balancer least_request_balancer = {
    .conf = { .name = "least_request",
              .doc = "Of two servers drawn at random, in proportion to their weights, the one that answers "
                     "fewer "
                     "requests for its weight at the moment." },
    .open = least_request_open,
    .pick = least_request_pick,
    .close = mem_free,
};

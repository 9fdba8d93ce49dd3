/* least_request: of two servers drawn at random, the one that is less busy for its weight.
 *
 *      draw ──▶ B (load 7, weight 2)  ┐
 *      draw ──▶ F (load 2, weight 1)  ┴─▶ 2/1 < 7/2 ─▶ F
 *
 * Two choices are nearly as good as looking at all of them, cost the same with 3 servers and with 1,000, and
 * keep workers, which each see their own requests only, from rushing at the same idle server (Mitzenmacher,
 * "The power of two choices in randomized load balancing", 2001). Servers are drawn in proportion to their
 * weights, so that the shares are right also when nobody is busy. */
#include "base/mem.h"
#include "gate/pick.h"

static err least_request_open(const void *conf, const struct server *servers, uint32_t count,
                              void **ret_state, struct diag *reterr)
{
    (void)conf;
    (void)reterr;
    struct alias *a = mem_get(sizeof *a);
    err e = a ? pick_weights_open(a, servers, count) : ERR_MEMORY;
    if (e)
        mem_free(a);
    else
        *ret_state = a;
    return e;
}

/* load / weight, without dividing */
static bool is_busier(const struct server *a, const struct server *b)
{
    return (uint64_t)a->load * b->weight > (uint64_t)b->load * a->weight;
}

static uint32_t least_request_pick(void *state, const struct server *servers, uint32_t count,
                                   const struct pick *p)
{
    (void)count;
    const struct alias *a = state;
    const uint32_t first = pick_draw(p, a, servers, PICK_NONE);
    if (first == PICK_NONE)
        return PICK_NONE;
    /* always a second one where there is one: else a busy server gets a request now and then for want of it
     */
    const uint32_t second = pick_draw(p, a, servers, first);
    return second != PICK_NONE && is_busier(&servers[first], &servers[second]) ? second : first;
}

static void least_request_close(void *state)
{
    alias_close(state);
    mem_free(state);
}

const struct balancer least_request_balancer = {
    .conf = { .name = "least_request",
              .doc = "Of two servers drawn at random, in proportion to their weights, the one that answers "
                     "fewer requests for its weight at the moment." },
    .open = least_request_open,
    .pick = least_request_pick,
    .close = least_request_close,
};

/* random: any server, in proportion to the weights; nothing is counted or remembered.
 *
 * Shares are even in the long run and uneven in the short: of N requests a server with an N-th of the weight
 * gets none every third time. What it is good for: workers and gateways that know nothing of each other never
 * fall into step, and a share is right from the first request on. */
#include "base/mem.h"
#include "gate/pick.h"

static err random_open(const void *conf, const struct server *servers, uint32_t count, void **ret_state,
                       struct diag *reterr)
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

static uint32_t random_pick(void *state, const struct server *servers, uint32_t count, const struct pick *p)
{
    (void)count;
    return pick_draw(p, state, servers, PICK_NONE);
}

static void random_close(void *state)
{
    alias_close(state);
    mem_free(state);
}

const struct balancer random_balancer = {
    .conf = { .name = "random", .doc = "Any server, drawn at random in proportion to the weights." },
    .open = random_open,
    .pick = random_pick,
    .close = random_close,
};

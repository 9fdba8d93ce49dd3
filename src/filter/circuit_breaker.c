/* circuit_breaker: when too many answers of a route are errors, or slow, its requests get 503 at once for a
 * while instead of being sent to servers that cannot answer them.
 *
 *      circuit_breaker: 5% over 10s
 *
 * The decision is gate/breaker.h's; a service's own breakers are in gate/service_breaker.c. */
#include "base/mem.h"
#include "gate/breaker_use.h"
#include "gate/filter.h"

static err circuit_breaker_handle(struct exchange *x, void *state, struct chain *next)
{
    struct breaker_use *u = state;
    uint32_t turn;
    if (breaker_use_ask(u, &turn) == BREAKER_REFUSED)
        return breaker_use_refuse(u, x);
    const uint64_t began_us = worker_now_us();
    const err e = chain_next(next, x);
    breaker_use_answer(u, turn, x, e, began_us);
    return e;
}

static void circuit_breaker_close(void *state)
{
    breaker_use_close(state);
    mem_free(state);
}

static err circuit_breaker_open(const void *conf, struct gate *g, struct bytes scope, void **ret_state,
                                struct diag *reterr)
{
    (void)reterr;
    struct breaker_use *u = mem_get(sizeof *u);
    if (!u)
        return ERR_MEMORY;
    const err e = breaker_use_open(u, conf, &(struct breaker_scope){ .route = scope }, g);
    if (e)
        mem_free(u);
    else
        *ret_state = u;
    return e;
}

static void circuit_breaker_report(void *state, struct text *json)
{
    breaker_use_report(state, json);
}

const struct filter circuit_breaker_filter = {
    .conf = { .name = "circuit_breaker",
              .size = sizeof(struct breaker_conf),
              .phrases = (const char *const[]){ "{errors} over {window}", "{errors}", NULL },
              .fields = (const struct conf_field[]){ BREAKER_CONF_FIELDS(0), { 0 } },
              .doc = "Answers with 503 instead of asking the servers, while too many of their answers are "
                     "errors "
                     "or slow." },
    .open = circuit_breaker_open,
    .handle = circuit_breaker_handle,
    .close = circuit_breaker_close,
    .report = circuit_breaker_report,
};

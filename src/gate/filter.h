/* filter: one function around an exchange.
 *
 *      chain:  rate_limit ──▶ headers ──▶ mirror ──▶ proxy
 *              handle() { before; chain_next(next, x); after }
 *
 * handle answers by itself (exchange_answer and return without chain_next), changes the head, wraps either
 * body, or calls chain_next again (a retry). It runs on the exchange's fiber and may block it. The order of
 * the chain is that of src/modules.def, not of the configuration.
 *
 * An implementation is one file without a header: one `const struct filter` named in the registry. */
#pragma once
#include "base/json.h"
#include "core/conf.h"
#include "gate/exchange.h"

enum early {
    EARLY_CLIENT, /* a request has begun to arrive: its client's connection is known and no more */
    EARLY_HEAD,   /* its head has been read */
};
#define EARLY_COUNT 2

struct gate;
struct gate_conf;
struct route_conf;
struct chain; /* what is left of it: links of a route's array */

/* Where it stands in a configuration. */
struct filter_place {
    const struct gate_conf *root;
    const struct route_conf *route;
    struct service *services; /* for explain: name and conf of each of root's; NULL otherwise */
};

struct filter {
    struct conf_struct conf; /* conf.name = file, configuration key, metric prefix, log tag, page, test */
    /* It answers whatever comes, or chooses the service: a route with it needs none of its own. */
    bool ends;
    /* When the file is loaded, once for each route that names it: what conf alone cannot show to be wrong.
     * May be NULL. */
    err (*check_route)(const void *conf, const struct filter_place *place, struct diag *reterr);
    /* What it would do to x's request, in words, a line each (weir explain); it may change the request and
     * x->service as handle would. True: it answers by itself. x has no gate, no client and no opened service.
     * May be NULL. */
    bool (*explain)(const void *conf, const struct filter_place *place, struct exchange *x,
                    const struct conf_writer *w);
    /* Once for each route that names it, generation and worker, on that worker, before the generation is
     * used. scope is the route's own text ("shop.example/api/"), the same over reloads: shared_get takes it
     * as part of its name. On failure the configuration is refused with reterr. May be NULL. */
    err (*open)(const void *conf, struct gate *g, struct bytes scope, void **ret_state, struct diag *reterr);
    /* OK, or why there is no answer: the gate then answers 502, 503 or 504 by itself. */
    err (*handle)(struct exchange *x, void *state, struct chain *next);
    /* Before the request's route is known: for asking the processor to fetch memory that handle will want if
     * it takes this one. x NULL: whether to call it then at all; it is not when too many routes wish it. May
     * be NULL. */
    bool (*early)(struct exchange *x, void *state, enum early when);
    /* The generation's last exchange on this worker is over. May be NULL. */
    void (*close)(void *state);
    /* Checks what no single route can, once, when all of a file is parsed. index: of the filter, as in the
     * struct conf_module of a route's filters. ERR_CONF with words, and with the line and column. May be
     * NULL. */
    err (*check)(const struct gate_conf *conf, unsigned index, struct diag *reterr);
    /* What operators are shown of it (GET /v1/filters): members of a JSON object that stands open already
     * (base/json.h). On the control worker, with the state that open made there: it sees no requests, so what
     * is worth telling is in memory from shared_get, in atomics, or summed by metric_value. Must not wait.
     * May be NULL. */
    void (*report)(void *state, struct text *json);
};

err chain_next(struct chain *next, struct exchange *x) CHECK_RESULT;

/* Asks x->service (no filters): what the last link of each chain does; for filters that send requests of
 * their own (mirror). After it x->response is there, and its body is x's to close. */
err proxy_handle(struct exchange *x) CHECK_RESULT;
/* The same behind the service's own breaker (gate/service_breaker.h), which may answer instead: what the end
 * of a chain is, and what a filter does that turns to another service afterwards (fallback). */
err service_ask(struct exchange *x) CHECK_RESULT;

/* A request of weir's own: an empty exchange in the same generation, kept alive until exchange_release;
 * request and body are the caller's to fill (from x->arena). For fibers that a filter spawns. */
void exchange_prepare(struct exchange *x, struct gate *g);
/* Closes its bodies, runs its hooks, lets go of its generation and memory. */
void exchange_release(struct exchange *x);

/* In open: the route that the filter is opened for. */
const struct route_conf *gate_opening(const struct gate *g);
/* Answers instead of the gate after chain_next failed with e (504, 503, 502, or what the request's body did
 * wrong): for a filter that edits such answers too. The filter then returns OK. */
void gate_answer_failure(struct exchange *x, err e);

/* A service by name in this generation; NULL: none (checked by CONF_REF when it was loaded). */
struct service *gate_service(struct gate *g, struct bytes name);
/* Without the control worker, which opens every generation too: its worker_index is this number, so an array
 * of one place for each worker needs one more. */
unsigned gate_workers(const struct gate *g);
/* How many ordinary requests one of that class counts as; 0: there is no such class. */
uint32_t gate_weight_of(const struct gate *g, struct bytes class);

/* Memory of a filter that all workers share and that outlives reloads: the same name and size give the same
 * zeroed memory as long as some generation holds it. The caller uses atomics in it. Start-up and reload only;
 * takes a mutex. NULL: no memory. */
void *shared_get(struct bytes name, size_t size);
void shared_put(void *memory);

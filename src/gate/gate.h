/* gate: one configuration generation as one worker runs it, and how generations come and go.
 *
 *   control thread   file ─▶ struct generation (conf, router; immutable, one arena)
 *                                   │ mail: gate_open on every worker; all must succeed
 *                                   ▼ mail: gate_use
 *   each worker      struct gate: services with their balancers and upstreams, routes with their filters'
 * states current ◀── new exchanges begin here older gates live until their last exchange ends, then let go of
 * the generation
 *
 * A bad file never replaces a good one: nothing is used before all of it is open everywhere. */
#pragma once
#include <stdatomic.h>

#include "base/diag.h"
#include "base/map.h"
#include "gate/exchange.h"
#include "gate/filter.h"
#include "gate/gate_conf.h"
#include "gate/route.h"
#include "gate/service.h"
#include "gate/trusted_proxies.h"
#include "proto/http1.h"

struct tls_listener;
struct tls_service;

/* Process-wide, immutable but for the counts. */
struct generation {
    uint64_t number; /* 1 is the first of this process */
    struct arena arena;
    const struct gate_conf *conf;
    struct http1_limits client_limits;
    struct router *router;
    struct map services_by_name;             /* -> index in conf->services, + 1 */
    struct trusted_proxies *trusted_proxies; /* NULL: nobody */
    struct conf_list listen;                 /* struct listen_conf: the file's, then weir's own */
    struct tls_listener **listen_tls;        /* of each of them; NULL: in the clear */
    struct tls_service **service_tls;        /* of each service; NULL: in the clear */
    struct addr **service_addrs;             /* [service][server], as resolved when the file was loaded */
    unsigned workers;
    struct access_log *access_log; /* NULL: off; opened when the generation is used */
    struct bytes text;             /* of the file */
    _Atomic uint32_t holds;
};

/* Parses and prepares; no worker is involved. errors: see conf_parse. ERR_CONF, ERR_MEMORY. */
err generation_load(struct bytes text, const char *file, struct conf_errors *errors,
                    struct generation **ret_generation, struct diag *reterr) CHECK_RESULT;
/* Another number, and the next ones from there on. Before anybody uses it. */
void generation_renumber(struct generation *g, uint64_t number);
void generation_hold(struct generation *g);
void generation_drop(struct generation *g);

struct chain_link {
    const struct filter *filter; /* NULL: the end, the proxy */
    void *state;
};

/* A route as this worker runs it. */
struct route {
    const struct route_conf *conf;
    struct service *service;
    struct chain_link *chain;
    struct websocket_route *websocket; /* NULL: refused */
    unsigned links;                    /* without the end */
};

/* With more of them at one moment nothing is guessed. */
#define EARLY_LINKS_MAX 2

struct early_links {
    unsigned count;
    struct chain_link links[EARLY_LINKS_MAX];
};

struct gate {
    struct generation *generation;
    uint32_t holds; /* exchanges, and being the current one */
    unsigned routes_count, services_count;
    struct route *routes;        /* in the order of the file */
    struct service *services;    /* in the order of the file */
    struct listening *listening; /* in the order of the file */
    unsigned listening_count;
    bool says_alt_svc; /* some listener has HTTP/3, and answers over TCP say so */
    bool misdirects; /* some listener has several certificates, and a request may be for another one's host */
    struct service_metrics *unrouted;
    struct websocket_route *websocket; /* of the routes that say nothing about it; NULL: there is none */
    struct early_links
        early[EARLY_COUNT]; /* filters that wish to know of a request before its route is known */
};

/* Opens services, balancers and filters on this worker. */
err gate_open(struct generation *generation, struct gate **ret_gate, struct diag *reterr) CHECK_RESULT;
/* Takes over g's first hold: new exchanges run under it. NULL: none any more. */
void gate_use(struct gate *g);
struct gate *gate_current(void);
void gate_hold(struct gate *g);
void gate_drop(struct gate *g);

/* Servers of a protocol call it at both moments. */
static inline void gate_early(struct exchange *x, enum early when)
{
    const struct early_links *e = &x->gate->early[when];
    for (unsigned i = 0; i < e->count; i++)
        e->links[i].filter->early(x, e->links[i].state, when);
}

/* Counts and logs an exchange that has ended. */
void gate_done(struct exchange *x);
/* Routes x and runs its chain; on return there is a response to be sent, in every case. */
void gate_serve(struct exchange *x);

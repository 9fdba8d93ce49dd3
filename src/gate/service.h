/* service: the servers that can answer for one name, how to choose among them and how to speak to them.
 *
 *   struct service (one a worker and generation)
 *     ├─ balancer state
 *     └─ servers[]  struct server ──▶ struct server_shared   one a process: health, known to all workers
 *                        └──────────▶ struct upstream        one a worker and address: pooled connections,
 *                                                            carried over reloads
 * Made when a generation is opened on a worker; immutable but for counters and balancer state. That worker
 * only, except server_shared, whose members are atomics. */
#pragma once
#include <stdatomic.h>

#include "base/addr.h"
#include "base/json.h"
#include "core/conf.h"
#include "core/worker.h"
#include "gate/hedge.h"
#include "gate/retry.h"

struct gate;
struct balancer;
struct service_breakers;
struct grpc_metrics;
struct upstream;
struct exchange;
struct http_response;
struct server_conf;
struct service_conf;
struct service_group;
struct slow_start_conf;
struct tls_service;
struct service_metrics;
struct metric_instance;
struct metric_cells;
struct places;
struct queue;

/* Of one server of one service, over all workers and reloads (found again by service and address). Whoever
 * learns something writes it; everybody reads it, relaxed: a request or two may still go the old way. */
struct server_shared {                 /* layout 3 */
    _Atomic uint32_t state;            /* enum server_state: an operator's word */
    _Atomic uint32_t down;             /* active health checks say so */
    _Atomic uint32_t failures;         /* consecutive failed attempts to reach it */
    _Atomic uint64_t ejected_until_us; /* worker_now_us() clock (CLOCK_MONOTONIC); after too many of those */
    _Atomic uint32_t ejections;        /* in a row: the time out grows with them */
    _Atomic uint64_t broken_until_us;  /* its breaker (gate/service_breaker.h) is open */
    _Atomic uint32_t known;            /* an earlier generation has used it */
    _Atomic uint64_t up_since_us;      /* the same clock; 0: as long as weir knows it. For slow start */
    _Atomic uint32_t weight;        /* an operator's; 0: the configured one. Read when a service is opened */
    char text[ADDR_TEXT_BYTES_MAX]; /* "10.0.0.1:80", as configured */
};

/* DRAIN: no new requests while another server can take them; DISABLED: none at all. */
enum server_state { SERVER_ENABLED, SERVER_DRAIN, SERVER_DISABLED };
static inline enum server_state server_state(const struct server_shared *s)
{
    return (enum server_state)atomic_load_explicit(&s->state, memory_order_relaxed);
}

/* How many of several servers were well when that was last counted. */
struct well_count {
    uint64_t at_us; /* 0: never */
    uint32_t well;
};

/* What a choice reads stands first, in one cache line. */
struct server {
    _Alignas(64) struct server_shared *shared;
    uint32_t weight; /* 1 .. 1000 */
    uint32_t index;  /* in service->servers */
    uint32_t active; /* exchanges of this worker that it is answering */
    uint32_t load;   /* the same, each counted by its weight (struct exchange): what balancers go by */
    _Atomic uint32_t *taken; /* requests in flight, all workers (gate/queue.h); NULL: no bound */
    uint32_t requests_max;
    struct service_group *group;
    struct upstream *upstream;
    struct service *service;
    struct metric_cells *cells; /* of this worker */
    struct metric_instance *metrics;
    const struct server_conf *conf;
    struct addr addr;
    struct places *places; /* what taken is a part of */
};

/* Servers of the same priority: neighbours in service->servers, with a balancer state of their own. */
struct service_group {
    uint32_t first, count;
    void *balancer_state;
    struct well_count well;
};

/* The order of the servers is that of the file, but for priorities and zones: those of one stand together. */
struct service {
    struct bytes name;
    const struct service_conf *conf;
    struct tls_service *tls; /* how its servers are spoken to; NULL: in the clear */
    struct gate *gate;
    struct server *servers;
    uint32_t servers_count;
    uint32_t groups_count; /* by priority, the first choice first; 1: nothing was said about it */
    struct service_group *groups;
    const struct balancer *balancer;
    struct service_metrics *metrics;
    struct grpc_metrics *grpc;         /* NULL: its servers do not speak HTTP/2 */
    struct service_breakers *breakers; /* NULL: none */
    struct retry retry;
    struct hedge hedge;
    struct queue *queue;                  /* NULL: nothing bounds what its servers have in flight */
    const struct service_module *watcher; /* told of each attempt's result; NULL: nobody */
    void *watcher_state;
};

/* Neither found down by a health check, nor ejected, nor taken out by an operator, nor is its breaker
 * open. */
static inline bool server_is_well(const struct server *s, uint64_t now_us)
{
    return !(atomic_load_explicit(&s->shared->down, memory_order_relaxed) |
             atomic_load_explicit(&s->shared->state, memory_order_relaxed)) &&
           atomic_load_explicit(&s->shared->ejected_until_us, memory_order_relaxed) <= now_us &&
           atomic_load_explicit(&s->shared->broken_until_us, memory_order_relaxed) <= now_us;
}

/* Of one that is bounded. */
static inline bool server_is_full(const struct server *s)
{
    return atomic_load_explicit(s->taken, memory_order_relaxed) >= s->requests_max;
}

/* Which servers this exchange has tried and shall not try again, and what a choice may go by. */
#define PICK_TRIED_MAX 4
struct pick {
    uint64_t now_us;
    struct exchange *x; /* NULL in simulations: what prepare would read is filled in already */
    uint64_t hash;      /* of the exchange's key, for balancers that prepare it */
    float place[3];     /* of the client, on the unit sphere; all 0: not known */
    const struct slow_start_conf *slow_start; /* NULL: servers that came back get their whole share at once */
    uint64_t seed;                  /* which of them are passed over; of the key, where there is one */
    uint32_t weight;                /* of the exchange; 0 counts as 1 */
    uint32_t tried[PICK_TRIED_MAX]; /* indexes */
    uint32_t tried_count;
    uint32_t kept; /* index + 1 of the server that x's session stays at (gate/session.h); 0: none */
    bool any;  /* nobody is well: choose among all of them (panic) */
    bool full; /* there was nobody, but only because those that would do have requests_max in flight */
};

/* Not tried, and well where that is asked for. */
static inline bool pick_wants(const struct pick *p, const struct server *s)
{
    for (uint32_t i = 0; i < p->tried_count; i++) {
        if (p->tried[i] == s->index)
            return false;
    }
    return p->any ? server_state(s->shared) != SERVER_DISABLED : server_is_well(s, p->now_us);
}

/* A server that came back a moment ago takes a share of what it is given (gate/pick.h). */
bool pick_is_warm(const struct pick *p, const struct server *s);

static inline bool pick_allows(const struct pick *p, const struct server *s)
{
    if (!pick_wants(p, s) || (s->taken && server_is_full(s)))
        return false;
    return p->any || !p->slow_start || pick_is_warm(p, s);
}

/* How a server did with one attempt, as far as its answer's head. */
struct outcome {
    uint64_t now_us;
    uint64_t latency_us;            /* from the choice to the head, or to the failure */
    uint32_t weight;                /* of the exchange, at least 1 */
    unsigned status;                /* 0: no answer */
    bool failed;                    /* no answer, and the server is to blame; or it said 5xx */
    struct http_response *response; /* NULL: none. A balancer may take out fields that are meant for it */
};

/* A balancer decides; it does no I/O and reads no clock. One `const struct balancer` a file, named in the
 * registry. */
struct balancer {
    struct conf_struct conf; /* name = configuration key */
    /* When the file is loaded: what cannot work with these servers. May be NULL. ERR_CONF with words. */
    err (*check)(const void *conf, const struct service_conf *service, struct diag *reterr);
    err (*open)(const void *conf, const struct server *servers, uint32_t count, void **ret_state,
                struct diag *reterr);
    /* Reads what pick needs of p->x into p; once an exchange, before its first pick. May be NULL. */
    void (*prepare)(void *state, struct pick *p);
    /* Index of a server that pick_allows; UINT32_MAX: there is none. In time that does not grow with their
     * number as long as most of them are well. */
    uint32_t (*pick)(void *state, const struct server *servers, uint32_t count, const struct pick *p);
    /* The load of servers[i] changes by so much. May be NULL. */
    void (*load)(void *state, uint32_t i, int32_t change);
    /* What came of servers[i]. Attempts that were given up by the client or by weir itself are not told. May
     * be NULL. */
    void (*done)(void *state, const struct server *servers, uint32_t i, const struct outcome *o);
    void (*close)(void *state);
    /* What this worker's state is, for GET /v1/services: members of a JSON object that stands open already.
     * Called on each worker in turn, with that worker's state. Must not wait. May be NULL. */
    void (*report)(void *state, const struct server *servers, uint32_t count, struct text *json);
};

/* How an attempt at a server ended. */
enum server_result {
    SERVER_ANSWERED, /* with anything below 500 */
    SERVER_ERRED,    /* with a status of 500 or above */
    SERVER_FAILED    /* no connection, no answer, no answer in time, or a broken one */
};

/* Something that runs once a process beside a service (not per worker): active health checks now, outlier
 * ejection and discovery later. Configured in the service's mapping by its name. On the control worker. */
struct service_module {
    struct conf_struct conf;
    /* Starts fibers of its own for the servers given. host: for a Host field, the server's address. */
    err (*start)(const void *conf, struct bytes service, struct server_shared *const *servers,
                 const struct addr *addrs, uint32_t count, void **ret_state, struct diag *reterr);
    /* Its fibers end by themselves soon; state is theirs to free. The server_shared stay valid until then:
     * they are held by server_shared_hold / _drop. */
    void (*stop)(void *state);

    /* What of it runs on the request path of each worker, if anything does: opened with the generation,
     * before it is used; result is called with the end of each attempt at a server. All three or none (NULL).
     */
    err (*watch)(const void *conf, struct service *s, void **ret_state, struct diag *reterr);
    void (*result)(void *state, struct server *s, enum server_result r, uint64_t now_us);
    void (*unwatch)(void *state);
    /* For GET /v1/services: members of a JSON object that stands open already. On the control worker. Must
     * not wait. May be NULL. */
    void (*report)(void *state, struct text *json);
};

/* A health check's (or a person's) word. */
static inline void server_shared_set_down(struct server_shared *s, bool down, uint64_t now_us)
{
    if (!down)
        atomic_store_explicit(&s->up_since_us, now_us, memory_order_relaxed);
    atomic_store_explicit(&s->down, down, memory_order_relaxed);
}

/* Finds or makes the shared state; holds it. Any thread; takes a mutex; start-up and reload only. */
struct server_shared *server_shared_get(struct bytes service, const struct addr *addr);
void server_shared_hold(struct server_shared *s);
void server_shared_drop(struct server_shared *s);

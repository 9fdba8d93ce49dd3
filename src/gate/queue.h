/* queue: bounds on what a server has in flight, over all workers, and the line of those who wait for a free
 * place.
 *
 *      requests_max: 100                               of each server
 *      queue: {max: 1000, timeout: 2s, order: oldest}
 *
 *   request ──▶ a place at a server that is well? ──yes──▶ asked ──▶ answered: the place is free again
 *                    │ no                                                  │ whose turn is it?
 *                    ▼                                                     ▼
 *        worker 0  high ○○  normal ○○○○  low ○     ◀── bell (a mail) to the worker whose first one is first
 * of all worker 1  high     normal ○○    low ○○
 *
 * Places are atomics: never one too many, no lock. Each worker has its own line, and says in one word who is
 * the first in it (class and time); whoever frees a place compares these words and rings that worker's bell.
 * So the order holds over all workers, but for what happens at the same moment. Nobody is served before those
 * who wait already.
 *
 * No wake-up is lost: who joins a line says so and then looks for a free place; who frees a place does that
 * and then looks for a line (both in one order for all, seq_cst): at least one of the two sees the other.
 * Servers that become well free places without anybody ringing: that is what the line looks for by itself
 * every QUEUE_LOOK_MS.
 *
 * Process-wide: what is counted here ends with the process. */
#pragma once
#include <stdatomic.h>

#include "core/conf.h"
#include "gate/exchange.h"

struct pick;
struct server;
struct service;
struct queue;
struct diag;

enum queue_order { QUEUE_OLDEST, QUEUE_NEWEST };

struct queue_conf {
    int64_t max;
    uint64_t timeout_ms;
    int order; /* enum queue_order */
};
extern const struct conf_struct queue_struct;

/* Opens s->queue if the service bounds what its servers have in flight, and places for each of them.
 * ERR_MEMORY, ERR_LIMIT; then it is still to be closed. workers: without the control worker. */
err queue_open(struct service *s, unsigned workers) CHECK_RESULT;
void queue_close(struct service *s);

/* A server for x, a place at it taken if it is bounded (server_end gives it back). Waits in line where there
 * is one. *ret_server NULL: none is to be had (all were tried). ERR_LIMIT: no place, and no room in the line,
 * or not in time: queue_refuse says so to the client. ERR_CANCELLED. */
err queue_choose(struct exchange *x, struct pick *p, struct server **ret_server) CHECK_RESULT;
/* The same for those who do not wait. NULL: none. */
struct server *queue_try(struct exchange *x, struct pick *p);
/* Chosen, and not asked after all: server_begin was not called. */
void queue_give_up(struct server *s);
/* 503 with Retry-After. */
err queue_refuse(struct exchange *x) CHECK_RESULT;

/* Of a server that is bounded. */
void queue_place_give(struct server *s);

/* upstream_shared: connections on which idempotent requests follow each other back to back without waiting
 * for the answers (`upstream: pipelined`; RFC 9112 9.3.2).
 *
 *   requests of one turn of the loop ──▶ one send ──▶ server
 *   turns:  [ first: reads its answer ] [ waits ] [ waits ] ...      answers come in the order of the
 * requests
 *
 * Whoever is first reads; when its answer is read whole the next one is first. When the connection ends,
 * errs, or its first reader cannot go on (a slow client), those behind are let go with ERR_CLOSED, nothing of
 * an answer having reached them, and ask again on a connection of their own. No request with a body and none
 * that is not idempotent comes here. That worker only. */
#pragma once
#include "gate/http1_client.h"

/* May this exchange's request share a connection? */
bool upstream_shared_suits(const struct exchange *x);
/* Up to the response's head. ERR_AGAIN: all of connections_max shared ones are full; a connection of its own
 * will have to do (those are counted apart). On success x->response_body is set, and its close ends the turn.
 */
err upstream_shared_exchange(struct upstream *u, struct exchange *x, struct server *server,
                             struct attempt *ret_attempt, bool *ret_connecting) CHECK_RESULT;
/* Closes those that rest (nobody will use the upstream again, or the worker ends). */
void upstream_shared_close_idle(struct upstream *u);

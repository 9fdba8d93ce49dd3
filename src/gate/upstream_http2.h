/* upstream_http2: servers that speak HTTP/2 (`protocol: http2`): one connection a server and worker, shared
 * by all exchanges; another one when its server takes no more streams on it.
 *
 *   exchange ─▶ stream 1 ┐
 *   exchange ─▶ stream 3 ┼─▶ one http2_session ─▶ server        SETTINGS say how many fit
 *   exchange ─▶ stream 5 ┘
 *
 * A server that ends a connection with GOAWAY finishes what it has begun there; what it has not begun
 * (REFUSED_STREAM, a stream above GOAWAY's last) was not sent as far as retries are concerned. A connection
 * that has been silent while answers are waited for is asked with a PING. That worker only. */
#pragma once
#include "gate/http1_client.h"

/* Up to the response's head. On success x->response_body is set, and its close ends the stream.
 *   ret_reused  the connection had been used before: its end says nothing about the server */
err upstream_http2_exchange(struct exchange *x, struct server *server, struct attempt *ret_attempt,
                            bool *ret_reused, bool *ret_connecting) CHECK_RESULT;
/* Closes those that rest (nobody will use the upstream again, or the worker ends); the others take nothing
 * new and close after their last stream. */
void upstream_http2_close_idle(struct upstream *u);

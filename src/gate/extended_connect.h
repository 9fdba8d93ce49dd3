/* extended_connect: a stream that is to become a WebSocket (RFC 8441; RFC 9220 for HTTP/3): what the carriers
 * of streams do alike, so that filters and servers see a request of HTTP/1.1 with an Upgrade. On the
 * exchange's fiber. */
#pragma once
#include "gate/exchange.h"

/* x->request.upgrade is set, by the head: it gets the key that a server of HTTP/1.1 proves itself by (RFC
 * 6455 4.2.2); the client sent none. */
err extended_connect_begin(struct exchange *x) CHECK_RESULT;
/* The answer is there: a 101 that was proven becomes 200, and any other 2xx 502, for a client would take it
 * for its WebSocket. */
void extended_connect_answer(struct exchange *x);

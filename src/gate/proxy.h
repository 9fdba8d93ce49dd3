/* proxy: what it shares with hedge. */
#pragma once
#include "gate/http1_client.h"

struct server;

/* Asks one server, counts it and tells who watches over it. deadline_us: of this attempt, up to the head of
 * its answer. On success x->response and its body are there, and the body's close ends the attempt. */
err proxy_ask(struct exchange *x, struct server *server, uint64_t deadline_us,
              struct attempt *ret_attempt) CHECK_RESULT;

/* http1_client: one request to one server over one HTTP/1.1 connection, and the head of its answer. */
#pragma once
#include "gate/exchange.h"
#include "gate/upstream.h"

/* How far an attempt came: what decides whether another server may be asked. */
struct attempt {
    bool sent;     /* some of the request may have reached the server */
    bool answered; /* some of an answer has come back */
};

/* The request's target in origin form (RFC 9112 3.2.1), whatever form it came in; ptr NULL: the arena has no
 * more. */
struct bytes http1_client_target(struct exchange *x);

/* Writes the request's head to an io: origin form, hop fields left out, framing by its body. */
err http1_client_write_head(struct io *io, struct exchange *x, uint64_t deadline_us) CHECK_RESULT;

/* Reads one response's head off an io into x->response (fields in x->arena); 1xx go to the client, but 101 is
 * returned. *ret_head holds the buffer that the head's slices point into (lease_drop it). answered: see
 * above. continue_wanted: a 100 is returned too (and has no head to drop). */
err http1_client_read_head(struct io *io, struct exchange *x, uint64_t deadline_us, bool continue_wanted,
                           struct lease **ret_head, bool *ret_answered) CHECK_RESULT;

/* The whole of it up to the response's head; the response's body is then c->body.body, and is
 * x->response_body. On failure the connection is still the caller's to give back (not reusable). */
err http1_client_exchange(struct upstream_conn *c, struct exchange *x,
                          struct attempt *ret_attempt) CHECK_RESULT;

/* Copies the response's head to the exchange's arena and lets go of the buffer that it came in. */
err http1_client_keep_head(struct upstream_conn *c) CHECK_RESULT;

/* Ends what http1_client_exchange began: the pump is stopped if it still runs. True: the connection may be
 * used again. */
bool http1_client_finish(struct upstream_conn *c);

extern const struct http1_limits http1_response_limits;

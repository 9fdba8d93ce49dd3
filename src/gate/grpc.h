/* grpc: what the gate does for gRPC calls: POST with content-type application/grpc over HTTP/2 or /3.
 *
 *   request ─▶ grpc-timeout: deadline of the exchange ─▶ server: what is left of it
 *   answer of a server's own ◀─ passes: messages as they come, then trailers
 *   answer of the gate's own ◀─ 200 with grpc-status and grpc-message, no body ("Trailers-Only")
 *
 * Whoever judges an answer (breakers, retries, balancers) goes by exchange_outcome. On the exchange's fiber.
 */
#pragma once
#include "core/metrics.h"
#include "gate/exchange.h"
#include "proto/grpc.h"

/* x's head is there: is it a call? Then its deadline is known from here on. */
void grpc_begin(struct exchange *x);
/* It becomes one by a filter's doing (grpc_web). */
void grpc_take(struct exchange *x);
/* Before each attempt: the server is told what is left of the deadline. ERR_TIMEOUT: nothing. */
err grpc_pass_timeout(struct exchange *x) CHECK_RESULT;
/* Of a call: an answer that is the gate's own becomes one that gRPC clients read. */
void grpc_answer(struct exchange *x);

#define GRPC_NO_STATUS (-1)
/* enum grpc_status of a call: of the head, or of the trailers once the body has ended. GRPC_NO_STATUS: not
 * known yet. */
int grpc_status(const struct exchange *x);

/* A call whose answer has begun: its status is still to come, in the trailers. */
bool grpc_is_open(const struct exchange *x);
/* That has come, in the trailers of b (its answer's body as the server sent it): the outcome. 0: it has not,
 * or stood in the head. */
unsigned grpc_late_outcome(const struct exchange *x, const struct body *b);

/* How it went as an HTTP status: x->response.status, but of a call by its grpc-status. */
static inline unsigned exchange_outcome(const struct exchange *x)
{
    const int status = x->grpc ? grpc_status(x) : GRPC_NO_STATUS;
    return status <= GRPC_OK ? x->response.status : grpc_status_to_http((unsigned)status);
}

/* ---- counted, for each service that has HTTP/2 servers */

struct grpc_metrics {
    struct metric_instance *instances[GRPC_STATUSES];
    struct metric_cells *cells[GRPC_STATUSES];
};

/* *ret_metrics is to be closed also on failure. */
err grpc_metrics_open(struct grpc_metrics **ret_metrics, struct bytes service) CHECK_RESULT;
/* NULL is allowed. */
void grpc_metrics_close(struct grpc_metrics *m);
/* A call has ended. */
void grpc_metrics_count(struct grpc_metrics *m, const struct exchange *x);

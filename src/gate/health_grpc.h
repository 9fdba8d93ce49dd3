/* health_grpc: asks a server by the standard health service of gRPC ("GRPC Health Checking Protocol",
 * health.proto) over HTTP/2 (gate/health_http2.h).
 *
 *      POST /grpc.health.v1.Health/Check   { service }  ─▶  { status: SERVING }   is well; all else is not
 *
 * From a fiber. Without libnghttp2 health_ask_check refuses the method. */
#pragma once
#include "core/io.h"
#include "gate/health_ask.h"

/* service: empty for the server as a whole. name: of the server, for :authority. secure: io speaks TLS. */
void health_grpc_ask(struct io *io, struct bytes service, struct bytes name, bool secure,
                     uint64_t deadline_us, struct health_answer *ret);

/* ---- decisions, pure ---- */

#define HEALTH_SERVICE_BYTES_MAX 1024
#define HEALTH_REQUEST_BYTES_MAX (5 + 3 + HEALTH_SERVICE_BYTES_MAX)
/* A HealthCheckRequest in its frame; returns its length. */
size_t health_grpc_request(char *out, struct bytes service);
/* Is that whole message, its frame included, a HealthCheckResponse that says SERVING? NULL: yes; else why
 * not. */
const char *health_grpc_lacks(struct bytes message);

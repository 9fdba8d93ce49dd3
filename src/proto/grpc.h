/* grpc: what gRPC says over HTTP ("gRPC over HTTP2", PROTOCOL-HTTP2.md; "gRPC Web", PROTOCOL-WEB.md): status
 * codes, deadlines, percent-encoded messages, the five bytes before each message.
 *
 *      request   content-type: application/grpc   grpc-timeout: 250m        [0 len message] [0 len message]
 * ... answer    200   [0 len message] ...   trailers: grpc-status: 0 refused   200   grpc-status: 14
 * grpc-message: no%20server          ("Trailers-Only": no body)
 *
 * Pure; any thread. */
#pragma once
#include "base/arena.h"
#include "base/bytes.h"
#include "base/err.h"

/*    id                   code  name                   an HTTP status that says about the same
 * (google.rpc.Code) */
#define GRPC_STATUS_LIST(X)                               \
    X(OK, 0, "ok", 200)                                   \
    X(CANCELLED, 1, "cancelled", 499)                     \
    X(UNKNOWN, 2, "unknown", 500)                         \
    X(INVALID_ARGUMENT, 3, "invalid_argument", 400)       \
    X(DEADLINE_EXCEEDED, 4, "deadline_exceeded", 504)     \
    X(NOT_FOUND, 5, "not_found", 404)                     \
    X(ALREADY_EXISTS, 6, "already_exists", 409)           \
    X(PERMISSION_DENIED, 7, "permission_denied", 403)     \
    X(RESOURCE_EXHAUSTED, 8, "resource_exhausted", 429)   \
    X(FAILED_PRECONDITION, 9, "failed_precondition", 400) \
    X(ABORTED, 10, "aborted", 409)                        \
    X(OUT_OF_RANGE, 11, "out_of_range", 400)              \
    X(UNIMPLEMENTED, 12, "unimplemented", 501)            \
    X(INTERNAL, 13, "internal", 500)                      \
    X(UNAVAILABLE, 14, "unavailable", 503)                \
    X(DATA_LOSS, 15, "data_loss", 500)                    \
    X(UNAUTHENTICATED, 16, "unauthenticated", 401)

enum grpc_status {
#define X(id, code, name, http) GRPC_##id = code,
    GRPC_STATUS_LIST(X)
#undef X
        GRPC_STATUSES
};

/* "unavailable"; of a code that there is not: "unknown". */
const char *grpc_status_name(unsigned status);
/* By that name; -1: there is none. */
int grpc_status_of_name(struct bytes name);
/* A grpc-status field's value; GRPC_UNKNOWN where it makes no sense. */
enum grpc_status grpc_status_read(struct bytes value);
unsigned grpc_status_to_http(unsigned status);
/* Of an answer that a gateway gives by itself. Not the table that clients go by when a server that knows no
 * gRPC answers (http-grpc-status-mapping.md): this one says more. */
enum grpc_status grpc_status_of_http(unsigned status);

/* application/grpc, with or without +proto and the like; application/grpc-web is another one. */
bool grpc_is_type(struct bytes content_type);

/* grpc-timeout: at most 8 digits and a unit. Rounded up to microseconds. ERR_SYNTAX. */
err grpc_timeout_read(struct bytes value, uint64_t *ret_us) CHECK_RESULT;
/* Rounded down, so that it never is later than said; at least 1 nanosecond. */
#define GRPC_TIMEOUT_BYTES_MAX 9
size_t grpc_timeout_put(char *out, uint64_t us);

/* grpc-message, percent-encoded. ptr NULL: the arena has no more. */
struct bytes grpc_message_encode(struct arena *a, struct bytes text);

#define GRPC_PREFIX_BYTES 5
/* The first byte of a message's prefix. */
#define GRPC_COMPRESSED 0x01
#define GRPC_WEB_TRAILERS 0x80

static inline void grpc_prefix_put(char out[GRPC_PREFIX_BYTES], unsigned flags, uint32_t length)
{
    out[0] = (char)flags;
    for (unsigned i = 0; i < 4; i++)
        out[1 + i] = (char)(length >> (24 - 8 * i) & 0xff);
}

static inline uint32_t grpc_prefix_length(const char prefix[GRPC_PREFIX_BYTES])
{
    const unsigned char *p = (const unsigned char *)prefix;
    return (uint32_t)p[1] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 8 | p[4];
}

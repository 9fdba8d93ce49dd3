/* health_http2: one request over a new connection of HTTP/2 (RFC 9113), for checks of servers that speak it.
 *
 *      preface, SETTINGS, HEADERS [DATA] ─▶  ◀─ HEADERS [DATA] [trailers]      and the connection is thrown
 * away
 *
 * From a fiber; blocks it. Needs libnghttp2. */
#pragma once
#include "core/io.h"

struct health_http2 {
    /* asked; lent until the end */
    const char *method;
    struct bytes authority, path;
    bool secure;          /* :scheme is https */
    bool grpc;            /* with the fields that gRPC wants */
    struct bytes message; /* the request's body; empty: none */
    /* answered */
    unsigned status;
    int grpc_status; /* GRPC_NO_STATUS (gate/grpc.h): not said */
    char *body;      /* memory of the caller's for its beginning ... */
    size_t body_max; /* ... so long; 0: it is not waited for */
    size_t body_len;
    bool over; /* all that is looked at has come */
    err failed;
};

/* Sends what is asked and reads what is answered. ERR_PROTOCOL, ERR_RESET, ERR_MEMORY, those of core/io.h. */
err health_http2_ask(struct health_http2 *q, struct io *io, uint64_t deadline_us) CHECK_RESULT;

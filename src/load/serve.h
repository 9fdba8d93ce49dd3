/* serve: the little HTTP server of the generator itself: its metrics, and what agents are asked. One request
 * a connection, read whole; the answer ends with the connection. On the control worker. */
#pragma once
#include "base/addr.h"
#include "base/diag.h"
#include "core/io.h"
#include "proto/http.h"

#define SERVE_CALLS_MAX 64u
#define SERVE_BODY_BYTES_MAX ((size_t)256 << 20)

struct serve_call {
    struct io *io;
    struct http_request request; /* fields good while the call is answered */
    struct bytes body;
};

struct serve {
    /* On a fiber of the call's own; answers with serve_answer, or with serve_begin and io_write. */
    void (*handle)(struct serve *s, struct serve_call *c);
    struct io_listener *listener;
    unsigned calls; /* being answered; SERVE_CALLS_MAX at most, what is more is closed */
    struct addr bound;
};

/* handle is set. ERR_IN_USE and the like, with words. */
err serve_open(struct serve *s, const struct addr *at, struct diag *reterr) CHECK_RESULT;
void serve_close(struct serve *s);

/* The head alone, of a body that ends with the connection. */
err serve_begin(struct serve_call *c, unsigned status, const char *type) CHECK_RESULT;
void serve_answer(struct serve_call *c, unsigned status, const char *type, struct bytes body);

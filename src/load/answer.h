/* answer: reads one HTTP/1.1 answer off a connection: the head, then the body piece by piece, whatever
 * delimits it (RFC 9112 6.3). What the generator's carriers share. One fiber. */
#pragma once
#include "core/io.h"
#include "proto/http1.h"

#define ANSWER_FIELDS_MAX 128

struct answer {
    struct http1_chunked chunked;
    uint64_t left;  /* of a body with a length */
    uint64_t bytes; /* head and body, as they came */
    enum http_framing framing;
    unsigned status;
    bool keep_alive;
    bool done;
};

/* Waits for the head of the answer to a request of that method; interim answers (1xx) are passed over. fields
 * has room for ANSWER_FIELDS_MAX. *ret_used bytes of the input are the head: its slices are good until the
 * caller consumes them. ERR_PROTOCOL, or what io_pull_more says. */
err answer_head(struct answer *a, struct io *io, enum http_method method, uint64_t deadline_us,
                struct http_field *fields, struct http_response *ret_head, size_t *ret_used) CHECK_RESULT;
/* The same for a request that asks for another protocol: 101 is the last word too, and what follows is not
 * HTTP. */
err answer_upgrade(struct answer *a, struct io *io, uint64_t deadline_us, struct http_field *fields,
                   struct http_response *ret_head, size_t *ret_used) CHECK_RESULT;
/* The next piece of the body in in, and how much of in is done with (the piece included). a->done: that was
 * all. ERR_PROTOCOL. */
err answer_body(struct answer *a, struct bytes in, struct bytes *ret_piece, size_t *ret_used) CHECK_RESULT;
/* The connection has ended: OK when that ends the body too, else ERR_CLOSED. */
err answer_ended(struct answer *a) CHECK_RESULT;

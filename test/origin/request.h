/* request: a strict reader of HTTP/1.1 requests for the origin, written apart from weir's own parser so that
 * the two can disagree. What a proxy must not let through (RFC 9112) is a mistake that is answered with 400
 * and counted.
 *
 * Pure: no I/O, no memory of its own. One thread. */
#pragma once
#include "base/bytes.h"
#include "base/err.h"

#define REQUEST_HEAD_BYTES_MAX (64u * 1024)
#define REQUEST_FIELDS_MAX 256u

enum request_body {
    REQUEST_BODY_NONE,
    REQUEST_BODY_LENGTH,
    REQUEST_BODY_CHUNKED,
};

struct request_field {
    struct bytes name, value;
};

/* Its slices live as long as the bytes they were read from. */
struct request {
    struct bytes head; /* all of it, with the empty line */
    struct bytes method, target;
    unsigned version_minor;
    unsigned fields_count;
    enum request_body body;
    uint64_t content_length;
    bool keep_alive;
    bool expect_continue;
    bool is_head;        /* the method is HEAD */
    const char *mistake; /* of ERR_SYNTAX: what is wrong, a literal */
    struct request_field fields[REQUEST_FIELDS_MAX];
};

/* Reads one head off the front of in. ERR_AGAIN: not all there yet; ERR_SYNTAX: ret->mistake says why. */
err request_parse(struct bytes in, struct request *ret, size_t *ret_used) CHECK_RESULT;

/* Reads the next piece of a chunked body off the front of in.
 *   *left      bytes of the current chunk that are still to come; 0 at first, kept between calls
 *   *state     0 at first, kept between calls
 *   ret_data   body bytes found, may be empty
 *   ret_done   the body and its trailers have ended
 * OK: *ret_used bytes are done with, call again; ERR_AGAIN: more input is needed; ERR_SYNTAX. */
err request_chunk(struct bytes in, uint64_t *left, unsigned *state, struct bytes *ret_data, size_t *ret_used,
                  bool *ret_done, const char **ret_mistake) CHECK_RESULT;

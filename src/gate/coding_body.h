/* coding_body: a body that is coded or decoded as it is pulled; compress and decompress stand on it.
 *
 *      inner ──pull──▶ coder ──▶ [ a buffer of 16 KiB ] ──▶ pulled by the other side
 *
 * An encoder gathers a buffer full, but never makes anybody wait: before a pull of the inner body that would
 * block, what was taken so far is flushed and passed on (server-sent events arrive when they are sent). The
 * inner body is given back piece by piece, so that not pulling is the back-pressure as ever. Others have
 * their turn in between. One fiber. */
#pragma once
#include "gate/body.h"
#include "gate/coder.h"
#include "gate/exchange.h"

/* What a decoder may make of what came. More is ERR_LIMIT. */
struct coding_bound {
    uint64_t bytes_max; /* decoded */
    uint64_t ratio_max; /* decoded bytes to coded ones; asked beyond the first CODING_RATIO_BYTES_MIN */
};
#define CODING_RATIO_BYTES_MIN (1024 * 1024)

/* Counted as the body passes, by the filter's own cells; each is an index of its group. */
struct coding_meter {
    struct metric_cells *cells;
    unsigned in_bytes, out_bytes, cpu_ns;
};

struct coding_body {
    struct body body;
    struct body *inner;
    struct coder *coder;
    char *buffer;
    size_t start, end;    /* of what is lent */
    uint64_t taken, made; /* of the inner body, and for the outer one */
    uint64_t rest_at;     /* of taken: then others have their turn */
    bool dirty;           /* an encoder holds something back */
    bool full;            /* a decoder may hold more than there was room for */
    bool stream_done;     /* a decoder is between streams */
    bool inner_ended, ended;
    err failed; /* sticky */
    struct coding_bound bound;
    struct coding_meter meter;
    struct exchange *request_of; /* of a request's body: is told what the client did wrong; NULL otherwise */
};

/* Takes over inner and coder: closing the body closes both. ERR_LIMIT: the arena is full; both are then still
 * the caller's. The body's length is unknown. */
err encoding_body(struct arena *a, struct body *inner, struct coder *coder, const struct coding_meter *meter,
                  struct body **ret_body) CHECK_RESULT;
err decoding_body(struct arena *a, struct body *inner, struct coder *coder, const struct coding_meter *meter,
                  const struct coding_bound *bound, struct coding_body **ret_body) CHECK_RESULT;

/* ---- what recoding does to an answer's head ---- */

/* May a gateway change the coding of this answer at all? Not: interim answers, 204, 206 and 304, upgrades,
 * and what says no-transform in either head (RFC 9111 5.2.1.6, 5.2.2.6). */
bool coding_may_transform(const struct exchange *x);
/* Accept-Encoding is added to Vary, unless it or * is there. ERR_LIMIT. */
err coding_vary(struct exchange *x) CHECK_RESULT;
/* The representation is another one now: a strong ETag becomes weak (RFC 9110 8.8.1), length, ranges and
 * digests of the old one go. ERR_LIMIT. */
err coding_changed(struct exchange *x) CHECK_RESULT;

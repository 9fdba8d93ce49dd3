/* content_coding: gzip, br, zstd and the like by name, and which of them a client takes (RFC 9110 8.4.1 and
 * 12.5.3). Pure; any thread.
 *
 *      Accept-Encoding: br;q=0.8, gzip, *;q=0   ─▶   q: gzip 1000, br 800, all else 0 */
#pragma once
#include "proto/http.h"

/*    id        name */
#define CONTENT_CODING_LIST(X) \
    X(IDENTITY, "identity")    \
    X(GZIP, "gzip")            \
    X(DEFLATE, "deflate")      \
    X(BR, "br")                \
    X(ZSTD, "zstd")

enum content_coding {
#define X(id, name) CODING_##id,
    CONTENT_CODING_LIST(X)
#undef X
        CODING_COUNT /* no coding that is known here */
};

struct bytes content_coding_name(enum content_coding c);
/* Without case; x-gzip is gzip (RFC 9110 8.4.1.3). */
enum content_coding content_coding_of(struct bytes name);

/* Weights in thousandths, 0: not acceptable. What is not listed has the weight of "*", else 0; but identity,
 * which need not be listed, has then CODING_WEIGHT_UNSAID. */
#define CODING_WEIGHT_UNSAID 1
struct accept_encoding {
    uint16_t weight[CODING_COUNT];
    bool said; /* there is such a field */
};

/* All lines of the field together. A member that is malformed is as if it had q=0: when in doubt nothing is
 * coded. */
void accept_encoding_read(const struct http_fields *fields, struct accept_encoding *ret);
/* The acceptable one of those offered with the highest weight, the first of equals; CODING_IDENTITY when
 * there is none or the client would rather have none. Without the field: identity, though RFC 9110 12.5.3
 * would allow any, since who does not ask for a coding often knows none. */
enum content_coding accept_encoding_choose(const struct accept_encoding *a,
                                           const enum content_coding *offered, unsigned count);

/* Is the token in the list of that field (any of its lines, without case, its parameters aside)? For
 * Cache-Control, Vary and such. */
bool http_fields_list_has(const struct http_fields *fields, enum http_field_id id, struct bytes token);

/* framed: a request as HTTP/2 and HTTP/3 frame it: fields, pseudo fields first (RFC 9113 8.3.1, RFC 9114
 * 4.3.1). Immutable once made; any thread. */
#pragma once
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"

/* As nghttp2_nv and nghttp3_nv, which it is handed on as. */
struct framed_field {
    uint8_t *name, *value;
    size_t name_len, value_len;
    uint8_t flags; /* the library keeps no copies */
};

struct framed_request {
    struct framed_field *fields;
    size_t count;
    struct bytes body;
};

/* From the bytes of the same request in HTTP/1.1, as load_request and scenario_compose make them; the result
 * points into them and into the arena. ERR_SYNTAX; ERR_LIMIT: the arena has no more. */
err framed_request_make(struct bytes http1, bool tls, struct arena *a,
                        struct framed_request *ret) CHECK_RESULT;

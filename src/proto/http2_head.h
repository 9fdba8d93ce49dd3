/* http2_head: heads whose fields come one by one behind pseudo-header fields, as in HTTP/2 (RFC
 * 9113 8.2, 8.3) and HTTP/3 (RFC 9114 4.2, 4.3). Pure: no I/O, no clock; HPACK and QPACK are somebody else's.
 *
 *      :method GET  :scheme https  :authority a.example  :path /b?c      cookie: x=1  cookie: y=2
 *                                    │ http2_head_add, each checked and copied into the arena
 *                                    ▼
 *      struct http_request as HTTP/1.1 has it: target "/b?c", Host, one Cookie "x=1; y=2"
 *
 * Nothing is repaired: a malformed head is ERR_SYNTAX (RFC 9113 8.1.1), so that none can become another
 * message when it goes on as HTTP/1.1. One thread. */
#pragma once
#include "proto/http.h"

/* What one field counts beside its text (RFC 9113 6.5.2). */
#define HTTP2_FIELD_EXTRA_BYTES 32

enum http2_head_kind { HTTP2_REQUEST, HTTP2_RESPONSE, HTTP2_TRAILERS };

struct http2_head {
    enum http2_head_kind kind;
    struct arena *arena;
    struct http_fields *fields;
    uint32_t fields_max; /* ERR_LIMIT beyond */
    uint64_t bytes_max;  /* the same */
    uint64_t bytes;      /* as RFC 9113 6.5.2 counts them, those too many included */
    err failed;          /* sticky; further fields are counted and dropped */
    struct bytes method, scheme, authority, path, protocol;
    uint64_t content_length;
    uint32_t cookies;
    uint16_t status;
    uint8_t pseudo; /* bits of those that have come */
    bool regular;   /* a field that is no pseudo field has come */
    bool has_length;
};

/* fields: filled from count on; grows in the arena. */
void http2_head_open(struct http2_head *h, enum http2_head_kind kind, struct arena *arena,
                     struct http_fields *fields, uint32_t fields_max, uint64_t bytes_max);
/* One more field, copied. What is wrong with it is remembered and told by the end of the head; ERR_LIMIT and
 * ERR_SYNTAX are told here too. */
err http2_head_add(struct http2_head *h, struct bytes name, struct bytes value) CHECK_RESULT;

/* The head is whole. ended: no body follows.
 *
 *   an extended CONNECT (RFC 8441) for :protocol websocket becomes what HTTP/1.1 says for it: GET with
 * Upgrade, and upgrade is true; another protocol is ERR_UNSUPPORTED ret_status   when it fails, what to
 * answer if one answers: 400, 431, 417, 501
 *
 * ERR_SYNTAX, ERR_LIMIT, ERR_UNSUPPORTED. */
err http2_head_request(struct http2_head *h, bool ended, struct http_request *ret,
                       unsigned *ret_status) CHECK_RESULT;
/* method: of the request. A 1xx is returned like any other. */
err http2_head_response(struct http2_head *h, bool ended, enum http_method method,
                        struct http_response *ret) CHECK_RESULT;
/* Fields that must not stand in trailers are left out. */
err http2_head_trailers(struct http2_head *h) CHECK_RESULT;

/* ---- writing */

/* May f go out over HTTP/2 or /3? Not what belongs to a connection, nor what was taken out. */
static inline bool http2_field_passes(const struct http_field *f)
{
    if (f->flags & (FIELD_HOP | FIELD_REMOVED))
        return false;
    switch (f->id) {
    case FIELD_CONNECTION:
    case FIELD_CONTENT_LENGTH: /* said anew, by what is sent */
    case FIELD_KEEP_ALIVE:
    case FIELD_PROXY_CONNECTION:
    case FIELD_TRANSFER_ENCODING:
    case FIELD_UPGRADE:
    case FIELD_HTTP2_SETTINGS:
    case FIELD_TE:
    case FIELD_HOST:
        return false;
    default:
        return true;
    }
}
/* Its name in lower case (a copy in the arena if it was not); ptr NULL: the arena has no more. */
struct bytes http2_field_name(const struct http_field *f, struct arena *a);

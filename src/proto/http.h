/* http: an HTTP message head as every protocol version carries it (RFC 9110). No policy, no I/O.
 *
 *   request   method  path ? query  authority         fields: [ name value | name value | ... ]
 *   response  status  reason                          fields: ...
 *
 * All text is borrowed: slices of a receive buffer or of the exchange's arena, alive as long as the exchange.
 * A field's name stays in the case it came in; compare by id, or without case. One thread. */
#pragma once
#include "base/arena.h"
#include "base/bytes.h"
#include "base/err.h"

/*    id      text       safe   idempotent  (RFC 9110 9.2) */
#define HTTP_METHOD_LIST(X)             \
    X(GET, "GET", true, true)           \
    X(HEAD, "HEAD", true, true)         \
    X(POST, "POST", false, false)       \
    X(PUT, "PUT", false, true)          \
    X(DELETE, "DELETE", false, true)    \
    X(CONNECT, "CONNECT", false, false) \
    X(OPTIONS, "OPTIONS", true, true)   \
    X(TRACE, "TRACE", true, true)       \
    X(PATCH, "PATCH", false, false)     \
    X(OTHER, "", false, false)

enum http_method {
#define X(id, text, safe, idempotent) HTTP_##id,
    HTTP_METHOD_LIST(X)
#undef X
};

/* Fields that somebody in weir reads by id. FIELD_OTHER for all the rest.
 *    id                    name */
#define HTTP_FIELD_LIST(X)                        \
    X(OTHER, "")                                  \
    X(HOST, "host")                               \
    X(CONNECTION, "connection")                   \
    X(KEEP_ALIVE, "keep-alive")                   \
    X(PROXY_CONNECTION, "proxy-connection")       \
    X(TRANSFER_ENCODING, "transfer-encoding")     \
    X(CONTENT_LENGTH, "content-length")           \
    X(TE, "te")                                   \
    X(TRAILER, "trailer")                         \
    X(UPGRADE, "upgrade")                         \
    X(EXPECT, "expect")                           \
    X(VIA, "via")                                 \
    X(FORWARDED, "forwarded")                     \
    X(X_FORWARDED_FOR, "x-forwarded-for")         \
    X(X_FORWARDED_PROTO, "x-forwarded-proto")     \
    X(X_FORWARDED_HOST, "x-forwarded-host")       \
    X(X_REQUEST_ID, "x-request-id")               \
    X(DATE, "date")                               \
    X(SERVER, "server")                           \
    X(COOKIE, "cookie")                           \
    X(SET_COOKIE, "set-cookie")                   \
    X(AUTHORIZATION, "authorization")             \
    X(PROXY_AUTHENTICATE, "proxy-authenticate")   \
    X(PROXY_AUTHORIZATION, "proxy-authorization") \
    X(CONTENT_TYPE, "content-type")               \
    X(CONTENT_ENCODING, "content-encoding")       \
    X(ACCEPT_ENCODING, "accept-encoding")         \
    X(ACCEPT, "accept")                           \
    X(USER_AGENT, "user-agent")                   \
    X(REFERER, "referer")                         \
    X(LOCATION, "location")                       \
    X(RETRY_AFTER, "retry-after")                 \
    X(RANGE, "range")                             \
    X(ETAG, "etag")                               \
    X(IF_NONE_MATCH, "if-none-match")             \
    X(IF_MODIFIED_SINCE, "if-modified-since")     \
    X(LAST_MODIFIED, "last-modified")             \
    X(CACHE_CONTROL, "cache-control")             \
    X(VARY, "vary")                               \
    X(ORIGIN, "origin")                           \
    X(HTTP2_SETTINGS, "http2-settings")

enum http_field_id {
#define X(id, name) FIELD_##id,
    HTTP_FIELD_LIST(X)
#undef X
        FIELD_COUNT
};

enum http_field_flag {
    /* Belongs to this connection and is not passed on: Connection and all it names, Keep-Alive, TE,
     * Transfer-Encoding, Upgrade, Proxy-Connection (RFC 9110 7.6.1). Set by the protocol's parser. */
    FIELD_HOP = 1,
    FIELD_REMOVED = 2, /* taken out by http_fields_remove; every reader skips it */
};

struct http_field {
    const char *name;
    const char *value; /* without the white space around it */
    uint32_t value_len;
    uint16_t name_len;
    uint8_t id;    /* enum http_field_id */
    uint8_t flags; /* enum http_field_flag */
};

struct http_fields {
    struct http_field *at;
    uint32_t count;
    uint32_t count_max; /* room at `at` */
};

static inline struct bytes http_field_name(const struct http_field *f)
{
    return (struct bytes){ f->name, f->name_len };
}

static inline struct bytes http_field_value(const struct http_field *f)
{
    return (struct bytes){ f->value, f->value_len };
}

/* How a message's body is delimited (RFC 9112 6.3); also the declaration for HTTP/2 and /3 messages. */
enum http_framing {
    HTTP_BODY_NONE,    /* there is none, or it is empty */
    HTTP_BODY_LENGTH,  /* content_length bytes, more than 0 */
    HTTP_BODY_CHUNKED, /* unknown length, own end (chunked, or END_STREAM) */
    HTTP_BODY_CLOSE,   /* a response's body that ends with its connection */
};

struct http_request {
    enum http_method method;
    enum http_framing framing;
    uint64_t content_length; /* of HTTP_BODY_LENGTH */
    struct bytes method_text;
    struct bytes target;    /* as it came: "/a/b?c=d", "http://h/a", "*", "h:443" */
    struct bytes path;      /* "/a/b"; "*" for OPTIONS *; empty for CONNECT */
    struct bytes query;     /* "c=d"; ptr NULL without a '?' */
    struct bytes authority; /* host[:port] of an absolute target, else of Host; may be empty for HTTP/1.0 */
    uint8_t version_minor;  /* of HTTP/1.x */
    bool keep_alive;        /* the client's wish */
    bool expect_continue;
    bool upgrade; /* Connection: upgrade together with an Upgrade field */
    struct http_fields fields;
};

struct http_response {
    unsigned status;
    enum http_framing framing;
    uint64_t
        content_length; /* of HTTP_BODY_LENGTH; of an answer to HEAD what it says, see has_content_length */
    bool has_content_length;
    uint8_t version_minor;
    bool keep_alive; /* the server's wish */
    bool upgrade;
    struct bytes reason; /* may be empty */
    struct http_fields fields;
};

enum http_method http_method_of(struct bytes text);
struct bytes http_method_text(enum http_method m);
bool http_method_is_safe(enum http_method m);
bool http_method_is_idempotent(enum http_method m);
/* Without case. */
enum http_field_id http_field_id_of(struct bytes name);
struct bytes http_field_id_name(enum http_field_id id);
/* The usual reason phrase; empty for a status that has none. */
struct bytes http_reason(unsigned status);

/* The first one that is not removed; NULL: none. For FIELD_OTHER use http_fields_find. */
const struct http_field *http_fields_get(const struct http_fields *f, enum http_field_id id);
const struct http_field *http_fields_find(const struct http_fields *f, struct bytes name);
/* The value of the first one of that id, for FIELD_OTHER of that name; empty: there is none. */
struct bytes http_fields_value(const struct http_fields *f, enum http_field_id id, struct bytes name);
/* All of that name; returns how many were taken out. */
unsigned http_fields_remove(struct http_fields *f, struct bytes name);
unsigned http_fields_remove_id(struct http_fields *f, enum http_field_id id);
/* Makes room for `more` further ones at f->at[f->count]; earlier ones may move. ERR_LIMIT. */
err http_fields_reserve(struct http_fields *f, struct arena *a, uint32_t more) CHECK_RESULT;
/* Their texts are copied to the arena, for as long as that lives; those that are removed go. ERR_LIMIT. */
err http_fields_keep(struct http_fields *f, struct arena *a) CHECK_RESULT;
/* name and value are borrowed. Grows in the arena when count_max is reached; ERR_LIMIT when the arena has no
 * more. */
err http_fields_add(struct http_fields *f, struct arena *a, struct bytes name,
                    struct bytes value) CHECK_RESULT;
/* Replaces all of that name by one. */
err http_fields_set(struct http_fields *f, struct arena *a, struct bytes name,
                    struct bytes value) CHECK_RESULT;

/* tchar of RFC 9110 5.6.2 throughout, at least one. */
bool http_is_token(struct bytes text);
/* No control characters but HTAB: what RFC 9110 5.5 lets stand in a value. */
bool http_is_field_value(struct bytes text);
/* May a field of that name stand in trailers (RFC 9110 6.5.1)? */
bool http_may_be_trailer(struct bytes name);

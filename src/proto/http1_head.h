/* http1_head: what request heads and response heads have in common. Inside http1 only. */
#pragma once
#include "proto/http1_scan.h"

/* True when the bytes from seen on cannot have completed, broken or overfilled a head whose first `seen`
 * bytes said ERR_AGAIN: the head need not be read again. This is what makes a trickling head cost linear
 * time. */
bool http1_head_waits(struct bytes in, size_t seen, const struct http1_limits *limits);

/* Readies cut for in; its end is drawn in to head_bytes_max. */
void http1_cut_open(struct http1_cut *cut, struct bytes in, const struct http1_limits *limits,
                    struct http_fields *fields);

/* "HTTP/1.1" or "HTTP/1.0" at *pos, byte by byte as far as there are bytes, so that a wrong one is refused at
 * once. OK moves *pos behind it. ERR_AGAIN; ERR_SYNTAX: no version at all; ERR_UNSUPPORTED: another version.
 */
err http1_read_version(const char **pos, const char *end, uint8_t *ret_minor);

struct http1_connection_options {
    bool close, keep_alive, upgrade;
};
/* Reads all Connection fields and marks those that they name FIELD_HOP, but for fields that no peer may strip
 * on their way through us. ERR_SYNTAX: not a list of tokens, too many, or (refuse_framing) it names Host,
 * Content-Length or Transfer-Encoding. */
err http1_read_connection(struct http1_cut *cut, bool refuse_framing,
                          struct http1_connection_options *ret_options);
/* Whether Upgrade names something that may be passed on; h2c, which RFC 9113 3.1 took back and which would
 * carry requests past every filter, may not. */
bool http1_offers_upgrade(const struct http1_cut *cut);

/* The one Content-Length. ERR_SYNTAX: repeated, or not digits that fit 63 bits. */
err http1_read_content_length(const struct http1_cut *cut, uint64_t *ret_length);

/* host [":" port] of RFC 3986 3.2.2 and 3.2.3, without userinfo; not empty. */
bool http1_is_authority(struct bytes text, bool needs_port);

static inline bool http1_has(const struct http1_cut *cut, enum http_field_id id)
{
    return cut->known & HTTP1_ID_BIT(id);
}

static inline struct bytes http1_value_of(const struct http1_cut *cut, enum http_field_id id)
{
    return http_field_value(&cut->fields->at[cut->index_of[id]]);
}

/* http1_scan: the byte-hungry inside of http1: how far does this run go, and field lines -> struct
 * http_field. Inside http1 only. One struct per variant; http1_scan points at the one in use and changes only
 * in http1_use_scalar. Reads nothing outside base to end. */
#pragma once
#include "proto/http1.h"

struct http1_cut {
    const char *base; /* of the run that is being read: vectors may begin here, before pos */
    const char *pos;  /* in: the first field line; out, after OK: behind the empty line */
    const char *end;
    uint32_t line_bytes_max, fields_max;
    struct http_fields *fields;
    uint64_t known;                 /* bit 1 << id: a field of that id is there */
    uint64_t repeated;              /* there is more than one */
    uint32_t index_of[FIELD_COUNT]; /* of the last one; set only where `known` says so */
};

struct http1_scan {
    const char *name;
    /* The first byte that cannot stand in a request target, or end. */
    const char *(*target_end)(const char *pos, const char *base, const char *end);
    /* The first byte that cannot stand in a field value, or end. */
    const char *(*value_end)(const char *pos, const char *base, const char *end);
    /* OK, ERR_AGAIN (end came first), ERR_SYNTAX, ERR_LIMIT */
    err (*cut_fields)(struct http1_cut *cut);
};

_Static_assert(FIELD_COUNT <= 64, "sets of field ids are bits of a uint64_t");
#define HTTP1_ID_BIT(id) (UINT64_C(1) << (id))

/* Fields of one connection, whether Connection names them or not (RFC 9110 7.6.1). HTTP2-Settings is among
 * them because what it belongs to, an upgrade to h2c, is never passed on. */
#define HTTP1_HOP_IDS                                                                                        \
    (HTTP1_ID_BIT(FIELD_CONNECTION) | HTTP1_ID_BIT(FIELD_KEEP_ALIVE) |                                       \
     HTTP1_ID_BIT(FIELD_PROXY_CONNECTION) | HTTP1_ID_BIT(FIELD_TRANSFER_ENCODING) | HTTP1_ID_BIT(FIELD_TE) | \
     HTTP1_ID_BIT(FIELD_UPGRADE) | HTTP1_ID_BIT(FIELD_HTTP2_SETTINGS))

extern const struct http1_scan *http1_scan;

/* "\r\n" at *pos; OK moves *pos behind it. */
static inline err http1_read_crlf(const char **pos, const char *end)
{
    const char *p = *pos;
    if (p == end)
        return ERR_AGAIN;
    if (*p != '\r')
        return ERR_SYNTAX;
    if (p + 1 == end)
        return ERR_AGAIN;
    if (p[1] != '\n')
        return ERR_SYNTAX;
    *pos = p + 2;
    return OK;
}

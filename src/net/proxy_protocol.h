/* proxy_protocol: who the client of a connection really is, said by the proxy in front in the connection's
 * first bytes ("The PROXY protocol", versions 1 and 2, Willy Tarreau, HAProxy Technologies; sections are
 * named below).
 *
 *      v1   PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n
 *      v2   0D 0A 0D 0A 00 0D 0A 51 55 49 54 0A | ver,cmd | family,transport | length | addresses | TLVs
 *
 * Pure: bytes in, addresses out. Any thread. */
#pragma once
#include "base/addr.h"
#include "base/bytes.h"
#include "base/err.h"

#define PROXY_PROTOCOL_V1_BYTES_MAX 107  /* section 2.1: with its CRLF */
#define PROXY_PROTOCOL_V2_BYTES_MAX 4096 /* TLVs included; the protocol would allow 65,551 */
/* What proxy_protocol_write writes at most: version 2 with unix addresses. */
#define PROXY_PROTOCOL_WRITTEN_BYTES_MAX (16 + 216)

enum proxy_protocol_version { PROXY_PROTOCOL_OFF, PROXY_PROTOCOL_V1, PROXY_PROTOCOL_V2 };

struct proxy_protocol {
    /* LOCAL or UNKNOWN, or a family that is not ours: the connection's own addresses count, the others are
     * not set. */
    bool local;
    struct addr source, destination; /* of a unix socket the len may be that of the family alone: unnamed */
};

/* Reads the header that a connection begins with. ERR_AGAIN: so far it is one, more bytes are needed;
 * ERR_SYNTAX: it is none; ERR_LIMIT: it is longer than PROXY_PROTOCOL_V2_BYTES_MAX. TLVs are passed over, but
 * have to be well-formed, and a checksum (PP2_TYPE_CRC32C) has to be right. */
err proxy_protocol_parse(struct bytes in, struct proxy_protocol *ret, size_t *ret_used) CHECK_RESULT;

/* Writes a header at out (PROXY_PROTOCOL_WRITTEN_BYTES_MAX are enough); returns its length. source NULL, or
 * addresses that cannot be said (different families; unix in version 1): LOCAL in version 2, UNKNOWN in
 * version 1. A destination NULL is written as the family's unspecified address, port 0. */
size_t proxy_protocol_write(char *out, enum proxy_protocol_version version, const struct addr *source,
                            const struct addr *destination);

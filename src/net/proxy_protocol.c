#include "net/proxy_protocol.h"

#include <arpa/inet.h>
#include <stdio.h>

#define V2_HEAD_BYTES 16
#define V2_TLV_CRC32C 0x03

static const char v2_signature[12] = { '\r', '\n', '\r', '\n', 0, '\r', '\n', 'Q', 'U', 'I', 'T', '\n' };

/* ---- version 1 (section 2.1) ---- */

/* No zeros in front, no sign: as the section says. */
static bool v1_port(struct bytes text, in_port_t *ret_port)
{
    uint64_t port;
    if (text.len == 0 || text.len > 5 || (text.len > 1 && text.ptr[0] == '0') || !bytes_to_u64(text, &port) ||
        port > 65535)
        return false;
    *ret_port = htons((uint16_t)port);
    return true;
}

static bool v1_addr(struct bytes ip, struct bytes port, int family, struct addr *ret)
{
    char text[INET6_ADDRSTRLEN];
    if (ip.len == 0 || ip.len >= sizeof text || memchr(ip.ptr, 0, ip.len))
        return false;
    memcpy(text, ip.ptr, ip.len);
    text[ip.len] = 0;
    struct addr a = { 0 };
    if (family == AF_INET) {
        a.len = sizeof a.sock.v4;
        a.sock.v4.sin_family = AF_INET;
        if (inet_pton(AF_INET, text, &a.sock.v4.sin_addr) != 1 || !v1_port(port, &a.sock.v4.sin_port))
            return false;
    } else {
        a.len = sizeof a.sock.v6;
        a.sock.v6.sin6_family = AF_INET6;
        if (inet_pton(AF_INET6, text, &a.sock.v6.sin6_addr) != 1 || !v1_port(port, &a.sock.v6.sin6_port))
            return false;
    }
    *ret = a;
    return true;
}

/* line: between "PROXY " and CRLF */
static err v1_line(struct bytes line, struct proxy_protocol *ret)
{
    struct bytes word[5];
    struct bytes family;
    if (bytes_starts(line, BYTES("UNKNOWN")) && (line.len == 7 || line.ptr[7] == ' ')) {
        ret->local = true; /* the rest of the line is to be ignored */
        return OK;
    }
    if (!bytes_split(&line, ' ', &family))
        return ERR_SYNTAX;
    int f = bytes_eq(family, BYTES("TCP4")) ? AF_INET : bytes_eq(family, BYTES("TCP6")) ? AF_INET6 : 0;
    unsigned words = 0;
    while (words < 5 && bytes_split(&line, ' ', &word[words]))
        words++;
    if (!f || words != 4)
        return ERR_SYNTAX;
    bool good = v1_addr(word[0], word[2], f, &ret->source) && v1_addr(word[1], word[3], f, &ret->destination);
    return good ? OK : ERR_SYNTAX;
}

static err v1_parse(struct bytes in, struct proxy_protocol *ret, size_t *ret_used)
{
    struct bytes seen = { in.ptr,
                          in.len < PROXY_PROTOCOL_V1_BYTES_MAX ? in.len : PROXY_PROTOCOL_V1_BYTES_MAX };
    size_t end = bytes_index(seen, '\n');
    if (end == seen.len)
        return seen.len == PROXY_PROTOCOL_V1_BYTES_MAX ? ERR_SYNTAX : ERR_AGAIN;
    if (end < 7 || in.ptr[end - 1] != '\r')
        return ERR_SYNTAX;
    struct bytes line = { in.ptr + 6, end - 1 - 6 };
    *ret_used = end + 1;
    return v1_line(line, ret);
}

/* ---- version 2 (section 2.2) ---- */

static uint32_t crc32c_add(uint32_t crc, const char *at, size_t len)
{
    while (len--) {
        crc ^= (uint8_t)*at++;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    return crc;
}

/* Over the whole header, with the checksum itself taken as zeros. */
static bool crc_is_right(struct bytes header, size_t value_at)
{
    static const char zeros[4];
    uint32_t crc = crc32c_add(UINT32_MAX, header.ptr, value_at);
    crc = crc32c_add(crc, zeros, 4);
    crc = ~crc32c_add(crc, header.ptr + value_at + 4, header.len - value_at - 4);
    uint32_t said;
    memcpy(&said, header.ptr + value_at, 4);
    return ntohl(said) == crc;
}

static unsigned big16(const char *at)
{
    return (unsigned)(uint8_t)at[0] << 8 | (uint8_t)at[1];
}

static err v2_tlvs(struct bytes header, size_t at)
{
    while (at < header.len) {
        if (header.len - at < 3)
            return ERR_SYNTAX;
        size_t len = big16(header.ptr + at + 1);
        if (len > header.len - at - 3)
            return ERR_SYNTAX;
        if (header.ptr[at] == V2_TLV_CRC32C && (len != 4 || !crc_is_right(header, at + 3)))
            return ERR_SYNTAX;
        at += 3 + len;
    }
    return OK;
}

static void v2_ipv4(const char *at, size_t port_at, struct addr *ret)
{
    *ret = (struct addr){ .len = sizeof ret->sock.v4 };
    ret->sock.v4.sin_family = AF_INET;
    memcpy(&ret->sock.v4.sin_addr, at, 4);
    memcpy(&ret->sock.v4.sin_port, at + port_at, 2);
}

static void v2_ipv6(const char *at, size_t port_at, struct addr *ret)
{
    *ret = (struct addr){ .len = sizeof ret->sock.v6 };
    ret->sock.v6.sin6_family = AF_INET6;
    memcpy(&ret->sock.v6.sin6_addr, at, 16);
    memcpy(&ret->sock.v6.sin6_port, at + port_at, 2);
}

/* 108 bytes, padded with NULs; nothing, or an abstract name, is taken as unnamed. */
static void v2_unix(const char *at, struct addr *ret)
{
    const char *nul = memchr(at, 0, 108);
    size_t len = nul ? (size_t)(nul - at) : 107;
    *ret = (struct addr){ .len = sizeof ret->sock.any.sa_family };
    ret->sock.local.sun_family = AF_UNIX;
    if (!len)
        return;
    memcpy(ret->sock.local.sun_path, at, len);
    ret->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1);
}

/* Fills in the addresses; *ret_bytes: how many of the header's bytes they are. */
static err v2_addresses(struct bytes body, unsigned family, struct proxy_protocol *ret, size_t *ret_bytes)
{
    static const size_t sizes[] = { 0, 12, 36, 216 };
    if (family >= sizeof sizes / sizeof *sizes || body.len < sizes[family])
        return ERR_SYNTAX;
    *ret_bytes = sizes[family];
    if (ret->local)
        return OK;
    switch (family) {
    case 1:
        v2_ipv4(body.ptr, 8, &ret->source);
        v2_ipv4(body.ptr + 4, 6, &ret->destination);
        break;
    case 2:
        v2_ipv6(body.ptr, 32, &ret->source);
        v2_ipv6(body.ptr + 16, 18, &ret->destination);
        break;
    case 3:
        v2_unix(body.ptr, &ret->source);
        v2_unix(body.ptr + 108, &ret->destination);
        break;
    default: /* UNSPEC: "the receiver must ignore it and use the real connection endpoints" */
        ret->local = true;
        break;
    }
    return OK;
}

static err v2_parse(struct bytes in, struct proxy_protocol *ret, size_t *ret_used)
{
    if (in.len < V2_HEAD_BYTES)
        return ERR_AGAIN;
    unsigned version = (uint8_t)in.ptr[12] >> 4;
    unsigned command = (uint8_t)in.ptr[12] & 15;
    unsigned family = (uint8_t)in.ptr[13] >> 4;
    unsigned transport = (uint8_t)in.ptr[13] & 15;
    size_t len = V2_HEAD_BYTES + big16(in.ptr + 14);
    if (version != 2 || command > 1 || family > 3 || transport > 2)
        return ERR_SYNTAX;
    if (len > PROXY_PROTOCOL_V2_BYTES_MAX)
        return ERR_LIMIT;
    if (in.len < len)
        return ERR_AGAIN;
    struct bytes header = { in.ptr, len };
    size_t addresses;
    ret->local = command == 0 || transport == 0;
    /* Section 2.2: with LOCAL or UNSPEC the family's bytes may be anything, and all of it is passed over. */
    if (ret->local || family == 0) {
        ret->local = true;
        *ret_used = len;
        return OK;
    }
    err e = v2_addresses(bytes_skip(header, V2_HEAD_BYTES), family, ret, &addresses);
    if (!e)
        e = v2_tlvs(header, V2_HEAD_BYTES + addresses);
    *ret_used = len;
    return e;
}

/* ---- both ---- */

err proxy_protocol_parse(struct bytes in, struct proxy_protocol *ret, size_t *ret_used)
{
    struct proxy_protocol p = { 0 };
    size_t used = 0;
    size_t head = in.len < sizeof v2_signature ? in.len : sizeof v2_signature;
    err e;
    if (in.len == 0)
        return ERR_AGAIN;
    if (memcmp(in.ptr, v2_signature, head) == 0)
        e = v2_parse(in, &p, &used);
    else if (memcmp(in.ptr, "PROXY ", in.len < 6 ? in.len : 6) == 0)
        e = v1_parse(in, &p, &used);
    else
        return ERR_SYNTAX;
    if (e)
        return e;
    *ret = p;
    *ret_used = used;
    return OK;
}

/* ---- writing ---- */

/* A socket that speaks IPv6 says IPv4 addresses as ::ffff:a.b.c.d. */
static struct addr plain(const struct addr *a)
{
    if (a->sock.any.sa_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&a->sock.v6.sin6_addr))
        return *a;
    struct addr v4 = { .len = sizeof v4.sock.v4 };
    v4.sock.v4.sin_family = AF_INET;
    v4.sock.v4.sin_port = a->sock.v6.sin6_port;
    memcpy(&v4.sock.v4.sin_addr, &a->sock.v6.sin6_addr.s6_addr[12], 4);
    return v4;
}

static in_port_t port_of(const struct addr *a)
{
    return a->sock.any.sa_family == AF_INET ? a->sock.v4.sin_port : a->sock.v6.sin6_port;
}

static size_t v1_write(char *out, const struct addr *s, const struct addr *d)
{
    if (!s->len || s->sock.any.sa_family == AF_UNIX) {
        memcpy(out, "PROXY UNKNOWN\r\n", 15);
        return 15;
    }
    char from[ADDR_TEXT_BYTES_MAX];
    char to[ADDR_TEXT_BYTES_MAX];
    addr_print_ip(s, from);
    addr_print_ip(d, to);
    int n = snprintf(out, PROXY_PROTOCOL_WRITTEN_BYTES_MAX, "PROXY %s %s %s %u %u\r\n",
                     s->sock.any.sa_family == AF_INET ? "TCP4" : "TCP6", from, to, ntohs(port_of(s)),
                     ntohs(port_of(d)));
    return (size_t)n;
}

static void put_unix(char *out, const struct addr *a)
{
    size_t head = offsetof(struct sockaddr_un, sun_path);
    size_t len = a->len > head ? a->len - head : 0;
    memset(out, 0, 108);
    memcpy(out, a->sock.local.sun_path, len < 108 ? len : 108);
}

static size_t v2_write(char *out, const struct addr *s, const struct addr *d)
{
    unsigned family = 0;
    size_t len = 0;
    char *at = out + V2_HEAD_BYTES;
    in_port_t ports[2];
    if (s->len && s->sock.any.sa_family != AF_UNIX) {
        ports[0] = port_of(s);
        ports[1] = port_of(d);
    }
    if (s->len && s->sock.any.sa_family == AF_INET) {
        family = 0x11;
        memcpy(at, &s->sock.v4.sin_addr, 4);
        memcpy(at + 4, &d->sock.v4.sin_addr, 4);
        memcpy(at + 8, ports, 4);
        len = 12;
    } else if (s->len && s->sock.any.sa_family == AF_INET6) {
        family = 0x21;
        memcpy(at, &s->sock.v6.sin6_addr, 16);
        memcpy(at + 16, &d->sock.v6.sin6_addr, 16);
        memcpy(at + 32, ports, 4);
        len = 36;
    } else if (s->len) {
        family = 0x31;
        put_unix(at, s);
        put_unix(at + 108, d);
        len = 216;
    }
    memcpy(out, v2_signature, sizeof v2_signature);
    out[12] = family ? 0x21 : 0x20;
    out[13] = (char)family;
    out[14] = 0;
    out[15] = (char)len;
    return V2_HEAD_BYTES + len;
}

size_t proxy_protocol_write(char *out, enum proxy_protocol_version version, const struct addr *source,
                            const struct addr *destination)
{
    struct addr s = { 0 };
    struct addr d = { 0 };
    if (source && source->len)
        s = plain(source);
    if (destination && destination->len)
        d = plain(destination);
    if (s.len && !d.len)
        d = (struct addr){ .len = s.len, .sock.any.sa_family = s.sock.any.sa_family };
    if (s.len && s.sock.any.sa_family != d.sock.any.sa_family)
        s.len = 0;
    return version == PROXY_PROTOCOL_V1 ? v1_write(out, &s, &d) : v2_write(out, &s, &d);
}

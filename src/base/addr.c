#include "base/addr.h"

#include <arpa/inet.h>
#include <stdio.h>

static err parse_unix(struct bytes path, struct addr *ret_addr)
{
    struct addr a = { 0 };
    if (path.len == 0 || path.len >= sizeof a.sock.local.sun_path || memchr(path.ptr, 0, path.len))
        return ERR_SYNTAX;
    a.sock.local.sun_family = AF_UNIX;
    memcpy(a.sock.local.sun_path, path.ptr, path.len);
    a.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.len + 1);
    *ret_addr = a;
    return OK;
}

err addr_parse(struct bytes text, struct addr *ret_addr)
{
    if (bytes_starts(text, BYTES("unix:")))
        return parse_unix(bytes_skip(text, 5), ret_addr);

    size_t colon = text.len;
    while (colon > 0 && text.ptr[colon - 1] != ':')
        colon--;
    if (colon == 0)
        return ERR_SYNTAX;
    struct bytes host = { text.ptr, colon - 1 };
    uint64_t port;
    if (!bytes_to_u64(bytes_skip(text, colon), &port) || port > 65535)
        return ERR_SYNTAX;

    bool bracketed = host.len >= 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']';
    if (bracketed)
        host = (struct bytes){ host.ptr + 1, host.len - 2 };
    char ip[INET6_ADDRSTRLEN];
    if (host.len >= sizeof ip || (host.len && memchr(host.ptr, 0, host.len)))
        return ERR_SYNTAX;
    memcpy(ip, host.ptr, host.len);
    ip[host.len] = 0;

    struct addr a = { 0 };
    if (!bracketed && inet_pton(AF_INET, ip, &a.sock.v4.sin_addr) == 1) {
        a.sock.v4.sin_family = AF_INET;
        a.sock.v4.sin_port = htons((uint16_t)port);
        a.len = sizeof a.sock.v4;
    } else if ((bracketed && inet_pton(AF_INET6, ip, &a.sock.v6.sin6_addr) == 1) ||
               (!bracketed && host.len == 0)) {
        a.sock.v6.sin6_family = AF_INET6;
        a.sock.v6.sin6_port = htons((uint16_t)port);
        a.len = sizeof a.sock.v6;
    } else {
        return ERR_SYNTAX;
    }
    *ret_addr = a;
    return OK;
}

/* inet_ntop formats through printf; this stands in the path of every request */
static size_t print_v4(const void *ip, char *out)
{
    const uint8_t *part = ip;
    char *at = out;
    for (int i = 0; i < 4; i++) {
        unsigned n = part[i];
        if (n >= 100)
            *at++ = (char)('0' + n / 100);
        if (n >= 10)
            *at++ = (char)('0' + n / 10 % 10);
        *at++ = (char)('0' + n % 10);
        *at++ = '.';
    }
    *--at = 0;
    return (size_t)(at - out);
}

size_t addr_print_ip(const struct addr *a, char out[ADDR_TEXT_BYTES_MAX])
{
    const struct in6_addr *v6 = &a->sock.v6.sin6_addr;
    out[0] = 0;
    if (a->len && a->sock.any.sa_family == AF_INET)
        return print_v4(&a->sock.v4.sin_addr, out);
    if (a->len && a->sock.any.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(v6))
        return print_v4(&v6->s6_addr[12], out);
    if (a->len && a->sock.any.sa_family == AF_INET6)
        inet_ntop(AF_INET6, v6, out, ADDR_TEXT_BYTES_MAX);
    else
        snprintf(out, ADDR_TEXT_BYTES_MAX, "unix:");
    return strlen(out);
}

size_t addr_print(const struct addr *a, char out[ADDR_TEXT_BYTES_MAX])
{
    char ip[ADDR_TEXT_BYTES_MAX];
    if (!a->len)
        snprintf(out, ADDR_TEXT_BYTES_MAX, "none");
    else if (a->sock.any.sa_family == AF_UNIX)
        snprintf(out, ADDR_TEXT_BYTES_MAX, "unix:%s", a->sock.local.sun_path);
    else {
        addr_print_ip(a, ip);
        bool v6 = memchr(ip, ':', strlen(ip)) != NULL;
        unsigned port = ntohs(a->sock.any.sa_family == AF_INET ? a->sock.v4.sin_port : a->sock.v6.sin6_port);
        snprintf(out, ADDR_TEXT_BYTES_MAX, v6 ? "[%.64s]:%u" : "%.64s:%u", ip, port);
    }
    return strlen(out);
}

uint16_t addr_port(const struct addr *a)
{
    if (a->sock.any.sa_family == AF_INET)
        return ntohs(a->sock.v4.sin_port);
    return a->sock.any.sa_family == AF_INET6 ? ntohs(a->sock.v6.sin6_port) : 0;
}

bool addr_is_any(const struct addr *a)
{
    if (a->sock.any.sa_family == AF_INET)
        return a->sock.v4.sin_addr.s_addr == htonl(INADDR_ANY);
    return a->sock.any.sa_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&a->sock.v6.sin6_addr);
}

bool addr_eq(const struct addr *a, const struct addr *b)
{
    return a->len == b->len && memcmp(&a->sock, &b->sock, a->len) == 0;
}

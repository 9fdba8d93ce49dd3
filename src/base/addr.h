/* addr: a socket address as people write it and as the kernel takes it.
 *
 *      "10.0.0.1:80"   "[::1]:80"   ":8080" (all addresses, IPv6 and IPv4)   "unix:/run/shop.sock"
 *
 * Names ("shop.internal:80") are for the resolver, not for here. By value; any thread. */
#pragma once
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/bytes.h"
#include "base/err.h"

struct addr {
    socklen_t len; /* 0: none */
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_un local;
    } sock;
};

#define ADDR_TEXT_BYTES_MAX 128

/* ERR_SYNTAX: not an address (a name, a port out of range, a path too long). */
err addr_parse(struct bytes text, struct addr *ret_addr) CHECK_RESULT;
/* With the port ("10.0.0.1:80"); NUL-terminated; returns the length. */
size_t addr_print(const struct addr *a, char out[ADDR_TEXT_BYTES_MAX]);
/* Without the port and without brackets ("10.0.0.1", "::1"); "unix:" for a unix socket. An IPv4 address that
 * was accepted on an IPv6 socket (::ffff:10.0.0.1) is written as IPv4. */
size_t addr_print_ip(const struct addr *a, char out[ADDR_TEXT_BYTES_MAX]);
/* 0: of a unix socket. */
uint16_t addr_port(const struct addr *a);
/* All addresses of its family. */
bool addr_is_any(const struct addr *a);
bool addr_eq(const struct addr *a, const struct addr *b);

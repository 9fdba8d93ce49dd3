#include "load/target.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#define TRY_MS 1000

static err wrong(struct diag *reterr, struct bytes url, const char *why)
{
    diag_set(reterr, "\"%.*s\" is no URL (like http://shop.example:8080/path): %s",
             (int)(url.len < 100 ? url.len : 100), url.ptr, why);
    return ERR_SYNTAX;
}

static err take_scheme(struct bytes *rest, struct target *t, struct diag *reterr)
{
    struct bytes url = *rest;
    if (bytes_starts(url, BYTES("http://"))) {
        *rest = bytes_skip(url, 7);
    } else if (bytes_starts(url, BYTES("https://"))) {
        *rest = bytes_skip(url, 8);
        t->tls = true;
    } else if (memmem(url.ptr, url.len, "://", 3)) {
        return wrong(reterr, url, "its scheme is neither http nor https");
    }
    t->port = t->tls ? 443 : 80;
    return OK;
}

static bool is_visible(struct bytes text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] <= ' ' || text.ptr[i] > '~' || text.ptr[i] == '#')
            return false;
    }
    return true;
}

static err take_host(struct bytes url, struct target *t, struct diag *reterr)
{
    struct bytes host = t->host, port = BYTES_NONE;
    if (host.len && host.ptr[0] == '[') {
        size_t end = bytes_index(host, ']');
        if (end == host.len)
            return wrong(reterr, url, "a ] is missing");
        t->name = (struct bytes){ host.ptr + 1, end - 1 };
        port = bytes_skip(host, end + 1);
    } else {
        t->name = (struct bytes){ host.ptr, bytes_index(host, ':') };
        port = bytes_skip(host, t->name.len);
    }
    if (!t->name.len || t->name.len > 253 || bytes_index(host, '@') < host.len)
        return wrong(reterr, url, "there is no host in it");
    uint64_t number = t->port;
    if (port.len &&
        (port.ptr[0] != ':' || !bytes_to_u64(bytes_skip(port, 1), &number) || number < 1 || number > 65535))
        return wrong(reterr, url, "its port is not 1 to 65535");
    t->port = (uint16_t)number;
    return OK;
}

err target_parse(struct bytes url, struct arena *a, struct target *ret_target, struct diag *reterr)
{
    struct target t = { 0 };
    struct bytes rest = url;
    err e = take_scheme(&rest, &t, reterr);
    if (e)
        return e;
    size_t end = 0;
    while (end < rest.len && rest.ptr[end] != '/' && rest.ptr[end] != '?')
        end++;
    t.host = (struct bytes){ rest.ptr, end };
    struct bytes path = bytes_skip(rest, end);
    if (!is_visible(rest))
        return wrong(reterr, url, "a character in it must be percent-encoded");
    t.path = path.len && path.ptr[0] == '/' ? path : arena_print(a, "/%.*s", BYTES_ARG(path));
    e = t.path.ptr ? take_host(url, &t, reterr) : ERR_MEMORY;
    if (!e)
        *ret_target = t;
    return e;
}

static bool takes_connections(const struct addrinfo *at)
{
    int fd = socket(at->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), failed = 0;
    socklen_t len = sizeof failed;
    if (fd < 0)
        return false;
    bool done = connect(fd, at->ai_addr, at->ai_addrlen) == 0;
    struct pollfd p = { .fd = fd, .events = POLLOUT };
    if (!done && errno == EINPROGRESS && poll(&p, 1, TRY_MS) == 1)
        done = getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &len) == 0 && failed == 0;
    close(fd);
    return done;
}

err target_resolve(struct target *t, struct diag *reterr)
{
    char name[256], port[8];
    struct addrinfo wanted = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV }, *found = NULL;
    snprintf(name, sizeof name, "%.*s", BYTES_ARG(t->name));
    snprintf(port, sizeof port, "%u", t->port);
    int failed = getaddrinfo(name, port, &wanted, &found);
    if (failed || !found) {
        diag_set(reterr, "%s: %s", name, failed ? gai_strerror(failed) : "it has no address");
        return ERR_NOT_FOUND;
    }
    const struct addrinfo *best = found;
    for (const struct addrinfo *at = found; found->ai_next && at; at = at->ai_next) {
        if (takes_connections(at)) {
            best = at;
            break;
        }
    }
    t->addr.len = best->ai_addrlen;
    memcpy(&t->addr.sock, best->ai_addr, best->ai_addrlen);
    freeaddrinfo(found);
    return OK;
}

#include "net/tcp.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifndef IP_LOCAL_PORT_RANGE /* newer than the oldest headers that we build with */
#define IP_LOCAL_PORT_RANGE 51
#endif
#define IN_USE_TRIES 40 /* an io_uring process lets go of its port some 12 ms after it has ended */
#define IN_USE_PAUSE_MS 25
#define FAST_OPEN_QUEUE 256

static void set_int(int fd, int level, int name, int value)
{
    /* options are wishes: a kernel that does not know one leaves a working socket */
    (void)!setsockopt(fd, level, name, &value, sizeof value);
}

static void set_options(int fd, int family, const struct tcp_options *o)
{
    if (o->send_buffer_bytes)
        set_int(fd, SOL_SOCKET, SO_SNDBUF, (int)o->send_buffer_bytes);
    if (o->recv_buffer_bytes)
        set_int(fd, SOL_SOCKET, SO_RCVBUF, (int)o->recv_buffer_bytes);
    if (family == AF_UNIX)
        return;
    if (o->nodelay)
        set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (o->keepalive) {
        set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
        set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, (int)((o->keepalive_idle_ms + 999) / 1000));
    }
    if (o->congestion)
        (void)!setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, o->congestion, (socklen_t)strlen(o->congestion));
}

static int new_socket(int family)
{
    return socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

bool tcp_congestion_known(const char *name)
{
    int fd = new_socket(AF_INET);
    if (fd < 0)
        return false;
    bool known = setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, (socklen_t)strlen(name)) == 0;
    close(fd);
    return known;
}

static int bound_socket(const struct addr *at, bool reuse_port)
{
    int fd = new_socket(at->sock.any.sa_family);
    if (fd < 0)
        return -1;
    if (at->sock.any.sa_family != AF_UNIX) {
        set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
        if (reuse_port)
            set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    }
    if (at->sock.any.sa_family == AF_INET6)
        set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, !IN6_IS_ADDR_UNSPECIFIED(&at->sock.v6.sin6_addr));
    if (bind(fd, &at->sock.any, at->len) == 0)
        return fd;
    int why = errno;
    close(fd);
    errno = why;
    return -1;
}

/* Does anybody answer on that unix socket? If not, its file is a leftover and goes. What is no socket stays:
 * connecting to it is refused just the same. */
static void unlink_leftover(const struct addr *at)
{
    struct stat s;
    if (lstat(at->sock.local.sun_path, &s) < 0 || !S_ISSOCK(s.st_mode))
        return;
    int fd = new_socket(AF_UNIX);
    if (fd < 0)
        return;
    if (connect(fd, &at->sock.any, at->len) < 0 && errno == ECONNREFUSED)
        unlink(at->sock.local.sun_path);
    close(fd);
}

/* With SO_REUSEPORT the kernel lets a second weir of the same user take half of the connections in silence.
 * Binding once without it tells whether anybody else is there. */
static int probe_alone(const struct addr *at)
{
    for (int i = 0;; i++) {
        if (at->sock.any.sa_family == AF_UNIX)
            unlink_leftover(at);
        int fd = bound_socket(at, false);
        if (fd >= 0 || errno != EADDRINUSE || i == IN_USE_TRIES)
            return fd;
        nanosleep(&(struct timespec){ 0, IN_USE_PAUSE_MS * 1000000L }, NULL);
    }
}

static err listen_on(int fd, const struct addr *at, const struct tcp_options *opts, struct diag *reterr)
{
    set_options(fd, at->sock.any.sa_family, opts);
    if (opts->fast_open && at->sock.any.sa_family != AF_UNIX)
        set_int(fd, IPPROTO_TCP, TCP_FASTOPEN, FAST_OPEN_QUEUE);
    if (listen(fd, opts->backlog ? opts->backlog : SOMAXCONN * 16) == 0)
        return OK;
    char text[ADDR_TEXT_BYTES_MAX];
    addr_print(at, text);
    diag_set(reterr, "cannot listen on %s: %s", text, strerror(errno));
    return err_from_errno(errno);
}

static err bind_failed(const struct addr *at, struct diag *reterr)
{
    char text[ADDR_TEXT_BYTES_MAX];
    int why = errno;
    addr_print(at, text);
    diag_set(reterr, "cannot listen on %s: %s", text, strerror(why));
    return err_from_errno(why);
}

static err listen_or_close(int fd, const struct addr *at, const struct tcp_options *opts, int *ret_fd,
                           struct diag *reterr)
{
    err e = listen_on(fd, at, opts, reterr);
    if (e)
        close(fd);
    else
        *ret_fd = fd;
    return e;
}

err tcp_listen(const struct addr *at, const struct tcp_options *opts, bool reuse_port, int *ret_fd,
               struct diag *reterr)
{
    int fd = probe_alone(at);
    if (fd < 0)
        return bind_failed(at, reterr);
    if (!reuse_port || at->sock.any.sa_family == AF_UNIX)
        return listen_or_close(fd, at, opts, ret_fd, reterr);

    struct addr bound = { .len = sizeof bound.sock };
    bool named = getsockname(fd, &bound.sock.any, &bound.len) == 0; /* port 0 has become one by now */
    close(fd);
    fd = bound_socket(named ? &bound : at, true);
    if (fd < 0)
        return bind_failed(at, reterr);
    return listen_or_close(fd, at, opts, ret_fd, reterr);
}

err tcp_listen_again(const struct addr *at, const struct tcp_options *opts, int first_fd, int *ret_fd,
                     struct diag *reterr)
{
    struct addr bound = { .len = sizeof bound.sock };
    int fd;
    if (at->sock.any.sa_family == AF_UNIX) {
        fd = dup(first_fd);
        if (fd < 0)
            return bind_failed(at, reterr);
        *ret_fd = fd;
        return OK;
    }
    if (getsockname(first_fd, &bound.sock.any, &bound.len) < 0)
        return bind_failed(at, reterr);
    fd = bound_socket(&bound, true);
    if (fd < 0)
        return bind_failed(at, reterr);
    return listen_or_close(fd, at, opts, ret_fd, reterr);
}

err tcp_connect(const struct addr *to, const struct tcp_options *opts, uint64_t deadline_us,
                struct io **ret_io)
{
    static const struct tcp_options plain = { .nodelay = true };
    int fd = new_socket(to->sock.any.sa_family);
    if (fd < 0)
        return err_from_errno(errno);
    if (!opts)
        opts = &plain;
    set_options(fd, to->sock.any.sa_family, opts);
    if (opts->fast_open && to->sock.any.sa_family != AF_UNIX)
        set_int(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1);
    if (opts->source && opts->source->sock.any.sa_family == to->sock.any.sa_family) {
        /* the port is chosen when it connects: each of them once a server, not once in all */
        set_int(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
        if (bind(fd, &opts->source->sock.any, opts->source->len) != 0) {
            err e = err_from_errno(errno);
            close(fd);
            return e;
        }
    }
    if (opts->port_max && to->sock.any.sa_family != AF_UNIX)
        set_int(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, (int)((uint32_t)opts->port_max << 16 | opts->port_min));
    return io_connect(fd, to, deadline_us, ret_io);
}

struct peer peer_from(const struct addr *a)
{
    struct peer p = { 0 };
    if (a->sock.any.sa_family == AF_INET) {
        p.family = 4;
        p.port = a->sock.v4.sin_port;
        memcpy(p.ip, &a->sock.v4.sin_addr, 4);
    } else if (a->sock.any.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&a->sock.v6.sin6_addr)) {
        p.family = 4;
        p.port = a->sock.v6.sin6_port;
        memcpy(p.ip, &a->sock.v6.sin6_addr.s6_addr[12], 4);
    } else if (a->sock.any.sa_family == AF_INET6) {
        p.family = 6;
        p.port = a->sock.v6.sin6_port;
        memcpy(p.ip, &a->sock.v6.sin6_addr, 16);
    } else {
        p.family = 1;
    }
    return p;
}

struct peer peer_of(int fd)
{
    struct addr a = { .len = sizeof a.sock };
    if (getpeername(fd, &a.sock.any, &a.len) < 0)
        return (struct peer){ 0 };
    return peer_from(&a);
}

struct addr peer_addr(const struct peer *p)
{
    struct addr a;
    a.len = 0;
    if (p->family == 4) {
        a.len = sizeof a.sock.v4;
        a.sock.v4 = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = p->port };
        memcpy(&a.sock.v4.sin_addr, p->ip, 4);
    } else if (p->family == 6) {
        a.len = sizeof a.sock.v6;
        a.sock.v6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = p->port };
        memcpy(&a.sock.v6.sin6_addr, p->ip, 16);
    } else if (p->family == 1) {
        a.len = sizeof a.sock.any.sa_family;
        a.sock.any.sa_family = AF_UNIX;
    }
    return a;
}

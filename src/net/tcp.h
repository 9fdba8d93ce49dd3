/* tcp: sockets with their options: listening and connecting, over IPv4, IPv6 and unix sockets. */
#pragma once
#include "base/addr.h"
#include "base/diag.h"
#include "base/err.h"
#include "core/io.h"

struct tcp_options {
    const char *congestion; /* TCP_CONGESTION by name; NULL: the system's */
    bool nodelay;           /* TCP_NODELAY */
    bool keepalive;         /* SO_KEEPALIVE, first probe after keepalive_idle_ms */
    bool fast_open;         /* TCP_FASTOPEN of a listener, TCP_FASTOPEN_CONNECT of a client (RFC 7413) */
    uint64_t keepalive_idle_ms;
    uint64_t send_buffer_bytes, recv_buffer_bytes; /* 0: the kernel's own sizing */
    int backlog;                                   /* of a listener; 0: the most the kernel allows */
    const struct addr
        *source; /* of a client: the address it speaks from, port 0; NULL: the kernel's choice */
    uint16_t port_min, port_max; /* of a client: what its port is chosen from, where the kernel can do that
                                    (Linux 6.3); 0: the system's range */
};

/* Can that name be used for TCP_CONGESTION here? For the configuration's check. */
bool tcp_congestion_known(const char *name);

/* A bound, listening, non-blocking socket. reuse_port: several sockets of this process share the address, one
 * a worker (SO_REUSEPORT); an address that somebody else listens on is ERR_IN_USE all the same. A unix socket
 * whose owner has died is replaced. Options are inherited by the connections accepted. Any thread; may take
 * up to a second when the address is just being let go. */
err tcp_listen(const struct addr *at, const struct tcp_options *opts, bool reuse_port, int *ret_fd,
               struct diag *reterr) CHECK_RESULT;
/* One more socket on an address that this process listens on already with reuse_port; of a unix socket, the
 * same one again. */
err tcp_listen_again(const struct addr *at, const struct tcp_options *opts, int first_fd, int *ret_fd,
                     struct diag *reterr) CHECK_RESULT;

/* From a fiber. opts may be NULL: TCP_NODELAY and nothing else. */
err tcp_connect(const struct addr *to, const struct tcp_options *opts, uint64_t deadline_us,
                struct io **ret_io) CHECK_RESULT;

/* The peer's address as it fits beside 100,000 idle connections. */
struct peer {
    uint8_t family; /* 4, 6, 1: unix, 0: not known yet */
    uint8_t ip[16];
    uint16_t port;
};
/* getpeername of a socket, once; ::ffff:a.b.c.d becomes IPv4. */
struct peer peer_of(int fd);
struct peer peer_from(const struct addr *a);
struct addr peer_addr(const struct peer *p);

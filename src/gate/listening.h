/* listening: what a generation makes of each of its listeners on one worker: which service a TCP or UDP
 * listener is for, whose PROXY header is believed, what is counted. Part of a gate: opened and closed with
 * it, immutable, that worker only. */
#pragma once
#include "core/metrics.h"
#include "gate/gate_conf.h"

struct cidr_set;
struct gate;
struct quic_tls;
struct ssl_ctx_st;
struct service;
struct tls_counts;
struct tls_listener;

/*    index               name                    type              help */
#define TCP_METRIC_LIST(X)                                                                            \
    X(TCP_CONNECTIONS, "connections_total", METRIC_COUNTER, "Connections taken from clients")         \
    X(TCP_OPEN, "connections", METRIC_GAUGE, "Of those, open now")                                    \
    X(TCP_FAILURES, "failures_total", METRIC_COUNTER, "Connections that got no server, or were cut")  \
    X(TCP_RETRIES, "retries_total", METRIC_COUNTER, "Further servers tried for a connection")         \
    X(TCP_REFUSED, "refused_total", METRIC_COUNTER,                                                   \
      "Connections of peers whose PROXY header is not trusted")                                       \
    X(TCP_RECEIVED, "received_bytes_total", METRIC_COUNTER, "Bytes from clients to servers")          \
    X(TCP_SENT, "sent_bytes_total", METRIC_COUNTER, "Bytes from servers to clients")                  \
    X(TCP_CONNECT, "connect_seconds", METRIC_HISTOGRAM, "From a client's connection to its server's") \
    X(TCP_SECONDS, "connection_seconds", METRIC_HISTOGRAM, "How long connections lived")

#define UDP_METRIC_LIST(X)                                                                           \
    X(UDP_SESSIONS, "sessions_total", METRIC_COUNTER, "Sessions begun")                              \
    X(UDP_OPEN, "sessions", METRIC_GAUGE, "Of those, open now")                                      \
    X(UDP_FAILURES, "failures_total", METRIC_COUNTER,                                                \
      "Sessions that got no server, or whose server was gone")                                       \
    X(UDP_RECEIVED, "received_datagrams_total", METRIC_COUNTER, "Datagrams from clients to servers") \
    X(UDP_RECEIVED_BYTES, "received_bytes_total", METRIC_COUNTER, "Bytes in them")                   \
    X(UDP_SENT, "sent_datagrams_total", METRIC_COUNTER, "Datagrams from servers to clients")         \
    X(UDP_SENT_BYTES, "sent_bytes_total", METRIC_COUNTER, "Bytes in them")                           \
    X(UDP_DROPPED, "dropped_datagrams_total", METRIC_COUNTER,                                        \
      "Datagrams dropped: no room for another session, no server, or a full socket")

#define X(index, name, type, help) index,
enum tcp_metric { TCP_METRIC_LIST(X) TCP_METRICS };
enum udp_metric { UDP_METRIC_LIST(X) UDP_METRICS };
#undef X

struct listening {
    const struct listen_conf *conf;
    enum listen_kind kind;
    struct tls_listener *tls;        /* NULL: in the clear */
    struct tls_counts *tls_counts;   /* with tls */
    struct service *service;         /* of LISTEN_TCP and LISTEN_UDP */
    struct cidr_set *proxies;        /* who is believed; NULL: no PROXY protocol here */
    struct quic_tls *quic_tls;       /* of HTTP/3; NULL: none */
    struct ssl_ctx_st *quic_context; /* what quic_tls has its certificates from */
    char alt_svc[48];                /* what answers over TCP say; empty: nothing */
    uint64_t idle_us;
    struct metric_instance *metrics; /* of LISTEN_TCP and LISTEN_UDP */
    struct metric_cells *cells;
    char text[ADDR_TEXT_BYTES_MAX]; /* of the address, as configured */
};

/* On failure what was opened is still to be closed. */
err listening_open(struct gate *g, struct diag *reterr) CHECK_RESULT;
void listening_close(struct gate *g);
/* That the connection fd came to, by its local address. NULL: none of this generation's. */
const struct listening *listening_of(const struct gate *g, int fd);
/* How HTTP/2 is spoken on it; NULL: not at all. */
const struct http2_conf *listening_http2(const struct gate *g, int fd);
/* NULL: this generation does not listen there (any more). */
struct listening *listening_find(const struct gate *g, const struct addr *at, enum listen_kind kind);

/* What to do with a connection of that peer. */
enum listening_peer { LISTENING_PLAIN, LISTENING_PROXIED, LISTENING_REFUSED };
enum listening_peer listening_judge(const struct listening *l, const struct addr *peer);

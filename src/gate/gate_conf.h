/* gate_conf: the configuration's root, as structs. The tables that fill them are in gate_conf.c; the manual's
 * reference comes from there. A loaded one is immutable and lives in its generation's arena. Any thread. */
#pragma once
#include "core/conf.h"
#include "net/api_conf.h"

/* TCP options that a listener and a service both have. */
struct tcp_conf {
    struct bytes congestion; /* "bbr", "reno", "cubic"; empty: the system's */
    bool nodelay;
    bool keepalive;
    uint64_t keepalive_idle_ms;
    bool fast_open;
    uint64_t send_buffer_bytes, recv_buffer_bytes; /* 0: the kernel decides */
};

/* What to do with peers that are not trusted to say who the client is. */
enum proxy_others { PROXY_OTHERS_REFUSE, PROXY_OTHERS_IGNORE };

struct proxy_protocol_conf {
    struct conf_list from; /* struct bytes, for base/cidr.h */
    int others;            /* enum proxy_others */
};

#define LISTEN_IDLE_AUTO CONF_UINT_WORD(0)

struct listen_conf {
    int own; /* enum listen_kind, from LISTEN_RESP on: one of weir's own, not of the list; else 0 */
    struct addr address;
    struct conf_mark mark;
    int64_t backlog;
    struct tcp_conf tcp;
    struct bytes tcp_service, udp_service;      /* at most one; none: HTTP */
    struct proxy_protocol_conf *proxy_protocol; /* NULL: none is expected */
    struct tls_listen_conf *tls;                /* NULL: in the clear */
    struct http2_conf *http2;                   /* NULL: off; the clients', if it says nothing */
    struct http3_conf *http3;                   /* NULL: not over UDP */
    int64_t connections_max;                    /* of tcp, of one worker */
    int64_t sessions_max;                       /* of udp, of one worker */
    int64_t responses;                          /* of udp: datagrams that answer one; 0: not known */
    uint64_t idle_timeout_ms;                   /* of tcp and udp; or LISTEN_IDLE_AUTO */
};

struct http2_conf;
struct http3_conf;

/* LISTEN_HTTP3: the UDP side of one for HTTP; no listen_conf is only that. LISTEN_RESP: the ledger's, for
 * clients of Redis. The last two: those of the control worker (gate/control_listener.h). */
enum listen_kind {
    LISTEN_HTTP,
    LISTEN_TCP,
    LISTEN_UDP,
    LISTEN_HTTP3,
    LISTEN_RESP,
    LISTEN_ADMIN,
    LISTEN_LEDGER
};
static inline enum listen_kind listen_kind(const struct listen_conf *l)
{
    if (l->own)
        return (enum listen_kind)l->own;
    return l->tcp_service.len ? LISTEN_TCP : l->udp_service.len ? LISTEN_UDP : LISTEN_HTTP;
}

/* What counts as a client that left while its answer is waited for. */
enum gone_mode { GONE_PROBE, GONE_ENDED, GONE_OFF };

/* What one client may cost. */
struct client_conf {
    uint64_t line_bytes_max, head_bytes_max, body_bytes_max;
    int64_t fields_max;
    uint64_t head_timeout_ms, body_timeout_ms, idle_timeout_ms, write_timeout_ms;
    int64_t connections_max;  /* of one worker */
    int64_t requests_max;     /* of one connection; 0: no bound */
    int cancel_when_gone;     /* enum gone_mode */
    struct http2_conf *http2; /* NULL: off (gate/http2_conf.h) */
};

#define PRIORITIES_MAX 16

struct server_conf {
    struct bytes address; /* an address, or a name with a port */
    int64_t weight;
    int64_t requests_max; /* 0: the service's */
    int64_t priority;     /* 0: asked first */
    struct bytes zone;    /* empty: none */
};

/* What a server gets that came back. */
struct slow_start_conf {
    uint64_t over_ms;
    double from; /* share of its weight in the beginning */
};

enum service_protocol { SERVICE_HTTP1, SERVICE_HTTP2 };
enum upstream_mode { UPSTREAM_KEEPALIVE, UPSTREAM_PIPELINED, UPSTREAM_CLOSE };

struct service_conf {
    struct bytes name;
    struct conf_mark mark;
    struct conf_list servers; /* struct server_conf */
    struct conf_module balance;
    struct slow_start_conf *slow_start; /* NULL: off */
    double spill_below;                 /* share of a priority's servers that have to be well */
    double panic;                       /* with fewer well than that all are used; 0: when none is */
    int protocol;                       /* enum service_protocol: what its servers speak */
    int64_t streams_max;                /* of SERVICE_HTTP2: requests at a time on one connection */
    uint64_t ping_interval_ms;          /* of SERVICE_HTTP2 */
    int upstream;                       /* enum upstream_mode */
    int64_t pipeline_max;               /* requests in flight on one shared connection */
    int64_t requests_max;               /* in flight at one server, over all workers; 0: no bound */
    struct queue_conf *queue;           /* who waits for a place there; NULL: nobody */
    int64_t connections_max;            /* to one server, of one worker */
    int64_t idle_max;                   /* kept for reuse, to one server, of one worker */
    int64_t waiting_max;                /* requests waiting for a connection, of one worker */
    uint64_t wait_timeout_ms, connect_timeout_ms, first_byte_timeout_ms, idle_timeout_ms, timeout_ms;
    int64_t tries_max;        /* servers asked for one request, where nothing was sent or it is safe */
    struct retry_conf *retry; /* NULL: tries_max alone */
    struct hedge_conf *hedge; /* NULL: none */
    struct bytes host;        /* the Host field sent; empty: the client's own */
    int proxy_protocol;       /* enum proxy_protocol_version: what its servers get */
    struct tcp_conf tcp;
    struct tls_service_conf *tls; /* NULL: in the clear */
    struct conf_list breakers;    /* struct service_breaker_conf */
    struct conf_list modules;     /* service modules: health_check ... */
};

struct priority_conf;
struct websocket_conf;

struct route_conf {
    struct bytes match; /* its first match as one text: its name in metrics and logs, the same over reloads */
    struct conf_mark mark;
    struct conf_list matches;         /* struct match_conf */
    struct bytes service;             /* empty: a filter answers, or chooses one */
    struct retry_conf *retry;         /* goes before the service's; NULL: that one */
    struct priority_conf *priority;   /* NULL: normal */
    struct websocket_conf *websocket; /* NULL: refused */
    struct conf_list filters;         /* struct conf_module, in the order of the registry */
};

struct access_log_conf {
    struct bytes path;   /* "stdout", a path, or "syslog..." */
    struct bytes format; /* "json", "common", "combined", or a pattern */
    double sample;       /* 0 to 1 */
    int64_t errors;      /* lowest status that is one */
    uint64_t slow_ms;    /* CONF_MS_OFF: nothing is slow */
    int facility;        /* of syslog */
    uint64_t flush_interval_ms;
};

struct upgrade_conf {
    uint64_t start_timeout_ms, drain_timeout_ms;
};

#define WORKERS_AUTO CONF_INT_WORD(0)

struct weight_of_conf {
    struct bytes name; /* of a request class */
    int64_t weight;
};

struct gate_conf {
    struct conf_list listen;            /* struct listen_conf */
    bool listen_http2;                  /* worked out: one of them says how it speaks HTTP/2 */
    struct api_conf *admin;             /* NULL: none */
    int64_t workers;                    /* WORKERS_AUTO, or how many */
    struct access_log_conf *access_log; /* NULL: off */
    struct client_conf *client;
    uint64_t drain_timeout_ms;
    struct upgrade_conf *upgrade;
    struct bytes state_dir;                       /* "auto", "off", or a path */
    struct bytes pid_file;                        /* empty: none */
    struct trusted_proxies_conf *trusted_proxies; /* NULL: nobody */
    bool via, x_forwarded, forwarded, request_id;
    struct ledger_conf *ledger; /* NULL: none */
    struct conf_list routes;    /* struct route_conf */
    struct conf_list services;  /* struct service_conf */
    struct conf_list weight_of; /* struct weight_of_conf */
};

extern const struct conf_struct gate_conf_struct;

struct filter;
struct balancer;
struct service_module;
/* Tells the tables which modules there are; once, before anything is parsed. */
void gate_conf_modules(const struct filter *const *filters, const struct balancer *const *balancers,
                       const struct service_module *const *services);

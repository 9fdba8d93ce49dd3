#include "gate/listening.h"

#include "base/cidr.h"
#include "base/mem.h"
#include "gate/alt_svc.h"
#include "gate/gate.h"
#include "gate/http3_listen.h"
#include "gate/tls_counts.h"
#include "net/tls_conf.h"

#define TCP_IDLE_MS (10 * 60 * 1000)
#define UDP_IDLE_MS (30 * 1000)

static const struct metric_def tcp_defs[] = {
#define X(index, name, type, help) { name, type, help },
    TCP_METRIC_LIST(X)
#undef X
};
static const struct metric_def udp_defs[] = {
#define X(index, name, type, help) { name, type, help },
    UDP_METRIC_LIST(X)
#undef X
};
static const char *const labels[] = { "listen", "service", NULL };
static const struct metric_group tcp_group = { "tcp", tcp_defs, TCP_METRICS, labels };
static const struct metric_group udp_group = { "udp", udp_defs, UDP_METRICS, labels };

static err trust(struct listening *l, const struct conf_list *from, struct diag *reterr)
{
    struct cidr_list list = CIDR_LIST_EMPTY;
    err e = OK;
    for (size_t i = 0; !e && i < from->count; i++)
        e = cidr_list_add(&list, ((const struct bytes *)from->items)[i], 0, reterr);
    if (!e)
        e = cidr_set_build(&list, &l->proxies);
    cidr_list_close(&list);
    return e;
}

#if WEIR_HAVE_OPENSSL
static err tls_listening_open(struct listening *l)
{
    l->tls_counts = mem_get(sizeof *l->tls_counts);
    if (!l->tls_counts)
        return ERR_MEMORY;
    tls_counts_open(l->tls_counts, bytes_from(l->text), false);
    return OK;
}

static void tls_listening_close(struct listening *l)
{
    if (l->tls_counts)
        tls_counts_close(l->tls_counts);
    mem_free(l->tls_counts);
}
#else
static err tls_listening_open(struct listening *l)
{
    (void)l;
    return ERR_UNSUPPORTED;
}

static void tls_listening_close(struct listening *l)
{
    (void)l;
}
#endif

static err open_one(struct listening *l, struct gate *g, const struct listen_conf *conf, struct diag *reterr)
{
    l->conf = conf;
    l->kind = listen_kind(conf);
    addr_print(&conf->address, l->text);
    err e = conf->proxy_protocol ? trust(l, &conf->proxy_protocol->from, reterr) : OK;
    if (!e && l->tls)
        e = tls_listening_open(l);
#if WEIR_HAVE_NGTCP2
    if (!e && conf->http3) {
        alt_svc_open(l);
        g->says_alt_svc |= *l->alt_svc != 0;
        e = http3_listening_open(l, g->generation->conf, reterr);
    }
#endif
    bool tcp = l->kind == LISTEN_TCP;
    if (e || (!tcp && l->kind != LISTEN_UDP))
        return e;
    l->service = gate_service(g, tcp ? conf->tcp_service : conf->udp_service);
    uint64_t idle_ms = tcp ? TCP_IDLE_MS : UDP_IDLE_MS;
    if (conf->idle_timeout_ms != LISTEN_IDLE_AUTO)
        idle_ms = conf->idle_timeout_ms;
    l->idle_us = idle_ms * 1000;
    const struct bytes values[] = { bytes_from(l->text), l->service->name };
    e = metric_instance_open(tcp ? &tcp_group : &udp_group, values, &l->metrics);
    if (!e)
        l->cells = metric_cells(l->metrics, worker_index(worker_self()));
    return e;
}

static bool may_misdirect(const struct listen_conf *l)
{
    const struct tls_listen_conf *t = l->tls;
    return t && t->misdirected == TLS_MISDIRECTED_REFUSE &&
           t->certificates.count + (t->files.certificate.len > 0) + t->self_signed > 1;
}

err listening_open(struct gate *g, struct diag *reterr)
{
    const struct conf_list *list = &g->generation->listen;
    g->listening = mem_get((list->count + 1) * sizeof *g->listening);
    if (!g->listening)
        return ERR_MEMORY;
    for (size_t i = 0; i < list->count; i++) {
        g->listening_count = (unsigned)i + 1;
        g->listening[i].tls = g->generation->listen_tls[i];
        g->misdirects |= may_misdirect((const struct listen_conf *)list->items + i);
        err e = open_one(&g->listening[i], g, (const struct listen_conf *)list->items + i, reterr);
        if (e)
            return e;
    }
    return OK;
}

void listening_close(struct gate *g)
{
    for (unsigned i = 0; i < g->listening_count; i++) {
        cidr_set_free(g->listening[i].proxies);
        tls_listening_close(&g->listening[i]);
#if WEIR_HAVE_NGTCP2
        http3_listening_close(&g->listening[i]);
#endif
        metric_instance_free(g->listening[i].metrics);
    }
    mem_free(g->listening);
}

struct listening *listening_find(const struct gate *g, const struct addr *at, enum listen_kind kind)
{
    for (unsigned i = 0; g && i < g->listening_count; i++) {
        struct listening *l = &g->listening[i];
        if (l->kind == kind && addr_eq(&l->conf->address, at))
            return l;
    }
    return NULL;
}

static bool covers(const struct addr *listen, const struct addr *at)
{
    return addr_is_any(listen) && listen->sock.any.sa_family == at->sock.any.sa_family &&
           addr_port(listen) == addr_port(at);
}

const struct listening *listening_of(const struct gate *g, int fd)
{
    struct addr here = { .len = sizeof here.sock };
    const struct listening *found = NULL;
    if (fd < 0 || getsockname(fd, &here.sock.any, &here.len) < 0)
        return NULL;
    for (unsigned i = 0; i < g->listening_count; i++) {
        const struct listening *l = &g->listening[i];
        if (l->kind != LISTEN_HTTP)
            continue;
        if (addr_eq(&l->conf->address, &here))
            return l;
        if (covers(&l->conf->address, &here))
            found = l;
    }
    return found;
}

const struct http2_conf *listening_http2(const struct gate *g, int fd)
{
    const struct gate_conf *conf = g->generation->conf;
    const struct listening *l = conf->listen_http2 ? listening_of(g, fd) : NULL;
    return l ? l->conf->http2 : conf->client->http2;
}

/* Who may connect to a unix socket is said by its file's mode. */
enum listening_peer listening_judge(const struct listening *l, const struct addr *peer)
{
    if (!l->proxies)
        return LISTENING_PLAIN;
    if (l->conf->address.sock.any.sa_family == AF_UNIX || cidr_set_find(l->proxies, peer) != CIDR_NONE)
        return LISTENING_PROXIED;
    return l->conf->proxy_protocol->others == PROXY_OTHERS_REFUSE ? LISTENING_REFUSED : LISTENING_PLAIN;
}

#include "gate/listen_conf.h"

#include "base/cidr.h"
#include "gate/http2_conf.h"
#include "gate/http3_conf.h"
#include "ledger/ledger_conf.h"
#include "net/tcp.h"
#include "net/tls_conf.h"

#define RESP_KEEPALIVE_IDLE_MS 300000

#define AT(type, member) offsetof(struct type, member)

err tcp_conf_check(const struct tcp_conf *tcp, struct diag *reterr)
{
    if (tcp->congestion.len == 0 || tcp_congestion_known(tcp->congestion.ptr))
        return OK;
    diag_set(reterr,
             "this kernel has no congestion control \"%s\" (see net.ipv4.tcp_available_congestion_control)",
             tcp->congestion.ptr);
    return ERR_CONF;
}

static err listen_check(void *conf, struct diag *reterr)
{
    const struct listen_conf *l = conf;
    enum listen_kind kind = listen_kind(l);
    const char *wrong = NULL;
    if (l->tcp_service.len && l->udp_service.len)
        wrong = "tcp and udp: a listener is for one of them; name the address twice";
    else if (kind == LISTEN_UDP && l->address.sock.any.sa_family == AF_UNIX)
        wrong = "udp: a unix socket takes no datagrams here";
    else if (kind == LISTEN_UDP && l->proxy_protocol)
        wrong = "proxy_protocol: it is for connections, not for datagrams";
    else if (kind != LISTEN_HTTP && l->http2 && !conf_is_preset(l->http2->mark, l->mark))
        wrong = "http2: it is for a listener of HTTP";
    else if (l->http3 && kind != LISTEN_HTTP)
        wrong = "http3: it is for a listener of HTTP";
    else if (l->http3 && l->address.sock.any.sa_family == AF_UNIX)
        wrong = "http3: a unix socket takes no datagrams here";
    else if (l->http3 && !l->tls)
        wrong = "http3: it needs tls beside it";
    else if (l->http3 && l->tls->client_ca.len)
        wrong = "http3: clients are not asked for certificates over it, so not together with tls.client_ca";
#if !WEIR_HAVE_NGTCP2
    else if (l->http3)
        wrong = "http3: this weir was built without ngtcp2, nghttp3 and GnuTLS";
#endif
    else if (kind == LISTEN_UDP && l->tls)
        wrong = "tls: it is for connections, not for datagrams";
    if (wrong) {
        diag_set(reterr, "%s", wrong);
        return ERR_CONF;
    }
    return tcp_conf_check(&l->tcp, reterr);
}

/* Read once here, so that a mistake is said where it stands. */
static err proxy_protocol_check(void *conf, struct diag *reterr)
{
    const struct proxy_protocol_conf *p = conf;
    struct cidr_list list = CIDR_LIST_EMPTY;
    err e = OK;
    for (size_t i = 0; !e && i < p->from.count; i++)
        e = cidr_list_add(&list, ((const struct bytes *)p->from.items)[i], 0, reterr);
    cidr_list_close(&list);
    return e;
}

static const char *const others_words[] = { "refuse", "ignore", NULL };

static const struct conf_struct proxy_protocol_struct = {
    .name = "proxy_protocol",
    .size = sizeof(struct proxy_protocol_conf),
    .fields =
        (const struct conf_field[]){
            { .name = "from",
              .type = CONF_LIST,
              .offset = AT(proxy_protocol_conf, from),
              .item = CONF_TEXT,
              .required = true,
              .doc = "whose header is believed: addresses and ranges (`10.0.0.0/8`), `private`, `loopback`, "
                     "`all`, `file:/path`; on a unix socket everybody's is" },
            { .name = "others",
              .type = CONF_WORD,
              .offset = AT(proxy_protocol_conf, others),
              .preset = "refuse",
              .words = others_words,
              .doc = "connections of anybody else: `refuse` closes them, `ignore` takes them as they are, "
                     "without a header" },
            { 0 } },
    .check = proxy_protocol_check,
    .doc = "Connections begin with a PROXY header (version 1 or 2) that says who the client is.",
};

static const char *const idle_words[] = { "auto", NULL };

const struct conf_struct listen_conf_struct = {
    .name = "listen",
    .size = sizeof(struct listen_conf),
    .phrases = (const char *const[]){ "{address}", NULL },
    .fields =
        (const struct conf_field[]){
            { .name = "address",
              .type = CONF_ADDR,
              .offset = AT(listen_conf, address),
              .required = true,
              .doc = "where to listen: `10.0.0.1:80`, `[::1]:80`, `:8080` (all addresses), `unix:/path`" },
            { .name = "backlog",
              .type = CONF_INT,
              .offset = AT(listen_conf, backlog),
              .preset = "0",
              .max = 65535,
              .doc = "connections that may wait in the kernel to be accepted; 0: as many as it allows" },
            { .name = "tcp",
              .type = CONF_REF,
              .offset = AT(listen_conf, tcp_service),
              .ref = "services",
              .doc =
                  "a service that gets the connections as they are, whatever they carry, instead of HTTP" },
            { .name = "udp",
              .type = CONF_REF,
              .offset = AT(listen_conf, udp_service),
              .ref = "services",
              .doc = "a service that gets datagrams, instead of HTTP" },
            { .name = "proxy_protocol",
              .type = CONF_STRUCT,
              .offset = AT(listen_conf, proxy_protocol),
              .sub = &proxy_protocol_struct,
              .doc = "the PROXY protocol of a proxy in front" },
            { .name = "tls",
              .type = CONF_STRUCT,
              .offset = AT(listen_conf, tls),
              .sub = &tls_listen_struct,
              .doc = "speaks TLS: HTTPS" },
            { .name = "http2",
              .type = CONF_STRUCT,
              .offset = AT(listen_conf, http2),
              .preset = WEIR_HAVE_NGHTTP2 ? "on" : NULL,
              .sub = &http2_struct,
              .doc = "HTTP/2 here, or `off`; not said: as `client: {http2: ...}` has it" },
            { .name = "http3",
              .type = CONF_STRUCT,
              .offset = AT(listen_conf, http3),
              .sub = &http3_conf_struct,
              .doc = "`on`: HTTP/3 as well, on the same port over UDP" },
            { .name = "connections_max",
              .type = CONF_INT,
              .offset = AT(listen_conf, connections_max),
              .preset = "100000",
              .min = 1,
              .max = 10000000,
              .doc = "of `tcp`: open connections of one worker; more wait in the kernel's queue" },
            { .name = "sessions_max",
              .type = CONF_INT,
              .offset = AT(listen_conf, sessions_max),
              .preset = "16384",
              .min = 1,
              .max = 1000000,
              .doc = "of `udp`: clients of one worker at a time; datagrams of more are dropped" },
            { .name = "responses",
              .type = CONF_INT,
              .offset = AT(listen_conf, responses),
              .preset = "0",
              .max = 1000000,
              .doc = "of `udp`: datagrams that answer one of a client's (DNS: 1); after the last one the "
                     "session is "
                     "over. 0: not known, it ends when it is idle" },
            { .name = "idle_timeout",
              .type = CONF_MS,
              .offset = AT(listen_conf, idle_timeout_ms),
              .preset = "auto",
              .min = 1,
              .words = idle_words,
              .doc =
                  "of `tcp` and `udp`: a connection or session in which nothing moves is closed after that; "
                  "`auto`: 10m and 30s" },
            TCP_CONF_FIELDS(AT(listen_conf, tcp)),
            { 0 } },
    .check = listen_check,
    .mark_offset = AT(listen_conf, mark),
    .doc = "An address that takes clients.",
};

/* ---- weir's own ---- */

static void add_own(struct conf_list *list, enum listen_kind kind, const struct addr *at,
                    struct tls_listen_conf *tls)
{
    struct listen_conf *l = (struct listen_conf *)list->items + list->count++;
    *l = (struct listen_conf){
        .own = (int)kind,
        .address = *at,
        .tls = tls,
        .tcp = { .nodelay = true, .keepalive = true, .keepalive_idle_ms = RESP_KEEPALIVE_IDLE_MS },
    };
    if (tls)
        l->mark = tls->mark;
}

err listen_conf_all(const struct gate_conf *conf, struct arena *a, struct conf_list *ret)
{
    const struct conf_list *said = &conf->listen;
    const struct ledger_conf *ledger = conf->ledger;
    *ret = (struct conf_list){ .items = arena_get(a, (said->count + 3) * sizeof(struct listen_conf)),
                               .count = said->count };
    if (!ret->items)
        return ERR_MEMORY;
    if (said->count)
        memcpy(ret->items, said->items, said->count * sizeof(struct listen_conf));
    if (ledger && ledger->listen.len)
        add_own(ret, LISTEN_RESP, &ledger->listen, ledger->tls);
    if (conf->admin)
        add_own(ret, LISTEN_ADMIN, &conf->admin->address, conf->admin->tls);
    if (ledger && ledger->http)
        add_own(ret, LISTEN_LEDGER, &ledger->http->address, ledger->http->tls);
    return OK;
}

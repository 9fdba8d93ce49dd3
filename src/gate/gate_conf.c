#include "gate/gate_conf.h"

#include "gate/access_log_format.h"
#include "gate/admin_conf.h"
#include "gate/client_conf.h"
#include "gate/filter.h"
#include "gate/hedge.h"
#include "gate/http2_conf.h"
#include "gate/listen_conf.h"
#include "gate/pick.h"
#include "gate/priority.h"
#include "gate/queue.h"
#include "gate/retry.h"
#include "gate/route_match.h"
#include "gate/service.h"
#include "gate/service_breaker.h"
#include "net/tls_conf.h"
#include "gate/trusted_proxies.h"
#include "gate/websocket.h"
#include "ledger/ledger_conf.h"

/* What is kept over reloads is found by names that it is a part of (upstream.c, shared.c). */
#define SERVICE_NAME_BYTES_MAX 200

/* Classes are looked through one by one. */
#define CLASSES_MAX 64

#define AT(type, member) offsetof(struct type, member)

/* The registry's modules as the parser wants them; set once at start by gate_conf_modules. */
static const struct conf_struct *filter_modules[64];
static const struct conf_struct *balancer_modules[64];
static const struct conf_struct *service_modules[64];
static const struct filter *const *filters;

/* ---- services ---- */

static const struct conf_struct server_struct = {
    .name = "server",
    .size = sizeof(struct server_conf),
    .phrases = (const char *const[]){ "{address}", NULL },
    .fields =
        (const struct conf_field[]){
            { .name = "address",
              .type = CONF_TEXT,
              .offset = AT(server_conf, address),
              .required = true,
              .doc = "`10.0.0.1:80`, `[::1]:80`, `unix:/path`, or `name:80` "
                     "(looked up when the file is loaded)" },
            { .name = "weight",
              .type = CONF_INT,
              .offset = AT(server_conf, weight),
              .preset = "1",
              .min = 1,
              .max = 1000,
              .doc = "share of the requests, against the other servers" },
            { .name = "priority",
              .type = CONF_INT,
              .offset = AT(server_conf, priority),
              .preset = "0",
              .max = PRIORITIES_MAX - 1,
              .doc = "0: asked first; higher ones when too few of the lower are well" },
            { .name = "zone",
              .type = CONF_TEXT,
              .offset = AT(server_conf, zone),
              .doc = "where it stands, for `balance: zone`" },
            { .name = "requests_max",
              .type = CONF_INT,
              .offset = AT(server_conf, requests_max),
              .preset = "0",
              .max = 1000000,
              .doc = "in flight at this server; 0: as the service says" },
            { 0 } },
    .doc = "One server of a service.",
};

static const char *const protocol_words[] = { "http1", "http2", NULL };
static const char *const upstream_words[] = { "keepalive", "pipelined", "close", NULL };

static const char *const proxy_protocol_words[] = { "off", "v1", "v2", NULL };

static bool is_bounded(const struct service_conf *s)
{
    const struct server_conf *servers = s->servers.items;
    bool bounded = s->requests_max > 0;
    for (size_t i = 0; i < s->servers.count; i++)
        bounded |= servers[i].requests_max > 0;
    return bounded;
}

static err service_check(void *conf, struct diag *reterr)
{
    const struct service_conf *s = conf;
    if (s->name.len > SERVICE_NAME_BYTES_MAX) {
        diag_set(reterr, "the name of a service is at most %d bytes long", SERVICE_NAME_BYTES_MAX);
        return ERR_CONF;
    }
    if (s->servers.count == 0) {
        diag_set(reterr, "a service needs at least one server");
        return ERR_CONF;
    }
    if (s->queue && !is_bounded(s)) {
        diag_set(reterr, "queue: there is nothing to wait for without requests_max");
        return ERR_CONF;
    }
    const err e = service_breakers_check(&s->breakers, reterr);
    if (e)
        return e;
    if (s->protocol == SERVICE_HTTP2) {
        const char *wrong = NULL;
        if (s->tls)
            s->tls->http2 = true;
        if (!WEIR_HAVE_NGHTTP2)
            wrong = "protocol: this weir was built without libnghttp2 and speaks no HTTP/2";
        else if (s->upstream != UPSTREAM_KEEPALIVE)
            wrong = "upstream: requests over http2 share a connection anyway";
        else if (s->proxy_protocol)
            wrong =
                "proxy_protocol: a connection of http2 is for all clients, and that header is one client's";
        if (wrong) {
            diag_set(reterr, "%s", wrong);
            return ERR_CONF;
        }
    }
    if (s->hedge && s->upstream == UPSTREAM_PIPELINED) {
        diag_set(reterr, "hedge: giving up one request of a pipelined connection would end those behind it");
        return ERR_CONF;
    }
    return tcp_conf_check(&s->tcp, reterr);
}

static const struct conf_struct service_struct = {
    .name = "service",
    .size = sizeof(struct service_conf),
    .fields =
        (const struct conf_field[]){
            { .name = "servers",
              .type = CONF_LIST,
              .offset = AT(service_conf, servers),
              .required = true,
              .sub = &server_struct,
              .doc = "who can answer" },
            { .name = "balance",
              .type = CONF_MODULE,
              .offset = AT(service_conf, balance),
              .preset = "round_robin",
              .modules = balancer_modules,
              .doc = "how to choose among them" },
            { .name = "slow_start",
              .type = CONF_STRUCT,
              .offset = AT(service_conf, slow_start),
              .sub = &slow_start_struct,
              .doc = "what a server gets that came back, in any way of balancing; off when not said" },
            { .name = "spill_below",
              .type = CONF_PERCENT,
              .offset = AT(service_conf, spill_below),
              .preset = "70%",
              .min = 0.01,
              .max = 1,
              .doc = "with a smaller share of its servers well, a priority gives requests to the next" },
            { .name = "panic",
              .type = CONF_PERCENT,
              .offset = AT(service_conf, panic),
              .preset = "0%",
              .doc = "with a smaller share of the servers well, all are used; 0%: only when none is" },
            { .name = "protocol",
              .type = CONF_WORD,
              .offset = AT(service_conf, protocol),
              .preset = "http1",
              .words = protocol_words,
              .doc = "what its servers speak: `http1`, or `http2`: one connection for all requests of a "
                     "worker" },
            { .name = "streams_max",
              .type = CONF_INT,
              .offset = AT(service_conf, streams_max),
              .preset = "250",
              .min = 1,
              .max = 10000,
              .doc = "of `http2`: requests at a time on one connection, if its server takes as many; then "
                     "there is "
                     "another one, up to connections_max" },
            { .name = "ping_interval",
              .type = CONF_MS,
              .offset = AT(service_conf, ping_interval_ms),
              .preset = "10s",
              .min = 100,
              .max = 3600000,
              .doc = "of `http2`: a connection that is silent for so long while answers are waited for is "
                     "asked with a "
                     "PING, and lost when nothing comes for as long again" },
            { .name = "upstream",
              .type = CONF_WORD,
              .offset = AT(service_conf, upstream),
              .preset = "keepalive",
              .words = upstream_words,
              .doc = "`keepalive`: connections are reused, one request at a time; `pipelined`: idempotent "
                     "requests "
                     "share a connection back to back, for servers that promise to take it (RFC 9112 9.3.2); "
                     "`close`: one request each" },
            { .name = "pipeline_max",
              .type = CONF_INT,
              .offset = AT(service_conf, pipeline_max),
              .preset = "64",
              .min = 1,
              .max = 1000,
              .doc = "requests in flight on one shared connection" },
            { .name = "requests_max",
              .type = CONF_INT,
              .offset = AT(service_conf, requests_max),
              .preset = "0",
              .max = 1000000,
              .doc = "in flight at one server, over all workers; 0: no bound" },
            { .name = "queue",
              .type = CONF_STRUCT,
              .offset = AT(service_conf, queue),
              .sub = &queue_struct,
              .doc = "where requests wait when all servers have requests_max in flight; without it they get "
                     "503" },
            { .name = "connections_max",
              .type = CONF_INT,
              .offset = AT(service_conf, connections_max),
              .preset = "1024",
              .min = 1,
              .max = 60000,
              .doc = "to one server, of one worker" },
            { .name = "idle_max",
              .type = CONF_INT,
              .offset = AT(service_conf, idle_max),
              .preset = "1024",
              .max = 60000,
              .doc = "connections kept for reuse, to one server, of one worker" },
            { .name = "waiting_max",
              .type = CONF_INT,
              .offset = AT(service_conf, waiting_max),
              .preset = "1024",
              .max = 1000000,
              .doc = "requests that may wait for a connection, to one server, of one worker (503)" },
            { .name = "wait_timeout",
              .type = CONF_MS,
              .offset = AT(service_conf, wait_timeout_ms),
              .preset = "1s",
              .doc = "how long they may wait (503)" },
            { .name = "connect_timeout",
              .type = CONF_MS,
              .offset = AT(service_conf, connect_timeout_ms),
              .preset = "1s",
              .min = 1,
              .doc = "to establish a connection (then another server is asked)" },
            { .name = "first_byte_timeout",
              .type = CONF_MS,
              .offset = AT(service_conf, first_byte_timeout_ms),
              .preset = "30s",
              .min = 1,
              .doc = "from the request to the answer's first byte (504)" },
            { .name = "idle_timeout",
              .type = CONF_MS,
              .offset = AT(service_conf, idle_timeout_ms),
              .preset = "50s",
              .min = 1,
              .doc = "an unused connection is closed after that, and a body may not pause longer; keep it "
                     "below the "
                     "servers' own" },
            { .name = "timeout",
              .type = CONF_MS,
              .offset = AT(service_conf, timeout_ms),
              .preset = "10m",
              .min = 1,
              .doc = "of the whole exchange, its body and further tries included (504)" },
            { .name = "tries_max",
              .type = CONF_INT,
              .offset = AT(service_conf, tries_max),
              .preset = "3",
              .min = 1,
              .max = 4,
              .doc =
                  "servers asked for one request: another one where nothing was sent, or where the method is "
                  "idempotent and nothing was answered; `retry` says more, and this is then not asked" },
            { .name = "retry",
              .type = CONF_STRUCT,
              .offset = AT(service_conf, retry),
              .sub = &retry_struct,
              .doc = "when a request is tried again, how often and how soon" },
            { .name = "hedge",
              .type = CONF_STRUCT,
              .offset = AT(service_conf, hedge),
              .sub = &hedge_struct,
              .doc = "a second try beside a slow first one" },
            { .name = "host",
              .type = CONF_TEXT,
              .offset = AT(service_conf, host),
              .doc = "the Host field that the servers get; the client's own when not said" },
            { .name = "proxy_protocol",
              .type = CONF_WORD,
              .offset = AT(service_conf, proxy_protocol),
              .preset = "off",
              .words = proxy_protocol_words,
              .doc =
                  "connections to the servers begin with a PROXY header of that version, `v1` or `v2`, which "
                  "says who the client is; each is then for one request only" },
            TCP_CONF_FIELDS(AT(service_conf, tcp)),
            TLS_SERVICE_FIELD(AT(service_conf, tls)),
            { .name = "circuit_breaker",
              .type = CONF_LIST,
              .offset = AT(service_conf, breakers),
              .sub = &service_breaker_struct,
              .doc = "refuses requests, or leaves servers out, while too many answers are errors" },
            { .name = "modules",
              .type = CONF_MODULES,
              .offset = AT(service_conf, modules),
              .modules = service_modules,
              .doc = "what watches over the servers" },
            { 0 } },
    .check = service_check,
    .mark_offset = AT(service_conf, mark),
    .doc = "Servers that can answer for one name.",
};

/* ---- routes ---- */

/* Without a service somebody on the way has to answer, or to choose one. */
static bool has_end(const struct route_conf *r)
{
    const struct conf_module *m = r->filters.items;
    for (size_t i = 0; i < r->filters.count; i++) {
        if (filters[m[i].index]->ends)
            return true;
    }
    return r->service.len != 0;
}

static err route_check(void *conf, struct diag *reterr)
{
    if (has_end(conf))
        return OK;
    diag_set(reterr, "\"service\" is missing in route, and no filter of it answers instead");
    return ERR_CONF;
}

static const struct conf_struct route_struct = {
    .name = "route",
    .size = sizeof(struct route_conf),
    .fields =
        (const struct conf_field[]){
            { .name = "match",
              .type = CONF_LIST,
              .offset = AT(route_conf, matches),
              .required = true,
              .sub = &match_conf_struct,
              .doc = "`/exact`, `/prefix/*`, `/users/{id}`, with a host in front if wanted: "
                     "`shop.example/api/*`; or "
                     "the long form; or several of them. The most specific route wins" },
            { .name = "service",
              .type = CONF_REF,
              .offset = AT(route_conf, service),
              .ref = "services",
              .doc = "who answers; may be missing where a filter answers instead" },
            { .name = "retry",
              .type = CONF_STRUCT,
              .offset = AT(route_conf, retry),
              .sub = &retry_struct,
              .doc = "goes before the service's; `0`: not at all" },
            { .name = "priority",
              .type = CONF_STRUCT,
              .offset = AT(route_conf, priority),
              .sub = &priority_struct,
              .doc = "how much its requests matter when not all can be served" },
            { .name = "websocket",
              .type = CONF_STRUCT,
              .offset = AT(route_conf, websocket),
              .preset = "on",
              .sub = &websocket_conf_struct,
              .doc = "how its WebSocket connections are kept; `off`: they are refused" },
            { .name = "filters",
              .type = CONF_MODULES,
              .offset = AT(route_conf, filters),
              .modules = filter_modules,
              .doc = "what happens on the way" },
            { 0 } },
    .check = route_check,
    .mark_offset = AT(route_conf, mark),
    .doc = "Which requests go to which service.",
};

/* ---- root ---- */

/* A listener that says nothing of HTTP/2 speaks it as the clients' settings say. */
static void take_http2(struct gate_conf *g, struct listen_conf *l)
{
    const bool said = !l->http2 || !conf_is_preset(l->http2->mark, l->mark);
    if (listen_kind(l) != LISTEN_HTTP)
        l->http2 = NULL;
    else if (said)
        g->listen_http2 = true;
    else
        l->http2 = g->client->http2;
}

static err root_check(void *conf, struct diag *reterr)
{
    struct gate_conf *g = conf;
    if (g->listen.count == 0) {
        diag_set(reterr, "listen: at least one address is needed");
        return ERR_CONF;
    }
    struct listen_conf *listen = g->listen.items;
    for (size_t i = 0; i < g->listen.count; i++)
        take_http2(g, &listen[i]);
    for (size_t i = 0; i < g->listen.count && g->routes.count == 0; i++) {
        if (listen_kind(&listen[i]) == LISTEN_HTTP) {
            diag_set(reterr, "routes: at least one is needed, as there is a listener that takes HTTP");
            return ERR_CONF;
        }
    }
    return OK;
}

static const struct conf_struct weight_of_struct = {
    .name = "weight_of",
    .size = sizeof(struct weight_of_conf),
    .phrases = (const char *const[]){ "{weight}", NULL },
    .fields = (const struct conf_field[]){ { .name = "weight",
                                             .type = CONF_INT,
                                             .offset = AT(weight_of_conf, weight),
                                             .required = true,
                                             .min = 1,
                                             .max = 10000,
                                             .doc = "how many ordinary requests it counts as" },
                                           { 0 } },
    .doc = "A class of requests.",
};

static const char *const workers_words[] = { "auto", NULL };

const struct conf_struct gate_conf_struct = {
    .name = "weir",
    .size = sizeof(struct gate_conf),
    .fields =
        (const struct conf_field[]){
            { .name = "listen",
              .type = CONF_LIST,
              .offset = AT(gate_conf, listen),
              .required = true,
              .sub = &listen_conf_struct,
              .doc = "where clients connect" },
            { .name = "admin",
              .type = CONF_STRUCT,
              .offset = AT(gate_conf, admin),
              .sub = &admin_conf_struct,
              .doc = "where operators ask: metrics, the API, `weir ctl`; keep it private" },
            { .name = "workers",
              .type = CONF_INT,
              .offset = AT(gate_conf, workers),
              .preset = "auto",
              .min = 1,
              .max = 256,
              .words = workers_words,
              .doc = "threads that serve; `auto`: one for each core that this process may use" },
            { .name = "access_log",
              .type = CONF_STRUCT,
              .offset = AT(gate_conf, access_log),
              .preset = "stdout",
              .sub = &access_log_struct,
              .doc = "one line for each exchange" },
            { .name = "client",
              .type = CONF_STRUCT,
              .offset = AT(gate_conf, client),
              .preset = "on",
              .sub = &client_conf_struct,
              .doc = "what one client may cost" },
            { .name = "drain_timeout",
              .type = CONF_MS,
              .offset = AT(gate_conf, drain_timeout_ms),
              .preset = "30s",
              .doc = "how long a stopping weir waits for exchanges to end" },
            { .name = "upgrade",
              .type = CONF_STRUCT,
              .offset = AT(gate_conf, upgrade),
              .preset = "on",
              .sub = &upgrade_conf_struct,
              .doc = "how another binary takes over" },
            { .name = "state_dir",
              .type = CONF_TEXT,
              .offset = AT(gate_conf, state_dir),
              .preset = "auto",
              .doc =
                  "where the last five configurations are kept; `auto`: what systemd gives, or /var/lib/weir "
                  "where that exists, else nowhere; `off`: nowhere" },
            { .name = "pid_file",
              .type = CONF_TEXT,
              .offset = AT(gate_conf, pid_file),
              .doc = "gets the process's number once it serves" },
            { .name = "trusted_proxies",
              .type = CONF_STRUCT,
              .offset = AT(gate_conf, trusted_proxies),
              .sub = &trusted_proxies_struct,
              .doc = "whose X-Forwarded-For or Forwarded says who the client is; nobody's when not said" },
            { .name = "via",
              .type = CONF_BOOL,
              .offset = AT(gate_conf, via),
              .preset = "true",
              .doc = "add to the Via field of requests (RFC 9110 7.6.3)" },
            { .name = "x_forwarded",
              .type = CONF_BOOL,
              .offset = AT(gate_conf, x_forwarded),
              .preset = "true",
              .doc = "add the client to X-Forwarded-For, set X-Forwarded-Proto and X-Forwarded-Host" },
            { .name = "forwarded",
              .type = CONF_BOOL,
              .offset = AT(gate_conf, forwarded),
              .preset = "false",
              .doc = "add to the Forwarded field (RFC 7239)" },
            { .name = "request_id",
              .type = CONF_BOOL,
              .offset = AT(gate_conf, request_id),
              .preset = "true",
              .doc = "pass on X-Request-Id: the client's when it is sane, else a new one; it is in the "
                     "access log" },
            { .name = "ledger",
              .type = CONF_STRUCT,
              .offset = AT(gate_conf, ledger),
              .sub = &ledger_conf_struct,
              .doc = "where stock, orders, queues, locks and sessions are kept; none when not said" },
            { .name = "routes",
              .type = CONF_LIST,
              .offset = AT(gate_conf, routes),
              .sub = &route_struct,
              .doc = "which requests go where" },
            { .name = "services",
              .type = CONF_MAP,
              .offset = AT(gate_conf, services),
              .sub = &service_struct,
              .doc = "the servers, by name" },
            { .name = "weight_of",
              .type = CONF_MAP,
              .offset = AT(gate_conf, weight_of),
              .sub = &weight_of_struct,
              .max = CLASSES_MAX,
              .doc =
                  "classes of requests, by name: how many ordinary ones each counts as (see request_class)" },
            { 0 } },
    .check = root_check,
    .doc = "The whole file.",
};

void gate_conf_modules(const struct filter *const *all_filters, const struct balancer *const *balancers,
                       const struct service_module *const *services)
{
    filters = all_filters;
    for (unsigned i = 0; filters[i]; i++)
        filter_modules[i] = &filters[i]->conf;
    for (unsigned i = 0; balancers[i]; i++)
        balancer_modules[i] = &balancers[i]->conf;
    for (unsigned i = 0; services[i]; i++)
        service_modules[i] = &services[i]->conf;
}

#include "base/mem.h"
#include "gate/filter.h"
#include "gate/gate_conf.h"
#include "gate/websocket.h"

#define AT(member) offsetof(struct websocket_conf, member)

static const char *const idle_words[] = { "auto", "off", NULL };

static err websocket_check(void *conf, struct diag *reterr)
{
    const struct websocket_conf *c = conf;
    if (c->ping_ms == CONF_MS_OFF || c->idle_timeout_ms == WEBSOCKET_IDLE_AUTO ||
        c->idle_timeout_ms == WEBSOCKET_IDLE_OFF || c->idle_timeout_ms > c->ping_ms)
        return OK;
    diag_set(reterr, "ping: a connection is closed after idle_timeout, before the first ping");
    return ERR_CONF;
}

const struct conf_struct websocket_conf_struct = {
    .name = "websocket",
    .size = sizeof(struct websocket_conf),
    .phrases = (const char *const[]){ "ping every {ping}", "up to {connections_max}",
                                      "up to {connections_max} ping every {ping}", NULL },
    .fields =
        (const struct conf_field[]){
            { .name = "ping",
              .type = CONF_MS,
              .offset = AT(ping_ms),
              .preset = "off",
              .min = 100,
              .max = 86400000,
              .words = conf_word_off,
              .doc = "a side that has said nothing for so long is sent a ping" },
            { .name = "pong_timeout",
              .type = CONF_MS,
              .offset = AT(pong_timeout_ms),
              .preset = "20s",
              .min = 100,
              .max = 86400000,
              .doc = "how long it may then still say nothing; it is closed with 1011, the other side with "
                     "1001" },
            { .name = "idle_timeout",
              .type = CONF_MS,
              .offset = AT(idle_timeout_ms),
              .preset = "auto",
              .min = 100,
              .words = idle_words,
              .doc = "a connection on which neither side has sent anything for so long (the gate's own pings "
                     "and "
                     "their answers aside) is closed with 1001; `auto`: the service's `idle_timeout`, or "
                     "`off` with "
                     "`ping`" },
            { .name = "close_timeout",
              .type = CONF_MS,
              .offset = AT(close_timeout_ms),
              .preset = "5s",
              .min = 10,
              .max = 600000,
              .doc = "from the first Close to the end of the connection, if the sides do not end it "
                     "themselves" },
            { .name = "connections_max",
              .type = CONF_INT,
              .offset = AT(connections_max),
              .preset = "0",
              .max = 1e9,
              .doc = "open connections of the route, over all workers (503 beyond); 0: no bound" },
            { .name = "message_bytes_max",
              .type = CONF_BYTES,
              .offset = AT(message_bytes_max),
              .preset = "0",
              .max = 1e15,
              .doc = "longest message, either way, as it passes (compressed, where the two agreed on that); "
                     "who sends "
                     "a longer one is closed with 1009; 0: no bound" },
            { .name = "origins",
              .type = CONF_LIST,
              .offset = AT(origins),
              .item = CONF_TEXT,
              .doc = "what a browser's `Origin` may be, like `https://shop.example` (403); none: anything. "
                     "Clients "
                     "that are no browsers send none and are let in" },
            { 0 } },
    .check = websocket_check,
    .mark_offset = AT(mark),
    .doc = "How WebSocket connections of a route are kept; `off`: they are refused.",
};

/* ---- of a route ---- */

static const struct metric_group metric_group = {
    .module = "websocket",
    .defs =
        (const struct metric_def[]){
#define X(index, name, type, help) { name, type, help },
            WEBSOCKET_METRIC_LIST(X)
#undef X
        },
    .count = WEBSOCKET_METRICS,
    .labels = (const char *const[]){ "route", NULL },
};

static const struct metric_group closes_group = {
    .module = "websocket",
    .defs = (const struct metric_def[]){ { "closes_total", METRIC_COUNTER,
                                           "Connections that ended, by the first Close's code" } },
    .count = 1,
    .labels = (const char *const[]){ "route", "code", NULL },
};

static const char *const close_names[] = {
#define X(id, code, sent, name) #code,
    WEBSOCKET_CODE_LIST(X)
#undef X
        "other"
};

static void route_free(struct websocket_route *r)
{
    metric_instance_free(r->metrics);
    for (unsigned i = 0; i < WEBSOCKET_CLOSES; i++)
        metric_instance_free(r->closes[i]);
    if (r->places)
        shared_put(r->places);
    mem_free(r);
}

static err open_metrics(struct websocket_route *r, struct bytes scope)
{
    const unsigned worker = worker_index(worker_self());
    err e = metric_instance_open(&metric_group, &scope, &r->metrics);
    if (e)
        return e;
    r->cells = metric_cells(r->metrics, worker);
    for (unsigned i = 0; i < WEBSOCKET_CLOSES; i++) {
        const struct bytes values[] = { scope, bytes_from(close_names[i]) };
        e = metric_instance_open(&closes_group, values, &r->closes[i]);
        if (e)
            return e;
        r->close_cells[i] = metric_cells(r->closes[i], worker);
    }
    return OK;
}

/* Found again after a reload, whatever the bound is then. */
static err open_places(struct websocket_route *r, struct bytes scope)
{
    struct arena a;
    arena_open(&a, &arena_heap, 1 << 20, NULL, 0);
    const struct bytes name = arena_print(&a, "websocket/1 %.*s", BYTES_ARG(scope));
    r->places = name.ptr ? shared_get(name, sizeof *r->places) : NULL;
    arena_close(&a);
    return r->places ? OK : ERR_MEMORY;
}

static err route_new(const struct websocket_conf *conf, struct bytes scope,
                     struct websocket_route **ret_route)
{
    struct websocket_route *r = mem_get(sizeof *r);
    if (!r)
        return ERR_MEMORY;
    r->conf = conf;
    err e = open_metrics(r, scope);
    if (!e && conf->connections_max)
        e = open_places(r, scope);
    if (e)
        route_free(r);
    else
        *ret_route = r;
    return e;
}

err websocket_route_open(const struct route_conf *conf, struct websocket_route **common,
                         struct websocket_route **ret_route)
{
    *ret_route = NULL;
    if (!conf->websocket)
        return OK;
    if (!conf_is_preset(conf->websocket->mark, conf->mark))
        return route_new(conf->websocket, conf->match, ret_route);
    if (!*common) {
        err e = route_new(conf->websocket, BYTES("*"), common);
        if (e)
            return e;
        (*common)->shared = true;
    }
    *ret_route = *common;
    return OK;
}

void websocket_route_close(struct websocket_route *r)
{
    if (r && !r->shared)
        route_free(r);
}

void websocket_common_close(struct websocket_route *r)
{
    if (r)
        route_free(r);
}

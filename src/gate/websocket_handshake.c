/* The opening handshake, seen from the middle: what a server would refuse is refused here, and what a client
 * would not take for an acceptance does not pass for one. */
#include "gate/gate.h"
#include "gate/websocket.h"

#define VERSION "13"

/* The only one of that name; empty: there is none, or there are several. */
static struct bytes only_field(const struct http_fields *fields, struct bytes name)
{
    struct bytes value = BYTES_NONE;
    unsigned count = 0;
    for (uint32_t i = 0; i < fields->count; i++) {
        const struct http_field *f = &fields->at[i];
        if (f->flags & FIELD_REMOVED || !bytes_eq_nocase(http_field_name(f), name))
            continue;
        value = http_field_value(f);
        count++;
    }
    return count == 1 ? value : BYTES_NONE;
}

static bool names_websocket(const struct http_fields *fields)
{
    const struct http_field *f = http_fields_get(fields, FIELD_UPGRADE);
    struct bytes rest = f ? http_field_value(f) : BYTES_NONE;
    struct bytes part;
    while (bytes_split(&rest, ',', &part)) {
        if (bytes_eq_nocase(bytes_trim(part), BYTES("websocket")))
            return true;
    }
    return false;
}

bool websocket_is_asked(const struct exchange *x)
{
    return x->request.upgrade && names_websocket(&x->request.fields);
}

/* ---- the request ---- */

static bool refuse(struct exchange *x, unsigned status, struct bytes words)
{
    const struct websocket_route *r = x->route->websocket;
    if (r)
        metric_inc(r->cells, WEBSOCKET_REFUSED);
    exchange_answer(x, status, BYTES("text/plain; charset=utf-8"), words, BYTES("websocket"));
    return false;
}

/* RFC 6455 4.4 */
static bool refuse_version(struct exchange *x)
{
    refuse(x, 426,
           BYTES("426 Upgrade Required: version " VERSION " of WebSocket is spoken here (RFC 6455)\n"));
    err e = http_fields_add(&x->response.fields, &x->arena, BYTES("Upgrade"), BYTES("websocket"));
    if (!e)
        e = http_fields_add(&x->response.fields, &x->arena, BYTES("Sec-WebSocket-Version"), BYTES(VERSION));
    (void)e; /* without room for them it goes out as it is */
    return false;
}

static bool refuse_place(struct exchange *x)
{
    refuse(
        x, 503,
        BYTES("503 Service Unavailable: as many WebSocket connections as may be are open on this route\n"));
    (void)!http_fields_add(&x->response.fields, &x->arena, BYTES("Retry-After"), BYTES("5"));
    return false;
}

static bool origin_is_allowed(const struct exchange *x, const struct websocket_conf *conf)
{
    const struct http_field *f = http_fields_get(&x->request.fields, FIELD_ORIGIN);
    const struct bytes *allowed = conf->origins.items;
    for (size_t i = 0; f && i < conf->origins.count; i++) {
        if (bytes_eq_nocase(allowed[i], http_field_value(f)))
            return true;
    }
    return !f || !conf->origins.count;
}

static void leave(struct exchange *x, void *arg)
{
    (void)x;
    _Atomic int64_t *places = arg;
    atomic_fetch_sub_explicit(places, 1, memory_order_relaxed);
}

static bool take_place(struct exchange *x, const struct websocket_route *r)
{
    if (!r->places)
        return true;
    if (atomic_fetch_add_explicit(r->places, 1, memory_order_relaxed) < r->conf->connections_max &&
        exchange_on_end(x, leave, r->places) == OK)
        return true;
    leave(x, r->places);
    return refuse_place(x);
}

bool websocket_admit(struct exchange *x)
{
    const struct http_request *q = &x->request;
    if (!x->route->websocket)
        return refuse(x, 403, BYTES("403 Forbidden: no WebSocket connections here\n"));
    if (q->method != HTTP_GET || q->framing != HTTP_BODY_NONE)
        return refuse(x, 400, BYTES("400 Bad Request: a WebSocket begins with a GET without a body\n"));
    if (!bytes_eq(only_field(&q->fields, BYTES("Sec-WebSocket-Version")), BYTES(VERSION)))
        return refuse_version(x);
    if (x->service->conf->protocol == SERVICE_HTTP2)
        return refuse(
            x, 501,
            BYTES("501 Not Implemented: these servers speak HTTP/2, WebSocket is passed on over HTTP/1.1\n"));
    if (!websocket_key_is_valid(only_field(&q->fields, BYTES("Sec-WebSocket-Key"))))
        return refuse(x, 400, BYTES("400 Bad Request: Sec-WebSocket-Key has to be 16 bytes in base64\n"));
    if (!origin_is_allowed(x, x->route->websocket->conf))
        return refuse(x, 403, BYTES("403 Forbidden: no WebSocket connections from this origin\n"));
    return take_place(x, x->route->websocket);
}

/* ---- the answer ---- */

static bool is_proven(const struct exchange *x)
{
    const struct http_response *a = &x->response;
    const struct http_field *upgrade = http_fields_get(&a->fields, FIELD_UPGRADE);
    char accept[WEBSOCKET_ACCEPT_BYTES];
    websocket_accept_of(only_field(&x->request.fields, BYTES("Sec-WebSocket-Key")), accept);
    return a->upgrade && upgrade && bytes_eq_nocase(http_field_value(upgrade), BYTES("websocket")) &&
           bytes_eq(only_field(&a->fields, BYTES("Sec-WebSocket-Accept")),
                    (struct bytes){ accept, sizeof accept });
}

err websocket_prove(struct exchange *x)
{
    if (is_proven(x))
        return OK;
    metric_inc(x->route->websocket->cells, WEBSOCKET_UNPROVEN);
    return ERR_PROTOCOL;
}

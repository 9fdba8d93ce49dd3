#include "gate/http1_client.h"

#include <sys/socket.h>

#include "base/must.h"
#include "gate/carrier.h"
#include "gate/proxied.h"
#include "gate/service.h"

/* Servers are ours, but a broken one must not take all memory. */
const struct http1_limits http1_response_limits = {
    .line_bytes_max = 16 * 1024,
    .head_bytes_max = 64 * 1024,
    .fields_max = 200,
};
#define RESPONSE_FIELDS_FIRST 64
#define UPGRADE_FIELDS_FIRST 16 /* a 101's are few, and kept as long as the connection */
#define INTERIM_MAX 16
/* A body's rest that has arrived already is taken off the connection rather than closing it. */
#define DISCARD_BYTES_MAX (16 * 1024)
/* RFC 9110 10.1.1: a client that waits for 100 does not wait for ever; neither do we. */
#define CONTINUE_WAIT_MS 1000

/* ---- the request's head ---- */

struct bytes http1_client_target(struct exchange *x)
{
    struct http_request *r = &x->request;
    if (r->target.len && (r->target.ptr[0] == '/' || r->target.ptr[0] == '*'))
        return r->target;
    struct bytes path = r->path.len ? r->path : BYTES("/");
    if (!r->query.ptr)
        return path;
    if (path.ptr + path.len + 1 == r->query.ptr) /* side by side in the target, the ? between them */
        return (struct bytes){ path.ptr, path.len + 1 + r->query.len };
    return arena_print(&x->arena, "%.*s?%.*s", BYTES_ARG(path), BYTES_ARG(r->query));
}

err http1_client_write_head(struct io *io, struct exchange *x, uint64_t deadline_us)
{
    struct http_request *r = &x->request;
    const struct service_conf *conf = x->service->conf;
    struct bytes target = http1_client_target(x);
    struct bytes host = conf->host.len ? conf->host : r->authority;
    if (!target.ptr)
        return ERR_LIMIT;
    enum http1_connection connection = HTTP1_CONNECTION_DEFAULT;
    if (r->upgrade)
        connection = HTTP1_CONNECTION_UPGRADE;
    else if (conf->upstream == UPSTREAM_CLOSE)
        connection = HTTP1_CONNECTION_CLOSE;

    size_t size = http1_request_size(r) + target.len + host.len;
    if (size <= IO_BUFFER_BYTES) {
        char *out = io_out(io, size);
        io_out_end(io, (size_t)(http1_put_request(out, r, target, host, connection) - out));
        return OK;
    }
    char *out = arena_get(&x->arena, size);
    if (!out)
        return ERR_LIMIT;
    struct bytes head = { out, (size_t)(http1_put_request(out, r, target, host, connection) - out) };
    return io_write(io, head, deadline_us);
}

/* ---- the response's head ---- */

static err room_for_fields(struct exchange *x, uint32_t count)
{
    struct http_fields *f = &x->response.fields;
    if (f->count_max >= count)
        return OK;
    f->at = arena_get(&x->arena, count * sizeof *f->at);
    f->count_max = f->at ? count : 0;
    return f->at ? OK : ERR_LIMIT;
}

static err parse_once(struct exchange *x, struct bytes in, size_t seen, size_t *ret_used)
{
    struct http1_limits limits = http1_response_limits;
    if (x->response.fields.count_max < limits.fields_max)
        limits.fields_max = x->response.fields.count_max;
    err e = http1_parse_response(in, seen, &limits, x->request.method, &x->response, ret_used);
    if (e != ERR_LIMIT || limits.fields_max == http1_response_limits.fields_max)
        return e;
    /* most answers have few fields; this one gets the room that the limit allows */
    e = room_for_fields(x, http1_response_limits.fields_max);
    return e ? e
             : http1_parse_response(in, 0, &http1_response_limits, x->request.method, &x->response, ret_used);
}

static err read_one_head(struct io *io, struct exchange *x, uint64_t deadline_us, size_t *ret_used,
                         bool *ret_answered)
{
    struct bytes in;
    size_t seen = 0;
    err e = io_pull(io, deadline_us, &in);
    while (!e) {
        *ret_answered = true;
        e = parse_once(x, in, seen, ret_used);
        if (e != ERR_AGAIN)
            break;
        seen = in.len;
        e = io_pull_more(io, seen, deadline_us, &in);
    }
    return e == ERR_SYNTAX || e == ERR_LIMIT || e == ERR_UNSUPPORTED ? ERR_PROTOCOL : e;
}

err http1_client_read_head(struct io *io, struct exchange *x, uint64_t deadline_us, bool continue_wanted,
                           struct lease **ret_head, bool *ret_answered)
{
    err e = room_for_fields(x, x->request.upgrade ? UPGRADE_FIELDS_FIRST : RESPONSE_FIELDS_FIRST);
    for (unsigned i = 0; !e && i < INTERIM_MAX; i++) {
        size_t used;
        e = read_one_head(io, x, deadline_us, &used, ret_answered);
        if (e)
            break;
        if (x->response.status >= 200 || x->response.status == 101) {
            *ret_head = io_hold(io);
            io_consume(io, used);
            return OK;
        }
        if (x->response.status == 100) {
            io_consume(io, used);
            if (continue_wanted)
                return OK;
            continue;
        }
        if (x->carrier)
            e = x->carrier->interim(x, &x->response);
        io_consume(io, used);
    }
    x->response.status = 0;
    return e ? e : ERR_PROTOCOL;
}

/* ---- the request's body ---- */

static err send_body(struct upstream_conn *c, bool *ret_from_client)
{
    struct exchange *x = c->x;
    const struct service_conf *conf = x->service->conf;
    uint64_t bytes;
    x->replayable = false;
    err e = http1_body_send(c->io, x->request_body, x->request.framing, x->request.content_length,
                            conf->idle_timeout_ms * 1000, x->deadline_us, &bytes, ret_from_client);
    x->request_bytes += bytes;
    if (!e)
        c->request_sent = true;
    return e;
}

static void pump_run(void *arg)
{
    struct upstream_conn *c = arg;
    c->pump = fiber_self();
    c->pump_failed = send_body(c, &c->pump_from_client);
    /* The response will not come if the request cannot be finished: wake whoever waits for it. A server that
     * stopped reading may have answered already, and is heard out. */
    if (c->pump_failed && c->pump_from_client)
        shutdown(io_fd(c->io), SHUT_RDWR);
    c->pump = NULL;
    if (c->pump_waiter)
        fiber_wake(c->pump_waiter);
}

/* Has all of it arrived, and does it fit into the send queue? Then no second fiber is needed. */
static bool body_is_at_hand(struct exchange *x)
{
    uint64_t left;
    if (x->request.framing != HTTP_BODY_LENGTH || x->request.content_length > IO_SEND_BYTES_MAX)
        return false;
    struct io *from = body_raw(x->request_body, &left);
    return from && io_peek(from).len >= left;
}

static err start_body(struct upstream_conn *c)
{
    struct exchange *x = c->x;
    if (x->request.framing == HTTP_BODY_NONE || !x->request_body) {
        c->request_sent = true;
        return OK;
    }
    if (body_is_at_hand(x)) {
        c->pump_failed = send_body(c, &c->pump_from_client);
        return c->pump_failed;
    }
    x->replayable = false;
    fiber_spawn(pump_run, c);
    /* until it runs for the first time nobody can cancel it: let it */
    fiber_yield();
    return OK;
}

static void stop_pump(struct upstream_conn *c)
{
    if (!c->pump)
        return;
    fiber_cancel(c->pump);
    c->pump_waiter = fiber_self();
    while (c->pump) {
        if (fiber_wait(DEADLINE_NONE) != OK)
            fiber_yield(); /* this fiber is being cancelled itself: the pump still has to end first */
    }
    c->pump_waiter = NULL;
}

/* ---- the exchange ---- */

static uint64_t first_byte_deadline(const struct exchange *x)
{
    uint64_t us = deadline_in_ms(x->service->conf->first_byte_timeout_ms);
    return us < x->try_deadline_us ? us : x->try_deadline_us;
}

/* The first-byte timeout runs from the end of the request. */
static err read_head(struct upstream_conn *c, bool *ret_answered)
{
    struct exchange *x = c->x;
    for (;;) {
        bool pumping = c->pump != NULL;
        err e = http1_client_read_head(c->io, x, first_byte_deadline(x), false, &c->head, ret_answered);
        if (e == ERR_TIMEOUT && pumping && worker_now_us() < x->try_deadline_us)
            continue;
        return e;
    }
}

/* Sends the head and waits for 100, a final answer, or long enough (RFC 9110 10.1.1). */
static err wait_continue(struct upstream_conn *c, struct attempt *a, bool *ret_final)
{
    struct exchange *x = c->x;
    uint64_t us = deadline_in_ms(CONTINUE_WAIT_MS);
    if (us > x->try_deadline_us)
        us = x->try_deadline_us;
    err e = http1_client_read_head(c->io, x, us, true, &c->head, &a->answered);
    *ret_final = !e && x->response.status >= 200;
    if (!e && x->response.status == 100)
        x->response.status = 0;
    return e == ERR_TIMEOUT && !a->answered ? OK : e;
}

static err send_and_read(struct upstream_conn *c, struct attempt *a)
{
    struct exchange *x = c->x;
    bool final = false;
    err e = http1_client_write_head(c->io, x, x->try_deadline_us);
    if (e)
        return e;
    a->sent = true;
    if (x->request.expect_continue && x->request_body) {
        e = wait_continue(c, a, &final);
        if (e || final)
            return e;
    }
    /* A server may answer before it has read the request, or instead: it is heard whatever became of the
     * body. */
    err body = start_body(c);
    e = read_head(c, &a->answered);
    if (e && c->pump_from_client && c->pump_failed)
        return x->request_failed = c->pump_failed;
    return e && body ? body : e;
}

err http1_client_exchange(struct upstream_conn *c, struct exchange *x, struct attempt *ret_attempt)
{
    struct attempt a = { 0 };
    c->x = x;
    c->request_sent = false;
    c->pump_failed = OK;
    c->pump_from_client = false;
    c->keep_alive = false;
    c->head = NULL;
    http1_body_init(&c->body, c->io, HTTP_BODY_NONE, 0, 0, 0, NULL, NULL);
    int version = x->service->conf->proxy_protocol;
    if (version)
        proxied_write(c->io, (enum proxy_protocol_version)version, x->client, NULL, exchange_client_fd(x));
    err e = OK;
    if (version) /* the handshake goes behind it */
        e = upstream_shake(c->upstream, c->io, deadline_in_ms(x->service->conf->connect_timeout_ms));
    if (!e)
        e = send_and_read(c, &a);
    *ret_attempt = a;
    if (!e && x->response.status == 101 && !x->request.upgrade) /* nobody asked for it (RFC 9110 15.2.2) */
        e = ERR_PROTOCOL;
    if (e)
        return e;
    struct http_response *r = &x->response;
    c->keep_alive = r->keep_alive && r->status != 101;
    http1_body_init(&c->body, c->io, r->framing, r->content_length, UINT64_MAX,
                    x->service->conf->idle_timeout_ms, &http1_response_limits, &x->arena);
    return OK;
}

err http1_client_keep_head(struct upstream_conn *c)
{
    struct exchange *x = c->x;
    err e = http_fields_keep(&x->response.fields, &x->arena);
    struct bytes reason = arena_copy(&x->arena, x->response.reason);
    if (e || !reason.ptr)
        return ERR_LIMIT;
    x->response.reason = reason;
    lease_drop(c->head);
    c->head = NULL;
    return OK;
}

bool http1_client_finish(struct upstream_conn *c)
{
    stop_pump(c);
    bool whole = http1_body_finish(&c->body, DISCARD_BYTES_MAX);
    if (c->head)
        lease_drop(c->head);
    c->head = NULL;
    return whole && c->request_sent && c->keep_alive && c->body.framing != HTTP_BODY_CLOSE;
}

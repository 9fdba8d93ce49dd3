/* proxy: the last link of every chain: asks a server, and another one where that is safe.
 *
 *   pick ─▶ connection ─▶ head (and body) ─▶ answer's head
 *     ▲                                         │ failed, or an answer that is to be tried again
 *     └── another server, if nothing was sent, or the method is idempotent and nothing was answered ◀┘
 *
 * Without `retry` only failures go to another server, and at once (tries_max); with it gate/retry.h decides.
 */
#include "gate/proxy.h"
#include "base/hash.h"
#include "gate/budget.h"
#include "gate/gate.h"
#include "gate/gate_metrics.h"
#include "gate/grpc.h"
#include "gate/http1_client.h"
#include "gate/queue.h"
#include "gate/replay.h"
#include "gate/service_open.h"
#include "gate/upstream_http2.h"
#include "gate/upstream_shared.h"
#include "gate/websocket.h"

/* ---- what a gateway adds to a request ---- */

/* What the client's request says already. A list is continued; what only this gate may say is taken out. */
struct found_fields {
    struct http_field *via, *forwarded, *x_forwarded_for;
    struct http_field *x_forwarded_host; /* a trusted proxy's word */
};

static struct found_fields find_fields(struct exchange *x, const struct gate_conf *conf)
{
    struct found_fields found = { 0 };
    for (uint32_t i = 0; i < x->request.fields.count; i++) {
        struct http_field *f = &x->request.fields.at[i];
        if (f->flags & FIELD_REMOVED)
            continue;
        if (f->id == FIELD_VIA)
            found.via = f;
        else if (f->id == FIELD_FORWARDED)
            found.forwarded = f;
        else if (f->id == FIELD_X_FORWARDED_FOR)
            found.x_forwarded_for = f;
        else if (f->id == FIELD_X_REQUEST_ID)
            f->flags |= conf->request_id && x->request_id.len ? FIELD_REMOVED : 0;
        else if (f->id == FIELD_X_FORWARDED_HOST && x->peer)
            found.x_forwarded_host = f;
        else if (f->id == FIELD_X_FORWARDED_PROTO || f->id == FIELD_X_FORWARDED_HOST)
            f->flags |= conf->x_forwarded ? FIELD_REMOVED : 0;
    }
    return found;
}

/* There is room for all of them: see add_fields. */
static void put_field(struct exchange *x, enum http_field_id id, struct bytes name, struct bytes value)
{
    struct http_fields *f = &x->request.fields;
    f->at[f->count++] = (struct http_field){
        .name = name.ptr,
        .name_len = (uint16_t)name.len,
        .value = value.ptr,
        .value_len = (uint32_t)value.len,
        .id = (uint8_t)id,
    };
}

/* "old, new": a list field grows at its end. Of several lines the last is continued: order is kept. */
static err append(struct exchange *x, struct http_field *old, enum http_field_id id, struct bytes name,
                  struct bytes value)
{
    if (!old) {
        put_field(x, id, name, value);
        return OK;
    }
    struct bytes both =
        arena_print(&x->arena, "%.*s, %.*s", BYTES_ARG(http_field_value(old)), BYTES_ARG(value));
    if (!both.ptr)
        return ERR_LIMIT;
    old->value = both.ptr;
    old->value_len = (uint32_t)both.len;
    return OK;
}

/* RFC 7239 4: an IPv6 address is quoted and bracketed. */
static err add_forwarded(struct exchange *x, struct http_field *old, struct bytes ip)
{
    bool v6 = bytes_index(ip, ':') < ip.len;
    struct bytes value =
        arena_print(&x->arena, "for=%s%.*s%s;host=\"%.*s\";proto=%s", v6 ? "\"[" : "", BYTES_ARG(ip),
                    v6 ? "]\"" : "", BYTES_ARG(x->request.authority), x->scheme);
    return value.ptr ? append(x, old, FIELD_FORWARDED, BYTES("Forwarded"), value) : ERR_LIMIT;
}

static err add_client(struct exchange *x, const struct gate_conf *conf, const struct found_fields *found)
{
    char *text = arena_get(&x->arena, ADDR_TEXT_BYTES_MAX);
    if (!text)
        return ERR_LIMIT;
    struct bytes ip = { text, addr_print_ip(x->peer ? x->peer : x->client, text) };
    err e = OK;
    if (conf->forwarded)
        e = add_forwarded(x, found->forwarded, ip);
    if (e || !conf->x_forwarded)
        return e;
    put_field(x, FIELD_X_FORWARDED_PROTO, BYTES("X-Forwarded-Proto"), bytes_from(x->scheme));
    if (x->request.authority.len && !found->x_forwarded_host)
        put_field(x, FIELD_X_FORWARDED_HOST, BYTES("X-Forwarded-Host"), x->request.authority);
    return append(x, found->x_forwarded_for, FIELD_X_FORWARDED_FOR, BYTES("X-Forwarded-For"), ip);
}

#define FIELDS_ADDED_MAX 6

static err add_fields(struct exchange *x)
{
    const struct gate_conf *conf = x->gate->generation->conf;
    err e = http_fields_reserve(&x->request.fields, &x->arena, FIELDS_ADDED_MAX);
    if (e)
        return e;
    const struct found_fields found = find_fields(x, conf);
    if (conf->via)
        e = append(x, found.via, FIELD_VIA, BYTES("Via"),
                   x->request.version_minor ? BYTES("1.1 weir") : BYTES("1.0 weir"));
    if (!e && x->client && (conf->x_forwarded || conf->forwarded))
        e = add_client(x, conf, &found);
    if (!e && conf->request_id && x->request_id.len)
        put_field(x, FIELD_X_REQUEST_ID, BYTES("X-Request-Id"), x->request_id);
    return e;
}

/* ---- one connection ---- */

static void proxied_close(struct body *b)
{
    struct upstream_conn *c = container_of(b, struct upstream_conn, body.body);
    struct server *server = c->server;
    bool reusable = http1_client_finish(c);
    server_end(server, c->x);
    upstream_give(c, server->service->conf, reusable);
}

static const struct body_ops proxied_ops = {
    .pull = http1_body_pull,
    .give = http1_body_give,
    .raw = http1_body_raw,
    .moved = http1_body_moved,
    .ready = http1_body_ready,
    .close = proxied_close,
};

/* May it be asked a second time? RFC 9110 9.2.2. */
static bool may_repeat(const struct exchange *x, const struct attempt *a)
{
    if (!x->replayable || a->answered || x->request_failed)
        return false;
    return !a->sent || http_method_is_idempotent(x->request.method);
}

/* For as long as the two want: what was received with the head does not stay in a buffer for that. */
static err take_tunnel(struct upstream_conn *c, struct exchange *x)
{
    err e = websocket_is_asked(x) ? websocket_prove(x) : OK;
    if (!e)
        e = http1_client_keep_head(c);
    x->tunnel = e ? NULL : c->io;
    return e;
}

static err on_connection(struct exchange *x, struct server *server, bool fresh, struct attempt *a,
                         bool *ret_reused, bool *ret_connecting)
{
    struct upstream_conn *c;
    *ret_reused = false;
    err e = upstream_take(server->upstream, x->service->conf, fresh, x->try_deadline_us, &c, ret_connecting);
    if (e)
        return e;
    *ret_connecting = false;
    *ret_reused = c->reused;
    c->server = server;
    e = http1_client_exchange(c, x, a);
    if (!e && x->response.status == 101)
        e = take_tunnel(c, x);
    if (e) {
        http1_client_finish(c);
        upstream_give(c, x->service->conf, false);
        return e;
    }
    c->body.body.ops = &proxied_ops;
    x->response_body = &c->body.body;
    return OK;
}

/* A kept connection that its server has just closed says nothing about the server: a fresh one decides. */
static bool was_stale(err e, bool reused, const struct exchange *x, const struct attempt *a)
{
    return reused && (e == ERR_CLOSED || e == ERR_RESET) && may_repeat(x, a);
}

#if WEIR_HAVE_NGHTTP2
/* The server has not begun on it (REFUSED_STREAM, GOAWAY): a connection that is there now, or a new one. */
static bool was_refused(err e, const struct exchange *x, const struct attempt *a, bool connecting)
{
    return e == ERR_REFUSED && !connecting && !a->sent && may_repeat(x, a);
}

static err over_http2(struct exchange *x, struct server *server, struct attempt *a, bool *ret_connecting)
{
    bool reused;
    err e = upstream_http2_exchange(x, server, a, &reused, ret_connecting);
    if (!was_stale(e, reused, x, a) && !was_refused(e, x, a, *ret_connecting))
        return e;
    *a = (struct attempt){ 0 };
    return upstream_http2_exchange(x, server, a, &reused, ret_connecting);
}
#endif

static err on_server(struct exchange *x, struct server *server, struct attempt *a, bool *ret_connecting)
{
    bool reused = true;
    err e = ERR_CLOSED;
    *ret_connecting = false;
#if WEIR_HAVE_NGHTTP2
    if (x->service->conf->protocol == SERVICE_HTTP2)
        return over_http2(x, server, a, ret_connecting);
#endif
    if (upstream_shared_suits(x)) {
        e = upstream_shared_exchange(server->upstream, x, server, a, ret_connecting);
        bool own = e == ERR_AGAIN || was_stale(e, true, x, a);
        if (!e || *ret_connecting || !own)
            return e;
        *a = (struct attempt){ 0 };
    }
    e = on_connection(x, server, false, a, &reused, ret_connecting);
    if (!was_stale(e, reused, x, a))
        return e;
    *a = (struct attempt){ 0 };
    return on_connection(x, server, true, a, &reused, ret_connecting);
}

/* ---- one server ---- */

/* Did the server fail, or was it us or the client? */
static bool is_servers_fault(err e, const struct exchange *x, bool connecting)
{
    if (x->request_failed || e == ERR_CANCELLED)
        return false;
    return connecting || e != ERR_LIMIT;
}

err proxy_ask(struct exchange *x, struct server *server, uint64_t deadline_us, struct attempt *a)
{
    bool connecting;
    x->server = server;
    x->attempts++;
    x->try_deadline_us = deadline_us < x->deadline_us ? deadline_us : x->deadline_us;
    err e = x->grpc ? grpc_pass_timeout(x) : OK;
    if (e)
        return e;
    server_begin(server, x);
    const uint64_t began_us = worker_now_us();
    metric_inc(server->cells, UPSTREAM_REQUESTS);
    e = on_server(x, server, a, &connecting);
    if (!e) {
        if (!grpc_is_open(x))
            server_result(server, exchange_outcome(x) < 500 ? SERVER_ANSWERED : SERVER_ERRED);
        server_tell(server, x, began_us, false);
        return OK;
    }
    server_end(server, x);
    if (is_servers_fault(e, x, connecting)) {
        server_result(server, SERVER_FAILED);
        server_tell(server, x, began_us, true);
    }
    return e;
}

/* ---- one request ---- */

/* On its way from server to server. */
struct request {
    struct exchange *x;
    struct pick pick;
    uint32_t attempts;
    const struct retry_conf *retry; /* NULL: tries_max alone says how many servers are asked */
    struct replay *replay;          /* of the request's body; NULL: it is sent once */
};

static err begin(struct request *r)
{
    struct exchange *x = r->x;
    if (x->attempts == 0) {
        uint64_t us = deadline_in_ms(x->service->conf->timeout_ms);
        x->deadline_us = us < x->deadline_us ? us : x->deadline_us;
        err e = add_fields(x);
        if (e)
            return e;
    }
    r->retry = retry_of(x);
    if (!r->retry)
        return OK;
    budget_count(x->service->retry.budget, x->service->retry.worker, worker_now_us() / 1000);
    if (x->request_body && x->replayable && r->retry->attempts &&
        (http_method_is_idempotent(x->request.method) || (x->grpc && r->retry->grpc_statuses)))
        r->replay = replay_new(&x->arena, x->request_body, r->retry->body_bytes_max);
    if (r->replay)
        x->request_body = &r->replay->body;
    return OK;
}

/* *ret_server NULL: all were asked. */
static err choose(struct request *r, struct server **ret_server)
{
    r->pick.now_us = worker_now_us();
    err e = queue_choose(r->x, &r->pick, ret_server);
    if (!e && !*ret_server && r->retry && r->pick.tried_count) { /* one of them once more */
        r->pick.tried_count = 0;
        e = queue_choose(r->x, &r->pick, ret_server);
    }
    return e;
}

static void note_tried(struct pick *p, uint32_t index)
{
    if (p->tried_count == PICK_TRIED_MAX) {
        memmove(p->tried, p->tried + 1, sizeof p->tried - sizeof *p->tried);
        p->tried_count--;
    }
    p->tried[p->tried_count++] = index;
}

/* Is there to be another attempt after this one, which ended in e or in an answer? After *ret_pause_us. */
static bool goes_on(struct request *r, const struct attempt *a, err e, uint64_t *ret_pause_us)
{
    struct exchange *x = r->x;
    *ret_pause_us = 0;
    if (!r->retry)
        return e && r->attempts < (uint64_t)x->service->conf->tries_max && may_repeat(x, a) &&
               worker_now_us() < x->deadline_us;
    const bool fresh = x->replayable || (r->replay && !r->replay->lost);
    const struct retry_outcome o = { .failed = e,
                                     .sent = a->sent,
                                     .answered = a->answered,
                                     .status = x->response.status,
                                     .grpc_status = x->grpc && !e ? grpc_status(x) : GRPC_NO_STATUS,
                                     .idempotent = http_method_is_idempotent(x->request.method),
                                     .replayable = fresh && !x->request_failed,
                                     .attempts = r->attempts };
    if (!retry_wanted(r->retry, &o))
        return false;
    const uint64_t after_ms = e ? 0 : retry_after_ms(&x->response, worker_wall_us() / 1000000);
    const bool other_left = r->pick.tried_count + 1 < x->service->servers_count;
    *ret_pause_us = retry_pause_us(r->retry, &o, other_left, after_ms, random_u64());
    const uint64_t now_us = worker_now_us();
    if (*ret_pause_us == UINT64_MAX || now_us + *ret_pause_us >= x->deadline_us)
        return false;
    struct retry *s = &x->service->retry;
    const bool allowed =
        budget_take(s->budget, s->workers, r->retry->budget, (uint64_t)r->retry->budget_per_s, now_us / 1000);
    metric_inc(s->cells, allowed ? RETRY_TAKEN : RETRY_REFUSED);
    return allowed;
}

/* Nothing of the attempt before is left, and the body begins anew. */
static err begin_again(struct request *r, uint64_t pause_us)
{
    struct exchange *x = r->x;
    body_close(x->response_body);
    x->response_body = NULL;
    x->response.status = 0;
    if (r->replay)
        x->replayable = replay_rewind(r->replay);
    return pause_us ? fiber_sleep_us(pause_us) : OK;
}

static uint64_t try_deadline(const struct request *r)
{
    if (!r->retry || r->retry->per_try_timeout_ms == CONF_MS_OFF)
        return DEADLINE_NONE;
    return deadline_in_ms(r->retry->per_try_timeout_ms);
}

static void count_rescue(const struct request *r)
{
    if (r->attempts > 1 && r->retry && exchange_outcome(r->x) < 500)
        metric_inc(r->x->service->retry.cells, RETRY_RESCUED);
}

err proxy_handle(struct exchange *x)
{
    if (websocket_is_asked(x) && !websocket_admit(x))
        return OK;
    struct request r = { .x = x, .pick = pick_begin(x) };
    err e = begin(&r);
    if (e)
        return e;
    e = ERR_UNAVAILABLE;
    for (;;) {
        struct attempt a = { 0 };
        uint64_t pause_us;
        struct server *server;
        err chosen = choose(&r, &server);
        if (chosen == ERR_LIMIT)
            return queue_refuse(x);
        if (chosen || !server)
            return chosen ? chosen : e;
        r.attempts++;
        e = hedge_suits(x) ? hedge_ask(x, server, &r.pick, try_deadline(&r), &a)
                           : proxy_ask(x, server, try_deadline(&r), &a);
        if (!goes_on(&r, &a, e, &pause_us))
            break;
        note_tried(&r.pick, server->index);
        err slept = begin_again(&r, pause_us);
        if (slept)
            return slept;
    }
    if (!e)
        count_rescue(&r);
    return e;
}

#if WEIR_HAVE_NGHTTP2
#include "gate/upstream_http2.h"

#include "core/worker_pool.h"
#include "gate/carrier.h"
#include "gate/grpc.h"
#include "gate/http2_metrics.h"
#include "gate/http2_session.h"
#include "gate/service_open.h"
#include "net/tls.h"

/* A body that is not taken by its client stays within this; then its stream's server waits, and no other. */
#define WINDOW_BYTES (128 * 1024)
/* Of the connection: never what holds anybody back. */
#define CONNECTION_WINDOW_BYTES (256 * 1024 * 1024)
#define FRAME_BYTES_MAX (16 * 1024)
#define TABLE_BYTES 4096
#define INTERIM_MAX 16

struct http2_upstream {
    struct link link; /* of upstream->http2 */
    struct http2_session session;
    struct upstream *upstream;
    struct link waiters; /* struct waiter: while it connects */
    uint64_t idle_timeout_ms;
    uint64_t
        ping_us; /* silence while answers are waited for, until a PING is sent; and from there to the end */
    uint64_t streams_max;
    uint64_t pinged_us;
    bool connecting;
    bool used;   /* an answer has come on it */
    bool ending; /* takes no more */
};

/* Whoever needs the connection while it is made. */
struct waiter {
    struct link link;
    struct fiber *fiber;
    err failed;
    bool told;
};

/* One request, in its exchange's arena. */
struct asked {
    struct exchange *x;
    struct server *server;
    struct http2_stream *stream;
    unsigned interims;
    /* The fiber that sends the request's body while the response is waited for. */
    struct fiber *pump;
    struct fiber *pump_waiter;
    err pump_failed;
    bool pump_from_client; /* the client's side failed, not the server's */
};

static _Thread_local struct worker_pool conns;

static struct http2_upstream *conn_of(struct http2_session *c)
{
    return container_of(c, struct http2_upstream, session);
}

/* ---- the connection ---- */

static void on_head(struct http2_stream *s)
{
    struct asked *q = s->owner;
    struct http_response r;
    if (!q)
        return;
    if (s->head.failed || s->head.status >= 200) {
        if (s->waiting)
            fiber_wake(s->waiting);
        return;
    }
    if (++q->interims > INTERIM_MAX || http2_head_response(&s->head, false, q->x->request.method, &r) != OK) {
        http2_stream_reset(s, NGHTTP2_PROTOCOL_ERROR);
        return;
    }
    if (r.status != 100 && q->x->carrier) /* whoever waited for 100 has it since the body was first pulled */
        (void)!q->x->carrier->interim(q->x, &r);
}

static void on_lost(struct http2_stream *s)
{
    (void)s; /* whoever waits has been woken */
}

/* How many streams it takes now. */
static uint64_t room(const struct http2_upstream *c)
{
    const uint64_t peer_max =
        nghttp2_session_get_remote_settings(c->session.ng, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
    const uint64_t max = peer_max < c->streams_max ? peer_max : c->streams_max;
    return c->session.streams_count < max ? max - c->session.streams_count : 0;
}

static bool takes_more(const struct http2_upstream *c)
{
    return !c->connecting && !c->ending && !c->session.over && !c->session.goaway_received && room(c) > 0;
}

static void on_look(struct http2_session *session)
{
    struct http2_upstream *c = conn_of(session);
    if (session->over)
        return;
    if (session->goaway_received && !c->ending) {
        http2_count(HTTP2_UPSTREAM_GOAWAYS);
        c->ending = true;
    }
    for (uint64_t n = takes_more(c) ? room(c) : c->ending;
         n && wait_queue_wake_one(&c->upstream->http2_waiting); n--) {
    }
    if (session->streams_count == 0)
        http2_session_rest(session);
}

static uint64_t deadline(struct http2_session *session)
{
    const struct http2_upstream *c = conn_of(session);
    if (session->streams_count == 0)
        return c->ending ? worker_now_us() : deadline_in_ms(c->idle_timeout_ms);
    return (session->pinged ? c->pinged_us : session->heard_us) + c->ping_us;
}

static void on_overdue(struct http2_session *session)
{
    struct http2_upstream *c = conn_of(session);
    const uint64_t now_us = worker_now_us();
    if (session->streams_count == 0) {
        c->ending = true;
        http2_session_close(&c->session);
    } else if (session->pinged && session->heard_us < c->pinged_us) {
        http2_session_end(session, ERR_TIMEOUT);
    } else if (now_us >= session->heard_us + c->ping_us) {
        session->pinged = true;
        c->pinged_us = now_us;
        nghttp2_submit_ping(session->ng, NGHTTP2_FLAG_NONE, NULL);
        http2_session_flush(session);
    } else {
        session->pinged = false; /* bytes have come, and say as much as the answer */
    }
}

static void conn_free(struct http2_upstream *c)
{
    struct upstream *u = c->upstream;
    list_remove(&c->link);
    u->http2_count--;
    worker_pool_give(&conns, c);
    wait_queue_wake_one(&u->http2_waiting);
    upstream_drop_hold(u);
}

static void on_free(struct http2_session *session)
{
    http2_count_by(HTTP2_UPSTREAM_OPEN, -1);
    conn_free(conn_of(session));
}

static const struct http2_side side = {
    .head = on_head,
    .lost = on_lost,
    .look = on_look,
    .overdue = on_overdue,
    .deadline = deadline,
    .free = on_free,
};

static struct http2_upstream *new_conn(struct upstream *u, const struct service_conf *conf)
{
    struct http2_upstream *c = worker_pool_take(&conns, sizeof(struct http2_upstream));
    *c = (struct http2_upstream){ .upstream = u,
                                  .connecting = true,
                                  .idle_timeout_ms = conf->idle_timeout_ms,
                                  .ping_us = conf->ping_interval_ms * 1000,
                                  .streams_max = (uint64_t)conf->streams_max };
    c->session.side = &side;
    c->session.limits = (struct http2_limits){
        .window_bytes = WINDOW_BYTES,
        .connection_bytes = CONNECTION_WINDOW_BYTES,
        .frame_bytes_max = FRAME_BYTES_MAX,
        .table_bytes = TABLE_BYTES,
        .list_bytes_max = http1_response_limits.head_bytes_max,
        .fields_max = http1_response_limits.fields_max,
        .write_timeout_ms = conf->idle_timeout_ms,
    };
    list_init(&c->waiters);
    u->holds++;
    u->http2_count++;
    list_push_front(&u->http2, &c->link);
    return c;
}

static void tell_waiters(struct http2_upstream *c, err e)
{
    struct link *l;
    while ((l = list_pop_front(&c->waiters))) {
        struct waiter *w = container_of(l, struct waiter, link);
        w->failed = e;
        w->told = true;
        fiber_wake(w->fiber);
    }
}

static err connect_conn(struct upstream *u, const struct service_conf *conf, uint64_t deadline_us)
{
    struct http2_upstream *c = new_conn(u, conf);
    const uint64_t connect_us = deadline_in_ms(conf->connect_timeout_ms);
    struct io *io;
    err e = upstream_connect(u, false, connect_us < deadline_us ? connect_us : deadline_us, &io);
    if (!e && u->tls && !bytes_eq(tls_alpn(tls_of(io)), BYTES("h2"))) { /* it was asked for nothing else */
        io_close(io, 0, false);
        e = ERR_PROTOCOL;
    }
    c->connecting = false;
    if (e == ERR_CANCELLED) /* its client's doing: one of the others tries */
        tell_waiters(c, OK);
    else
        tell_waiters(c, e);
    if (e) {
        conn_free(c);
        return e;
    }
    http2_count(HTTP2_UPSTREAM_CONNECTIONS);
    http2_count_by(HTTP2_UPSTREAM_OPEN, 1);
    http2_session_open(&c->session, io);
    http2_session_start(&c->session);
    return OK;
}

static err wait_connected(struct http2_upstream *c, uint64_t deadline_us)
{
    struct waiter w = { .fiber = fiber_self() };
    list_push_back(&c->waiters, &w.link);
    err e = fiber_wait(deadline_us);
    if (w.told)
        return w.failed;
    list_remove(&w.link);
    return e;
}

/* One that takes a stream, or that is being made. */
static struct http2_upstream *find_conn(struct upstream *u)
{
    struct http2_upstream *connecting = NULL;
    LIST_EACH (at, &u->http2) {
        struct http2_upstream *c = container_of(at, struct http2_upstream, link);
        if (takes_more(c))
            return c;
        if (c->connecting)
            connecting = c;
    }
    return connecting;
}

static err take(struct upstream *u, const struct service_conf *conf, uint64_t deadline_us,
                struct http2_upstream **ret_conn, bool *ret_connecting)
{
    uint64_t wait_us = deadline_in_ms(conf->wait_timeout_ms);
    if (wait_us > deadline_us)
        wait_us = deadline_us;
    for (;;) {
        struct http2_upstream *c = find_conn(u);
        err e;
        *ret_connecting = false;
        if (c && !c->connecting) {
            *ret_conn = c;
            return OK;
        }
        if (c || u->http2_count < (uint64_t)conf->connections_max) {
            *ret_connecting = true;
            e = c ? wait_connected(c, deadline_us) : connect_conn(u, conf, deadline_us);
        } else if (u->http2_waiting.count >= (uint64_t)conf->waiting_max) {
            return ERR_LIMIT;
        } else {
            e = wait_queue_wait(&u->http2_waiting, wait_us);
            e = e == ERR_TIMEOUT ? ERR_LIMIT : e;
        }
        if (e)
            return e;
    }
}

/* ---- the request ---- */

/* RFC 9113 8.2.2: the one thing that TE may say, and that a server of gRPC asks for. */
static bool wants_trailers(const struct exchange *x)
{
    const struct http_field *te = http_fields_get(&x->request.fields, FIELD_TE);
    return te && bytes_eq_nocase(http_field_value(te), BYTES("trailers"));
}

static err submit(struct asked *q, struct http2_session *c, bool body)
{
    struct exchange *x = q->x;
    const struct http_request *r = &x->request;
    const struct service_conf *conf = x->service->conf;
    struct http2_fields f;
    char length[20];
    struct bytes target = http1_client_target(x);
    err e = http2_fields_open(&f, &x->arena, r->fields.count + 6, !http2_session_is_clear(c));
    if (e || !target.ptr)
        return ERR_LIMIT;
    http2_fields_put(&f, BYTES(":method"), r->method_text);
    http2_fields_put(&f, BYTES(":scheme"), q->server->upstream->tls ? BYTES("https") : BYTES("http"));
    http2_fields_put(&f, BYTES(":authority"), conf->host.len ? conf->host : r->authority);
    http2_fields_put(&f, BYTES(":path"), target);
    e = http2_fields_put_all(&f, &x->arena, &r->fields);
    if (e)
        return e;
    if (r->framing == HTTP_BODY_LENGTH)
        http2_fields_put(&f, BYTES("content-length"),
                         (struct bytes){ length, u64_to_text(r->content_length, length) });
    if (wants_trailers(x))
        http2_fields_put(&f, BYTES("te"), BYTES("trailers"));
    nghttp2_data_provider provider = http2_stream_provider(q->stream);
    int32_t id = nghttp2_submit_request(c->ng, NULL, f.at, f.count, body ? &provider : NULL, q->stream);
    if (id < 0)
        return id == NGHTTP2_ERR_STREAM_ID_NOT_AVAILABLE ? ERR_REFUSED : ERR_PROTOCOL;
    q->stream->id = id;
    q->stream->flags |= HTTP2_OPEN | (body ? 0 : HTTP2_LAST | HTTP2_SAID);
    http2_count(HTTP2_UPSTREAM_STREAMS);
    http2_session_flush(c); /* what the fields point to is the exchange's */
    return OK;
}

static void send_body(struct asked *q)
{
    struct exchange *x = q->x;
    struct http2_stream *s = q->stream;
    q->pump_failed =
        http2_stream_send(s, x->service->conf->idle_timeout_ms * 1000, x->deadline_us, &q->pump_from_client);
    if (!q->pump_failed || !q->pump_from_client)
        return;
    /* the request cannot be finished, and the response will not come */
    http2_stream_reset(s, NGHTTP2_CANCEL);
    if (!s->failed)
        s->failed = q->pump_failed;
    if (s->waiting)
        fiber_wake(s->waiting);
}

static void pump_run(void *arg)
{
    struct asked *q = arg;
    q->pump = fiber_self();
    send_body(q);
    q->pump = NULL;
    if (q->pump_waiter)
        fiber_wake(q->pump_waiter);
}

static void stop_pump(struct asked *q)
{
    if (!q->pump)
        return;
    fiber_cancel(q->pump);
    q->pump_waiter = fiber_self();
    while (q->pump) {
        if (fiber_wait(DEADLINE_NONE) != OK)
            fiber_yield(); /* this fiber is being cancelled itself: the pump still has to end first */
    }
    q->pump_waiter = NULL;
}

/* The head, and the body as far as it is there; the rest goes out on a fiber of its own. */
static err send_request(struct asked *q, struct http2_session *c, struct attempt *a)
{
    struct exchange *x = q->x;
    struct http2_stream *s = q->stream;
    const bool body = x->request.framing != HTTP_BODY_NONE && x->request_body;
    err e = OK;
    if (body) {
        x->replayable = false;
        http2_stream_begin(s, x->request_body,
                           x->request.framing == HTTP_BODY_LENGTH ? x->request.content_length
                                                                  : BODY_LENGTH_UNKNOWN);
        if (body_ready(x->request_body))
            e = http2_stream_lend(s, x->deadline_us);
        if (e) {
            q->pump_failed = e;
            q->pump_from_client = true;
            return e;
        }
    }
    e = c->over ? ERR_CLOSED : submit(q, c, body);
    if (e)
        return e;
    a->sent = true;
    if (!body)
        return OK;
    if (s->flags & HTTP2_SAID && !s->out.len) { /* all of it is framed */
        send_body(q);
        return q->pump_failed;
    }
    fiber_spawn(pump_run, q);
    fiber_yield(); /* until it runs for the first time nobody can cancel it: let it */
    return OK;
}

/* ---- the response ---- */

static uint64_t first_byte_deadline(const struct exchange *x)
{
    uint64_t us = deadline_in_ms(x->service->conf->first_byte_timeout_ms);
    return us < x->try_deadline_us ? us : x->try_deadline_us;
}

/* The first-byte timeout runs from the end of the request. */
static err wait_head(struct asked *q)
{
    struct http2_stream *s = q->stream;
    while (!(s->flags & HTTP2_HEADED)) {
        if (s->failed)
            return s->failed;
        bool pumping = q->pump != NULL;
        s->waiting = fiber_self();
        err e = fiber_wait(first_byte_deadline(q->x));
        s->waiting = NULL;
        if (e == ERR_TIMEOUT && pumping && worker_now_us() < q->x->try_deadline_us)
            continue;
        if (e)
            return e;
    }
    return OK;
}

/* Ends what was begun, whatever came of it. */
static void finish(struct asked *q)
{
    struct http2_stream *s = q->stream;
    stop_pump(q);
    q->x->request_bytes += s->out_bytes;
    http2_stream_leave(s, s->failed || !(s->flags & HTTP2_ENDED) ? NGHTTP2_CANCEL : NGHTTP2_NO_ERROR);
}

static void answered_close(struct body *b)
{
    struct asked *q = container_of(b, struct http2_stream, body)->owner;
    const unsigned outcome = grpc_late_outcome(q->x, b);
    if (outcome)
        server_result(q->server, outcome < 500 ? SERVER_ANSWERED : SERVER_ERRED);
    finish(q);
    server_end(q->server, q->x);
}

static const struct body_ops answered_ops = {
    .pull = http2_body_pull,
    .give = http2_body_give,
    .ready = http2_body_ready,
    .close = answered_close,
};

static err read_answer(struct asked *q)
{
    struct exchange *x = q->x;
    struct http2_stream *s = q->stream;
    struct http_response *r = &x->response;
    err e = http2_head_response(&s->head, s->flags & HTTP2_BARE, x->request.method, r);
    if (e) {
        http2_stream_reset(s, NGHTTP2_PROTOCOL_ERROR);
        *r = (struct http_response){ 0 };
        return ERR_PROTOCOL;
    }
    conn_of(s->session)->used = true;
    s->pause_ms_max = x->service->conf->idle_timeout_ms;
    s->body.ops = &answered_ops;
    if (r->framing == HTTP_BODY_NONE)
        s->body.length = 0;
    else
        s->body.length = r->has_content_length ? r->content_length : BODY_LENGTH_UNKNOWN;
    x->response_body = &s->body;
    return OK;
}

err upstream_http2_exchange(struct exchange *x, struct server *server, struct attempt *ret_attempt,
                            bool *ret_reused, bool *ret_connecting)
{
    struct asked *q = arena_get_zero(&x->arena, sizeof *q);
    struct http2_upstream *c;
    *ret_reused = *ret_connecting = false;
    if (!q)
        return ERR_LIMIT;
    err e = take(server->upstream, x->service->conf, x->try_deadline_us, &c, ret_connecting);
    if (e)
        return e;
    *ret_reused = c->used;
    *q = (struct asked){ .x = x, .server = server, .stream = http2_stream_new(&c->session, 0) };
    q->stream->owner = q;
    http2_stream_use(q->stream);
    if (c->session.streams_count == 1) { /* it has been silent because nobody asked */
        c->session.heard_us = worker_now_us();
        http2_session_rest(&c->session);
    }
    e = send_request(q, &c->session, ret_attempt);
    if (!e)
        e = wait_head(q);
    if (q->stream->flags &
        HTTP2_HEADED) { /* a server may answer before it has read the request, or instead */
        ret_attempt->answered = true;
        e = read_answer(q);
    }
    if (!e)
        return OK;
    if (q->stream->failed == ERR_REFUSED)
        ret_attempt->sent = false; /* nothing has been done about it (RFC 9113 8.7) */
    if (q->pump_from_client && q->pump_failed)
        e = x->request_failed = q->pump_failed;
    finish(q);
    return e;
}

void upstream_http2_close_idle(struct upstream *u)
{
    struct link *at = u->http2.next;
    while (at != &u->http2) {
        struct http2_upstream *c = container_of(at, struct http2_upstream, link);
        at = at->next;
        c->ending = true;
        if (!c->connecting && !c->session.over && c->session.streams_count == 0)
            http2_session_close(&c->session);
    }
}
#endif

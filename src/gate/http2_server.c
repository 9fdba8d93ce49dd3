#if WEIR_HAVE_NGHTTP2
#include "gate/http2_server.h"

#include "core/worker_pool.h"
#include "gate/carrier.h"
#include "gate/clients.h"
#include "gate/extended_connect.h"
#include "gate/gate.h"
#include "gate/http2_conf.h"
#include "gate/http2_metrics.h"
#include "gate/http2_session.h"
#include "gate/listening.h"
#include "gate/upgraded.h"
#include "net/tcp.h"
#include "net/tls.h"

/* What an exchange needs first stands on its fiber's stack; or beside it, when it shall outlive that. */
#define FIRST_BYTES (6 * 1024)
#define KEPT_FIRST_BYTES 1920
/* What a WebSocket has still to say when it is over may take that long to leave. */
#define LINGER_US (5 * 1000000)

struct http2_conn {
    struct client_conn client;
    struct http2_session session;
    struct peer peer;
    uint64_t requests;
    bool secure;
    bool idle; /* counted among clients.parked_count */
};

/* One stream. */
struct request {
    struct exchange x;
    struct http2_conn *conn;
    struct http2_stream *stream;
    struct fiber *fiber;
    struct addr client;
    bool waits;     /* for its answer: when the client leaves it is given up */
    bool sends;     /* the answer's body: the same */
    bool started;   /* some of the answer is queued */
    bool continued; /* 100 was sent, or is not wanted */
    bool relayed;   /* it goes on without a fiber */
};

/* One that asks for another protocol (RFC 8441). */
struct kept_request {
    struct request r;
    struct upgraded upgraded;
    struct io *client;
    char first[KEPT_FIRST_BYTES] __attribute__((aligned(8)));
};

static void relay(struct kept_request *k);

static _Thread_local struct worker_pool conns;
static _Thread_local struct worker_pool kept; /* struct kept_request */

static struct http2_conn *conn_of(struct http2_session *c)
{
    return container_of(c, struct http2_conn, session);
}

/* ---- the request ---- */

static const struct client_conf *client_conf(const struct request *r)
{
    return r->x.gate->generation->conf->client;
}

static int client_fd(const struct exchange *x)
{
    const struct http2_session *c = &((const struct request *)x->carried)->conn->session;
    return c->io ? io_fd(c->io) : -1;
}

/* Nothing any more once the connection is lost. */
static struct bytes client_tls(const struct exchange *x, enum tls_fact fact)
{
    const struct http2_session *c = &((const struct request *)x->carried)->conn->session;
    return c->io ? tls_fact(tls_of(c->io), fact) : BYTES_NONE;
}

static bool client_covers(const struct exchange *x, struct bytes host)
{
    const struct http2_session *c = &((const struct request *)x->carried)->conn->session;
    return !c->io || tls_covers(tls_of(c->io), host);
}

static bool client_gone(const struct exchange *x)
{
    return ((const struct request *)x->carried)->stream->failed != OK;
}

static struct bytes put_status(unsigned status, char text[3])
{
    text[0] = (char)('0' + status / 100);
    text[1] = (char)('0' + status / 10 % 10);
    text[2] = (char)('0' + status % 10);
    return (struct bytes){ text, 3 };
}

static err send_interim(struct exchange *x, const struct http_response *response)
{
    struct request *r = x->carried;
    struct http2_session *c = &r->conn->session;
    struct http2_fields f;
    char status[3];
    if (r->stream->failed)
        return r->stream->failed;
    err e = http2_fields_open(&f, &x->arena, response->fields.count + 1, true);
    if (e)
        return e;
    http2_fields_put(&f, BYTES(":status"), put_status(response->status, status));
    e = http2_fields_put_all(&f, &x->arena, &response->fields);
    if (e)
        return e;
    nghttp2_submit_headers(c->ng, NGHTTP2_FLAG_NONE, r->stream->id, NULL, f.at, f.count, NULL);
    http2_session_soon(c);
    return OK;
}

static const struct carrier carrier = { .protocol = "HTTP/2",
                                        .interim = send_interim,
                                        .fd = client_fd,
                                        .tls = client_tls,
                                        .covers = client_covers,
                                        .gone = client_gone };

static void send_continue(struct http2_stream *s)
{
    struct request *r = s->owner;
    const struct http_response response = { .status = 100 };
    if (r->continued || r->started)
        return;
    r->continued = true;
    err e = send_interim(&r->x, &response);
    (void)e; /* the body will not come then */
}

static err request_body_pull(struct body *b, uint64_t deadline_us, struct bytes *ret_bytes)
{
    struct request *r = container_of(b, struct http2_stream, body)->owner;
    return exchange_note_body(&r->x, http2_body_pull(b, deadline_us, ret_bytes));
}

static const struct body_ops request_body_ops = {
    .pull = request_body_pull,
    .give = http2_body_give,
    .ready = http2_body_ready,
};

static void open_body(struct request *r)
{
    struct http2_stream *s = r->stream;
    const struct http_request *q = &r->x.request;
    const struct client_conf *conf = client_conf(r);
    r->continued = !q->expect_continue;
    if (q->framing == HTTP_BODY_NONE)
        return;
    s->bytes_max = conf->body_bytes_max;
    s->pause_ms_max = conf->body_timeout_ms;
    s->before_wait = q->expect_continue ? send_continue : NULL;
    s->body.ops = &request_body_ops;
    s->body.length = q->framing == HTTP_BODY_LENGTH ? q->content_length : BODY_LENGTH_UNKNOWN;
    r->x.request_body = &s->body;
}

/* ---- the answer ---- */

/* The body to be sent; NULL: none. */
static struct body *choose_body(struct exchange *x)
{
    struct http_response *a = &x->response;
    if (exchange_may_have_body(x) && x->response_body) {
        a->has_content_length = x->response_body->length != BODY_LENGTH_UNKNOWN;
        a->content_length = a->has_content_length ? x->response_body->length : 0;
        return a->has_content_length && !a->content_length ? NULL : x->response_body;
    }
    if (exchange_may_have_body(x)) {
        a->has_content_length = true;
        a->content_length = 0;
    } else if (a->status < 200 || a->status == 204) {
        a->has_content_length = false;
    }
    return NULL;
}

/* more: something follows it. */
static err put_head(struct request *r, bool more)
{
    struct exchange *x = &r->x;
    struct http2_session *c = &r->conn->session;
    struct http2_fields f;
    char status[3], length[20];
    err e = http2_fields_open(&f, &x->arena, x->response.fields.count + 2, !http2_session_is_clear(c));
    if (e)
        return e;
    http2_fields_put(&f, BYTES(":status"), put_status(x->response.status, status));
    e = http2_fields_put_all(&f, &x->arena, &x->response.fields);
    if (e)
        return e;
    if (x->response.has_content_length)
        http2_fields_put(&f, BYTES("content-length"),
                         (struct bytes){ length, u64_to_text(x->response.content_length, length) });
    nghttp2_data_provider provider = http2_stream_provider(r->stream);
    if (!more)
        r->stream->flags |= HTTP2_LAST | HTTP2_SAID;
    if (nghttp2_submit_response(c->ng, r->stream->id, f.at, f.count, more ? &provider : NULL))
        return ERR_PROTOCOL;
    r->started = true;
    http2_session_flush(c); /* what the fields point to is on this stack */
    return OK;
}

static err answer(struct request *r)
{
    struct exchange *x = &r->x;
    struct http2_stream *s = r->stream;
    bool from;
    err e = s->failed;
    if (x->request.upgrade)
        extended_connect_answer(x);
    struct body *body = x->tunnel ? NULL : choose_body(x);
    if (!e && body) {
        http2_stream_begin(s, body, body->length);
        if (body_ready(body))
            e = http2_stream_lend(s, x->deadline_us);
    }
    if (!e)
        e = s->failed ? s->failed : put_head(r, body || x->tunnel);
    if (!e && x->tunnel) {
        relay(container_of(r, struct kept_request, r));
        return OK;
    }
    if (!e && body) {
        r->sends = client_conf(r)->cancel_when_gone != GONE_OFF;
        e = http2_stream_send(s, client_conf(r)->write_timeout_ms * 1000, x->deadline_us, &from);
        r->sends = false;
        e = e && s->failed ? s->failed : e;
    }
    x->response_bytes = s->out_bytes;
    return e;
}

static void send_answer(struct request *r)
{
    err e = answer(r);
    if (e)
        r->x.failed = e;
}

/* ---- one stream ---- */

static void refuse(struct request *r, unsigned status)
{
    r->x.failed = ERR_SYNTAX;
    exchange_answer(&r->x, status, BYTES_NONE, BYTES_NONE, BYTES("http2"));
    send_answer(r);
}

static void serve(struct request *r)
{
    struct exchange *x = &r->x;
    gate_early(x, EARLY_HEAD);
    exchange_take_id(x);
    open_body(r);
    if (exchange_admit_body(x, BYTES("http2")) && !r->stream->failed) {
        r->waits = client_conf(r)->cancel_when_gone != GONE_OFF;
        r->conn->client.clients->serve(x);
        r->waits = false;
    }
    if (!x->client_gone)
        send_answer(r);
}

static void request_open(struct request *r, struct http2_stream *s, char *first, size_t first_bytes)
{
    struct exchange *x = &r->x;
    struct http2_conn *conn = conn_of(s->session);
    exchange_open(x, gate_current(), first, first_bytes);
    r->conn = conn;
    r->stream = s;
    r->fiber = fiber_self();
    r->waits = r->sends = r->started = r->relayed = false;
    r->continued = true;
    r->client = peer_addr(&conn->peer);
    x->client = &r->client;
    x->scheme = conn->secure ? "https" : conn->client.clients->scheme;
    x->carrier = &carrier;
    x->carried = r;
    s->owner = r;
    gate_early(x, EARLY_CLIENT);
}

static uint32_t code_of(const struct request *r)
{
    if (r->x.client_gone)
        return NGHTTP2_CANCEL;
    return r->x.failed && r->started && r->x.answered_by.len == 0 ? NGHTTP2_INTERNAL_ERROR : NGHTTP2_NO_ERROR;
}

static void request_close(struct request *r)
{
    if (r->conn->client.clients->done)
        r->conn->client.clients->done(&r->x);
    exchange_release(&r->x);
}

/* False: it is malformed, and gone. */
static bool run_request(struct request *r)
{
    struct http2_stream *s = r->stream;
    unsigned status = 400;
    err e = http2_head_request(&s->head, s->flags & HTTP2_BARE, &r->x.request, &status);
    if (!e && r->x.request.upgrade) {
        e = extended_connect_begin(&r->x);
        status = 431;
    }
    if (e == ERR_SYNTAX) {
        http2_count(HTTP2_MALFORMED);
        exchange_release(&r->x);
        http2_stream_leave(s, NGHTTP2_PROTOCOL_ERROR);
        return false;
    }
    if (e)
        refuse(r, status);
    else
        serve(r);
    return true;
}

static void run_kept(struct http2_stream *s)
{
    struct kept_request *k = worker_pool_take(&kept, sizeof(struct kept_request));
    request_open(&k->r, s, k->first, sizeof k->first);
    const bool there = run_request(&k->r);
    if (there && k->r.relayed)
        return;
    if (there) {
        const uint32_t code = code_of(&k->r);
        request_close(&k->r);
        http2_stream_leave(s, code);
    }
    worker_pool_give(&kept, k);
}

static void stream_run(void *arg)
{
    struct http2_stream *s = arg;
    struct {
        struct request r;
        char first[FIRST_BYTES] __attribute__((aligned(8)));
    } on_stack;
    if (s->head.protocol.ptr) {
        run_kept(s);
        return;
    }
    request_open(&on_stack.r, s, on_stack.first, sizeof on_stack.first);
    if (!run_request(&on_stack.r))
        return;
    const uint32_t code = code_of(&on_stack.r);
    request_close(&on_stack.r);
    http2_stream_leave(s, code);
}

/* ---- another protocol ---- */

static void relay_over(struct upgraded *u)
{
    struct kept_request *k = container_of(u, struct kept_request, upgraded);
    struct io *client = k->client;
    const bool broken = k->r.x.failed;
    request_close(&k->r);
    worker_pool_give(&kept, k);
    if (broken)
        io_abort(client, true);
    else
        io_close(client, LINGER_US, false);
}

/* The stream is the other protocol's, and ends with it. */
static void relay(struct kept_request *k)
{
    k->r.relayed = true;
    k->client = http2_stream_io(k->r.stream);
    upgraded_start(&k->upgraded, &k->r.x, k->client, relay_over);
}

/* ---- the connection ---- */

static void on_head(struct http2_stream *s)
{
    struct http2_session *c = s->session;
    struct http2_conn *conn = conn_of(c);
    const struct clients *clients = conn->client.clients;
    const int64_t requests_max = gate_current()->generation->conf->client->requests_max;
    c->last_id = s->id;
    if (c->used_count >= 2 * c->limits.streams_max) { /* those taken back are still being let go of */
        http2_count(HTTP2_REFUSED);
        http2_stream_reset(s, NGHTTP2_REFUSED_STREAM);
        return;
    }
    conn->requests++;
    http2_count(HTTP2_STREAMS);
    if (conn->idle) {
        conn->idle = false;
        conn->client.clients->parked_count--;
    }
    if (requests_max && conn->requests >= (uint64_t)requests_max && !clients->draining)
        http2_session_goaway(c, false);
    http2_stream_use(s);
    fiber_admit(stream_run, s);
}

static void on_lost(struct http2_stream *s)
{
    struct request *r = s->owner;
    http2_count(HTTP2_RESETS);
    if (!r || !(r->waits || r->sends))
        return;
    r->x.client_gone = r->waits;
    r->waits = r->sends = false;
    fiber_cancel(r->fiber); /* its server may say nothing for long */
}

static void on_look(struct http2_session *c)
{
    struct http2_conn *conn = conn_of(c);
    if (c->over)
        return;
    if (conn->client.clients->draining && !c->pinged && !c->goaway_sent)
        http2_session_goaway(c, false); /* it has heard that this is coming */
    if (c->streams_count == 0 && !conn->idle) {
        conn->idle = true;
        conn->client.clients->parked_count++;
        http2_session_rest(c);
    }
}

static uint64_t deadline(struct http2_session *c)
{
    const struct client_conf *conf = gate_current()->generation->conf->client;
    if (c->reading)
        return c->reading_us + conf->head_timeout_ms * 1000;
    if (!c->settled)
        return c->heard_us + conf->head_timeout_ms * 1000;
    return c->streams_count ? DEADLINE_NONE : deadline_in_ms(conf->idle_timeout_ms);
}

/* Nothing was asked for too long, or a head does not come to its end. */
static void on_overdue(struct http2_session *c)
{
    http2_session_close(c);
}

static void conn_free(struct http2_session *c)
{
    struct http2_conn *conn = conn_of(c);
    if (conn->idle)
        conn->client.clients->parked_count--;
    http2_count_by(HTTP2_CONNECTIONS_OPEN, -1);
    clients_remove(&conn->client);
    worker_pool_give(&conns, conn);
}

static void on_abused(struct http2_session *c, enum http2_abuse_kind kind)
{
    (void)c;
    (void)kind;
    http2_count(HTTP2_ABUSED);
}

static const struct http2_side side = {
    .server = true,
    .head = on_head,
    .lost = on_lost,
    .look = on_look,
    .overdue = on_overdue,
    .deadline = deadline,
    .free = conn_free,
    .abused = on_abused,
};

static struct http2_session *session_of(struct client_conn *client)
{
    return &container_of(client, struct http2_conn, client)->session;
}

/* RFC 9113 6.8: first that this is coming; when the answer to a PING is there nothing can be under way that
 * did not know. */
static void drain(struct client_conn *client)
{
    struct http2_session *c = session_of(client);
    if (c->over || c->goaway_sent)
        return;
    http2_session_goaway(c, true);
    c->pinged = true;
    nghttp2_submit_ping(c->ng, NGHTTP2_FLAG_NONE, NULL);
    http2_session_soon(c);
}

static void close_idle(struct client_conn *client, bool used_only)
{
    struct http2_session *c = session_of(client);
    if (c->over || (used_only && !container_of(client, struct http2_conn, client)->requests))
        return;
    if (c->streams_count)
        http2_session_goaway(c, false);
    else
        http2_session_close(c);
}

static void abort_conn(struct client_conn *client)
{
    http2_session_end(session_of(client), ERR_CANCELLED);
}

static const struct client_protocol protocol = { .drain = drain,
                                                 .close_idle = close_idle,
                                                 .abort = abort_conn };

static struct http2_limits limits_of(const struct client_conf *c, const struct http2_conf *h)
{
    return (struct http2_limits){
        .streams_max = (uint32_t)h->streams_max,
        .window_bytes = (uint32_t)h->window_bytes,
        .connection_bytes = (uint32_t)h->connection_window_bytes,
        .frame_bytes_max = (uint32_t)h->frame_bytes_max,
        .table_bytes = (uint32_t)h->table_bytes_max,
        .list_bytes_max = (uint32_t)(c->head_bytes_max + (uint64_t)c->fields_max * HTTP2_FIELD_EXTRA_BYTES),
        .fields_max = (uint32_t)c->fields_max,
        .abuse_scale = (uint32_t)h->patience,
        .write_timeout_ms = c->write_timeout_ms,
        .connect_protocol = h->connect,
    };
}

void http2_server_accept(struct clients *s, struct io *io, const struct peer *peer)
{
    const struct gate *gate = gate_current();
    const struct http2_conf *conf = listening_http2(gate, io_fd(io));
    if (!conf) { /* it has been turned off since the handshake began */
        io_close(io, 0, false);
        return;
    }
    struct http2_conn *conn = worker_pool_take(&conns, sizeof(struct http2_conn));
    *conn = (struct http2_conn){ .peer = peer && peer->family ? *peer : peer_of(io_fd(io)),
                                 .secure = tls_of(io) != NULL,
                                 .idle = true };
    conn->session.side = &side;
    conn->session.limits = limits_of(gate->generation->conf->client, conf);
    clients_add(s, &conn->client, &protocol);
    s->parked_count++;
    http2_count(HTTP2_CONNECTIONS);
    http2_count_by(HTTP2_CONNECTIONS_OPEN, 1);
    http2_session_open(&conn->session, io);
    http2_session_start(&conn->session);
}
#endif

#include "gate/http1_server.h"

#include <sys/socket.h>

#include "core/worker_pool.h"
#include "gate/carrier.h"
#include "gate/clients.h"
#include "gate/gate.h"
#include "gate/http1_body.h"
#include "gate/http1_gone.h"
#include "gate/http2_server.h"
#include "gate/listening.h"
#include "gate/proxied.h"
#include "gate/upgraded.h"
#include "net/tcp.h"
#include "net/tls.h"

/* What an exchange needs first stands on its fiber's stack; or beside it, when it shall outlive that. */
#define FIRST_BYTES (6 * 1024)
#define KEPT_FIRST_BYTES 2560
/* Fields that are added on the way to the server. */
#define KEPT_FIELDS_MORE 8
/* A request body that nobody wanted is read to its end if that is near; else the connection closes. */
#define DISCARD_BYTES_MAX (64 * 1024)
/* An answer before a closing may take that long to leave. */
#define LINGER_US (5 * 1000000)

#define REQUESTS_MAX ((1u << 29) - 1)

struct http1_conn {
    struct client_conn client;
    struct io *io;
    struct peer peer;
    uint32_t requests : 29; /* at most REQUESTS_MAX are counted */
    bool parked : 1;
    bool proxied : 1; /* a PROXY header is still to come */
};

_Static_assert(sizeof(struct http1_conn) <= 64, "an idle connection is one line here");

static _Thread_local struct worker_pool conns;
static _Thread_local struct worker_pool kept; /* struct kept_request */

/* One request of a connection. */
struct request {
    struct exchange x;
    struct http1_conn *conn;
    struct http1_body body;
    struct lease *head;
    struct addr client;
    bool close;     /* after this one */
    bool started;   /* some of the answer is queued */
    bool continued; /* 100 was sent, or is not wanted */
    bool kept;      /* it does not stand on a stack, nor its head in a buffer */
    bool relayed;   /* it goes on without a fiber */
    struct http1_gone gone;
};

/* One that asks for another protocol. */
struct kept_request {
    struct request r;
    struct upgraded upgraded;
    char first[KEPT_FIRST_BYTES] __attribute__((aligned(8)));
};

static void conn_run(void *arg);
static void relay(struct kept_request *k);

/* ---- connections ---- */

static void conn_free(struct http1_conn *c)
{
    clients_remove(&c->client);
    worker_pool_give(&conns, c);
}

static void conn_woke(void *owner, err why)
{
    struct http1_conn *c = owner;
    c->parked = false;
    c->client.clients->parked_count--;
    if (why == OK) {
        fiber_admit(conn_run, c);
        return;
    }
    io_close(c->io, 0, false);
    conn_free(c);
}

static void conn_park(struct http1_conn *c)
{
    const struct client_conf *conf = gate_current()->generation->conf->client;
    c->parked = true;
    c->client.clients->parked_count++;
    io_park(c->io, conn_woke, c, deadline_in_ms(c->proxied ? conf->head_timeout_ms : conf->idle_timeout_ms));
}

static void close_idle(struct client_conn *client, bool used_only)
{
    struct http1_conn *c = container_of(client, struct http1_conn, client);
    char first;
    if (!c->parked || (used_only && !c->requests) ||
        recv(io_fd(c->io), &first, 1, MSG_PEEK | MSG_DONTWAIT) > 0)
        return; /* a request is there, that the loop has not told yet */
    io_unpark(c->io);
    conn_woke(c, ERR_CANCELLED);
}

static void abort_conn(struct client_conn *client)
{
    shutdown(io_fd(container_of(client, struct http1_conn, client)->io), SHUT_RDWR);
}

static const struct client_protocol protocol = { .close_idle = close_idle, .abort = abort_conn };

static void accept_conn(struct clients *s, struct io *io, bool proxied, const struct peer *peer)
{
    struct http1_conn *c = worker_pool_take(&conns, sizeof(struct http1_conn));
    *c = (struct http1_conn){ .io = io, .proxied = proxied, .peer = peer ? *peer : (struct peer){ 0 } };
    clients_add(s, &c->client, &protocol);
    conn_park(c);
}

void http1_server_accept(struct clients *s, struct io *io)
{
    accept_conn(s, io, false, NULL);
}

void http1_server_accept_from(struct clients *s, struct io *io, const struct peer *peer)
{
    accept_conn(s, io, false, peer);
}

void http1_server_accept_proxied(struct clients *s, struct io *io)
{
    accept_conn(s, io, true, NULL);
}

/* ---- the request ---- */

static struct bytes client_tls(const struct exchange *x, enum tls_fact fact)
{
    return tls_fact(tls_of(((const struct request *)x->carried)->conn->io), fact);
}

static bool client_covers(const struct exchange *x, struct bytes host)
{
    return tls_covers(tls_of(((const struct request *)x->carried)->conn->io), host);
}

static int client_fd(const struct exchange *x)
{
    return io_fd(((const struct request *)x->carried)->conn->io);
}

static bool client_gone(const struct exchange *x)
{
    const struct io *io = ((const struct request *)x->carried)->conn->io;
    return io_peer_ended(io) || io_failed(io) != OK;
}

static const struct client_conf *client_conf(const struct request *r)
{
    return r->x.gate->generation->conf->client;
}

static err read_head(struct request *r, size_t *ret_used, unsigned *ret_status)
{
    struct io *io = r->conn->io;
    const struct http1_limits *limits = &r->x.gate->generation->client_limits;
    uint64_t deadline_us = 0;
    struct bytes in = io_peek(io);
    size_t seen = 0;
    for (;;) {
        err e = http1_parse_request(in, seen, limits, &r->x.request, ret_used, ret_status);
        if (e != ERR_AGAIN)
            return e;
        if (!deadline_us)
            deadline_us = deadline_in_ms(client_conf(r)->head_timeout_ms);
        seen = in.len;
        e = io_pull_more(io, seen, deadline_us, &in);
        if (e) {
            *ret_status = e == ERR_TIMEOUT ? 408 : 0;
            return e;
        }
    }
}

static void send_continue(struct http1_body *b)
{
    struct request *r = b->owner;
    if (r->continued || r->started)
        return;
    r->continued = true;
    (void)!io_write(b->io, BYTES("HTTP/1.1 100 Continue\r\n\r\n"), DEADLINE_NONE);
}

static err request_body_pull(struct body *b, uint64_t deadline_us, struct bytes *ret_bytes)
{
    struct request *r = container_of(b, struct http1_body, body)->owner;
    return exchange_note_body(&r->x, http1_body_pull(b, deadline_us, ret_bytes));
}

static const struct body_ops request_body_ops = {
    .pull = request_body_pull,
    .give = http1_body_give,
    .raw = http1_body_raw,
    .moved = http1_body_moved,
    .ready = http1_body_ready,
};

static void open_body(struct request *r)
{
    struct http_request *q = &r->x.request;
    const struct client_conf *conf = client_conf(r);
    http1_body_init(&r->body, r->conn->io, q->framing, q->content_length, conf->body_bytes_max,
                    conf->body_timeout_ms, &r->x.gate->generation->client_limits, &r->x.arena);
    if (q->framing == HTTP_BODY_NONE)
        return;
    r->body.body.ops = &request_body_ops;
    r->body.owner = r;
    r->continued = !q->expect_continue;
    if (q->expect_continue)
        r->body.before_wait = send_continue;
    r->x.request_body = &r->body.body;
}

/* ---- the answer ---- */

static err send_interim(struct exchange *x, const struct http_response *response)
{
    struct request *r = x->carried;
    struct io *io = r->conn->io;
    if (x->request.version_minor == 0) /* RFC 9110 15.2: none to a 1.0 client */
        return OK;
    size_t size = http1_response_size(response);
    if (size > IO_BUFFER_BYTES)
        return ERR_LIMIT;
    char *out = io_out(io, size);
    io_out_end(io, (size_t)(http1_put_response(out, response, false, HTTP1_CONNECTION_DEFAULT) - out));
    return OK;
}

static const struct carrier carrier = {
    .interim = send_interim, .fd = client_fd, .tls = client_tls, .covers = client_covers, .gone = client_gone
};

static void choose_framing(struct request *r)
{
    struct exchange *x = &r->x;
    struct http_response *a = &x->response;
    if (!exchange_may_have_body(x) || !x->response_body) {
        /* of an answer to HEAD, Content-Length says what a GET would have brought */
        bool says_length = (x->request.method == HTTP_HEAD || a->status == 304) && a->has_content_length;
        a->framing = says_length && a->content_length ? HTTP_BODY_LENGTH : HTTP_BODY_NONE;
        return;
    }
    if (x->response_body->length != BODY_LENGTH_UNKNOWN) {
        a->content_length = x->response_body->length;
        a->framing = a->content_length ? HTTP_BODY_LENGTH : HTTP_BODY_NONE;
    } else if (x->request.version_minor >= 1) {
        a->framing = HTTP_BODY_CHUNKED;
    } else {
        a->framing = HTTP_BODY_CLOSE;
        r->close = true;
    }
}

static enum http1_connection connection_field(const struct request *r)
{
    if (r->x.tunnel)
        return HTTP1_CONNECTION_UPGRADE;
    if (r->close)
        return HTTP1_CONNECTION_CLOSE;
    if (r->x.response.status == 426) /* RFC 9110 15.5.22: it says what to change to */
        return HTTP1_CONNECTION_UPGRADE;
    return r->x.request.version_minor == 0 ? HTTP1_CONNECTION_KEEP_ALIVE : HTTP1_CONNECTION_DEFAULT;
}

static uint64_t write_deadline(const struct request *r)
{
    return deadline_in_ms(client_conf(r)->write_timeout_ms);
}

static err write_head(struct request *r)
{
    struct exchange *x = &r->x;
    struct io *io = r->conn->io;
    bool head = x->request.method == HTTP_HEAD;
    enum http1_connection connection = connection_field(r);
    size_t size = http1_response_size(&x->response);
    r->started = true;
    if (size <= IO_BUFFER_BYTES) {
        char *out = io_out(io, size);
        io_out_end(io, (size_t)(http1_put_response(out, &x->response, head, connection) - out));
        return OK;
    }
    char *out = arena_get(&x->arena, size);
    if (!out)
        return ERR_LIMIT;
    struct bytes text = { out, (size_t)(http1_put_response(out, &x->response, head, connection) - out) };
    return io_write(io, text, write_deadline(r));
}

/* Chunks of one piece are what a server meant to be seen at once; the loop sends them at the end of its turn.
 */
static err write_body(struct request *r)
{
    struct exchange *x = &r->x;
    bool from_server;
    if (!x->response_body || !exchange_may_have_body(x) || x->response.framing == HTTP_BODY_NONE)
        return OK;
    http1_gone_watch(&r->gone, r->conn->io, x, client_conf(r), true);
    err e = http1_body_send(r->conn->io, x->response_body, x->response.framing, x->response.content_length,
                            client_conf(r)->write_timeout_ms * 1000, x->deadline_us, &x->response_bytes,
                            &from_server);
    if (!http1_gone_unwatch(&r->gone))
        return e;
    r->close = true; /* and this fiber, being cancelled, serves no other request */
    return e ? ERR_RESET : OK;
}

static void send_answer(struct request *r)
{
    struct exchange *x = &r->x;
    err e;
    if (r->conn->client.clients->draining ||
        x->gate->generation->conf->client->requests_max == (int64_t)r->conn->requests)
        r->close = true;
    if (x->request_failed || (x->request.expect_continue && !r->continued))
        r->close = true; /* what the client sends next may or may not be that body */
    choose_framing(r);
    e = write_head(r);
    if (!e && x->tunnel)
        relay(container_of(r, struct kept_request, r));
    else if (!e)
        e = write_body(r);
    if (e) {
        x->failed = e;
        r->close = true;
    }
}

/* ---- one request after the other ---- */

/* The rest of a request body that nobody read. False: the connection cannot go on. */
static bool finish_body(struct request *r)
{
    if (!r->x.request_body || (r->x.request.expect_continue && !r->continued))
        return true;
    return http1_body_finish(&r->body, DISCARD_BYTES_MAX);
}

static void refuse(struct request *r, unsigned status)
{
    struct exchange *x = &r->x;
    x->failed = status == 408 ? ERR_TIMEOUT : ERR_SYNTAX;
    x->request.version_minor = 1;
    exchange_answer(x, status, BYTES_NONE, BYTES_NONE, BYTES("http1"));
    r->close = true;
    send_answer(r);
}

static void serve(struct request *r, size_t used)
{
    struct exchange *x = &r->x;
    gate_early(x, EARLY_HEAD);
    if (!r->kept)
        r->head = io_hold(r->conn->io);
    io_consume(r->conn->io, used);
    if (!x->request.keep_alive)
        r->close = true;
    exchange_take_id(x);
    open_body(r);
    if (exchange_admit_body(x, BYTES("http1"))) {
        http1_gone_watch(&r->gone, r->conn->io, x, client_conf(r), false);
        r->conn->client.clients->serve(x);
        (void)http1_gone_unwatch(&r->gone);
    }
    if (x->client_gone)
        r->close = true;
    else
        send_answer(r);
}

static void request_open(struct request *r, struct http1_conn *c, char *first, size_t first_bytes,
                         uint32_t fields_max)
{
    struct exchange *x = &r->x;
    exchange_open(x, gate_current(), first, first_bytes);
    r->conn = c;
    r->head = NULL;
    r->close = r->started = r->kept = r->relayed = false;
    r->continued = true;
    if (!c->peer.family)
        c->peer = peer_of(io_fd(c->io));
    r->client = peer_addr(&c->peer);
    x->client = &r->client;
    x->scheme = tls_of(c->io) ? "https" : c->client.clients->scheme;
    x->carrier = &carrier;
    x->carried = r;
    x->request.fields.at = arena_get(&x->arena, fields_max * sizeof *x->request.fields.at);
    x->request.fields.count_max = x->request.fields.at ? fields_max : 0;
}

static void request_close(struct request *r)
{
    struct exchange *x = &r->x;
    if (r->conn->client.clients->done)
        r->conn->client.clients->done(x);
    exchange_release(x);
    if (r->head)
        lease_drop(r->head);
}

/* RELAYED: somebody else says what is next, later. */
enum next { NEXT_MORE, NEXT_PARK, NEXT_CLOSE, NEXT_DISCARD, NEXT_ABORT, NEXT_RELAYED, NEXT_HTTP2 };

/* RFC 9113 3.4: a client of HTTP/2 begins with what looks like a request of a version that we do not know. */
static bool is_http2(const struct http1_conn *c, unsigned status, const struct gate *g)
{
    return status == 505 && !c->requests && bytes_starts(io_peek(c->io), BYTES("PRI * HTTP/2.0\r\n")) &&
           listening_http2(g, io_fd(c->io));
}

/* e: of its head. */
static enum next end_request(struct request *r, err e)
{
    struct http1_conn *c = r->conn;
    bool broken = r->x.failed && r->started && r->x.answered_by.len == 0;
    bool whole = !e && finish_body(r);
    bool close = r->close;
    bool keep_alive = !e && r->x.request.keep_alive && (!r->x.tunnel || r->x.close_code);
    request_close(r);
    if (broken || io_failed(c->io))
        return NEXT_ABORT; /* the client must not take a cut answer for a whole one */
    if (!whole)
        return NEXT_DISCARD;
    if (close) /* of our own accord: the client may have sent more already, and a reset would take the answer
                */
        return keep_alive ? NEXT_DISCARD : NEXT_CLOSE;
    return io_peek(c->io).len ? NEXT_MORE : NEXT_PARK;
}

static enum next serve_kept(struct http1_conn *c, uint64_t start_us, size_t used, uint32_t fields)
{
    struct kept_request *k = worker_pool_take(&kept, sizeof(struct kept_request));
    struct exchange *x = &k->r.x;
    unsigned status = 431;
    request_open(&k->r, c, k->first, sizeof k->first, fields + KEPT_FIELDS_MORE);
    k->r.kept = true;
    x->arena.source = &arena_heap; /* a worker's chunks are too large to be kept for that long */
    x->start_us = start_us;
    struct bytes head = arena_copy(&x->arena, (struct bytes){ io_peek(c->io).ptr, used });
    err e = ERR_LIMIT;
    if (head.ptr && x->request.fields.at)
        e = http1_parse_request(head, 0, &x->gate->generation->client_limits, &x->request, &used, &status);
    if (e)
        refuse(&k->r, status);
    else
        serve(&k->r, used);
    if (k->r.relayed)
        return NEXT_RELAYED;
    enum next next = end_request(&k->r, e);
    worker_pool_give(&kept, k);
    return next;
}

static enum next serve_one(struct http1_conn *c)
{
    struct {
        struct request r;
        char first[FIRST_BYTES] __attribute__((aligned(8)));
    } on_stack;
    struct request *r = &on_stack.r;
    size_t used = 0;
    unsigned status = 0;
    request_open(r, c, on_stack.first, sizeof on_stack.first,
                 gate_current()->generation->client_limits.fields_max);
    gate_early(&r->x, EARLY_CLIENT);
    err e = read_head(r, &used, &status);
    if (e && !status) { /* gone before it had asked for anything */
        exchange_release(&r->x);
        return NEXT_CLOSE;
    }
    if (e && is_http2(c, status, r->x.gate)) {
        exchange_release(&r->x);
        return NEXT_HTTP2;
    }
    if (c->requests < REQUESTS_MAX)
        c->requests++;
    if (!e && r->x.request.upgrade) {
        uint64_t start_us = r->x.start_us;
        uint32_t fields = r->x.request.fields.count;
        exchange_release(&r->x);
        return serve_kept(c, start_us, used, fields);
    }
    if (e)
        refuse(r, status);
    else
        serve(r, used);
    return end_request(r, e);
}

/* Who the client is, before its first request. */
static enum next read_proxied(struct http1_conn *c)
{
    struct proxy_protocol said;
    uint64_t deadline_us = deadline_in_ms(gate_current()->generation->conf->client->head_timeout_ms);
    c->peer = peer_of(io_fd(c->io));
    if (proxied_read(c->io, &c->peer, deadline_us, &said))
        return NEXT_CLOSE;
    c->proxied = false;
    if (!said.local)
        c->peer = peer_from(&said.source);
    return io_peek(c->io).len ? NEXT_MORE : NEXT_PARK;
}

static void become_http2(struct http1_conn *c)
{
    struct clients *clients = c->client.clients;
    struct io *io = c->io;
    struct peer peer = c->peer;
    conn_free(c);
#if WEIR_HAVE_NGHTTP2
    http2_server_accept(clients, io, &peer);
#else
    (void)clients;
    (void)peer;
    io_close(io, 0, false); /* its settings cannot be had: see http2_conf.c */
#endif
}

static void conn_go_on(struct http1_conn *c, enum next next)
{
    if (next == NEXT_PARK) {
        conn_park(c);
        return;
    }
    if (next == NEXT_HTTP2) {
        become_http2(c);
        return;
    }
    if (next == NEXT_ABORT)
        io_abort(c->io, true);
    else
        io_close(c->io, LINGER_US, next == NEXT_DISCARD);
    conn_free(c);
}

static void conn_run(void *arg)
{
    struct http1_conn *c = arg;
    enum next next = c->proxied ? read_proxied(c) : NEXT_MORE;
    while (next == NEXT_MORE)
        next = serve_one(c);
    if (next != NEXT_RELAYED)
        conn_go_on(c, next);
}

/* ---- another protocol ---- */

static void relay_over(struct upgraded *u)
{
    struct kept_request *k = container_of(u, struct kept_request, upgraded);
    struct http1_conn *c = k->r.conn;
    enum next next = end_request(&k->r, OK);
    worker_pool_give(&kept, k);
    conn_go_on(c, next);
}

/* The connection is the other protocol's, and ends with it. */
static void relay(struct kept_request *k)
{
    k->r.relayed = k->r.close = true;
    upgraded_start(&k->upgraded, &k->r.x, k->r.conn->io, relay_over);
}

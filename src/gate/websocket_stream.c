/* A WebSocket whose client is on a stream of HTTP/2 or /3.
 *
 *      client ── x->client_stream ──▶ pump (a fiber) ───────────────▶ the server's connection
 *             ◀── the answer's body: pulled by the carrier's fiber ◀──
 *
 * To the carrier it is a 200 whose body ends when the WebSocket does. What the pump has to tell the other
 * fiber while that waits for the server interrupts it. */
#include "gate/carrier.h"
#include "gate/gate.h"
#include "gate/websocket_relay.h"

/* A ping, a Close, and no more: after a Close nothing is said. */
#define OWN_BYTES_MAX ((size_t)2 * WEBSOCKET_CONTROL_BYTES_MAX)

struct relay {
    struct websocket websocket;
    struct body body; /* the answer's */
    struct exchange *x;
    struct io *server;
    struct body *client;      /* what it says */
    struct body *from_server; /* of the 101: closing it gives the connection back */
    struct fiber *puller;     /* while it waits for the server */
    struct fiber *pump, *pump_waiter;
    bool interrupted, ended, pump_over;
    err failed;
    size_t own; /* frames of our own for the client, not taken yet */
    size_t carried;
    char own_text[OWN_BYTES_MAX];
    char carry[OWN_BYTES_MAX]; /* of the client's, what is not whole */
};

static struct relay *relay_of(struct websocket *w)
{
    return container_of(w, struct relay, websocket);
}

/* The puller has something to look at. */
static void wake(struct relay *r)
{
    r->x->close_code = r->websocket.code;
    if (!r->puller || r->interrupted || r->puller == fiber_self())
        return;
    r->interrupted = true;
    fiber_interrupt(r->puller);
}

/* ---- frames of our own ---- */

static void write_own(struct websocket *w, unsigned side, struct bytes frame)
{
    struct relay *r = relay_of(w);
    if (side == 1) {
        memcpy(io_out(r->server, frame.len), frame.ptr, frame.len);
        io_out_end(r->server, frame.len);
        return;
    }
    if (frame.len > OWN_BYTES_MAX - r->own)
        return; /* pings that the client's side does not take: it will be found not to answer */
    memcpy(r->own_text + r->own, frame.ptr, frame.len);
    r->own += frame.len;
    wake(r);
}

static void look_again(struct websocket *w)
{
    wake(relay_of(w));
}

static const struct websocket_ends ends = { write_own, look_again };

/* ---- from the client ---- */

static uint64_t stall_deadline(const struct relay *r)
{
    return deadline_in_ms(r->x->service->conf->idle_timeout_ms);
}

/* *ret_used 0: more is wanted. */
static err take(struct relay *r, struct bytes run, size_t *ret_used)
{
    struct tunnel_way *w = &r->websocket.tunnel.ways[0];
    const struct tunnel_cut cut = websocket_ops.look(w, run);
    *ret_used = cut.pass + cut.drop;
    r->x->request_bytes += cut.pass;
    return cut.pass ? io_write(r->server, (struct bytes){ run.ptr, cut.pass }, stall_deadline(r)) : OK;
}

/* A head or a control frame that came in pieces. */
static err take_carried(struct relay *r, struct bytes *piece)
{
    while (r->carried && piece->len) {
        const size_t room = sizeof r->carry - r->carried;
        const size_t n = piece->len < room ? piece->len : room;
        size_t used;
        memcpy(r->carry + r->carried, piece->ptr, n);
        err e = take(r, (struct bytes){ r->carry, r->carried + n }, &used);
        if (e)
            return e;
        if (!used) { /* all of the piece is in it now */
            r->carried += n;
            *piece = bytes_skip(*piece, n);
            continue;
        }
        /* it reaches into the piece: what was carried alone was not enough */
        *piece = bytes_skip(*piece, used > r->carried ? used - r->carried : 0);
        r->carried = 0;
    }
    return OK;
}

static err take_piece(struct relay *r, struct bytes piece)
{
    err e = take_carried(r, &piece);
    while (!e && piece.len && !r->websocket.tunnel.ending) {
        size_t used;
        e = take(r, piece, &used);
        if (e)
            break;
        if (!used) {
            memcpy(r->carry, piece.ptr, piece.len);
            r->carried = piece.len;
            break;
        }
        piece = bytes_skip(piece, used);
    }
    return e;
}

static err pump_all(struct relay *r)
{
    while (!r->websocket.tunnel.ending) {
        struct bytes piece;
        err e = body_pull(r->client, DEADLINE_NONE, &piece);
        if (!e && !piece.len) {
            io_end(r->server);
            websocket_ops.ended(&r->websocket.tunnel.ways[0]);
            return OK;
        }
        if (!e)
            e = take_piece(r, piece);
        if (e)
            return e;
        body_give(r->client, piece.len);
    }
    return OK;
}

static void pump_run(void *arg)
{
    struct relay *r = arg;
    r->pump = fiber_self();
    const err e = pump_all(r);
    r->pump = NULL;
    r->pump_over = true;
    if (e) {
        r->failed = e;
        r->websocket.tunnel.ending = true;
    }
    wake(r);
    if (r->pump_waiter)
        fiber_wake(r->pump_waiter);
}

/* ---- from the server ---- */

static uint64_t next_deadline(const struct relay *r)
{
    const struct tunnel_way *ways = r->websocket.tunnel.ways;
    const uint64_t a = websocket_ops.deadline(&ways[0]);
    const uint64_t b = websocket_ops.deadline(&ways[1]);
    return a < b ? a : b;
}

static void look_at_time(struct relay *r)
{
    for (unsigned side = 0; side < 2; side++) {
        struct tunnel_way *w = &r->websocket.tunnel.ways[side];
        if (websocket_ops.deadline(w) <= worker_now_us())
            websocket_ops.due(w);
    }
}

/* have: unconsumed bytes that are not enough. */
static err wait_for_server(struct relay *r, size_t have, struct bytes *ret_run)
{
    r->puller = fiber_self();
    err e = have ? io_pull_more(r->server, have, next_deadline(r), ret_run)
                 : io_pull(r->server, next_deadline(r), ret_run);
    r->puller = NULL;
    if (r->interrupted) {
        r->interrupted = false;
        fiber_interrupt_end();
        return e == ERR_CANCELLED ? ERR_AGAIN : e;
    }
    return e;
}

static void server_ended(struct relay *r)
{
    websocket_ops.ended(&r->websocket.tunnel.ways[1]);
    r->ended = true;
}

/* Something for the client, or the end (then ended is set). */
static err pull_server(struct relay *r, struct bytes *ret_bytes)
{
    size_t have = 0;
    for (;;) {
        struct bytes run = io_peek(r->server);
        if (r->own || r->websocket.tunnel.ending)
            return OK;
        if (run.len > have) {
            const struct tunnel_cut cut = websocket_ops.look(&r->websocket.tunnel.ways[1], run);
            *ret_bytes = (struct bytes){ run.ptr, cut.pass };
            if (cut.pass)
                return OK;
            io_consume(r->server, cut.drop);
            have = cut.drop ? 0 : run.len;
            continue;
        }
        err e = wait_for_server(r, have, &run);
        if (e == ERR_TIMEOUT)
            look_at_time(r);
        else if (e == ERR_CLOSED)
            server_ended(r);
        else if (e && e != ERR_AGAIN)
            return e;
        if (r->ended)
            return OK;
    }
}

static err relay_pull(struct body *b, uint64_t deadline_us, struct bytes *ret_bytes)
{
    (void)deadline_us; /* the relay has its own */
    struct relay *r = container_of(b, struct relay, body);
    err e = OK;
    *ret_bytes = BYTES_NONE;
    if (!r->own && !r->ended)
        e = pull_server(r, ret_bytes);
    if (!e && !ret_bytes->len && r->own)
        *ret_bytes = (struct bytes){ r->own_text, r->own };
    r->x->close_code = r->websocket.code;
    return e ? e : ret_bytes->len ? OK : r->failed;
}

static void relay_give(struct body *b, size_t n)
{
    struct relay *r = container_of(b, struct relay, body);
    if (!r->own) {
        io_consume(r->server, n);
        return;
    }
    r->own -= n;
    memmove(r->own_text, r->own_text + n, r->own);
}

static void stop_pump(struct relay *r)
{
    if (r->pump_over)
        return;
    r->pump_waiter = fiber_self();
    if (r->pump)
        fiber_cancel(r->pump);
    while (!r->pump_over) {
        if (fiber_wait(DEADLINE_NONE) != OK)
            fiber_yield(); /* this fiber is being cancelled itself: the pump still has to end first */
    }
}

static void relay_close(struct body *b)
{
    struct relay *r = container_of(b, struct relay, body);
    r->websocket.tunnel.ending = true;
    stop_pump(r);
    (void)websocket_close(&r->websocket, OK);
    body_close(r->from_server);
}

static const struct body_ops relay_ops = { .pull = relay_pull, .give = relay_give, .close = relay_close };

/* RFC 8441 5: what belongs to HTTP/1.1's handshake does not exist on a stream. */
static void make_head(struct exchange *x)
{
    struct http_response *a = &x->response;
    http_fields_remove_id(&a->fields, FIELD_UPGRADE);
    http_fields_remove_id(&a->fields, FIELD_CONNECTION);
    http_fields_remove(&a->fields, BYTES("Sec-WebSocket-Accept"));
    a->status = 200;
    a->reason = http_reason(200);
    a->has_content_length = false;
    a->framing = HTTP_BODY_CHUNKED;
}

err websocket_answer(struct exchange *x)
{
    struct relay *r = arena_get_zero(&x->arena, sizeof *r);
    if (!r)
        return ERR_LIMIT;
    websocket_open(&r->websocket, x, &ends);
    r->body = (struct body){ .ops = &relay_ops, .length = BODY_LENGTH_UNKNOWN };
    r->x = x;
    r->client = x->client_stream;
    r->server = x->tunnel;
    r->from_server = x->response_body;
    make_head(x);
    x->tunnel = NULL;
    x->client_stream = NULL;
    x->response_body = &r->body;
    x->deadline_us = DEADLINE_NONE;
    fiber_spawn(pump_run, r);
    fiber_yield(); /* until it runs for the first time nobody can cancel it: let it */
    websocket_opened(&r->websocket);
    return OK;
}

#include "gate/websocket.h"

#include "base/hash.h"
#include "gate/gate.h"

/* So many are closed in one turn of the loop: what is queued for a connection takes a buffer until then. */
#define DRAIN_BATCH 128
#define DRAIN_PAUSE_US 1000

/* Of this worker. */
static _Thread_local struct {
    bool ready;
    bool draining;
    struct link all;
    struct link drained; /* those that have been told */
} here;

static unsigned from_of(const struct tunnel_way *w)
{
    return (unsigned)(w - w->tunnel->ways);
}

static struct websocket *of_way(const struct tunnel_way *w)
{
    return container_of(w->tunnel, struct websocket, tunnel);
}

static struct io *side_io(const struct websocket *ws, unsigned side)
{
    return ws->tunnel.ways[side].from;
}

static uint64_t later(uint64_t from_us, uint64_t us)
{
    return us < DEADLINE_NONE - from_us ? from_us + us : DEADLINE_NONE;
}

/* ---- frames of our own ---- */

/* May one stand behind what has gone to that side so far? */
static bool can_write(const struct websocket *ws, unsigned side)
{
    return !ws->told[side] && websocket_at_boundary(&ws->streams[!side]);
}

/* RFC 6455 5.3: what goes to a server is masked, each time anew. */
static const unsigned char *mask_for(unsigned side, unsigned char ret_mask[4])
{
    const uint64_t random = random_u64();
    memcpy(ret_mask, &random, 4);
    return side == 0 ? NULL : ret_mask;
}

#define PING_BYTES 8

static struct bytes ping_payload(const struct websocket *ws, char ret_text[PING_BYTES])
{
    memcpy(ret_text, "weir", 4);
    memcpy(ret_text + 4, &ws->ping_word, 4);
    return (struct bytes){ ret_text, PING_BYTES };
}

static void send_ping(struct websocket *ws, unsigned side)
{
    char text[PING_BYTES];
    unsigned char mask[4];
    struct io *io = side_io(ws, side);
    char *out = io_out(io, WEBSOCKET_CONTROL_BYTES_MAX);
    io_out_end(io, websocket_put_control(out, WEBSOCKET_PING, ping_payload(ws, text), mask_for(side, mask)));
    ws->pinged_us[side] = worker_now_us();
    metric_inc(ws->route->cells, WEBSOCKET_PINGS);
}

static struct bytes reason_of(unsigned code)
{
    switch (code) {
    case WEBSOCKET_CODE_GOING_AWAY:
        return BYTES("going away");
    case WEBSOCKET_CODE_PROTOCOL_ERROR:
        return BYTES("not what RFC 6455 allows");
    case WEBSOCKET_CODE_BAD_DATA:
        return BYTES("a reason that is not UTF-8");
    case WEBSOCKET_CODE_TOO_BIG:
        return BYTES("message too big");
    case WEBSOCKET_CODE_INTERNAL_ERROR:
        return BYTES("no answer to a ping");
    case WEBSOCKET_CODE_BAD_GATEWAY:
        return BYTES("the server broke the protocol");
    default:
        return BYTES_NONE;
    }
}

/* ---- closing ---- */

/* Both have been told, and both have answered or are gone. */
static bool is_over(const struct websocket *ws)
{
    return ws->told[0] && ws->told[1] && ws->streams[0].closed && ws->streams[1].closed;
}

static void pay_close(struct websocket *ws, unsigned side)
{
    unsigned char mask[4];
    if (!ws->owed[side] || !can_write(ws, side))
        return;
    struct io *io = side_io(ws, side);
    char *out = io_out(io, WEBSOCKET_CONTROL_BYTES_MAX);
    io_out_end(io, websocket_put_close(out, ws->owed[side], reason_of(ws->owed[side]), mask_for(side, mask)));
    ws->told[side] = true;
    ws->owed[side] = 0;
}

/* There is a time from which on nobody waits any more. The deadlines of both ways may have come nearer. */
static void begin_closing(struct websocket *ws, unsigned code)
{
    if (!ws->code)
        ws->code = (uint16_t)code;
    if (ws->close_us != DEADLINE_NONE)
        return;
    ws->close_us = later(worker_now_us(), ws->route->conf->close_timeout_ms * 1000);
    tunnel_look_again(&ws->tunnel);
}

/* Of our own accord: each side gets a Close as soon as no frame is on its way to it. */
static void close_both(struct websocket *ws, unsigned client_code, unsigned server_code, unsigned why)
{
    const unsigned codes[] = { client_code, server_code };
    for (unsigned side = 0; side < 2; side++) {
        if (!ws->told[side] && !ws->owed[side])
            ws->owed[side] = (uint16_t)codes[side];
        pay_close(ws, side);
    }
    begin_closing(ws, why);
}

/* One side is at fault. */
static void close_for(struct websocket *ws, unsigned side, unsigned code)
{
    const bool broke = code == WEBSOCKET_CODE_PROTOCOL_ERROR || code == WEBSOCKET_CODE_BAD_DATA;
    if (side == 0)
        close_both(ws, code, WEBSOCKET_CODE_GOING_AWAY, code);
    else
        close_both(ws, broke ? WEBSOCKET_CODE_BAD_GATEWAY : WEBSOCKET_CODE_GOING_AWAY, code, code);
}

/* ---- what passes ---- */

/* Nothing goes to the other side any more; a Close is waited for. */
static struct tunnel_cut discard(struct websocket *ws, unsigned from, struct bytes run)
{
    struct websocket_stream *s = &ws->streams[from];
    struct websocket_step step = { .n = run.len };
    if (!s->closed)
        websocket_follow(s, run, &step);
    if (step.kind == WEBSOCKET_FAILS) {
        s->closed = true;
        step.n = run.len;
    }
    if (is_over(ws))
        ws->tunnel.ending = true;
    return (struct tunnel_cut){ .drop = step.n };
}

static void count_passed(struct websocket *ws, unsigned from, const struct websocket_step *step)
{
    struct metric_cells *cells = ws->route->cells;
    ws->active_us = worker_now_us();
    metric_add(cells, from ? WEBSOCKET_SERVER_BYTES : WEBSOCKET_CLIENT_BYTES, step->n);
    if (step->messages)
        metric_add(cells, from ? WEBSOCKET_SERVER_MESSAGES : WEBSOCKET_CLIENT_MESSAGES, step->messages);
}

static bool is_our_pong(const struct websocket *ws, const struct websocket_step *step)
{
    char text[PING_BYTES];
    return step->opcode == WEBSOCKET_PONG && bytes_eq(step->payload, ping_payload(ws, text));
}

static struct tunnel_cut take_control(struct websocket *ws, unsigned from, const struct websocket_step *step)
{
    if (is_our_pong(ws, step))
        return (struct tunnel_cut){ .drop = step->n };
    count_passed(ws, from, step);
    if (step->opcode == WEBSOCKET_CLOSE) {
        ws->told[!from] = true;
        begin_closing(ws, step->code);
    }
    return (struct tunnel_cut){ .pass = step->n };
}

static struct tunnel_cut look(struct tunnel_way *w, struct bytes run)
{
    struct websocket *ws = of_way(w);
    const unsigned from = from_of(w);
    struct websocket_stream *s = &ws->streams[from];
    struct websocket_step step;
    ws->heard_us[from] = worker_now_us();
    ws->pinged_us[from] = 0;
    pay_close(ws, !from);
    if (ws->told[!from])
        return discard(ws, from, run);
    if (ws->owed[!from] && run.len > s->left) /* its frame passes, and no more */
        run.len = (size_t)s->left;
    websocket_follow(s, run, &step);
    switch (step.kind) {
    case WEBSOCKET_PASSES:
        count_passed(ws, from, &step);
        return (struct tunnel_cut){ .pass = step.n };
    case WEBSOCKET_CONTROL:
        return take_control(ws, from, &step);
    case WEBSOCKET_FAILS:
        s->closed = true;
        close_for(ws, from, step.code);
        return (struct tunnel_cut){ .drop = run.len };
    default:
        return (struct tunnel_cut){ 0 };
    }
}

/* ---- time ---- */

/* When that side is to be pinged, or has not answered. */
static uint64_t ping_deadline(const struct websocket *ws, unsigned side)
{
    const struct websocket_conf *c = ws->route->conf;
    if (c->ping_ms == CONF_MS_OFF || ws->told[side])
        return DEADLINE_NONE;
    if (ws->pinged_us[side])
        return later(ws->pinged_us[side], c->pong_timeout_ms * 1000);
    /* up to an eighth sooner: what was opened together is not pinged together */
    const uint64_t us = c->ping_ms * 1000;
    return later(ws->heard_us[side], us - ws->ping_word % (us / 8));
}

static uint64_t idle_deadline(const struct websocket *ws)
{
    return later(ws->active_us, ws->idle_us);
}

static uint64_t deadline(const struct tunnel_way *w)
{
    const struct websocket *ws = of_way(w);
    if (ws->close_us != DEADLINE_NONE)
        return ws->close_us;
    const uint64_t ping_us = ping_deadline(ws, from_of(w));
    const uint64_t idle_us = idle_deadline(ws);
    return ping_us < idle_us ? ping_us : idle_us;
}

/* Something is on its way to it: that it takes it is as good a sign. */
static void ping_or_wait(struct websocket *ws, unsigned side)
{
    if (ws->pinged_us[side]) {
        metric_inc(ws->route->cells, WEBSOCKET_PINGS_LOST);
        close_for(ws, side, WEBSOCKET_CODE_INTERNAL_ERROR);
    } else if (can_write(ws, side)) {
        send_ping(ws, side);
    } else {
        ws->heard_us[side] = worker_now_us();
    }
}

static void due(struct tunnel_way *w)
{
    struct websocket *ws = of_way(w);
    const uint64_t now_us = worker_now_us();
    if (ws->close_us != DEADLINE_NONE) {
        ws->tunnel.ending = ws->close_us <= now_us;
        return;
    }
    if (idle_deadline(ws) <= now_us)
        close_both(ws, WEBSOCKET_CODE_GOING_AWAY, WEBSOCKET_CODE_GOING_AWAY, WEBSOCKET_CODE_GOING_AWAY);
    else if (ping_deadline(ws, from_of(w)) <= now_us)
        ping_or_wait(ws, from_of(w));
}

/* Without a Close it is 1006 for the other side, as it would be without anybody in the middle. */
static void ended(struct tunnel_way *w)
{
    struct websocket *ws = of_way(w);
    const unsigned from = from_of(w);
    ws->streams[from].closed = true;
    ws->told[!from] = true; /* the end has been passed on: nothing follows it */
    begin_closing(ws, WEBSOCKET_CODE_ABNORMAL);
    if (is_over(ws))
        ws->tunnel.ending = true;
}

static const struct tunnel_ops ops = { look, deadline, due, ended };

/* ---- beginning and end ---- */

static unsigned close_index(unsigned code)
{
    switch (code) {
#define X(id, number, sent, name) \
    case number:                  \
        return WEBSOCKET_CLOSE_##id;
        WEBSOCKET_CODE_LIST(X)
#undef X
    default:
        return WEBSOCKET_CLOSE_OTHER;
    }
}

static void tunnel_done(struct tunnel *t, err why)
{
    struct websocket *ws = container_of(t, struct websocket, tunnel);
    const bool orderly = ws->code && ws->code != WEBSOCKET_CODE_ABNORMAL;
    if (!ws->code)
        ws->code = WEBSOCKET_CODE_ABNORMAL;
    list_remove(&ws->link);
    metric_sub(ws->route->cells, WEBSOCKET_OPEN, 1);
    metric_inc(ws->route->close_cells[close_index(ws->code)], 0);
    ws->done(ws, orderly ? OK : why);
}

static uint64_t idle_us(const struct websocket_conf *c, const struct exchange *x)
{
    uint64_t ms = c->idle_timeout_ms;
    if (ms == WEBSOCKET_IDLE_OFF || (ms == WEBSOCKET_IDLE_AUTO && c->ping_ms != CONF_MS_OFF))
        return DEADLINE_NONE;
    if (ms == WEBSOCKET_IDLE_AUTO)
        ms = x->service->conf->idle_timeout_ms;
    return ms < DEADLINE_NONE / 1000 ? ms * 1000 : DEADLINE_NONE;
}

static bool has_extensions(const struct exchange *x)
{
    const struct http_field *f = http_fields_find(&x->response.fields, BYTES("Sec-WebSocket-Extensions"));
    return f && f->value_len;
}

static void prepare(void)
{
    if (here.ready)
        return;
    list_init(&here.all);
    list_init(&here.drained);
    here.ready = true;
}

static void drain_one(struct websocket *ws)
{
    list_remove(&ws->link);
    list_push_back(&here.drained, &ws->link);
    close_both(ws, WEBSOCKET_CODE_GOING_AWAY, WEBSOCKET_CODE_GOING_AWAY, WEBSOCKET_CODE_GOING_AWAY);
}

void websocket_start(struct websocket *w, const struct exchange *x, struct io *client,
                     void (*done)(struct websocket *w, err why))
{
    const struct websocket_route *route = x->route->websocket;
    const uint64_t now_us = worker_now_us();
    const struct websocket_stream stream = { .extended = has_extensions(x),
                                             .message_bytes_max = route->conf->message_bytes_max };
    *w = (struct websocket){ .streams = { stream, stream },
                             .route = route,
                             .idle_us = idle_us(route->conf, x),
                             .active_us = now_us,
                             .heard_us = { now_us, now_us },
                             .close_us = DEADLINE_NONE,
                             .ping_word = (uint32_t)random_u64(),
                             .done = done };
    w->streams[0].from_client = true;
    prepare();
    list_push_back(&here.all, &w->link);
    metric_add(route->cells, WEBSOCKET_OPEN, 1);
    metric_inc(route->cells, WEBSOCKET_OPENED);
    tunnel_start_watched(&w->tunnel, client, x->tunnel, x->service->conf->idle_timeout_ms * 1000, &ops,
                         tunnel_done);
    if (here.draining)
        drain_one(w);
}

static void drain_all(void *arg)
{
    (void)arg;
    for (unsigned i = 1; !list_empty(&here.all); i++) {
        drain_one(container_of(here.all.next, struct websocket, link));
        if (i % DRAIN_BATCH == 0 && fiber_sleep_us(DRAIN_PAUSE_US) != OK)
            return;
    }
}

void websocket_drain(void)
{
    prepare();
    if (here.draining)
        return;
    here.draining = true;
    fiber_spawn(drain_all, NULL);
}

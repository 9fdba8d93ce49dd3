/* Connections, and what the library tells of their streams. On the loop's stack. */
#include "gate/http3_server.h"

#if WEIR_HAVE_NGTCP2
#include "base/pool.h"
#include "core/fiber.h"
#include "core/timer.h"
#include "gate/gate.h"
#include "gate/http3_internal.h"
#include "gate/process.h"

#define SWEEP_US 1000000

static _Thread_local struct {
    bool ready;
    struct pool conns, streams;
    struct link heads; /* streams whose head is not whole; the oldest first */
    struct link idle;  /* their exchange is over, the client has not acknowledged all; the oldest first */
    struct timer sweep;
    struct turn_hook end;
} here;

static void end_here(struct turn_hook *h)
{
    (void)h;
    timer_stop(&here.sweep);
    pool_close(&here.conns);
    pool_close(&here.streams);
    here.ready = false;
}

/* ---- connections ---- */

static void count_parked(struct http3_conn *c, bool parked)
{
    if (parked == c->parked)
        return;
    c->parked = parked;
    c->client.clients->parked_count += parked ? 1 : -1u;
}

static void conn_release(struct http3_conn *c)
{
    if (c->base.quic || c->streams_count)
        return;
    count_parked(c, false);
    clients_remove(&c->client);
    pool_give(&here.conns, c);
}

/* RFC 9114 5.2: first that there will be an end, then where it is. */
static void go_away(struct http3_conn *c)
{
    if (!c->base.quic || c->going)
        return;
    c->going = true;
    (void)!nghttp3_conn_submit_shutdown_notice(c->base.lib);
    quic_want_send(c->base.quic);
}

/* Once: what a client asks for behind the end that it was told moves it for the library, which does not stand
 * that. */
static void tell_end(struct http3_conn *c)
{
    if (!c->end_told)
        (void)!nghttp3_conn_shutdown(c->base.lib);
    c->end_told = true;
}

static void take_no_more(struct http3_conn *c)
{
    go_away(c);
    tell_end(c);
}

static void end_conn(struct http3_conn *c)
{
    if (!c->base.quic || c->closed)
        return;
    c->closed = true;
    tell_end(c);
    quic_close(c->base.quic, NGHTTP3_H3_NO_ERROR);
}

static void conn_drain(struct client_conn *client)
{
    go_away(container_of(client, struct http3_conn, client));
}

static void conn_close_idle(struct client_conn *client, bool used_only)
{
    struct http3_conn *c = container_of(client, struct http3_conn, client);
    if (c->streams_count == 0 && (c->requests || !used_only))
        end_conn(c);
}

static void conn_abort(struct client_conn *client)
{
    end_conn(container_of(client, struct http3_conn, client));
}

static const struct client_protocol protocol = {
    .drain = conn_drain,
    .close_idle = conn_close_idle,
    .abort = conn_abort,
};

/* ---- streams ---- */

static void sweep_soon(void)
{
    if (!timer_is_set(&here.sweep))
        timer_set(&here.sweep, worker_now_us() + SWEEP_US);
}

static struct http3_stream *find_stream(struct http3_conn *c, int64_t id)
{
    LIST_EACH (at, &c->streams) {
        struct http3_stream *s = container_of(at, struct http3_stream, link);
        if (s->id == id)
            return s;
    }
    return NULL;
}

struct http3_stream *http3_stream_open(struct http3_conn *c, int64_t id)
{
    struct http3_stream *s = pool_take(&here.streams);
    memset(s, 0, offsetof(struct http3_stream, x));
    s->conn = c;
    s->id = id;
    s->early = !quic_is_handshaken(c->base.quic);
    s->client = *quic_peer(c->base.quic);
    struct exchange *x = &s->x;
    exchange_open(x, gate_current(), s->first, sizeof s->first);
    x->client = &s->client;
    x->scheme = "https";
    x->carrier = &http3_carrier;
    x->carried = s;
    const struct http1_limits *limits = &x->gate->generation->client_limits;
    http2_head_open(&s->head, HTTP2_REQUEST, &x->arena, &x->request.fields, limits->fields_max,
                    limits->head_bytes_max);
    gate_early(x, EARLY_CLIENT);
    list_push_back(&c->streams, &s->link);
    if (c->streams_count++ == 0)
        count_parked(c, false);
    c->requests++;
    if ((int64_t)c->requests == x->gate->generation->conf->client->requests_max)
        take_no_more(c);
    s->moved_us = worker_now_us();
    list_push_back(&here.heads, &s->waits);
    sweep_soon();
    return s;
}

void http3_stream_free(struct http3_stream *s)
{
    struct http3_conn *c = s->conn;
    if (!s->over)
        exchange_release(&s->x);
    http3_queue_clear(&s->in);
    http3_queue_clear(&s->out);
    list_remove(&s->link);
    list_remove(&s->waits);
    pool_give(&here.streams, s);
    if (--c->streams_count == 0)
        count_parked(c, true);
    if (!c->base.quic) {
        conn_release(c);
        return;
    }
    /* Not before: those whose exchange still runs count among streams_max. */
    quic_stream_done(c->base.quic, true);
    if (c->going && c->streams_count == 0)
        end_conn(c);
}

static void give_in(struct http3_stream *s)
{
    uint64_t n = s->in.bytes;
    http3_queue_clear(&s->in);
    if (n && s->conn->base.quic)
        quic_give(s->conn->base.quic, s->id, n);
}

void http3_stream_over(struct http3_stream *s, bool cut)
{
    struct http3_conn *c = s->conn;
    if (c->client.clients->done)
        c->client.clients->done(&s->x);
    exchange_release(&s->x);
    s->over = true;
    if (s->lib_closed || !c->base.quic) {
        http3_stream_free(s);
        return;
    }
    give_in(s);
    if (cut)
        quic_stream_reset(c->base.quic, s->id, NGHTTP3_H3_INTERNAL_ERROR);
    else if (!s->in_ended) /* RFC 9114 4.1: the rest of the request is not wanted */
        quic_stream_stop(c->base.quic, s->id, NGHTTP3_H3_NO_ERROR);
    http3_stream_moved(s);
    sweep_soon();
}

/* The first of the list if it has waited for so long; it is taken out then. */
static struct http3_stream *overdue(struct link *list, uint64_t patience_ms)
{
    if (list_empty(list))
        return NULL;
    struct http3_stream *s = container_of(list->next, struct http3_stream, waits);
    if (patience_ms < UINT64_MAX / 1000 && s->moved_us + patience_ms * 1000 <= worker_now_us()) {
        list_remove(&s->waits);
        return s;
    }
    return NULL;
}

/* Heads that do not come, and answers that nobody takes, are not waited for for ever. */
static void sweep(struct timer *t)
{
    const struct gate *g = gate_current();
    const struct client_conf *conf = g ? g->generation->conf->client : NULL;
    struct http3_stream *s;
    while ((s = overdue(&here.heads, conf ? conf->head_timeout_ms : 0))) {
        if (s->conn->base.quic)
            quic_close(s->conn->base.quic, NGHTTP3_H3_REQUEST_INCOMPLETE);
    }
    while ((s = overdue(&here.idle, conf ? conf->write_timeout_ms : 0))) {
        if (s->conn->base.quic)
            quic_stream_reset(s->conn->base.quic, s->id, NGHTTP3_H3_REQUEST_CANCELLED);
    }
    if (!list_empty(&here.heads) || !list_empty(&here.idle))
        timer_set(t, worker_now_us() + SWEEP_US);
}

void http3_stream_moved(struct http3_stream *s)
{
    s->moved_us = worker_now_us();
    list_remove(&s->waits);
    list_push_back(&here.idle, &s->waits);
}

void http3_stream_gone(struct http3_stream *s)
{
    s->gone = true;
    if (!s->in_ended && !s->in_failed)
        s->in_failed = ERR_RESET;
    if (s->reader)
        fiber_wake(s->reader);
    if (s->writer)
        fiber_wake(s->writer);
    if (s->far)
        http3_far_lost(s->far);
    if (s->serving || s->sending) {
        s->x.client_gone = s->serving;
        s->serving = s->sending = false;
        fiber_cancel(s->fiber); /* its server may say nothing for long */
    }
}

/* The library has forgotten it. */
void http3_stream_closed(struct http3_stream *s)
{
    s->lib_closed = true;
    if (s->over || !s->head_ended || s->held)
        http3_stream_free(s);
    else if (!s->out_ended || s->writer)
        http3_stream_gone(s);
}

/* ---- what net/quic tells ---- */

static void prepare(void)
{
    if (here.ready)
        return;
    pool_init(&here.conns, sizeof(struct http3_conn));
    pool_init(&here.streams, sizeof(struct http3_stream));
    list_init(&here.heads);
    list_init(&here.idle);
    timer_init(&here.sweep, sweep);
    here.end.run = end_here;
    worker_on_end(&here.end);
    here.ready = true;
}

static err open_lib(struct http3_conn *c)
{
    nghttp3_settings settings;
    http3_base_settings(&settings);
    settings.max_field_section_size = gate_current()->generation->client_limits.head_bytes_max;
    settings.enable_connect_protocol = 1; /* RFC 9220 */
    if (nghttp3_conn_server_new(&c->base.lib, &http3_callbacks, &settings, NULL, c))
        return ERR_MEMORY;
    nghttp3_conn_set_max_client_streams_bidi(c->base.lib, quic_streams_max(c->base.quic));
    return http3_base_bind(&c->base, c->base.quic);
}

static uint64_t app_open(struct quic_conn *quic, void **ret_state)
{
    prepare();
    if (!gate_current())
        return NGHTTP3_H3_REQUEST_REJECTED;
    struct http3_conn *c = pool_take(&here.conns);
    *c = (struct http3_conn){ .base.quic = quic };
    list_init(&c->streams);
    if (open_lib(c) != OK) {
        if (c->base.lib)
            nghttp3_conn_del(c->base.lib);
        pool_give(&here.conns, c);
        return NGHTTP3_H3_STREAM_CREATION_ERROR;
    }
    clients_add(process_clients(), &c->client, &protocol);
    count_parked(c, true);
    if (c->client.clients->draining)
        go_away(c);
    *ret_state = c;
    return 0;
}

static void app_handshaken(void *state)
{
    struct http3_conn *c = state;
    LIST_EACH (at, &c->streams) {
        struct http3_stream *s = container_of(at, struct http3_stream, link);
        if (!s->held)
            continue;
        s->held = s->early = false;
        fiber_admit(http3_stream_run, s);
    }
}

static uint64_t app_closed(void *state, int64_t stream, bool has_code, uint64_t code)
{
    struct http3_conn *c = state;
    c->told = false;
    int e = nghttp3_conn_close_stream(c->base.lib, stream, has_code ? code : NGHTTP3_H3_NO_ERROR);
    if (e && e != NGHTTP3_ERR_STREAM_NOT_FOUND)
        return http3_code(e);
    if (!c->told && (stream & 1) == 0) /* http3_stream_free says it of the others */
        quic_stream_done(c->base.quic, http3_is_request(stream));
    return 0;
}

static uint64_t app_reset(void *state, int64_t stream)
{
    struct http3_conn *c = state;
    struct http3_stream *s = find_stream(c, stream);
    if (s && !s->in_ended) {
        s->in_failed = ERR_RESET;
        http3_stream_gone(s);
    }
    return http3_code(nghttp3_conn_shutdown_stream_read(c->base.lib, stream));
}

static void app_streams(void *state, uint64_t max)
{
    nghttp3_conn_set_max_client_streams_bidi(((struct http3_conn *)state)->base.lib, max);
}

/* The client wants no more of it. */
static void app_shut(void *state, int64_t stream)
{
    struct http3_conn *c = state;
    struct http3_stream *s = find_stream(c, stream);
    if (s && !s->over)
        http3_stream_gone(s);
    nghttp3_conn_shutdown_stream_write(c->base.lib, stream);
}

static void app_end(void *state)
{
    struct http3_conn *c = state;
    c->base.quic = NULL;
    nghttp3_conn_del(c->base.lib);
    c->base.lib = NULL;
    struct link *at = c->streams.next;
    c->streams_count++; /* c stays until all have been told */
    while (at != &c->streams) {
        struct http3_stream *s = container_of(at, struct http3_stream, link);
        at = at->next;
        http3_stream_gone(s);
        http3_stream_closed(s);
    }
    c->streams_count--;
    conn_release(c);
}

const struct quic_app http3_app = {
    .open = app_open,
    .handshaken = app_handshaken,
    .data = http3_base_data,
    .acked = http3_base_acked,
    .closed = app_closed,
    .reset = app_reset,
    .stopped = http3_base_stopped,
    .streams = app_streams,
    .writable = http3_base_writable,
    .next = http3_base_next,
    .sent = http3_base_sent,
    .blocked = http3_base_blocked,
    .shut = app_shut,
    .end = app_end,
};

void http3_listener_left(const struct quic_listener *l)
{
    struct clients *all = process_clients();
    LIST_EACH (at, &all->conns) {
        struct client_conn *client = container_of(at, struct client_conn, link);
        struct http3_conn *c = container_of(client, struct http3_conn, client);
        if (client->protocol == &protocol && c->base.quic && quic_listener_of(c->base.quic) == l)
            go_away(c);
    }
}

#endif

#include "load/http3.h"

#if WEIR_HAVE_NGTCP2
#include <stddef.h>
#include <string.h>

#include "base/mem.h"
#include "core/worker_pool.h"

/* As of HTTP/2's: nobody waits for an update. */
#define WINDOW_BYTES ((1u << 30) - 1)

/* Lives for as long as the libraries know it, which is longer than its request waits for an answer. */
struct http3_stream {
    struct link link;
    int64_t id;
    struct http3_ask *ask; /* NULL: answered, or given up */
    struct bytes body;     /* not yet read by the library */
    char *copy;
};

static _Thread_local struct worker_pool streams;

/* ---- streams ---- */

static void free_stream(struct http3_stream *s)
{
    if (s->ask)
        s->ask->stream = NULL;
    list_remove(&s->link);
    mem_free(s->copy);
    worker_pool_give(&streams, s);
}

static void finish(struct http3_conn *c, struct http3_stream *s, err why)
{
    struct http3_ask *a = s->ask;
    s->ask = NULL;
    a->stream = NULL;
    list_remove(&a->link);
    c->hooks->done(c, a, why);
}

/* RFC 9114 4.1.1: one that was not looked at. That comes with GOAWAY, or a little before it. */
static err why_reset(struct http3_conn *c, uint64_t code)
{
    if (code != NGHTTP3_H3_REQUEST_REJECTED)
        return ERR_RESET;
    c->ending = true;
    return ERR_REFUSED;
}

/* What has come of it belongs to the answer at hand. */
static struct http3_ask *heard(struct http3_conn *c, struct http3_stream *s)
{
    if (!s || !s->ask)
        return NULL;
    s->ask->bytes += c->bytes;
    c->bytes = 0;
    return s->ask;
}

/* ---- what nghttp3 says ---- */

static int on_begin_head(nghttp3_conn *lib, int64_t id, void *conn, void *stream)
{
    (void)lib, (void)id;
    struct http3_conn *c = conn;
    struct http3_ask *a = heard(c, stream);
    if (a && !a->headed && c->hooks->begin)
        c->hooks->begin(c, a);
    return 0;
}

/* nghttp3 has seen to it that it is three digits. */
static uint16_t status_of(struct bytes value)
{
    unsigned status = 0;
    for (size_t i = 0; i < value.len && i < 3; i++)
        status = status * 10 + (unsigned)(value.ptr[i] - '0');
    return (uint16_t)status;
}

static int on_field(nghttp3_conn *lib, int64_t id, int32_t token, nghttp3_rcbuf *name, nghttp3_rcbuf *value,
                    uint8_t flags, void *conn, void *stream)
{
    (void)lib, (void)id, (void)flags;
    struct http3_conn *c = conn;
    struct http3_ask *a = heard(c, stream);
    if (!a || a->headed)
        return 0;
    if (token == NGHTTP3_QPACK_TOKEN__STATUS)
        a->status = status_of(http3_text(value));
    if (c->hooks->field)
        c->hooks->field(c, a, http3_text(name), http3_text(value));
    return 0;
}

static int on_end_head(nghttp3_conn *lib, int64_t id, int fin, void *conn, void *stream)
{
    (void)lib, (void)id, (void)fin;
    struct http3_ask *a = heard(conn, stream);
    if (a)
        a->headed = a->status >= 200;
    return 0;
}

static int on_data(nghttp3_conn *lib, int64_t id, const uint8_t *data, size_t len, void *conn, void *stream)
{
    (void)lib;
    struct http3_conn *c = conn;
    struct http3_ask *a = heard(c, stream);
    quic_give(c->base.quic, id, len);
    if (a && c->hooks->data)
        c->hooks->data(c, a, (struct bytes){ (const char *)data, len });
    return 0;
}

static int on_end_stream(nghttp3_conn *lib, int64_t id, void *conn, void *stream)
{
    (void)lib, (void)id;
    if (heard(conn, stream))
        finish(conn, stream, OK);
    return 0;
}

static int on_stream_close(nghttp3_conn *lib, int64_t id, uint64_t code, void *conn, void *stream)
{
    (void)lib, (void)id;
    struct http3_stream *s = stream;
    if (!s)
        return 0;
    if (s->ask)
        finish(conn, s, why_reset(conn, code));
    free_stream(s);
    return 0;
}

/* A malformed answer. */
static int on_refuse(nghttp3_conn *lib, int64_t id, uint64_t code, void *conn, void *stream)
{
    (void)lib;
    quic_stream_reset(((struct http3_conn *)conn)->base.quic, id, code);
    if (heard(conn, stream))
        finish(conn, stream, ERR_PROTOCOL);
    return 0;
}

/* GOAWAY (RFC 9114 5.2): those from that stream on were not looked at. */
static int on_shutdown(nghttp3_conn *lib, int64_t id, void *conn)
{
    (void)lib;
    struct http3_conn *c = conn;
    c->ending = true;
    for (struct link *at = c->streams.next; at != &c->streams;) {
        struct http3_stream *s = container_of(at, struct http3_stream, link);
        at = at->next;
        if (!s->ask || s->id < id)
            continue;
        quic_stream_reset(c->base.quic, s->id, NGHTTP3_H3_REQUEST_CANCELLED);
        finish(c, s, ERR_REFUSED);
    }
    c->hooks->news(c);
    return 0;
}

static const nghttp3_callbacks callbacks = {
    .stream_close = on_stream_close,
    .recv_data = on_data,
    .deferred_consume = http3_base_on_deferred,
    .begin_headers = on_begin_head,
    .recv_header = on_field,
    .end_headers = on_end_head,
    .stop_sending = http3_base_on_stop,
    .end_stream = on_end_stream,
    .reset_stream = on_refuse,
    .shutdown = on_shutdown,
};

static nghttp3_ssize read_body(nghttp3_conn *lib, int64_t id, nghttp3_vec *vecs, size_t count,
                               uint32_t *flags, void *conn, void *stream)
{
    (void)lib, (void)id, (void)count, (void)conn;
    struct http3_stream *s = stream;
    vecs[0] = (nghttp3_vec){ (uint8_t *)(uintptr_t)s->body.ptr, s->body.len };
    s->body = BYTES_NONE;
    *flags |= NGHTTP3_DATA_FLAG_EOF;
    return 1;
}

/* ---- what net/quic tells ---- */

static err open_lib(struct http3_conn *c, struct quic_conn *quic)
{
    nghttp3_settings s;
    http3_base_settings(&s);
    if (nghttp3_conn_client_new(&c->base.lib, &callbacks, &s, NULL, c))
        return ERR_MEMORY;
    return http3_base_bind(&c->base, quic);
}

static uint64_t app_open(struct quic_conn *quic, void **ret_state)
{
    return open_lib(*ret_state, quic) == OK ? 0 : NGHTTP3_H3_STREAM_CREATION_ERROR;
}

static void app_handshaken(void *state)
{
    struct http3_conn *c = state;
    c->ready = c->base.lib != NULL;
    c->hooks->news(c);
}

static uint64_t app_data(void *state, int64_t stream, struct bytes data, bool fin, size_t *ret_taken)
{
    struct http3_conn *c = state;
    if (http3_is_request(stream))
        c->bytes += data.len;
    return http3_base_data(&c->base, stream, data, fin, ret_taken);
}

static uint64_t app_closed(void *state, int64_t stream, bool has_code, uint64_t code)
{
    struct http3_conn *c = state;
    int e = nghttp3_conn_close_stream(c->base.lib, stream, has_code ? code : NGHTTP3_H3_NO_ERROR);
    if (e && e != NGHTTP3_ERR_STREAM_NOT_FOUND)
        return http3_code(e);
    if ((stream & 3) == 3) /* of the server's */
        quic_stream_done(c->base.quic, false);
    return 0;
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

/* What of the request is still to be sent is not wanted either. */
static uint64_t app_reset(void *state, int64_t stream)
{
    struct http3_conn *c = state;
    struct http3_stream *s = find_stream(c, stream);
    if (s && s->ask)
        finish(c, s, why_reset(c, quic_reset_code(c->base.quic)));
    if (s)
        quic_stream_reset(c->base.quic, stream, NGHTTP3_H3_REQUEST_CANCELLED);
    return http3_code(nghttp3_conn_shutdown_stream_read(c->base.lib, stream));
}

static void app_streams(void *state, uint64_t max)
{
    struct http3_conn *c = state;
    (void)max;
    if (c->ready)
        c->hooks->news(c);
}

/* The server wants no more of it; its answer may still come. */
static void app_shut(void *state, int64_t stream)
{
    nghttp3_conn_shutdown_stream_write(((struct http3_conn *)state)->base.lib, stream);
}

static void let_go(struct http3_conn *c)
{
    c->base.quic = NULL;
    if (c->base.lib)
        nghttp3_conn_del(c->base.lib);
    c->base.lib = NULL;
    while (!list_empty(&c->streams))
        free_stream(container_of(c->streams.next, struct http3_stream, link));
}

static void app_end(void *state)
{
    struct http3_conn *c = state;
    c->why = quic_why(c->base.quic);
    let_go(c);
    c->hooks->news(c);
}

static const struct quic_app app = {
    .open = app_open,
    .handshaken = app_handshaken,
    .data = app_data,
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

/* ---- a connection ---- */

err http3_open(struct http3_conn *c, const struct http3_hooks *hooks, const struct addr *to,
               const struct addr *from, const struct quic_client_tls *tls, const char *name,
               uint64_t timeout_us)
{
    const struct quic_client o = { .to = to,
                                   .from = from,
                                   .tls = tls,
                                   .name = name,
                                   .app = &app,
                                   .state = c,
                                   .window_bytes = WINDOW_BYTES,
                                   .handshake_timeout_us = timeout_us };
    *c = (struct http3_conn){ .hooks = hooks };
    list_init(&c->asks);
    list_init(&c->streams);
    return quic_connect(&o, &c->base.quic);
}

void http3_close(struct http3_conn *c)
{
    if (!c->base.quic)
        return;
    quic_leave(c->base.quic, NGHTTP3_H3_NO_ERROR);
    let_go(c);
}

uint64_t http3_room(const struct http3_conn *c)
{
    return c->base.quic && c->ready && !c->ending ? quic_streams_left(c->base.quic) : 0;
}

_Static_assert(sizeof(struct framed_field) == sizeof(nghttp3_nv) &&
                   offsetof(struct framed_field, value_len) == offsetof(nghttp3_nv, valuelen) &&
                   offsetof(struct framed_field, flags) == offsetof(nghttp3_nv, flags),
               "fields are handed on as they are");

static struct http3_stream *new_stream(struct http3_ask *a, struct bytes body, bool copied)
{
    struct http3_stream *s = worker_pool_take(&streams, sizeof *s);
    *s = (struct http3_stream){ .ask = a, .body = body };
    if (copied && body.len) {
        s->copy = mem_must_get(body.len);
        memcpy(s->copy, body.ptr, body.len);
        s->body.ptr = s->copy;
    }
    return s;
}

err http3_ask(struct http3_conn *c, struct http3_ask *a, const struct framed_request *r, bool copied)
{
    static const nghttp3_data_reader reader = { .read_data = read_body };
    int64_t id;
    *a = (struct http3_ask){ 0 };
    if (!c->base.quic || !c->ready || c->ending)
        return ERR_REFUSED;
    if (quic_open_bidi(c->base.quic, &id) != OK)
        return ERR_LIMIT;
    struct http3_stream *s = new_stream(a, r->body, copied);
    s->id = id;
    list_push_back(&c->streams, &s->link);
    if (nghttp3_conn_submit_request(c->base.lib, id, (const nghttp3_nv *)(const void *)r->fields, r->count,
                                    r->body.len ? &reader : NULL, s)) {
        quic_stream_reset(c->base.quic, id, NGHTTP3_H3_REQUEST_CANCELLED);
        free_stream(s);
        c->ending = true;
        return ERR_REFUSED;
    }
    a->stream = s;
    list_push_back(&c->asks, &a->link);
    quic_want_send(c->base.quic);
    return OK;
}

void http3_cancel(struct http3_conn *c, struct http3_ask *a)
{
    list_remove(&a->link);
    if (!a->stream)
        return;
    a->stream->ask = NULL;
    if (c->base.quic)
        quic_stream_reset(c->base.quic, a->stream->id, NGHTTP3_H3_REQUEST_CANCELLED);
    a->stream = NULL;
}

#endif

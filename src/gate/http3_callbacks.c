/* What nghttp3 tells of streams, on the loop's stack. */
#if WEIR_HAVE_NGTCP2
#include "core/fiber.h"
#include "gate/gate.h"
#include "gate/http3_internal.h"

static int on_acked(nghttp3_conn *lib, int64_t id, uint64_t bytes, void *conn, void *stream)
{
    (void)lib, (void)id, (void)conn;
    struct http3_stream *s = stream;
    if (!s)
        return 0;
    http3_stream_acked(s, bytes);
    if (s->over)
        http3_stream_moved(s);
    return 0;
}

static int on_stream_close(nghttp3_conn *lib, int64_t id, uint64_t code, void *conn, void *stream)
{
    (void)lib, (void)id, (void)code;
    ((struct http3_conn *)conn)->told = stream != NULL;
    if (stream)
        http3_stream_closed(stream);
    return 0;
}

static void arrived(struct http3_stream *s)
{
    if (s->reader)
        fiber_wake(s->reader);
    if (s->far)
        http3_far_news(s->far);
}

static int on_data(nghttp3_conn *lib, int64_t id, const uint8_t *data, size_t len, void *conn, void *stream)
{
    (void)lib;
    struct http3_conn *c = conn;
    struct http3_stream *s = stream;
    if (!s || s->over) {
        quic_give(c->base.quic, id, len);
        return 0;
    }
    http3_queue_append(&s->in, (struct bytes){ (const char *)data, len });
    arrived(s);
    return 0;
}

static int on_begin_head(nghttp3_conn *lib, int64_t id, void *conn, void *stream)
{
    (void)stream;
    struct http3_stream *s = http3_stream_open(conn, id);
    return nghttp3_conn_set_stream_user_data(lib, id, s) ? NGHTTP3_ERR_CALLBACK_FAILURE : 0;
}

/* What is wrong with a field is remembered, and said at the end of the head. */
static int on_field(nghttp3_conn *lib, int64_t id, int32_t token, nghttp3_rcbuf *name, nghttp3_rcbuf *value,
                    uint8_t flags, void *conn, void *stream)
{
    (void)lib, (void)id, (void)token, (void)flags, (void)conn;
    struct http3_stream *s = stream;
    (void)!http2_head_add(&s->head, http3_text(name), http3_text(value));
    return 0;
}

static bool may_be_early(const struct http3_stream *s)
{
    enum http_method m = http_method_of(s->head.method);
    return m == HTTP_GET || m == HTTP_HEAD || m == HTTP_OPTIONS;
}

static int on_end_head(nghttp3_conn *lib, int64_t id, int fin, void *conn, void *stream)
{
    (void)lib, (void)id, (void)conn;
    struct http3_stream *s = stream;
    s->head_ended = true;
    list_remove(&s->waits);
    s->in_ended = fin;
    if (s->early && !may_be_early(s)) /* RFC 8470: until it cannot be a repetition */
        s->held = true;
    else
        fiber_admit(http3_stream_run, s);
    return 0;
}

static int on_begin_trailers(nghttp3_conn *lib, int64_t id, void *conn, void *stream)
{
    (void)lib, (void)id, (void)conn;
    struct http3_stream *s = stream;
    if (!s->over) {
        const struct http1_limits *limits = &s->x.gate->generation->client_limits;
        http2_head_open(&s->trailers, HTTP2_TRAILERS, &s->x.arena, &s->trailer_fields, limits->fields_max,
                        limits->head_bytes_max);
    }
    return 0;
}

static int on_trailer(nghttp3_conn *lib, int64_t id, int32_t token, nghttp3_rcbuf *name, nghttp3_rcbuf *value,
                      uint8_t flags, void *conn, void *stream)
{
    (void)lib, (void)id, (void)token, (void)flags, (void)conn;
    struct http3_stream *s = stream;
    if (!s->over && s->trailers.arena)
        (void)!http2_head_add(&s->trailers, http3_text(name), http3_text(value));
    return 0;
}

static int on_end_trailers(nghttp3_conn *lib, int64_t id, int fin, void *conn, void *stream)
{
    (void)lib, (void)id, (void)fin, (void)conn;
    struct http3_stream *s = stream;
    if (!s->over && s->trailers.arena && http2_head_trailers(&s->trailers) != OK && !s->in_failed)
        s->in_failed = ERR_SYNTAX;
    return 0;
}

static int on_end_stream(nghttp3_conn *lib, int64_t id, void *conn, void *stream)
{
    (void)lib, (void)id, (void)conn;
    struct http3_stream *s = stream;
    if (!s)
        return 0;
    s->in_ended = true;
    arrived(s);
    return 0;
}

/* The library refuses a stream: a malformed message. */
static int on_refuse(nghttp3_conn *lib, int64_t id, uint64_t code, void *conn, void *stream)
{
    (void)lib;
    quic_stream_reset(((struct http3_conn *)conn)->base.quic, id, code);
    if (stream)
        http3_stream_gone(stream);
    return 0;
}

const nghttp3_callbacks http3_callbacks = {
    .acked_stream_data = on_acked,
    .stream_close = on_stream_close,
    .recv_data = on_data,
    .deferred_consume = http3_base_on_deferred,
    .begin_headers = on_begin_head,
    .recv_header = on_field,
    .end_headers = on_end_head,
    .begin_trailers = on_begin_trailers,
    .recv_trailer = on_trailer,
    .end_trailers = on_end_trailers,
    .stop_sending = http3_base_on_stop,
    .end_stream = on_end_stream,
    .reset_stream = on_refuse,
};

#endif

#include "load/http2.h"

#if WEIR_HAVE_NGHTTP2
#include <string.h>

#include "base/must.h"
#include "gate/http2_memory.h"

/* Of a stream and of the connection, as h2load has it: nobody waits for an update. */
#define WINDOW_BYTES ((1u << 30) - 1)
/* With so much queued nothing more is framed; one frame more still fits into IO_SEND_BYTES_MAX. */
#define QUEUED_BYTES_MAX (40u * 1024)
#define DRAINED_BYTES (16u * 1024)
#define FRAME_HEAD_BYTES 9u

/* ---- what nghttp2 says ---- */

static struct http2_ask *ask_of(nghttp2_session *ng, int32_t id)
{
    return id ? nghttp2_session_get_stream_user_data(ng, id) : NULL;
}

static int on_begin_frame(nghttp2_session *ng, const nghttp2_frame_hd *hd, void *user)
{
    struct http2_conn *c = user;
    if (!c->current || c->current->id != hd->stream_id)
        c->current = ask_of(ng, hd->stream_id);
    if (c->current)
        c->current->bytes += FRAME_HEAD_BYTES + hd->length;
    return 0;
}

static int on_begin_headers(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    struct http2_conn *c = user;
    (void)ng;
    (void)frame;
    if (c->current && !c->current->headed && c->hooks->begin)
        c->hooks->begin(c, c->current);
    return 0;
}

/* nghttp2 has seen to it that it is three digits. */
static uint16_t status_of(const uint8_t *value, size_t len)
{
    unsigned status = 0;
    for (size_t i = 0; i < len && i < 3; i++)
        status = status * 10 + (unsigned)(value[i] - '0');
    return (uint16_t)status;
}

static int on_header(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
                     const uint8_t *value, size_t value_len, uint8_t flags, void *user)
{
    struct http2_conn *c = user;
    struct http2_ask *a = c->current;
    (void)ng;
    (void)frame;
    (void)flags;
    if (!a || a->headed)
        return 0;
    if (name[0] == ':')
        a->status = status_of(value, value_len);
    if (c->hooks->field)
        c->hooks->field(c, a, (struct bytes){ (const char *)name, name_len },
                        (struct bytes){ (const char *)value, value_len });
    return 0;
}

static int on_data(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *data, size_t len,
                   void *user)
{
    struct http2_conn *c = user;
    (void)ng;
    (void)flags;
    (void)id;
    if (c->current && c->hooks->data)
        c->hooks->data(c, c->current, (struct bytes){ (const char *)data, len });
    return 0;
}

static int on_frame(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    struct http2_conn *c = user;
    struct http2_ask *a = c->current;
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        if (a)
            a->headed = a->headed || a->status >= 200;
        /* fall through */
    case NGHTTP2_DATA:
        if (a && frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
            a->ended = true;
        break;
    case NGHTTP2_SETTINGS:
        if (!(frame->hd.flags & NGHTTP2_FLAG_ACK))
            c->streams_max = nghttp2_session_get_remote_settings(ng, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
        break;
    case NGHTTP2_GOAWAY:
        c->ending = true;
        break;
    default:
        break;
    }
    return 0;
}

static void finish(struct http2_conn *c, struct http2_ask *a, err why)
{
    list_remove(&a->link);
    a->id = 0;
    if (c->current == a)
        c->current = NULL;
    c->hooks->done(c, a, why);
}

static int on_stream_close(nghttp2_session *ng, int32_t id, uint32_t code, void *user)
{
    struct http2_conn *c = user;
    struct http2_ask *a = ask_of(ng, id);
    if (!a)
        return 0;
    if (a->ended)
        finish(c, a, OK);
    else if (code == NGHTTP2_REFUSED_STREAM && c->ending)
        finish(c, a, ERR_REFUSED);
    else
        finish(c, a, code == NGHTTP2_PROTOCOL_ERROR ? ERR_PROTOCOL : ERR_RESET);
    return 0;
}

/* The server has said GOAWAY between a request and its framing. */
static int on_frame_not_sent(nghttp2_session *ng, const nghttp2_frame *frame, int code, void *user)
{
    struct http2_conn *c = user;
    (void)ng;
    (void)code;
    if (frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    LIST_EACH (at, &c->asks) {
        struct http2_ask *a = container_of(at, struct http2_ask, link);
        if (a->id != frame->hd.stream_id)
            continue;
        c->ending = true;
        finish(c, a, ERR_REFUSED);
        break;
    }
    return 0;
}

/* We end it: it has broken the rules. */
static int on_frame_sent(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    struct http2_conn *c = user;
    (void)ng;
    if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR)
        c->wrong = true;
    return 0;
}

static ssize_t read_body(nghttp2_session *ng, int32_t id, uint8_t *buffer, size_t length, uint32_t *flags,
                         nghttp2_data_source *source, void *user)
{
    struct http2_ask *a = ask_of(ng, id);
    (void)source;
    (void)user;
    if (!a)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    if (length > a->body.len)
        length = a->body.len;
    memcpy(buffer, a->body.ptr, length);
    a->body = bytes_skip(a->body, length);
    if (!a->body.len)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)length;
}

_Static_assert(sizeof(struct framed_field) == sizeof(nghttp2_nv) &&
                   offsetof(struct framed_field, value_len) == offsetof(nghttp2_nv, valuelen) &&
                   offsetof(struct framed_field, flags) == offsetof(nghttp2_nv, flags),
               "fields are handed on as they are");

/* ---- a connection ---- */

static nghttp2_session_callbacks *callbacks(void)
{
    nghttp2_session_callbacks *cb;
    must(nghttp2_session_callbacks_new(&cb) == 0);
    nghttp2_session_callbacks_set_on_begin_frame_callback(cb, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_sent);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(cb, on_frame_not_sent);
    return cb;
}

void http2_open(struct http2_conn *c, struct io *io, const struct http2_hooks *hooks)
{
    static const nghttp2_settings_entry settings[] = {
        { NGHTTP2_SETTINGS_ENABLE_PUSH, 0 },
        { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW_BYTES },
    };
    nghttp2_session_callbacks *cb = callbacks(); /* the session takes copies */
    nghttp2_option *options;
    must(nghttp2_option_new(&options) == 0);
    nghttp2_option_set_no_closed_streams(options, 1);
    *c = (struct http2_conn){ .io = io, .hooks = hooks, .streams_max = HTTP2_FIRST_STREAMS };
    list_init(&c->asks);
    must(nghttp2_session_client_new3(&c->ng, cb, c, options, http2_memory()) == 0);
    nghttp2_option_del(options);
    nghttp2_session_callbacks_del(cb);
    must(nghttp2_submit_settings(c->ng, NGHTTP2_FLAG_NONE, settings, sizeof settings / sizeof *settings) ==
         0);
    must(nghttp2_session_set_local_window_size(c->ng, NGHTTP2_FLAG_NONE, 0, WINDOW_BYTES) == 0);
}

void http2_close(struct http2_conn *c)
{
    if (c->ng)
        nghttp2_session_del(c->ng);
    c->ng = NULL;
}

err http2_ask(struct http2_conn *c, struct http2_ask *a, const struct framed_request *r)
{
    const nghttp2_data_provider provider = { .read_callback = read_body };
    *a = (struct http2_ask){ .body = r->body };
    int32_t id = c->ending ? -1
                           : nghttp2_submit_request(c->ng, NULL, (const nghttp2_nv *)r->fields, r->count,
                                                    r->body.len ? &provider : NULL, a);
    if (id < 0) {
        c->ending = true;
        return ERR_REFUSED;
    }
    a->id = id;
    list_push_back(&c->asks, &a->link);
    return OK;
}

void http2_cancel(struct http2_conn *c, struct http2_ask *a)
{
    nghttp2_session_set_stream_user_data(c->ng, a->id, NULL);
    nghttp2_submit_rst_stream(c->ng, NGHTTP2_FLAG_NONE, a->id, NGHTTP2_CANCEL);
    list_remove(&a->link);
    if (c->current == a)
        c->current = NULL;
}

err http2_flush(struct http2_conn *c, bool wait, uint64_t deadline_us)
{
    for (;;) {
        const uint8_t *data;
        if (io_queued(c->io) >= QUEUED_BYTES_MAX) {
            err e = wait ? io_drain(c->io, DRAINED_BYTES, deadline_us) : OK;
            if (e || !wait)
                return e;
        }
        ssize_t n = nghttp2_session_mem_send(c->ng, &data);
        if (n < 0)
            return ERR_PROTOCOL;
        if (n == 0)
            break;
        err e = io_write(c->io, (struct bytes){ (const char *)data, (size_t)n }, deadline_us);
        if (e)
            return e;
    }
    if (c->wrong)
        return ERR_PROTOCOL;
    return nghttp2_session_want_read(c->ng) ? OK : ERR_CLOSED;
}

err http2_feed(struct http2_conn *c)
{
    struct bytes in;
    while ((in = io_peek(c->io)).len) {
        ssize_t n = nghttp2_session_mem_recv(c->ng, (const uint8_t *)in.ptr, in.len);
        if (n < 0)
            return ERR_PROTOCOL;
        io_consume(c->io, (size_t)n);
    }
    return OK;
}
#endif

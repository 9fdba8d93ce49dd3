#if WEIR_HAVE_NGHTTP2
#include "gate/health_http2.h"

#include <nghttp2/nghttp2.h>

#include "gate/grpc.h"

static ssize_t give_message(nghttp2_session *ng, int32_t id, uint8_t *out, size_t room, uint32_t *flags,
                            nghttp2_data_source *source, void *user)
{
    (void)ng;
    (void)id;
    (void)user;
    struct health_http2 *q = source->ptr;
    const size_t n = q->message.len < room ? q->message.len : room;
    memcpy(out, q->message.ptr, n);
    q->message = bytes_skip(q->message, n);
    if (!q->message.len)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static int on_data(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *data, size_t len,
                   void *user)
{
    (void)ng;
    (void)flags;
    (void)id;
    struct health_http2 *q = user;
    const size_t room = q->body_max - q->body_len;
    const size_t n = len < room ? len : room;
    if (n)
        memcpy(q->body + q->body_len, data, n);
    q->body_len += n;
    q->over |= q->body_len == q->body_max;
    return 0;
}

static int on_header(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
                     const uint8_t *value, size_t value_len, uint8_t flags, void *user)
{
    (void)ng;
    (void)frame;
    (void)flags;
    struct health_http2 *q = user;
    const struct bytes field = { (const char *)name, name_len };
    const struct bytes text = { (const char *)value, value_len };
    uint64_t status;
    if (bytes_eq(field, BYTES("grpc-status")))
        q->grpc_status = (int)grpc_status_read(text);
    else if (bytes_eq(field, BYTES(":status")) && bytes_to_u64(text, &status))
        q->status = (unsigned)status;
    return 0;
}

/* 1xx is no answer yet. */
static int on_frame(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    (void)ng;
    struct health_http2 *q = user;
    if (frame->hd.type == NGHTTP2_HEADERS && q->status >= 200 && !q->body_max)
        q->over = true;
    return 0;
}

static int on_close(nghttp2_session *ng, int32_t id, uint32_t error, void *user)
{
    (void)ng;
    (void)id;
    struct health_http2 *q = user;
    if (error && !q->over)
        q->failed = error == NGHTTP2_PROTOCOL_ERROR ? ERR_PROTOCOL : ERR_RESET;
    q->over = true;
    return 0;
}

static nghttp2_session *session_new(struct health_http2 *q)
{
    nghttp2_session_callbacks *callbacks;
    nghttp2_session *ng = NULL;
    if (nghttp2_session_callbacks_new(&callbacks))
        return NULL;
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    if (nghttp2_session_client_new(&ng, callbacks, q))
        ng = NULL;
    nghttp2_session_callbacks_del(callbacks);
    return ng;
}

static bool submit(nghttp2_session *ng, struct health_http2 *q)
{
#define FIELD(name, text)                                                                  \
    {                                                                                      \
        (uint8_t *)(name), (uint8_t *)(uintptr_t)(text).ptr, sizeof(name) - 1, (text).len, \
            NGHTTP2_NV_FLAG_NONE                                                           \
    }
    const nghttp2_nv fields[] = {
        FIELD(":method", bytes_from(q->method)),
        FIELD(":scheme", q->secure ? BYTES("https") : BYTES("http")),
        FIELD(":authority", q->authority),
        FIELD(":path", q->path),
        FIELD("user-agent", BYTES("weir-health-check")),
        FIELD("content-type", BYTES("application/grpc")),
        FIELD("te", BYTES("trailers")),
    };
#undef FIELD
    const size_t count = sizeof fields / sizeof *fields - (q->grpc ? 0 : 2);
    const nghttp2_settings_entry no_push = { NGHTTP2_SETTINGS_ENABLE_PUSH, 0 };
    const nghttp2_data_provider provider = { .source.ptr = q, .read_callback = give_message };
    return nghttp2_submit_settings(ng, NGHTTP2_FLAG_NONE, &no_push, 1) == 0 &&
           nghttp2_submit_request(ng, NULL, fields, count, q->message.len ? &provider : NULL, NULL) > 0;
}

static err send_all(nghttp2_session *ng, struct io *io, uint64_t deadline_us)
{
    for (;;) {
        const uint8_t *data;
        const ssize_t n = nghttp2_session_mem_send(ng, &data);
        if (n <= 0)
            return n ? ERR_PROTOCOL : OK;
        err e = io_write(io, (struct bytes){ (const char *)data, (size_t)n }, deadline_us);
        if (e)
            return e;
    }
}

static err run(nghttp2_session *ng, struct health_http2 *q, struct io *io, uint64_t deadline_us)
{
    err e = send_all(ng, io, deadline_us);
    while (!e && !q->over) {
        struct bytes in;
        e = io_pull(io, deadline_us, &in);
        if (e)
            break;
        if (nghttp2_session_mem_recv(ng, (const uint8_t *)in.ptr, in.len) != (ssize_t)in.len)
            return ERR_PROTOCOL;
        io_consume(io, in.len);
        e = send_all(ng, io, deadline_us);
    }
    return q->over ? q->failed : e;
}

err health_http2_ask(struct health_http2 *q, struct io *io, uint64_t deadline_us)
{
    q->status = 0;
    q->grpc_status = GRPC_NO_STATUS;
    q->body_len = 0;
    q->over = false;
    q->failed = OK;
    nghttp2_session *ng = session_new(q);
    err e = ng && submit(ng, q) ? run(ng, q, io, deadline_us) : ERR_MEMORY;
    nghttp2_session_del(ng);
    return e;
}
#endif

#include "net/http3_base.h"

#if WEIR_HAVE_NGTCP2

#define QPACK_TABLE_BYTES 4096
#define QPACK_BLOCKED_STREAMS 100

void http3_base_settings(nghttp3_settings *s)
{
    nghttp3_settings_default(s);
    s->qpack_max_dtable_capacity = s->qpack_encoder_max_dtable_capacity = QPACK_TABLE_BYTES;
    s->qpack_blocked_streams = QPACK_BLOCKED_STREAMS;
}

err http3_base_bind(struct http3_base *b, struct quic_conn *quic)
{
    int64_t control, encoder, decoder;
    err e = quic_open_uni(quic, &control);
    if (!e)
        e = quic_open_uni(quic, &encoder);
    if (!e)
        e = quic_open_uni(quic, &decoder);
    if (!e && (nghttp3_conn_bind_control_stream(b->lib, control) ||
               nghttp3_conn_bind_qpack_streams(b->lib, encoder, decoder)))
        e = ERR_PROTOCOL;
    return e;
}

uint64_t http3_code(int64_t e)
{
    return e < 0 ? nghttp3_err_infer_quic_app_error_code((int)e) : 0;
}

struct bytes http3_text(nghttp3_rcbuf *b)
{
    nghttp3_vec v = nghttp3_rcbuf_get_buf(b);
    return (struct bytes){ (const char *)v.base, v.len };
}

static nghttp3_conn *lib_of(void *base)
{
    return ((struct http3_base *)base)->lib;
}

/* ---- what net/quic tells ---- */

uint64_t http3_base_data(void *base, int64_t stream, struct bytes data, bool fin, size_t *ret_taken)
{
    nghttp3_ssize n =
        nghttp3_conn_read_stream(lib_of(base), stream, (const uint8_t *)data.ptr, data.len, fin);
    if (n >= 0)
        *ret_taken = (size_t)n;
    return http3_code(n);
}

uint64_t http3_base_acked(void *base, int64_t stream, uint64_t bytes)
{
    return http3_code(nghttp3_conn_add_ack_offset(lib_of(base), stream, bytes));
}

uint64_t http3_base_stopped(void *base, int64_t stream)
{
    return http3_code(nghttp3_conn_shutdown_stream_read(lib_of(base), stream));
}

uint64_t http3_base_writable(void *base, int64_t stream)
{
    return http3_code(nghttp3_conn_unblock_stream(lib_of(base), stream));
}

_Static_assert(sizeof(struct quic_vec) == sizeof(nghttp3_vec), "pieces are handed on as they are");

uint64_t http3_base_next(void *base, int64_t *ret_stream, bool *ret_fin, struct quic_vec *vecs,
                         size_t *ret_count)
{
    int fin = 0;
    if (!lib_of(base)) /* it is not open yet */
        return 0;
    nghttp3_ssize n = nghttp3_conn_writev_stream(lib_of(base), ret_stream, &fin, (nghttp3_vec *)(void *)vecs,
                                                 QUIC_VECS_MAX);
    *ret_fin = fin;
    *ret_count = n > 0 ? (size_t)n : 0;
    return http3_code(n);
}

uint64_t http3_base_sent(void *base, int64_t stream, size_t bytes)
{
    return http3_code(nghttp3_conn_add_write_offset(lib_of(base), stream, bytes));
}

void http3_base_blocked(void *base, int64_t stream)
{
    nghttp3_conn_block_stream(lib_of(base), stream);
}

/* ---- what nghttp3 tells ---- */

/* Bytes that waited for the table of field names. */
int http3_base_on_deferred(nghttp3_conn *lib, int64_t id, size_t bytes, void *base, void *stream)
{
    (void)lib, (void)stream;
    quic_give(((struct http3_base *)base)->quic, id, bytes);
    return 0;
}

/* It wants no more of a stream: a malformed message, or one that came after the end. */
int http3_base_on_stop(nghttp3_conn *lib, int64_t id, uint64_t code, void *base, void *stream)
{
    (void)lib, (void)stream;
    quic_stream_stop(((struct http3_base *)base)->quic, id, code);
    return 0;
}

#endif

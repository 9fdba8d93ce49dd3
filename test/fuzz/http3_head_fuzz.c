/* Requests as they come out of an HTTP/3 session, whatever comes on its streams: see http2_head_fuzz.h.
 *
 *      [ flags: 1 the last piece ends its stream ] then pieces: [ stream ][ length ][ bytes ] */
#include "http2_head_fuzz.h"

#if WEIR_HAVE_NGTCP2
#include "net/quic_lib.h"

static int begin(nghttp3_conn *lib, int64_t id, void *conn, void *stream)
{
    (void)lib, (void)id, (void)stream;
    open_head(conn, false);
    return 0;
}

static int begin_trailers(nghttp3_conn *lib, int64_t id, void *conn, void *stream)
{
    (void)lib, (void)id, (void)stream;
    open_head(conn, true);
    return 0;
}

static struct bytes text_of(nghttp3_rcbuf *b)
{
    nghttp3_vec v = nghttp3_rcbuf_get_buf(b);
    return (struct bytes){ (const char *)v.base, v.len };
}

static int add(nghttp3_conn *lib, int64_t id, int32_t token, nghttp3_rcbuf *name, nghttp3_rcbuf *value,
               uint8_t flags, void *conn, void *stream)
{
    (void)lib, (void)id, (void)token, (void)flags, (void)stream;
    struct taken *t = conn;
    if (t->open)
        add_field(t, text_of(name), text_of(value));
    return 0;
}

static int end(nghttp3_conn *lib, int64_t id, int fin, void *conn, void *stream)
{
    (void)lib, (void)id, (void)stream;
    struct taken *t = conn;
    if (t->open && t->head.kind == HTTP2_REQUEST)
        check_request(t, fin);
    else if (t->open)
        (void)!http2_head_trailers(&t->head);
    close_head(t);
    return 0;
}

static const nghttp3_callbacks callbacks = {
    .begin_headers = begin,
    .recv_header = add,
    .end_headers = end,
    .begin_trailers = begin_trailers,
    .recv_trailer = add,
    .end_trailers = end,
};

static void feed(nghttp3_conn *lib, const uint8_t *data, size_t size, bool ends)
{
    /* two requests, and what a client opens of its own: control, QPACK, something else */
    static const int64_t streams[] = { 0, 4, 2, 6, 10, 14 };
    while (size >= 2) {
        int64_t id = streams[data[0] % (sizeof streams / sizeof *streams)];
        size_t len = data[1];
        data += 2;
        size -= 2;
        if (len > size)
            len = size;
        bool last = ends && len == size;
        if (nghttp3_conn_read_stream(lib, id, data, len, last) < 0)
            return; /* the connection is closed */
        data += len;
        size -= len;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct taken t = { .open = false };
    nghttp3_conn *lib;
    nghttp3_settings settings;
    nghttp3_settings_default(&settings);
    settings.qpack_max_dtable_capacity = 4096;
    settings.qpack_blocked_streams = 2;
    settings.enable_connect_protocol = 1;
    fuzz_check(nghttp3_conn_server_new(&lib, &callbacks, &settings, NULL, &t) == 0);
    nghttp3_conn_set_max_client_streams_bidi(lib, 4);
    if (size)
        feed(lib, data + 1, size - 1, data[0] & 1);
    nghttp3_conn_del(lib);
    close_head(&t);
    return 0;
}
#else
FUZZ_NOTHING
#endif

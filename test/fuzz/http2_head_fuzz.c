/* Requests as they come out of an HTTP/2 session and go on as HTTP/1.1: whatever frames arrive, the head that
 * is written for a server is parsed there to the same one request. Nothing can be smuggled into it. */
#include "http1_head_fuzz.h"
#include "proto/http2_head.h"

#if WEIR_HAVE_NGHTTP2
#include <nghttp2/nghttp2.h>

#define ARENA_BYTES_MAX (256 * 1024)

struct taken {
    struct arena arena;
    struct http_fields fields;
    struct http2_head head;
    bool open;
};

static void close_head(struct taken *t)
{
    if (t->open)
        arena_close(&t->arena);
    t->open = false;
}

static int begin(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    (void)ng;
    struct taken *t = user;
    bool trailers = frame->headers.cat != NGHTTP2_HCAT_REQUEST;
    close_head(t);
    arena_open(&t->arena, &arena_heap, ARENA_BYTES_MAX, NULL, 0);
    t->open = true;
    t->fields = (struct http_fields){ 0 };
    http2_head_open(&t->head, trailers ? HTTP2_TRAILERS : HTTP2_REQUEST, &t->arena, &t->fields, FIELDS_MAX,
                    1500);
    return 0;
}

static int add(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
               const uint8_t *value, size_t value_len, uint8_t flags, void *user)
{
    (void)ng;
    (void)frame;
    (void)flags;
    struct taken *t = user;
    err e = http2_head_add(&t->head, (struct bytes){ (const char *)name, name_len },
                           (struct bytes){ (const char *)value, value_len });
    fuzz_check(e == t->head.failed);
    return 0;
}

static void check_same(const struct http_request *sent, const struct http_request *got)
{
    fuzz_check(bytes_eq(sent->method_text, got->method_text) && sent->method == got->method);
    fuzz_check(bytes_eq(sent->target, got->target) && bytes_eq(sent->path, got->path));
    fuzz_check(bytes_eq(sent->query, got->query) && bytes_eq(sent->authority, got->authority));
    fuzz_check(sent->framing == got->framing && sent->content_length == got->content_length);
    uint32_t i = 0;
    uint32_t j = 0;
    for (;;) {
        const struct http_field *a = next_kept(&sent->fields, &i);
        while (a && a->flags & FIELD_REMOVED)
            a = next_kept(&sent->fields, &i);
        const struct http_field *b = next_kept(&got->fields, &j);
        fuzz_check(!a == !b);
        if (!a)
            return;
        fuzz_check(bytes_eq(http_field_name(a), http_field_name(b)));
        fuzz_check(bytes_eq(http_field_value(a), http_field_value(b)));
    }
}

static void check_request(struct taken *t, bool ended)
{
    static const struct http1_limits limits = { 8192, 65536, FIELDS_MAX + 8 };
    struct http_request r;
    struct http_field at[FIELDS_MAX + 8];
    struct http_request again = { .fields = { .at = at, .count_max = FIELDS_MAX + 8 } };
    unsigned status = 0;
    size_t used;
    err e = http2_head_request(&t->head, ended, &r, &status);
    fuzz_check(!e || status >= 400);
    if (e || r.method == HTTP_CONNECT || r.upgrade)
        return;
    fuzz_check(r.framing == HTTP_BODY_NONE || !ended);
    char *text = arena_get(&t->arena, http1_request_size(&r) + r.target.len + r.authority.len);
    if (!text)
        return;
    char *end = http1_put_request(text, &r, r.target, r.authority, HTTP1_CONNECTION_DEFAULT);
    struct bytes in = { text, (size_t)(end - text) };
    fuzz_check(http1_parse_request(in, 0, &limits, &again, &used, &status) == OK && used == in.len);
    if (r.framing == HTTP_BODY_NONE && again.framing == HTTP_BODY_NONE)
        r.content_length = again.content_length = 0;
    check_same(&r, &again);
}

static int got(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    (void)ng;
    struct taken *t = user;
    if (frame->hd.type != NGHTTP2_HEADERS || !t->open)
        return 0;
    if (t->head.kind == HTTP2_REQUEST)
        check_request(t, frame->hd.flags & NGHTTP2_FLAG_END_STREAM);
    else
        (void)!http2_head_trailers(&t->head);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct taken t = { .open = false };
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;
    nghttp2_session *ng;
    const nghttp2_settings_entry settings[] = { { NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1 } };
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, begin);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, add);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, got);
    nghttp2_option_new(&option);
    nghttp2_option_set_no_recv_client_magic(option, 1);
    /* what nghttp2 would keep away is checked again */
    nghttp2_option_set_no_http_messaging(option, size && data[0] & 1);
    nghttp2_session_server_new2(&ng, callbacks, &t, option);
    nghttp2_submit_settings(ng, 0, settings, 1);
    if (size)
        (void)!nghttp2_session_mem_recv(ng, data + 1, size - 1);
    nghttp2_session_del(ng);
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    close_head(&t);
    return 0;
}
#else
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    (void)data;
    (void)size;
    return 0;
}
#endif

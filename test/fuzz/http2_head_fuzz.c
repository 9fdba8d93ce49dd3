/* Requests as they come out of an HTTP/2 session and go on as HTTP/1.1: whatever frames arrive, the head that
 * is written for a server is parsed there to the same one request. Nothing can be smuggled into it. */
#include "http2_head_fuzz.h"

#if WEIR_HAVE_NGHTTP2
#include <nghttp2/nghttp2.h>

static int begin(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    (void)ng;
    open_head(user, frame->headers.cat != NGHTTP2_HCAT_REQUEST);
    return 0;
}

static int add(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
               const uint8_t *value, size_t value_len, uint8_t flags, void *user)
{
    (void)ng;
    (void)frame;
    (void)flags;
    add_field(user, (struct bytes){ (const char *)name, name_len },
              (struct bytes){ (const char *)value, value_len });
    return 0;
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
FUZZ_NOTHING
#endif

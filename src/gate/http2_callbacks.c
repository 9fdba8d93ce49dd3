/* http2_callbacks: what nghttp2 says of a connection, frame by frame, and what of it is too much. */
#include "base/must.h"
#include "gate/http2_memory.h"
#include "gate/http2_session.h"
#if WEIR_HAVE_NGHTTP2

/* nghttp2 is asked to hold no more than so many acknowledgements. */
#define ACKS_MAX 1000
/* A window that cuts a frame to less than this, though there is more to send, is noted. */
#define TINY_BYTES 64
#define TINY_IN_A_ROW 8
/* Pieces of one head: http2_abuse has a lower bound. */
#define CONTINUATIONS_MAX 1000

static struct http2_session *session_of(void *user)
{
    return user;
}

void http2_session_note(struct http2_session *c, enum http2_abuse_kind kind)
{
    if (c->limits.abuse_scale && !c->calm &&
        http2_abuse_note(&c->abuse, kind, worker_now_us() / 1000, c->limits.abuse_scale))
        c->calm = (uint16_t)(kind + 1);
}

static int note(struct http2_session *c, enum http2_abuse_kind kind)
{
    http2_session_note(c, kind);
    return c->calm ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static struct http2_stream *stream_of(nghttp2_session *ng, int32_t id)
{
    return id ? nghttp2_session_get_stream_user_data(ng, id) : NULL;
}

/* RFC 9113 5.1: on a stream that it has ended or reset itself the peer sends neither a head nor a body any
 * more. What comes on one that we have reset may have crossed that, and nghttp2 drops it. */
bool http2_session_is_done(const struct http2_session *c, int32_t id)
{
    for (int i = 0; i < HTTP2_DONE_MAX; i++) {
        if (c->done[i] == id)
            return id != 0;
    }
    return false;
}

static void note_done(struct http2_session *c, const struct http2_stream *s)
{
    if (!c->side->server || !(s->flags & (HTTP2_ENDED | HTTP2_TAKEN_BACK)))
        return;
    c->done[c->done_next] = s->id;
    c->done_next = (uint8_t)((c->done_next + 1) % HTTP2_DONE_MAX);
}

/* RFC 9113 5.1.1: a stream that was passed over is closed. A head on one that was open once may be trailers
 * that crossed our reset, which nghttp2 sees to. */
static bool is_in_order(struct http2_session *c, int32_t id)
{
    if (id > c->newest_id) {
        c->gaps |= id != c->newest_id + (c->newest_id ? 2 : 1);
        c->newest_id = id;
        return true;
    }
    return !c->gaps || nghttp2_session_find_stream(c->ng, id);
}

static int on_begin_frame(nghttp2_session *ng, const nghttp2_frame_hd *hd, void *user)
{
    (void)ng;
    struct http2_session *c = session_of(user);
    switch (hd->type) {
    case NGHTTP2_DATA:
        return hd->length == 0 && !(hd->flags & NGHTTP2_FLAG_END_STREAM) ? note(c, HTTP2_ABUSE_EMPTY) : 0;
    case NGHTTP2_HEADERS:
        if (http2_session_is_done(c, hd->stream_id)) {
            c->fault = NGHTTP2_STREAM_CLOSED;
            return NGHTTP2_ERR_CALLBACK_FAILURE;
        }
        return c->side->server && !is_in_order(c, hd->stream_id) ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
    case NGHTTP2_CONTINUATION:
        return note(c, HTTP2_ABUSE_CONTINUATIONS);
    case NGHTTP2_RST_STREAM:
        return c->side->server ? note(c, HTTP2_ABUSE_RESETS) : 0;
    case NGHTTP2_SETTINGS:
        return hd->flags & NGHTTP2_FLAG_ACK ? 0 : note(c, HTTP2_ABUSE_SETTINGS);
    case NGHTTP2_PING:
        return hd->flags & NGHTTP2_FLAG_ACK ? 0 : note(c, HTTP2_ABUSE_PINGS);
    case NGHTTP2_PRIORITY:
        if (hd->stream_id == 0) /* RFC 9113 6.3; nghttp2 does not look, for it does not use them */
            return NGHTTP2_ERR_CALLBACK_FAILURE;
        return note(c, HTTP2_ABUSE_PRIORITIES);
    case NGHTTP2_PRIORITY_UPDATE:
        return note(c, HTTP2_ABUSE_PRIORITIES);
    case NGHTTP2_WINDOW_UPDATE:
        return note(c, HTTP2_ABUSE_WINDOWS);
    default:
        return 0;
    }
}

static int on_begin_headers(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    struct http2_session *c = session_of(user);
    struct http2_stream *s = stream_of(ng, frame->hd.stream_id);
    if (!s && c->side->server && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
        s = http2_stream_new(c, frame->hd.stream_id);
        nghttp2_session_set_stream_user_data(ng, s->id, s);
    }
    if (!s)
        return 0;
    c->reading = s;
    c->reading_us = worker_now_us();
    http2_stream_begin_head(s);
    return 0;
}

static int on_header(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
                     const uint8_t *value, size_t value_len, uint8_t flags, void *user)
{
    (void)ng;
    (void)frame;
    (void)flags;
    struct http2_session *c = session_of(user);
    struct http2_stream *s = c->reading;
    if (!s)
        return 0;
    struct http2_head *h = http2_stream_head(s);
    err e = http2_head_add(h, (struct bytes){ (const char *)name, name_len },
                           (struct bytes){ (const char *)value, value_len });
    /* what is too much is still decoded, or the two tables would run apart; but not without end */
    return e == ERR_LIMIT && h->bytes > 4 * h->bytes_max ? note(c, HTTP2_ABUSE_HEADS) : 0;
}

static int on_frame(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    struct http2_session *c = session_of(user);
    struct http2_stream *s = stream_of(ng, frame->hd.stream_id);
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        c->reading = NULL;
        if (s)
            http2_stream_end_head(s, frame->hd.flags & NGHTTP2_FLAG_END_STREAM);
        return 0;
    case NGHTTP2_DATA:
        if (s && frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
            http2_stream_end_input(s);
        return 0;
    case NGHTTP2_RST_STREAM:
        if (s)
            s->flags |= HTTP2_TAKEN_BACK;
        return 0;
    case NGHTTP2_SETTINGS:
        c->settled |= !(frame->hd.flags & NGHTTP2_FLAG_ACK);
        break;
    case NGHTTP2_PING:
        c->pinged &= !(frame->hd.flags & NGHTTP2_FLAG_ACK);
        break;
    case NGHTTP2_GOAWAY:
        c->goaway_received = true;
        c->goaway_last = frame->goaway.last_stream_id;
        break;
    default:
        return 0;
    }
    if (c->side->look)
        c->side->look(c);
    return 0;
}

static int on_data(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *data, size_t len,
                   void *user)
{
    (void)flags;
    struct http2_session *c = session_of(user);
    struct http2_stream *s = stream_of(ng, id);
    if (s)
        http2_stream_input(s, (struct bytes){ (const char *)data, len });
    else
        nghttp2_session_consume(ng, id, len);
    (void)c;
    return 0;
}

static int on_stream_close(nghttp2_session *ng, int32_t id, uint32_t code, void *user)
{
    struct http2_session *c = session_of(user);
    struct http2_stream *s = stream_of(ng, id);
    if (!s)
        return 0;
    if (c->reading == s)
        c->reading = NULL;
    note_done(c, s);
    http2_stream_closed(s, code);
    return 0;
}

/* A client can have us reset its streams without end, each of which has cost its work ("made you reset",
 * CVE-2025-8671). */
static bool is_mistake(uint32_t code)
{
    return code == NGHTTP2_PROTOCOL_ERROR || code == NGHTTP2_FLOW_CONTROL_ERROR ||
           code == NGHTTP2_STREAM_CLOSED || code == NGHTTP2_FRAME_SIZE_ERROR;
}

/* A window that is used up byte by byte costs a frame each. One small frame says nothing: it is what was left
 * of a window between two larger ones. */
static void note_tiny(struct http2_session *c, nghttp2_session *ng, const nghttp2_frame_hd *hd)
{
    struct http2_stream *s = stream_of(ng, hd->stream_id);
    if (!s || hd->flags & NGHTTP2_FLAG_END_STREAM)
        return;
    const bool cut =
        hd->length < TINY_BYTES && nghttp2_session_get_stream_remote_window_size(ng, hd->stream_id) == 0;
    s->tiny = cut ? s->tiny + 1 : 0;
    if (s->tiny > TINY_IN_A_ROW)
        http2_session_note(c, HTTP2_ABUSE_TINY);
}

static int on_frame_sent(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    struct http2_session *c = session_of(user);
    if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR)
        c->closing = true;
    if (frame->hd.type == NGHTTP2_RST_STREAM && c->side->server && is_mistake(frame->rst_stream.error_code))
        http2_session_note(c, HTTP2_ABUSE_ERRORS);
    if (frame->hd.type != NGHTTP2_DATA)
        return 0;
    /* each may be answered by an update of the stream's window and one of the connection's */
    http2_abuse_forgive(&c->abuse, HTTP2_ABUSE_WINDOWS);
    http2_abuse_forgive(&c->abuse, HTTP2_ABUSE_WINDOWS);
    note_tiny(c, ng, &frame->hd);
    return 0;
}

/* A request that was taken back before it was framed. */
static int on_frame_not_sent(nghttp2_session *ng, const nghttp2_frame *frame, int code, void *user)
{
    (void)ng;
    (void)code;
    struct http2_session *c = session_of(user);
    if (frame->hd.type != NGHTTP2_HEADERS || c->side->server)
        return 0;
    LIST_EACH (at, &c->streams) {
        struct http2_stream *s = container_of(at, struct http2_stream, link);
        if (s->id != frame->hd.stream_id)
            continue;
        http2_stream_closed(s, NGHTTP2_REFUSED_STREAM);
        break;
    }
    return 0;
}

static int send_data(nghttp2_session *ng, nghttp2_frame *frame, const uint8_t *head, size_t length,
                     nghttp2_data_source *source, void *user)
{
    (void)ng;
    (void)frame;
    struct http2_session *c = session_of(user);
    bool more = http2_stream_frame(source->ptr, (struct bytes){ (const char *)head, 9 }, length);
    if (more) /* its fiber has more, and may go before others that are ready */
        http2_session_soon(c);
    return more || io_queued(c->io) >= HTTP2_QUEUED_BYTES_MAX ? NGHTTP2_ERR_PAUSE : 0;
}

static nghttp2_session_callbacks *make_callbacks(void)
{
    nghttp2_session_callbacks *cb;
    must(nghttp2_session_callbacks_new(&cb) == 0);
    nghttp2_session_callbacks_set_on_begin_frame_callback(cb, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_sent);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(cb, on_frame_not_sent);
    nghttp2_session_callbacks_set_send_data_callback(cb, send_data);
    return cb;
}

static nghttp2_option *make_options(void)
{
    nghttp2_option *o;
    must(nghttp2_option_new(&o) == 0);
    nghttp2_option_set_no_auto_window_update(o, 1);
    nghttp2_option_set_no_closed_streams(o, 1);
    nghttp2_option_set_max_outbound_ack(o, ACKS_MAX);
    nghttp2_option_set_max_continuations(o, CONTINUATIONS_MAX);
    nghttp2_option_set_builtin_recv_extension_type(o, NGHTTP2_PRIORITY_UPDATE);
    nghttp2_option_set_peer_max_concurrent_streams(o, 100);
    return o;
}

/* The same for all sessions of the worker. */
static _Thread_local struct {
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *options;
    struct turn_hook end;
} here;

static void end_here(struct turn_hook *h)
{
    (void)h;
    nghttp2_session_callbacks_del(here.callbacks);
    nghttp2_option_del(here.options);
    here.callbacks = NULL;
}

static void prepare(void)
{
    if (here.callbacks)
        return;
    here.callbacks = make_callbacks();
    here.options = make_options();
    here.end.run = end_here;
    worker_on_end(&here.end);
}

nghttp2_session *http2_callbacks_session(struct http2_session *c)
{
    nghttp2_session *ng;
    prepare();
    int failed = c->side->server
                     ? nghttp2_session_server_new3(&ng, here.callbacks, c, here.options, http2_memory())
                     : nghttp2_session_client_new3(&ng, here.callbacks, c, here.options, http2_memory());
    must(!failed);
    return ng;
}
#endif

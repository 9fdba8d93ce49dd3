#if WEIR_HAVE_NGHTTP2
#include "gate/http2_session.h"

#include "base/must.h"
#include "core/log.h"
#include "gate/http2_memory.h"

/* The drainer frames more from here on. */
#define DRAINED_BYTES (16 * 1024)
/* A client that is told of GOAWAY has so long to stop: two times round the world. */
#define LINGER_US (2 * 1000000)
/* nghttp2 is asked to hold no more than so many acknowledgements. */
#define ACKS_MAX 1000
/* A window that cuts a frame to less than this, though there is more to send, is noted. */
#define TINY_BYTES 64
/* Pieces of one head: http2_abuse has a lower bound. */
#define CONTINUATIONS_MAX 1000
/* Read in one go, before others have their turn. */
#define FEED_BYTES_MAX (256 * 1024)

static struct http2_session *session_of(void *user)
{
    return user;
}

/* ---- what the peer may cost ---- */

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

/* nghttp2 cannot be asked any more after one of its callbacks has failed. */
static void write_goaway(struct http2_session *c, uint32_t code)
{
    const uint32_t last = (uint32_t)c->last_id;
    const uint8_t frame[17] = { 0,
                                0,
                                8,
                                NGHTTP2_GOAWAY,
                                0,
                                0,
                                0,
                                0,
                                0,
                                (uint8_t)(last >> 24),
                                (uint8_t)(last >> 16),
                                (uint8_t)(last >> 8),
                                (uint8_t)last,
                                (uint8_t)(code >> 24),
                                (uint8_t)(code >> 16),
                                (uint8_t)(code >> 8),
                                (uint8_t)code };
    err e = io_write(c->io, (struct bytes){ (const char *)frame, sizeof frame }, 0);
    (void)e; /* it is over either way */
}

/* ---- nghttp2's callbacks ---- */

static struct http2_stream *stream_of(nghttp2_session *ng, int32_t id)
{
    return id ? nghttp2_session_get_stream_user_data(ng, id) : NULL;
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
        if (c->side->server && !is_in_order(c, hd->stream_id))
            return NGHTTP2_ERR_CALLBACK_FAILURE;
        return hd->length == 0 ? note(c, HTTP2_ABUSE_EMPTY) : 0;
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

static int on_frame_sent(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    struct http2_session *c = session_of(user);
    if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR)
        c->closing = true;
    if (frame->hd.type == NGHTTP2_RST_STREAM && c->side->server && is_mistake(frame->rst_stream.error_code))
        http2_session_note(c, HTTP2_ABUSE_ERRORS);
    if (frame->hd.type == NGHTTP2_DATA) {
        /* each may be answered by an update of the stream's window and one of the connection's */
        http2_abuse_forgive(&c->abuse, HTTP2_ABUSE_WINDOWS);
        http2_abuse_forgive(&c->abuse, HTTP2_ABUSE_WINDOWS);
        uint32_t left = (uint32_t)nghttp2_session_get_stream_remote_window_size(ng, frame->hd.stream_id);
        if (!(frame->hd.flags & NGHTTP2_FLAG_END_STREAM) && frame->hd.length < TINY_BYTES && left == 0)
            http2_session_note(c, HTTP2_ABUSE_TINY);
    }
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

/* ---- making and ending ---- */

static void flush_soon(struct turn_hook *h)
{
    struct http2_session *c = container_of(h, struct http2_session, flush_soon);
    c->soon = false;
    if (c->over)
        http2_session_release(c);
    else
        http2_session_flush(c);
}

static void submit_settings(struct http2_session *c)
{
    const struct http2_limits *l = &c->limits;
    nghttp2_settings_entry entries[8];
    size_t n = 0;
    if (c->side->server) {
        entries[n++] = (nghttp2_settings_entry){ NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, l->streams_max };
        entries[n++] = (nghttp2_settings_entry){ NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1 };
        if (l->connect_protocol)
            entries[n++] = (nghttp2_settings_entry){ NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1 };
    } else {
        entries[n++] = (nghttp2_settings_entry){ NGHTTP2_SETTINGS_ENABLE_PUSH, 0 };
    }
    entries[n++] = (nghttp2_settings_entry){ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, l->window_bytes };
    entries[n++] = (nghttp2_settings_entry){ NGHTTP2_SETTINGS_MAX_FRAME_SIZE, l->frame_bytes_max };
    entries[n++] = (nghttp2_settings_entry){ NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, l->table_bytes };
    entries[n++] = (nghttp2_settings_entry){ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, l->list_bytes_max };
    must(nghttp2_submit_settings(c->ng, NGHTTP2_FLAG_NONE, entries, n) == 0);
    must(nghttp2_session_set_local_window_size(c->ng, NGHTTP2_FLAG_NONE, 0, (int32_t)l->connection_bytes) ==
         0);
}

void http2_session_open(struct http2_session *c, struct io *io)
{
    prepare();
    int failed = c->side->server
                     ? nghttp2_session_server_new3(&c->ng, here.callbacks, c, here.options, http2_memory())
                     : nghttp2_session_client_new3(&c->ng, here.callbacks, c, here.options, http2_memory());
    must(!failed);
    c->io = io;
    c->flush_soon.run = flush_soon;
    c->heard_us = worker_now_us();
    list_init(&c->streams);
    submit_settings(c);
}

/* Nobody uses it any more? */
void http2_session_release(struct http2_session *c)
{
    if (c->io || !list_empty(&c->streams) || c->busy || c->flushing || c->soon || c->draining)
        return;
    if (c->ng)
        nghttp2_session_del(c->ng);
    c->ng = NULL;
    c->side->free(c);
}

static void close_io(struct http2_session *c, err why)
{
    if (c->parked)
        io_unpark(c->io);
    c->parked = false;
    struct io *io = c->io;
    c->io = NULL;
    if (why && why != ERR_CLOSED && why != ERR_PROTOCOL)
        io_abort(io, why != ERR_CANCELLED);
    else
        io_close(io, LINGER_US, true);
}

void http2_session_end(struct http2_session *c, err why)
{
    if (c->over)
        return;
    c->over = true;
    if (!c->draining)
        close_io(c, why);
    else if (c->drainer)
        fiber_cancel(c->drainer); /* it closes the connection when it has let go of it */
    c->reading = NULL;
    struct link *at = c->streams.next;
    while (at != &c->streams) {
        struct http2_stream *s = container_of(at, struct http2_stream, link);
        at = at->next;
        http2_stream_cut(s, why == OK || why == ERR_CLOSED || why == ERR_PROTOCOL ? ERR_RESET : why);
    }
    http2_session_release(c);
}

void http2_session_goaway(struct http2_session *c, bool soon)
{
    if (c->over || c->goaway_sent)
        return;
    if (soon) {
        nghttp2_submit_shutdown_notice(c->ng);
    } else {
        c->goaway_sent = true;
        nghttp2_submit_goaway(c->ng, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(c->ng),
                              NGHTTP2_NO_ERROR, NULL, 0);
    }
    http2_session_soon(c);
}

static void end_abused(struct http2_session *c)
{
    static struct log_limit limit = LOG_LIMIT(1);
    enum http2_abuse_kind kind = (enum http2_abuse_kind)(c->calm - 1);
    log_limited(&limit, LOG_WARN, "http2", "closed a connection that does too much kind=%s",
                http2_abuse_word(kind));
    if (c->side->abused)
        c->side->abused(c, kind);
    write_goaway(c, NGHTTP2_ENHANCE_YOUR_CALM);
    http2_session_end(c, ERR_PROTOCOL);
}

/* ---- out ---- */

bool http2_session_is_clear(const struct http2_session *c)
{
    return !c->flushing && !c->feeding && io_queued(c->io) < HTTP2_QUEUED_BYTES_MAX &&
           nghttp2_session_get_outbound_queue_size(c->ng) == 0;
}

static err frame_all(struct http2_session *c)
{
    while (io_queued(c->io) < HTTP2_QUEUED_BYTES_MAX) {
        const uint8_t *data;
        ssize_t n = nghttp2_session_mem_send(c->ng, &data);
        if (n < 0 || c->calm)
            return ERR_PROTOCOL;
        if (n == 0)
            return OK;
        err e = io_write(c->io, (struct bytes){ (const char *)data, (size_t)n }, 0);
        if (e)
            return e;
    }
    return OK;
}

/* The peer takes less than there is. */
static void drain(void *arg)
{
    struct http2_session *c = arg;
    err e = OK;
    c->drainer = fiber_self();
    while (!e && !c->over && io_queued(c->io) >= HTTP2_QUEUED_BYTES_MAX) {
        e = io_drain(c->io, DRAINED_BYTES, deadline_in_ms(c->limits.write_timeout_ms));
        if (!e && !c->over)
            http2_session_flush(c);
    }
    c->drainer = NULL;
    c->draining = false;
    if (c->over) {
        close_io(c, ERR_CANCELLED);
        http2_session_release(c);
    } else if (e) {
        http2_session_end(c, e);
    }
}

void http2_session_flush(struct http2_session *c)
{
    if (c->over || c->flushing || c->feeding)
        return;
    c->flushing = true;
    err e = frame_all(c);
    c->flushing = false;
    if (c->calm) {
        end_abused(c);
    } else if (e) {
        http2_session_end(c, e);
    } else if (io_queued(c->io) >= HTTP2_QUEUED_BYTES_MAX) {
        if (!c->draining) {
            c->draining = true;
            fiber_spawn(drain, c);
        }
    } else if (c->closing || !(nghttp2_session_want_read(c->ng) || nghttp2_session_want_write(c->ng))) {
        http2_session_end(c, ERR_CLOSED);
    }
}

void http2_session_soon(struct http2_session *c)
{
    if (c->over || c->soon)
        return;
    c->soon = true;
    worker_end_of_turn(&c->flush_soon);
}

/* ---- in ---- */

static void woke(void *owner, err why);

static void park(struct http2_session *c)
{
    c->parked = true;
    io_park(c->io, woke, c, c->side->deadline(c));
}

void http2_session_rest(struct http2_session *c)
{
    if (!c->parked || c->over)
        return;
    io_unpark(c->io);
    park(c);
}

static err feed(struct http2_session *c)
{
    struct bytes in;
    size_t fed = 0;
    while (fed < FEED_BYTES_MAX && (in = io_peek(c->io)).len) {
        ssize_t n = nghttp2_session_mem_recv(c->ng, (const uint8_t *)in.ptr, in.len);
        if (c->calm)
            return ERR_PROTOCOL;
        if (n == NGHTTP2_ERR_FLOODED)
            c->calm = HTTP2_ABUSE_PINGS + 1;
        if (n < 0)
            return ERR_PROTOCOL;
        io_consume(c->io, (size_t)n);
        fed += (size_t)n;
    }
    return OK;
}

/* What has arrived. */
static void read_all(struct http2_session *c)
{
    c->heard_us = worker_now_us();
    c->feeding = true;
    err e = feed(c);
    c->feeding = false;
    if (c->calm) {
        end_abused(c);
    } else if (e) {
        write_goaway(c, NGHTTP2_PROTOCOL_ERROR);
        http2_session_end(c, e);
    } else {
        http2_session_flush(c);
    }
}

static void go_on(struct http2_session *c)
{
    c->busy = false;
    if (c->over)
        http2_session_release(c);
    else
        park(c);
}

static void woke(void *owner, err why)
{
    struct http2_session *c = owner;
    c->parked = false;
    c->busy = true;
    if (why == OK)
        read_all(c);
    else if (why == ERR_TIMEOUT)
        c->side->overdue(c);
    else
        http2_session_end(c, why);
    go_on(c);
}

void http2_session_start(struct http2_session *c)
{
    c->busy = true;
    read_all(c);
    go_on(c);
}
#endif

#if WEIR_HAVE_NGHTTP2
#include "gate/http2_session.h"

#include "base/must.h"
#include "core/log.h"

/* The drainer frames more from here on. */
#define DRAINED_BYTES (16 * 1024)
/* A client that is told of GOAWAY has so long to stop: two times round the world. */
#define LINGER_US (2 * 1000000)
/* Read in one go, before others have their turn. */
#define FEED_BYTES_MAX (256 * 1024)

static void put_u32(char *out, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        out[i] = (char)(value >> (24 - 8 * i));
}

/* nghttp2 cannot be asked any more after one of its callbacks has failed. */
static void write_goaway(struct http2_session *c, uint32_t code)
{
    char frame[17] = { 0, 0, 8, NGHTTP2_GOAWAY };
    put_u32(frame + 9, (uint32_t)c->last_id);
    put_u32(frame + 13, code);
    err e = io_write(c->io, (struct bytes){ frame, sizeof frame }, 0);
    (void)e; /* it is over either way */
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
    c->ng = http2_callbacks_session(c);
    c->io = io;
    c->flush_soon.run = flush_soon;
    c->heard_us = worker_now_us();
    c->payload_left = NGHTTP2_CLIENT_MAGIC_LEN; /* of a client's side: not followed */
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
    c->why = why;
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

void http2_session_close(struct http2_session *c)
{
    if (c->over)
        return;
    const bool busy = c->busy;
    c->busy = true;
    http2_session_goaway(c, false);
    http2_session_flush(c);
    http2_session_end(c, ERR_CLOSED);
    c->busy = busy;
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
        close_io(c, c->why);
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

/* nghttp2 says nothing of DATA on a stream that is over. So frames are followed here too: *in is cut behind
 * the head of the next one of that type, whose stream is returned; 0: there is none in it. */
static int32_t cut_at_data(struct http2_session *c, struct bytes *in)
{
    size_t at = 0;
    while (at < in->len) {
        if (c->payload_left) {
            const size_t left = in->len - at;
            const uint32_t n = c->payload_left < left ? c->payload_left : (uint32_t)left;
            c->payload_left -= n;
            at += n;
            continue;
        }
        c->head[c->head_have++] = (unsigned char)in->ptr[at++];
        if (c->head_have < sizeof c->head)
            continue;
        const unsigned char *h = c->head;
        c->head_have = 0;
        c->payload_left = (uint32_t)h[0] << 16 | (uint32_t)h[1] << 8 | h[2];
        if (h[3] != NGHTTP2_DATA)
            continue;
        in->len = at;
        return (int32_t)((uint32_t)(h[5] & 0x7f) << 24 | (uint32_t)h[6] << 16 | (uint32_t)h[7] << 8 | h[8]);
    }
    return 0;
}

static err feed(struct http2_session *c)
{
    struct bytes in;
    size_t fed = 0;
    while (fed < FEED_BYTES_MAX && (in = io_peek(c->io)).len) {
        const int32_t data_id = c->side->server ? cut_at_data(c, &in) : 0;
        ssize_t n = nghttp2_session_mem_recv(c->ng, (const uint8_t *)in.ptr, in.len);
        if (c->calm)
            return ERR_PROTOCOL;
        if (n == NGHTTP2_ERR_FLOODED)
            c->calm = HTTP2_ABUSE_PINGS + 1;
        if (n < 0)
            return ERR_PROTOCOL;
        io_consume(c->io, (size_t)n);
        fed += (size_t)n;
        if (http2_session_is_done(c, data_id)) {
            c->fault = NGHTTP2_STREAM_CLOSED;
            return ERR_PROTOCOL;
        }
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
        write_goaway(c, c->fault ? c->fault : NGHTTP2_PROTOCOL_ERROR);
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

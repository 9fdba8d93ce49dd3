/* http2_stream: what comes in on a stream, piece by piece, and what goes out. */
#if WEIR_HAVE_NGHTTP2
#include "base/must.h"
#include "core/worker_pool.h"
#include "gate/http2_session.h"

/* As in http1_body: below this a copy beside the frame's head is cheaper. */
#define LEND_BYTES_MIN 4096
/* A stream's heads; beyond what a head may have there is nothing to keep. */
#define ARENA_BYTES_MAX (1024 * 1024)
#define FIELDS_FIRST 24

/* What has been received of a body: small ones for the many that are short. */
struct http2_piece {
    struct http2_piece *next;
    uint32_t start, end, size;
    bool large;
    char data[];
};
#define SMALL_PIECE_BYTES 1024
#define SMALL_BYTES (SMALL_PIECE_BYTES - sizeof(struct http2_piece))
#define LARGE_BYTES ((size_t)16 * 1024) /* as the worker's chunks are */

static _Thread_local struct worker_pool streams, small;

/* ---- life ---- */

struct http2_stream *http2_stream_new(struct http2_session *c, int32_t id)
{
    struct http2_stream *s = worker_pool_take(&streams, sizeof *s);
    memset(s, 0, offsetof(struct http2_stream, arena));
    s->session = c;
    s->id = id;
    s->flags = id ? HTTP2_OPEN : 0;
    s->bytes_max = UINT64_MAX;
    s->pause_ms_max = UINT64_MAX;
    s->body = (struct body){ .ops = &http2_body_ops, .length = BODY_LENGTH_UNKNOWN };
    arena_open(&s->arena, &arena_worker, ARENA_BYTES_MAX, s->first_bytes, sizeof s->first_bytes);
    list_push_back(&c->streams, &s->link);
    c->streams_count++;
    return s;
}

static struct http2_piece *drop_first(struct http2_stream *s)
{
    struct http2_piece *p = s->first;
    s->first = p->next;
    if (p->large)
        arena_worker.put(p, LARGE_BYTES);
    else
        worker_pool_give(&small, p);
    if (!s->first)
        s->last = NULL;
    return s->first;
}

static void pay(struct http2_session *c)
{
    if (!c->owed_bytes || c->over)
        return;
    nghttp2_session_consume_connection(c->ng, c->owed_bytes);
    c->owed_bytes = 0;
    http2_session_soon(c);
}

/* As much is acknowledged of the connection's window as is not held back by streams that are not read. */
static void give_back(struct http2_session *c, size_t n)
{
    c->unread_bytes -= (uint32_t)n;
    if (c->unread_bytes <= c->limits.connection_bytes)
        pay(c);
}

void http2_session_hungry(struct http2_session *c, bool hungry)
{
    c->hungry_count += hungry ? 1 : -1u;
    if (hungry)
        pay(c);
}

static void drop_input(struct http2_stream *s)
{
    size_t n = 0;
    while (s->first) {
        n += s->first->end - s->first->start;
        drop_first(s);
    }
    if (n)
        give_back(s->session, n);
}

static void stream_free(struct http2_stream *s)
{
    struct http2_session *c = s->session;
    drop_input(s);
    arena_close(&s->arena);
    list_remove(&s->link);
    worker_pool_give(&streams, s);
    if (--c->streams_count == 0 && c->side->look)
        c->side->look(c);
}

void http2_stream_use(struct http2_stream *s)
{
    s->flags |= HTTP2_USED;
    s->session->used_count++;
}

void http2_stream_reset(struct http2_stream *s, uint32_t code)
{
    if (s->session->over || !(s->flags & HTTP2_OPEN))
        return;
    nghttp2_submit_rst_stream(s->session->ng, NGHTTP2_FLAG_NONE, s->id, code);
    http2_session_soon(s->session);
}

void http2_stream_leave(struct http2_stream *s, uint32_t code)
{
    struct http2_session *c = s->session;
    s->flags &= ~(uint32_t)HTTP2_USED;
    s->waiting = s->writing = NULL;
    s->news = NULL;
    s->out = BYTES_NONE;
    s->out_body = NULL;
    s->owner = NULL;
    c->used_count--;
    if (s->flags & HTTP2_OPEN && !c->over) {
        if (code == NGHTTP2_NO_ERROR && (s->flags & (HTTP2_LAST | HTTP2_SAID)) == HTTP2_LAST)
            s->flags |= HTTP2_AFTER;
        else if (!http2_stream_is_whole(s))
            http2_stream_reset(s, code);
        drop_input(s);
        return; /* it is freed when nghttp2 says that it is closed */
    }
    stream_free(s);
    if (c->over)
        http2_session_release(c);
}

bool http2_stream_is_whole(const struct http2_stream *s)
{
    return (s->flags & (HTTP2_ENDED | HTTP2_SAID)) == (HTTP2_ENDED | HTTP2_SAID);
}

static void arrived(struct http2_stream *s)
{
    if (s->waiting)
        fiber_wake(s->waiting);
    if (s->news)
        s->news(s);
}

static void lose(struct http2_stream *s, err why)
{
    if (!s->failed)
        s->failed = why;
    s->session->side->lost(s);
    if (s->writing)
        fiber_wake(s->writing);
    arrived(s);
}

void http2_stream_closed(struct http2_stream *s, uint32_t code)
{
    s->flags &= ~(uint32_t)HTTP2_OPEN;
    s->error = code;
    if (!(s->flags & HTTP2_USED)) {
        stream_free(s);
        return;
    }
    if (!http2_stream_is_whole(s))
        lose(s, code == NGHTTP2_REFUSED_STREAM ? ERR_REFUSED : ERR_RESET);
}

void http2_stream_cut(struct http2_stream *s, err why)
{
    s->flags &= ~(uint32_t)HTTP2_OPEN;
    if (s->flags & HTTP2_USED)
        lose(s, why);
    else
        stream_free(s);
}

/* ---- in ---- */

void http2_stream_begin_head(struct http2_stream *s)
{
    const struct http2_limits *l = &s->session->limits;
    const bool again = s->flags & HTTP2_HEADED;
    struct http_fields *fields = again ? &s->trailers : &s->fields;
    enum http2_head_kind kind = again                      ? HTTP2_TRAILERS
                                : s->session->side->server ? HTTP2_REQUEST
                                                           : HTTP2_RESPONSE;
    fields->count = 0;
    if (!again && !fields->at) {
        fields->at = arena_get(&s->arena, FIELDS_FIRST * sizeof *fields->at);
        fields->count_max = fields->at ? FIELDS_FIRST : 0;
    }
    http2_head_open(http2_stream_head(s), kind, &s->arena, fields, l->fields_max, l->list_bytes_max);
}

static void end_trailers(struct http2_stream *s)
{
    err e = http2_head_trailers(&s->tail);
    if (e == ERR_SYNTAX) {
        http2_stream_reset(s, NGHTTP2_PROTOCOL_ERROR);
        return;
    }
    if (!e) /* too many of them are left out: nobody has to have trailers */
        s->body.trailers = &s->trailers;
    http2_stream_end_input(s);
}

void http2_stream_end_head(struct http2_stream *s, bool ended)
{
    if (s->flags & HTTP2_HEADED) {
        end_trailers(s);
        return;
    }
    if (ended)
        s->flags |= HTTP2_ENDED | HTTP2_BARE;
    if (s->session->side->server || s->head.status >= 200)
        s->flags |= HTTP2_HEADED;
    s->session->side->head(s);
}

void http2_stream_end_input(struct http2_stream *s)
{
    s->flags |= HTTP2_ENDED;
    arrived(s);
}

static struct http2_piece *piece_for(struct http2_stream *s, size_t len)
{
    struct http2_piece *p = s->last;
    if (p && p->end < p->size)
        return p;
    const bool large = len > SMALL_BYTES || p;
    size_t size = LARGE_BYTES;
    p = large ? arena_worker.get(&size) : worker_pool_take(&small, SMALL_PIECE_BYTES);
    *p = (struct http2_piece){ .size = (uint32_t)(large ? size - sizeof *p : SMALL_BYTES), .large = large };
    if (s->last)
        s->last->next = p;
    else
        s->first = p;
    s->last = p;
    return p;
}

static void keep(struct http2_stream *s, struct bytes data)
{
    while (data.len) {
        struct http2_piece *p = piece_for(s, data.len);
        size_t n = p->size - p->end;
        if (n > data.len)
            n = data.len;
        memcpy(p->data + p->end, data.ptr, n);
        p->end += (uint32_t)n;
        data = bytes_skip(data, n);
    }
}

void http2_stream_input(struct http2_stream *s, struct bytes data)
{
    struct http2_session *c = s->session;
    if (!(s->flags & HTTP2_USED)) { /* nobody wants it any more */
        nghttp2_session_consume(c->ng, s->id, data.len);
        return;
    }
    keep(s, data);
    c->unread_bytes += (uint32_t)data.len;
    if (c->unread_bytes <= c->limits.connection_bytes || c->hungry_count)
        nghttp2_session_consume_connection(c->ng, data.len);
    else
        c->owed_bytes += (uint32_t)data.len;
    arrived(s);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static err wait_input(struct http2_stream *s, uint64_t deadline_us)
{
    if (s->before_wait) {
        s->before_wait(s);
        s->before_wait = NULL;
    }
    s->waiting = fiber_self();
    http2_session_hungry(s->session, true);
    err e = fiber_wait(earlier(deadline_us, deadline_in_ms(s->pause_ms_max)));
    http2_session_hungry(s->session, false);
    s->waiting = NULL;
    return e;
}

err http2_body_pull(struct body *b, uint64_t deadline_us, struct bytes *ret_bytes)
{
    struct http2_stream *s = container_of(b, struct http2_stream, body);
    while (!s->first) {
        if (s->flags & HTTP2_ENDED) {
            *ret_bytes = BYTES_NONE;
            return OK;
        }
        if (s->failed)
            return s->failed;
        err e = wait_input(s, deadline_us);
        if (e)
            return e;
    }
    struct bytes in = { s->first->data + s->first->start, s->first->end - s->first->start };
    if (s->bytes + in.len > s->bytes_max)
        return ERR_LIMIT;
    *ret_bytes = in;
    return OK;
}

void http2_body_give(struct body *b, size_t n)
{
    struct http2_stream *s = container_of(b, struct http2_stream, body);
    struct http2_session *c = s->session;
    const size_t given = n;
    s->bytes += n;
    while (n) {
        struct http2_piece *p = s->first;
        size_t here_n = p->end - p->start;
        if (here_n > n)
            here_n = n;
        p->start += (uint32_t)here_n;
        n -= here_n;
        if (p->start == p->end)
            drop_first(s);
    }
    if (!given)
        return;
    if (s->flags & HTTP2_OPEN && !(s->flags & HTTP2_ENDED) && !c->over) {
        nghttp2_session_consume_stream(c->ng, s->id, given);
        http2_session_soon(c);
    }
    give_back(c, given);
}

bool http2_body_ready(struct body *b)
{
    const struct http2_stream *s = container_of(b, struct http2_stream, body);
    return s->first || s->flags & HTTP2_ENDED || s->failed;
}

const struct body_ops http2_body_ops = {
    .pull = http2_body_pull,
    .give = http2_body_give,
    .ready = http2_body_ready,
};

/* ---- out ---- */

/* The last frame of the stream will be the trailers', if there are some. */
static void say_trailers(struct http2_stream *s, uint32_t *flags)
{
    const struct http_fields *t = s->out_trailers;
    struct http2_fields f;
    if (!t || !t->count || http2_fields_open(&f, &s->arena, t->count, true) != OK ||
        http2_fields_put_all(&f, &s->arena, t) != OK || !f.count)
        return;
    if (nghttp2_submit_trailer(s->session->ng, s->id, f.at, f.count) == 0)
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
}

static ssize_t read_output(nghttp2_session *ng, int32_t id, uint8_t *buffer, size_t length, uint32_t *flags,
                           nghttp2_data_source *source, void *user)
{
    (void)ng;
    (void)id;
    (void)buffer;
    (void)user;
    struct http2_stream *s = source->ptr;
    const bool last = s->flags & HTTP2_LAST;
    if (!s->out.len && !last) {
        s->flags |= HTTP2_DEFERRED;
        return NGHTTP2_ERR_DEFERRED;
    }
    if (length > s->out.len)
        length = s->out.len;
    if (length)
        *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (last && length == s->out.len) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        s->flags |= HTTP2_SAID;
        say_trailers(s, flags);
        if (s->flags & HTTP2_AFTER && !(s->flags & HTTP2_ENDED))
            http2_stream_reset(s, NGHTTP2_NO_ERROR);
        if (!length && s->writing)
            fiber_wake(s->writing);
    }
    return (ssize_t)length;
}

nghttp2_data_provider http2_stream_provider(struct http2_stream *s)
{
    return (nghttp2_data_provider){ .source.ptr = s, .read_callback = read_output };
}

static void frame_copied(struct http2_stream *s, struct bytes frame_head, size_t n)
{
    struct io *io = s->session->io;
    const size_t size = frame_head.len + n;
    if (size > IO_BUFFER_BYTES) {
        err e = io_write(io, frame_head, 0);
        e = e ? e : io_write(io, (struct bytes){ s->out.ptr, n }, 0);
        (void)e; /* told by the next flush */
        return;
    }
    char *out = io_out(io, size);
    memcpy(out, frame_head.ptr, frame_head.len);
    memcpy(out + frame_head.len, s->out.ptr, n);
    io_out_end(io, size);
}

/* The next n bytes of what is lent go out as one frame. Not more is queued than never waits. */
bool http2_stream_frame(struct http2_stream *s, struct bytes frame_head, size_t n)
{
    struct io *io = s->session->io;
    uint64_t left;
    must(n <= s->out.len);
    struct io *from = s->out_raw && n >= LEND_BYTES_MIN ? body_raw(s->out_body, &left) : NULL;
    if (from && left >= n) {
        err e = io_write(io, frame_head, 0);
        e = e ? e : io_lend(io, from, n, 0);
        if (!e)
            body_moved(s->out_body, n);
        /* else told by the next flush, and the body is not used again */
    } else {
        frame_copied(s, frame_head, n);
        if (s->out_raw)
            body_give(s->out_body, n);
        else
            s->out_taken += n;
    }
    s->out = bytes_skip(s->out, n);
    s->out_bytes += n;
    if (s->news)
        s->news(s);
    if (s->out.len || !s->writing)
        return false;
    fiber_wake(s->writing);
    return !(s->flags & HTTP2_LAST);
}

static bool is_taken(const struct http2_stream *s)
{
    return !s->out.len && (!(s->flags & HTTP2_LAST) || s->flags & HTTP2_SAID);
}

/* Until all that is lent is framed; each pause no longer than idle_us. */
static err wait_taken(struct http2_stream *s, uint64_t idle_us, uint64_t deadline_us)
{
    uint64_t before = s->out_bytes;
    while (!is_taken(s)) {
        if (s->failed)
            return s->failed;
        const uint64_t now_us = worker_now_us();
        const uint64_t idle_end_us = idle_us < DEADLINE_NONE - now_us ? now_us + idle_us : DEADLINE_NONE;
        s->writing = fiber_self();
        err e = fiber_wait(earlier(deadline_us, idle_end_us));
        s->writing = NULL;
        if (e == ERR_TIMEOUT && worker_now_us() < deadline_us && s->out_bytes != before) {
            before = s->out_bytes;
            continue;
        }
        if (e)
            return e;
    }
    return OK;
}

void http2_stream_begin(struct http2_stream *s, struct body *b, uint64_t length)
{
    s->out_body = b;
    s->out_left = length;
}

err http2_stream_lend(struct http2_stream *s, uint64_t deadline_us)
{
    struct bytes data;
    uint64_t raw_left;
    const bool known = s->out_left != BODY_LENGTH_UNKNOWN;
    err e = body_pull(s->out_body, deadline_us, &data);
    if (!e && !data.len && known && s->out_left)
        e = ERR_CLOSED;
    if (e)
        return e;
    if (known && data.len > s->out_left)
        data.len = (size_t)s->out_left;
    s->out_left -= known ? data.len : 0;
    if (!data.len || (known && !s->out_left))
        s->flags |= HTTP2_LAST;
    if (!data.len)
        s->out_trailers = s->out_body->trailers;
    s->out = data;
    s->out_raw = data.len && body_raw(s->out_body, &raw_left);
    return OK;
}

void http2_stream_resume(struct http2_stream *s)
{
    if (!(s->flags & HTTP2_DEFERRED) || s->session->over)
        return;
    s->flags &= ~(uint32_t)HTTP2_DEFERRED;
    nghttp2_session_resume_data(s->session->ng, s->id);
}

/* What was taken of what was lent goes back to the body. */
static void settle(struct http2_stream *s)
{
    if (s->out_taken)
        body_give(s->out_body, s->out_taken);
    s->out_taken = 0;
    s->out = BYTES_NONE;
}

err http2_stream_send(struct http2_stream *s, uint64_t idle_us, uint64_t deadline_us, bool *ret_from)
{
    struct http2_session *c = s->session;
    *ret_from = false;
    for (;;) {
        if (!s->out.len && !s->out_taken && !(s->flags & HTTP2_LAST)) {
            err e = s->failed ? s->failed : http2_stream_lend(s, deadline_us);
            *ret_from = e && !s->failed;
            if (e)
                return e;
            if (s->failed)
                return s->failed;
            http2_stream_resume(s);
            http2_session_flush(c);
        }
        err e = wait_taken(s, idle_us, deadline_us);
        settle(s);
        if (e || s->flags & HTTP2_LAST)
            return e;
    }
}

/* ---- heads ---- */

err http2_fields_open(struct http2_fields *f, struct arena *a, uint32_t fields, bool copy)
{
    f->at = arena_get(a, fields * sizeof *f->at);
    f->count = 0;
    f->flags = copy ? NGHTTP2_NV_FLAG_NONE : NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE;
    return f->at ? OK : ERR_LIMIT;
}

void http2_fields_put(struct http2_fields *f, struct bytes name, struct bytes value)
{
    f->at[f->count++] = (nghttp2_nv){ .name = (uint8_t *)(uintptr_t)name.ptr,
                                      .namelen = name.len,
                                      .value = (uint8_t *)(uintptr_t)value.ptr,
                                      .valuelen = value.len,
                                      .flags = f->flags };
}

err http2_fields_put_all(struct http2_fields *f, struct arena *a, const struct http_fields *from)
{
    for (uint32_t i = 0; i < from->count; i++) {
        const struct http_field *field = &from->at[i];
        if (!http2_field_passes(field))
            continue;
        struct bytes name = http2_field_name(field, a);
        if (!name.ptr)
            return ERR_LIMIT;
        http2_fields_put(f, name, http_field_value(field));
    }
    return OK;
}
#endif

#include "gate/http1_body.h"

#include "base/must.h"

/* Below this, copying into the send buffer beside the head is cheaper than a second segment. */
#define LEND_BYTES_MIN 4096
/* Above this, what is left moves inside the kernel. */
#define SPLICE_BYTES_MIN (64 * 1024)

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

void http1_body_init(struct http1_body *b, struct io *io, enum http_framing framing, uint64_t content_length,
                     uint64_t bytes_max, uint64_t pause_ms_max, const struct http1_limits *limits,
                     struct arena *arena)
{
    b->body.ops = &http1_body_ops;
    b->body.trailers = NULL;
    b->io = io;
    b->framing = framing;
    b->ended = framing == HTTP_BODY_NONE;
    b->failed = OK;
    b->left = framing == HTTP_BODY_LENGTH ? content_length : 0;
    b->body.length = framing == HTTP_BODY_LENGTH || framing == HTTP_BODY_NONE ? b->left : BODY_LENGTH_UNKNOWN;
    b->bytes = 0;
    b->bytes_max = bytes_max;
    b->pause_ms_max = pause_ms_max;
    b->lent = 0;
    b->before_wait = NULL;
    b->owner = NULL;
    if (framing == HTTP_BODY_CHUNKED) {
        b->chunked = HTTP1_CHUNKED_START;
        b->trailer_text = (struct http1_trailers){ .arena = arena };
        b->trailers = (struct http_fields){ 0 };
    }
    b->limits = limits;
    b->arena = arena;
}

/* A reader that is cancelled says nothing about the body: another may go on. */
static err fail(struct http1_body *b, err e)
{
    b->failed = e == ERR_CANCELLED ? OK : e;
    return e;
}

static err wait_for_bytes(struct http1_body *b, uint64_t deadline_us, struct bytes *ret_in)
{
    if (b->before_wait && io_peek(b->io).len == 0) {
        b->before_wait(b);
        b->before_wait = NULL;
    }
    return io_pull(b->io, earlier(deadline_us, deadline_in_ms(b->pause_ms_max)), ret_in);
}

static err end_chunked(struct http1_body *b)
{
    b->ended = true;
    if (b->trailer_text.len == 0)
        return OK;
    struct bytes text = { b->trailer_text.text, b->trailer_text.len };
    err e = http1_parse_trailers(text, b->arena, &b->trailers);
    if (e)
        return fail(b, e);
    b->body.trailers = &b->trailers;
    return OK;
}

/* Data, if any, is the last of what was used: the framing before it goes, it stays until it is given. */
static err read_chunk(struct http1_body *b, struct bytes in)
{
    struct bytes data;
    size_t used;
    err e = http1_chunked_decode(&b->chunked, in, b->limits, &b->trailer_text, &data, &used);
    if (e)
        return fail(b, e);
    io_consume(b->io, used - data.len);
    b->lent = data.len;
    return OK;
}

static err pull_chunked(struct http1_body *b, uint64_t deadline_us, struct bytes *ret_bytes)
{
    while (!b->lent && !b->chunked.done) {
        struct bytes in;
        err e = wait_for_bytes(b, deadline_us, &in);
        if (e)
            return fail(b, e);
        e = read_chunk(b, in);
        if (e)
            return e;
    }
    if (!b->lent) {
        *ret_bytes = BYTES_NONE;
        return end_chunked(b);
    }
    if (b->bytes + b->lent > b->bytes_max)
        return fail(b, ERR_LIMIT);
    struct bytes in = io_peek(b->io);
    *ret_bytes = (struct bytes){ in.ptr, b->lent };
    return OK;
}

err http1_body_pull(struct body *body, uint64_t deadline_us, struct bytes *ret_bytes)
{
    struct http1_body *b = container_of(body, struct http1_body, body);
    if (b->failed)
        return b->failed;
    if (b->ended) {
        *ret_bytes = BYTES_NONE;
        return OK;
    }
    if (b->framing == HTTP_BODY_CHUNKED)
        return pull_chunked(b, deadline_us, ret_bytes);

    struct bytes in;
    err e = wait_for_bytes(b, deadline_us, &in);
    if (e == ERR_CLOSED && b->framing == HTTP_BODY_CLOSE) {
        b->ended = true;
        *ret_bytes = BYTES_NONE;
        return OK;
    }
    if (e)
        return fail(b, e);
    if (b->framing == HTTP_BODY_LENGTH && in.len > b->left)
        in.len = b->left;
    if (b->bytes + in.len > b->bytes_max)
        return fail(b, ERR_LIMIT);
    *ret_bytes = in;
    return OK;
}

void http1_body_give(struct body *body, size_t n)
{
    struct http1_body *b = container_of(body, struct http1_body, body);
    io_consume(b->io, n);
    http1_body_moved(body, n);
}

struct io *http1_body_raw(struct body *body, uint64_t *ret_left)
{
    struct http1_body *b = container_of(body, struct http1_body, body);
    if (b->failed || b->before_wait || b->framing == HTTP_BODY_NONE)
        return NULL;
    if (b->framing == HTTP_BODY_CHUNKED)
        *ret_left = b->lent;
    else
        *ret_left = b->framing == HTTP_BODY_LENGTH ? b->left : UINT64_MAX;
    return b->ended ? NULL : b->io;
}

/* The bytes were taken off the connection by somebody else: only the counts are ours. */
void http1_body_moved(struct body *body, uint64_t n)
{
    struct http1_body *b = container_of(body, struct http1_body, body);
    b->bytes += n;
    if (b->framing == HTTP_BODY_LENGTH) {
        must(n <= b->left);
        b->left -= n;
        b->ended = b->left == 0;
    } else if (b->framing == HTTP_BODY_CHUNKED) {
        must(n <= b->lent);
        b->lent -= (size_t)n;
    }
}

/* Between two chunks framing may be there and no data behind it: it is taken off to know. */
bool http1_body_ready(struct body *body)
{
    struct http1_body *b = container_of(body, struct http1_body, body);
    const bool chunked = b->framing == HTTP_BODY_CHUNKED;
    while (!b->failed && !b->ended && !b->lent && !(chunked && b->chunked.done)) {
        struct bytes in = io_peek(b->io);
        if (in.len == 0)
            return io_peer_ended(b->io) || io_failed(b->io);
        if (!chunked || read_chunk(b, in) != OK)
            return true;
    }
    return true;
}

const struct body_ops http1_body_ops = {
    .pull = http1_body_pull,
    .give = http1_body_give,
    .raw = http1_body_raw,
    .moved = http1_body_moved,
    .ready = http1_body_ready,
};

bool http1_body_finish(struct http1_body *b, size_t discard_bytes_max)
{
    while (!b->ended && !b->failed && !b->before_wait && b->framing != HTTP_BODY_CLOSE) {
        struct bytes in;
        if (io_peek(b->io).len == 0 || b->bytes >= discard_bytes_max)
            return false;
        if (http1_body_pull(&b->body, 0, &in) != OK)
            return false;
        if (in.len)
            http1_body_give(&b->body, in.len);
    }
    return b->ended && !b->failed;
}

/* ---- writing ---- */

struct sending {
    struct io *to;
    struct body *body;
    enum http_framing framing;
    uint64_t left; /* of HTTP_BODY_LENGTH */
    uint64_t idle_us;
    uint64_t deadline_us;
    uint64_t bytes;
    bool from_failed;
};

static uint64_t write_deadline(const struct sending *s)
{
    return earlier(s->deadline_us, worker_now_us() + s->idle_us);
}

static err write_some(struct sending *s, struct bytes data)
{
    uint64_t left;
    struct io *from = data.len >= LEND_BYTES_MIN ? body_raw(s->body, &left) : NULL;
    err e;
    if (from) {
        e = io_lend(s->to, from, data.len, write_deadline(s));
        if (!e)
            body_moved(s->body, data.len);
    } else {
        e = io_write(s->to, data, write_deadline(s));
        if (!e)
            body_give(s->body, data.len);
    }
    if (!e)
        s->bytes += data.len;
    return e;
}

static err write_chunk(struct sending *s, struct bytes data)
{
    char head[HTTP1_CHUNK_HEAD_BYTES_MAX];
    struct bytes line = { head, http1_chunk_head(data.len, head) };
    err e = io_write(s->to, line, write_deadline(s));
    if (!e)
        e = write_some(s, data);
    if (!e)
        e = io_write(s->to, BYTES("\r\n"), write_deadline(s));
    return e;
}

static err write_trailer(struct sending *s, const struct http_field *f)
{
    const struct bytes parts[] = { http_field_name(f), BYTES(": "), http_field_value(f), BYTES("\r\n") };
    err e = OK;
    for (unsigned i = 0; i < 4 && !e; i++)
        e = io_write(s->to, parts[i], write_deadline(s));
    return e;
}

static err write_last_chunk(struct sending *s)
{
    const struct http_fields *t = s->body->trailers;
    if (!t || !t->count)
        return io_write(s->to, HTTP1_LAST_CHUNK, write_deadline(s));
    err e = io_write(s->to, BYTES("0\r\n"), write_deadline(s));
    for (uint32_t i = 0; i < t->count && !e; i++) {
        if (!(t->at[i].flags & FIELD_REMOVED))
            e = write_trailer(s, &t->at[i]);
    }
    return e ? e : io_write(s->to, BYTES("\r\n"), write_deadline(s));
}

/* Moves what is left inside the kernel if it is much and stands in a socket. *ret_done: it has moved all. */
static err splice_rest(struct sending *s, bool *ret_done)
{
    uint64_t left;
    *ret_done = false;
    if (s->framing == HTTP_BODY_CHUNKED)
        return OK;
    struct io *from = body_raw(s->body, &left);
    if (!from || left < SPLICE_BYTES_MIN)
        return OK;
    uint64_t want = s->framing == HTTP_BODY_LENGTH && s->left < left ? s->left : left;
    uint64_t moved = 0;
    int failed_side = 0;
    err e = io_splice(from, s->to, want, s->idle_us, s->deadline_us, &moved, &failed_side);
    body_moved(s->body, moved);
    s->bytes += moved;
    s->left -= s->framing == HTTP_BODY_LENGTH ? moved : 0;
    s->from_failed = e && failed_side == 0;
    *ret_done = true;
    return e;
}

/* The next piece of what stands in a file. *ret_sent: there was one. */
static err send_file(struct sending *s, bool *ret_sent)
{
    uint64_t offset;
    size_t left;
    uint64_t moved = 0;
    *ret_sent = false;
    const int fd = s->framing == HTTP_BODY_LENGTH ? body_file(s->body, &offset, &left) : -1;
    if (fd < 0)
        return OK;
    if (left > s->left)
        left = (size_t)s->left;
    err e = io_send_file(s->to, fd, offset, left, s->idle_us, s->deadline_us, &moved);
    body_moved(s->body, moved);
    s->bytes += moved;
    s->left -= moved;
    s->from_failed = e == ERR_CLOSED;
    *ret_sent = true;
    if (e)
        return e;
    fiber_yield(); /* a disk and a client that are both fast never make this fiber wait */
    return worker_now_us() < s->deadline_us ? OK : ERR_TIMEOUT;
}

static err send_all(struct sending *s)
{
    while (s->framing != HTTP_BODY_LENGTH || s->left > 0) {
        struct bytes data;
        bool done;
        err e = splice_rest(s, &done);
        if (e || done)
            return e;
        e = send_file(s, &done);
        if (e)
            return e;
        if (done)
            continue;
        e = body_pull(s->body, s->deadline_us, &data);
        if (!e && data.len == 0 && s->framing == HTTP_BODY_LENGTH)
            e = ERR_CLOSED;
        if (e) {
            s->from_failed = true;
            return e;
        }
        if (data.len == 0)
            return s->framing == HTTP_BODY_CHUNKED ? write_last_chunk(s) : OK;
        if (s->framing == HTTP_BODY_CHUNKED) {
            e = write_chunk(s, data);
        } else if (s->framing == HTTP_BODY_LENGTH) {
            if (data.len > s->left)
                data.len = s->left;
            s->left -= data.len;
            e = write_some(s, data);
        } else {
            e = write_some(s, data);
        }
        if (e)
            return e;
    }
    return OK;
}

err http1_body_send(struct io *to, struct body *b, enum http_framing framing, uint64_t length,
                    uint64_t idle_us, uint64_t deadline_us, uint64_t *ret_bytes, bool *ret_from)
{
    struct sending s = { .to = to,
                         .body = b,
                         .framing = framing,
                         .left = length,
                         .idle_us = idle_us,
                         .deadline_us = deadline_us };
    err e = send_all(&s);
    *ret_bytes = s.bytes;
    *ret_from = s.from_failed;
    return e;
}

/* http2_far: a stream as an io, for what goes on both ways at once and for long: a WebSocket. */
#include "core/worker_pool.h"
#include "gate/http2_session.h"
#if WEIR_HAVE_NGHTTP2
#include "core/io_far.h"

struct http2_far {
    struct io_far far;
    struct http2_stream *stream;
};

static _Thread_local struct worker_pool fars;

static struct http2_far *far_of(struct io_far *f)
{
    return container_of(f, struct http2_far, far);
}

/* What has arrived, as far as there is room. The rest keeps the stream's window shut. */
static bool take_in(struct http2_far *t)
{
    struct http2_stream *s = t->stream;
    struct bytes in;
    bool any = false;
    while (s->first && io_far_wants(&t->far) && http2_body_pull(&s->body, 0, &in) == OK) {
        io_far_put(&t->far, in);
        http2_body_give(&s->body, in.len);
        any = true;
    }
    if (!s->first && s->flags & HTTP2_ENDED) {
        io_far_put_end(&t->far);
        any = true;
    }
    return any;
}

static void on_want(struct io_far *f)
{
    take_in(far_of(f));
}

static void on_send(struct io_far *f)
{
    struct http2_stream *s = far_of(f)->stream;
    s->out = io_far_out(f);
    http2_stream_resume(s);
    http2_session_soon(s->session);
}

static void on_end(struct io_far *f)
{
    struct http2_stream *s = far_of(f)->stream;
    s->flags |= HTTP2_LAST;
    http2_stream_resume(s);
    http2_session_soon(s->session);
}

static void on_closed(struct io_far *f, bool broken)
{
    struct http2_far *t = far_of(f);
    struct http2_stream *s = t->stream;
    s->far = NULL;
    http2_session_hungry(s->session, false);
    if (!broken)
        on_end(f);
    http2_stream_leave(s, broken ? NGHTTP2_CANCEL : NGHTTP2_NO_ERROR);
    worker_pool_give(&fars, t);
}

static const struct io_far_ops ops = { .want = on_want, .send = on_send, .end = on_end, .closed = on_closed };

static void on_news(struct http2_stream *s)
{
    struct http2_far *t = s->far;
    if (s->out_taken) {
        const size_t n = s->out_taken;
        s->out_taken = 0;
        io_far_took(&t->far, n);
        if (!s->far) /* that was the last of a closed one */
            return;
        s->out = io_far_out(&t->far);
    }
    bool any = take_in(t);
    if (s->failed) {
        s->out = BYTES_NONE;
        io_far_fail(&t->far, s->failed);
    }
    if (s->far && (any || s->failed))
        io_far_news(&t->far);
}

struct io *http2_stream_io(struct http2_stream *s)
{
    struct http2_far *t = worker_pool_take(&fars, sizeof(struct http2_far));
    *t = (struct http2_far){ .far.ops = &ops, .stream = s };
    s->far = t;
    s->news = on_news;
    s->owner = NULL;
    http2_session_hungry(s->session, true);
    struct io *io = io_far_open(&t->far);
    if (s->failed) /* while its head was sent */
        io_far_fail(&t->far, s->failed);
    return io;
}
#endif

/* http3_far: a stream as an io, for what goes on both ways at once and for long: a WebSocket (RFC 9220). Its
 * exchange goes on with it, without a fiber. */
#if WEIR_HAVE_NGTCP2
#include "core/io_far.h"
#include "core/worker_pool.h"
#include "gate/gate.h"
#include "gate/http3_internal.h"
#include "gate/upgraded.h"

/* What a WebSocket has still to say when it is over may take that long to leave. */
#define LINGER_US (5 * 1000000)

struct http3_far {
    struct io_far far;
    struct http3_stream *stream;
    struct upgraded upgraded;
    struct io *io;
    bool leaving; /* io is closed, and has something to say still */
};

static _Thread_local struct worker_pool fars;

static struct http3_far *far_of(struct io_far *f)
{
    return container_of(f, struct http3_far, far);
}

/* What has arrived, as far as there is room. The rest keeps the stream's window shut. */
static bool take_in(struct http3_far *t)
{
    struct http3_stream *s = t->stream;
    bool any = false;
    while (s->in.first && io_far_wants(&t->far)) {
        const struct http3_block *b = s->in.first;
        const size_t n = b->end - b->begin;
        io_far_put(&t->far, (struct bytes){ b->data + b->begin, n });
        http3_stream_took(s, n);
        any = true;
    }
    if (!s->in.first && s->in_ended) {
        io_far_put_end(&t->far);
        any = true;
    }
    return any;
}

static void on_want(struct io_far *f)
{
    take_in(far_of(f));
}

/* As much as the client has not yet acknowledged may be. */
static void on_send(struct io_far *f)
{
    struct http3_far *t = far_of(f);
    struct http3_stream *s = t->stream;
    struct bytes out;
    if (s->gone)
        return;
    while (s->far && s->out.bytes < HTTP3_OUT_BYTES_MAX && (out = io_far_out(f)).len) {
        http3_stream_put(s, out);
        io_far_took(f, out.len);
    }
    http3_stream_push(s);
}

static void on_end(struct io_far *f)
{
    struct http3_stream *s = far_of(f)->stream;
    s->out_ended = true;
    http3_stream_push(s);
}

static void on_closed(struct io_far *f, bool broken)
{
    struct http3_far *t = far_of(f);
    struct http3_stream *s = t->stream;
    s->far = NULL;
    if (!broken)
        on_end(f);
    worker_pool_give(&fars, t);
    http3_stream_over(s, broken);
}

static const struct io_far_ops ops = { .want = on_want, .send = on_send, .end = on_end, .closed = on_closed };

void http3_far_news(struct http3_far *t)
{
    if (take_in(t))
        io_far_news(&t->far);
}

void http3_far_acked(struct http3_far *t)
{
    if (t->stream->out.bytes <= HTTP3_OUT_BYTES_MAX / 2)
        on_send(&t->far);
}

void http3_far_lost(struct http3_far *t)
{
    if (t->leaving) /* until LINGER_US are over: its end now would be the stream's, under its caller's feet */
        return;
    io_far_fail(&t->far, ERR_RESET);
    io_far_news(&t->far);
}

static void relay_over(struct upgraded *u)
{
    struct http3_far *t = container_of(u, struct http3_far, upgraded);
    t->leaving = true;
    if (t->stream->x.failed)
        io_abort(t->io, true);
    else
        io_close(t->io, LINGER_US, false);
}

void http3_far_relay(struct http3_stream *s)
{
    struct http3_far *t = worker_pool_take(&fars, sizeof(struct http3_far));
    *t = (struct http3_far){ .far.ops = &ops, .stream = s };
    s->far = t;
    t->io = io_far_open(&t->far);
    if (s->gone) /* while its head was sent */
        io_far_fail(&t->far, ERR_RESET);
    upgraded_start(&t->upgraded, &s->x, t->io, relay_over);
}
#endif

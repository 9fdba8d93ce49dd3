/* quick's requests over HTTP/2: streams, whose answers come as they please. */
#if WEIR_HAVE_NGHTTP2
#include "load/http2.h"
#include "load/quick_conn.h"

struct conn_http2 {
    struct conn conn; /* first */
    struct http2_conn http2;
    uint64_t heard_ns; /* when bytes last came */
    uint32_t flying;   /* of conn.flight */
};

struct asked_http2 {
    struct asked asked; /* first */
    struct http2_ask ask;
};

static struct conn_http2 *http2_of(struct conn *c)
{
    return container_of(c, struct conn_http2, conn);
}

static struct http2_ask *stream_of(struct asked *a)
{
    return &container_of(a, struct asked_http2, asked)->ask;
}

/* ---- what comes ---- */

static void on_done(struct http2_conn *http2, struct http2_ask *ask, err why)
{
    struct conn_http2 *h = container_of(http2, struct conn_http2, http2);
    struct asked *a = &container_of(ask, struct asked_http2, ask)->asked;
    const struct quick_answer answer = { ask->status, ask->bytes };
    h->flying--;
    quick_done(&h->conn, a, why, &answer, h->heard_ns);
}

static void look(struct conn_http2 *h)
{
    quick_room(&h->conn, h->http2.streams_max, h->flying, h->http2.ending);
}

static err take(struct conn *c, uint64_t now_ns)
{
    struct conn_http2 *h = http2_of(c);
    h->heard_ns = now_ns;
    err e = http2_feed(&h->http2);
    look(h);
    return e;
}

/* ---- the connection ---- */

static err dial(struct conn *c, uint64_t deadline_us)
{
    static const struct http2_hooks hooks = { .done = on_done };
    struct conn_http2 *h = http2_of(c);
    err e = quick_dial_io(c, deadline_us);
    if (e)
        return e;
    http2_open(&h->http2, c->io, &hooks);
    h->flying = 0;
    look(h);
    return OK;
}

static void close_conn(struct conn *c)
{
    http2_close(&http2_of(c)->http2);
    quick_close_io(c);
}

static err ask(struct conn *c, struct asked *a)
{
    return http2_ask(&http2_of(c)->http2, stream_of(a), a->request->framed);
}

static err send_waiting(struct conn *c, uint64_t now_ns, bool wait)
{
    struct conn_http2 *h = http2_of(c);
    quick_send_streams(c, now_ns, &h->flying, ask);
    err e = http2_flush(&h->http2, wait, worker_now_us() + c->quick->lw->load->timeout_us);
    look(h);
    return c->over ? OK : e;
}

static void cancel(struct conn *c, struct asked *a)
{
    struct conn_http2 *h = http2_of(c);
    http2_cancel(&h->http2, stream_of(a));
    h->flying--;
}

static err woke(struct conn *c, err why)
{
    return quick_give_up(c, why, http2_of(c)->heard_ns, cancel);
}

const struct quick_protocol quick_http2 = {
    .conn_bytes = sizeof(struct conn_http2),
    .asked_bytes = sizeof(struct asked_http2),
    .dial = dial,
    .close = close_conn,
    .rest = quick_rest_io,
    .unrest = quick_unrest_io,
    .send = send_waiting,
    .take = take,
    .woke = woke,
};
#endif

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
    if (why == OK)
        quick_answered(&h->conn, a, &answer, h->heard_ns);
    else if (why == ERR_REFUSED)
        quick_refused(&h->conn, a);
    else
        quick_failed(&h->conn, a, load_error_of(why));
}

/* How many the server lets us have in flight. */
static void look(struct conn_http2 *h)
{
    const unsigned most = h->conn.quick->plan->pipeline;
    h->conn.room = h->http2.streams_max < most ? h->http2.streams_max : most;
    if (!h->http2.ending)
        return;
    h->conn.room = 0;
    h->conn.over = !h->flying;
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

static err send_waiting(struct conn *c, uint64_t now_ns, bool wait)
{
    struct conn_http2 *h = http2_of(c);
    while (h->flying < c->room && !list_empty(&c->waiting)) {
        struct asked *a = quick_sent(c, now_ns);
        if (http2_ask(&h->http2, stream_of(a), a->request->framed) == OK) {
            h->flying++;
            continue;
        }
        quick_refused(c, a);
        look(h);
    }
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

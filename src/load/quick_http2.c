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

/* Once more, on another connection: the server has said that it did not look at it. */
static void refused(struct conn *c, struct asked *a)
{
    if (a->again)
        quick_failed(c, a, LOAD_ERROR_CLOSED);
    else
        quick_unsent(c, a);
}

static void on_done(struct http2_conn *http2, struct http2_ask *ask, err why)
{
    struct conn_http2 *h = container_of(http2, struct conn_http2, http2);
    struct asked *a = &container_of(ask, struct asked_http2, ask)->asked;
    const struct quick_answer answer = { ask->status, ask->bytes };
    h->flying--;
    if (why == OK)
        quick_answered(&h->conn, a, &answer, h->heard_ns);
    else if (why == ERR_REFUSED)
        refused(&h->conn, a);
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

static void open_conn(struct conn *c)
{
    static const struct http2_hooks hooks = { .done = on_done };
    struct conn_http2 *h = http2_of(c);
    http2_open(&h->http2, c->io, &hooks);
    h->flying = 0;
    look(h);
}

static void close_conn(struct conn *c)
{
    http2_close(&http2_of(c)->http2);
}

static err send_waiting(struct conn *c, uint64_t now_ns, bool wait)
{
    struct conn_http2 *h = http2_of(c);
    while (h->flying < c->room && !list_empty(&c->waiting)) {
        struct asked *a = quick_sent(c, now_ns);
        if (http2_ask(&h->http2, stream_of(a), a->request->http2) == OK) {
            h->flying++;
            continue;
        }
        refused(c, a);
        look(h);
    }
    err e = http2_flush(&h->http2, wait, worker_now_us() + c->quick->lw->load->timeout_us);
    look(h);
    return c->over ? OK : e;
}

/* The streams that are overdue are given up; the connection too when nothing has come on it meanwhile. */
static err woke(struct conn *c, err why)
{
    struct conn_http2 *h = http2_of(c);
    uint64_t now_us = worker_now_us(), since_ns = UINT64_MAX;
    if (why != ERR_TIMEOUT)
        return why;
    while (h->flying && quick_deadline(c, quick_first(c)) <= now_us) {
        struct asked *a = quick_first(c);
        since_ns = a->sent_ns < since_ns ? a->sent_ns : since_ns;
        http2_cancel(&h->http2, stream_of(a));
        h->flying--;
        quick_failed(c, a, LOAD_ERROR_TIMEOUT);
    }
    return h->flying || h->heard_ns > since_ns ? OK : ERR_CLOSED;
}

const struct quick_protocol quick_http2 = {
    .conn_bytes = sizeof(struct conn_http2),
    .asked_bytes = sizeof(struct asked_http2),
    .open = open_conn,
    .close = close_conn,
    .send = send_waiting,
    .take = take,
    .woke = woke,
};
#endif

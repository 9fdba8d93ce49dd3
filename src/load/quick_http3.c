/* quick's requests over HTTP/3: streams of a QUIC connection, whose answers come on the loop's stack while
 * the connection rests. */
#if WEIR_HAVE_NGTCP2
#include "core/fiber.h"
#include "core/timer.h"
#include "load/http3.h"
#include "load/quick_conn.h"

struct conn_http3 {
    struct conn conn; /* first */
    struct http3_conn http3;
    struct fiber *dialer; /* waits for the handshake */
    struct timer timer;   /* of its rest */
    uint64_t heard_ns;    /* when an answer last came */
    uint32_t flying;      /* of conn.flight */
    bool resting;
};

struct asked_http3 {
    struct asked asked; /* first */
    struct http3_ask ask;
};

static struct conn_http3 *http3_of(struct conn *c)
{
    return container_of(c, struct conn_http3, conn);
}

static struct http3_ask *stream_of(struct asked *a)
{
    return &container_of(a, struct asked_http3, asked)->ask;
}

/* ---- what comes ---- */

static void wake(struct conn_http3 *h, err why)
{
    struct fiber *dialer = h->dialer;
    h->dialer = NULL;
    if (dialer)
        fiber_wake(dialer);
    if (!h->resting)
        return;
    h->resting = false;
    timer_stop(&h->timer);
    quick_woke(&h->conn, why);
}

static void on_done(struct http3_conn *http3, struct http3_ask *ask, err why)
{
    struct conn_http3 *h = container_of(http3, struct conn_http3, http3);
    struct asked *a = &container_of(ask, struct asked_http3, ask)->asked;
    const struct quick_answer answer = { ask->status, ask->bytes };
    h->heard_ns = load_now_ns();
    h->flying--;
    quick_done(&h->conn, a, why, &answer, h->heard_ns);
    wake(h, OK);
}

static void on_news(struct http3_conn *http3)
{
    wake(container_of(http3, struct conn_http3, http3), OK);
}

static void on_timer(struct timer *t)
{
    wake(container_of(t, struct conn_http3, timer), ERR_TIMEOUT);
}

static err look(struct conn_http3 *h)
{
    quick_room(&h->conn, h->flying + http3_room(&h->http3), h->flying, h->http3.ending);
    if (h->http3.base.quic)
        return OK;
    return h->http3.why == ERR_PROTOCOL ? ERR_PROTOCOL : ERR_CLOSED;
}

static err take(struct conn *c, uint64_t now_ns)
{
    (void)now_ns;
    return look(http3_of(c));
}

/* ---- the connection ---- */

static err dial(struct conn *c, uint64_t deadline_us)
{
    static const struct http3_hooks hooks = { .done = on_done, .news = on_news };
    struct conn_http3 *h = http3_of(c);
    const struct load *l = c->quick->lw->load;
    h->flying = 0;
    timer_init(&h->timer, on_timer);
    err e = http3_open(&h->http3, &hooks, c->quick->plan->addr, l->tcp[c->number % l->tcp_count].source,
                       l->quic, l->server_name, l->timeout_us);
    while (!e && !h->http3.ready && h->http3.base.quic) {
        h->dialer = fiber_self();
        e = fiber_wait(deadline_us);
    }
    h->dialer = NULL;
    if (!e)
        e = look(h);
    if (e)
        http3_close(&h->http3);
    return e;
}

static void close_conn(struct conn *c)
{
    struct conn_http3 *h = http3_of(c);
    timer_stop(&h->timer);
    h->resting = false;
    http3_close(&h->http3);
}

static void rest(struct conn *c, uint64_t deadline_us)
{
    struct conn_http3 *h = http3_of(c);
    h->resting = true;
    if (deadline_us != DEADLINE_NONE)
        timer_set(&h->timer, deadline_us);
}

static void unrest(struct conn *c)
{
    struct conn_http3 *h = http3_of(c);
    h->resting = false;
    timer_stop(&h->timer);
}

static err ask(struct conn *c, struct asked *a)
{
    return http3_ask(&http3_of(c)->http3, stream_of(a), a->request->framed, false);
}

/* Never waits: what windows do not allow yet the library keeps. */
static err send_waiting(struct conn *c, uint64_t now_ns, bool wait)
{
    struct conn_http3 *h = http3_of(c);
    (void)wait;
    quick_send_streams(c, now_ns, &h->flying, ask);
    err e = look(h);
    return c->over ? OK : e;
}

static void cancel(struct conn *c, struct asked *a)
{
    struct conn_http3 *h = http3_of(c);
    http3_cancel(&h->http3, stream_of(a));
    h->flying--;
}

static err woke(struct conn *c, err why)
{
    err e = quick_give_up(c, why, http3_of(c)->heard_ns, cancel);
    (void)!look(http3_of(c));
    return e;
}

const struct quick_protocol quick_http3 = {
    .conn_bytes = sizeof(struct conn_http3),
    .asked_bytes = sizeof(struct asked_http3),
    .dial = dial,
    .close = close_conn,
    .rest = rest,
    .unrest = unrest,
    .send = send_waiting,
    .take = take,
    .woke = woke,
};
#endif

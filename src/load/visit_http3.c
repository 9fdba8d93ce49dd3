#include "load/visit_http3.h"

#if WEIR_HAVE_NGTCP2
#include "base/mem.h"
#include "core/fiber.h"
#include "load/answer.h"
#include "load/http3.h"
#include "load/visit_framed.h"

struct user_http3 {
    struct http3_conn conn;
    struct http3_ask ask;
    struct framed_answer answer;
    struct fiber *waiter; /* the user's, while it waits */
};

static struct user_http3 *http3_of(struct http3_conn *c)
{
    return container_of(c, struct user_http3, conn);
}

static void wake(struct user_http3 *h)
{
    struct fiber *waiter = h->waiter;
    h->waiter = NULL;
    if (waiter)
        fiber_wake(waiter);
}

static void on_begin(struct http3_conn *c, struct http3_ask *a)
{
    (void)a;
    framed_answer_begin(&http3_of(c)->answer);
}

static void on_field(struct http3_conn *c, struct http3_ask *a, struct bytes name, struct bytes value)
{
    (void)a;
    framed_answer_field(&http3_of(c)->answer, name, value);
}

static void on_data(struct http3_conn *c, struct http3_ask *a, struct bytes piece)
{
    (void)a;
    framed_answer_data(&http3_of(c)->answer, piece);
}

static void on_done(struct http3_conn *c, struct http3_ask *a, err why)
{
    (void)a;
    framed_answer_done(&http3_of(c)->answer, why);
    wake(http3_of(c));
}

static void on_news(struct http3_conn *c)
{
    wake(http3_of(c));
}

static const struct http3_hooks hooks = {
    .begin = on_begin, .field = on_field, .data = on_data, .done = on_done, .news = on_news
};

/* Something has come, or the end. */
static err await_news(struct user_http3 *h, uint64_t until_us)
{
    h->waiter = fiber_self();
    err e = fiber_wait(until_us);
    h->waiter = NULL;
    return e;
}

static err gone(const struct user_http3 *h)
{
    return h->conn.why == ERR_PROTOCOL ? ERR_PROTOCOL : ERR_CLOSED;
}

err user_http3_open(struct user *u, uint64_t deadline_us)
{
    const struct load *l = u->all->lw->load;
    struct user_http3 *h = mem_must_get(sizeof *h);
    err e = http3_open(&h->conn, &hooks, &u->all->scenario->target.addr,
                       l->tcp[u->number % l->tcp_count].source, l->quic, l->server_name, l->timeout_us);
    u->http3 = h;
    while (!e && !h->conn.ready && h->conn.base.quic)
        e = await_news(h, deadline_us);
    if (!e && !h->conn.base.quic)
        e = gone(h);
    if (e)
        user_http3_close(u);
    return e;
}

void user_http3_close(struct user *u)
{
    http3_close(&u->http3->conn);
    mem_free(u->http3);
    u->http3 = NULL;
}

bool user_http3_ended(const struct user *u)
{
    return !u->http3->conn.base.quic || u->http3->conn.ending;
}

/* To the answer's end. */
static err exchange(struct user_http3 *h, uint64_t until_us)
{
    err e = OK;
    while (!e && !h->answer.done)
        e = h->conn.base.quic ? await_news(h, until_us) : gone(h);
    return h->answer.done ? h->answer.why : e;
}

/* The server lets us open streams as others end: soon. */
static err ask(struct user_http3 *h, const struct framed_request *r, uint64_t until_us)
{
    err e;
    while ((e = http3_ask(&h->conn, &h->ask, r, true)) == ERR_LIMIT) {
        e = await_news(h, until_us);
        if (e)
            break;
    }
    return e;
}

err user_http3_ask(struct user *u, const struct scenario_step *step, struct bytes request,
                   struct arena *arena, uint64_t until_us, struct answer *ret_answer,
                   struct http_response *ret_head)
{
    struct user_http3 *h = u->http3;
    struct framed_request r;
    framed_answer_open(&h->answer, u, step, arena);
    err e = framed_request_make(request, true, arena, &r);
    if (!e)
        e = ask(h, &r, until_us);
    if (!e)
        e = exchange(h, until_us);
    if (!e)
        e = framed_answer_head(&h->answer, step, ret_head);
    *ret_answer = (struct answer){ .bytes = h->ask.bytes, .keep_alive = !h->conn.ending };
    return e;
}
#endif

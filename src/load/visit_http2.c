#include "load/visit_http2.h"

#if WEIR_HAVE_NGHTTP2
#include "base/mem.h"
#include "load/answer.h"
#include "load/http2.h"
#include "load/visit_framed.h"

struct user_http2 {
    struct http2_conn conn;
    struct http2_ask ask;
    struct framed_answer answer;
};

static struct framed_answer *answer_of(struct http2_conn *c)
{
    return &container_of(c, struct user_http2, conn)->answer;
}

static void on_begin(struct http2_conn *c, struct http2_ask *a)
{
    (void)a;
    framed_answer_begin(answer_of(c));
}

static void on_field(struct http2_conn *c, struct http2_ask *a, struct bytes name, struct bytes value)
{
    (void)a;
    framed_answer_field(answer_of(c), name, value);
}

static void on_data(struct http2_conn *c, struct http2_ask *a, struct bytes piece)
{
    (void)a;
    framed_answer_data(answer_of(c), piece);
}

static void on_done(struct http2_conn *c, struct http2_ask *a, err why)
{
    (void)a;
    framed_answer_done(answer_of(c), why);
}

static const struct http2_hooks hooks = {
    .begin = on_begin, .field = on_field, .data = on_data, .done = on_done
};

void user_http2_open(struct user *u)
{
    if (!u->all->lw->load->http2)
        return;
    u->http2 = mem_must_get(sizeof *u->http2);
    http2_open(&u->http2->conn, u->io, &hooks);
}

void user_http2_close(struct user *u)
{
    if (!u->http2)
        return;
    http2_close(&u->http2->conn);
    mem_free(u->http2);
    u->http2 = NULL;
}

err user_http2_look(struct user *u)
{
    struct http2_conn *c = &u->http2->conn;
    err e = http2_feed(c);
    if (!e)
        e = http2_flush(c, false, 0);
    return e || c->ending ? ERR_CLOSED : OK;
}

/* To the answer's end. */
static err exchange(struct user_http2 *h, uint64_t until_us)
{
    err e = OK;
    while (!e && !h->answer.done) {
        struct bytes in;
        e = http2_flush(&h->conn, true, until_us);
        if (!e)
            e = io_pull(h->conn.io, until_us, &in);
        if (!e)
            e = http2_feed(&h->conn);
    }
    return h->answer.done ? h->answer.why : e;
}

err user_http2_ask(struct user *u, const struct scenario_step *step, struct bytes request,
                   struct arena *arena, uint64_t until_us, struct answer *ret_answer,
                   struct http_response *ret_head)
{
    struct user_http2 *h = u->http2;
    struct framed_request r;
    framed_answer_open(&h->answer, u, step, arena);
    err e = framed_request_make(request, u->all->lw->load->tls, arena, &r);
    if (!e)
        e = http2_ask(&h->conn, &h->ask, &r);
    if (!e)
        e = exchange(h, until_us);
    if (!e)
        e = framed_answer_head(&h->answer, step, ret_head);
    *ret_answer = (struct answer){ .bytes = h->ask.bytes, .keep_alive = !h->conn.ending };
    return e;
}
#endif

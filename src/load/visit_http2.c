#include "load/visit_http2.h"

#if WEIR_HAVE_NGHTTP2
#include "base/mem.h"
#include "load/answer.h"
#include "load/http2.h"
#include "proto/http2_head.h"

#define HEAD_BYTES_MAX (96u * 1024)

struct user_http2 {
    struct http2_conn conn;
    struct http2_ask ask;
    /* of the answer at hand */
    struct user *user;
    struct arena *arena;
    struct http2_head head;
    struct http_fields fields;
    bool wanted; /* its body */
    bool done;
    err why;
};

static struct user_http2 *http2_of(struct http2_conn *c)
{
    return container_of(c, struct user_http2, conn);
}

static void on_begin(struct http2_conn *c, struct http2_ask *a)
{
    struct user_http2 *h = http2_of(c);
    (void)a;
    h->fields.count = 0;
    http2_head_open(&h->head, HTTP2_RESPONSE, h->arena, &h->fields, ANSWER_FIELDS_MAX, HEAD_BYTES_MAX);
}

static void on_field(struct http2_conn *c, struct http2_ask *a, struct bytes name, struct bytes value)
{
    (void)a;
    (void)!http2_head_add(&http2_of(c)->head, name, value); /* what is wrong is told at its end */
}

static void on_data(struct http2_conn *c, struct http2_ask *a, struct bytes piece)
{
    struct user_http2 *h = http2_of(c);
    (void)a;
    if (h->wanted)
        user_keep_body(h->user, piece);
}

static void on_done(struct http2_conn *c, struct http2_ask *a, err why)
{
    struct user_http2 *h = http2_of(c);
    (void)a;
    h->done = true;
    h->why = why;
}

static const struct http2_hooks hooks = {
    .begin = on_begin, .field = on_field, .data = on_data, .done = on_done
};

void user_http2_open(struct user *u)
{
    if (!u->all->lw->load->http2)
        return;
    u->http2 = mem_must_get(sizeof *u->http2);
    u->http2->user = u;
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
    while (!e && !h->done) {
        struct bytes in;
        e = http2_flush(&h->conn, true, until_us);
        if (!e)
            e = io_pull(h->conn.io, until_us, &in);
        if (!e)
            e = http2_feed(&h->conn);
    }
    return h->done ? h->why : e;
}

err user_http2_ask(struct user *u, const struct scenario_step *step, struct bytes request,
                   struct arena *arena, uint64_t until_us, struct answer *ret_answer,
                   struct http_response *ret_head)
{
    struct user_http2 *h = u->http2;
    struct http2_request r;
    h->arena = arena;
    h->wanted = step->wants_body;
    h->done = false;
    h->fields = (struct http_fields){ 0 };
    err e = http2_request_make(request, u->all->lw->load->tls, arena, &r);
    if (!e)
        e = http2_ask(&h->conn, &h->ask, &r);
    if (!e)
        e = exchange(h, until_us);
    if (!e && http2_head_response(&h->head, false, step->method, ret_head) != OK)
        e = ERR_PROTOCOL;
    *ret_answer = (struct answer){ .bytes = h->ask.bytes, .keep_alive = !h->conn.ending };
    return e;
}
#endif

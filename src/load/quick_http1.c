/* quick's requests over HTTP/1.1: answers come in the order of the requests. */
#include "load/answer.h"
#include "load/quick_conn.h"

#define READERS_MAX 4096u /* fibers that wait for the rest of a head */

struct conn_http1 {
    struct conn conn; /* first */
    struct answer answer;
};

static struct answer *answer_of(struct conn *c)
{
    return &container_of(c, struct conn_http1, conn)->answer;
}

static err send_waiting(struct conn *c, uint64_t now_ns, bool wait)
{
    err e = OK;
    uint64_t deadline_us = worker_now_us() + c->quick->lw->load->timeout_us;
    (void)wait; /* what is not large fits into the queue */
    while (!e && !list_empty(&c->waiting))
        e = io_write(c->io, quick_sent(c, now_ns)->request->bytes, deadline_us);
    return e;
}

static void answered(struct conn *c, uint64_t now_ns)
{
    const struct answer *in = answer_of(c);
    const struct quick_answer answer = { in->status, in->bytes };
    quick_answered(c, quick_first(c), &answer, now_ns);
    c->over = !in->keep_alive;
    c->in_body = false;
}

static err take_head(struct conn *c)
{
    struct http_field fields[ANSWER_FIELDS_MAX];
    struct http_response head;
    struct quick *q = c->quick;
    const struct asked *a = quick_first(c);
    size_t used;
    if (q->readers == READERS_MAX)
        return ERR_LIMIT;
    q->readers++;
    err e = answer_head(answer_of(c), c->io, a->request->method, quick_deadline(c, a), fields, &head, &used);
    q->readers--;
    if (e)
        return e;
    io_consume(c->io, used);
    c->in_body = true;
    return OK;
}

/* What has arrived of the answer at hand. */
static err take_one(struct conn *c, uint64_t now_ns)
{
    struct answer *answer = answer_of(c);
    err e = c->in_body ? OK : take_head(c);
    while (!e && !answer->done) {
        struct bytes piece, in = io_peek(c->io);
        size_t used;
        if (!in.len)
            return OK;
        e = answer_body(answer, in, &piece, &used);
        if (!e)
            io_consume(c->io, used);
    }
    if (!e)
        answered(c, now_ns);
    return e;
}

static err take(struct conn *c, uint64_t now_ns)
{
    while (io_peek(c->io).len) {
        if (list_empty(&c->flight) || c->over)
            return ERR_PROTOCOL; /* an answer to nothing */
        err e = take_one(c, now_ns);
        if (e)
            return e;
        if (c->in_body)
            break; /* the rest of it is still to come */
    }
    return OK;
}

static err woke(struct conn *c, err why)
{
    if (why != ERR_CLOSED || !c->in_body || answer_ended(answer_of(c)) != OK)
        return why;
    answered(c, load_now_ns());
    return OK;
}

const struct quick_protocol quick_http1 = {
    .conn_bytes = sizeof(struct conn_http1),
    .asked_bytes = sizeof(struct asked),
    .dial = quick_dial_io,
    .close = quick_close_io,
    .rest = quick_rest_io,
    .unrest = quick_unrest_io,
    .send = send_waiting,
    .take = take,
    .woke = woke,
};

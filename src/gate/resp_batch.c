#include <stdio.h>

#include "gate/resp.h"
#include "gate/resp_metrics.h"
#include "ledger/ledger_conf.h"

/* ---- doing ---- */

err resp_submit_op(struct ledger_op *op)
{
    struct ledger *l = ledger_here();
    struct ledger_call c = { .ops = op, .ops_count = 1 };
    err e = l ? ledger_submit(l, &c) : ERR_UNAVAILABLE;
    if (e)
        return e == ERR_LIMIT ? ERR_IN_USE : e;
    return c.ret_refused;
}

static err submit(char *op, size_t op_bytes, char *answer, size_t room, uint32_t *ret_bytes)
{
    const uint32_t head = (uint32_t)room;
    memcpy(op, &head, sizeof head);
    struct ledger_op o = {
        .rules = KV_RULES_ID, .body = { op, op_bytes }, .answer = answer, .answer_size = (uint32_t)room
    };
    err e = resp_submit_op(&o);
    *ret_bytes = o.ret_answer_bytes;
    return e;
}

/* Nothing has happened when there was no room for the answers: it is asked again with more. */
static err submit_growing(struct arena *a, char *op, size_t op_bytes, size_t room, struct bytes *ret_answers)
{
    for (;; room = room * 8 < RESP_ANSWER_BYTES_MAX ? room * 8 : RESP_ANSWER_BYTES_MAX) {
        uint32_t bytes;
        char *answer = arena_get(a, room);
        if (!answer)
            return ERR_AGAIN;
        err e = submit(op, op_bytes, answer, room, &bytes);
        if (e == ERR_AGAIN && room < RESP_ANSWER_BYTES_MAX)
            continue;
        *ret_answers = (struct bytes){ answer, bytes };
        return e;
    }
}

err resp_submit(struct resp_batch *b, struct bytes *ret_answers)
{
    const size_t room = b->commands * 64;
    *ret_answers = BYTES_NONE;
    if (!b->commands)
        return OK;
    memset(b->op, 0, KV_OP_BYTES);
    return submit_growing(b->arena, b->op, b->op_bytes,
                          room > RESP_ROOM_BYTES_MIN ? room : RESP_ROOM_BYTES_MIN, ret_answers);
}

/* ---- writing ---- */

void resp_out_begin(struct resp_out *o, struct resp_client *k)
{
    resp_answer_before(k);
    *o = (struct resp_out){ .io = k->io, .protocol = (enum resp_protocol)k->protocol };
}

void resp_out_end(struct resp_out *o)
{
    if (o->begin) {
        io_out_end(o->io, (size_t)(o->at - o->begin));
        resp_count(RESP_SENT, (size_t)(o->at - o->begin));
    }
    o->begin = o->at = o->end = NULL;
}

#define OUT_BYTES_FIRST 512
#define OUT_BYTES 8192

char *resp_out_room(struct resp_out *o, size_t n)
{
    if ((size_t)(o->end - o->at) >= n)
        return o->at;
    size_t size = o->begin ? OUT_BYTES : OUT_BYTES_FIRST;
    resp_out_end(o);
    size = n > size ? n : size;
    o->begin = o->at = io_out(o->io, size);
    o->end = o->begin + size;
    return o->at;
}

void resp_out_bytes(struct resp_out *o, struct bytes b)
{
    if (b.len <= OUT_BYTES) {
        char *at = resp_out_room(o, b.len);
        if (b.len)
            memcpy(at, b.ptr, b.len);
        o->at = at + b.len;
        return;
    }
    resp_out_end(o);
    resp_count(RESP_SENT, b.len);
    if (!o->failed)
        o->failed = io_write(o->io, b, deadline_in_ms(RESP_SEND_TIMEOUT_MS));
}

void resp_out_text(struct resp_out *o, struct bytes b)
{
    o->at = resp_head(resp_out_room(o, RESP_HEAD_BYTES_MAX), '$', b.len);
    resp_out_bytes(o, b);
    resp_out_bytes(o, RESP_END);
}

void resp_out_line(struct resp_out *o, char type, struct bytes text)
{
    if (type == '-')
        resp_count(RESP_ERRORS, 1);
    o->at = resp_line(resp_out_room(o, resp_line_bytes(text)), type, text);
}

static void out_error(struct resp_out *o, int64_t number, const char *name)
{
    char text[128];
    if (number < 0 || number >= KV_ERRORS) {
        resp_out_line(o, '-', BYTES("ERR"));
        return;
    }
    if (number != KV_EXPIRE_TIME || !name) {
        resp_out_line(o, '-', kv_error_words[number]);
        return;
    }
    int n = snprintf(text, sizeof text, "%s in '", kv_error_words[number].ptr);
    for (; *name && n < 100; name++)
        text[n++] = ascii_lower(*name);
    n += snprintf(text + n, sizeof text - (size_t)n, "' command");
    resp_out_line(o, '-', (struct bytes){ text, (size_t)n });
}

static void out_value(struct resp_out *o, struct bytes *rest, const char *name);

static void out_values(struct resp_out *o, struct bytes *rest, int64_t count, const char *name)
{
    while (count-- > 0)
        out_value(o, rest, name);
}

static void out_read(struct resp_out *o, const struct kv_value *v, struct bytes *rest, const char *name)
{
    char *at = o->at;
    switch (v->type) {
    case KV_TEXT:
        resp_out_text(o, v->text);
        return;
    case KV_WORD:
        resp_out_line(o, '+', v->text);
        return;
    case KV_ERROR:
        out_error(o, v->number, name);
        return;
    default:
        at = resp_out_room(o, RESP_HEAD_BYTES_MAX);
    }
    switch (v->type) {
    case KV_INT:
        o->at = resp_int(at, v->number);
        break;
    case KV_OK:
        memcpy(at, "+OK\r\n", 5);
        o->at = at + 5;
        break;
    case KV_ARRAY:
        o->at = resp_head(at, '*', (uint64_t)v->number);
        out_values(o, rest, v->number, name);
        break;
    case KV_MAP:
        o->at = resp_map(at, o->protocol, (uint64_t)v->number);
        out_values(o, rest, v->number * 2, name);
        break;
    case KV_CHANGED:
        o->at = resp_null_array(at, o->protocol);
        break;
    default:
        o->at = resp_null(at, o->protocol);
    }
}

static void out_value(struct resp_out *o, struct bytes *rest, const char *name)
{
    struct kv_value v;
    if (kv_read(rest, &v))
        out_read(o, &v, rest, name);
}

/* A value that is made of others becomes of another shape; errors stay errors. */
static void out_shaped(struct resp_out *o, enum resp_shape shape, struct bytes *rest, const char *name)
{
    struct kv_value v;
    char text[24];
    if (!kv_read(rest, &v))
        return;
    if (v.type == KV_ERROR || shape == RESP_PLAIN) {
        out_read(o, &v, rest, name);
        return;
    }
    switch (shape) {
    case RESP_SECONDS:
        v.number = v.number < 0 ? v.number : (v.number + 500) / 1000;
        out_read(o, &v, rest, name);
        break;
    case RESP_FIRST:
        out_read(o, &v, rest, name);
        (void)kv_read(rest, &v);
        break;
    case RESP_CURSOR:
    case RESP_BOTH:
        o->at = resp_head(resp_out_room(o, RESP_HEAD_BYTES_MAX), '*', 2);
        if (shape == RESP_CURSOR)
            resp_out_text(o, (struct bytes){ text, u64_to_text((uint64_t)v.number, text) });
        else
            out_read(o, &v, rest, name);
        out_value(o, rest, name);
        break;
    case RESP_DONE:
        v = (struct kv_value){ .type = KV_INT, .number = v.type == KV_OK };
        out_read(o, &v, rest, name);
        break;
    default:
        resp_out_line(o, '+', BYTES("OK"));
    }
}

/* What the rules refused they have answered all the same. */
static void out_ask(struct resp_out *o, const struct resp_ask *q)
{
    if (!ledger_here() || q->call.ret_failed)
        resp_out_failure(o, ledger_here() ? q->call.ret_failed : ERR_UNAVAILABLE);
    else
        q->say(o, q);
}

/* An array of values that hold no others. */
static void out_later(struct resp_out *o, struct resp_later *l, struct arena *a, struct bytes *rest)
{
    struct kv_value all, v;
    if (!kv_read(rest, &all))
        return;
    l->answers = *rest;
    l->arena = a;
    for (int64_t i = 0; i < all.number && kv_read(rest, &v); i++)
        ;
    l->say(o, l);
}

static void out_literal(struct resp_out *o, struct bytes raw)
{
    if (!raw.ptr) {
        o->failed = ERR_CLOSED; /* see resp_say_failure */
        return;
    }
    if (raw.len && *raw.ptr == '-')
        resp_count(RESP_ERRORS, 1);
    resp_out_bytes(o, raw);
}

void resp_out_replies(struct resp_out *o, const struct resp_batch *b, struct bytes answers)
{
    for (uint32_t i = 0; i < b->count && !o->failed; i++) {
        const struct resp_reply *r = &b->replies[i];
        if (r->shape == RESP_LITERAL)
            out_literal(o, r->literal);
        else if (r->shape == RESP_ASK)
            out_ask(o, r->ask);
        else if (r->shape == RESP_LATER)
            out_later(o, r->later, b->arena, &answers);
        else
            out_shaped(o, (enum resp_shape)r->shape, &answers, r->name);
    }
}

/* The next process has the ledger. A client that finds its connection closed goes to it, and asks again what
 * was not answered; an error it would take for the answer. */
static bool is_next_ones(err e)
{
    return e == ERR_UNAVAILABLE && ledger_handed_over();
}

/* In words for a client. */
static struct bytes failure(err e, char text[512])
{
    const struct ledger *l = ledger_here();
    const char *why = l ? ledger_stopped(l) : NULL;
    switch (e) {
    case ERR_LIMIT:
        return BYTES("OOM command not allowed when used memory > 'maxmemory'.");
    case ERR_AGAIN:
        return BYTES("ERR the answer is larger than 32 MiB");
    case ERR_IN_USE:
        return BYTES("BUSY the ledger has more to do than it can take");
    case ERR_UNAVAILABLE:
        snprintf(text, 512, "MISCONF the ledger takes nothing: %s", why ? why : "it is not open");
        return bytes_from(text);
    default:
        snprintf(text, 512, "ERR %s", err_text(e));
        return bytes_from(text);
    }
}

void resp_out_failure(struct resp_out *o, err e)
{
    char text[512];
    if (is_next_ones(e))
        o->failed = ERR_CLOSED;
    else
        resp_out_line(o, '-', failure(e, text));
}

void resp_say_failure(struct resp_batch *b, err e)
{
    char text[512];
    if (is_next_ones(e))
        resp_say_static(b, BYTES_NONE);
    else
        resp_say_line(b, '-', failure(e, text));
}

/* ---- a turn ---- */

/* One after the other, each as an entry of its own: when all of them together were refused. */
static void do_singly(struct resp_out *o, const struct resp_batch *b)
{
    for (uint32_t i = 0; i < b->count && !o->failed; i++) {
        const struct resp_reply *r = &b->replies[i];
        if (r->shape == RESP_LITERAL) {
            out_literal(o, r->literal);
            continue;
        }
        if (r->shape == RESP_ASK) {
            out_ask(o, r->ask);
            continue;
        }
        struct arena a;
        struct bytes answers = BYTES_NONE;
        arena_open(&a, &arena_worker, RESP_TURN_BYTES_MAX, NULL, 0);
        const size_t bytes = KV_OP_BYTES + r->end - r->at;
        char *op = arena_get_zero(&a, bytes);
        err e = ERR_AGAIN;
        if (op) {
            memcpy(op + KV_OP_BYTES, b->op + r->at, r->end - r->at);
            resp_out_end(o);
            e = submit_growing(&a, op, bytes, RESP_ROOM_BYTES_MIN, &answers);
        }
        if (e)
            resp_out_failure(o, e);
        else
            out_shaped(o, (enum resp_shape)r->shape, &answers, r->name);
        arena_close(&a);
    }
}

static void send_asks(const struct resp_batch *b)
{
    for (uint32_t i = 0; i < b->count; i++) {
        if (b->replies[i].shape == RESP_ASK)
            ledger_send(ledger_here(), &b->replies[i].ask->call);
    }
}

bool resp_send_asks(struct resp_batch *b)
{
    if (b->full || b->commands || !ledger_here())
        return false;
    send_asks(b);
    b->is_sent = b->count > 0;
    return true;
}

void resp_answer_before(struct resp_client *k)
{
    struct resp_batch *own = k->batch, *before = own->before;
    if (!before)
        return;
    own->before = NULL;
    k->batch = before;
    const err e = resp_flush(k);
    k->closing |= e != OK;
    k->batch = own;
}

static void wait_for_asks(const struct resp_batch *b)
{
    for (uint32_t i = 0; i < b->count; i++) {
        if (b->replies[i].shape == RESP_ASK)
            (void)!ledger_wait(&b->replies[i].ask->call);
    }
}

err resp_flush(struct resp_client *k)
{
    struct resp_batch *b = k->batch;
    struct resp_out o;
    struct bytes answers;
    if (!b->count && !b->full)
        return OK;
    const bool asks = !b->full && ledger_here();
    if (asks && !b->is_sent)
        send_asks(b);
    err e = b->full ? OK : resp_submit(b, &answers);
    if (asks)
        wait_for_asks(b);
    resp_out_begin(&o, k);
    if (b->full) {
        resp_out_line(&o, '-', BYTES("ERR too much in one go for a connection's memory"));
        o.failed = ERR_LIMIT;
    } else if (e == ERR_LIMIT || e == ERR_AGAIN) {
        do_singly(&o, b);
    } else {
        for (uint32_t i = 0; e && i < b->count && !o.failed; i++) {
            if (b->replies[i].shape == RESP_LITERAL)
                out_literal(&o, b->replies[i].literal);
            else if (b->replies[i].shape == RESP_ASK)
                out_ask(&o, b->replies[i].ask);
            else
                resp_out_failure(&o, e);
        }
        if (!e)
            resp_out_replies(&o, b, answers);
    }
    resp_out_end(&o);
    b->count = b->commands = 0;
    b->op_bytes = 0;
    b->asks_on_keys = b->is_sent = false;
    return o.failed;
}

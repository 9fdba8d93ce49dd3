#include <stdarg.h>
#include <stdio.h>

#include "base/must.h"
#include "gate/resp.h"
#include "gate/resp_metrics.h"
#include "ledger/ledger_conf.h"

#define REPLIES_FIRST 32
#define OP_BYTES_FIRST 2048

/* ---- gathering ---- */

void resp_batch_open(struct resp_batch *b, struct arena *a)
{
    *b = (struct resp_batch){ .arena = a };
}

static struct resp_reply *next_reply(struct resp_batch *b)
{
    static struct resp_reply nowhere;
    if (b->count == b->size) {
        const uint32_t size = b->size ? b->size * 2 : REPLIES_FIRST;
        struct resp_reply *larger = arena_get(b->arena, size * sizeof *larger);
        if (!larger) {
            b->full = true;
            return &nowhere;
        }
        if (b->count)
            memcpy(larger, b->replies, b->count * sizeof *larger);
        b->replies = larger;
        b->size = size;
    }
    return &b->replies[b->count++];
}

static bool op_room(struct resp_batch *b, size_t bytes)
{
    if (!b->op_bytes)
        b->op_bytes = KV_OP_BYTES;
    if (b->op_size - b->op_bytes >= bytes && b->op_size)
        return true;
    size_t size = b->op_size ? b->op_size * 2 : OP_BYTES_FIRST;
    while (size < b->op_bytes + bytes)
        size *= 2;
    char *larger = arena_get(b->arena, size);
    if (!larger) {
        b->full = true;
        return false;
    }
    if (b->op)
        memcpy(larger, b->op, b->op_bytes);
    b->op = larger;
    b->op_size = size;
    return true;
}

void resp_add(struct resp_batch *b, enum resp_shape shape, const char *name, enum kv_what what,
              unsigned flags, int64_t number, const struct bytes *args, unsigned count)
{
    if (!op_room(b, kv_command_bytes(args, count)))
        return;
    const uint32_t at = (uint32_t)b->op_bytes;
    b->op_bytes = (size_t)(kv_op_add(b->op + at, what, flags, number, args, count) - b->op);
    *next_reply(b) =
        (struct resp_reply){ .shape = (uint8_t)shape, .at = at, .end = (uint32_t)b->op_bytes, .name = name };
    b->commands++;
}

struct resp_ask *resp_ask_begin(struct resp_batch *b,
                                void (*say)(struct resp_out *o, const struct resp_ask *q))
{
    struct resp_ask *ask = arena_get_zero(b->arena, sizeof *ask);
    if (!ask) {
        b->full = true;
        return NULL;
    }
    ask->call.ops = ask->ops;
    ask->say = say;
    *next_reply(b) = (struct resp_reply){ .shape = RESP_ASK, .ask = ask };
    return ask;
}

void resp_ask_add(struct resp_batch *b, struct resp_ask *q, uint8_t rules, struct bytes body,
                  uint32_t answer_bytes)
{
    const struct bytes copy = arena_copy(b->arena, body);
    char *answer = arena_get(b->arena, answer_bytes);
    must(q->call.ops_count < RESP_ASK_OPS_MAX);
    if (!copy.ptr || !answer) {
        b->full = true;
        return;
    }
    struct ledger_op *op = &q->ops[q->call.ops_count++];
    *op = (struct ledger_op){ .rules = rules, .body = copy, .answer = answer, .answer_size = answer_bytes };
    if (answer_bytes || !q->op) {
        q->op = op;
        q->answer = answer;
    }
}

void resp_ask(struct resp_batch *b, uint8_t rules, struct bytes body, uint32_t answer_bytes,
              void (*say)(struct resp_out *o, const struct resp_ask *q))
{
    struct resp_ask *q = resp_ask_begin(b, say);
    if (q)
        resp_ask_add(b, q, rules, body, answer_bytes);
}

void resp_put_off(struct resp_batch *b, struct resp_later *l, bool all, const struct bytes *args,
                  unsigned count)
{
    const uint32_t before = b->count;
    resp_add(b, RESP_LATER, NULL, KV_TOPIC, all ? KV_ALL : 0, 0, args, count);
    if (b->count > before)
        b->replies[before].later = l;
}

void resp_say_static(struct resp_batch *b, struct bytes raw)
{
    *next_reply(b) = (struct resp_reply){ .shape = RESP_LITERAL, .literal = raw };
}

void resp_say(struct resp_batch *b, struct bytes raw)
{
    const struct bytes copy = arena_copy(b->arena, raw);
    b->full |= !copy.ptr;
    resp_say_static(b, copy);
}

void resp_say_line(struct resp_batch *b, char type, struct bytes text)
{
    char *at = arena_get(b->arena, resp_line_bytes(text));
    if (!at) {
        b->full = true;
        return;
    }
    resp_say_static(b, (struct bytes){ at, (size_t)(resp_line(at, type, text) - at) });
}

void resp_fail(struct resp_batch *b, const char *format, ...)
{
    char text[512];
    va_list list;
    va_start(list, format);
    const int n = vsnprintf(text, sizeof text, format, list);
    va_end(list);
    const size_t len = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    resp_say_line(b, '-', (struct bytes){ text, len });
}

void resp_say_int(struct resp_batch *b, int64_t n)
{
    char text[RESP_HEAD_BYTES_MAX];
    resp_say(b, (struct bytes){ text, (size_t)(resp_int(text, n) - text) });
}

void resp_say_text(struct resp_batch *b, struct bytes text)
{
    char *at = arena_get(b->arena, RESP_HEAD_BYTES_MAX + text.len + 2);
    if (!at) {
        b->full = true;
        return;
    }
    char *end = resp_head(at, '$', text.len);
    if (text.len)
        memcpy(end, text.ptr, text.len);
    end += text.len;
    memcpy(end, "\r\n", 2);
    resp_say_static(b, (struct bytes){ at, (size_t)(end + 2 - at) });
}

void resp_say_null(struct resp_client *k)
{
    char text[RESP_HEAD_BYTES_MAX];
    const char *end = resp_null(text, (enum resp_protocol)k->protocol);
    resp_say(k->batch, (struct bytes){ text, (size_t)(end - text) });
}

void resp_say_null_array(struct resp_client *k)
{
    char text[RESP_HEAD_BYTES_MAX];
    const char *end = resp_null_array(text, (enum resp_protocol)k->protocol);
    resp_say(k->batch, (struct bytes){ text, (size_t)(end - text) });
}

void resp_say_map(struct resp_client *k, uint64_t pairs)
{
    char text[RESP_HEAD_BYTES_MAX];
    const char *end = resp_map(text, (enum resp_protocol)k->protocol, pairs);
    resp_say(k->batch, (struct bytes){ text, (size_t)(end - text) });
}

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

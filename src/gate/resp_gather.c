#include <stdarg.h>
#include <stdio.h>

#include "base/must.h"
#include "gate/resp.h"

#define REPLIES_FIRST 32
#define OP_BYTES_FIRST 2048

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

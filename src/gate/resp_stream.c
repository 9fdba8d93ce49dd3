#include "gate/resp_stream.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/must.h"

#define OP_BYTES_FIRST 1024

/* ---- asking ---- */

static size_t size_max(const struct stream_room *room)
{
    return room->size_max ? room->size_max : STREAM_ROOM_BYTES_MAX;
}

static size_t larger(const struct stream_room *room, size_t size)
{
    return size < size_max(room) / 4 ? size * 4 : size_max(room);
}

static bool make_room(struct resp_client *k, struct stream_room *room, size_t bytes)
{
    if (room->size >= bytes)
        return true;
    room->at = arena_get(k->batch->arena, bytes);
    room->size = room->at ? bytes : 0;
    if (!room->at)
        resp_fail(k->batch, "ERR too much in one go for a connection's memory");
    return room->at != NULL;
}

static err ask_once(struct resp_client *k, struct queue_op *op, struct stream_room *room, uint32_t *ret_bytes)
{
    char first[OP_BYTES_FIRST];
    op->room = room->size;
    const size_t bytes = queue_op_bytes(op);
    char *body = bytes <= sizeof first ? first : arena_get(k->batch->arena, bytes);
    if (!body)
        return ERR_LIMIT;
    queue_write(op, body);
    struct ledger_op o = { .rules = QUEUE_RULES_ID,
                           .body = { body, bytes },
                           .answer = room->at,
                           .answer_size = (uint32_t)room->size };
    const err e = resp_submit_op(&o);
    *ret_bytes = o.ret_answer_bytes < o.answer_size ? o.ret_answer_bytes : o.answer_size;
    return e;
}

bool stream_ask(struct resp_client *k, struct queue_op *op, struct stream_room *room,
                struct queue_answer *ret_answer, struct bytes *ret_rest)
{
    size_t size = op->room > STREAM_ROOM_BYTES_MIN ? op->room : STREAM_ROOM_BYTES_MIN;
    for (;; size = larger(room, size)) {
        uint32_t bytes = 0;
        if (!make_room(k, room, size))
            return false;
        const err e = ask_once(k, op, room, &bytes);
        if (!queue_read_answer((struct bytes){ room->at, bytes }, ret_answer, ret_rest)) {
            resp_say_failure(k->batch, e ? e : ERR_SYNTAX);
            return false;
        }
        if (ret_answer->result != QUEUE_TOO_SMALL || room->size >= size_max(room))
            return true;
    }
}

#define FREE_ANSWER_BYTES 16

struct bytes stream_free_op(struct bytes key, char out[STREAM_FREE_BYTES_MAX])
{
    const char *end = kv_op_add(kv_op_begin(out, FREE_ANSWER_BYTES), KV_FREE, 0, 0, &key, 1);
    return (struct bytes){ out, (size_t)(end - out) };
}

err stream_key_is_free(struct bytes key)
{
    char bytes[STREAM_FREE_BYTES_MAX], answer[FREE_ANSWER_BYTES];
    if (key.len > KV_KEY_BYTES_MAX)
        return OK;
    struct ledger_op o = { .rules = KV_RULES_ID,
                           .body = stream_free_op(key, bytes),
                           .answer = answer,
                           .answer_size = sizeof answer };
    return resp_submit_op(&o);
}

static const struct bytes *words_of(uint32_t result)
{
    static const struct bytes words[QUEUE_RESULTS] = {
        [QUEUE_ID_TOO_SMALL] =
            BYTES("ERR The ID specified in XADD is equal or smaller than the target stream top item"),
        [QUEUE_EXISTS] = BYTES("BUSYGROUP Consumer Group name already exists"),
        [QUEUE_FULL] = BYTES("OOM command not allowed when used memory > 'maxmemory'."),
        [QUEUE_MALFORMED] =
            BYTES("ERR a stream, a group and a consumer have names of 1 to 128 bytes, and a message "
                  "at most 1023 KiB and 10000 fields"),
    };
    static const struct bytes other = BYTES("ERR the queue refuses it");
    return result < QUEUE_RESULTS && words[result].len ? &words[result] : &other;
}

void stream_out_result(struct resp_out *o, uint32_t result)
{
    resp_out_line(o, '-', *words_of(result));
}

void stream_out_word(struct resp_out *o, uint32_t result)
{
    char word[32], text[192];
    size_t n = 0;
    if (result >= QUEUE_RESULTS)
        result = QUEUE_MALFORMED;
    for (const char *at = queue_result_words[result]; *at && n < sizeof word - 1; at++)
        word[n++] = *at >= 'a' && *at <= 'z' ? (char)(*at - 32) : *at;
    word[n] = 0;
    snprintf(text, sizeof text, "%s %s", word, queue_result_meanings[result]);
    resp_out_line(o, '-', bytes_from(text));
}

bool stream_done(struct resp_client *k, struct queue_op *op, struct stream_room *room,
                 struct queue_answer *ret_answer, struct bytes *ret_rest)
{
    if (!stream_ask(k, op, room, ret_answer, ret_rest))
        return false;
    err e = OK;
    switch (ret_answer->result) {
    case QUEUE_DONE:
    case QUEUE_UNKNOWN_GROUP:
        return true;
    case QUEUE_UNKNOWN_TOPIC:
        e = stream_key_is_free(op->topic);
        break;
    default:
        resp_say_line(k->batch, '-', *words_of(ret_answer->result));
        return false;
    }
    if (e == ERR_EXISTS)
        resp_say_line(k->batch, '-', STREAM_WRONG_TYPE);
    else if (e)
        resp_say_failure(k->batch, e);
    return !e;
}

/* ---- together with others ---- */

static struct bytes pack_op(struct resp_client *k, struct queue_op *op)
{
    const size_t bytes = queue_op_bytes(op);
    char *body = arena_get(k->batch->arena, bytes);
    k->batch->full |= !body;
    if (body)
        queue_write(op, body);
    return (struct bytes){ body, body ? bytes : 0 };
}

struct bytes stream_keep(struct resp_client *k, struct bytes text)
{
    if (!k->batch->puts_off || !text.len)
        return text;
    const struct bytes copy = arena_copy(k->batch->arena, text);
    k->batch->full |= !copy.ptr;
    return copy;
}

void stream_put_off(struct resp_client *k, struct queue_op *ops, unsigned count, bool all,
                    struct resp_later *l)
{
    struct bytes *args = arena_get(k->batch->arena, 2 * (count + 1) * sizeof *args);
    k->batch->full |= !args;
    for (unsigned i = 0; args && i < count; i++) {
        if (ops[i].room < STREAM_ROOM_BYTES_MAX)
            ops[i].room = STREAM_ROOM_BYTES_MAX;
        args[2 * i] = ops[i].topic;
        args[2 * i + 1] = pack_op(k, &ops[i]);
    }
    if (!k->batch->full)
        resp_put_off(k->batch, l, all, args, 2 * count);
}

bool stream_read_later(struct resp_out *o, struct resp_later *l, struct queue_answer *a, struct bytes *rest)
{
    struct kv_value v;
    *a = (struct queue_answer){ .result = QUEUE_MALFORMED };
    *rest = BYTES_NONE;
    if (!kv_read(&l->answers, &v) || v.type == KV_ERROR) {
        resp_out_line(o, '-', STREAM_WRONG_TYPE);
        return false;
    }
    if (v.type == KV_TEXT)
        (void)queue_read_answer(v.text, a, rest);
    return true;
}

struct later_ask {
    struct resp_later later;
    struct resp_ask ask;
};

static void say_later_ask(struct resp_out *o, struct resp_later *l)
{
    struct resp_ask *q = &container_of(l, struct later_ask, later)->ask;
    struct kv_value v = { 0 };
    const bool is_there = kv_read(&l->answers, &v) && v.type == KV_TEXT;
    q->answer = (char *)(uintptr_t)v.text.ptr;
    q->ops[0].ret_answer_bytes = is_there ? (uint32_t)v.text.len : 0;
    q->call.ret_refused = is_there ? OK : ERR_EXISTS;
    q->say(o, q);
}

static void put_off_ask(struct resp_client *k, struct queue_op *ops, unsigned count,
                        void (*say)(struct resp_out *o, const struct resp_ask *q))
{
    struct later_ask *later = arena_get_zero(k->batch->arena, sizeof *later);
    k->batch->full |= !later;
    if (!later)
        return;
    later->later.say = say_later_ask;
    later->ask = (struct resp_ask){ .say = say, .key = stream_keep(k, ops->topic), .is_put_off = true };
    later->ask.op = later->ask.ops;
    stream_put_off(k, ops, count, true, &later->later);
}

void stream_send(struct resp_client *k, struct queue_op *ops, unsigned count, bool is_free,
                 void (*say)(struct resp_out *o, const struct resp_ask *q))
{
    if (k->batch->puts_off) {
        put_off_ask(k, ops, count, say);
        return;
    }
    struct resp_ask *q = resp_ask_begin(k->batch, say);
    if (!q)
        return;
    q->key = ops->topic;
    if (is_free && q->key.len <= KV_KEY_BYTES_MAX) {
        char bytes[STREAM_FREE_BYTES_MAX];
        resp_ask_add(k->batch, q, KV_RULES_ID, stream_free_op(q->key, bytes), 0);
    }
    for (unsigned i = 0; i < count; i++) {
        const uint32_t answer_bytes = i ? 0 : sizeof(struct queue_answer);
        ops[i].room = answer_bytes;
        const struct bytes body = pack_op(k, &ops[i]);
        if (body.ptr)
            resp_ask_add(k->batch, q, QUEUE_RULES_ID, body, answer_bytes);
    }
}

bool stream_read_ask(struct resp_out *o, const struct resp_ask *q, struct queue_answer *a)
{
    struct bytes rest;
    if (queue_read_answer((struct bytes){ q->answer, q->op->ret_answer_bytes }, a, &rest))
        return true;
    if (q->call.ret_refused == ERR_EXISTS)
        resp_out_line(o, '-', STREAM_WRONG_TYPE);
    else
        resp_out_failure(o, q->call.ret_refused);
    return false;
}

/* ---- one after the other ---- */

static void out_call(struct resp_out *o, const struct stream_call *g)
{
    const uint32_t result = g->a.result;
    if (result == QUEUE_DONE ||
        (!g->own_words && (result == QUEUE_UNKNOWN_TOPIC || result == QUEUE_UNKNOWN_GROUP)))
        g->out(o, g);
    else if (g->own_words)
        stream_out_word(o, result);
    else
        stream_out_result(o, result);
}

struct later_call {
    struct resp_later later;
    struct stream_call call;
};

static void say_later_call(struct resp_out *o, struct resp_later *l)
{
    struct stream_call *g = &container_of(l, struct later_call, later)->call;
    if (!stream_read_later(o, l, &g->a, &g->rest))
        return;
    g->arena = l->arena;
    out_call(o, g);
}

static void put_off_call(struct resp_client *k, struct stream_call *g)
{
    struct later_call *later = arena_get(k->batch->arena, sizeof *later);
    k->batch->full |= !later;
    if (!later)
        return;
    *later = (struct later_call){ .later.say = say_later_call, .call = *g };
    if (g->room.size_max)
        g->op.room = g->room.size_max;
    stream_put_off(k, &g->op, 1, false, &later->later);
    struct queue_op *op = &later->call.op;
    op->topic = stream_keep(k, op->topic);
    op->group = stream_keep(k, op->group);
    op->consumer = stream_keep(k, op->consumer);
}

void stream_do(struct resp_client *k, struct stream_call *g)
{
    struct resp_out o;
    if (k->batch->puts_off) {
        put_off_call(k, g);
        return;
    }
    if (!(g->own_words ? stream_ask : stream_done)(k, &g->op, &g->room, &g->a, &g->rest))
        return;
    g->arena = k->batch->arena;
    stream_out_begin(&o, k);
    out_call(&o, g);
    stream_out_end(&o, k);
}

/* ---- arguments ---- */

bool stream_word(const struct resp_command *c, uint32_t i, struct bytes word)
{
    return i < c->count && bytes_eq_nocase(resp_arg(c, i), word);
}

void stream_fail_syntax(struct resp_client *k)
{
    resp_fail(k->batch, "ERR syntax error");
}

bool stream_number(struct resp_client *k, struct bytes text, int64_t *ret_n)
{
    if (bytes_to_i64(text, ret_n))
        return true;
    resp_fail(k->batch, "ERR value is not an integer or out of range");
    return false;
}

bool stream_id(struct resp_client *k, struct bytes text, uint64_t seq, struct queue_id *ret_id)
{
    if (queue_id_parse(text, seq, ret_id))
        return true;
    resp_fail(k->batch, "ERR Invalid stream ID specified as stream command argument");
    return false;
}

bool stream_step(struct queue_id *id, bool back)
{
    const struct queue_id from = *id;
    id->seq += back ? UINT64_MAX : 1;
    if (back ? from.seq == 0 : id->seq == 0)
        id->ms += back ? UINT64_MAX : 1;
    return back ? queue_id_compare(*id, from) < 0 : queue_id_compare(*id, from) > 0;
}

bool stream_bound(struct resp_client *k, struct bytes text, bool is_end, struct queue_id *ret_id)
{
    const bool excluded = text.len > 1 && *text.ptr == '(';
    if (!excluded && text.len == 1 && (*text.ptr == '-' || *text.ptr == '+')) {
        *ret_id = *text.ptr == '-' ? QUEUE_ID_FIRST : QUEUE_ID_LAST;
        return true;
    }
    if (!stream_id(k, excluded ? bytes_skip(text, 1) : text, is_end ? UINT64_MAX : 0, ret_id))
        return false;
    if (!excluded || stream_step(ret_id, is_end))
        return true;
    resp_fail(k->batch, "ERR invalid %s ID for the interval", is_end ? "end" : "start");
    return false;
}

struct queue_id *stream_ids(struct resp_client *k, const struct resp_command *c, uint32_t i, uint32_t count)
{
    struct queue_id *ids = arena_get(k->batch->arena, (count + 1) * sizeof *ids);
    if (!ids) {
        resp_fail(k->batch, "ERR too much in one go for a connection's memory");
        return NULL;
    }
    for (uint32_t n = 0; n < count; n++) {
        if (!stream_id(k, resp_arg(c, i + n), 0, &ids[n]))
            return NULL;
    }
    return ids;
}

/* ---- answers ---- */

void stream_out_begin(struct resp_out *o, struct resp_client *k)
{
    must(!k->batch->count);
    resp_out_begin(o, k);
}

void stream_out_end(struct resp_out *o, struct resp_client *k)
{
    resp_out_end(o);
    k->closing |= o->failed != OK;
}

void stream_out_fail(struct resp_out *o, const char *format, ...)
{
    char text[512];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    resp_out_line(o, '-', bytes_from(text));
}

void stream_out_no_group(struct resp_out *o, const struct queue_op *op, const char *where)
{
    stream_out_fail(o, "NOGROUP No such key '%.*s' or consumer group '%.*s'%s", BYTES_ARG(op->topic),
                    BYTES_ARG(op->group), where);
}

void stream_out_head(struct resp_out *o, char type, uint64_t n)
{
    o->at = resp_head(resp_out_room(o, RESP_HEAD_BYTES_MAX), type, n);
}

void stream_out_map(struct resp_out *o, uint64_t n)
{
    o->at = resp_map(resp_out_room(o, RESP_HEAD_BYTES_MAX), o->protocol, n);
}

void stream_out_int(struct resp_out *o, uint64_t n)
{
    o->at = resp_int(resp_out_room(o, RESP_HEAD_BYTES_MAX), (int64_t)n);
}

void stream_out_null(struct resp_out *o)
{
    o->at = resp_null(resp_out_room(o, RESP_HEAD_BYTES_MAX), o->protocol);
}

void stream_out_id(struct resp_out *o, struct queue_id id)
{
    char text[QUEUE_ID_TEXT_BYTES];
    resp_out_text(o, (struct bytes){ text, queue_id_text(id, text) });
}

void stream_out_message(struct resp_out *o, const struct queue_message *m)
{
    struct bytes fields = m->fields;
    struct queue_field f;
    stream_out_head(o, '*', 2);
    stream_out_id(o, m->id);
    if (m->is_gone) {
        o->at = resp_null_array(resp_out_room(o, RESP_HEAD_BYTES_MAX), o->protocol);
        return;
    }
    stream_out_head(o, '*', 2 * (uint64_t)m->fields_count);
    while (queue_read_field(&fields, &f)) {
        resp_out_text(o, f.name);
        resp_out_text(o, f.value);
    }
}

static uint64_t count_there(struct bytes rest)
{
    struct queue_message m;
    uint64_t n = 0;
    while (queue_read_message(&rest, &m))
        n += !m.is_gone;
    return n;
}

void stream_out_messages(struct resp_out *o, struct bytes rest, uint64_t count, bool skip_gone, bool just_id)
{
    struct queue_message m;
    stream_out_head(o, '*', skip_gone ? count_there(rest) : count);
    while (!o->failed && queue_read_message(&rest, &m)) {
        if (skip_gone && m.is_gone)
            continue;
        if (just_id)
            stream_out_id(o, m.id);
        else
            stream_out_message(o, &m);
    }
}

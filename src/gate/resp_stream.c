#include "gate/resp_stream.h"

#include "base/must.h"

#define OP_BYTES_FIRST 1024

/* ---- asking ---- */

static size_t larger(size_t size)
{
    return size < STREAM_ROOM_BYTES_MAX / 4 ? size * 4 : STREAM_ROOM_BYTES_MAX;
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
    for (;; size = larger(size)) {
        uint32_t bytes = 0;
        if (!make_room(k, room, size))
            return false;
        const err e = ask_once(k, op, room, &bytes);
        if (!queue_read_answer((struct bytes){ room->at, bytes }, ret_answer, ret_rest)) {
            resp_say_failure(k->batch, e ? e : ERR_SYNTAX);
            return false;
        }
        if (ret_answer->result != QUEUE_TOO_SMALL || room->size >= STREAM_ROOM_BYTES_MAX)
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

/* ---- arguments ---- */

bool stream_word(const struct resp_command *c, uint32_t i, struct bytes word)
{
    return i < c->count && bytes_eq_nocase(resp_arg(c, i), word);
}

void stream_fail_syntax(struct resp_client *k)
{
    resp_fail(k->batch, "ERR syntax error");
}

void stream_fail_group(struct resp_client *k, struct bytes key, struct bytes group, const char *where)
{
    resp_fail(k->batch, "NOGROUP No such key '%.*s' or consumer group '%.*s'%s", BYTES_ARG(key),
              BYTES_ARG(group), where);
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

/* Queue's operations and answers as bytes. Any thread.
 *
 *      operation:  what u8 │ flags u32 │ which numbers u32 │ numbers │ which texts u8 │ texts │
 *                  fields u32, each: lengths u32 u32, name, value │ ids u32, each: u64 u64
 *      answer:     what follows the answer │ struct queue_answer: it stands at the end */
#include "ledger/queue_internal.h"

const char *const queue_result_words[] = {
#define X(id, word, e, meaning) word,
    QUEUE_RESULT_LIST(X)
#undef X
        NULL
};
const char *const queue_result_meanings[] = {
#define X(id, word, e, meaning) meaning,
    QUEUE_RESULT_LIST(X)
#undef X
        NULL
};

size_t queue_id_text(struct queue_id id, char out[QUEUE_ID_TEXT_BYTES])
{
    size_t len = u64_to_text(id.ms, out);
    out[len++] = '-';
    return len + u64_to_text(id.seq, out + len);
}

bool queue_id_parse(struct bytes text, uint64_t seq, struct queue_id *ret_id)
{
    const char *dash = text.len ? memchr(text.ptr, '-', text.len) : NULL;
    ret_id->seq = seq;
    if (!dash)
        return bytes_to_u64(text, &ret_id->ms);
    const size_t at = (size_t)(dash - text.ptr);
    return bytes_to_u64((struct bytes){ text.ptr, at }, &ret_id->ms) &&
           bytes_to_u64(bytes_skip(text, at + 1), &ret_id->seq);
}

/*    which of a struct queue_op       at most */
#define NUMBER_LIST(X)                        \
    X(id.ms, UINT64_MAX)                      \
    X(id.seq, UINT64_MAX)                     \
    X(end.ms, UINT64_MAX)                     \
    X(end.seq, UINT64_MAX)                    \
    X(number, UINT64_MAX)                     \
    X(count, QUEUE_COUNT_MAX)                 \
    X(room, UINT64_MAX)                       \
    X(priority, QUEUE_PRIORITIES - 1)         \
    X(delay_ms, QUEUE_DELAY_MS_MAX)           \
    X(idle_ms, UINT64_MAX)                    \
    X(attempts, UINT32_MAX)                   \
    X(lease_ms, QUEUE_LEASE_MS_MAX)           \
    X(back_off_ms, QUEUE_BACK_OFF_MS_MAX)     \
    X(back_off_ms_max, QUEUE_BACK_OFF_MS_MAX) \
    X(keep_ms, UINT64_MAX / 4)                \
    X(keep_bytes, UINT64_MAX)                 \
    X(keep_count, UINT64_MAX)                 \
    X(check_ms, QUEUE_DELAY_MS_MAX)           \
    X(duplicate_ms, QUEUE_DUPLICATE_WINDOW_MS_MAX)

#define TEXT_LIST(X) \
    X(topic)         \
    X(group)         \
    X(consumer)      \
    X(key)           \
    X(other)         \
    X(own_id)

#define HEAD_BYTES (1 + 4 + 4 + 1)
#define NUMBERS_BYTES_MAX (32 * 8)

static struct bytes cut(struct bytes text)
{
    return text.len > UINT8_MAX ? BYTES_NONE : text;
}

size_t queue_op_bytes(const struct queue_op *op)
{
    size_t bytes = HEAD_BYTES + NUMBERS_BYTES_MAX + 4 + 4 + op->ids_count * sizeof(struct queue_id);
#define X(name) bytes += 1 + cut(op->name).len;
    TEXT_LIST(X)
#undef X
    for (uint32_t i = 0; i < op->fields_count; i++)
        bytes += 8 + op->fields[i].name.len + op->fields[i].value.len;
    bytes -= NUMBERS_BYTES_MAX;
#define X(member, max) bytes += op->member ? 8 : 0;
    NUMBER_LIST(X)
#undef X
#define X(name) bytes -= cut(op->name).len ? 0 : 1;
    TEXT_LIST(X)
#undef X
    return bytes;
}

void queue_pack_field(struct pack *p, struct bytes name, struct bytes value)
{
    pack_u32(p, (uint32_t)name.len);
    pack_u32(p, (uint32_t)value.len);
    pack_raw(p, name);
    pack_raw(p, value);
}

void queue_write(const struct queue_op *op, char *out)
{
    struct pack p = { .at = out, .end = out + queue_op_bytes(op) };
    uint32_t numbers = 0, bit = 1;
    uint8_t texts = 0;
#define X(member, max)               \
    numbers |= op->member ? bit : 0; \
    bit <<= 1;
    NUMBER_LIST(X)
#undef X
    pack_u8(&p, (uint8_t)op->what);
    pack_u32(&p, op->flags);
    pack_u32(&p, numbers);
#define X(member, max) \
    if (op->member)    \
        pack_u64(&p, op->member);
    NUMBER_LIST(X)
#undef X
    bit = 1;
#define X(name)                                      \
    texts |= (uint8_t)(cut(op->name).len ? bit : 0); \
    bit <<= 1;
    TEXT_LIST(X)
#undef X
    pack_u8(&p, texts);
#define X(name)            \
    if (cut(op->name).len) \
        pack_text(&p, op->name);
    TEXT_LIST(X)
#undef X
    pack_u32(&p, op->fields_count);
    for (uint32_t i = 0; i < op->fields_count; i++)
        queue_pack_field(&p, op->fields[i].name, op->fields[i].value);
    pack_u32(&p, op->ids_count);
    if (op->ids_count)
        pack_raw(&p, (struct bytes){ (const char *)op->ids, op->ids_count * sizeof *op->ids });
    must(p.at == p.end);
}

/* ---- taken apart ---- */

static struct bytes unpack_fields(struct unpack *u, uint32_t count)
{
    struct bytes fields = { u->at, (size_t)(u->end - u->at) };
    struct queue_field field;
    for (uint32_t i = 0; i < count; i++) {
        if (queue_read_field(&fields, &field))
            continue;
        u->bad = true;
        return BYTES_NONE;
    }
    const struct bytes all = { u->at, (size_t)(fields.ptr - u->at) };
    u->at = fields.ptr;
    return all;
}

static bool is_good(const struct queue_run *q)
{
    const struct queue_op *op = &q->op;
#define X(member, max)                \
    if (op->member > (uint64_t)(max)) \
        return false;
    NUMBER_LIST(X)
#undef X
#define X(name)                              \
    if (op->name.len > QUEUE_NAME_BYTES_MAX) \
        return false;
    TEXT_LIST(X)
#undef X
    return op->fields_count <= QUEUE_FIELDS_MAX && op->key.len + q->fields.len <= QUEUE_MESSAGE_BYTES_MAX &&
           op->ids_count <= QUEUE_COUNT_MAX;
}

bool queue_unpack(struct bytes bytes, struct queue_run *q)
{
    struct unpack u = { .at = bytes.ptr, .end = bytes.ptr + bytes.len };
    struct queue_op *op = &q->op;
    uint32_t bit = 1;
    op->what = unpack_u8(&u);
    op->flags = unpack_u32(&u);
    const uint32_t numbers = unpack_u32(&u);
#define X(member, max)               \
    if (numbers & bit)               \
        op->member = unpack_u64(&u); \
    bit <<= 1;
    NUMBER_LIST(X)
#undef X
    const uint8_t texts = unpack_u8(&u);
    bit = 1;
#define X(name)                     \
    if (texts & bit)                \
        op->name = unpack_text(&u); \
    bit <<= 1;
    TEXT_LIST(X)
#undef X
    op->fields_count = unpack_u32(&u);
    if (u.bad || op->fields_count > QUEUE_FIELDS_MAX)
        return false;
    q->fields = unpack_fields(&u, op->fields_count);
    op->ids_count = unpack_u32(&u);
    q->ids = (struct bytes){ u.at, (size_t)(u.end - u.at) };
    return !u.bad && q->ids.len == (size_t)op->ids_count * sizeof(struct queue_id) && is_good(q);
}

/* ---- answers ---- */

bool queue_read_answer(struct bytes answer, struct queue_answer *ret_answer, struct bytes *ret_rest)
{
    if (answer.len < sizeof *ret_answer)
        return false;
    memcpy(ret_answer, answer.ptr + answer.len - sizeof *ret_answer, sizeof *ret_answer);
    *ret_rest = ret_answer->result == QUEUE_DONE
                    ? (struct bytes){ answer.ptr, answer.len - sizeof *ret_answer }
                    : BYTES_NONE;
    return true;
}

static struct unpack open_rest(const struct bytes *rest)
{
    return (struct unpack){ .at = rest->ptr, .end = rest->ptr + rest->len };
}

static bool close_rest(const struct unpack *u, struct bytes *rest)
{
    if (u->bad)
        return false;
    *rest = (struct bytes){ u->at, (size_t)(u->end - u->at) };
    return true;
}

static struct bytes unpack_raw(struct unpack *u, size_t len)
{
    if ((size_t)(u->end - u->at) < len) {
        u->bad = true;
        return BYTES_NONE;
    }
    const struct bytes b = { u->at, len };
    u->at += len;
    return b;
}

static struct queue_id unpack_id(struct unpack *u)
{
    const uint64_t ms = unpack_u64(u);
    return (struct queue_id){ ms, unpack_u64(u) };
}

bool queue_read_field(struct bytes *fields, struct queue_field *ret_field)
{
    struct unpack u = open_rest(fields);
    const uint32_t name_len = unpack_u32(&u), value_len = unpack_u32(&u);
    ret_field->name = unpack_raw(&u, name_len);
    ret_field->value = unpack_raw(&u, value_len);
    return close_rest(&u, fields);
}

bool queue_read_message(struct bytes *rest, struct queue_message *m)
{
    struct unpack u = open_rest(rest);
    m->id = unpack_id(&u);
    m->published_ms = unpack_u64(&u);
    m->attempts = unpack_u32(&u);
    m->priority = unpack_u8(&u);
    m->is_gone = unpack_u8(&u);
    m->key = unpack_text(&u);
    m->fields_count = unpack_u32(&u);
    m->fields = unpack_raw(&u, unpack_u32(&u));
    return close_rest(&u, rest);
}

bool queue_read_pending(struct bytes *rest, struct queue_pending *p)
{
    struct unpack u = open_rest(rest);
    p->id = unpack_id(&u);
    p->delivered_ms = unpack_u64(&u);
    p->attempts = unpack_u64(&u);
    p->consumer = unpack_text(&u);
    return close_rest(&u, rest);
}

bool queue_read_topic(struct bytes *rest, struct queue_topic_shown *t)
{
    struct unpack u = open_rest(rest);
    t->name = unpack_text(&u);
    t->dead_letter = unpack_text(&u);
    t->number = unpack_u64(&u);
    t->count = unpack_u64(&u);
    t->bytes = unpack_u64(&u);
    t->added = unpack_u64(&u);
    t->kept = unpack_u64(&u);
    t->first = unpack_id(&u);
    t->last = unpack_id(&u);
    t->deleted = unpack_id(&u);
    t->keep_ms = unpack_u64(&u);
    t->keep_bytes = unpack_u64(&u);
    t->keep_count = unpack_u64(&u);
    t->check_ms = unpack_u64(&u);
    t->duplicate_ms = unpack_u64(&u);
    t->groups = unpack_u32(&u);
    t->is_ordered = unpack_u8(&u);
    return close_rest(&u, rest);
}

bool queue_read_group(struct bytes *rest, struct queue_group_shown *g)
{
    struct unpack u = open_rest(rest);
    g->name = unpack_text(&u);
    g->dead_letter = unpack_text(&u);
    g->consumers = unpack_u64(&u);
    g->pending = unpack_u64(&u);
    g->waiting = unpack_u64(&u);
    g->ready = unpack_u64(&u);
    g->retry = unpack_u64(&u);
    g->lag = unpack_u64(&u);
    g->delivered = unpack_u64(&u);
    g->acked = unpack_u64(&u);
    g->redelivered = unpack_u64(&u);
    g->dead = unpack_u64(&u);
    g->dropped = unpack_u64(&u);
    g->last = unpack_id(&u);
    g->lease_ms = unpack_u64(&u);
    g->attempts = unpack_u64(&u);
    g->back_off_ms = unpack_u64(&u);
    g->back_off_ms_max = unpack_u64(&u);
    return close_rest(&u, rest);
}

bool queue_read_consumer(struct bytes *rest, struct queue_consumer_shown *c)
{
    struct unpack u = open_rest(rest);
    c->name = unpack_text(&u);
    c->pending = unpack_u64(&u);
    c->seen_ms = unpack_u64(&u);
    c->active_ms = unpack_u64(&u);
    return close_rest(&u, rest);
}

struct bytes queue_topic_key(struct bytes name, char out[QUEUE_TOPIC_KEY_BYTES_MAX])
{
    const size_t len = name.len < QUEUE_NAME_BYTES_MAX ? name.len : QUEUE_NAME_BYTES_MAX;
    out[0] = 't';
    if (len)
        memcpy(out + 1, name.ptr, len);
    return (struct bytes){ out, 1 + len };
}

/* XADD, XLEN, XRANGE, XREVRANGE, XDEL, XTRIM, XACK. */
#include "gate/resp_stream.h"

/* ---- XADD ---- */

struct trim {
    bool by_length, by_id, about;
    int64_t length, limit;
    struct queue_id id;
};

/* MAXLEN | MINID [= | ~] threshold [LIMIT n]; *at stands at the first of it. */
static bool read_trim(struct resp_client *k, const struct resp_command *c, uint32_t *at, struct trim *t)
{
    const bool by_length = stream_word(c, *at, BYTES("MAXLEN"));
    uint32_t i = *at + 1;
    if (t->by_length || t->by_id) {
        resp_fail(k->batch, "ERR syntax error, MAXLEN and MINID options at the same time are not compatible");
        return false;
    }
    if (i + 1 < c->count && (stream_word(c, i, BYTES("~")) || stream_word(c, i, BYTES("="))))
        t->about = *resp_arg(c, i++).ptr == '~';
    if (i >= c->count) {
        stream_fail_syntax(k);
        return false;
    }
    t->by_length = by_length;
    t->by_id = !by_length;
    *at = i + 1;
    if (!by_length)
        return stream_id(k, resp_arg(c, i), 0, &t->id);
    if (!stream_number(k, resp_arg(c, i), &t->length))
        return false;
    if (t->length < 0)
        resp_fail(k->batch, "ERR The MAXLEN argument must be >= 0.");
    return t->length >= 0;
}

static bool read_limit(struct resp_client *k, const struct resp_command *c, uint32_t *at, struct trim *t)
{
    if (!stream_number(k, resp_arg(c, *at + 1), &t->limit))
        return false;
    if (t->limit < 0) {
        resp_fail(k->batch, "ERR The LIMIT argument must be >= 0.");
        return false;
    }
    *at += 2;
    return true;
}

static bool trim_is_good(struct resp_client *k, const struct trim *t)
{
    if (t->limit < 0 || ((t->by_length || t->by_id) && t->about))
        return true;
    resp_fail(k->batch,
              t->by_length || t->by_id
                  ? "ERR syntax error, LIMIT cannot be used without the special ~ option"
                  : "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy");
    return false;
}

static struct queue_op trim_op(const struct trim *t, struct bytes topic)
{
    return (struct queue_op){ .what = QUEUE_TRIM,
                              .topic = topic,
                              .flags = t->by_id ? QUEUE_ID_GIVEN : 0,
                              .id = t->id,
                              .keep_count = (uint64_t)t->length,
                              .count = stream_count(t->limit) };
}

static void say_added(struct resp_out *o, const struct resp_ask *q)
{
    struct queue_answer a;
    if (!stream_read_ask(o, q, &a))
        return;
    if (a.result == QUEUE_DONE)
        stream_out_id(o, a.id);
    else if (a.result == QUEUE_UNKNOWN_TOPIC)
        stream_out_null(o);
    else
        stream_out_result(o, a.result);
}

/* How many; 0 where there is no such stream or group. */
static void say_number(struct resp_out *o, const struct resp_ask *q)
{
    struct queue_answer a;
    if (!stream_read_ask(o, q, &a))
        return;
    if (a.result == QUEUE_UNKNOWN_TOPIC && !q->is_put_off) {
        resp_out_end(o);
        const err e = stream_key_is_free(q->key);
        if (e == ERR_EXISTS)
            resp_out_line(o, '-', STREAM_WRONG_TYPE);
        else if (e)
            resp_out_failure(o, e);
        if (e)
            return;
    }
    if (a.result == QUEUE_DONE || a.result == QUEUE_UNKNOWN_TOPIC || a.result == QUEUE_UNKNOWN_GROUP)
        stream_out_int(o, a.result == QUEUE_DONE ? a.number : 0);
    else
        stream_out_result(o, a.result);
}

static bool read_add_id(struct resp_client *k, struct bytes text, struct queue_op *op)
{
    if (bytes_eq(text, BYTES("*")))
        return true;
    op->flags |= QUEUE_ID_GIVEN;
    if (text.len > 2 && bytes_eq(bytes_skip(text, text.len - 2), BYTES("-*"))) {
        op->flags |= QUEUE_ANY_SEQ;
        text.len -= 2;
        if (bytes_to_u64(text, &op->id.ms))
            return true;
        resp_fail(k->batch, "ERR Invalid stream ID specified as stream command argument");
        return false;
    }
    if (!stream_id(k, text, 0, &op->id))
        return false;
    if (queue_id_compare(op->id, QUEUE_ID_FIRST) != 0)
        return true;
    resp_fail(k->batch, "ERR The ID specified in XADD must be greater than 0-0");
    return false;
}

static struct queue_field *read_fields(struct resp_client *k, const struct resp_command *c, uint32_t i,
                                       uint32_t count)
{
    struct queue_field *fields = arena_get(k->batch->arena, count * sizeof *fields);
    k->batch->full |= !fields;
    for (uint32_t n = 0; fields && n < count; n++)
        fields[n] = (struct queue_field){ resp_arg(c, i + 2 * n), resp_arg(c, i + 2 * n + 1) };
    return fields;
}

/* The options from *at on; there *at stays at the id. */
static bool read_add_options(struct resp_client *k, const struct resp_command *c, uint32_t *at,
                             struct trim *t, struct queue_op *op)
{
    for (*at = 2; *at < c->count;) {
        const bool more = *at + 1 < c->count;
        bool good = true;
        if (stream_word(c, *at, BYTES("NOMKSTREAM"))) {
            op->flags &= ~(unsigned)QUEUE_MAKE;
            ++*at;
        } else if (more && (stream_word(c, *at, BYTES("MAXLEN")) || stream_word(c, *at, BYTES("MINID")))) {
            good = read_trim(k, c, at, t);
        } else if (more && stream_word(c, *at, BYTES("LIMIT"))) {
            good = read_limit(k, c, at, t);
        } else {
            break;
        }
        if (!good)
            return false;
    }
    return true;
}

/* key [NOMKSTREAM] [MAXLEN | MINID [= | ~] n [LIMIT n]] * | id, field, value ... */
void resp_do_xadd(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    const struct bytes key = resp_arg(c, 1);
    struct queue_op op = { .what = QUEUE_PUBLISH, .topic = key, .flags = QUEUE_MAKE };
    struct trim t = { .limit = -1 };
    uint32_t at;
    if (!read_add_options(k, c, &at, &t, &op))
        return;
    if (at < c->count && !read_add_id(k, resp_arg(c, at), &op))
        return;
    if (c->count < at + 3 || (c->count - at - 1) % 2) {
        resp_fail_arity(k, d);
        return;
    }
    if (!trim_is_good(k, &t))
        return;
    op.fields_count = (c->count - at - 1) / 2;
    op.fields = read_fields(k, c, at + 1, op.fields_count);
    struct queue_op ops[] = { op, trim_op(&t, key) };
    if (op.fields)
        stream_send(k, ops, t.by_length || t.by_id ? 2 : 1, op.flags & QUEUE_MAKE, say_added);
}

/* ---- the others ---- */

static void out_length(struct resp_out *o, const struct stream_call *g)
{
    struct queue_topic_shown t = { 0 };
    struct bytes rest = g->rest;
    (void)queue_read_topic(&rest, &t);
    stream_out_int(o, t.count);
}

/* key */
void resp_do_xlen(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    (void)d;
    struct stream_call g = { .op = { .what = QUEUE_LOOK_TOPIC, .topic = resp_arg(c, 1) }, .out = out_length };
    stream_do(k, &g);
}

/* One more answer of a range, and where the next begins. */
struct part {
    struct part *next;
    struct bytes rest;
    uint32_t count;
};

static struct queue_id last_of(struct bytes rest)
{
    struct queue_message m;
    struct queue_id last = QUEUE_ID_FIRST;
    while (queue_read_message(&rest, &m))
        last = m.id;
    return last;
}

/* All of it: as many answers as it takes. NULL, *ret_total 0: there is nothing. */
static bool read_range(struct resp_client *k, struct queue_op *op, uint64_t *ret_total,
                       struct part **ret_parts)
{
    const uint64_t wanted = op->count;
    struct part **at = ret_parts;
    *ret_total = 0;
    for (;;) {
        struct part *p = arena_get_zero(k->batch->arena, sizeof *p);
        struct stream_room room = { 0 };
        struct queue_answer a;
        op->count = stream_count(wanted ? (int64_t)(wanted - *ret_total) : 0);
        op->room = op->count && op->count < 16 ? STREAM_ROOM_BYTES_MIN : STREAM_ROOM_BYTES;
        if (!p || !stream_done(k, op, &room, &a, &p->rest))
            return false;
        if (a.result != QUEUE_DONE || !a.count)
            return true;
        *at = p;
        at = &p->next;
        p->count = a.count;
        *ret_total += a.count;
        if (wanted && *ret_total == wanted)
            return true;
        const bool reverse = op->flags & QUEUE_IS_REVERSE;
        struct queue_id *bound = reverse ? &op->end : &op->id;
        *bound = last_of(p->rest);
        if (!stream_step(bound, reverse))
            return true;
    }
}

static void out_parts(struct resp_out *o, const struct part *parts)
{
    for (; parts; parts = parts->next) {
        struct queue_message m;
        struct bytes rest = parts->rest;
        while (!o->failed && queue_read_message(&rest, &m))
            stream_out_message(o, &m);
    }
}

/* In MULTI: one answer, all of it or none. */
static void out_range(struct resp_out *o, const struct stream_call *g)
{
    const struct part all = { .rest = g->rest };
    if (g->a.number && (!g->number || g->a.count < g->number)) {
        stream_out_fail(o, "ERR a range in MULTI has at most %d messages and %u MiB: use COUNT",
                        QUEUE_COUNT_MAX, STREAM_ROOM_BYTES_MULTI >> 20);
        return;
    }
    stream_out_head(o, '*', g->a.count);
    out_parts(o, &all);
}

/* count, -1: it is not said; of 0 the answer is always the same. */
static bool read_range_options(struct resp_client *k, const struct resp_command *c, int64_t *ret_count)
{
    *ret_count = -1;
    for (uint32_t i = 4; i < c->count; i += 2) {
        if (!stream_word(c, i, BYTES("COUNT")) || i + 1 == c->count) {
            stream_fail_syntax(k);
            return false;
        }
        if (!stream_number(k, resp_arg(c, i + 1), ret_count))
            return false;
        *ret_count = *ret_count < 0 ? 0 : *ret_count;
    }
    return true;
}

/* key, start, end [COUNT n]; d->number: backwards, end first */
void resp_do_xrange(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    const bool reverse = d->number;
    struct stream_call g = {
        .op = { .what = QUEUE_RANGE, .topic = resp_arg(c, 1), .flags = reverse ? QUEUE_IS_REVERSE : 0 },
        .room.size_max = STREAM_ROOM_BYTES_MULTI,
        .out = out_range
    };
    struct part *parts = NULL;
    struct resp_out o;
    uint64_t total;
    int64_t count;
    if (!stream_bound(k, resp_arg(c, reverse ? 3 : 2), false, &g.op.id) ||
        !stream_bound(k, resp_arg(c, reverse ? 2 : 3), true, &g.op.end) || !read_range_options(k, c, &count))
        return;
    g.op.count = g.number = count > 0 ? (uint64_t)count : 0;
    if (k->batch->puts_off && count) {
        g.op.count = stream_count(count);
        stream_do(k, &g);
        return;
    }
    if (!k->batch->puts_off && !read_range(k, &g.op, &total, &parts))
        return;
    if (!count) {
        resp_say_null_array(k);
        return;
    }
    stream_out_begin(&o, k);
    stream_out_head(&o, '*', total);
    out_parts(&o, parts);
    stream_out_end(&o, k);
}

/* key, id ... */
void resp_do_xdel(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    (void)d;
    struct queue_op op = { .what = QUEUE_DELETE, .topic = resp_arg(c, 1), .ids_count = c->count - 2 };
    op.ids = stream_ids(k, c, 2, op.ids_count);
    if (op.ids)
        stream_send(k, &op, 1, false, say_number);
}

/* key, group, id ... */
void resp_do_xack(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    (void)d;
    struct queue_op op = {
        .what = QUEUE_ACK, .topic = resp_arg(c, 1), .group = resp_arg(c, 2), .ids_count = c->count - 3
    };
    op.ids = stream_ids(k, c, 3, op.ids_count);
    if (op.ids)
        stream_send(k, &op, 1, false, say_number);
}

static bool read_trims(struct resp_client *k, const struct resp_command *c, struct trim *t)
{
    for (uint32_t at = 2; at < c->count;) {
        const bool more = at + 1 < c->count;
        if (more && (stream_word(c, at, BYTES("MAXLEN")) || stream_word(c, at, BYTES("MINID")))) {
            if (!read_trim(k, c, &at, t))
                return false;
        } else if (more && stream_word(c, at, BYTES("LIMIT"))) {
            if (!read_limit(k, c, &at, t))
                return false;
        } else {
            stream_fail_syntax(k);
            return false;
        }
    }
    if (t->by_length || t->by_id)
        return trim_is_good(k, t);
    resp_fail(k->batch, "ERR syntax error, XTRIM must be called with MAXLEN or MINID");
    return false;
}

/* key, MAXLEN | MINID [= | ~] n [LIMIT n] */
void resp_do_xtrim(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    (void)d;
    struct trim t = { .limit = -1 };
    struct stream_room room = { 0 };
    struct queue_answer a;
    struct bytes rest;
    uint64_t total = 0;
    if (!read_trims(k, c, &t))
        return;
    if (k->batch->puts_off) {
        struct queue_op op = trim_op(&t, resp_arg(c, 1));
        stream_send(k, &op, 1, false, say_number);
        return;
    }
    do {
        struct queue_op op = trim_op(&t, resp_arg(c, 1));
        if (!stream_done(k, &op, &room, &a, &rest))
            return;
        a.number = a.result == QUEUE_DONE ? a.number : 0;
        total += a.number;
    } while (a.number && t.limit <= 0);
    resp_say_int(k->batch, (int64_t)total);
}

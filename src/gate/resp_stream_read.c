/* XREAD, XREADGROUP: what is new in streams, and waiting for it.
 *
 *      ask ──▶ something: answered     nothing, BLOCK: in line of its group (XREAD: in none) ─▶ told ─▶ ask
 */
#include "gate/resp_stream.h"
#include "ledger/board.h"
#include "ledger/watch.h"

#define BLOCK_MS_MAX (366ULL * 24 * 3600 * 1000)

struct source {
    struct bytes key;
    struct queue_id after;
    bool is_new;  /* `>` */
    bool is_last; /* `$` in MULTI: there is never anything behind it */
    struct stream_room room;
    struct bytes rest; /* messages */
    uint32_t count;
    struct watch watch;
};

struct reading {
    struct resp_client *k;
    const struct resp_def *d;
    struct bytes group, consumer; /* of XREADGROUP */
    struct source *sources;
    uint32_t sources_count;
    uint64_t count, block_ms;
    bool has_group, no_ack, blocks;
    struct resp_later later; /* of MULTI */
};

/* ---- arguments ---- */

static bool read_block(struct resp_client *k, struct bytes text, struct reading *r)
{
    int64_t ms;
    if (!bytes_to_i64(text, &ms)) {
        resp_fail(k->batch, "ERR timeout is not an integer or out of range");
        return false;
    }
    if (ms < 0) {
        resp_fail(k->batch, "ERR timeout is negative");
        return false;
    }
    r->block_ms = ms && (uint64_t)ms < BLOCK_MS_MAX ? (uint64_t)ms : BLOCK_MS_MAX;
    r->blocks = true;
    return true;
}

static bool only_of_groups(const struct reading *r, const char *option)
{
    if (r->d->number)
        return true;
    resp_fail(r->k->batch, "ERR The %s option is only supported by XREADGROUP. You called XREAD instead.",
              option);
    return false;
}

/* Up to STREAMS; *at stands behind it. */
static bool read_options(struct reading *r, const struct resp_command *c, uint32_t *at)
{
    int64_t n;
    for (uint32_t i = 1; i < c->count;) {
        const bool more = i + 1 < c->count;
        if (more && stream_word(c, i, BYTES("STREAMS"))) {
            *at = i + 1;
            return true;
        }
        if (more && stream_word(c, i, BYTES("BLOCK"))) {
            if (!read_block(r->k, resp_arg(c, i + 1), r))
                return false;
            i += 2;
        } else if (more && stream_word(c, i, BYTES("COUNT"))) {
            if (!stream_number(r->k, resp_arg(c, i + 1), &n))
                return false;
            r->count = stream_count(n);
            i += 2;
        } else if (i + 2 < c->count && stream_word(c, i, BYTES("GROUP"))) {
            if (!only_of_groups(r, "GROUP"))
                return false;
            r->group = resp_arg(c, i + 1);
            r->consumer = resp_arg(c, i + 2);
            r->has_group = true;
            i += 3;
        } else if (stream_word(c, i, BYTES("NOACK"))) {
            if (!only_of_groups(r, "NOACK"))
                return false;
            r->no_ack = true;
            i++;
        } else {
            break;
        }
    }
    stream_fail_syntax(r->k);
    return false;
}

/* Behind its last: what is there now does not count. */
static bool find_last(struct resp_client *k, struct source *s)
{
    struct queue_op op = { .what = QUEUE_LOOK_TOPIC, .topic = s->key };
    struct queue_topic_shown t = { 0 };
    struct queue_answer a;
    struct bytes rest;
    if (!stream_done(k, &op, &s->room, &a, &rest))
        return false;
    if (a.result == QUEUE_DONE)
        (void)queue_read_topic(&rest, &t);
    s->after = t.last;
    return true;
}

static bool read_source(const struct reading *r, struct source *s, struct bytes id)
{
    if (bytes_eq(id, BYTES(">"))) {
        s->is_new = true;
        if (r->d->number)
            return true;
        resp_fail(r->k->batch,
                  "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> "
                  "<consumer> option.");
        return false;
    }
    if (!bytes_eq(id, BYTES("$")))
        return stream_id(r->k, id, 0, &s->after);
    s->is_last = r->k->batch->puts_off;
    if (!r->d->number)
        return s->is_last || find_last(r->k, s);
    resp_fail(
        r->k->batch,
        "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this "
        "consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID would just "
        "return an empty result set.");
    return false;
}

static bool read_sources(struct reading *r, const struct resp_command *c, uint32_t at)
{
    const uint32_t count = (c->count - at) / 2;
    if ((c->count - at) % 2) {
        resp_fail(
            r->k->batch,
            "ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified.");
        return false;
    }
    if (r->d->number && !r->has_group) {
        resp_fail(r->k->batch, "ERR Missing GROUP option for XREADGROUP");
        return false;
    }
    r->sources = arena_get_zero(r->k->batch->arena, count * sizeof *r->sources);
    r->sources_count = count;
    if (!r->sources) {
        resp_fail(r->k->batch, "ERR too much in one go for a connection's memory");
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        r->sources[i].key = stream_keep(r->k, resp_arg(c, at + i));
        if (!read_source(r, &r->sources[i], resp_arg(c, at + count + i)))
            return false;
    }
    return true;
}

/* ---- asking ---- */

static struct queue_op op_of(const struct reading *r, const struct source *s)
{
    struct queue_op op = { .what = r->d->number ? s->is_new ? QUEUE_PULL : QUEUE_HISTORY : QUEUE_RANGE,
                           .topic = s->key,
                           .group = r->group,
                           .consumer = r->consumer,
                           .count = r->count,
                           .room = r->count && r->count <= 16 ? STREAM_ROOM_BYTES_MIN : STREAM_ROOM_BYTES };
    if (op.what == QUEUE_PULL) {
        op.flags = r->no_ack ? QUEUE_NO_ACK : 0;
    } else {
        op.id = s->after;
        op.end = QUEUE_ID_LAST;
    }
    if (op.what == QUEUE_RANGE) {
        op.id.seq++;
        op.id.ms += op.id.seq == 0;
    }
    return op;
}

#define NO_GROUP "NOGROUP No such key '%.*s' or consumer group '%.*s' in XREADGROUP with GROUP option"

static void fail_group(const struct reading *r, const struct source *s)
{
    resp_fail(r->k->batch, NO_GROUP, BYTES_ARG(s->key), BYTES_ARG(r->group));
}

/* Nothing can be behind it. */
static bool is_at_end(const struct reading *r, const struct source *s)
{
    return !r->d->number && (s->is_last || queue_id_compare(s->after, QUEUE_ID_LAST) == 0);
}

static bool read_one(const struct reading *r, struct source *s)
{
    struct queue_op op = op_of(r, s);
    struct queue_answer a;
    s->count = 0;
    if (is_at_end(r, s))
        return true;
    if (!stream_done(r->k, &op, &s->room, &a, &s->rest))
        return false;
    if (a.result != QUEUE_DONE && r->d->number) {
        fail_group(r, s);
        return false;
    }
    s->count = a.result == QUEUE_DONE ? a.count : 0;
    return true;
}

/* Before anything is given out: a group that is missing is a mistake of all of it. */
static bool groups_are_there(const struct reading *r)
{
    for (uint32_t i = 0; i < r->sources_count && r->d->number && r->sources_count > 1; i++) {
        struct source *s = &r->sources[i];
        struct queue_op op = { .what = QUEUE_PENDING_SUM, .topic = s->key, .group = r->group };
        struct queue_answer a;
        if (!stream_done(r->k, &op, &s->room, &a, &s->rest))
            return false;
        if (a.result != QUEUE_DONE) {
            fail_group(r, s);
            return false;
        }
    }
    return true;
}

static bool is_history(const struct reading *r, const struct source *s)
{
    return r->d->number && !s->is_new;
}

/* A history is an answer, also an empty one. Who waits takes only where it is the first in line. */
static bool read_all(const struct reading *r, bool waits, bool *ret_any)
{
    *ret_any = false;
    for (uint32_t i = 0; i < r->sources_count; i++) {
        struct source *s = &r->sources[i];
        if (waits && !watch_is_first(&s->watch))
            continue;
        if (!read_one(r, s))
            return false;
        *ret_any |= s->count || is_history(r, s);
    }
    return true;
}

/* ---- waiting ---- */

static void begin_watches(const struct reading *r, struct waiter *w)
{
    const uint64_t line = r->d->number ? board_hash(QUEUE_RULES_ID, r->group) | 1 : 0;
    waiter_open(w);
    for (uint32_t i = 0; i < r->sources_count; i++) {
        char key[QUEUE_TOPIC_KEY_BYTES_MAX];
        const struct bytes topic = queue_topic_key(r->sources[i].key, key);
        watch_begin(&r->sources[i].watch, w, QUEUE_RULES_ID, topic, line);
    }
}

static void end_watches(const struct reading *r, struct waiter *w)
{
    for (uint32_t i = 0; i < r->sources_count; i++)
        watch_end(&r->sources[i].watch);
    waiter_close(w);
}

/* false: said, or the client is gone. *ret_any false: its time is over. */
static bool wait_and_read(const struct reading *r, bool *ret_any)
{
    const uint64_t until_us = deadline_in_ms(r->block_ms);
    struct waiter w;
    bool good;
    begin_watches(r, &w);
    do {
        good = read_all(r, true, ret_any);
        if (!good || *ret_any)
            break;
        const err e = resp_wait(r->k, &w, until_us);
        r->k->closing |= e == ERR_CLOSED;
        if (e)
            break;
    } while (true);
    end_watches(r, &w);
    return good && !r->k->closing;
}

/* ---- the answer ---- */

static void out_sources(struct resp_out *o, const struct reading *r)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < r->sources_count; i++)
        count += r->sources[i].count || is_history(r, &r->sources[i]);
    if (!count) {
        o->at = resp_null_array(resp_out_room(o, RESP_HEAD_BYTES_MAX), o->protocol);
        return;
    }
    if (o->protocol == RESP_3)
        stream_out_map(o, count);
    else
        stream_out_head(o, '*', count);
    for (uint32_t i = 0; i < r->sources_count; i++) {
        const struct source *s = &r->sources[i];
        if (!s->count && !is_history(r, s))
            continue;
        if (o->protocol != RESP_3)
            stream_out_head(o, '*', 2);
        resp_out_text(o, s->key);
        stream_out_messages(o, s->count ? s->rest : BYTES_NONE, s->count, false, false);
    }
}

/* ---- in MULTI: all of it at once; nothing is waited for ---- */

/* Groups are looked for before anything is given out. */
static uint32_t checks_count(const struct reading *r)
{
    return r->d->number && r->sources_count > 1 ? r->sources_count : 0;
}

/* false: said. */
static bool take_later(struct resp_out *o, struct reading *r, struct source *s)
{
    struct queue_answer a;
    s->count = 0;
    if (!stream_read_later(o, &r->later, &a, &s->rest))
        return false;
    const bool no_group = a.result == QUEUE_UNKNOWN_GROUP || a.result == QUEUE_UNKNOWN_TOPIC;
    if (r->d->number && no_group)
        stream_out_fail(o, NO_GROUP, BYTES_ARG(s->key), BYTES_ARG(r->group));
    else if (a.result != QUEUE_DONE && !no_group)
        stream_out_result(o, a.result);
    s->count = a.result == QUEUE_DONE ? a.count : 0;
    return a.result == QUEUE_DONE || (!r->d->number && no_group);
}

static void say_later(struct resp_out *o, struct resp_later *l)
{
    struct reading *r = container_of(l, struct reading, later);
    for (uint32_t i = 0; i < checks_count(r); i++) {
        if (!take_later(o, r, &r->sources[i]))
            return;
    }
    for (uint32_t i = 0; i < r->sources_count; i++) {
        if (!is_at_end(r, &r->sources[i]) && !take_later(o, r, &r->sources[i]))
            return;
    }
    out_sources(o, r);
}

static void put_off(const struct reading *read)
{
    struct arena *a = read->k->batch->arena;
    struct reading *r = arena_get(a, sizeof *r);
    struct queue_op *ops = arena_get(a, 2 * read->sources_count * sizeof *ops);
    uint32_t count = 0;
    if (!r || !ops) {
        read->k->batch->full = true;
        return;
    }
    *r = *read;
    r->later.say = say_later;
    for (uint32_t i = 0; i < checks_count(r); i++)
        ops[count++] =
            (struct queue_op){ .what = QUEUE_PENDING_SUM, .topic = r->sources[i].key, .group = r->group };
    for (uint32_t i = 0; i < r->sources_count; i++) {
        if (!is_at_end(r, &r->sources[i]))
            ops[count++] = op_of(r, &r->sources[i]);
    }
    stream_put_off(r->k, ops, count, r->d->number, &r->later);
    r->group = stream_keep(r->k, r->group);
}

static bool names_are_good(const struct reading *r)
{
    for (uint32_t i = 0; i < r->sources_count; i++) {
        if (queue_name_is_good(r->sources[i].key))
            continue;
        resp_fail(r->k->batch, "ERR a stream has a name of 1 to %d bytes", QUEUE_NAME_BYTES_MAX);
        return false;
    }
    return true;
}

/* [GROUP group consumer] [COUNT n] [BLOCK ms] [NOACK] STREAMS key ... id ...; d->number: of a group */
void resp_do_xread(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    struct reading r = { .k = k, .d = d };
    uint32_t at;
    bool any = false;
    struct resp_out o;
    if (!read_options(&r, c, &at) || !read_sources(&r, c, at) || !names_are_good(&r))
        return;
    if (k->batch->puts_off) {
        put_off(&r);
        return;
    }
    if (!groups_are_there(&r) || (r.blocks ? !wait_and_read(&r, &any) : !read_all(&r, false, &any)))
        return;
    stream_out_begin(&o, k);
    out_sources(&o, &r);
    stream_out_end(&o, k);
}

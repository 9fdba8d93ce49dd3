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
    bool is_new; /* `>` */
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
    if (!r->d->number)
        return find_last(r->k, s);
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
        r->sources[i].key = resp_arg(c, at + i);
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

static void fail_group(const struct reading *r, const struct source *s)
{
    stream_fail_group(r->k, s->key, r->group, " in XREADGROUP with GROUP option");
}

static bool read_one(const struct reading *r, struct source *s)
{
    struct queue_op op = op_of(r, s);
    struct queue_answer a;
    s->count = 0;
    if (op.what == QUEUE_RANGE && queue_id_compare(op.id, s->after) < 0)
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

static void out_sources(const struct reading *r)
{
    struct resp_out o;
    uint64_t count = 0;
    for (uint32_t i = 0; i < r->sources_count; i++)
        count += r->sources[i].count || is_history(r, &r->sources[i]);
    stream_out_begin(&o, r->k);
    if (o.protocol == RESP_3)
        stream_out_map(&o, count);
    else
        stream_out_head(&o, '*', count);
    for (uint32_t i = 0; i < r->sources_count; i++) {
        const struct source *s = &r->sources[i];
        if (!s->count && !is_history(r, s))
            continue;
        if (o.protocol != RESP_3)
            stream_out_head(&o, '*', 2);
        resp_out_text(&o, s->key);
        stream_out_messages(&o, s->count ? s->rest : BYTES_NONE, s->count, false, false);
    }
    stream_out_end(&o, r->k);
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
    if (!read_options(&r, c, &at) || !read_sources(&r, c, at) || !names_are_good(&r) || !groups_are_there(&r))
        return;
    if (r.blocks ? !wait_and_read(&r, &any) : !read_all(&r, false, &any))
        return;
    if (any)
        out_sources(&r);
    else
        resp_say_null_array(k);
}

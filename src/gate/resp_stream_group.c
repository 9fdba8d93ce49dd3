/* XGROUP, XPENDING, XCLAIM, XAUTOCLAIM. */
#include <stdlib.h>

#include "gate/resp_stream.h"

#define CLAIM_COUNT 100 /* of XAUTOCLAIM, when it is not said */

/* ---- XGROUP ---- */

/* g->number: of CREATE and SETID, which answer no number. */
static void out_group(struct resp_out *o, const struct stream_call *g)
{
    if (g->a.result == QUEUE_UNKNOWN_TOPIC)
        stream_out_fail(
            o,
            "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use "
            "the MKSTREAM option to create an empty stream automatically.");
    else if (g->a.result == QUEUE_UNKNOWN_GROUP)
        stream_out_fail(o, "NOGROUP No such consumer group '%.*s' for key name '%.*s'",
                        BYTES_ARG(g->op.group), BYTES_ARG(g->op.topic));
    else if (g->number)
        resp_out_line(o, '+', BYTES("OK"));
    else
        stream_out_int(o, g->a.number);
}

/* id | $, behind it [MKSTREAM] [ENTRIESREAD n]: what was read is counted here, and not told. */
static bool read_position(struct resp_client *k, const struct resp_command *c, struct queue_op *op)
{
    int64_t entries;
    for (uint32_t i = 5; i < c->count;) {
        if (op->what == QUEUE_GROUP && stream_word(c, i, BYTES("MKSTREAM"))) {
            op->flags |= QUEUE_MAKE;
            i++;
        } else if (stream_word(c, i, BYTES("ENTRIESREAD")) && i + 1 < c->count) {
            if (!stream_number(k, resp_arg(c, i + 1), &entries))
                return false;
            if (entries < -1) {
                resp_fail(k->batch, "ERR value for ENTRIESREAD must be positive or -1");
                return false;
            }
            i += 2;
        } else {
            resp_fail(k->batch,
                      "ERR unknown subcommand or wrong number of arguments for '%.*s'. Try XGROUP HELP.",
                      BYTES_ARG(resp_arg(c, 1)));
            return false;
        }
    }
    if (!bytes_eq(resp_arg(c, 4), BYTES("$")))
        return stream_id(k, resp_arg(c, 4), 0, &op->id);
    op->flags |= QUEUE_FROM_END;
    return true;
}

static bool key_is_free(struct resp_client *k, struct bytes key)
{
    const err e = stream_key_is_free(key);
    if (e == ERR_EXISTS)
        resp_say_line(k->batch, '-', STREAM_WRONG_TYPE);
    else if (e)
        resp_say_failure(k->batch, e);
    return !e;
}

static void create(struct resp_client *k, const struct resp_command *c, struct stream_call *g)
{
    g->op.what = QUEUE_GROUP;
    g->op.flags = QUEUE_IF_NEW;
    g->number = 1;
    if (!read_position(k, c, &g->op))
        return;
    if (!(g->op.flags & QUEUE_MAKE) || k->batch->puts_off || key_is_free(k, g->op.topic))
        stream_do(k, g);
}

static void set_id(struct resp_client *k, const struct resp_command *c, struct stream_call *g)
{
    g->op.what = QUEUE_SET_ID;
    g->number = 1;
    if (read_position(k, c, &g->op))
        stream_do(k, g);
}

static void number(struct resp_client *k, struct stream_call *g, enum queue_what what)
{
    g->op.what = what;
    stream_do(k, g);
}

/* CREATE | SETID key group id ..., DESTROY key group, CREATECONSUMER | DELCONSUMER key group consumer */
void resp_do_xgroup(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    (void)d;
    const struct bytes sub = resp_arg(c, 1);
    struct stream_call g = { .out = out_group };
    if (c->count > 3)
        g.op = (struct queue_op){ .topic = resp_arg(c, 2), .group = resp_arg(c, 3) };
    if (c->count == 5)
        g.op.consumer = resp_arg(c, 4);
    if (stream_word(c, 1, BYTES("CREATE")) && c->count >= 5)
        create(k, c, &g);
    else if (stream_word(c, 1, BYTES("SETID")) && c->count >= 5)
        set_id(k, c, &g);
    else if (stream_word(c, 1, BYTES("DESTROY")) && c->count == 4)
        number(k, &g, QUEUE_DELETE_GROUP);
    else if (stream_word(c, 1, BYTES("CREATECONSUMER")) && c->count == 5)
        number(k, &g, QUEUE_CONSUMER);
    else if (stream_word(c, 1, BYTES("DELCONSUMER")) && c->count == 5)
        number(k, &g, QUEUE_DELETE_CONSUMER);
    else
        resp_fail(k->batch,
                  "ERR unknown subcommand or wrong number of arguments for '%.*s'. Try XGROUP HELP.",
                  (int)(sub.len < 128 ? sub.len : 128), sub.ptr);
}

/* ---- XPENDING ---- */

/* By name, as Redis lists them. */
static int compare_names(const void *a, const void *b)
{
    const struct queue_consumer_shown *x = a, *y = b;
    const int c = memcmp(x->name.ptr, y->name.ptr, x->name.len < y->name.len ? x->name.len : y->name.len);
    return c ? c : x->name.len < y->name.len ? -1 : x->name.len > y->name.len;
}

static struct queue_consumer_shown *sorted_consumers(const struct stream_call *g)
{
    struct queue_consumer_shown *all = arena_get(g->arena, (g->a.count + 1) * sizeof *all);
    struct bytes rest = g->rest;
    uint32_t n = 0;
    while (all && n < g->a.count && queue_read_consumer(&rest, &all[n]))
        n++;
    if (all)
        qsort(all, n, sizeof *all, compare_names);
    return all;
}

static void out_sum(struct resp_out *o, const struct stream_call *g)
{
    const struct queue_consumer_shown *all = sorted_consumers(g);
    char text[24];
    if (!all) {
        stream_out_fail(o, "ERR too much in one go for a connection's memory");
        return;
    }
    stream_out_head(o, '*', 4);
    stream_out_int(o, g->a.number);
    if (g->a.number) {
        stream_out_id(o, g->a.id);
        stream_out_id(o, g->a.end);
        stream_out_head(o, '*', g->a.count);
    } else {
        stream_out_null(o);
        stream_out_null(o);
        o->at = resp_null_array(resp_out_room(o, RESP_HEAD_BYTES_MAX), o->protocol);
    }
    for (uint32_t i = 0; g->a.number && i < g->a.count; i++) {
        stream_out_head(o, '*', 2);
        resp_out_text(o, all[i].name);
        resp_out_text(o, (struct bytes){ text, u64_to_text(all[i].pending, text) });
    }
}

static uint64_t since(uint64_t ms)
{
    const uint64_t now_ms = worker_wall_us() / 1000;
    return now_ms > ms ? now_ms - ms : 0;
}

static void out_pending(struct resp_out *o, const struct stream_call *g)
{
    struct queue_pending p;
    struct bytes rest = g->rest;
    stream_out_head(o, '*', g->op.count ? g->a.count : 0);
    while (g->op.count && queue_read_pending(&rest, &p)) {
        stream_out_head(o, '*', 4);
        stream_out_id(o, p.id);
        resp_out_text(o, p.consumer);
        stream_out_int(o, since(p.delivered_ms));
        stream_out_int(o, p.attempts);
    }
}

/* g->number: they are listed. */
static void out_xpending(struct resp_out *o, const struct stream_call *g)
{
    if (g->a.result != QUEUE_DONE)
        stream_out_no_group(o, &g->op, "");
    else if (g->number)
        out_pending(o, g);
    else
        out_sum(o, g);
}

/* [IDLE ms] start end count [consumer] */
static bool read_pending(struct resp_client *k, const struct resp_command *c, struct queue_op *op)
{
    uint32_t i = 3;
    int64_t n;
    if (stream_word(c, i, BYTES("IDLE")) && i + 1 < c->count) {
        if (!stream_number(k, resp_arg(c, i + 1), &n))
            return false;
        op->idle_ms = n > 0 ? (uint64_t)n : 0;
        i += 2;
    }
    if (c->count != i + 3 && c->count != i + 4) {
        stream_fail_syntax(k);
        return false;
    }
    if (!stream_number(k, resp_arg(c, i + 2), &n) || !stream_bound(k, resp_arg(c, i), false, &op->id) ||
        !stream_bound(k, resp_arg(c, i + 1), true, &op->end))
        return false;
    op->count = stream_count(n);
    if (c->count == i + 4)
        op->consumer = resp_arg(c, i + 3);
    return true;
}

/* key, group [[IDLE ms] start end count [consumer]] */
void resp_do_xpending(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    (void)d;
    struct stream_call g = { .op = { .what = QUEUE_PENDING_SUM,
                                     .topic = resp_arg(c, 1),
                                     .group = resp_arg(c, 2),
                                     .room = QUEUE_CONSUMERS_MAX * (QUEUE_CONSUMER_BYTES_MAX + 1) },
                             .out = out_xpending };
    if (c->count > 3) {
        g.number = 1;
        g.op.what = QUEUE_PENDING;
        if (!read_pending(k, c, &g.op))
            return;
        g.op.room = sizeof(struct queue_answer) + (g.op.count + 1) * QUEUE_PENDING_BYTES_MAX;
    }
    stream_do(k, &g);
}

/* ---- claims ---- */

static bool read_idle(struct resp_client *k, struct bytes text, const struct resp_def *d, uint64_t *ret_ms)
{
    int64_t n;
    if (!bytes_to_i64(text, &n)) {
        resp_fail(k->batch, "ERR Invalid min-idle-time argument for %s", d->number ? "XAUTOCLAIM" : "XCLAIM");
        return false;
    }
    *ret_ms = n > 0 ? (uint64_t)n : 0;
    return true;
}

/* Those that have a value. */
static bool read_claim_value(struct resp_client *k, const char *name, struct bytes text, struct queue_op *op)
{
    int64_t n;
    if (*name == 'L') { /* LASTID */
        op->flags |= QUEUE_LAST_ID;
        return stream_id(k, text, 0, &op->id);
    }
    if (!bytes_to_i64(text, &n)) {
        resp_fail(k->batch, "ERR Invalid %s option argument for XCLAIM", name);
        return false;
    }
    if (*name == 'R') { /* RETRYCOUNT */
        op->flags |= QUEUE_SET_COUNT;
        op->attempts = n > 0 ? (uint64_t)n : 0;
        return true;
    }
    op->flags |= QUEUE_SET_TIME;
    op->delay_ms = *name == 'I' ? (n > 0 ? (uint64_t)n : 0) : n > 0 ? since((uint64_t)n) : since(0);
    return true;
}

static bool read_claim_options(struct resp_client *k, const struct resp_command *c, uint32_t i,
                               struct queue_op *op)
{
    static const char *const valued[] = { "IDLE", "TIME", "RETRYCOUNT", "LASTID", NULL };
    while (i < c->count) {
        const char *const *name = valued;
        while (*name && !stream_word(c, i, bytes_from(*name)))
            name++;
        if (*name && i + 1 < c->count) {
            if (!read_claim_value(k, *name, resp_arg(c, i + 1), op))
                return false;
            i += 2;
        } else if (stream_word(c, i, BYTES("FORCE"))) {
            op->flags |= QUEUE_FORCE;
            i++;
        } else if (stream_word(c, i, BYTES("JUSTID"))) {
            op->flags |= QUEUE_JUST_ID;
            i++;
        } else {
            resp_fail(k->batch, "ERR Unrecognized XCLAIM option '%.*s'", BYTES_ARG(resp_arg(c, i)));
            return false;
        }
    }
    return true;
}

static uint32_t ids_from(const struct resp_command *c, uint32_t i)
{
    struct queue_id id;
    uint32_t n = 0;
    while (i + n < c->count && queue_id_parse(resp_arg(c, i + n), 0, &id))
        n++;
    return n;
}

static void out_claimed(struct resp_out *o, const struct stream_call *g)
{
    if (g->a.result == QUEUE_DONE)
        stream_out_messages(o, g->rest, g->a.count, true, g->op.flags & QUEUE_JUST_ID);
    else
        stream_out_no_group(o, &g->op, "");
}

/* key, group, consumer, idle, id ... [IDLE ms] [TIME ms] [RETRYCOUNT n] [FORCE] [JUSTID] [LASTID id] */
void resp_do_xclaim(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    struct stream_call g = { .op = { .what = QUEUE_CLAIM,
                                     .topic = resp_arg(c, 1),
                                     .group = resp_arg(c, 2),
                                     .consumer = resp_arg(c, 3),
                                     .room = STREAM_ROOM_BYTES },
                             .room.size_max = STREAM_ROOM_BYTES_MULTI,
                             .out = out_claimed };
    if (!read_idle(k, resp_arg(c, 4), d, &g.op.idle_ms))
        return;
    const uint32_t count = ids_from(c, 5);
    g.op.ids = stream_ids(k, c, 5, count ? count : 1);
    g.op.ids_count = count;
    if (g.op.ids && read_claim_options(k, c, 5 + count, &g.op))
        stream_do(k, &g);
}

static void out_auto_claimed(struct resp_out *o, const struct stream_call *g)
{
    struct queue_message m;
    struct bytes rest = g->rest;
    uint64_t gone = 0;
    if (g->a.result != QUEUE_DONE) {
        stream_out_no_group(o, &g->op, "");
        return;
    }
    stream_out_head(o, '*', 3);
    stream_out_id(o, g->a.id);
    stream_out_messages(o, g->rest, g->a.count, true, g->op.flags & QUEUE_JUST_ID);
    while (queue_read_message(&rest, &m))
        gone += m.is_gone;
    stream_out_head(o, '*', gone);
    for (rest = g->rest; queue_read_message(&rest, &m);) {
        if (m.is_gone)
            stream_out_id(o, m.id);
    }
}

/* key, group, consumer, idle, start [COUNT n] [JUSTID] */
void resp_do_xautoclaim(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    struct stream_call g = { .op = { .what = QUEUE_AUTO_CLAIM,
                                     .topic = resp_arg(c, 1),
                                     .group = resp_arg(c, 2),
                                     .consumer = resp_arg(c, 3),
                                     .count = CLAIM_COUNT,
                                     .room = STREAM_ROOM_BYTES },
                             .out = out_auto_claimed };
    int64_t n;
    if (!read_idle(k, resp_arg(c, 4), d, &g.op.idle_ms) || !stream_bound(k, resp_arg(c, 5), false, &g.op.id))
        return;
    for (uint32_t i = 6; i < c->count;) {
        if (stream_word(c, i, BYTES("JUSTID"))) {
            g.op.flags |= QUEUE_JUST_ID;
            i++;
        } else if (stream_word(c, i, BYTES("COUNT")) && i + 1 < c->count) {
            if (!bytes_to_i64(resp_arg(c, i + 1), &n) || n < 1) {
                resp_fail(k->batch, "ERR COUNT must be > 0");
                return;
            }
            g.op.count = stream_count(n);
            i += 2;
        } else {
            stream_fail_syntax(k);
            return;
        }
    }
    stream_do(k, &g);
}

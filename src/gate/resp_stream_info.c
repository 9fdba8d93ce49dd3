/* XINFO. */
#include "gate/resp_stream.h"

#define WHOLE_COUNT 10 /* of FULL, when it is not said: as in Redis */

static void out_name(struct resp_out *o, const char *name)
{
    resp_out_text(o, bytes_from(name));
}

static void out_number(struct resp_out *o, const char *name, uint64_t n)
{
    out_name(o, name);
    stream_out_int(o, n);
}

static void out_id(struct resp_out *o, const char *name, struct queue_id id)
{
    out_name(o, name);
    stream_out_id(o, id);
}

static void out_end_message(struct resp_out *o, const char *name, struct bytes *rest)
{
    struct queue_message m;
    out_name(o, name);
    if (queue_read_message(rest, &m))
        stream_out_message(o, &m);
    else
        stream_out_null(o);
}

void stream_out_topic(struct resp_out *o, const struct queue_topic_shown *t)
{
    out_number(o, "length", t->count);
    out_id(o, "last-generated-id", t->last);
    out_id(o, "max-deleted-entry-id", t->deleted);
    out_number(o, "entries-added", t->added);
    out_id(o, "recorded-first-entry-id", t->first);
}

static void out_stream(struct resp_out *o, const struct stream_call *g)
{
    struct bytes rest = g->rest;
    struct queue_topic_shown t;
    if (!queue_read_topic(&rest, &t)) {
        resp_out_failure(o, ERR_SYNTAX);
        return;
    }
    stream_out_map(o, 8);
    stream_out_topic(o, &t);
    out_number(o, "groups", t.groups);
    out_end_message(o, "first-entry", &rest);
    out_end_message(o, "last-entry", &rest);
}

static void out_groups(struct resp_out *o, const struct stream_call *c)
{
    struct queue_group_shown g;
    struct bytes rest = c->rest;
    stream_out_head(o, '*', c->a.count);
    while (queue_read_group(&rest, &g)) {
        stream_out_map(o, 5);
        out_name(o, "name");
        resp_out_text(o, g.name);
        out_number(o, "consumers", g.consumers);
        out_number(o, "pending", g.pending);
        out_id(o, "last-delivered-id", g.last);
        out_number(o, "lag", g.lag);
    }
}

static void out_consumers(struct resp_out *o, const struct stream_call *g)
{
    struct queue_consumer_shown s;
    struct bytes rest = g->rest;
    const uint64_t now_ms = worker_wall_us() / 1000;
    stream_out_head(o, '*', g->a.count);
    while (queue_read_consumer(&rest, &s)) {
        stream_out_map(o, 3);
        out_name(o, "name");
        resp_out_text(o, s.name);
        out_number(o, "pending", s.pending);
        out_number(o, "idle", now_ms > s.seen_ms ? now_ms - s.seen_ms : 0);
    }
}

static void out_info(struct resp_out *o, const struct stream_call *g)
{
    if (g->a.result == QUEUE_UNKNOWN_TOPIC)
        stream_out_fail(o, "ERR no such key");
    else if (g->a.result == QUEUE_UNKNOWN_GROUP)
        stream_out_fail(o, "NOGROUP No such consumer group '%.*s' for key name '%.*s'",
                        BYTES_ARG(g->op.group), BYTES_ARG(g->op.topic));
    else if (g->op.what == QUEUE_LOOK_WHOLE)
        stream_out_whole(o, g);
    else if (g->op.what == QUEUE_LOOK_TOPIC)
        out_stream(o, g);
    else if (g->op.what == QUEUE_GROUPS)
        out_groups(o, g);
    else
        out_consumers(o, g);
}

/* FULL [COUNT n]: so many of each list, 0: all. */
static bool read_full(struct resp_client *k, const struct resp_command *c, struct stream_call *g)
{
    int64_t n = WHOLE_COUNT;
    g->op.what = QUEUE_LOOK_WHOLE;
    g->room.size_max = STREAM_ROOM_BYTES_MULTI;
    if (c->count == 6 && !stream_number(k, resp_arg(c, 5), &n))
        return false;
    g->number = n < 0 ? WHOLE_COUNT : n > QUEUE_COUNT_MAX ? 0 : (uint64_t)n;
    g->op.count = stream_count((int64_t)g->number);
    return true;
}

/* STREAM key [FULL [COUNT n]] | GROUPS key | CONSUMERS key group */
void resp_do_xinfo(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    struct stream_call g = { .op.room = STREAM_ROOM_BYTES, .out = out_info };
    (void)d;
    if (stream_word(c, 1, BYTES("STREAM")) && c->count == 3) {
        g.op.what = QUEUE_LOOK_TOPIC;
        g.op.room = STREAM_ROOM_BYTES_MAX * 2;
    } else if (stream_word(c, 1, BYTES("STREAM")) && stream_word(c, 3, BYTES("FULL")) &&
               (c->count == 4 || (c->count == 6 && stream_word(c, 4, BYTES("COUNT"))))) {
        if (!read_full(k, c, &g))
            return;
    } else if (stream_word(c, 1, BYTES("GROUPS")) && c->count == 3) {
        g.op.what = QUEUE_GROUPS;
        g.op.room = QUEUE_GROUPS_MAX * (QUEUE_GROUP_BYTES_MAX + 1);
    } else if (stream_word(c, 1, BYTES("CONSUMERS")) && c->count == 4) {
        g.op.what = QUEUE_CONSUMERS;
        g.op.room = QUEUE_CONSUMERS_MAX * (QUEUE_CONSUMER_BYTES_MAX + 1);
        g.op.group = resp_arg(c, 3);
    } else {
        resp_fail(k->batch, "ERR weir knows XINFO STREAM key [FULL [COUNT n]], XINFO GROUPS key and XINFO "
                            "CONSUMERS key group");
        return;
    }
    g.op.topic = resp_arg(c, 2);
    stream_do(k, &g);
}

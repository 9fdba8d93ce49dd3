/* XINFO. */
#include "gate/resp_stream.h"

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

static void out_stream(struct resp_out *o, struct bytes rest)
{
    struct queue_topic_shown t;
    if (!queue_read_topic(&rest, &t)) {
        resp_out_failure(o, ERR_SYNTAX);
        return;
    }
    stream_out_map(o, 8);
    out_number(o, "length", t.count);
    out_id(o, "last-generated-id", t.last);
    out_id(o, "max-deleted-entry-id", t.deleted);
    out_number(o, "entries-added", t.added);
    out_id(o, "recorded-first-entry-id", t.first);
    out_number(o, "groups", t.groups);
    out_end_message(o, "first-entry", &rest);
    out_end_message(o, "last-entry", &rest);
}

static void out_groups(struct resp_out *o, struct bytes rest, uint32_t count)
{
    struct queue_group_shown g;
    stream_out_head(o, '*', count);
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

static void out_consumers(struct resp_out *o, struct bytes rest, uint32_t count)
{
    struct queue_consumer_shown s;
    const uint64_t now_ms = worker_wall_us() / 1000;
    stream_out_head(o, '*', count);
    while (queue_read_consumer(&rest, &s)) {
        stream_out_map(o, 3);
        out_name(o, "name");
        resp_out_text(o, s.name);
        out_number(o, "pending", s.pending);
        out_number(o, "idle", now_ms > s.seen_ms ? now_ms - s.seen_ms : 0);
    }
}

/* STREAM key | GROUPS key | CONSUMERS key group */
void resp_do_xinfo(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    (void)d;
    struct queue_op op = { .room = STREAM_ROOM_BYTES };
    struct stream_room room = { 0 };
    struct queue_answer a;
    struct bytes rest;
    struct resp_out o;
    if (stream_word(c, 1, BYTES("STREAM")) && c->count == 3) {
        op.what = QUEUE_LOOK_TOPIC;
        op.room = STREAM_ROOM_BYTES_MAX * 2;
    } else if (stream_word(c, 1, BYTES("GROUPS")) && c->count == 3) {
        op.what = QUEUE_GROUPS;
        op.room = QUEUE_GROUPS_MAX * (QUEUE_GROUP_BYTES_MAX + 1);
    } else if (stream_word(c, 1, BYTES("CONSUMERS")) && c->count == 4) {
        op.what = QUEUE_CONSUMERS;
        op.room = QUEUE_CONSUMERS_MAX * (QUEUE_CONSUMER_BYTES_MAX + 1);
        op.group = resp_arg(c, 3);
    } else {
        resp_fail(k->batch,
                  "ERR weir knows XINFO STREAM key, XINFO GROUPS key and XINFO CONSUMERS key group");
        return;
    }
    op.topic = resp_arg(c, 2);
    if (!stream_done(k, &op, &room, &a, &rest))
        return;
    if (a.result == QUEUE_UNKNOWN_TOPIC) {
        resp_fail(k->batch, "ERR no such key");
        return;
    }
    if (a.result == QUEUE_UNKNOWN_GROUP) {
        resp_fail(k->batch, "NOGROUP No such consumer group '%.*s' for key name '%.*s'", BYTES_ARG(op.group),
                  BYTES_ARG(op.topic));
        return;
    }
    stream_out_begin(&o, k);
    if (op.what == QUEUE_LOOK_TOPIC)
        out_stream(&o, rest);
    else if (op.what == QUEUE_GROUPS)
        out_groups(&o, rest, a.count);
    else
        out_consumers(&o, rest, a.count);
    stream_out_end(&o, k);
}

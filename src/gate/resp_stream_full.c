/* XINFO STREAM key FULL: a stream with its messages, its groups, their consumers and what these have. */
#include <stdlib.h>

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

/* So many of n are listed. */
static uint64_t listed(const struct stream_call *g, uint64_t n)
{
    return g->number && n > g->number ? g->number : n;
}

/* What a group has in hand, as the answer lists it. */
struct pending_list {
    const struct queue_pending *at;
    uint64_t count;
};

static struct pending_list read_pending(const struct stream_call *g, const struct queue_group_shown *shown,
                                        struct bytes *rest)
{
    const uint64_t count = shown->pending < QUEUE_COUNT_MAX ? shown->pending : QUEUE_COUNT_MAX;
    struct queue_pending *all = arena_get(g->arena, (count + 1) * sizeof *all), one;
    uint64_t n = 0;
    while (n < count && queue_read_pending(rest, all ? &all[n] : &one))
        n++;
    return (struct pending_list){ all, all ? n : 0 };
}

static void out_pending_of_group(struct resp_out *o, const struct stream_call *g,
                                 const struct queue_group_shown *shown, const struct pending_list *list)
{
    const uint64_t count = listed(g, list->count);
    out_number(o, "pel-count", shown->pending);
    out_name(o, "pending");
    stream_out_head(o, '*', count);
    for (uint64_t i = 0; i < count; i++) {
        const struct queue_pending *p = &list->at[i];
        stream_out_head(o, '*', 4);
        stream_out_id(o, p->id);
        resp_out_text(o, p->consumer);
        stream_out_int(o, p->delivered_ms);
        stream_out_int(o, p->attempts);
    }
}

static void out_consumer(struct resp_out *o, const struct stream_call *g,
                         const struct queue_consumer_shown *c, const struct pending_list *list)
{
    uint64_t mine = 0;
    for (uint64_t i = 0; i < list->count; i++)
        mine += bytes_eq(list->at[i].consumer, c->name);
    stream_out_map(o, 4);
    out_name(o, "name");
    resp_out_text(o, c->name);
    out_number(o, "seen-time", c->seen_ms);
    out_number(o, "pel-count", c->pending);
    out_name(o, "pending");
    uint64_t left = listed(g, mine);
    stream_out_head(o, '*', left);
    for (uint64_t i = 0; left && i < list->count; i++) {
        const struct queue_pending *p = &list->at[i];
        if (!bytes_eq(p->consumer, c->name))
            continue;
        stream_out_head(o, '*', 3);
        stream_out_id(o, p->id);
        stream_out_int(o, p->delivered_ms);
        stream_out_int(o, p->attempts);
        left--;
    }
}

static void out_group(struct resp_out *o, const struct stream_call *g, const struct queue_group_shown *shown,
                      struct bytes *rest)
{
    const struct pending_list list = read_pending(g, shown, rest);
    struct queue_consumer_shown c;
    stream_out_map(o, 6);
    out_name(o, "name");
    resp_out_text(o, shown->name);
    out_name(o, "last-delivered-id");
    stream_out_id(o, shown->last);
    out_number(o, "lag", shown->lag);
    out_pending_of_group(o, g, shown, &list);
    out_name(o, "consumers");
    stream_out_head(o, '*', shown->consumers);
    for (uint64_t i = 0; i < shown->consumers && queue_read_consumer(rest, &c); i++)
        out_consumer(o, g, &c, &list);
}

void stream_out_whole(struct resp_out *o, const struct stream_call *g)
{
    struct queue_topic_shown t;
    struct queue_group_shown shown;
    struct queue_message m;
    struct bytes rest = g->rest;
    if (!queue_read_topic(&rest, &t)) {
        resp_out_failure(o, ERR_SYNTAX);
        return;
    }
    const uint64_t count = listed(g, t.count);
    stream_out_map(o, 7);
    stream_out_topic(o, &t);
    out_name(o, "entries");
    stream_out_head(o, '*', count);
    for (uint64_t i = 0; i < count && queue_read_message(&rest, &m); i++)
        stream_out_message(o, &m);
    out_name(o, "groups");
    stream_out_head(o, '*', t.groups);
    for (uint32_t i = 0; i < t.groups && queue_read_group(&rest, &shown); i++)
        out_group(o, g, &shown, &rest);
}

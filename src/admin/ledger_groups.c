/* Groups of a topic's consumers. */
#include "admin/ledger_topics.h"
#include "base/mem.h"
#include "core/log.h"
#include "gate/topic_args.h"
#include "gate/topic_json.h"
#include "ledger/ledger_conf.h"
#include "ledger/watch.h"

#define AT(type, member) offsetof(struct type, member)
#define IDS_MAX 1000 /* of an ack */
#define WAIT_MS_MAX 60000

/* ---- groups ---- */

static struct queue_op group_op(const struct call *c, enum queue_what what)
{
    return (struct queue_op){ .what = what, .topic = c->args[0], .group = c->args[1] };
}

void topic_group_put(struct call *c)
{
    struct topic_ask q = { .op = group_op(c, QUEUE_GROUP) };
    if (!topic_settings_group(c->body, &q.op)) {
        call_problem(c->x, 400, TOPIC_FROM_WRONG);
        return;
    }
    topic_ask_number(c, &q, NULL);
}

void topic_group_get(struct call *c)
{
    char *room = topic_take_room(c);
    struct topic_ask q = { .op = { .what = QUEUE_GROUPS, .topic = c->args[0] } };
    struct queue_group_shown g;
    if (!room)
        return;
    if (topic_asks(c, &q, room, TOPIC_ROOM_BYTES)) {
        bool found = false;
        while (!found && queue_read_group(&q.rest, &g))
            found = bytes_eq(g.name, c->args[1]);
        if (found) {
            json_begin(c->out, NULL, '{');
            topic_json_group(c->out, &g);
            json_u64(c->out, "now_ms", q.now_ms);
            topic_call_end(c, 200);
        } else {
            topic_answer_result(c, QUEUE_UNKNOWN_GROUP);
        }
    }
    mem_free(room);
}

void topic_group_delete(struct call *c)
{
    struct topic_ask q = { .op = group_op(c, QUEUE_DELETE_GROUP) };
    topic_ask_number(c, &q, "deleted");
}

struct pull_body {
    struct bytes consumer;
    int64_t count;
    uint64_t wait_ms, lease_ms;
};

const struct conf_struct topic_pull_body = {
    .name = "pull",
    .size = sizeof(struct pull_body),
    .fields = (const struct conf_field[]){ { .name = "consumer",
                                             .type = CONF_TEXT,
                                             .offset = AT(pull_body, consumer),
                                             .preset = "http",
                                             .doc = "who gets them" },
                                           { .name = "count",
                                             .type = CONF_INT,
                                             .offset = AT(pull_body, count),
                                             .preset = "1",
                                             .min = 1,
                                             .max = TOPIC_COUNT_MAX,
                                             .doc = "so many at most" },
                                           { .name = "wait",
                                             .type = CONF_MS,
                                             .offset = AT(pull_body, wait_ms),
                                             .preset = "0ms",
                                             .max = WAIT_MS_MAX,
                                             .doc = "until there is one" },
                                           { .name = "lease",
                                             .type = CONF_MS,
                                             .offset = AT(pull_body, lease_ms),
                                             .preset = "0ms",
                                             .max = (double)QUEUE_LEASE_MS_MAX,
                                             .doc = "until they come again; the group's when not said" },
                                           { 0 } },
    .doc = "The next messages of a group: they are to be acked, or come again.",
};

/* Who waits when the next process gets the ledger has waited in vain, and asks that one. */
void topic_pull_post(struct call *c)
{
    const struct pull_body *b = c->body;
    const uint64_t deadline_us = deadline_in_ms(b->wait_ms);
    struct topic_ask q = { .op = group_op(c, QUEUE_PULL) };
    char *room = topic_take_room(c), key[QUEUE_TOPIC_KEY_BYTES_MAX];
    struct waiter w;
    struct watch news;
    bool good;
    if (!room)
        return;
    q.op.consumer = b->consumer;
    q.op.count = (uint64_t)b->count;
    q.op.lease_ms = b->lease_ms;
    waiter_open(&w);
    watch_begin(&news, &w, QUEUE_RULES_ID, queue_topic_key(c->args[0], key), 0);
    do
        good = topic_asks(c, &q, room, TOPIC_ROOM_BYTES);
    while (good && !q.answer.count && waiter_wait(&w, deadline_us) == OK && !ledger_handed_over());
    watch_end(&news);
    waiter_close(&w);
    if (good)
        topic_answer_messages(c, &q);
    mem_free(room);
}

struct ids_body {
    struct conf_list ids; /* struct bytes */
};

#define IDS_FIELD(struct_)                                                                                 \
    {                                                                                                      \
        .name = "ids", .type = CONF_LIST, .item = CONF_TEXT, .offset = AT(struct_, ids), .required = true, \
        .doc = "of the messages"                                                                           \
    }

const struct conf_struct topic_ids_body = {
    .name = "ids",
    .size = sizeof(struct ids_body),
    .fields = (const struct conf_field[]){ IDS_FIELD(ids_body), { 0 } },
};

struct nack_body {
    struct conf_list ids;
    uint64_t delay_ms;
};

#define BACK_OFF CONF_UINT_WORD(0)
static const char *const back_off_words[] = { "back_off", NULL };

const struct conf_struct topic_nack_body = {
    .name = "nack",
    .size = sizeof(struct nack_body),
    .fields = (const struct conf_field[]){ IDS_FIELD(nack_body),
                                           { .name = "delay",
                                             .type = CONF_MS,
                                             .offset = AT(nack_body, delay_ms),
                                             .preset = "back_off",
                                             .words = back_off_words,
                                             .max = (double)QUEUE_BACK_OFF_MS_MAX,
                                             .doc = "until they come again; `back_off`: the group's" },
                                           { 0 } },
};

/* false: it has been answered. */
static bool read_ids(struct call *c, const struct conf_list *list, struct queue_op *op)
{
    const struct bytes *texts = list->items;
    struct queue_id *ids = arena_get(&c->x->arena, (list->count + 1) * sizeof *ids);
    if (!ids || list->count > IDS_MAX) {
        call_problem(c->x, 413, "ids: they are more than %d", IDS_MAX);
        return false;
    }
    for (size_t i = 0; i < list->count; i++) {
        if (queue_id_parse(texts[i], 0, &ids[i]))
            continue;
        call_problem(c->x, 400, "ids: \"%.*s\" is no id", BYTES_ARG(texts[i]));
        return false;
    }
    op->ids = ids;
    op->ids_count = (uint32_t)list->count;
    return true;
}

static void ask_ids(struct call *c, struct topic_ask *q, const char *name)
{
    char *room = topic_take_room(c);
    if (room && topic_asks(c, q, room, TOPIC_ROOM_BYTES)) {
        json_begin(c->out, NULL, '{');
        json_u64(c->out, name, q->answer.number);
        json_u64(c->out, "now_ms", q->now_ms);
        json_text(c->out, "durability", bytes_from(ledger_durability_words[q->durability]));
        topic_call_end(c, 200);
    }
    mem_free(room);
}

void topic_ack_post(struct call *c)
{
    const struct ids_body *b = c->body;
    struct topic_ask q = { .op = group_op(c, QUEUE_ACK) };
    if (read_ids(c, &b->ids, &q.op))
        ask_ids(c, &q, "acked");
}

void topic_nack_post(struct call *c)
{
    const struct nack_body *b = c->body;
    struct topic_ask q = { .op = group_op(c, QUEUE_NACK) };
    q.op.flags = b->delay_ms == BACK_OFF ? QUEUE_BACK_OFF : 0;
    q.op.delay_ms = b->delay_ms == BACK_OFF ? 0 : b->delay_ms;
    if (read_ids(c, &b->ids, &q.op))
        ask_ids(c, &q, "nacked");
}

struct extend_body {
    struct conf_list ids;
    uint64_t lease_ms;
    struct bytes consumer;
};

const struct conf_struct topic_extend_body = {
    .name = "extend",
    .size = sizeof(struct extend_body),
    .fields = (const struct conf_field[]){ IDS_FIELD(extend_body),
                                           { .name = "lease",
                                             .type = CONF_MS,
                                             .offset = AT(extend_body, lease_ms),
                                             .preset = "0ms",
                                             .max = (double)QUEUE_LEASE_MS_MAX,
                                             .doc = "from now on; the group's when not said" },
                                           { .name = "consumer",
                                             .type = CONF_TEXT,
                                             .offset = AT(extend_body, consumer),
                                             .doc = "only those that this one has" },
                                           { 0 } },
    .doc = "Who works on these messages needs longer.",
};

void topic_extend_post(struct call *c)
{
    const struct extend_body *b = c->body;
    struct topic_ask q = { .op = group_op(c, QUEUE_EXTEND) };
    q.op.lease_ms = b->lease_ms;
    q.op.consumer = b->consumer;
    if (read_ids(c, &b->ids, &q.op))
        ask_ids(c, &q, "extended");
}

struct replay_body {
    struct bytes from;
};

const struct conf_struct topic_replay_body = {
    .name = "replay",
    .size = sizeof(struct replay_body),
    .fields =
        (const struct conf_field[]){ { .name = "from",
                                       .type = CONF_TEXT,
                                       .offset = AT(replay_body, from),
                                       .required = true,
                                       .doc = "`begin`, `end`, an id (the next one is behind it), a time in "
                                              "ms since 1970" },
                                     { 0 } },
    .doc = "Where the group goes on from; what it has in hand stays there.",
};

void topic_replay_post(struct call *c)
{
    const struct replay_body *b = c->body;
    struct topic_ask q = { .op = group_op(c, QUEUE_SET_ID) };
    if (!topic_args_from(b->from, &q.op)) {
        call_problem(c->x, 400, TOPIC_FROM_WRONG);
        return;
    }
    log_info("topic", "topic=%.*s group=%.*s goes on from %.*s, by %s", BYTES_ARG(c->args[0]),
             BYTES_ARG(c->args[1]), BYTES_ARG(b->from), c->author);
    topic_ask_number(c, &q, NULL);
}

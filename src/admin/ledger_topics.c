/* Topics, their messages, and what is kept aside. */
#include "admin/ledger_topics.h"

#include "base/mem.h"
#include "core/log.h"
#include "gate/topic_args.h"
#include "gate/topic_json.h"

#define AT(type, member) offsetof(struct type, member)

/* ---- topics ---- */

void topics_get(struct call *c)
{
    char *room = topic_take_room(c);
    struct topic_ask q = { .op = { .what = QUEUE_TOPICS } };
    struct queue_topic_shown t;
    if (!room)
        return;
    if (topic_asks(c, &q, room, TOPIC_ROOM_BYTES)) {
        json_begin(c->out, NULL, '{');
        json_begin(c->out, "topics", '[');
        while (queue_read_topic(&q.rest, &t)) {
            json_begin(c->out, NULL, '{');
            topic_json_topic(c->out, &t);
            json_end(c->out, '}');
        }
        json_end(c->out, ']');
        topic_call_end(c, 200);
    }
    mem_free(room);
}

static void tell_groups(struct call *c, struct bytes rest)
{
    struct queue_group_shown g;
    json_begin(c->out, "consumer_groups", '[');
    while (queue_read_group(&rest, &g)) {
        json_begin(c->out, NULL, '{');
        topic_json_group(c->out, &g);
        json_end(c->out, '}');
    }
    json_end(c->out, ']');
}

void topic_get(struct call *c)
{
    char *room = topic_take_room(c), small[TOPIC_ASK_BYTES];
    struct topic_ask q = { .op = { .what = QUEUE_LOOK_TOPIC, .topic = c->args[0] } };
    struct topic_ask groups = { .op = { .what = QUEUE_GROUPS, .topic = c->args[0] } };
    struct queue_topic_shown t;
    if (!room)
        return;
    if (topic_asks(c, &q, small, sizeof small) && topic_asks(c, &groups, room, TOPIC_ROOM_BYTES) &&
        queue_read_topic(&q.rest, &t)) {
        json_begin(c->out, NULL, '{');
        topic_json_topic(c->out, &t);
        tell_groups(c, groups.rest);
        json_u64(c->out, "now_ms", q.now_ms);
        topic_call_end(c, 200);
    }
    mem_free(room);
}

void topic_put(struct call *c)
{
    struct topic_ask q = { .op = { .topic = c->args[0] } };
    topic_settings_topic(c->body, &q.op);
    log_info("topic", "topic=%.*s set by %s", BYTES_ARG(c->args[0]), c->author);
    topic_ask_number(c, &q, NULL);
}

void topic_delete(struct call *c)
{
    struct topic_ask q = { .op = { .what = QUEUE_DELETE_TOPIC, .topic = c->args[0] } };
    log_info("topic", "topic=%.*s deleted by %s", BYTES_ARG(c->args[0]), c->author);
    topic_ask_number(c, &q, NULL);
}

/* ---- messages ---- */

struct messages_query {
    struct bytes from;
    int64_t count;
};

const struct conf_struct topic_messages_query = {
    .name = "query",
    .size = sizeof(struct messages_query),
    .fields = (const struct conf_field[]){ { .name = "from",
                                             .type = CONF_TEXT,
                                             .offset = AT(messages_query, from),
                                             .preset = "0",
                                             .doc = "the first one's id, or a time in ms since 1970" },
                                           { .name = "count",
                                             .type = CONF_INT,
                                             .offset = AT(messages_query, count),
                                             .preset = "100",
                                             .min = 1,
                                             .max = TOPIC_COUNT_MAX,
                                             .doc = "so many at most" },
                                           { 0 } },
};

void topic_messages_get(struct call *c)
{
    const struct messages_query *page = c->query;
    struct topic_ask q = { .op = { .what = QUEUE_RANGE,
                                   .topic = c->args[0],
                                   .end = QUEUE_ID_LAST,
                                   .count = (uint64_t)page->count } };
    if (!queue_id_parse(page->from, 0, &q.op.id)) {
        call_problem(c->x, 400, "from: \"%.*s\" is no id", BYTES_ARG(page->from));
        return;
    }
    char *room = topic_take_room(c);
    if (room && topic_asks(c, &q, room, TOPIC_ROOM_BYTES))
        topic_answer_messages(c, &q);
    mem_free(room);
}

/* What is published by one request: all of it, in one entry, or nothing. Of the exchange's arena. */
struct publishing {
    unsigned count;
    struct message {
        struct queue_op op;
        char answer[sizeof(struct queue_answer)];
    } * messages;
    struct ledger_op *entry;
};

/* The request's field (draft-ietf-httpapi-idempotency-key-header: a string in quotes, which many leave out):
 * of several messages the n-th has "KEY/n". NULL: good. */
static const char *take_idempotency_key(struct call *c, unsigned n, struct queue_op *op)
{
    const struct http_field *f = http_fields_find(&c->x->request.fields, BYTES("Idempotency-Key"));
    if (!f)
        return NULL;
    struct bytes key = http_field_value(f);
    if (key.len >= 2 && key.ptr[0] == '"' && key.ptr[key.len - 1] == '"')
        key = (struct bytes){ key.ptr + 1, key.len - 2 };
    char *text = arena_get(&c->x->arena, key.len + 16);
    if (!text || key.len > QUEUE_NAME_BYTES_MAX)
        return "Idempotency-Key: it has more than 128 bytes";
    if (key.len)
        memcpy(text, key.ptr, key.len);
    size_t len = key.len;
    if (n) {
        text[len++] = '/';
        len += u64_to_text(n, text + len);
    }
    return topic_publish_word(op, TOPIC_OWN_ID, (struct bytes){ text, len });
}

static bool take_room(struct call *c, struct publishing *p, unsigned count)
{
    p->messages = arena_get_zero(&c->x->arena, count * sizeof *p->messages);
    p->entry = arena_get_zero(&c->x->arena, count * sizeof *p->entry);
    if (!p->messages || !p->entry)
        call_problem(c->x, 503, "out of memory");
    return p->messages && p->entry;
}

/* false: it has been answered. */
static bool read_messages(struct call *c, struct publishing *p)
{
    struct json *j;
    if (json_read(c->text, &c->x->arena, &j) != OK) {
        call_problem(c->x, 400, "the body is no JSON, or too much of it");
        return false;
    }
    const struct json *list = json_member(j, "messages"), *first = list ? list->first : j;
    if (list && (list->kind != JSON_ARRAY || !list->count || list->count > LEDGER_OPS_MAX)) {
        call_problem(c->x, 400, "messages: it is no list of 1 to %d messages", LEDGER_OPS_MAX);
        return false;
    }
    if (!take_room(c, p, list ? (unsigned)list->count : 1))
        return false;
    for (const struct json *at = first; at; at = list ? at->next : NULL) {
        struct queue_op *op = &p->messages[p->count++].op;
        op->topic = c->args[0];
        const char *wrong = topic_json_publish(at, &c->x->arena, op);
        if (!wrong && !op->own_id.len)
            wrong = take_idempotency_key(c, list ? p->count : 0, op);
        if (wrong) {
            call_problem(c->x, 400, "message %u: %s", p->count - 1, wrong);
            return false;
        }
    }
    return true;
}

static size_t packed_bytes(const struct publishing *p)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < p->count; i++)
        bytes += queue_op_bytes(&p->messages[i].op);
    return bytes;
}

static void pack_messages(struct publishing *p, char *at)
{
    for (unsigned i = 0; i < p->count; i++) {
        struct message *m = &p->messages[i];
        const size_t bytes = queue_op_bytes(&m->op);
        queue_write(&m->op, at);
        p->entry[i] = (struct ledger_op){ .rules = QUEUE_RULES_ID,
                                          .body = { at, bytes },
                                          .answer = m->answer,
                                          .answer_size = sizeof m->answer };
        at += bytes;
    }
}

static void tell_published(struct call *c, const struct publishing *p, const struct ledger_call *lc)
{
    struct queue_answer a;
    struct bytes rest;
    json_begin(c->out, NULL, '{');
    json_begin(c->out, "messages", '[');
    for (unsigned i = 0; i < p->count; i++) {
        json_begin(c->out, NULL, '{');
        if (queue_read_answer((struct bytes){ p->messages[i].answer, sizeof a }, &a, &rest)) {
            if (a.number)
                json_u64(c->out, "handle", a.number);
            else
                topic_json_id(c->out, "id", a.id);
            if (a.end.seq)
                json_bool(c->out, "duplicate", true);
        }
        json_end(c->out, '}');
    }
    json_end(c->out, ']');
    json_u64(c->out, "now_ms", lc->ret_time_ms);
    json_text(c->out, "durability", bytes_from(ledger_durability_words[lc->ret_durability]));
    topic_call_end(c, 201);
}

static void publish(struct call *c, struct publishing *p)
{
    const size_t total = packed_bytes(p);
    char *bytes = total <= LEDGER_ENTRY_BYTES_MAX ? mem_get(total) : NULL;
    struct ledger_call lc = { .ops = p->entry, .ops_count = p->count };
    struct queue_answer a;
    struct bytes rest;
    if (!bytes) {
        call_problem(c->x, 413, "that is more than an entry of the ledger takes");
        return;
    }
    pack_messages(p, bytes);
    const err e = ledger_here() ? ledger_submit(ledger_here(), &lc) : ERR_UNAVAILABLE;
    mem_free(bytes);
    if (e)
        topic_answer_failure(c, e);
    else if (!lc.ret_refused)
        tell_published(c, p, &lc);
    else if (queue_read_answer((struct bytes){ p->messages[lc.ret_op].answer, sizeof a }, &a, &rest))
        topic_answer_result(c, (enum queue_result)a.result);
}

void topic_messages_post(struct call *c)
{
    struct publishing p = { 0 };
    if (read_messages(c, &p))
        publish(c, &p);
}

/* ---- messages kept aside ---- */

struct handle_body {
    int64_t handle;
};

const struct conf_struct topic_handle_body = {
    .name = "handle",
    .size = sizeof(struct handle_body),
    .fields = (const struct conf_field[]){ { .name = "handle",
                                             .type = CONF_INT,
                                             .offset = AT(handle_body, handle),
                                             .required = true,
                                             .min = 1,
                                             .max = 9e15,
                                             .doc = "what the publishing answered" },
                                           { 0 } },
};

static void end_kept(struct call *c, enum queue_what what)
{
    const struct handle_body *b = c->body;
    char room[TOPIC_ASK_BYTES];
    struct topic_ask q = { .op = { .what = what, .topic = c->args[0], .number = (uint64_t)b->handle } };
    if (!topic_asks(c, &q, room, sizeof room))
        return;
    json_begin(c->out, NULL, '{');
    if (what == QUEUE_COMMIT)
        topic_json_id(c->out, "id", q.answer.id);
    json_u64(c->out, "now_ms", q.now_ms);
    json_text(c->out, "durability", bytes_from(ledger_durability_words[q.durability]));
    topic_call_end(c, 200);
}

void topic_commit_post(struct call *c)
{
    end_kept(c, QUEUE_COMMIT);
}

void topic_rollback_post(struct call *c)
{
    end_kept(c, QUEUE_ROLL_BACK);
}

void topic_kept_get(struct call *c)
{
    struct topic_ask q = { .op = { .what = QUEUE_LOOK_KEPT, .topic = c->args[0] } };
    struct queue_message m;
    if (!bytes_to_u64(c->args[1], &q.op.number)) {
        call_problem(c->x, 400, "a handle is a number");
        return;
    }
    char *room = topic_take_room(c);
    if (room && topic_asks(c, &q, room, TOPIC_ROOM_BYTES) && queue_read_message(&q.rest, &m)) {
        json_begin(c->out, NULL, '{');
        json_bool(c->out, "half", q.answer.number == 1);
        topic_json_message(c->out, &m);
        topic_call_end(c, 200);
    }
    mem_free(room);
}

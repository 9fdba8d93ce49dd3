/* QUEUE.TOPIC, GROUP, DROP, REPLAY, DEAD, INFO. */
#include "gate/resp_queue.h"
#include "gate/topic_settings.h"

#define DEAD_COUNT 100 /* when it is not said */
#define DEAD_COUNT_MAX 1000
#define DEAD_PARTS_MAX 24 /* that are looked through for them */
#define TOPICS_ROOM_BYTES (4u << 20)

static void out_ok(struct resp_out *o, const struct stream_call *g)
{
    (void)g;
    resp_out_line(o, '+', BYTES("OK"));
}

/* ---- made, set, dropped ---- */

/* The words from `at` on, by the table. NULL: said. */
static void *read_settings(struct resp_client *k, const struct resp_command *c, uint32_t at,
                           const struct conf_struct *s)
{
    struct arena *a = k->batch->arena;
    struct bytes *words = arena_get(a, (c->count + 1) * sizeof *words);
    void *out = arena_get(a, s->size);
    struct diag d = DIAG_NONE;
    if (!words || !out) {
        resp_fail(k->batch, "ERR too much in one go for a connection's memory");
        return NULL;
    }
    for (uint32_t i = at; i < c->count; i++)
        words[i - at] = resp_arg(c, i);
    if (topic_settings_read(s, words, c->count - at, a, out, &d) == OK)
        return out;
    resp_fail(k->batch, "ERR %s", d.text);
    return NULL;
}

/* topic [KEEP time] [KEEP_BYTES n] [ORDER_BY_KEY on] [DUPLICATE_WINDOW time] [CHECK_AFTER time]
 * [DEAD_LETTER topic] */
void resp_do_queue_topic(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    struct stream_call g = { .op.topic = resp_arg(c, 1), .out = out_ok, .own_words = true };
    (void)d;
    const void *settings = read_settings(k, c, 2, &topic_body);
    if (!settings)
        return;
    topic_settings_topic(settings, &g.op);
    stream_do(k, &g);
}

/* topic, group [FROM place] [LEASE time] [ATTEMPTS n] [BACK_OFF time] [BACK_OFF_MAX time] [DEAD_LETTER topic]
 */
void resp_do_queue_group(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    struct stream_call g = { .op = { .topic = resp_arg(c, 1), .group = resp_arg(c, 2) },
                             .out = out_ok,
                             .own_words = true };
    (void)d;
    const void *settings = read_settings(k, c, 3, &topic_group_body);
    if (!settings)
        return;
    if (topic_settings_group(settings, &g.op))
        stream_do(k, &g);
    else
        resp_fail(k->batch, "ERR " TOPIC_FROM_WRONG);
}

static void out_dropped(struct resp_out *o, const struct stream_call *g)
{
    stream_out_int(o, g->op.what == QUEUE_DELETE_TOPIC ? 1 : g->a.number);
}

/* topic [group] */
void resp_do_queue_drop(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    struct stream_call g = { .op = { .what = QUEUE_DELETE_TOPIC, .topic = resp_arg(c, 1) },
                             .out = out_dropped,
                             .own_words = true };
    if (c->count > 3) {
        resp_fail_arity(k, d);
        return;
    }
    if (c->count == 3) {
        g.op.what = QUEUE_DELETE_GROUP;
        g.op.group = resp_arg(c, 2);
    }
    stream_do(k, &g);
}

/* topic, group, place */
void resp_do_queue_replay(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    struct stream_call g = { .op = { .what = QUEUE_SET_ID, .topic = resp_arg(c, 1), .group = resp_arg(c, 2) },
                             .out = out_ok,
                             .own_words = true };
    (void)d;
    if (topic_args_from(resp_arg(c, 3), &g.op))
        stream_do(k, &g);
    else
        resp_fail(k->batch, "ERR " TOPIC_FROM_WRONG);
}

/* ---- told ---- */

/* Asks; false: said why it is not DONE. */
static bool is_done(struct resp_client *k, struct stream_call *g)
{
    struct resp_out o;
    if (!stream_ask(k, &g->op, &g->room, &g->a, &g->rest))
        return false;
    if (g->a.result == QUEUE_DONE)
        return true;
    stream_out_begin(&o, k);
    stream_out_word(&o, g->a.result);
    stream_out_end(&o, k);
    return false;
}

#define ONE(name, value) +1

static void out_topic(struct resp_out *o, const struct queue_topic_shown *t, unsigned more)
{
    stream_out_map(o, 4 + more TOPIC_NUMBER_LIST(ONE));
    queue_out_text(o, "topic", t->name);
#define X(name, value) queue_out_number(o, name, value);
    TOPIC_NUMBER_LIST(X)
#undef X
    resp_out_text(o, BYTES("first_id"));
    stream_out_id(o, t->first);
    resp_out_text(o, BYTES("last_id"));
    stream_out_id(o, t->last);
    queue_out_text(o, "dead_letter", t->dead_letter);
}

static void out_group(struct resp_out *o, const struct queue_group_shown *g)
{
    stream_out_map(o, 3 TOPIC_GROUP_NUMBER_LIST(ONE));
    queue_out_text(o, "group", g->name);
#define X(name, value) queue_out_number(o, name, value);
    TOPIC_GROUP_NUMBER_LIST(X)
#undef X
    resp_out_text(o, BYTES("last_id"));
    stream_out_id(o, g->last);
    queue_out_text(o, "dead_letter", g->dead_letter);
}

static void out_topics(struct resp_out *o, const struct stream_call *g)
{
    struct queue_topic_shown t;
    struct bytes rest = g->rest;
    stream_out_head(o, '*', g->a.count);
    while (!o->failed && queue_read_topic(&rest, &t))
        out_topic(o, &t, 0);
}

static struct stream_call groups_of(struct bytes topic)
{
    return (struct stream_call){
        .op = { .what = QUEUE_GROUPS, .topic = topic, .room = QUEUE_GROUPS_MAX * (QUEUE_GROUP_BYTES_MAX + 1) }
    };
}

static bool find_group(const struct stream_call *groups, struct bytes name,
                       struct queue_group_shown *ret_group)
{
    struct bytes rest = groups->rest;
    while (queue_read_group(&rest, ret_group)) {
        if (bytes_eq(ret_group->name, name))
            return true;
    }
    return false;
}

static void info_group(struct resp_client *k, const struct resp_command *c)
{
    struct stream_call groups = groups_of(resp_arg(c, 1));
    struct queue_group_shown shown;
    struct resp_out o;
    if (!is_done(k, &groups))
        return;
    stream_out_begin(&o, k);
    if (find_group(&groups, resp_arg(c, 2), &shown))
        out_group(&o, &shown);
    else
        stream_out_word(&o, QUEUE_UNKNOWN_GROUP);
    stream_out_end(&o, k);
}

static void info_topic(struct resp_client *k, const struct resp_command *c)
{
    struct stream_call g = { .op = { .what = QUEUE_LOOK_TOPIC, .topic = resp_arg(c, 1) } };
    struct stream_call groups = groups_of(resp_arg(c, 1));
    struct queue_topic_shown t;
    struct queue_group_shown shown;
    struct resp_out o;
    if (!is_done(k, &g) || !is_done(k, &groups) || !queue_read_topic(&g.rest, &t))
        return;
    stream_out_begin(&o, k);
    out_topic(&o, &t, 1);
    resp_out_text(&o, BYTES("consumer_groups"));
    stream_out_head(&o, '*', groups.a.count);
    while (!o.failed && queue_read_group(&groups.rest, &shown))
        out_group(&o, &shown);
    stream_out_end(&o, k);
}

/* [topic [group]]; without: of all topics */
void resp_do_queue_info(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    struct stream_call topics = { .op = { .what = QUEUE_TOPICS, .room = TOPICS_ROOM_BYTES },
                                  .room.size_max = TOPICS_ROOM_BYTES,
                                  .out = out_topics,
                                  .own_words = true };
    if (c->count > 3)
        resp_fail_arity(k, d);
    else if (c->count == 3)
        info_group(k, c);
    else if (c->count == 2)
        info_topic(k, c);
    else
        stream_do(k, &topics);
}

/* ---- dead letters ---- */

struct dead {
    struct bytes topic, group, letters; /* group empty: of any; letters: the topic that has them */
    struct queue_id from;
    uint64_t count_max, count;
    struct queue_message *messages;
};

static bool read_dead(struct resp_client *k, const struct resp_command *c, struct dead *x)
{
    *x = (struct dead){ .topic = resp_arg(c, 1), .count_max = DEAD_COUNT };
    for (uint32_t i = 2; i < c->count; i += 2) {
        const struct bytes value = i + 1 < c->count ? resp_arg(c, i + 1) : BYTES_NONE;
        bool good = true;
        if (stream_word(c, i, BYTES("GROUP")))
            x->group = value;
        else if (stream_word(c, i, BYTES("FROM")))
            good = queue_id_parse(value, 0, &x->from);
        else if (stream_word(c, i, BYTES("COUNT")))
            good = bytes_to_u64(value, &x->count_max) && x->count_max > 0 && x->count_max <= DEAD_COUNT_MAX;
        else
            good = false;
        if (good && i + 1 < c->count)
            continue;
        resp_fail(k->batch, "ERR it is QUEUE.DEAD topic [GROUP group] [FROM id] [COUNT 1 to %d]",
                  DEAD_COUNT_MAX);
        return false;
    }
    x->messages = arena_get(k->batch->arena, x->count_max * sizeof *x->messages);
    if (!x->messages)
        resp_fail(k->batch, "ERR too much in one go for a connection's memory");
    return x->messages != NULL;
}

/* The group's own, or the topic's. */
static bool find_letters(struct resp_client *k, struct dead *x)
{
    struct stream_call g = { .op = { .what = QUEUE_LOOK_TOPIC, .topic = x->topic } };
    struct stream_call groups = groups_of(x->topic);
    struct queue_topic_shown t;
    struct queue_group_shown shown = { 0 };
    struct resp_out o;
    if (!is_done(k, &g) || (x->group.len && !is_done(k, &groups)) || !queue_read_topic(&g.rest, &t))
        return false;
    const bool has_group = !x->group.len || find_group(&groups, x->group, &shown);
    x->letters = shown.dead_letter.len ? shown.dead_letter : t.dead_letter;
    if (has_group && x->letters.len)
        return true;
    stream_out_begin(&o, k);
    if (has_group)
        resp_out_line(&o, '-', BYTES("NO_DEAD_LETTER what is given up there is dropped"));
    else
        stream_out_word(&o, QUEUE_UNKNOWN_GROUP);
    stream_out_end(&o, k);
    return false;
}

/* Of two fields with a name the one behind: what the queue has added. */
static bool is_of(const struct dead *x, const struct queue_message *m)
{
    struct bytes rest = m->fields, topic = BYTES_NONE, group = BYTES_NONE;
    struct queue_field f;
    while (queue_read_field(&rest, &f)) {
        if (bytes_eq(f.name, QUEUE_DEAD_TOPIC))
            topic = f.value;
        else if (bytes_eq(f.name, QUEUE_DEAD_GROUP))
            group = f.value;
    }
    return bytes_eq(topic, x->topic) && (!x->group.len || bytes_eq(group, x->group));
}

/* false: said. */
static bool gather(struct resp_client *k, struct dead *x)
{
    bool more = true;
    for (unsigned parts = 0; more && x->count < x->count_max && parts < DEAD_PARTS_MAX; parts++) {
        struct stream_call g = { .op = { .what = QUEUE_RANGE,
                                         .topic = x->letters,
                                         .id = x->from,
                                         .end = QUEUE_ID_LAST,
                                         .count = DEAD_COUNT_MAX,
                                         .room = STREAM_ROOM_BYTES } };
        struct queue_message m;
        if (!is_done(k, &g))
            return false;
        more = g.a.number;
        while (x->count < x->count_max && queue_read_message(&g.rest, &m)) {
            x->from = m.id;
            if (!stream_step(&x->from, false))
                return true;
            if (is_of(x, &m))
                x->messages[x->count++] = m;
        }
    }
    return true;
}

/* topic [GROUP group] [FROM id] [COUNT n] */
void resp_do_queue_dead(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    struct dead x;
    struct resp_out o;
    (void)d;
    if (!read_dead(k, c, &x) || !find_letters(k, &x) || !gather(k, &x))
        return;
    stream_out_begin(&o, k);
    stream_out_head(&o, '*', x.count);
    for (uint64_t i = 0; !o.failed && i < x.count; i++)
        queue_out_message(&o, &x.messages[i]);
    stream_out_end(&o, k);
}

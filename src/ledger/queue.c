#include "ledger/queue.h"

#include "base/hash.h"
#include "base/must.h"
#include "ledger/queue_internal.h"

#define QUEUE_RULES_VERSION 2 /* 1: a topic's look has no duplicate_ms, a range's answer no number */

/* What an operation needs to be there, and does. */
enum need { NEED_NOTHING, NEED_TOPIC, NEED_GROUP };

static err set_topic(struct queue_run *q);

static err delete_topic(struct queue_run *q)
{
    queue_remove_topic(q);
    return queue_answer(q, q->topic_record ? QUEUE_DONE : QUEUE_FULL);
}

static err delete_group(struct queue_run *q)
{
    struct record *r = queue_find_group(q->a, q->topic->number, q->op.group);
    if (r)
        queue_remove_group(q->a, q->topic, r);
    q->answer.number = r != NULL;
    return queue_answer(q, QUEUE_DONE);
}

static err commit(struct queue_run *q)
{
    return queue_end_half(q, true);
}

static err roll_back(struct queue_run *q)
{
    return queue_end_half(q, false);
}

static const struct {
    err (*run)(struct queue_run *q);
    enum need need;
    bool looks; /* changes nothing, or says so itself */
} operations[QUEUE_WHATS] = {
    [QUEUE_TOPIC] = { set_topic, NEED_NOTHING, false },
    [QUEUE_DELETE_TOPIC] = { delete_topic, NEED_TOPIC, false },
    [QUEUE_PUBLISH] = { queue_publish, NEED_TOPIC, false },
    [QUEUE_COMMIT] = { commit, NEED_TOPIC, false },
    [QUEUE_ROLL_BACK] = { roll_back, NEED_TOPIC, false },
    [QUEUE_TRIM] = { queue_trim, NEED_TOPIC, false },
    [QUEUE_DELETE] = { queue_delete, NEED_TOPIC, false },
    [QUEUE_RANGE] = { queue_range, NEED_TOPIC, true },
    [QUEUE_TOPICS] = { queue_look_topics, NEED_NOTHING, true },
    [QUEUE_LOOK_TOPIC] = { queue_look_topic, NEED_TOPIC, true },
    [QUEUE_LOOK_KEPT] = { queue_look_kept, NEED_TOPIC, true },
    [QUEUE_GROUPS] = { queue_look_groups, NEED_TOPIC, true },
    [QUEUE_GROUP] = { queue_set_group, NEED_TOPIC, false },
    [QUEUE_DELETE_GROUP] = { delete_group, NEED_TOPIC, false },
    [QUEUE_SET_ID] = { queue_set_id, NEED_GROUP, false },
    [QUEUE_PULL] = { queue_pull, NEED_GROUP, true },
    [QUEUE_HISTORY] = { queue_history, NEED_GROUP, true },
    [QUEUE_ACK] = { queue_ack, NEED_GROUP, false },
    [QUEUE_NACK] = { queue_nack, NEED_GROUP, false },
    [QUEUE_CLAIM] = { queue_claim, NEED_GROUP, false },
    [QUEUE_AUTO_CLAIM] = { queue_auto_claim, NEED_GROUP, false },
    [QUEUE_PENDING] = { queue_pending, NEED_GROUP, true },
    [QUEUE_PENDING_SUM] = { queue_pending_sum, NEED_GROUP, true },
    [QUEUE_CONSUMER] = { queue_consumer, NEED_GROUP, false },
    [QUEUE_DELETE_CONSUMER] = { queue_delete_consumer, NEED_GROUP, false },
    [QUEUE_CONSUMERS] = { queue_look_consumers, NEED_GROUP, true },
    [QUEUE_EXTEND] = { queue_extend, NEED_GROUP, false },
    [QUEUE_LOOK_WHOLE] = { queue_look_whole, NEED_TOPIC, true },
};

/* ---- topics ---- */

static err set_topic(struct queue_run *q)
{
    const struct queue_op *op = &q->op;
    if (!queue_name_is_good(op->topic))
        return queue_answer(q, QUEUE_MALFORMED);
    struct record *r = queue_find_topic(q->a, op->topic);
    if (r && op->flags & QUEUE_IF_NEW)
        return queue_answer(q, QUEUE_EXISTS);
    if (!r)
        r = queue_make_topic(q->a, op->topic);
    if (!r)
        return queue_answer(q, QUEUE_FULL);
    record_write(q->a->records, r);
    struct queue_topic *t = record_value(r);
    t->keep_ms = op->keep_ms;
    t->keep_bytes = op->keep_bytes;
    t->keep_count = op->keep_count;
    t->check_ms = op->check_ms;
    t->checks_max = (uint32_t)op->attempts;
    t->duplicate_ms = (uint32_t)op->duplicate_ms;
    t->is_ordered = (op->flags & QUEUE_IS_ORDERED) != 0;
    queue_name_set(&t->dead_letter, op->other);
    /* what is over by the new settings goes at once */
    record_set_due(q->a->records, r, t->keep_ms || t->keep_bytes || t->keep_count ? q->a->now_ms + 1 : 0);
    q->answer.number = t->number;
    return queue_answer(q, QUEUE_DONE);
}

/* ---- what an operation needs ---- */

static enum queue_result find_topic(struct queue_run *q, bool looks)
{
    if (!queue_name_is_good(q->op.topic))
        return QUEUE_MALFORMED;
    q->topic_record = queue_find_topic(q->a, q->op.topic);
    const bool may_make = q->op.what == QUEUE_PUBLISH || q->op.what == QUEUE_GROUP;
    if (!q->topic_record && may_make && q->op.flags & QUEUE_MAKE) {
        q->topic_record = queue_make_topic(q->a, q->op.topic);
        if (!q->topic_record)
            return QUEUE_FULL;
    }
    if (!q->topic_record)
        return QUEUE_UNKNOWN_TOPIC;
    if (!looks)
        record_write(q->a->records, q->topic_record);
    q->topic = record_value(q->topic_record);
    return QUEUE_DONE;
}

static enum queue_result find_group(struct queue_run *q, bool looks)
{
    if (!queue_name_is_good(q->op.group))
        return QUEUE_MALFORMED;
    q->group_record = queue_find_group(q->a, q->topic->number, q->op.group);
    if (!q->group_record)
        return QUEUE_UNKNOWN_GROUP;
    if (!looks)
        record_write(q->a->records, q->group_record);
    q->group = record_value(q->group_record);
    return QUEUE_DONE;
}

/* What is malformed is refused before anything is made. */
static err apply(struct queue_run *q, struct bytes op)
{
    q->answer_from = q->a->answer_bytes;
    if (!queue_unpack(op, q) || q->op.what >= QUEUE_WHATS ||
        (q->op.what == QUEUE_GROUP && !queue_name_is_good(q->op.group)))
        return queue_answer(q, QUEUE_MALFORMED);
    const bool looks = operations[q->op.what].looks;
    const enum need need = operations[q->op.what].need;
    enum queue_result result = need >= NEED_TOPIC ? find_topic(q, looks) : QUEUE_DONE;
    if (result == QUEUE_DONE && need == NEED_GROUP)
        result = find_group(q, looks);
    return result == QUEUE_DONE ? operations[q->op.what].run(q) : queue_answer(q, result);
}

static err queue_apply(struct ledger_apply *a, struct bytes op)
{
    struct queue_run q = { .a = a };
    return apply(&q, op);
}

static void queue_due(struct ledger_apply *a, struct record *r)
{
    switch (r->data[0]) {
    case 'p':
        queue_entry_due(a, r);
        break;
    case 'k':
        queue_kept_due(a, r);
        break;
    case 'd':
        queue_known_due(a, r);
        break;
    case 'g':
        queue_group_due(a, r);
        break;
    default:
        queue_topic_due(a, r);
        break;
    }
}

static bool queue_shown(const struct record *r, uint64_t *ret_value)
{
    if (r->data[0] != 't')
        return false;
    *ret_value = ((const struct queue_topic *)record_value(r))->wakes;
    return true;
}

/* ---- for other rules ---- */

bool queue_has_topics(struct ledger_apply *a)
{
    const struct record *sums = queue_find(a, BYTES("s"));
    return sums && ((const struct queue_sums *)record_value(sums))->topics;
}

bool queue_is_topic(struct ledger_apply *a, struct bytes name)
{
    return queue_has_topics(a) && queue_name_is_good(name) && queue_find_topic(a, name);
}

err queue_drop_topic(struct ledger_apply *a, struct bytes name)
{
    const struct queue_op op = { .what = QUEUE_DELETE_TOPIC, .topic = name };
    struct ledger_apply own = *a;
    char bytes[1024];
    must(queue_op_bytes(&op) <= sizeof bytes);
    queue_write(&op, bytes);
    own.answer_size = own.answer_bytes = 0;
    return queue_apply(&own, (struct bytes){ bytes, queue_op_bytes(&op) });
}

err queue_apply_among(struct ledger_apply *a, struct bytes op, bool *ret_done)
{
    struct queue_run q = { .a = a, .among = true };
    const err e = apply(&q, op);
    *ret_done = q.answer.result == QUEUE_DONE;
    return e;
}

uint64_t queue_version(struct ledger_apply *a, struct bytes name)
{
    const struct record *r = queue_is_topic(a, name) ? queue_find_topic(a, name) : NULL;
    if (!r)
        return 0;
    const struct queue_topic *t = record_value(r);
    const uint64_t places = hash_u64(t->next) + hash_u64(hash_u64(t->first) + t->count);
    return hash_u64(places + t->number) | 1;
}

const struct ledger_rules queue_rules = {
    .name = "queue",
    .id = QUEUE_RULES_ID,
    .version = QUEUE_RULES_VERSION,
    .apply = queue_apply,
    .due = queue_due,
    .shown = queue_shown,
    .check = queue_check,
};

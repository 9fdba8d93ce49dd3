/* What is told of topics, groups, consumers and messages. The writer's thread. */
#include "ledger/queue_internal.h"

static const err result_errs[] = {
#define X(id, word, e, meaning) e,
    QUEUE_RESULT_LIST(X)
#undef X
};

#define MESSAGE_HEAD_BYTES (16 + 8 + 4 + 1 + 1 + 1 + 4 + 4)

err queue_answer(struct queue_run *q, enum queue_result result)
{
    q->answer.result = result;
    if (result != QUEUE_DONE)
        q->answer.count = 0;
    ledger_answer(q->a, &q->answer, sizeof q->answer);
    return q->among && result != QUEUE_FULL && result != QUEUE_TOO_SMALL ? OK : result_errs[result];
}

bool queue_fits(const struct queue_run *q, size_t bytes)
{
    return q->a->answer_bytes - q->answer_from + bytes + sizeof q->answer <= q->op.room;
}

static void add_u8(struct queue_run *q, uint8_t value)
{
    ledger_answer(q->a, &value, sizeof value);
}

static void add_u32(struct queue_run *q, uint32_t value)
{
    ledger_answer(q->a, &value, sizeof value);
}

static void add_u64(struct queue_run *q, uint64_t value)
{
    ledger_answer(q->a, &value, sizeof value);
}

static void add_text(struct queue_run *q, struct bytes text)
{
    add_u8(q, (uint8_t)text.len);
    ledger_answer(q->a, text.ptr, text.len);
}

static void add_id(struct queue_run *q, struct queue_id id)
{
    add_u64(q, id.ms);
    add_u64(q, id.seq);
}

/* ---- messages ---- */

static void add_message(struct queue_run *q, struct queue_id id, const struct queue_stored *s,
                        struct bytes fields, uint32_t attempts, bool is_gone)
{
    add_id(q, id);
    add_u64(q, s ? s->published_ms : 0);
    add_u32(q, attempts);
    add_u8(q, s ? s->priority : 0);
    add_u8(q, is_gone);
    add_text(q, s ? queue_stored_key(s) : BYTES_NONE);
    add_u32(q, s ? s->fields_count : 0);
    add_u32(q, (uint32_t)fields.len);
    ledger_answer(q->a, fields.ptr, fields.len);
    q->answer.count++;
}

bool queue_answer_stored(struct queue_run *q, struct queue_id id, const struct queue_stored *s,
                         struct bytes fields, uint32_t attempts)
{
    if (!queue_fits(q, MESSAGE_HEAD_BYTES + s->key_len + fields.len))
        return false;
    add_message(q, id, s, fields, attempts, false);
    return true;
}

bool queue_answer_message(struct queue_run *q, struct queue_id id, const struct record *m, uint32_t attempts,
                          bool is_gone)
{
    if (m) {
        const struct queue_stored *s = queue_stored(m);
        const char *fields = (const char *)(s + 1) + s->key_len, *end = (const char *)s + m->value_bytes;
        return queue_answer_stored(q, id, s, (struct bytes){ fields, (size_t)(end - fields) }, attempts);
    }
    if (!queue_fits(q, MESSAGE_HEAD_BYTES))
        return false;
    add_message(q, id, NULL, BYTES_NONE, attempts, is_gone);
    return true;
}

void queue_answer_pending(struct queue_run *q, const struct queue_entry *e)
{
    const struct record *c = queue_find_numbered(q->a, 'c', e->consumer);
    add_id(q, e->id);
    add_u64(q, e->delivered_ms);
    add_u64(q, e->attempts);
    add_text(q, c ? queue_name_bytes(&((const struct queue_consumer *)record_value(c))->name) : BYTES_NONE);
    q->answer.count++;
}

void queue_answer_consumer(struct queue_run *q, const struct queue_consumer *c)
{
    add_text(q, queue_name_bytes(&c->name));
    add_u64(q, c->pending);
    add_u64(q, c->seen_ms);
    add_u64(q, c->active_ms);
    q->answer.count++;
}

/* ---- topics ---- */

static struct queue_id first_id(struct queue_run *q, const struct queue_topic *t)
{
    for (uint64_t i = t->first; i < t->next && i - t->first < QUEUE_SKIPS_MAX; i++) {
        const struct record *m = queue_message_at(q->a, t, i);
        if (m)
            return queue_stored(m)->id;
    }
    return QUEUE_ID_FIRST;
}

static void add_topic(struct queue_run *q, const struct record *topic)
{
    const struct queue_topic *t = record_value(topic);
    add_text(q, queue_topic_name(topic));
    add_text(q, queue_name_bytes(&t->dead_letter));
    add_u64(q, t->number);
    add_u64(q, t->count);
    add_u64(q, t->bytes);
    add_u64(q, t->added);
    add_u64(q, t->kept);
    add_id(q, first_id(q, t));
    add_id(q, t->last);
    add_id(q, t->deleted);
    add_u64(q, t->keep_ms);
    add_u64(q, t->keep_bytes);
    add_u64(q, t->keep_count);
    add_u64(q, t->check_ms);
    if (q->a->version >= 2)
        add_u64(q, t->duplicate_ms ? t->duplicate_ms : QUEUE_DUPLICATE_WINDOW_MS);
    add_u32(q, t->groups);
    add_u8(q, t->is_ordered != 0);
    q->answer.count++;
}

err queue_look_topics(struct queue_run *q)
{
    const uint64_t count_max = q->op.count ? q->op.count : QUEUE_COUNT_MAX;
    const struct record *sums = queue_find(q->a, BYTES("s"));
    uint64_t number = q->op.number;
    if (!number && sums)
        number = ((const struct queue_sums *)record_value(sums))->first_topic;
    while (number && number <= UINT32_MAX && q->answer.count < count_max) {
        const struct record *topic = queue_topic_of_number(q->a, (uint32_t)number);
        if (!topic || !queue_fits(q, QUEUE_TOPIC_BYTES_MAX))
            break;
        add_topic(q, topic);
        number = ((const struct queue_topic *)record_value(topic))->after;
    }
    q->answer.number = number;
    return queue_answer(q, QUEUE_DONE);
}

static const struct record *end_message(struct queue_run *q, const struct queue_topic *t, bool last)
{
    for (uint64_t i = 0; i < t->next - t->first && i < QUEUE_SKIPS_MAX; i++) {
        const struct record *m = queue_message_at(q->a, t, last ? t->next - 1 - i : t->first + i);
        if (m)
            return m;
    }
    return NULL;
}

err queue_look_topic(struct queue_run *q)
{
    const struct queue_topic *t = q->topic;
    add_topic(q, q->topic_record);
    for (unsigned last = 0; last < 2; last++) {
        const struct record *m = end_message(q, t, last);
        if (m && !queue_answer_message(q, queue_stored(m)->id, m, 0, false))
            break;
    }
    return queue_answer(q, QUEUE_DONE);
}

/* ---- groups and consumers ---- */

static uint64_t lag_of(struct queue_run *q, const struct queue_group *g)
{
    const struct queue_topic *t = q->topic;
    const uint64_t next = g->next[0] > t->first ? g->next[0] : t->first;
    uint64_t lag = t->next - next;
    for (unsigned p = 1; p < QUEUE_PRIORITIES; p++) {
        const uint64_t lane = g->next[p] > t->lane_first[p] ? g->next[p] : t->lane_first[p];
        if (t->lane_next[p] == t->lane_first[p])
            continue;
        lag -= t->lane_next[p] - queue_lane_of(q->a, t, p, next);
        lag += t->lane_next[p] - lane;
    }
    return lag;
}

static void add_group(struct queue_run *q, const struct queue_group *g)
{
    add_text(q, queue_name_bytes(&g->name));
    add_text(q, queue_name_bytes(&g->dead_letter));
    add_u64(q, g->consumers);
    add_u64(q, g->counts[QUEUE_IS_PENDING]);
    add_u64(q, g->counts[QUEUE_IS_WAITING]);
    add_u64(q, g->counts[QUEUE_IS_READY]);
    add_u64(q, g->counts[QUEUE_IS_RETRY]);
    add_u64(q, lag_of(q, g));
    add_u64(q, g->delivered);
    add_u64(q, g->acked);
    add_u64(q, g->redelivered);
    add_u64(q, g->dead);
    add_u64(q, g->dropped);
    add_id(q, g->last);
    add_u64(q, g->lease_ms);
    add_u64(q, g->attempts);
    add_u64(q, g->back_off_ms);
    add_u64(q, g->back_off_ms_max);
    q->answer.count++;
}

err queue_look_groups(struct queue_run *q)
{
    for (uint32_t number = q->topic->first_group; number && queue_fits(q, QUEUE_GROUP_BYTES_MAX);) {
        const struct queue_group *g = record_value(queue_find_numbered(q->a, 'g', number));
        add_group(q, g);
        number = g->after;
    }
    return queue_answer(q, QUEUE_DONE);
}

err queue_look_consumers(struct queue_run *q)
{
    for (uint32_t number = q->group->first_consumer; number && queue_fits(q, QUEUE_CONSUMER_BYTES_MAX);) {
        const struct queue_consumer *c = record_value(queue_find_numbered(q->a, 'c', number));
        queue_answer_consumer(q, c);
        number = c->after;
    }
    return queue_answer(q, QUEUE_DONE);
}

/* ---- all of a topic at once ---- */

/* Each of them: false: there is no room for all. */
static bool add_messages(struct queue_run *q)
{
    const struct queue_topic *t = q->topic;
    const uint64_t count_max = q->op.count ? q->op.count : t->count;
    uint64_t count = 0;
    for (uint64_t i = t->first; i < t->next && count < count_max; i++) {
        const struct record *m = queue_message_at(q->a, t, i);
        if (m && !queue_answer_message(q, queue_stored(m)->id, m, 0, false))
            return false;
        count += m != NULL;
    }
    return true;
}

static bool add_pending(struct queue_run *q, struct queue_group *g)
{
    struct queue_hand h = { q->a, q->topic_record, q->topic, g, 0 };
    uint64_t position = queue_set_next(q->a, g->number, 0);
    for (unsigned count = 0; position != QUEUE_NO_POSITION && count < QUEUE_COUNT_MAX;
         position = queue_set_next(q->a, g->number, position + 1)) {
        const struct queue_entry *e = record_value(queue_entry_at(&h, position));
        if (e->state != QUEUE_IS_PENDING)
            continue;
        if (!queue_fits(q, QUEUE_PENDING_BYTES_MAX))
            return false;
        queue_answer_pending(q, e);
        count++;
    }
    return true;
}

static bool add_consumers(struct queue_run *q, const struct queue_group *g)
{
    for (uint32_t number = g->first_consumer; number;) {
        const struct queue_consumer *c = record_value(queue_find_numbered(q->a, 'c', number));
        if (!queue_fits(q, QUEUE_CONSUMER_BYTES_MAX))
            return false;
        queue_answer_consumer(q, c);
        number = c->after;
    }
    return true;
}

err queue_look_whole(struct queue_run *q)
{
    bool fits = queue_fits(q, QUEUE_TOPIC_BYTES_MAX);
    if (fits)
        add_topic(q, q->topic_record);
    fits = fits && add_messages(q);
    for (uint32_t number = q->topic->first_group; fits && number;) {
        struct queue_group *g = record_value(queue_find_numbered(q->a, 'g', number));
        fits = queue_fits(q, QUEUE_GROUP_BYTES_MAX);
        if (fits)
            add_group(q, g);
        fits = fits && add_pending(q, g) && add_consumers(q, g);
        number = g->after;
    }
    return queue_answer(q, fits ? QUEUE_DONE : QUEUE_TOO_SMALL);
}

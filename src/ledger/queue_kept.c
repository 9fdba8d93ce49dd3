/* Messages kept aside: delayed ones until their time, half ones until their publisher says what becomes of
 * them. A half whose publisher is silent is asked for: a copy goes to the topic NAME.check, again and again,
 * but not while the last one still waits for an answer there; in the end it is rolled back. The writer's
 * thread. */
#include "ledger/queue_internal.h"

#define MORE_BYTES_MAX 512

static struct record *find_kept(struct queue_run *q)
{
    return queue_find_at(q->a, 'k', q->topic->number, 0, q->op.number);
}

static bool is_open(const struct queue_kept *k)
{
    return k->state == QUEUE_DELAYED || k->state == QUEUE_HALF;
}

static const struct queue_stored *stored_of(const struct record *r)
{
    return (const struct queue_stored *)((const struct queue_kept *)record_value(r) + 1);
}

static struct queue_new new_of(const struct record *r)
{
    const struct queue_stored *s = stored_of(r);
    const char *fields = (const char *)(s + 1) + s->key_len;
    const char *end = (const char *)record_value(r) + r->value_bytes;
    return (struct queue_new){ .key = queue_stored_key(s),
                               .fields = { fields, (size_t)(end - fields) },
                               .fields_count = s->fields_count,
                               .priority = s->priority };
}

enum queue_result queue_keep(struct queue_run *q, enum queue_kept_state state)
{
    const struct queue_op *op = &q->op;
    struct queue_topic *t = q->topic;
    const bool half = state == QUEUE_HALF;
    if (half && (op->delay_ms || op->topic.len + QUEUE_CHECK_SUFFIX.len > QUEUE_NAME_BYTES_MAX))
        return QUEUE_MALFORMED;
    const size_t bytes = op->key.len + q->fields.len;
    struct record *r = queue_make_at(q->a, 'k', t->number, 0, t->kept_next,
                                     sizeof(struct queue_kept) + sizeof(struct queue_stored) + bytes);
    if (!r)
        return QUEUE_FULL;
    struct queue_kept *k = record_value(r);
    struct queue_stored *s = (struct queue_stored *)(k + 1);
    k->state = state;
    *s = (struct queue_stored){ .published_ms = q->a->now_ms,
                                .fields_count = op->fields_count,
                                .priority = (uint8_t)op->priority,
                                .key_len = (uint8_t)op->key.len };
    struct pack p = { .at = (char *)(s + 1), .end = (char *)(s + 1) + bytes };
    pack_raw(&p, op->key);
    pack_raw(&p, q->fields);
    const uint64_t wait_ms = half ? t->check_ms ? t->check_ms : QUEUE_CHECK_MS : op->delay_ms;
    record_set_due(q->a->records, r, q->a->now_ms + wait_ms);
    q->answer.number = t->kept_next++;
    t->kept++;
    return QUEUE_DONE;
}

/* It has become something else: what it was is known for a while. */
static bool end(struct ledger_apply *a, struct queue_topic *t, struct record *r, enum queue_kept_state state,
                struct queue_id id)
{
    r = record_resize(a->records, r, sizeof(struct queue_kept));
    if (!r)
        return false;
    *(struct queue_kept *)record_value(r) = (struct queue_kept){ .state = state, .id = id };
    record_set_due(a->records, r, a->now_ms + QUEUE_HALF_KNOWN_MS);
    t->kept--;
    return true;
}

/* Those at the front that are no longer there. */
static void pass_gone(struct ledger_apply *a, struct queue_topic *t)
{
    for (unsigned i = 0; i < 4 && t->kept_first < t->kept_next; i++) {
        if (queue_find_at(a, 'k', t->number, 0, t->kept_first))
            return;
        t->kept_first++;
    }
}

static bool append(struct ledger_apply *a, struct record *topic, const struct record *r,
                   struct queue_id *ret_id)
{
    const struct queue_topic *t = record_value(topic);
    struct queue_new m = new_of(r);
    m.id = *ret_id = queue_next_id(a, t);
    if (t->is_ordered)
        m.priority = 0; /* it was made so since */
    return queue_append(a, topic, &m);
}

err queue_end_half(struct queue_run *q, bool commit)
{
    struct record *r = find_kept(q);
    if (!r)
        return queue_answer(q, QUEUE_UNKNOWN_HANDLE);
    const struct queue_kept *k = record_value(r);
    const enum queue_kept_state wanted = commit ? QUEUE_COMMITTED : QUEUE_ROLLED_BACK;
    if (!is_open(k)) {
        q->answer.id = k->id;
        return queue_answer(q, k->state == (uint32_t)wanted ? QUEUE_DONE : QUEUE_ENDED);
    }
    if (commit && !append(q->a, q->topic_record, r, &q->answer.id))
        return queue_answer(q, QUEUE_FULL);
    return queue_answer(q, end(q->a, q->topic, r, wanted, q->answer.id) ? QUEUE_DONE : QUEUE_FULL);
}

err queue_look_kept(struct queue_run *q)
{
    struct record *r = find_kept(q);
    if (!r || !is_open(record_value(r)))
        return queue_answer(q, QUEUE_UNKNOWN_HANDLE);
    const struct queue_new m = new_of(r);
    const struct queue_id none = { 0 };
    if (!queue_answer_stored(q, none, stored_of(r), m.fields, 0))
        return queue_answer(q, QUEUE_TOO_SMALL);
    q->answer.number = ((const struct queue_kept *)record_value(r))->state == QUEUE_HALF;
    return queue_answer(q, QUEUE_DONE);
}

/* ---- due ---- */

/* NAME.check, made when there is none. NULL: there is no room for it. */
static struct record *check_topic(struct ledger_apply *a, struct bytes name)
{
    char at[QUEUE_NAME_BYTES_MAX];
    const struct bytes check = { at, name.len + QUEUE_CHECK_SUFFIX.len };
    must(check.len <= sizeof at);
    memcpy(at, name.ptr, name.len);
    memcpy(at + name.len, QUEUE_CHECK_SUFFIX.ptr, QUEUE_CHECK_SUFFIX.len);
    struct record *topic = queue_find_topic(a, check);
    if (topic)
        return topic;
    topic = queue_make_topic(a, check);
    if (topic)
        ((struct queue_topic *)record_value(topic))->keep_ms = QUEUE_CHECK_KEEP_MS;
    return topic;
}

/* Has this group not had it, or has it in hand without an end? */
static bool waits_in(struct ledger_apply *a, const struct queue_topic *t, struct record *group,
                     uint64_t position)
{
    struct queue_hand h = { .a = a, .group = record_value(group) };
    return t->next > position && (h.group->next[0] <= position || queue_entry_at(&h, position));
}

/* The last check of a half: does it wait for an answer in each group that there is? */
static bool check_waits(struct ledger_apply *a, const struct queue_topic *t, struct queue_id id)
{
    const uint64_t position = queue_position_of(a, t, id);
    const struct record *m = queue_message_at(a, t, position);
    uint32_t number = t->first_group;
    if (!id.ms || !m || queue_id_compare(queue_stored(m)->id, id) != 0)
        return false;
    for (unsigned i = 0; number && i < t->groups; i++) {
        struct record *group = queue_find_numbered(a, 'g', number);
        if (!group || !waits_in(a, t, group, position))
            return false;
        number = ((const struct queue_group *)record_value(group))->after;
    }
    return t->groups > 0;
}

/* r is announced. */
static void ask_publisher(struct ledger_apply *a, struct bytes name, struct record *r)
{
    char more[MORE_BYTES_MAX], number[20];
    struct pack p = { .at = more, .end = more + sizeof more };
    struct queue_kept *k = record_value(r);
    struct record *topic = check_topic(a, name);
    if (!topic || check_waits(a, record_value(topic), k->id))
        return;
    record_write(a->records, topic);
    struct queue_new m = new_of(r);
    const size_t len = u64_to_text(queue_key_position(r), number);
    queue_pack_field(&p, QUEUE_CHECK_TOPIC, name);
    queue_pack_field(&p, QUEUE_CHECK_HANDLE, (struct bytes){ number, len });
    m.more = (struct bytes){ more, (size_t)(p.at - more) };
    m.fields_count += 2;
    m.priority = 0;
    m.id = k->id = queue_next_id(a, record_value(topic));
    must(queue_append(a, topic, &m));
}

static void half_due(struct ledger_apply *a, struct record *topic, struct record *r)
{
    struct queue_topic *t = record_value(topic);
    struct queue_kept *k = record_value(r);
    const struct queue_id none = { 0 };
    const uint64_t wait_ms = t->check_ms ? t->check_ms : QUEUE_CHECK_MS;
    if (k->checks >= (t->checks_max ? t->checks_max : QUEUE_CHECKS_MAX)) {
        must(end(a, t, r, QUEUE_ROLLED_BACK, none));
        return;
    }
    record_write(a->records, r);
    k->checks++;
    record_set_due(a->records, r, a->now_ms + wait_ms);
    ask_publisher(a, queue_topic_name(topic), r);
}

void queue_kept_due(struct ledger_apply *a, struct record *r)
{
    const struct queue_kept *k = record_value(r);
    struct record *topic = queue_topic_of_number(a, queue_key_owner(r));
    struct queue_id id;
    if (!topic) {
        record_set_due(a->records, r, 0); /* it is being swept */
        return;
    }
    record_write(a->records, topic);
    struct queue_topic *t = record_value(topic);
    if (k->state == QUEUE_HALF) {
        half_due(a, topic, r);
        return;
    }
    if (k->state == QUEUE_DELAYED) {
        must(append(a, topic, r, &id));
        t->kept--;
    }
    record_remove(a->records, r);
    pass_gone(a, t);
}

/* true: there are none left. */
bool queue_sweep_kept(struct ledger_apply *a, struct queue_topic *t, unsigned *steps)
{
    for (; *steps > 0 && t->kept_first < t->kept_next; --*steps) {
        struct record *r = queue_find_at(a, 'k', t->number, 0, t->kept_first++);
        if (r)
            record_remove(a->records, r);
    }
    return t->kept_first == t->kept_next;
}

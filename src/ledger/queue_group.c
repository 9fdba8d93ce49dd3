/* Groups: made, moved, pulled from, acknowledged. The writer's thread. */
#include "ledger/queue_internal.h"

/* ---- where a group stands ---- */

static void stand_at(struct queue_run *q, struct queue_group *g, uint64_t position)
{
    g->next[0] = position;
    for (unsigned p = 1; p < QUEUE_PRIORITIES; p++)
        g->next[p] = queue_lane_of(q->a, q->topic, p, position);
}

static void set_position(struct queue_run *q, struct queue_group *g)
{
    const struct queue_topic *t = q->topic;
    struct queue_id id = q->op.id;
    if (q->op.flags & QUEUE_FROM_END) {
        g->last = t->last;
        stand_at(q, g, t->next);
        return;
    }
    if (q->op.flags & QUEUE_BY_TIME) {
        id = (struct queue_id){ id.ms, 0 };
        g->last = id.ms ? (struct queue_id){ id.ms - 1, UINT64_MAX } : QUEUE_ID_FIRST;
    } else {
        g->last = id;
        id = queue_id_behind(id);
    }
    stand_at(q, g, queue_position_of(q->a, t, id));
}

err queue_set_id(struct queue_run *q)
{
    set_position(q, q->group);
    q->topic->wakes++;
    return queue_answer(q, QUEUE_DONE);
}

err queue_set_group(struct queue_run *q)
{
    const struct queue_op *op = &q->op;
    struct record *r = queue_find_group(q->a, q->topic->number, op->group);
    if (r && op->flags & QUEUE_IF_NEW)
        return queue_answer(q, QUEUE_EXISTS);
    const bool is_new = !r;
    if (is_new)
        r = queue_make_group(q, op->group);
    if (!r)
        return queue_answer(q, QUEUE_FULL);
    record_write(q->a->records, r);
    struct queue_group *g = record_value(r);
    if (is_new)
        set_position(q, g);
    g->lease_ms = op->lease_ms;
    g->attempts = (uint32_t)op->attempts;
    g->back_off_ms = op->back_off_ms;
    g->back_off_ms_max = op->back_off_ms_max;
    queue_name_set(&g->dead_letter, op->other);
    return queue_answer(q, QUEUE_DONE);
}

/* ---- consumers ---- */

struct queue_consumer *queue_run_consumer(struct queue_run *q)
{
    struct record *r = queue_find_consumer(q->a, q->group->number, q->op.consumer);
    if (!r)
        r = queue_make_consumer(q->a, q->group, q->op.consumer);
    if (!r)
        return NULL;
    record_write(q->a->records, r);
    struct queue_consumer *c = record_value(r);
    c->seen_ms = q->a->now_ms;
    return c;
}

err queue_consumer(struct queue_run *q)
{
    const uint32_t before = q->group->consumers;
    if (!queue_name_is_good(q->op.consumer))
        return queue_answer(q, QUEUE_MALFORMED);
    if (!queue_run_consumer(q))
        return queue_answer(q, QUEUE_FULL);
    q->answer.number = q->group->consumers - before;
    return queue_answer(q, QUEUE_DONE);
}

/* What it had: done when the group knows no lease (as with Redis), else to be had by others. */
err queue_delete_consumer(struct queue_run *q)
{
    struct queue_hand h = queue_hand(q);
    struct record *r = queue_find_consumer(q->a, q->group->number, q->op.consumer);
    if (!r)
        return queue_answer(q, QUEUE_DONE);
    const struct queue_consumer *c = record_value(r);
    q->answer.number = c->pending;
    uint64_t position = 0;
    while (c->pending > 0 &&
           (position = queue_set_next(q->a, q->group->number, position)) != QUEUE_NO_POSITION) {
        struct record *entry = queue_entry_at(&h, position++);
        const struct queue_entry *e = record_value(entry);
        if (e->state != QUEUE_IS_PENDING || e->consumer != c->number)
            continue;
        if (!q->group->lease_ms)
            queue_entry_finish(&h, entry);
        else if (!queue_entry_fail(&h, entry, 0))
            return queue_answer(q, QUEUE_FULL);
    }
    queue_remove_consumer(q->a, q->group, r);
    return queue_answer(q, QUEUE_DONE);
}

/* ---- pull ---- */

struct pull {
    struct queue_run *q;
    struct queue_hand hand;
    struct queue_consumer *consumer;
    uint64_t lease_ms, count_max;
    unsigned skips;
};

/* The next position that nobody had, of a priority; it is passed over. NO_POSITION: there is none. */
static uint64_t next_new(struct pull *p, unsigned priority)
{
    struct queue_group *g = p->hand.group;
    const struct queue_topic *t = p->hand.topic;
    if (priority == 0) {
        g->next[0] = g->next[0] > t->first ? g->next[0] : t->first;
        return g->next[0] < t->next ? g->next[0]++ : QUEUE_NO_POSITION;
    }
    if (g->next[priority] < t->lane_first[priority])
        g->next[priority] = t->lane_first[priority];
    if (g->next[priority] == t->lane_next[priority])
        return QUEUE_NO_POSITION;
    const struct record *lane =
        queue_find_at(p->q->a, 'l', t->number, (uint8_t)priority, g->next[priority]++);
    must(lane);
    return *(const uint64_t *)record_value(lane);
}

static void put_back(struct pull *p, unsigned priority)
{
    p->hand.group->next[priority]--;
}

enum pulled { PULLED_ONE, PULLED_NONE, PULLED_NO_ROOM, PULLED_FULL };

static enum pulled deliver(struct pull *p, struct record *entry, const struct record *m, bool again)
{
    struct queue_group *g = p->hand.group;
    struct queue_entry *e = record_value(entry);
    struct queue_run *q = p->q;
    if (!queue_answer_message(q, e->id, m, e->attempts + 1, false))
        return PULLED_NO_ROOM;
    queue_entry_deliver(&p->hand, entry, p->consumer, p->lease_ms);
    g->redelivered += e->attempts > 0;
    e->attempts++;
    g->delivered++;
    if (!again && queue_id_compare(e->id, g->last) > 0)
        g->last = e->id;
    if (q->op.flags & QUEUE_NO_ACK) {
        g->acked++;
        queue_entry_finish(&p->hand, entry);
    }
    return PULLED_ONE;
}

/* Of NO_ACK: one that is pending stays that, and its consumer's. */
static enum pulled show(struct pull *p, const struct queue_entry *e, const struct record *m)
{
    struct queue_group *g = p->hand.group;
    if (!queue_answer_message(p->q, e->id, m, e->attempts + 1, false))
        return PULLED_NO_ROOM;
    g->delivered++;
    g->redelivered++;
    if (queue_id_compare(e->id, g->last) > 0)
        g->last = e->id;
    return PULLED_ONE;
}

/* One that was in hand already, and is ready. */
static enum pulled pull_ready(struct pull *p, uint64_t position)
{
    struct record *entry = queue_entry_at(&p->hand, position);
    const struct record *m = queue_message_at(p->q->a, p->hand.topic, position);
    if (m)
        return deliver(p, entry, m, true);
    p->hand.group->dropped++;
    queue_entry_finish(&p->hand, entry);
    return PULLED_NONE;
}

/* One that the group has not had; or it has, before it was set back. */
static enum pulled pull_new(struct pull *p, uint64_t position, unsigned priority)
{
    struct queue_group *g = p->hand.group;
    const struct record *m = queue_message_at(p->q->a, p->hand.topic, position);
    struct record *entry = position < g->end ? queue_entry_at(&p->hand, position) : NULL;
    if (!m || queue_stored(m)->priority != priority)
        return PULLED_NONE;
    if (entry) {
        const struct queue_entry *e = record_value(entry);
        if (g->lease_ms || e->state != QUEUE_IS_PENDING)
            return PULLED_NONE;
        return p->q->op.flags & QUEUE_NO_ACK ? show(p, e, m) : deliver(p, entry, m, false);
    }
    if (g->counts[QUEUE_IS_WAITING] >= QUEUE_WAITING_MAX)
        return PULLED_NO_ROOM;
    if (!queue_fits(p->q, m->value_bytes + QUEUE_MESSAGE_HEAD_BYTES_MAX))
        return PULLED_NO_ROOM;
    if (!queue_entry_make(&p->hand, position, queue_stored(m), &entry))
        return PULLED_FULL;
    return entry ? deliver(p, entry, m, false) : PULLED_NONE;
}

static uint64_t in_hand(const struct queue_group *g)
{
    uint64_t all = 0;
    for (unsigned i = 0; i < QUEUE_STATES; i++)
        all += g->counts[i];
    return all;
}

/* The best that there is: the highest priority, and of that what was had already before what is new. */
static enum pulled pull_one(struct pull *p, bool *ret_any)
{
    struct queue_group *g = p->hand.group;
    *ret_any = true;
    for (unsigned priority = QUEUE_PRIORITIES; priority-- > 0;) {
        uint64_t position = queue_ready_first(g, priority);
        if (position != QUEUE_NO_POSITION)
            return pull_ready(p, position);
        if (in_hand(g) >= QUEUE_IN_HAND_MAX)
            continue;
        position = next_new(p, priority);
        if (position == QUEUE_NO_POSITION)
            continue;
        const enum pulled pulled = pull_new(p, position, priority);
        if (pulled == PULLED_NO_ROOM)
            put_back(p, priority);
        return pulled;
    }
    *ret_any = false;
    return PULLED_NONE;
}

/* Nothing is announced yet: a pull that can find nothing is not worth an entry in the log. */
static bool has_any(const struct queue_run *q)
{
    const struct queue_group *g = q->group;
    const struct queue_topic *t = q->topic;
    bool any = g->next[0] < t->next && t->first < t->next;
    for (unsigned p = 0; p < QUEUE_PRIORITIES; p++)
        any |= g->ready[p].first || (p > 0 && g->next[p] < t->lane_next[p]);
    return any || !queue_find_consumer(q->a, g->number, q->op.consumer);
}

err queue_pull(struct queue_run *q)
{
    struct queue_group *g = q->group;
    if (!queue_name_is_good(q->op.consumer))
        return queue_answer(q, QUEUE_MALFORMED);
    if (!has_any(q))
        return queue_answer(q, QUEUE_DONE);
    record_write(q->a->records, q->topic_record);
    record_write(q->a->records, q->group_record);
    struct pull p = { .q = q,
                      .hand = queue_hand(q),
                      .consumer = queue_run_consumer(q),
                      .lease_ms = q->op.lease_ms ? q->op.lease_ms : g->lease_ms,
                      .count_max = q->op.count ? q->op.count : QUEUE_COUNT_MAX };
    if (!p.consumer)
        return queue_answer(q, QUEUE_FULL);
    enum pulled pulled = PULLED_NONE;
    bool any = true;
    for (; any && q->answer.count < p.count_max && p.skips < QUEUE_SKIPS_MAX; p.skips++) {
        pulled = pull_one(&p, &any);
        if (pulled == PULLED_FULL)
            return queue_answer(q, QUEUE_FULL);
        if (pulled == PULLED_NO_ROOM)
            break;
    }
    if (pulled == PULLED_NO_ROOM && !q->answer.count && g->counts[QUEUE_IS_WAITING] < QUEUE_WAITING_MAX)
        return queue_answer(q, QUEUE_TOO_SMALL);
    if (q->answer.count)
        p.consumer->active_ms = q->a->now_ms;
    return queue_answer(q, QUEUE_DONE);
}

/* ---- ack, nack ---- */

err queue_ack(struct queue_run *q)
{
    struct queue_hand h = queue_hand(q);
    for (uint32_t i = 0; i < q->op.ids_count; i++) {
        struct record *entry = queue_entry_of(&h, queue_run_id(q, i));
        if (!entry)
            continue;
        q->group->acked++;
        q->answer.number++;
        queue_entry_finish(&h, entry);
    }
    return queue_answer(q, QUEUE_DONE);
}

/* Only what is in somebody's hands has a lease. */
err queue_extend(struct queue_run *q)
{
    struct queue_hand h = queue_hand(q);
    const uint64_t lease_ms = q->op.lease_ms ? q->op.lease_ms : q->group->lease_ms;
    const struct record *r =
        q->op.consumer.len ? queue_find_consumer(q->a, q->group->number, q->op.consumer) : NULL;
    const uint32_t owner = r ? ((const struct queue_consumer *)record_value(r))->number : 0;
    for (uint32_t i = 0; i < q->op.ids_count && (owner || !q->op.consumer.len); i++) {
        struct record *entry = queue_entry_of(&h, queue_run_id(q, i));
        const struct queue_entry *e = entry ? record_value(entry) : NULL;
        if (!e || e->state != QUEUE_IS_PENDING || (owner && e->consumer != owner))
            continue;
        record_write(q->a->records, entry);
        record_set_due(q->a->records, entry, lease_ms ? q->a->now_ms + lease_ms : 0);
        q->answer.number++;
    }
    return queue_answer(q, QUEUE_DONE);
}

err queue_nack(struct queue_run *q)
{
    struct queue_hand h = queue_hand(q);
    const uint64_t delay_ms = q->op.flags & QUEUE_BACK_OFF ? UINT64_MAX : q->op.delay_ms;
    for (uint32_t i = 0; i < q->op.ids_count; i++) {
        struct record *entry = queue_entry_of(&h, queue_run_id(q, i));
        if (!entry || ((const struct queue_entry *)record_value(entry))->state != QUEUE_IS_PENDING)
            continue;
        q->answer.number++;
        if (q->op.flags & QUEUE_NOT_TRIED)
            queue_entry_untry(&h, entry);
        if (!queue_entry_fail(&h, entry, delay_ms))
            return queue_answer(q, QUEUE_FULL);
    }
    return queue_answer(q, QUEUE_DONE);
}

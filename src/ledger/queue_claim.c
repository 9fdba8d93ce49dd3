/* What is pending: listed, given again to its consumer, claimed by another. The writer's thread. */
#include "ledger/queue_internal.h"

static const struct queue_entry *entry_of(const struct record *r)
{
    return record_value(r);
}

static uint64_t idle_ms(const struct queue_run *q, const struct queue_entry *e)
{
    return q->a->now_ms > e->delivered_ms ? q->a->now_ms - e->delivered_ms : 0;
}

/* Entries from an id on, in order. */
struct walk {
    struct queue_run *q;
    struct queue_hand hand;
    uint64_t position;
    unsigned looks;
};

static struct walk walk_from(struct queue_run *q, struct queue_id id)
{
    struct walk w = { .q = q, .hand = queue_hand(q) };
    w.position = queue_entry_position(&w.hand, id);
    return w;
}

/* The next PENDING one that is not behind the end; NULL: there is none. */
static struct record *walk_next(struct walk *w, struct queue_id end)
{
    while (w->position != QUEUE_NO_POSITION && w->looks++ < QUEUE_SKIPS_MAX) {
        struct record *r = queue_entry_at(&w->hand, w->position);
        if (queue_id_compare(entry_of(r)->id, end) > 0)
            return NULL;
        w->position = queue_set_next(w->q->a, w->hand.group->number, w->position + 1);
        if (entry_of(r)->state == QUEUE_IS_PENDING)
            return r;
    }
    return NULL;
}

/* Where nothing is given again by itself, to ask for one's own again is a delivery, as with Redis. */
static void deliver_again(struct queue_run *q, struct record *r)
{
    struct queue_entry *e = record_value(r);
    record_write(q->a->records, r);
    e->delivered_ms = q->a->now_ms;
    e->attempts++;
}

err queue_history(struct queue_run *q)
{
    struct record *consumer = queue_find_consumer(q->a, q->group->number, q->op.consumer);
    struct walk w = walk_from(q, queue_id_behind(q->op.id));
    const uint64_t count_max = q->op.count ? q->op.count : QUEUE_COUNT_MAX;
    struct record *r;
    if (!consumer)
        return queue_answer(q, QUEUE_DONE);
    const uint32_t number = ((const struct queue_consumer *)record_value(consumer))->number;
    while (q->answer.count < count_max && (r = walk_next(&w, QUEUE_ID_LAST))) {
        const struct queue_entry *e = entry_of(r);
        if (e->consumer != number)
            continue;
        const struct record *m = queue_message_at(q->a, q->topic, queue_key_position(r));
        const bool again = m && !q->group->lease_ms;
        if (!queue_answer_message(q, e->id, m, e->attempts + again, !m)) {
            if (!q->answer.count)
                return queue_answer(q, QUEUE_TOO_SMALL);
            break;
        }
        if (again)
            deliver_again(q, r);
    }
    return queue_answer(q, QUEUE_DONE);
}

/* ---- claiming ---- */

enum claimed { CLAIMED_ONE, CLAIMED_NONE, CLAIMED_NO_ROOM };

/* r was delivered before, or is new. */
static enum claimed claim(struct walk *w, struct record *r, struct queue_consumer *c)
{
    struct queue_run *q = w->q;
    struct queue_entry *e = record_value(r);
    const struct record *m = queue_message_at(q->a, q->topic, queue_key_position(r));
    const bool just_id = q->op.flags & QUEUE_JUST_ID;
    const uint32_t attempts =
        q->op.flags & QUEUE_SET_COUNT ? (uint32_t)q->op.attempts : e->attempts + (just_id ? 0 : 1);
    if (!queue_answer_message(q, e->id, just_id ? NULL : m, attempts, !m))
        return CLAIMED_NO_ROOM;
    if (!m) {
        q->group->dropped++;
        queue_entry_finish(&w->hand, r);
        return CLAIMED_ONE;
    }
    queue_entry_deliver(&w->hand, r, c, q->group->lease_ms);
    e->attempts = attempts ? attempts : 1;
    if (q->op.flags & QUEUE_SET_TIME)
        e->delivered_ms = q->a->now_ms > q->op.delay_ms ? q->a->now_ms - q->op.delay_ms : 0;
    c->active_ms = q->a->now_ms;
    return CLAIMED_ONE;
}

/* By force: in hand though it never was, whatever its key. NULL: there is no such message; *ret_full. */
static struct record *force(struct walk *w, struct queue_id id, bool *ret_full)
{
    struct queue_run *q = w->q;
    const uint64_t position = queue_position_of(q->a, q->topic, id);
    const struct record *m = queue_message_at(q->a, q->topic, position);
    struct record *r = NULL;
    if (!m || q->topic->is_ordered || queue_id_compare(queue_stored(m)->id, id) != 0 ||
        (position < q->group->end && queue_entry_at(&w->hand, position)))
        return NULL;
    *ret_full = !queue_entry_make(&w->hand, position, queue_stored(m), &r);
    return r;
}

err queue_claim(struct queue_run *q)
{
    struct walk w = { .q = q, .hand = queue_hand(q) };
    if (!queue_name_is_good(q->op.consumer))
        return queue_answer(q, QUEUE_MALFORMED);
    struct queue_consumer *c = queue_run_consumer(q);
    bool full = !c;
    for (uint32_t i = 0; i < q->op.ids_count && !full; i++) {
        const struct queue_id id = queue_run_id(q, i);
        struct record *r = queue_entry_of(&w.hand, id);
        if (r && idle_ms(q, entry_of(r)) < q->op.idle_ms)
            continue;
        if (!r && q->op.flags & QUEUE_FORCE)
            r = force(&w, id, &full);
        if (r && claim(&w, r, c) == CLAIMED_NO_ROOM)
            return queue_answer(q, QUEUE_TOO_SMALL);
    }
    if (full)
        return queue_answer(q, QUEUE_FULL);
    if (q->op.flags & QUEUE_LAST_ID && queue_id_compare(q->op.id, q->group->last) > 0)
        q->group->last = q->op.id;
    return queue_answer(q, QUEUE_DONE);
}

#define LOOKS_A_CLAIM 10 /* as Redis does: entries that are looked at for each that is wanted */

err queue_auto_claim(struct queue_run *q)
{
    if (!queue_name_is_good(q->op.consumer))
        return queue_answer(q, QUEUE_MALFORMED);
    struct queue_consumer *c = queue_run_consumer(q);
    if (!c)
        return queue_answer(q, QUEUE_FULL);
    struct walk w = walk_from(q, q->op.id);
    const uint64_t count_max = q->op.count ? q->op.count : 100;
    struct record *r = walk_next(&w, QUEUE_ID_LAST);
    for (uint64_t looks = 0; r && looks < count_max * LOOKS_A_CLAIM && q->answer.count < count_max; looks++) {
        const bool is_idle = idle_ms(q, entry_of(r)) >= q->op.idle_ms;
        if (is_idle && claim(&w, r, c) == CLAIMED_NO_ROOM) {
            if (!q->answer.count)
                return queue_answer(q, QUEUE_TOO_SMALL);
            break;
        }
        r = walk_next(&w, QUEUE_ID_LAST);
    }
    q->answer.id = r ? entry_of(r)->id : QUEUE_ID_FIRST;
    return queue_answer(q, QUEUE_DONE);
}

/* ---- listing ---- */

err queue_pending(struct queue_run *q)
{
    struct walk w = walk_from(q, q->op.id);
    const uint64_t count_max = q->op.count ? q->op.count : QUEUE_COUNT_MAX;
    uint32_t number = 0;
    struct record *r;
    if (q->op.consumer.len) {
        r = queue_find_consumer(q->a, q->group->number, q->op.consumer);
        if (!r)
            return queue_answer(q, QUEUE_DONE);
        number = ((const struct queue_consumer *)record_value(r))->number;
    }
    while (q->answer.count < count_max && queue_fits(q, QUEUE_PENDING_BYTES_MAX) &&
           (r = walk_next(&w, q->op.end))) {
        const struct queue_entry *e = entry_of(r);
        if ((!number || e->consumer == number) && idle_ms(q, e) >= q->op.idle_ms)
            queue_answer_pending(q, e);
    }
    return queue_answer(q, QUEUE_DONE);
}

err queue_pending_sum(struct queue_run *q)
{
    struct walk w = walk_from(q, QUEUE_ID_FIRST);
    const struct record *first = walk_next(&w, QUEUE_ID_LAST);
    uint64_t position = first ? q->group->end - 1 : QUEUE_NO_POSITION;
    q->answer.number = q->group->counts[QUEUE_IS_PENDING];
    if (first)
        q->answer.id = q->answer.end = entry_of(first)->id;
    for (unsigned looks = 0; position != QUEUE_NO_POSITION && looks < QUEUE_SKIPS_MAX; looks++) {
        position = queue_set_last(q->a, q->group->number, position);
        const struct record *r = queue_entry_at(&w.hand, position);
        if (entry_of(r)->state == QUEUE_IS_PENDING) {
            q->answer.end = entry_of(r)->id;
            break;
        }
        position--;
    }
    for (uint32_t number = q->group->first_consumer; number && queue_fits(q, QUEUE_CONSUMER_BYTES_MAX);) {
        const struct queue_consumer *c = record_value(queue_find_numbered(q->a, 'c', number));
        if (c->pending)
            queue_answer_consumer(q, c);
        number = c->after;
    }
    return queue_answer(q, QUEUE_DONE);
}

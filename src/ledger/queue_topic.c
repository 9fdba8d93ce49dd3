/* Messages of a topic: appended, found by id, dropped when they are too old or too many. The writer's thread.
 */
#include "ledger/queue_internal.h"

static size_t message_bytes(const struct record *r)
{
    return r->value_bytes - sizeof(struct queue_stored);
}

const struct record *queue_message_at(struct ledger_apply *a, const struct queue_topic *t, uint64_t position)
{
    if (position < t->first || position >= t->next)
        return NULL;
    const struct record *r = queue_find_at(a, 'm', t->number, 0, position);
    return r && !queue_stored(r)->is_deleted ? r : NULL;
}

/* ---- finding ---- */

uint64_t queue_position_of(struct ledger_apply *a, const struct queue_topic *t, struct queue_id id)
{
    uint64_t low = t->first, high = t->next;
    if (queue_id_compare(id, t->last) > 0)
        return high;
    while (low < high) {
        const uint64_t mid = low + (high - low) / 2;
        const struct record *r = queue_find_at(a, 'm', t->number, 0, mid);
        must(r);
        if (queue_id_compare(queue_stored(r)->id, id) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

uint64_t queue_lane_of(struct ledger_apply *a, const struct queue_topic *t, unsigned priority,
                       uint64_t position)
{
    uint64_t low = t->lane_first[priority], high = t->lane_next[priority];
    while (low < high) {
        const uint64_t mid = low + (high - low) / 2;
        const struct record *r = queue_find_at(a, 'l', t->number, (uint8_t)priority, mid);
        must(r);
        if (*(const uint64_t *)record_value(r) < position)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* ---- dropping ---- */

void queue_drop_first(struct ledger_apply *a, struct queue_topic *t)
{
    struct record *r = queue_find_at(a, 'm', t->number, 0, t->first);
    must(r && t->first < t->next);
    const struct queue_stored *s = queue_stored(r);
    if (!s->is_deleted) {
        t->count--;
        t->bytes -= message_bytes(r);
    }
    if (s->priority) {
        struct record *lane = queue_find_at(a, 'l', t->number, s->priority, t->lane_first[s->priority]++);
        must(lane && *(const uint64_t *)record_value(lane) == t->first);
        record_remove(a->records, lane);
    }
    record_remove(a->records, r);
    t->first++;
}

static bool is_deleted(struct ledger_apply *a, const struct queue_topic *t, uint64_t position)
{
    const struct record *r = queue_find_at(a, 'm', t->number, 0, position);
    return r && queue_stored(r)->is_deleted;
}

static void drop_tombstones(struct ledger_apply *a, struct queue_topic *t, unsigned most)
{
    for (; most > 0 && t->first < t->next && is_deleted(a, t, t->first); most--)
        queue_drop_first(a, t);
}

static const struct queue_stored *first_stored(struct ledger_apply *a, const struct queue_topic *t)
{
    const struct record *r = queue_find_at(a, 'm', t->number, 0, t->first);
    must(r);
    return queue_stored(r);
}

static bool is_too_much(const struct queue_topic *t)
{
    return t->first < t->next &&
           ((t->keep_bytes && t->bytes > t->keep_bytes) || (t->keep_count && t->count > t->keep_count));
}

static bool is_too_old(struct ledger_apply *a, const struct queue_topic *t)
{
    return t->keep_ms && t->first < t->next && first_stored(a, t)->published_ms + t->keep_ms <= a->now_ms;
}

/* Lets go what is too much or too old, and sets when to look again. */
static void retain(struct ledger_apply *a, struct record *topic)
{
    struct queue_topic *t = record_value(topic);
    uint64_t due_ms = 0;
    for (unsigned i = 0; i < QUEUE_SWEEPS_MAX && (is_too_much(t) || is_too_old(a, t)); i++)
        queue_drop_first(a, t);
    if (is_too_much(t) || is_too_old(a, t))
        due_ms = a->now_ms + 1;
    else if (t->keep_ms && t->first < t->next)
        due_ms = first_stored(a, t)->published_ms + t->keep_ms;
    record_set_due(a->records, topic, due_ms);
}

/* One more is there: the first one, which may have left memory, is not looked at. */
static void retain_appended(struct ledger_apply *a, struct record *topic)
{
    struct queue_topic *t = record_value(topic);
    for (unsigned i = 0; i < QUEUE_DROPS_MAX && is_too_much(t); i++)
        queue_drop_first(a, t);
    if (is_too_much(t))
        record_set_due(a->records, topic, a->now_ms + 1);
    else if (t->keep_ms && !topic->due_ms)
        record_set_due(a->records, topic, a->now_ms + t->keep_ms);
}

void queue_topic_due(struct ledger_apply *a, struct record *topic)
{
    unsigned steps = QUEUE_SWEEPS_MAX;
    record_write(a->records, topic);
    struct queue_topic *t = record_value(topic);
    if (topic->data[0] == 't') {
        retain(a, topic);
        return;
    }
    for (; steps > 0 && t->first < t->next; steps--)
        queue_drop_first(a, t);
    if (t->first == t->next && queue_sweep_kept(a, t, &steps))
        record_remove(a->records, topic);
    else
        record_set_due(a->records, topic, a->now_ms + 1);
}

/* ---- appending ---- */

struct queue_id queue_next_id(const struct ledger_apply *a, const struct queue_topic *t)
{
    const struct queue_id now = { a->now_ms, 0 }, next = queue_id_behind(t->last);
    return queue_id_compare(now, next) > 0 ? now : next;
}

static struct record *make_lane(struct ledger_apply *a, struct queue_topic *t, unsigned priority)
{
    struct record *r =
        queue_make_at(a, 'l', t->number, (uint8_t)priority, t->lane_next[priority], sizeof(uint64_t));
    if (!r)
        return NULL;
    *(uint64_t *)record_value(r) = t->next;
    record_set_finished(a->records, r, true);
    t->lane_next[priority]++;
    return r;
}

bool queue_append(struct ledger_apply *a, struct record *topic, const struct queue_new *m)
{
    struct queue_topic *t = record_value(topic);
    const size_t bytes = m->key.len + m->fields.len + m->more.len;
    must(queue_id_compare(m->id, t->last) > 0);
    struct record *r = queue_make_at(a, 'm', t->number, 0, t->next, sizeof(struct queue_stored) + bytes);
    if (!r || (m->priority && !make_lane(a, t, m->priority)))
        return false;
    struct queue_stored *s = record_value(r);
    *s = (struct queue_stored){ .id = m->id,
                                .published_ms = a->now_ms,
                                .fields_count = m->fields_count,
                                .priority = m->priority,
                                .key_len = (uint8_t)m->key.len };
    struct pack p = { .at = (char *)(s + 1), .end = (char *)(s + 1) + bytes };
    pack_raw(&p, m->key);
    pack_raw(&p, m->fields);
    pack_raw(&p, m->more);
    record_set_finished(a->records, r, true);
    t->next++;
    t->count++;
    t->added++;
    t->wakes++;
    t->bytes += bytes;
    t->last = m->id;
    retain_appended(a, topic);
    return true;
}

/* ---- operations ---- */

static enum queue_result id_of(struct queue_run *q, struct queue_id *ret_id)
{
    const struct queue_topic *t = q->topic;
    *ret_id = queue_next_id(q->a, t);
    if (!(q->op.flags & QUEUE_ID_GIVEN))
        return ret_id->ms == UINT64_MAX && ret_id->seq == UINT64_MAX ? QUEUE_ID_TOO_SMALL : QUEUE_DONE;
    *ret_id = q->op.id;
    if (q->op.flags & QUEUE_ANY_SEQ) {
        ret_id->seq = q->op.id.ms == t->last.ms ? t->last.seq + 1 : q->op.id.ms == 0;
        if (q->op.id.ms == t->last.ms && ret_id->seq == 0)
            return QUEUE_ID_TOO_SMALL;
    }
    return queue_id_compare(*ret_id, t->last) > 0 ? QUEUE_DONE : QUEUE_ID_TOO_SMALL;
}

static enum queue_result publish_now(struct queue_run *q)
{
    const struct queue_op *op = &q->op;
    struct queue_new m = { .key = op->key,
                           .fields = q->fields,
                           .fields_count = op->fields_count,
                           .priority = (uint8_t)op->priority };
    const enum queue_result result = id_of(q, &m.id);
    if (result != QUEUE_DONE)
        return result;
    q->answer.id = m.id;
    return queue_append(q->a, q->topic_record, &m) ? QUEUE_DONE : QUEUE_FULL;
}

err queue_publish(struct queue_run *q)
{
    const struct queue_op *op = &q->op;
    if (queue_known_answer(q))
        return queue_answer(q, QUEUE_DONE);
    enum queue_result result = op->priority && q->topic->is_ordered ? QUEUE_NO_PRIORITY : QUEUE_DONE;
    if (result == QUEUE_DONE)
        result = op->flags & QUEUE_IS_HALF || op->delay_ms
                     ? queue_keep(q, op->flags & QUEUE_IS_HALF ? QUEUE_HALF : QUEUE_DELAYED)
                     : publish_now(q);
    if (result == QUEUE_DONE && !queue_known_add(q))
        result = QUEUE_FULL;
    return queue_answer(q, result);
}

err queue_trim(struct queue_run *q)
{
    struct queue_topic *t = q->topic;
    const bool by_id = q->op.flags & QUEUE_ID_GIVEN;
    uint64_t most = q->op.count ? q->op.count : QUEUE_COUNT_MAX;
    const uint64_t before = t->count;
    for (unsigned looks = 0; looks < QUEUE_SKIPS_MAX && most > before - t->count && t->first < t->next;
         looks++) {
        if (by_id ? queue_id_compare(first_stored(q->a, t)->id, q->op.id) >= 0 : t->count <= q->op.keep_count)
            break;
        queue_drop_first(q->a, t);
    }
    drop_tombstones(q->a, t, QUEUE_DROPS_MAX);
    q->answer.number = before - t->count;
    return queue_answer(q, QUEUE_DONE);
}

static bool delete_one(struct queue_run *q, struct queue_id id)
{
    struct queue_topic *t = q->topic;
    const uint64_t position = queue_position_of(q->a, t, id);
    struct record *r = position < t->next ? queue_find_at(q->a, 'm', t->number, 0, position) : NULL;
    if (!r || queue_stored(r)->is_deleted || queue_id_compare(queue_stored(r)->id, id) != 0)
        return false;
    const size_t bytes = message_bytes(r);
    r = record_resize(q->a->records, r, sizeof(struct queue_stored));
    if (!r)
        return false;
    record_write(q->a->records, r);
    struct queue_stored *s = record_value(r);
    s->is_deleted = true;
    s->key_len = 0;
    s->fields_count = 0;
    t->count--;
    t->bytes -= bytes;
    if (queue_id_compare(id, t->deleted) > 0)
        t->deleted = id;
    return true;
}

err queue_delete(struct queue_run *q)
{
    for (uint32_t i = 0; i < q->op.ids_count; i++)
        q->answer.number += delete_one(q, queue_run_id(q, i));
    drop_tombstones(q->a, q->topic, QUEUE_SWEEPS_MAX);
    return queue_answer(q, QUEUE_DONE);
}

err queue_range(struct queue_run *q)
{
    const struct queue_topic *t = q->topic;
    const bool reverse = q->op.flags & QUEUE_IS_REVERSE;
    const uint64_t count_max = q->op.count ? q->op.count : QUEUE_COUNT_MAX;
    const uint64_t from = queue_position_of(q->a, t, q->op.id);
    bool more = false;
    const bool to_last = queue_id_compare(q->op.end, t->last) >= 0;
    const uint64_t to = to_last ? t->next : queue_position_of(q->a, t, queue_id_behind(q->op.end));
    for (uint64_t i = 0; !more && from < to && i < to - from && i < QUEUE_SKIPS_MAX; i++) {
        const struct record *m = queue_message_at(q->a, t, reverse ? to - 1 - i : from + i);
        if (!m)
            continue;
        more = q->answer.count == count_max || !queue_answer_message(q, queue_stored(m)->id, m, 0, false);
        if (more && !q->answer.count)
            return queue_answer(q, QUEUE_TOO_SMALL);
    }
    q->answer.number = more && q->a->version >= 2;
    return queue_answer(q, QUEUE_DONE);
}

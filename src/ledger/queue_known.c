/* Publishers' own ids: what was published with one is not published again while its topic knows it.
 *
 *      publish, id ─▶ known? ─ yes ─▶ the first one's answer
 *                       └─ no ─▶ published, and known for the topic's window
 *
 * As JetStream does it by Nats-Msg-Id; what the second one says is not looked at. The writer's thread. */
#include "ledger/queue_internal.h"

static struct record *count_of(struct ledger_apply *a, uint32_t topic)
{
    return queue_find_numbered(a, 'D', topic);
}

static bool count_add(struct ledger_apply *a, uint32_t topic)
{
    struct queue_key k;
    struct record *r = count_of(a, topic);
    if (!r)
        r = queue_make(a, queue_key_numbered(&k, 'D', topic), sizeof(uint64_t));
    if (!r || *(uint64_t *)record_value(r) >= QUEUE_KNOWN_MAX)
        return false;
    record_write(a->records, r);
    ++*(uint64_t *)record_value(r);
    return true;
}

static struct record *find(struct queue_run *q, struct bytes *ret_key, struct queue_key *k)
{
    *ret_key = queue_key_of(k, 'd', q->topic->number, q->op.own_id);
    return queue_find(q->a, *ret_key);
}

/* One whose time is over may be there still, when many ended at once. */
bool queue_known_answer(struct queue_run *q)
{
    struct queue_key k;
    struct bytes key;
    if (!q->op.own_id.len)
        return false;
    const struct record *r = find(q, &key, &k);
    if (!r || r->due_ms <= q->a->now_ms)
        return false;
    const struct queue_known *known = record_value(r);
    q->answer.id = known->id;
    q->answer.number = known->handle;
    q->answer.end = (struct queue_id){ 0, 1 };
    return true;
}

bool queue_known_add(struct queue_run *q)
{
    const uint64_t window_ms = q->topic->duplicate_ms ? q->topic->duplicate_ms : QUEUE_DUPLICATE_WINDOW_MS;
    struct queue_key k;
    struct bytes key;
    if (!q->op.own_id.len)
        return true;
    struct record *r = find(q, &key, &k);
    if (r)
        record_write(q->a->records, r);
    else if (count_add(q->a, q->topic->number))
        r = queue_make(q->a, key, sizeof(struct queue_known));
    if (!r)
        return false;
    *(struct queue_known *)record_value(r) =
        (struct queue_known){ .id = q->answer.id, .handle = q->answer.number };
    record_set_due(q->a->records, r, q->a->now_ms + window_ms);
    return true;
}

/* Of a topic that was deleted as well. */
void queue_known_due(struct ledger_apply *a, struct record *known)
{
    struct record *r = count_of(a, queue_key_owner(known));
    must(r && *(uint64_t *)record_value(r) > 0);
    record_write(a->records, r);
    if (--*(uint64_t *)record_value(r) == 0)
        record_remove(a->records, r);
    record_remove(a->records, known);
}

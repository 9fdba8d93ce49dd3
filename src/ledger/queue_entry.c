/* What a group has in hand: entries, their states, and the lines they stand in. The writer's thread.
 *
 *      a key's order: the first of a key is its holder; later ones stand in its line, WAITING; when the
 * holder is done (or dead, or dropped), the next becomes READY and holds the key. */
#include "ledger/queue_internal.h"

#define MORE_BYTES_MAX 1024

static struct queue_entry *entry_of(const struct record *r)
{
    return record_value(r);
}

static struct bytes key_of(const struct queue_entry *e)
{
    return (struct bytes){ (const char *)(e + 1), e->key_len };
}

struct record *queue_entry_at(struct queue_hand *h, uint64_t position)
{
    return queue_find_at(h->a, 'p', h->group->number, 0, position);
}

/* ---- finding by id ---- */

uint64_t queue_entry_position(struct queue_hand *h, struct queue_id id)
{
    const uint32_t group = h->group->number;
    uint64_t low = queue_set_next(h->a, group, 0), high = h->group->end;
    while (low < high) {
        const uint64_t mid = low + (high - low) / 2, at = queue_set_next(h->a, group, mid);
        if (at >= high || queue_id_compare(entry_of(queue_entry_at(h, at))->id, id) >= 0)
            high = mid;
        else
            low = at + 1;
    }
    return queue_set_next(h->a, group, low);
}

/* NULL: it is none of these. */
static struct record *entry_if(struct queue_hand *h, uint64_t position, struct queue_id id)
{
    struct record *r = position == QUEUE_NO_POSITION ? NULL : queue_entry_at(h, position);
    if (!r || queue_id_compare(entry_of(r)->id, id) != 0)
        return NULL;
    h->likely = position + 1;
    return r;
}

/* Most are done in the order in which they were delivered: the next one is looked at first. */
struct record *queue_entry_of(struct queue_hand *h, struct queue_id id)
{
    struct record *r = entry_if(h, queue_set_next(h->a, h->group->number, h->likely), id);
    if (!r)
        r = entry_if(h, queue_entry_position(h, id), id);
    return r && entry_of(r)->attempts ? r : NULL;
}

/* ---- lines ---- */

static void line_add(struct queue_hand *h, struct queue_line *line, struct record *r)
{
    struct queue_entry *e = entry_of(r);
    const uint64_t me = queue_key_position(r) + 1;
    e->before = line->last;
    e->after = 0;
    if (line->last) {
        struct record *last = queue_entry_at(h, line->last - 1);
        record_write(h->a->records, last);
        entry_of(last)->after = me;
    } else {
        line->first = me;
    }
    line->last = me;
}

static void line_remove(struct queue_hand *h, struct queue_line *line, struct record *r)
{
    struct queue_entry *e = entry_of(r);
    if (e->before) {
        struct record *before = queue_entry_at(h, e->before - 1);
        record_write(h->a->records, before);
        entry_of(before)->after = e->after;
    } else {
        line->first = e->after;
    }
    if (e->after) {
        struct record *after = queue_entry_at(h, e->after - 1);
        record_write(h->a->records, after);
        entry_of(after)->before = e->before;
    } else {
        line->last = e->before;
    }
    e->before = e->after = 0;
}

/* ---- states ---- */

static struct queue_consumer *consumer_write(struct queue_hand *h, uint32_t number)
{
    struct record *r = queue_find_numbered(h->a, 'c', number);
    if (!r)
        return NULL;
    record_write(h->a->records, r);
    return record_value(r);
}

/* Out of the state it is in; r is announced. */
static void leave(struct queue_hand *h, struct record *r)
{
    struct queue_entry *e = entry_of(r);
    struct queue_group *g = h->group;
    must(g->counts[e->state] > 0);
    g->counts[e->state]--;
    if (e->state == QUEUE_IS_READY)
        line_remove(h, &g->ready[e->priority], r);
    if (e->state == QUEUE_IS_PENDING) {
        struct queue_consumer *c = consumer_write(h, e->consumer);
        must(c && c->pending > 0);
        c->pending--;
    }
}

static void enter(struct queue_hand *h, struct record *r, enum queue_state state, uint64_t due_ms)
{
    struct queue_entry *e = entry_of(r);
    e->state = (uint8_t)state;
    h->group->counts[state]++;
    record_set_due(h->a->records, r, due_ms);
    if (state != QUEUE_IS_READY)
        return;
    line_add(h, &h->group->ready[e->priority], r);
    record_write(h->a->records, h->topic_record);
    h->topic->wakes++;
}

static struct record *busy_of(struct queue_hand *h, struct bytes key)
{
    struct queue_key k;
    return queue_find(h->a, queue_key_of(&k, 'y', h->group->number, key));
}

/* The key's next one holds it now; or nobody. */
static void pass_key_on(struct queue_hand *h, struct bytes key)
{
    struct record *r = busy_of(h, key);
    must(r);
    record_write(h->a->records, r);
    struct queue_busy *b = record_value(r);
    if (!b->waiting.first) {
        record_remove(h->a->records, r);
        return;
    }
    struct record *next = queue_entry_at(h, b->waiting.first - 1);
    record_write(h->a->records, next);
    b->holder = b->waiting.first;
    line_remove(h, &b->waiting, next);
    h->group->counts[QUEUE_IS_WAITING]--;
    enter(h, next, QUEUE_IS_READY, 0);
}

/* It holds its key, or stands in its line. false: FULL. */
static bool take_key(struct queue_hand *h, struct record *r, struct bytes key)
{
    struct queue_key k;
    struct record *busy = busy_of(h, key);
    if (busy) {
        record_write(h->a->records, busy);
        line_add(h, &((struct queue_busy *)record_value(busy))->waiting, r);
        entry_of(r)->state = QUEUE_IS_WAITING;
        h->group->counts[QUEUE_IS_WAITING]++;
        return true;
    }
    busy = queue_make(h->a, queue_key_of(&k, 'y', h->group->number, key), sizeof(struct queue_busy));
    if (busy)
        ((struct queue_busy *)record_value(busy))->holder = queue_key_position(r) + 1;
    return busy != NULL;
}

bool queue_entry_make(struct queue_hand *h, uint64_t position, const struct queue_stored *m,
                      struct record **ret_entry)
{
    struct queue_group *g = h->group;
    const struct bytes key = h->topic->is_ordered ? queue_stored_key(m) : BYTES_NONE;
    struct record *r = queue_make_at(h->a, 'p', g->number, 0, position, sizeof(struct queue_entry) + key.len);
    *ret_entry = NULL;
    if (!r || !queue_set_add(h->a, g->number, position))
        return false;
    struct queue_entry *e = entry_of(r);
    *e = (struct queue_entry){
        .id = m->id, .priority = m->priority, .key_len = (uint8_t)key.len, .state = QUEUE_STATES
    };
    if (key.len)
        memcpy(e + 1, key.ptr, key.len);
    if (position >= g->end)
        g->end = position + 1;
    if (key.len && !take_key(h, r, key))
        return false;
    if (e->state == QUEUE_STATES)
        *ret_entry = r;
    return true;
}

void queue_entry_deliver(struct queue_hand *h, struct record *r, struct queue_consumer *c, uint64_t lease_ms)
{
    struct queue_entry *e = entry_of(r);
    record_write(h->a->records, r);
    must(e->state != QUEUE_IS_WAITING);
    if (e->state != QUEUE_STATES)
        leave(h, r);
    e->consumer = c->number;
    e->delivered_ms = h->a->now_ms;
    c->pending++;
    enter(h, r, QUEUE_IS_PENDING, lease_ms ? h->a->now_ms + lease_ms : 0);
}

void queue_entry_finish(struct queue_hand *h, struct record *r)
{
    const struct queue_entry *e = entry_of(r);
    const uint64_t position = queue_key_position(r);
    record_write(h->a->records, r);
    must(e->state != QUEUE_IS_WAITING);
    leave(h, r);
    if (e->key_len)
        pass_key_on(h, key_of(e));
    queue_set_remove(h->a, h->group->number, position);
    record_remove(h->a->records, r);
}

/* ---- dead letters ---- */

/* The group's, or the topic's; NULL: none, or it is not there. */
static struct record *dead_topic(struct queue_hand *h)
{
    const struct bytes own = queue_name_bytes(&h->group->dead_letter);
    const struct bytes name = own.len ? own : queue_name_bytes(&h->topic->dead_letter);
    struct record *topic = name.len ? queue_find_topic(h->a, name) : NULL;
    return topic == h->topic_record ? NULL : topic;
}

static struct bytes more_of(struct queue_hand *h, const struct queue_entry *e, char more[MORE_BYTES_MAX])
{
    struct pack p = { .at = more, .end = more + MORE_BYTES_MAX };
    char number[20], id[QUEUE_ID_TEXT_BYTES];
    queue_pack_field(&p, QUEUE_DEAD_TOPIC, queue_topic_name(h->topic_record));
    queue_pack_field(&p, QUEUE_DEAD_GROUP, queue_name_bytes(&h->group->name));
    queue_pack_field(&p, QUEUE_DEAD_ID, (struct bytes){ id, queue_id_text(e->id, id) });
    queue_pack_field(&p, QUEUE_DEAD_ATTEMPTS, (struct bytes){ number, u64_to_text(e->attempts, number) });
    return (struct bytes){ more, (size_t)(p.at - more) };
}

/* false: FULL. */
static bool bury(struct queue_hand *h, struct record *r)
{
    char more[MORE_BYTES_MAX];
    const struct queue_entry *e = entry_of(r);
    struct record *topic = dead_topic(h);
    const struct record *m = queue_message_at(h->a, h->topic, queue_key_position(r));
    if (topic && m) {
        const struct queue_stored *s = queue_stored(m);
        const char *fields = (const char *)(s + 1) + s->key_len, *end = (const char *)s + m->value_bytes;
        record_write(h->a->records, topic);
        const struct queue_new letter = { .id = queue_next_id(h->a, record_value(topic)),
                                          .key = queue_stored_key(s),
                                          .fields = { fields, (size_t)(end - fields) },
                                          .more = more_of(h, e, more),
                                          .fields_count = s->fields_count + 4 };
        if (!queue_append(h->a, topic, &letter))
            return false;
    }
    h->group->dead++;
    queue_entry_finish(h, r);
    return true;
}

static uint64_t back_off_ms(const struct queue_group *g, uint32_t attempts)
{
    const unsigned doublings = attempts > 1 ? (attempts < 40 ? attempts - 1 : 39) : 0;
    const uint64_t ms = g->back_off_ms << doublings;
    return g->back_off_ms_max && ms > g->back_off_ms_max ? g->back_off_ms_max : ms;
}

void queue_entry_untry(struct queue_hand *h, struct record *r)
{
    record_write(h->a->records, r);
    entry_of(r)->attempts--;
}

bool queue_entry_fail(struct queue_hand *h, struct record *r, uint64_t delay_ms)
{
    const struct queue_entry *e = entry_of(r);
    if (h->group->attempts && e->attempts >= h->group->attempts)
        return bury(h, r);
    if (delay_ms == UINT64_MAX)
        delay_ms = back_off_ms(h->group, e->attempts);
    record_write(h->a->records, r);
    leave(h, r);
    enter(h, r, delay_ms ? QUEUE_IS_RETRY : QUEUE_IS_READY, delay_ms ? h->a->now_ms + delay_ms : 0);
    return true;
}

/* ---- due ---- */

void queue_entry_due(struct ledger_apply *a, struct record *r)
{
    struct record *group = queue_find_numbered(a, 'g', queue_key_owner(r));
    must(group);
    record_write(a->records, group);
    struct queue_hand h = { .a = a, .group = record_value(group) };
    if (h.group->is_gone) {
        record_set_due(a->records, r, 0); /* it is being swept */
        return;
    }
    h.topic_record = queue_topic_of_number(a, h.group->topic);
    must(h.topic_record);
    record_write(a->records, h.topic_record);
    h.topic = record_value(h.topic_record);
    if (entry_of(r)->state == QUEUE_IS_PENDING) {
        must(queue_entry_fail(&h, r, UINT64_MAX));
        return;
    }
    record_write(a->records, r);
    leave(&h, r);
    enter(&h, r, QUEUE_IS_READY, 0);
}

/* ---- of a deleted group ---- */

static void sweep_entry(struct queue_hand *h, uint64_t position)
{
    struct record *r = queue_entry_at(h, position), *busy;
    const struct bytes key = key_of(entry_of(r));
    if (key.len && (busy = busy_of(h, key)))
        record_remove(h->a->records, busy);
    record_remove(h->a->records, r);
    queue_set_remove(h->a, h->group->number, position);
}

void queue_group_due(struct ledger_apply *a, struct record *group)
{
    struct queue_hand h = { .a = a, .group = record_value(group) };
    struct queue_group *g = h.group;
    uint64_t position = 0;
    record_write(a->records, group);
    must(g->is_gone);
    unsigned steps = QUEUE_SWEEPS_MAX;
    for (; steps > 0 && (position = queue_set_next(a, g->number, 0)) != QUEUE_NO_POSITION; steps--)
        sweep_entry(&h, position);
    for (; steps > 0 && g->first_consumer; steps--)
        queue_remove_consumer(a, g, queue_find_numbered(a, 'c', g->first_consumer));
    if (steps > 0)
        record_remove(a->records, group);
    else
        record_set_due(a->records, group, a->now_ms + 1);
}

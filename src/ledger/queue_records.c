/* Queue's records: their keys, and the lists that topics, groups and consumers stand in. The writer's thread.
 */
#include "ledger/queue_internal.h"

/* ---- keys ---- */

static void key_add(struct queue_key *k, const void *data, size_t len)
{
    must(k->len + len <= sizeof k->at);
    if (len)
        memcpy(k->at + k->len, data, len);
    k->len += len;
}

static struct bytes key_bytes(const struct queue_key *k)
{
    return (struct bytes){ k->at, k->len };
}

struct bytes queue_key_named(struct queue_key *k, char kind, struct bytes name)
{
    k->len = 0;
    key_add(k, &kind, 1);
    key_add(k, name.ptr, name.len);
    return key_bytes(k);
}

/* Numbers are big-endian: the checkpoint has them in order. */
struct bytes queue_key_numbered(struct queue_key *k, char kind, uint32_t number)
{
    return queue_key_of(k, kind, number, BYTES_NONE);
}

struct bytes queue_key_of(struct queue_key *k, char kind, uint32_t owner, struct bytes name)
{
    const uint32_t big = __builtin_bswap32(owner);
    k->len = 0;
    key_add(k, &kind, 1);
    key_add(k, &big, sizeof big);
    key_add(k, name.ptr, name.len);
    return key_bytes(k);
}

struct bytes queue_key_at(struct queue_key *k, char kind, uint32_t owner, uint8_t sub, uint64_t at)
{
    const uint64_t big = __builtin_bswap64(at);
    queue_key_of(k, kind, owner, BYTES_NONE);
    key_add(k, &sub, 1);
    key_add(k, &big, sizeof big);
    return key_bytes(k);
}

uint32_t queue_key_owner(const struct record *r)
{
    uint32_t big;
    memcpy(&big, r->data + 1, sizeof big);
    return __builtin_bswap32(big);
}

uint64_t queue_key_position(const struct record *r)
{
    uint64_t big;
    memcpy(&big, r->data + r->key_bytes - sizeof big, sizeof big);
    return __builtin_bswap64(big);
}

/* ---- finding ---- */

struct record *queue_find_at(struct ledger_apply *a, char kind, uint32_t owner, uint8_t sub, uint64_t at)
{
    struct queue_key k;
    return queue_find(a, queue_key_at(&k, kind, owner, sub, at));
}

struct record *queue_make_at(struct ledger_apply *a, char kind, uint32_t owner, uint8_t sub, uint64_t at,
                             size_t bytes)
{
    struct queue_key k;
    return queue_make(a, queue_key_at(&k, kind, owner, sub, at), bytes);
}

struct record *queue_find_numbered(struct ledger_apply *a, char kind, uint32_t number)
{
    struct queue_key k;
    return queue_find(a, queue_key_numbered(&k, kind, number));
}

struct record *queue_find_topic(struct ledger_apply *a, struct bytes name)
{
    struct queue_key k;
    return queue_find(a, queue_key_named(&k, 't', name));
}

struct record *queue_topic_of_number(struct ledger_apply *a, uint32_t number)
{
    const struct record *name = queue_find_numbered(a, 'n', number);
    return name ? queue_find_topic(a, (struct bytes){ record_value(name), name->value_bytes }) : NULL;
}

static struct record *find_by_name(struct ledger_apply *a, char names, char kind, uint32_t owner,
                                   struct bytes name)
{
    struct queue_key k;
    const struct record *number = queue_find(a, queue_key_of(&k, names, owner, name));
    return number ? queue_find_numbered(a, kind, *(const uint32_t *)record_value(number)) : NULL;
}

struct record *queue_find_group(struct ledger_apply *a, uint32_t topic, struct bytes name)
{
    return find_by_name(a, 'G', 'g', topic, name);
}

struct record *queue_find_consumer(struct ledger_apply *a, uint32_t group, struct bytes name)
{
    return find_by_name(a, 'C', 'c', group, name);
}

/* ---- making ---- */

/* NULL: there is no room for them, who would be new. */
static struct queue_sums *sums_write(struct ledger_apply *a)
{
    struct record *r = queue_find(a, BYTES("s"));
    if (r)
        record_write(a->records, r);
    else
        r = queue_make(a, BYTES("s"), sizeof(struct queue_sums));
    return r ? record_value(r) : NULL;
}

struct record *queue_make_topic(struct ledger_apply *a, struct bytes name)
{
    struct queue_key k;
    struct queue_sums *sums = sums_write(a);
    if (!sums || sums->topics == QUEUE_TOPICS_MAX || sums->last_topic_number == UINT32_MAX)
        return NULL;
    struct record *r = queue_make(a, queue_key_named(&k, 't', name), sizeof(struct queue_topic));
    const uint32_t number = ++sums->last_topic_number;
    struct record *n = queue_make(a, queue_key_numbered(&k, 'n', number), name.len);
    struct record *first = sums->first_topic ? queue_topic_of_number(a, sums->first_topic) : NULL;
    if (!r || !n)
        return NULL;
    memcpy(record_value(n), name.ptr, name.len);
    *(struct queue_topic *)record_value(r) =
        (struct queue_topic){ .number = number, .after = sums->first_topic, .kept_first = 1, .kept_next = 1 };
    if (first) {
        record_write(a->records, first);
        ((struct queue_topic *)record_value(first))->before = number;
    }
    sums->first_topic = number;
    sums->topics++;
    return r;
}

/* The number of a name. */
static bool make_number(struct ledger_apply *a, char kind, uint32_t owner, struct bytes name, uint32_t number)
{
    struct queue_key k;
    struct record *r = queue_make(a, queue_key_of(&k, kind, owner, name), sizeof number);
    if (r)
        memcpy(record_value(r), &number, sizeof number);
    return r != NULL;
}

struct record *queue_make_group(struct queue_run *q, struct bytes name)
{
    struct queue_key k;
    struct queue_topic *t = q->topic;
    struct queue_sums *sums = sums_write(q->a);
    if (!sums || t->groups == QUEUE_GROUPS_MAX || sums->last_group_number == UINT32_MAX)
        return NULL;
    const uint32_t number = ++sums->last_group_number;
    struct record *r = queue_make(q->a, queue_key_numbered(&k, 'g', number), sizeof(struct queue_group));
    if (!r || !make_number(q->a, 'G', t->number, name, number))
        return NULL;
    struct queue_group *g = record_value(r);
    *g = (struct queue_group){ .number = number, .topic = t->number, .after = t->first_group };
    queue_name_set(&g->name, name);
    if (t->first_group) {
        struct record *first = queue_find_numbered(q->a, 'g', t->first_group);
        record_write(q->a->records, first);
        ((struct queue_group *)record_value(first))->before = number;
    }
    t->first_group = number;
    t->groups++;
    return r;
}

struct record *queue_make_consumer(struct ledger_apply *a, struct queue_group *g, struct bytes name)
{
    struct queue_key k;
    struct queue_sums *sums = sums_write(a);
    if (!sums || g->consumers == QUEUE_CONSUMERS_MAX || sums->last_consumer_number == UINT32_MAX)
        return NULL;
    const uint32_t number = ++sums->last_consumer_number;
    struct record *r = queue_make(a, queue_key_numbered(&k, 'c', number), sizeof(struct queue_consumer));
    if (!r || !make_number(a, 'C', g->number, name, number))
        return NULL;
    struct queue_consumer *c = record_value(r);
    *c = (struct queue_consumer){
        .number = number, .group = g->number, .after = g->first_consumer, .seen_ms = a->now_ms
    };
    queue_name_set(&c->name, name);
    if (g->first_consumer) {
        struct record *first = queue_find_numbered(a, 'c', g->first_consumer);
        record_write(a->records, first);
        ((struct queue_consumer *)record_value(first))->before = number;
    }
    g->first_consumer = number;
    g->consumers++;
    return r;
}

/* ---- removing ---- */

static void remove_number(struct ledger_apply *a, char kind, uint32_t owner, struct bytes name)
{
    struct queue_key k;
    struct record *r = queue_find(a, queue_key_of(&k, kind, owner, name));
    must(r);
    record_remove(a->records, r);
}

void queue_remove_consumer(struct ledger_apply *a, struct queue_group *g, struct record *consumer)
{
    const struct queue_consumer c = *(struct queue_consumer *)record_value(consumer);
    remove_number(a, 'C', g->number, queue_name_bytes(&c.name));
    if (c.after) {
        struct record *r = queue_find_numbered(a, 'c', c.after);
        record_write(a->records, r);
        ((struct queue_consumer *)record_value(r))->before = c.before;
    }
    if (c.before) {
        struct record *r = queue_find_numbered(a, 'c', c.before);
        record_write(a->records, r);
        ((struct queue_consumer *)record_value(r))->after = c.after;
    } else {
        g->first_consumer = c.after;
    }
    g->consumers--;
    record_remove(a->records, consumer);
}

void queue_remove_group(struct ledger_apply *a, struct queue_topic *t, struct record *group)
{
    struct queue_group *g = record_value(group);
    record_write(a->records, group);
    remove_number(a, 'G', t->number, queue_name_bytes(&g->name));
    if (g->after) {
        struct record *r = queue_find_numbered(a, 'g', g->after);
        record_write(a->records, r);
        ((struct queue_group *)record_value(r))->before = g->before;
    }
    if (g->before) {
        struct record *r = queue_find_numbered(a, 'g', g->before);
        record_write(a->records, r);
        ((struct queue_group *)record_value(r))->after = g->after;
    } else {
        t->first_group = g->after;
    }
    t->groups--;
    g->is_gone = true;
    record_set_due(a->records, group, a->now_ms + 1);
}

/* Its number stays with what is swept; its name is free at once. */
void queue_remove_topic(struct queue_run *q)
{
    struct ledger_apply *a = q->a;
    struct queue_sums *sums = sums_write(a);
    struct queue_topic *t = q->topic;
    struct queue_key k;
    while (t->first_group)
        queue_remove_group(a, t, queue_find_numbered(a, 'g', t->first_group));
    if (t->after) {
        struct record *r = queue_topic_of_number(a, t->after);
        record_write(a->records, r);
        ((struct queue_topic *)record_value(r))->before = t->before;
    }
    if (t->before) {
        struct record *r = queue_topic_of_number(a, t->before);
        record_write(a->records, r);
        ((struct queue_topic *)record_value(r))->after = t->after;
    } else {
        sums->first_topic = t->after;
    }
    sums->topics--;
    record_remove(a->records, queue_find_numbered(a, 'n', t->number));
    struct record *swept = queue_make(a, queue_key_numbered(&k, 'x', t->number), sizeof *t);
    if (swept) {
        *(struct queue_topic *)record_value(swept) = *t;
        record_set_due(a->records, swept, a->now_ms + 1);
    }
    record_remove(a->records, q->topic_record);
    q->topic_record = swept;
    q->topic = NULL;
}

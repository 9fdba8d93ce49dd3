/* Do queue's records hold what they promise? Counted anew, and compared with what topics and groups say. */
#include "ledger/queue_internal.h"

struct sums {
    uint64_t entries, bits, pending, of_consumers, of_groups, holders, keyed, known, of_topics;
    const char *wrong;
};

static uint64_t bits_of(const struct record *node)
{
    const uint64_t *words = record_value(node);
    uint64_t count = 0;
    for (uint32_t i = 0; i < node->value_bytes / sizeof *words; i++)
        count += (uint64_t)__builtin_popcountll(words[i]);
    return count;
}

static void check_entry(struct sums *s, const struct record *r)
{
    const struct queue_entry *e = record_value(r);
    s->entries++;
    s->pending += e->state == QUEUE_IS_PENDING;
    s->keyed += e->key_len && e->state != QUEUE_IS_WAITING;
    if (e->state >= QUEUE_STATES)
        s->wrong = "a message is in hand in no state";
    if (e->state == QUEUE_IS_RETRY && !r->due_ms)
        s->wrong = "a message is put off for ever";
}

static void check_record(void *arg, const struct record *r)
{
    struct sums *s = arg;
    const struct queue_topic *t = record_value(r);
    const struct queue_group *g = record_value(r);
    switch (r->data[0]) {
    case 'p':
        check_entry(s, r);
        break;
    case 'b':
        s->bits += r->data[5] == 0 ? bits_of(r) : 0;
        break;
    case 'y':
        s->holders++;
        break;
    case 'c':
        s->of_consumers += ((const struct queue_consumer *)record_value(r))->pending;
        break;
    case 'd':
        s->known++;
        break;
    case 'D':
        s->of_topics += *(const uint64_t *)record_value(r);
        break;
    case 't':
        if (t->count > t->next - t->first)
            s->wrong = "a topic has more messages than places";
        break;
    case 'g':
        for (unsigned i = 0; i < QUEUE_STATES && !g->is_gone; i++)
            s->of_groups += g->counts[i];
        if (g->is_gone)
            s->wrong = "";
        break;
    default:
        break;
    }
}

bool queue_check(struct records *rs, struct diag *reterr)
{
    struct sums s = { 0 };
    record_each(rs, QUEUE_RULES_ID, check_record, &s);
    if (!s.wrong && s.pending != s.of_consumers)
        s.wrong = "its consumers have another number of pending messages than there are";
    if (!s.wrong && (s.entries != s.bits || s.entries != s.of_groups))
        s.wrong = "its groups have another number of messages in hand than there are";
    if (!s.wrong && s.holders != s.keyed)
        s.wrong = "a key is held by nobody, or by two";
    if (!s.wrong && s.known != s.of_topics)
        s.wrong = "its topics know another number of publishers' ids than there are";
    if (!s.wrong || !*s.wrong) /* "": a group is being swept, nothing adds up until it is done */
        return true;
    diag_set(reterr, "%s", s.wrong);
    return false;
}

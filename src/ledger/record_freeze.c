/* What the checkpoint gets, and what may leave memory when it has it. */
#include "ledger/records_internal.h"

#define FREEZE_AHEAD 8

static enum record_place place_of(const struct record *r)
{
    if (!(r->flags & RECORD_STORED))
        return RECORD_IN_NONE;
    return r->flags & RECORD_LEFT ? RECORD_IN_DONE : RECORD_IN_OPEN;
}

/* What a freeze is told with. */
struct freeze {
    uint16_t era;
    bool leaves; /* what is finished is left on disk; else it stays where it is */
    void (*fn)(void *arg, const struct record_image *image, bool gone);
    void *arg;
};

static enum record_place goes_to(const struct record *r, bool leaves)
{
    return record_may_be_left(r) && (leaves || place_of(r) == RECORD_IN_DONE) ? RECORD_IN_DONE
                                                                              : RECORD_IN_OPEN;
}

static void tell(const struct freeze *f, struct record *r)
{
    const enum record_place was_in = place_of(r), to = goes_to(r, f->leaves);
    const bool gone = r->flags & RECORD_GONE;
    if (was_in != RECORD_IN_OPEN)
        r->era = f->era & (RECORD_ERAS - 1);
    const struct record_image image = { .rules = r->rules,
                                        .finished = r->flags & RECORD_FINISHED,
                                        .was_in = (uint8_t)was_in,
                                        .goes_to = (uint8_t)to,
                                        .era = r->era,
                                        .due_ms = r->due_ms,
                                        .key = record_key(r),
                                        .value = { record_value(r), r->value_bytes } };
    f->fn(f->arg, &image, gone);
    if (gone)
        return;
    r->flags =
        (uint16_t)((r->flags & ~RECORD_LEFT) | RECORD_STORED | (to == RECORD_IN_DONE ? RECORD_LEFT : 0));
}

static void forget_taken(struct record_queue *q)
{
    struct record_list *l = &q->list;
    if (q->first < l->count / 2 || q->first == 0)
        return;
    l->count -= q->first;
    memmove(l->at, l->at + q->first, l->count * sizeof *l->at);
    q->first = 0;
}

/* NULL: there is none. */
static struct record *take(struct record_queue *q)
{
    if (!record_queue_count(q))
        return NULL;
    struct record *r = q->list.at[q->first++];
    r->flags &= (uint16_t)~RECORD_QUEUED;
    return r;
}

/* What is in this freeze comes into a queue again when that is stored. */
static void tell_staying(struct records *rs, const struct freeze *f, uint64_t most)
{
    struct record *r;
    for (uint64_t n = 0; n < most && (r = take(&rs->staying));) {
        if (r->flags & RECORD_GONE) {
            record_bury(rs, r);
        } else if (place_of(r) == RECORD_IN_OPEN && record_may_be_left(r) && !(r->flags & RECORD_FROZEN)) {
            r->flags |= RECORD_FROZEN;
            record_list_add(&rs->frozen, r);
            tell(f, r);
            n++;
        } else if (!(r->flags & RECORD_FROZEN)) {
            record_queue_up(rs, r);
        }
    }
    forget_taken(&rs->staying);
}

/* A key that was removed and made again stands twice in the list, the removed one first. */
void records_freeze(struct records *rs, uint16_t era, uint64_t leave,
                    void (*fn)(void *arg, const struct record_image *image, bool gone), void *arg)
{
    const struct freeze f = { era, leave > 0, fn, arg };
    must(rs->journal.count == 0 && rs->frozen.count == 0);
    struct record_list changed = rs->dirty;
    rs->dirty = rs->frozen;
    rs->frozen = changed;
    for (uint64_t i = 0; i < changed.count; i++) {
        struct record *r = changed.at[i];
        if (i + FREEZE_AHEAD < changed.count) {
            __builtin_prefetch(changed.at[i + FREEZE_AHEAD], 1);
            __builtin_prefetch((const char *)changed.at[i + FREEZE_AHEAD] + 64);
        }
        r->flags = (uint16_t)((r->flags & ~RECORD_DIRTY) | RECORD_FROZEN);
        if (!(r->flags & RECORD_GONE) || r->flags & RECORD_STORED)
            tell(&f, r);
    }
    tell_staying(rs, &f, leave);
}

void records_frozen_is_stored(struct records *rs)
{
    for (uint64_t i = 0; i < rs->frozen.count; i++) {
        struct record *r = rs->frozen.at[i];
        if (i + FREEZE_AHEAD < rs->frozen.count)
            __builtin_prefetch(rs->frozen.at[i + FREEZE_AHEAD], 1);
        r->flags &= (uint16_t)~RECORD_FROZEN;
        if (r->flags & RECORD_GONE)
            record_bury(rs, r);
        else
            record_queue_up(rs, r);
    }
    rs->frozen.count = 0;
}

void record_queue_up(struct records *rs, struct record *r)
{
    if (!record_may_be_left(r) || r->flags & RECORD_QUEUED)
        return;
    r->flags |= RECORD_QUEUED;
    record_list_add(place_of(r) == RECORD_IN_DONE ? &rs->leaving.list : &rs->staying.list, r);
}

static void leave(struct records *rs, struct record *r)
{
    record_take_out(rs, r);
    due_heap_remove(&rs->due, r);
    rs->count--;
    rs->of_rules[r->rules]--;
    rs->evicted++;
    record_memory_give(&rs->memory, r);
}

/* What has changed since it came into the queue comes into one again by the next freeze. */
void records_evict(struct records *rs, uint64_t bytes_wanted)
{
    struct record *r;
    while (rs->memory.used > bytes_wanted && (r = take(&rs->leaving))) {
        if (r->flags & RECORD_GONE)
            record_bury(rs, r);
        else if (r->flags & RECORD_LEFT && !(r->flags & (RECORD_DIRTY | RECORD_FROZEN)))
            leave(rs, r);
        else if (!(r->flags & (RECORD_DIRTY | RECORD_FROZEN)))
            record_queue_up(rs, r); /* it had been open again meanwhile */
    }
    forget_taken(&rs->leaving);
}

/* What the checkpoint gets, and what may leave memory when it has it. */
#include "ledger/records_internal.h"

#define FREEZE_AHEAD 8

static void tell(const struct record *r, void (*fn)(void *arg, const struct record_image *image, bool gone),
                 void *arg)
{
    struct record_image image = { .rules = r->rules,
                                  .finished = r->flags & RECORD_FINISHED,
                                  .was_in = !(r->flags & RECORD_STORED) ? RECORD_IN_NONE
                                            : r->flags & RECORD_LEFT    ? RECORD_IN_DONE
                                                                        : RECORD_IN_OPEN,
                                  .goes_to = record_may_be_left(r) ? RECORD_IN_DONE : RECORD_IN_OPEN,
                                  .due_ms = r->due_ms,
                                  .key = record_key(r),
                                  .value = { record_value(r), r->value_bytes } };
    fn(arg, &image, r->flags & RECORD_GONE);
}

/* A key that was removed and made again stands twice in the list, the removed one first. */
void records_freeze(struct records *rs, void (*fn)(void *arg, const struct record_image *image, bool gone),
                    void *arg)
{
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
        if (r->flags & RECORD_GONE && !(r->flags & RECORD_STORED))
            continue;
        tell(r, fn, arg);
        if (r->flags & RECORD_GONE)
            continue;
        r->flags =
            (uint16_t)((r->flags & ~RECORD_LEFT) | RECORD_STORED | (record_may_be_left(r) ? RECORD_LEFT : 0));
    }
}

void records_frozen_is_stored(struct records *rs)
{
    for (uint64_t i = 0; i < rs->frozen.count; i++) {
        struct record *r = rs->frozen.at[i];
        r->flags &= (uint16_t)~RECORD_FROZEN;
        if (r->flags & RECORD_GONE)
            record_bury(rs, r);
        else if (r->flags & RECORD_LEFT && !(r->flags & RECORD_QUEUED))
            record_may_leave(rs, r);
    }
    rs->frozen.count = 0;
}

void record_may_leave(struct records *rs, struct record *r)
{
    r->flags |= RECORD_QUEUED;
    record_list_add(&rs->leaving, r);
}

static void forget_left(struct records *rs)
{
    struct record_list *l = &rs->leaving;
    if (rs->leaving_first < l->count / 2 || rs->leaving_first == 0)
        return;
    l->count -= rs->leaving_first;
    memmove(l->at, l->at + rs->leaving_first, l->count * sizeof *l->at);
    rs->leaving_first = 0;
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

/* What has changed since it came into the list comes into it again by the next freeze. */
void records_evict(struct records *rs, uint64_t bytes_wanted)
{
    while (rs->leaving_first < rs->leaving.count && rs->memory.used > bytes_wanted) {
        struct record *r = rs->leaving.at[rs->leaving_first++];
        r->flags &= (uint16_t)~RECORD_QUEUED;
        if (r->flags & RECORD_GONE)
            record_bury(rs, r);
        else if (r->flags & RECORD_LEFT && !(r->flags & (RECORD_DIRTY | RECORD_FROZEN)))
            leave(rs, r);
    }
    forget_left(rs);
}

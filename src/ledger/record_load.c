/* The checkpoint's records come into memory at start, by several threads: each has memory and a list of times
 * of its own, and they share the buckets, which are large enough from the beginning.
 *
 *      image ─▶ record in the loader's memory ─▶ a few others later, when its bucket has been fetched: into
 * that */
#include "base/mem.h"
#include "ledger/records_internal.h"

#define LINKING 16

struct records_loader {
    struct records *records;
    struct record_memory memory;
    struct due_window due;
    struct record_list staying; /* finished, and not left on disk */
    uint64_t count, of_rules[256];
    struct record *linking[LINKING]; /* a ring of those that are in no bucket yet */
    unsigned at;
};

static record_bucket *bucket_of(const struct records_loader *l, const struct record *r)
{
    const struct record_table *t = &l->records->now;
    return &t->buckets[r->hash & (t->count - 1)];
}

/* Others do the same. */
static void link_next(struct records_loader *l, struct record *next)
{
    struct record *r = l->linking[l->at];
    l->linking[l->at] = next;
    l->at = (l->at + 1) % LINKING;
    if (!r)
        return;
    record_bucket *bucket = bucket_of(l, r), before = __atomic_load_n(bucket, __ATOMIC_RELAXED);
    do
        r->next = bucket_first(before);
    while (!__atomic_compare_exchange_n(bucket, &before, bucket_with(before, r), true, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED));
}

err records_loader_open(struct records *rs, struct records_loader **ret_loader)
{
    struct records_loader *l = mem_get(sizeof *l);
    if (!l)
        return ERR_MEMORY;
    must(!rs->old.count);
    l->records = rs;
    l->memory.filling = true;
    *ret_loader = l;
    return OK;
}

/* false: more have a time than were expected. */
static bool note_due(struct records_loader *l, struct record *r)
{
    if (l->due.at == l->due.end && !due_heap_window(&l->records->due, &l->due))
        return false;
    *l->due.at++ = (struct due_entry){ r->due_ms, r };
    return true;
}

/* The loader's memory is zeros: nothing has been given back to it. */
err records_loader_put(struct records_loader *l, const struct record_image *image, struct record **ret_record)
{
    if (image->key.len > RECORD_KEY_BYTES_MAX || image->value.len > RECORD_VALUE_BYTES_MAX)
        return ERR_SYNTAX;
    const size_t bytes = record_bytes((uint8_t)image->key.len, (uint32_t)image->value.len);
    struct record *r = record_memory_take(&l->memory, bytes, UINT64_MAX);
    if (!r)
        return ERR_MEMORY;
    record_set_image(r, image, record_hash(image->rules, image->key));
    if (r->due_ms && !note_due(l, r))
        return ERR_SYNTAX;
    if (record_may_be_left(r)) {
        r->flags |= RECORD_QUEUED;
        record_list_add(&l->staying, r);
    }
    __builtin_prefetch(bucket_of(l, r), 1);
    link_next(l, r);
    l->count++;
    l->of_rules[r->rules]++;
    *ret_record = r;
    return OK;
}

void records_loader_close(struct records_loader *l)
{
    struct records *rs = l->records;
    for (unsigned i = 0; i < LINKING; i++)
        link_next(l, NULL);
    rs->count += l->count;
    for (unsigned i = 0; i < 256; i++)
        rs->of_rules[i] += l->of_rules[i];
    record_memory_join(&rs->memory, &l->memory);
    record_list_join(&rs->staying.list, &l->staying);
    mem_free(l);
}

void records_loaded(struct records *rs)
{
    due_heap_order(&rs->due);
}

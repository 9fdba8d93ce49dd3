/* When something is due: a heap of four children a node, by (time, rules, key), so that what comes first does
 * not depend on how the heap came about. A time that moves later is left where it stands until it comes up:
 * a session that is used again and again costs nothing here. */
#include "base/mem.h"
#include "ledger/records_internal.h"

static bool before(const struct due_entry *a, const struct due_entry *b)
{
    if (a->due_ms != b->due_ms)
        return a->due_ms < b->due_ms;
    const struct record *x = a->record, *y = b->record;
    if (x->rules != y->rules)
        return x->rules < y->rules;
    size_t common = x->key_bytes < y->key_bytes ? x->key_bytes : y->key_bytes;
    int c = memcmp(x->data, y->data, common);
    return c ? c < 0 : x->key_bytes < y->key_bytes;
}

static void place(struct due_heap *h, uint64_t i, struct due_entry e)
{
    h->at[i] = e;
    e.record->heap_at = (uint32_t)(i + 1);
}

static void rise(struct due_heap *h, uint64_t i)
{
    struct due_entry e = h->at[i];
    while (i > 0 && before(&e, &h->at[(i - 1) / 4])) {
        place(h, i, h->at[(i - 1) / 4]);
        i = (i - 1) / 4;
    }
    place(h, i, e);
}

static void sink(struct due_heap *h, uint64_t i)
{
    struct due_entry e = h->at[i];
    for (;;) {
        uint64_t first = i * 4 + 1, least = first;
        if (first >= h->count)
            break;
        for (uint64_t c = first + 1; c < first + 4 && c < h->count; c++) {
            if (before(&h->at[c], &h->at[least]))
                least = c;
        }
        if (!before(&h->at[least], &e))
            break;
        place(h, i, h->at[least]);
        i = least;
    }
    place(h, i, e);
}

static void grow(struct due_heap *h)
{
    uint64_t room = h->room ? h->room * 2 : 1024;
    struct due_entry *larger = mem_must_get(room * sizeof *larger);
    must(room < UINT32_MAX);
    if (h->count)
        memcpy(larger, h->at, h->count * sizeof *larger);
    mem_free(h->at);
    h->at = larger;
    h->room = room;
}

void due_heap_set(struct due_heap *h, struct record *r)
{
    if (!r->due_ms) {
        due_heap_remove(h, r);
        return;
    }
    if (!r->heap_at) {
        if (h->count == h->room)
            grow(h);
        h->at[h->count] = (struct due_entry){ r->due_ms, r };
        rise(h, h->count++);
        return;
    }
    uint64_t i = r->heap_at - 1;
    if (r->due_ms < h->at[i].due_ms) {
        h->at[i].due_ms = r->due_ms;
        rise(h, i);
    }
}

void due_heap_remove(struct due_heap *h, struct record *r)
{
    if (!r->heap_at)
        return;
    uint64_t i = r->heap_at - 1;
    r->heap_at = 0;
    struct due_entry last = h->at[--h->count];
    if (i == h->count)
        return;
    place(h, i, last);
    rise(h, i);
    sink(h, last.record->heap_at - 1);
}

struct record *records_due(struct records *rs, uint64_t now_ms)
{
    struct due_heap *h = &rs->due;
    while (h->count && h->at[0].due_ms <= now_ms) {
        struct record *r = h->at[0].record;
        if (h->at[0].due_ms == r->due_ms)
            return r;
        h->at[0].due_ms = r->due_ms; /* it had moved later */
        sink(h, 0);
    }
    return NULL;
}

uint64_t records_due_next_ms(const struct records *rs)
{
    return rs->due.count ? rs->due.at[0].due_ms : UINT64_MAX;
}

/* When something is due: a heap of four children a node, by (time, rules, key), so that what comes first does
 * not depend on how the heap came about. A time that moves later is left where it stands until it comes up:
 * a session that is used again and again costs nothing here. */
#include "base/mem.h"
#include "ledger/records_internal.h"

#define DUE_ROOM_MIN 1024

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

/* Of i's children the one that comes first, if that is before e; else 0. */
static uint64_t child_before(const struct due_heap *h, uint64_t i, const struct due_entry *e)
{
    uint64_t first = i * 4 + 1, least = first;
    if (first >= h->count)
        return 0;
    for (uint64_t c = first + 1; c < first + 4 && c < h->count; c++) {
        if (before(&h->at[c], &h->at[least]))
            least = c;
    }
    return before(&h->at[least], e) ? least : 0;
}

static void sink(struct due_heap *h, uint64_t i)
{
    struct due_entry e = h->at[i];
    for (uint64_t child; (child = child_before(h, i, &e)); i = child)
        place(h, i, h->at[child]);
    place(h, i, e);
}

static void set_room(struct due_heap *h, uint64_t room)
{
    must(room < UINT32_MAX);
    h->at = mem_must_resize(h->at, room * sizeof *h->at);
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
            set_room(h, h->room ? h->room * 2 : DUE_ROOM_MIN);
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

/* ---- start-up ---- */

err due_heap_expect(struct due_heap *h, uint64_t count)
{
    const uint64_t room = count + RECORDS_LOADERS_MAX * DUE_WINDOW;
    struct due_entry *at =
        room < UINT32_MAX ? mem_get(room * sizeof *at) : NULL; /* of pages not touched yet */
    must(h->count == 0);
    if (!at)
        return ERR_MEMORY;
    mem_free(h->at);
    h->at = at;
    h->room = room;
    return OK;
}

bool due_heap_window(struct due_heap *h, struct due_window *ret_window)
{
    const uint64_t from = __atomic_fetch_add(&h->count, DUE_WINDOW, __ATOMIC_RELAXED);
    if (from + DUE_WINDOW > h->room)
        return false;
    *ret_window = (struct due_window){ h->at + from, h->at + from + DUE_WINDOW };
    return true;
}

/* From below (Floyd, 1964), in linear time; records are told their places once, in the end. */
static void order_all(struct due_heap *h)
{
    for (uint64_t n = h->count > 1 ? (h->count - 2) / 4 + 1 : 0; n > 0; n--) {
        const struct due_entry e = h->at[n - 1];
        uint64_t i = n - 1;
        for (uint64_t child; (child = child_before(h, i, &e)); i = child)
            h->at[i] = h->at[child];
        h->at[i] = e;
    }
    for (uint64_t i = 0; i < h->count; i++)
        h->at[i].record->heap_at = (uint32_t)(i + 1);
}

void due_heap_order(struct due_heap *h)
{
    const uint64_t end = h->count < h->room ? h->count : h->room;
    h->count = 0;
    for (uint64_t i = 0; i < end; i++) {
        if (h->at[i].record) /* not a window's unused end */
            h->at[h->count++] = h->at[i];
    }
    if (h->count < h->room / 2)
        set_room(h, h->count < DUE_ROOM_MIN ? DUE_ROOM_MIN : h->count);
    order_all(h);
}

/* Memory for records: pieces of 1 MiB, cut into sizes 12.5% apart; what is given back is taken again for its
 * size. Larger ones are pieces of their own, that go back to the heap.
 *
 *      piece: head │ record │ record │ free │ record │     ...     their lengths lead from one to the next
 *                                                    at */
#include <sys/mman.h>

#include "base/mem.h"
#include "ledger/records_internal.h"

#define PIECE_BYTES (1u << 20)
/* Who has so much gets it in larger pieces, and these, once they are full, in huge pages: what lies here and
 * there in a gigabyte is found sooner. The kernel makes them behind our back: a first touch would wait for it
 * to find one. */
#define MANY_BYTES (64u << 20)
#define LARGE_PIECE_BYTES (16u << 20)
#define HUGE_PAGE_BYTES (2u << 20)
#define PAGE_BYTES 4096u
#define READY_BYTES (128u << 10) /* whose pages are asked for at once: each by itself is a fault of its own \
                                  */
#define SMALL_BYTES 256          /* up to here sizes are 16 apart */
#define LARGE_BYTES (64u * 1024)

static unsigned size_class(size_t bytes, size_t *ret_room)
{
    if (bytes <= SMALL_BYTES) {
        unsigned i = (unsigned)((bytes + 15) / 16);
        *ret_room = (size_t)i * 16;
        return i;
    }
    /* eight steps an octave */
    unsigned shift = 63 - (unsigned)__builtin_clzll(bytes - 1) - 3;
    size_t steps = ((bytes - 1) >> shift) + 1;
    *ret_room = steps << shift;
    return SMALL_BYTES / 16 + (shift - 5) * 8 + (unsigned)(steps - 8);
}

size_t record_memory_room(size_t bytes)
{
    size_t room;
    if (bytes > LARGE_BYTES)
        return bytes;
    size_class(bytes, &room);
    return room;
}

void record_memory_advise(void *memory, size_t bytes)
{
    uintptr_t from = ((uintptr_t)memory + HUGE_PAGE_BYTES - 1) & ~(uintptr_t)(HUGE_PAGE_BYTES - 1);
    uintptr_t to = ((uintptr_t)memory + bytes) & ~(uintptr_t)(HUGE_PAGE_BYTES - 1);
    if (from < to)
        (void)!madvise((void *)from, to - from, MADV_HUGEPAGE);
}

/* Gigabytes that are filled at once come as small pages, many at a time: that costs as much on any machine,
 * while a virtual one may wait long for huge pages, which its host has to find. They become huge behind its
 * back later.
 */
static void populate(struct record_piece *p, size_t bytes)
{
    char *end = (char *)p + p->bytes, *to = (size_t)(end - p->ready) < bytes ? end : p->ready + bytes;
#ifdef MADV_POPULATE_WRITE
    const uintptr_t first = ((uintptr_t)p->ready + PAGE_BYTES - 1) & ~(uintptr_t)(PAGE_BYTES - 1),
                    last = (uintptr_t)to & ~(uintptr_t)(PAGE_BYTES - 1);
    if (first < last)
        (void)!madvise((void *)first, last - first, MADV_POPULATE_WRITE);
#endif
    p->ready = to;
}

static struct record_piece *piece_new(struct record_memory *m, size_t bytes, uint64_t bytes_max)
{
    if (bytes > bytes_max || m->taken > bytes_max - bytes)
        return NULL;
    struct record_piece *p = mem_get(bytes);
    if (!p)
        return NULL;
    p->bytes = bytes;
    p->at = p->ready = (char *)(p + 1);
    m->taken += bytes;
    return p;
}

static struct record *take_large(struct record_memory *m, size_t bytes, uint64_t bytes_max)
{
    struct record_piece *p = piece_new(m, sizeof *p + bytes, bytes_max);
    if (!p)
        return NULL;
    p->next = m->large;
    if (p->next)
        p->next->before = p;
    m->large = p;
    m->used += bytes;
    return (struct record *)(p + 1);
}

static void give_large(struct record_memory *m, struct record *r, size_t bytes)
{
    struct record_piece *p = (struct record_piece *)r - 1;
    if (p->before)
        p->before->next = p->next;
    else
        m->large = p->next;
    if (p->next)
        p->next->before = p->before;
    m->taken -= p->bytes;
    m->used -= bytes;
    mem_free(p);
}

/* false: there is no more. */
static bool refill(struct record_memory *m, uint64_t bytes_max)
{
    if (m->rests_count) {
        m->now = m->rests[--m->rests_count];
        return true;
    }
    struct record_piece *p = m->taken < MANY_BYTES ? NULL : piece_new(m, LARGE_PIECE_BYTES, bytes_max);
    if (!p)
        p = piece_new(m, PIECE_BYTES, bytes_max);
    if (!p)
        return false;
    if (m->filling)
        populate(p, p->bytes);
    else if (m->now)
        record_memory_advise(m->now, m->now->bytes);
    p->next = m->pieces;
    m->pieces = p;
    m->now = p;
    return true;
}

static size_t left_in(const struct record_piece *p)
{
    return p ? (size_t)((const char *)p + p->bytes - p->at) : 0;
}

struct record *record_memory_take(struct record_memory *m, size_t bytes, uint64_t bytes_max)
{
    size_t room;
    if (bytes > LARGE_BYTES)
        return take_large(m, bytes, bytes_max);
    unsigned i = size_class(bytes, &room);
    struct record *r = m->free[i];
    if (r) {
        m->free[i] = r->next;
        m->used += room;
        return r;
    }
    while (left_in(m->now) < room) {
        if (!refill(m, bytes_max))
            return NULL;
    }
    r = (struct record *)m->now->at;
    m->now->at += room;
    if (m->now->at > m->now->ready)
        populate(m->now, READY_BYTES);
    m->used += room;
    return r;
}

void record_memory_give(struct record_memory *m, struct record *r)
{
    size_t room, bytes = record_bytes(r->key_bytes, r->value_bytes);
    if (bytes > LARGE_BYTES) {
        give_large(m, r, bytes);
        return;
    }
    unsigned i = size_class(bytes, &room);
    r->flags = RECORD_FREE;
    r->next = m->free[i];
    m->free[i] = r;
    m->used -= room;
}

void record_memory_each(const struct record_memory *m, void (*fn)(void *arg, const struct record *r),
                        void *arg)
{
    for (const struct record_piece *p = m->pieces; p; p = p->next) {
        size_t room;
        for (const char *at = (const char *)(p + 1); at < p->at; at += room) {
            const struct record *r = (const struct record *)at;
            size_class(record_bytes(r->key_bytes, r->value_bytes), &room);
            if (!(r->flags & RECORD_FREE))
                fn(arg, r);
        }
    }
    for (const struct record_piece *p = m->large; p; p = p->next)
        fn(arg, (const struct record *)(p + 1));
}

static struct record_piece *last_of(struct record_piece *p)
{
    while (p && p->next)
        p = p->next;
    return p;
}

void record_memory_join(struct record_memory *m, struct record_memory *other)
{
    struct record_piece *pieces_last = last_of(other->pieces), *large_last = last_of(other->large);
    for (struct record_piece *p = other->pieces; p; p = p->next)
        record_memory_advise(p, p->bytes);
    if (pieces_last) {
        pieces_last->next = m->pieces;
        m->pieces = other->pieces;
    }
    if (large_last) {
        large_last->next = m->large;
        if (m->large)
            m->large->before = large_last;
        m->large = other->large;
    }
    m->taken += other->taken;
    m->used += other->used;
    if (other->now && m->rests_count < RECORD_RESTS)
        m->rests[m->rests_count++] = other->now;
    *other = (struct record_memory){ 0 };
}

static void free_pieces(struct record_piece *p)
{
    for (struct record_piece *next; p; p = next) {
        next = p->next;
        mem_free(p);
    }
}

void record_memory_close(struct record_memory *m)
{
    free_pieces(m->pieces);
    free_pieces(m->large);
}

void record_list_add(struct record_list *l, struct record *r)
{
    if (l->count == l->room) {
        l->room = l->room ? l->room * 2 : 1024;
        l->at = mem_must_resize(l->at, l->room * sizeof(struct record *));
    }
    l->at[l->count++] = r;
}

void record_list_join(struct record_list *l, struct record_list *other)
{
    for (uint64_t i = 0; i < other->count; i++)
        record_list_add(l, other->at[i]);
    mem_free(other->at);
    *other = (struct record_list){ 0 };
}

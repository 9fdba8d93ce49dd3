/* Memory for records: pieces of 1 MiB, cut into sizes 12.5% apart; what is given back is taken again for its
 * size. Larger ones are pieces of their own, that go back to the heap. */
#include <sys/mman.h>

#include "base/mem.h"
#include "ledger/records_internal.h"

#define PIECE_BYTES (1u << 20)
/* Who has so much gets it in larger pieces, and these in huge pages: what lies here and there in a gigabyte
 * is found sooner. */
#define MANY_BYTES (64u << 20)
#define LARGE_PIECE_BYTES (16u << 20)
#define HUGE_PAGE_BYTES (2u << 20)
#define SMALL_BYTES 256 /* up to here sizes are 16 apart */
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

/* Of memory that nobody has touched yet. */
void record_memory_advise(void *memory, size_t bytes)
{
    uintptr_t from = ((uintptr_t)memory + HUGE_PAGE_BYTES - 1) & ~(uintptr_t)(HUGE_PAGE_BYTES - 1);
    uintptr_t to = ((uintptr_t)memory + bytes) & ~(uintptr_t)(HUGE_PAGE_BYTES - 1);
    if (from < to)
        (void)!madvise((void *)from, to - from, MADV_HUGEPAGE);
}

static struct record_piece *piece_new(struct record_memory *m, size_t bytes, uint64_t bytes_max)
{
    if (bytes > bytes_max || m->taken > bytes_max - bytes)
        return NULL;
    struct record_piece *p = mem_get(bytes);
    if (!p)
        return NULL;
    p->bytes = bytes;
    m->taken += bytes;
    return p;
}

/* A piece of its own stands in no list: the record that lies in it is what leads to it. */
static void *take_large(struct record_memory *m, size_t bytes, uint64_t bytes_max)
{
    struct record_piece *p = piece_new(m, sizeof *p + bytes, bytes_max);
    if (!p)
        return NULL;
    m->used += bytes;
    return p + 1;
}

void *record_memory_take(struct record_memory *m, size_t bytes, uint64_t bytes_max)
{
    size_t room;
    if (bytes > LARGE_BYTES)
        return take_large(m, bytes, bytes_max);
    unsigned i = size_class(bytes, &room);
    void *memory = m->free[i];
    if (memory) {
        m->free[i] = *(void **)memory;
        m->used += room;
        return memory;
    }
    if ((size_t)(m->end - m->at) < room) {
        struct record_piece *p = m->taken < MANY_BYTES ? NULL : piece_new(m, LARGE_PIECE_BYTES, bytes_max);
        if (!p)
            p = piece_new(m, PIECE_BYTES, bytes_max);
        if (!p)
            return NULL;
        record_memory_advise(p, p->bytes);
        p->next = m->pieces;
        m->pieces = p;
        m->at = (char *)(p + 1);
        m->end = (char *)p + p->bytes;
    }
    memory = m->at;
    m->at += room;
    m->used += room;
    return memory;
}

void record_memory_give(struct record_memory *m, void *memory, size_t bytes)
{
    size_t room;
    if (bytes > LARGE_BYTES) {
        struct record_piece *p = (struct record_piece *)memory - 1;
        m->taken -= p->bytes;
        m->used -= bytes;
        mem_free(p);
        return;
    }
    unsigned i = size_class(bytes, &room);
    *(void **)memory = m->free[i];
    m->free[i] = memory;
    m->used -= room;
}

void record_memory_close(struct record_memory *m)
{
    for (struct record_piece *p; (p = m->pieces);) {
        m->pieces = p->next;
        mem_free(p);
    }
}

void record_list_add(struct record_list *l, struct record *r)
{
    if (l->count == l->room) {
        uint64_t room = l->room ? l->room * 2 : 1024;
        struct record **larger = mem_must_get(room * sizeof(struct record *));
        if (l->count)
            memcpy(larger, l->at, l->count * sizeof(struct record *));
        mem_free(l->at);
        l->at = larger;
        l->room = room;
    }
    l->at[l->count++] = r;
}

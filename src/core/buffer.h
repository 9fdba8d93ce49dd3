/* buffer: the pooled, counted 16 KiB buffers that bytes arrive in and leave from. io.h calls one a lease.
 *
 *      slab  [head|data 16 KiB|gap][head|data 16 KiB|gap] ...      the pitch is no power of two, so that the
 *                                                                  beginnings do not share one cache set
 *
 * A buffer belongs to one worker. Free ones are taken last-in first-out: the hot ones again and again. What a
 * burst left behind gives its pages back after a while. */
#pragma once
#include "core/slab.h"
#include <stdint.h>

#include "base/list.h"
#include "core/io.h"
#include "core/timer.h"

struct lease {
    struct lease *next; /* in a receive queue or the free list */
    uint32_t refs;
    uint32_t capacity;
    uint32_t start,
        end;  /* of the unconsumed bytes, while it is in a receive queue; end: of what was written */
    bool big; /* from the heap: for io_pull_more */
    char data[] __attribute__((aligned(64)));
};

/* A run of bytes in a send queue. */
struct segment {
    struct segment *next;
    struct lease *lease;
    char *ptr;
    size_t len;
};

#define BUFFER_PITCH (sizeof(struct lease) + IO_BUFFER_BYTES + 128)
#define BUFFERS_PER_SLAB ((SLAB_HUGE_BYTES - 128) / BUFFER_PITCH)
#define BIG_BUFFERS_KEPT 4

struct buffers {
    struct lease *free;
    struct lease *cold; /* free too, without pages */
    uint32_t free_count;
    uint32_t free_low_water; /* since the last trim */
    uint32_t count;          /* that exist, free or not */
    uint32_t big_count;
    struct lease *big;
    struct segment *segments;
    struct slab *slabs;
    struct slab *segment_slabs;
    struct timer trim;
};

void buffers_open(struct buffers *b);
void buffers_close(struct buffers *b);
void buffers_grow(struct buffers *b);
struct lease *buffer_get_big(struct buffers *b, size_t size);
void buffer_put(struct buffers *b, struct lease *l);
struct segment *segments_grow(struct buffers *b);

static inline struct lease *buffer_get(struct buffers *b)
{
    if (!b->free)
        buffers_grow(b);
    struct lease *l = b->free;
    b->free = l->next;
    if (--b->free_count < b->free_low_water)
        b->free_low_water = b->free_count;
    l->next = NULL;
    l->refs = 1;
    l->start = l->end = 0;
    return l;
}

static inline void buffer_unref(struct buffers *b, struct lease *l)
{
    if (--l->refs == 0)
        buffer_put(b, l);
}

static inline struct segment *segment_get(struct buffers *b)
{
    struct segment *s = b->segments ? b->segments : segments_grow(b);
    b->segments = s->next;
    s->next = NULL;
    return s;
}

static inline void segment_put(struct buffers *b, struct segment *s)
{
    s->next = b->segments;
    b->segments = s;
}

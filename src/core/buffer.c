#include "core/buffer.h"

#include <stddef.h>
#include <sys/mman.h>

#include "base/mem.h"
#include "base/must.h"
#include "core/slab.h"
#include "core/worker_internal.h"

#define TRIM_US (2 * 1000 * 1000)
#define FREE_FLOOR BUFFERS_PER_SLAB /* so many free ones are never trimmed */
#define HEAD_BYTES 128              /* of a slab; keeps data 64-byte aligned */

_Static_assert(BUFFER_PITCH % 64 == 0, "data is aligned to cache lines");
_Static_assert(offsetof(struct lease, data) == sizeof(struct lease), "no hole");

/* Buffers that were free all the time since the last look are cold: their pages go back. */
static void trim(struct timer *t)
{
    struct buffers *b = container_of(t, struct buffers, trim);
    uint32_t unused = b->free_low_water;
    b->free_low_water = b->free_count;
    if (unused <= FREE_FLOOR)
        return;
    struct lease **at = &b->free; /* the hot ones stay: they are in front */
    for (uint32_t keep = b->free_count - unused + FREE_FLOOR; keep > 0; keep--)
        at = &(*at)->next;
    for (struct lease *l; (l = *at);) {
        *at = l->next;
        uintptr_t from = ((uintptr_t)l->data + 4095) & ~(uintptr_t)4095;
        uintptr_t to = ((uintptr_t)l->data + l->capacity) & ~(uintptr_t)4095;
        madvise((void *)from, to - from, MADV_DONTNEED);
        l->next = b->cold;
        b->cold = l;
        b->free_count--;
    }
    b->free_low_water = b->free_count;
}

void buffers_open(struct buffers *b)
{
    *b = (struct buffers){ 0 };
    timer_init(&b->trim, trim);
}

void buffers_close(struct buffers *b)
{
    for (struct lease *l; (l = b->big);) {
        b->big = l->next;
        mem_free(l);
    }
    slabs_free(&b->slabs);
    slabs_free(&b->segment_slabs);
}

void buffers_grow(struct buffers *b)
{
    if (b->cold) {
        for (unsigned n = 0; n < BUFFERS_PER_SLAB && b->cold; n++) {
            struct lease *l = b->cold;
            b->cold = l->next;
            l->next = b->free;
            b->free = l;
            b->free_count++;
        }
        return;
    }
    char *at = (char *)slab_get_huge(&b->slabs) + HEAD_BYTES;
    for (unsigned n = 0; n < BUFFERS_PER_SLAB; n++, at += BUFFER_PITCH) {
        struct lease *l = (struct lease *)(void *)at;
        l->capacity = IO_BUFFER_BYTES;
        b->count++;
        l->next = b->free;
        b->free = l;
        b->free_count++;
    }
}

struct lease *buffer_get_big(struct buffers *b, size_t size)
{
    must(size <= IO_CONTIGUOUS_BYTES_MAX);
    struct lease *l = b->big;
    if (l) {
        b->big = l->next;
        b->big_count--;
    } else {
        l = mem_must_get(sizeof(struct lease) + IO_CONTIGUOUS_BYTES_MAX);
        l->capacity = IO_CONTIGUOUS_BYTES_MAX;
        l->big = true;
    }
    l->next = NULL;
    l->refs = 1;
    l->start = l->end = 0;
    return l;
}

void buffer_put(struct buffers *b, struct lease *l)
{
    if (l->big) {
        if (b->big_count >= BIG_BUFFERS_KEPT) {
            mem_free(l);
            return;
        }
        l->next = b->big;
        b->big = l;
        b->big_count++;
        return;
    }
    l->next = b->free;
    b->free = l;
    if (++b->free_count > 2 * FREE_FLOOR && !timer_is_set(&b->trim)) {
        b->free_low_water = b->free_count;
        timer_set(&b->trim, worker_this->now_us + TRIM_US);
    }
}

struct segment *segments_grow(struct buffers *b)
{
    struct slab *slab = slab_get(&b->segment_slabs, 16384);
    struct segment *at = (struct segment *)(void *)(slab + 1),
                   *end = (struct segment *)(void *)((char *)slab + slab->size);
    for (; at + 1 <= end; at++)
        segment_put(b, at);
    return b->segments;
}

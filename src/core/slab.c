#include "core/slab.h"

#include <stdint.h>
#include <sys/mman.h>

#include "base/must.h"

static char *map(size_t size)
{
    char *memory =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    must(memory != MAP_FAILED);
    return memory;
}

static struct slab *put_in_list(struct slab **slabs, char *memory, size_t size)
{
    struct slab *s = (struct slab *)(void *)memory;
    s->size = size;
    s->next = *slabs;
    *slabs = s;
    return s;
}

struct slab *slab_get(struct slab **slabs, size_t size)
{
    return put_in_list(slabs, map(size), size);
}

struct slab *slab_get_huge(struct slab **slabs)
{
    char *memory = map(2 * SLAB_HUGE_BYTES); /* somewhere in it is an aligned one */
    uintptr_t over = (uintptr_t)memory % SLAB_HUGE_BYTES;
    size_t before = over ? SLAB_HUGE_BYTES - over : 0;
    if (before)
        munmap(memory, before);
    munmap(memory + before + SLAB_HUGE_BYTES, SLAB_HUGE_BYTES - before);
    (void)!madvise(memory + before, SLAB_HUGE_BYTES, MADV_HUGEPAGE); /* a wish */
    return put_in_list(slabs, memory + before, SLAB_HUGE_BYTES);
}

void slabs_free(struct slab **slabs)
{
    for (struct slab *s; (s = *slabs);) {
        *slabs = s->next;
        munmap(s, s->size);
    }
}

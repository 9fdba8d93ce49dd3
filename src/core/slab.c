#include "core/slab.h"

#include <sys/mman.h>

#include "base/must.h"

struct slab *slab_get(struct slab **slabs, size_t size)
{
    struct slab *s =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    must(s != MAP_FAILED);
    s->size = size;
    s->next = *slabs;
    *slabs = s;
    return s;
}

void slabs_free(struct slab **slabs)
{
    for (struct slab *s; (s = *slabs);) {
        *slabs = s->next;
        munmap(s, s->size);
    }
}

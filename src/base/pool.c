#include "base/pool.h"

#include "base/mem.h"
#include "base/must.h"

#define SLAB_BYTES (32 * 1024)

struct pool_slab {
    struct pool_slab *next;
    uint64_t aligner;
};

void pool_init(struct pool *p, size_t object_bytes)
{
    object_bytes = (object_bytes + 15) & ~(size_t)15;
    must(object_bytes >= sizeof(void *) && object_bytes <= SLAB_BYTES / 4);
    *p = (struct pool){ .object_bytes = object_bytes };
}

void pool_close(struct pool *p)
{
    while (p->slabs) {
        struct pool_slab *slab = p->slabs;
        p->slabs = slab->next;
        mem_free(slab);
    }
    p->free = NULL;
    p->taken = 0;
}

static void add_slab(struct pool *p)
{
    struct pool_slab *slab = mem_must_get(SLAB_BYTES);
    slab->next = p->slabs;
    p->slabs = slab;
    size_t count = (SLAB_BYTES - sizeof *slab) / p->object_bytes;
    for (size_t i = count; i > 0; i--) {
        void **object = (void **)(void *)((char *)(slab + 1) + (i - 1) * p->object_bytes);
        *object = p->free;
        p->free = object;
    }
}

void *pool_take(struct pool *p)
{
    if (!p->free)
        add_slab(p);
    void **object = p->free;
    must(object);
    p->free = *object;
    p->taken++;
    return object;
}

void pool_give(struct pool *p, void *object)
{
    *(void **)object = p->free;
    p->free = object;
    p->taken--;
}

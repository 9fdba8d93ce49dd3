/* pool: objects of one size, taken and given back last-in first-out, so that the one just given is still in
 * the cache.
 *
 *      slab [ o o o o o ]  slab [ o o o o o ]      free ─▶ o ─▶ o ─▶ o
 *
 * Slabs are kept until the pool is closed: what a worker once needed it may need again. One thread. */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct pool {
    size_t object_bytes;
    void *free;
    struct pool_slab *slabs;
    uint32_t taken; /* objects out now */
};

void pool_init(struct pool *p, size_t object_bytes);
/* Everything taken from it is void afterwards. */
void pool_close(struct pool *p);
/* Not zeroed. Never NULL (run time: aborts when there is no memory). */
void *pool_take(struct pool *p) __attribute__((returns_nonnull, warn_unused_result));
void pool_give(struct pool *p, void *object);

/* slab: pages straight from the kernel for pools of one worker; given back when the worker ends. */
#pragma once
#include <stddef.h>

struct slab {
    struct slab *next;
    size_t size;
};

/* Zeroed, page aligned, linked into *slabs; what follows the head is the caller's. Aborts when there is none.
 */
struct slab *slab_get(struct slab **slabs, size_t size);
void slabs_free(struct slab **slabs);

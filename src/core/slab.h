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
/* The same with a size of SLAB_HUGE_BYTES, in one huge page where the kernel has one: for what each request
 * touches. With ordinary pages a few hundred connections need more of them than the processor remembers (its
 * TLB), which costs most in a virtual machine. */
#define SLAB_HUGE_BYTES (2u << 20)
struct slab *slab_get_huge(struct slab **slabs);
void slabs_free(struct slab **slabs);

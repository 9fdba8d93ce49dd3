/* mem: the heap, for start-up and for pools that grow; the request path takes from arenas and pools instead.
 *
 * mem_get may fail and its caller says ERR_MEMORY: that is for start-up and reload, where a person waits.
 * mem_must_get aborts: at run time there is nothing sensible left to do (house rule 6).
 * Tests make the N-th mem_get of the thread fail, to walk every way out of start-up code. Any thread. */
#pragma once
#include <stddef.h>
#include <stdint.h>

/* Zeroed. NULL when there is no memory. */
void *mem_get(size_t size) __attribute__((malloc, warn_unused_result));
/* The same at a multiple of align, a power of two: what must not share a cache line with others. */
void *mem_get_aligned(size_t size, size_t align) __attribute__((malloc, warn_unused_result));
void *mem_must_get(size_t size) __attribute__((malloc, returns_nonnull, warn_unused_result));
/* memory, as large as size and maybe elsewhere; what is new of it is anything. What is large moves without
 * being copied. */
void *mem_must_resize(void *memory, size_t size) __attribute__((returns_nonnull, warn_unused_result));
void mem_free(void *memory);

/* The N-th mem_get from now (1 is the next) returns NULL, and every one after it; 0 turns it off. This
 * thread. */
void mem_fail_at(uint64_t n);
/* How many mem_get calls this thread made since mem_fail_at. */
uint64_t mem_count(void);

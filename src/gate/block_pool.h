/* block_pool: blocks of any size for streams that come and go (compressors, bodies that wait): a worker's
 * own, so that no request asks the heap.
 *
 *      get(size) ──▶ class (four an octave) ──▶ free list ──▶ the block last given back
 *                                                  └ empty ──▶ a new one from the heap
 *
 * What is given back is kept for the next stream, up to kept_bytes_max; beyond it goes to the heap. A pool is
 * never shared between purposes. One worker. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BLOCK_SHIFT_MIN 8  /* the smallest class: 256 bytes */
#define BLOCK_SHIFT_MAX 28 /* the largest: 256 MiB */
#define BLOCK_CLASSES (4 * (BLOCK_SHIFT_MAX - BLOCK_SHIFT_MIN) + 1)

struct block;

struct block_pool {
    struct block *free[BLOCK_CLASSES];
    size_t used_bytes; /* blocks that are out */
    size_t kept_bytes; /* blocks in the lists */
    size_t kept_bytes_max;
};

/* Not zeroed, 16-byte aligned. NULL: larger than any class. (A heap that is empty aborts.) */
void *block_pool_get(struct block_pool *m, size_t size);
/* NULL is allowed. Returns how large the block was, for whoever counts. */
size_t block_pool_put(struct block_pool *m, void *memory);
/* Of a block that is out. */
size_t block_pool_size(const void *memory);
/* Frees what is kept; nothing may be out. */
void block_pool_close(struct block_pool *m);

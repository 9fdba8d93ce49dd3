/* coder_memory: where compressors take their memory from: a worker's own pool, so that no request asks the
 * heap.
 *
 *      zlib, brotli, zstd ──get(size)──▶ class (four an octave) ──▶ free list ──▶ block last given back
 *                                                                    └ empty ──▶ a new block from the heap
 *
 * What is given back is kept for the next stream, up to kept_bytes_max; beyond it goes to the heap. One
 * worker. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CODER_BLOCK_SHIFT_MIN 8  /* the smallest class: 256 bytes */
#define CODER_BLOCK_SHIFT_MAX 28 /* the largest: 256 MiB */
#define CODER_BLOCK_CLASSES (4 * (CODER_BLOCK_SHIFT_MAX - CODER_BLOCK_SHIFT_MIN) + 1)

struct coder_block;

struct coder_memory {
    struct coder_block *free[CODER_BLOCK_CLASSES];
    size_t used_bytes; /* blocks that are out */
    size_t kept_bytes; /* blocks in the lists */
    size_t kept_bytes_max;
};

/* Not zeroed, 16-byte aligned. NULL: larger than any class. (A heap that is empty aborts.) */
void *coder_memory_get(struct coder_memory *m, size_t size);
/* NULL is allowed. Returns how large the block was, for whoever counts. */
size_t coder_memory_put(struct coder_memory *m, void *memory);
/* Of a block that is out. */
size_t coder_memory_size(const void *memory);
/* Frees what is kept; nothing may be out. */
void coder_memory_close(struct coder_memory *m);

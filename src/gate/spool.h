/* spool: bytes that wait to be read, first in, first out: in memory, and what is more in a file without a
 * name.
 *
 *      add ──▶ [ stage 64 KiB ]──full──▶ file ........ ──read──▶ [ block ] ──▶ peek, skip
 *         └──▶ [ memory ][ memory ] ───────────────────────────────────────▶
 *                (used while there is room and nothing waits in the file)
 *
 * One fiber adds and one (the same, or another of this worker) reads. Memory comes from the caller's pool. */
#pragma once
#include "base/bytes.h"
#include "base/err.h"
#include "gate/block_pool.h"

#define SPOOL_BLOCK_BYTES (64 * 1024)

struct spool_opts {
    struct block_pool *pool;
    size_t pool_bytes_max;   /* of all that is out of the pool */
    size_t memory_bytes_max; /* of this spool, beside its stage and the block it reads into */
    uint64_t file_bytes_max; /* 0: no file */
    const char *folder;      /* for the file, NUL behind it */
};

struct spool_segment;

struct spool {
    struct spool_opts opts;
    struct spool_segment *head, *tail;
    size_t memory_bytes; /* in segments */
    uint64_t bytes;      /* that wait */
    char *stage;         /* NULL until it is needed */
    size_t stage_start, stage_end;
    int fd; /* -1: there is no file yet */
    uint64_t file_start, file_end;
    char *block; /* what was read from the file, or was the stage when that was next to be read */
    size_t block_start, block_end;
    bool writing; /* the stage is on its way into the file */
};

void spool_open(struct spool *s, const struct spool_opts *o);
void spool_close(struct spool *s);
/* A stage of its own, so that adding never fails for want of pooled memory as long as somebody reads.
 * ERR_LIMIT. */
err spool_reserve(struct spool *s) CHECK_RESULT;
/* Takes as much of data as there is room for; what is lent is not in the way. May wait for a disk.
 * ERR_UNAVAILABLE: it is full, or no descriptor or helper is to be had; ERR_IO. */
err spool_add(struct spool *s, struct bytes data, size_t *ret_taken) CHECK_RESULT;
/* Lends what comes next; len 0: nothing is there, or it is on its way into the file just now. May wait for a
 * disk. ERR_IO. */
err spool_peek(struct spool *s, struct bytes *ret_bytes) CHECK_RESULT;
/* The first n of the bytes lent are done with. */
void spool_skip(struct spool *s, size_t n);

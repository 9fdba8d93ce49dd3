/* arena: memory that is given back all at once: an exchange's, a configuration generation's.
 *
 *      chunk ◀── chunk ◀── chunk [used ▒▒▒▒▒▒ pos ──── end]
 *
 * One thread at a time. What it hands out is 8-byte aligned, not zeroed unless said, and lives until
 * arena_close. A cap bounds what one arena may take; past it arena_get returns NULL,
 * which on the request path is an answer to the client (ERR_LIMIT), never an abort. */
#pragma once
#include <stddef.h>

#include "base/bytes.h"

/* Where chunks come from: the heap at start-up, a worker's pool on the request path. */
struct arena_source {
    /* At least *size bytes; sets *size to what it gave. NULL: none left. */
    void *(*get)(size_t *size);
    void (*put)(void *chunk, size_t size);
};
extern const struct arena_source arena_heap;

struct arena {
    char *pos;
    char *end;
    struct arena_chunk *last;
    size_t taken; /* bytes of all chunks */
    size_t taken_max;
    const struct arena_source *source;
};

/* Takes nothing yet. first/first_size: memory of the caller's that is used up before any chunk is taken (of
 * any alignment); may be NULL/0; it is not given back by the arena. */
void arena_open(struct arena *a, const struct arena_source *source, size_t taken_max, void *first,
                size_t first_size);
void arena_close(struct arena *a);

/* Of arena_get: what does not fit the chunk at hand. */
void *arena_get_slow(struct arena *a, size_t size);

static inline void *arena_get(struct arena *a, size_t size)
{
    /* pos and end are multiples of 8 apart: what fits before rounding fits after it */
    if (size <= (size_t)(a->end - a->pos)) {
        void *memory = a->pos;
        a->pos += (size + 7) & ~(size_t)7;
        return memory;
    }
    return arena_get_slow(a, size);
}

void *arena_get_zero(struct arena *a, size_t size);
/* A copy with a NUL behind it (not counted). ptr is NULL when the cap is reached. */
struct bytes arena_copy(struct arena *a, struct bytes text);
/* printf into the arena, with a NUL behind it. ptr is NULL when the cap is reached. */
struct bytes arena_print(struct arena *a, const char *format, ...) __attribute__((format(printf, 2, 3)));

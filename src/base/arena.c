#include "base/arena.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/mem.h"

struct arena_chunk {
    struct arena_chunk *before;
    size_t size; /* of the whole chunk, this head included */
};

#define CHUNK_BYTES_MIN 4096

static void *heap_get(size_t *size)
{
    return mem_get(*size);
}

static void heap_put(void *chunk, size_t size)
{
    (void)size;
    mem_free(chunk);
}

const struct arena_source arena_heap = { heap_get, heap_put };

void arena_open(struct arena *a, const struct arena_source *source, size_t taken_max, void *first,
                size_t first_size)
{
    *a = (struct arena){ .taken_max = taken_max, .source = source };
    size_t skip = -(uintptr_t)first & 7;
    if (first_size < skip + 8)
        return;
    a->pos = (char *)first + skip;
    a->end = a->pos + ((first_size - skip) & ~(size_t)7);
}

void arena_close(struct arena *a)
{
    while (a->last) {
        struct arena_chunk *chunk = a->last;
        a->last = chunk->before;
        a->source->put(chunk, chunk->size);
    }
    a->pos = a->end = NULL;
    a->taken = 0;
}

void *arena_get_slow(struct arena *a, size_t size)
{
    if (a->taken >= a->taken_max || size > a->taken_max - a->taken)
        return NULL;
    if (size > SIZE_MAX - sizeof(struct arena_chunk) - 7)
        return NULL;
    size = (size + 7) & ~(size_t)7;
    size_t want = size + sizeof(struct arena_chunk);
    if (want < CHUNK_BYTES_MIN && CHUNK_BYTES_MIN <= a->taken_max - a->taken)
        want = CHUNK_BYTES_MIN;
    struct arena_chunk *chunk = a->source->get(&want);
    if (!chunk)
        return NULL;
    chunk->before = a->last;
    chunk->size = want;
    a->last = chunk;
    a->taken += want;
    a->pos = (char *)(chunk + 1);
    a->end = a->pos + ((want - sizeof(struct arena_chunk)) & ~(size_t)7);
    void *memory = a->pos;
    a->pos += size;
    return memory;
}

void *arena_get_zero(struct arena *a, size_t size)
{
    void *memory = arena_get(a, size);
    return memory ? memset(memory, 0, size) : NULL;
}

struct bytes arena_copy(struct arena *a, struct bytes text)
{
    char *copy = arena_get(a, text.len + 1);
    if (!copy)
        return BYTES_NONE;
    if (text.len)
        memcpy(copy, text.ptr, text.len);
    copy[text.len] = 0;
    return (struct bytes){ copy, text.len };
}

struct bytes arena_print(struct arena *a, const char *format, ...)
{
    va_list args;
    va_list again;
    va_start(args, format);
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *text = len < 0 ? NULL : arena_get(a, (size_t)len + 1);
    if (text)
        vsnprintf(text, (size_t)len + 1, format, again);
    va_end(again);
    return text ? (struct bytes){ text, (size_t)len } : BYTES_NONE;
}

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#include "base/must.h"

static _Thread_local uint64_t fail_at;
static _Thread_local uint64_t count;

void *mem_get(size_t size)
{
    count++;
    if (fail_at && count >= fail_at)
        return NULL;
    return calloc(1, size ? size : 1);
}

void *mem_get_aligned(size_t size, size_t align)
{
    must(align && !(align & (align - 1)));
    count++;
    if ((fail_at && count >= fail_at) || size > SIZE_MAX - align)
        return NULL;
    size = (size + align - 1) & ~(align - 1);
    void *memory = aligned_alloc(align, size ? size : align);
    return memory ? memset(memory, 0, size) : NULL;
}

void *mem_must_get(size_t size)
{
    void *memory = calloc(1, size ? size : 1);
    must(memory != NULL);
    return memory;
}

void *mem_must_resize(void *memory, size_t size)
{
    void *resized = realloc(memory, size ? size : 1);
    must(resized != NULL);
    return resized;
}

void mem_free(void *memory)
{
    free(memory);
}

void mem_fail_at(uint64_t n)
{
    fail_at = n;
    count = 0;
}

uint64_t mem_count(void)
{
    return count;
}

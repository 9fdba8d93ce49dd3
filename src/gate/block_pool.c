#include "gate/block_pool.h"

#include "base/mem.h"
#include "base/must.h"

struct block {
    struct block *next; /* while it is free */
    unsigned class;
    char memory[] __attribute__((aligned(16)));
};

/* Classes 0, 1, 2, 3, 4 ... hold 256, 320, 384, 448, 512 ... bytes. */
static size_t class_size(unsigned class)
{
    return ((size_t)4 + class % 4) << (BLOCK_SHIFT_MIN - 2 + class / 4);
}

static unsigned class_of(size_t size)
{
    if (size <= class_size(0))
        return 0;
    unsigned octave = 63 - (unsigned)__builtin_clzll(size - 1);
    unsigned quarter = (unsigned)((size - 1) >> (octave - 2)) & 3;
    return 4 * (octave - BLOCK_SHIFT_MIN) + quarter + 1;
}

static struct block *block_of(const void *memory)
{
    return (struct block *)(uintptr_t)((const char *)memory - offsetof(struct block, memory));
}

void *block_pool_get(struct block_pool *m, size_t size)
{
    unsigned class = class_of(size);
    if (class >= BLOCK_CLASSES)
        return NULL;
    struct block *b = m->free[class];
    if (b) {
        m->free[class] = b->next;
        m->kept_bytes -= class_size(class);
    } else {
        b = mem_must_get(sizeof *b + class_size(class));
        b->class = class;
    }
    m->used_bytes += class_size(class);
    return b->memory;
}

size_t block_pool_size(const void *memory)
{
    return class_size(block_of(memory)->class);
}

size_t block_pool_put(struct block_pool *m, void *memory)
{
    if (!memory)
        return 0;
    struct block *b = block_of(memory);
    size_t size = class_size(b->class);
    m->used_bytes -= size;
    if (m->kept_bytes + size > m->kept_bytes_max) {
        mem_free(b);
        return size;
    }
    b->next = m->free[b->class];
    m->free[b->class] = b;
    m->kept_bytes += size;
    return size;
}

void block_pool_close(struct block_pool *m)
{
    must(m->used_bytes == 0);
    for (unsigned i = 0; i < BLOCK_CLASSES; i++) {
        for (struct block *b; (b = m->free[i]);) {
            m->free[i] = b->next;
            mem_free(b);
        }
    }
    m->kept_bytes = 0;
}

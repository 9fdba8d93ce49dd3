#if WEIR_HAVE_NGHTTP2
#include "gate/http2_memory.h"

#include <string.h>

#include "base/mem.h"
#include "core/worker.h"

/* Blocks of 32, 64, ... 32768 bytes, the mark in front included; larger ones are the heap's. */
#define CLASS_SHIFT_MIN 5
#define CLASSES 11
#define SLAB_BYTES (64 * 1024)

/* Stands in front of each block; keeps what follows aligned as malloc's is. */
struct mark {
    uint32_t class; /* CLASSES: the heap's */
    uint32_t bytes; /* that may be used */
    struct mark *next;
};

struct slab {
    struct slab *next;
    uint64_t pad;
};

static _Thread_local struct {
    struct mark *free[CLASSES];
    struct slab *slabs;
    char *fresh, *fresh_end;
    struct turn_hook end;
} here;

static void end_memory(struct turn_hook *h)
{
    (void)h;
    while (here.slabs) {
        struct slab *s = here.slabs;
        here.slabs = s->next;
        mem_free(s);
    }
    memset(&here, 0, sizeof here);
}

static unsigned class_of(size_t bytes)
{
    unsigned shift = bytes > 1 ? 64 - (unsigned)__builtin_clzl(bytes - 1) : 0;
    return shift < CLASS_SHIFT_MIN ? 0 : shift - CLASS_SHIFT_MIN;
}

static char *new_slab(size_t bytes)
{
    struct slab *s = mem_must_get(sizeof *s + bytes);
    s->next = here.slabs;
    here.slabs = s;
    return (char *)(s + 1);
}

static struct mark *carve(size_t bytes)
{
    if (bytes > SLAB_BYTES / 8)
        return (struct mark *)(void *)new_slab(bytes);
    if ((size_t)(here.fresh_end - here.fresh) < bytes) {
        here.fresh = new_slab(SLAB_BYTES);
        here.fresh_end = here.fresh + SLAB_BYTES;
    }
    struct mark *m = (struct mark *)(void *)here.fresh;
    here.fresh += bytes;
    return m;
}

static void *get(size_t size, void *user)
{
    (void)user;
    const size_t bytes = size + sizeof(struct mark);
    const unsigned class = class_of(bytes);
    struct mark *m;
    if (class >= CLASSES) {
        m = mem_must_get(bytes);
        *m = (struct mark){ .class = CLASSES, .bytes = (uint32_t)size };
        return m + 1;
    }
    m = here.free[class];
    if (m)
        here.free[class] = m->next;
    else
        m = carve((size_t)1 << (class + CLASS_SHIFT_MIN));
    m->class = class;
    m->bytes = (1u << (class + CLASS_SHIFT_MIN)) - (uint32_t)sizeof *m;
    return m + 1;
}

static void put(void *block, void *user)
{
    (void)user;
    if (!block)
        return;
    struct mark *m = (struct mark *)block - 1;
    if (m->class == CLASSES) {
        mem_free(m);
        return;
    }
    m->next = here.free[m->class];
    here.free[m->class] = m;
}

static void *get_zeroed(size_t count, size_t size, void *user)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes))
        return NULL;
    return memset(get(bytes, user), 0, bytes);
}

static void *resize(void *block, size_t size, void *user)
{
    struct mark *m = block ? (struct mark *)block - 1 : NULL;
    if (m && size <= m->bytes)
        return block;
    void *other = get(size, user);
    if (m) {
        memcpy(other, block, m->bytes);
        put(block, user);
    }
    return other;
}

nghttp2_mem *http2_memory(void)
{
    static nghttp2_mem memory = { NULL, get, put, get_zeroed, resize };
    if (!here.end.run) {
        here.end.run = end_memory;
        worker_on_end(&here.end);
    }
    return &memory;
}
#endif

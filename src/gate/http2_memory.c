#include "gate/http2_memory.h"
#if WEIR_HAVE_NGHTTP2

#include <string.h>
#include <sys/mman.h>

#include "base/mem.h"
#include "base/must.h"
#include "core/worker.h"

/* Sizes of blocks, the mark in front included: by 16 bytes up to SMALL_BYTES_MAX, then four to each doubling,
 * up to 32 KiB; larger ones are the heap's. */
#define SMALL_BYTES_MAX 128
#define SMALL_CLASSES (SMALL_BYTES_MAX / 16)
#define LARGE_SHIFT_MIN 7
#define LARGE_SHIFT_MAX 14
#define CLASSES (SMALL_CLASSES + (LARGE_SHIFT_MAX - LARGE_SHIFT_MIN + 1) * 4)
#define SLAB_BYTES (1024 * 1024)
#define PAGE_BYTES 4096

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
        munmap(s, SLAB_BYTES);
    }
    memset(&here, 0, sizeof here);
}

static unsigned class_of(size_t bytes)
{
    if (bytes <= SMALL_BYTES_MAX)
        return (unsigned)((bytes + 15) / 16) - 1;
    const unsigned shift = 63 - (unsigned)__builtin_clzl(bytes - 1);
    return SMALL_CLASSES + (shift - LARGE_SHIFT_MIN) * 4 + (unsigned)((bytes - 1) >> (shift - 2) & 3);
}

static size_t bytes_of(unsigned class)
{
    if (class < SMALL_CLASSES)
        return (class + 1) * (size_t)16;
    const unsigned shift = LARGE_SHIFT_MIN + (class - SMALL_CLASSES) / 4;
    return (size_t)(5 + (class - SMALL_CLASSES) % 4) << (shift - 2);
}

/* Pages that nobody has written to cost nothing: of a frame's buffer most connections use the first one. */
static void new_slab(void)
{
    struct slab *s = mmap(NULL, SLAB_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    must(s != MAP_FAILED);
    madvise(s, SLAB_BYTES, MADV_NOHUGEPAGE);
    s->next = here.slabs;
    here.slabs = s;
    here.fresh = (char *)(s + 1);
    here.fresh_end = (char *)s + SLAB_BYTES;
}

static struct mark *carve(size_t bytes)
{
    const size_t align = bytes > PAGE_BYTES * 2 ? PAGE_BYTES : 16;
    size_t skip = -(uintptr_t)here.fresh & (align - 1);
    if ((size_t)(here.fresh_end - here.fresh) < bytes + skip) {
        new_slab();
        skip = -(uintptr_t)here.fresh & (align - 1);
    }
    struct mark *m = (struct mark *)(void *)(here.fresh + skip);
    here.fresh += skip + bytes;
    return m;
}

static void *get(size_t size, void *user)
{
    (void)user;
    const size_t bytes = size + sizeof(struct mark);
    struct mark *m;
    if (bytes > (size_t)1 << (LARGE_SHIFT_MAX + 1)) {
        m = mem_must_get(bytes);
        *m = (struct mark){ .class = CLASSES, .bytes = (uint32_t)size };
        return m + 1;
    }
    const unsigned class = class_of(bytes);
    m = here.free[class];
    if (m)
        here.free[class] = m->next;
    else
        m = carve(bytes_of(class));
    m->class = class;
    m->bytes = (uint32_t)(bytes_of(class) - sizeof *m);
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

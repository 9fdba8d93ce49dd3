#include "gate/shared_area.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* since Linux 5.14 */
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* since Linux 6.1 */
#endif

#define AREA_BYTES_MIN (UINT64_C(64) << 20)
#define PAGE_BYTES 4096
/* What is touched here and there, as large tables are, is found sooner in huge pages; below this they would
 * only cost memory. */
#define HUGE_PAGES_BYTES_MIN (16u << 20)
#define HUGE_PAGES_BYTES_MAX \
    (256u << 20) /* of one piece: a third of a second's work, and it is resident then */
#define HUGE_PAGE_BYTES (2u << 20)
#define LINE_BYTES 128 /* two cache lines: processors fetch them in pairs */

/* A piece that was given back; taken again only by who wants that very size. */
struct piece {
    struct piece *next;
    uint64_t offset, size;
};

static struct {
    int fd;
    char *base; /* NULL: not open */
    uint64_t size, end;
    struct piece *free;
} area = { .fd = -1 };

/* ---- opening ---- */

/* At an address where huge pages are possible. */
static char *map(int fd, uint64_t size)
{
    const int flags = fd >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS;
    char *room =
        mmap(NULL, size + HUGE_PAGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED)
        return NULL;
    const size_t before = HUGE_PAGE_BYTES - (uintptr_t)room % HUGE_PAGE_BYTES;
    void *base = mmap(room + before, size, PROT_READ | PROT_WRITE, flags | MAP_NORESERVE | MAP_FIXED, fd, 0);
    munmap(room, base == MAP_FAILED ? size + HUGE_PAGE_BYTES : before);
    if (base == MAP_FAILED)
        return NULL;
    munmap(room + before + size, HUGE_PAGE_BYTES - before);
    return base;
}

/* As large as the limits on this process allow. */
static err open_new(void)
{
    int fd = memfd_create("weir-shared", MFD_CLOEXEC);
    for (uint64_t size = SHARED_AREA_BYTES_MAX; size >= AREA_BYTES_MIN; size /= 2) {
        if (fd >= 0 && ftruncate(fd, (off_t)size) < 0)
            continue;
        area.base = map(fd, size);
        if (!area.base)
            continue;
        area.fd = fd;
        area.size = size;
        area.end = 0;
        return OK;
    }
    if (fd >= 0)
        close(fd);
    return ERR_MEMORY;
}

err area_open(int fd, uint64_t end)
{
    struct stat s;
    if (fd < 0)
        return open_new();
    if (fstat(fd, &s) < 0 || (uint64_t)s.st_size < end || (uint64_t)s.st_size > SHARED_AREA_BYTES_MAX)
        return ERR_SYSTEM;
    char *base = map(fd, (uint64_t)s.st_size);
    if (!base)
        return ERR_MEMORY;
    area.fd = fd;
    area.base = base;
    area.size = (uint64_t)s.st_size;
    area.end = end;
    return OK;
}

int area_fd(uint64_t *ret_end)
{
    *ret_end = area.end;
    return area.base ? area.fd : -1;
}

/* ---- pieces ---- */

static uint64_t round_up(uint64_t size)
{
    uint64_t unit = size >= PAGE_BYTES ? PAGE_BYTES : LINE_BYTES;
    return (size + unit - 1) / unit * unit;
}

static void zero(uint64_t offset, uint64_t size)
{
    if (area.fd >= 0 &&
        fallocate(area.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)size) == 0)
        return;
    if (area.fd < 0 && size >= PAGE_BYTES && madvise(area.base + offset, size, MADV_DONTNEED) == 0)
        return;
    memset(area.base + offset, 0, size);
}

/* A wish. The second way asks nobody: of a memfd the system's shmem_enabled is usually `never`. */
static void make_huge(char *memory, uint64_t size)
{
    if (size < HUGE_PAGES_BYTES_MIN || size > HUGE_PAGES_BYTES_MAX)
        return;
    if (madvise(memory, size, MADV_HUGEPAGE) == 0 && madvise(memory, size, MADV_POPULATE_WRITE) == 0)
        (void)!madvise(memory, size, MADV_COLLAPSE);
}

void *area_take(uint64_t size)
{
    if ((!area.base && open_new() != OK) || size == 0 || size > area.size)
        return NULL;
    size = round_up(size);
    for (struct piece **at = &area.free; *at; at = &(*at)->next) {
        struct piece *p = *at;
        if (p->size != size)
            continue;
        void *memory = area.base + p->offset;
        *at = p->next;
        mem_free(p);
        make_huge(memory, size);
        return memory;
    }
    uint64_t offset = area.end;
    uint64_t unit = size >= HUGE_PAGES_BYTES_MIN ? HUGE_PAGE_BYTES
                    : size >= PAGE_BYTES         ? PAGE_BYTES
                                                 : LINE_BYTES;
    offset = (offset + unit - 1) / unit * unit;
    if (offset > area.size || size > area.size - offset)
        return NULL;
    area.end = offset + size;
    make_huge(area.base + offset, size);
    return area.base + offset;
}

void area_forget(void *memory, uint64_t size)
{
    zero(area_offset(memory), round_up(size));
}

void area_give(void *memory, uint64_t size)
{
    struct piece *p = mem_get(sizeof *p);
    area_forget(memory, size);
    if (!p)
        return; /* those addresses are lost, the memory is not */
    *p = (struct piece){ area.free, area_offset(memory), round_up(size) };
    area.free = p;
}

uint64_t area_offset(const void *memory)
{
    return (uint64_t)((const char *)memory - area.base);
}

void *area_at(uint64_t offset, uint64_t size)
{
    if (!area.base || size == 0 || offset > area.end || round_up(size) > area.end - offset ||
        offset % LINE_BYTES)
        return NULL;
    return area.base + offset;
}

void area_trim(void)
{
    if (area.base && area.end < area.size)
        zero(area.end, area.size - area.end);
}

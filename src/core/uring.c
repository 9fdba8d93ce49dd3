#include "core/loop.h"

#if WEIR_HAVE_URING

#include "core/uring.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"

/* Newer than the oldest headers that we build with. */
#ifndef IORING_SETUP_NO_SQARRAY
#define IORING_SETUP_NO_SQARRAY (1U << 16) /* Linux 6.6 */
#endif

#define SHARED_LOAD(p) __atomic_load_n(p, __ATOMIC_ACQUIRE)
#define SHARED_STORE(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)

/* From the best to the plainest; a kernel that does not know a flag says EINVAL. */
static const unsigned setups[] = {
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL |
        IORING_SETUP_NO_SQARRAY,
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL,
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL,
};

static int ring_register(struct uring *u, unsigned what, void *arg, unsigned count)
{
    return (int)syscall(__NR_io_uring_register, u->real_fd, what, arg, count);
}

static err map_rings(struct uring *u, const struct io_uring_params *p)
{
    size_t sq_bytes = p->sq_off.array + p->sq_entries * sizeof(unsigned);
    size_t cq_bytes = p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe);
    u->rings_bytes = sq_bytes > cq_bytes ? sq_bytes : cq_bytes;
    u->sqe_bytes = p->sq_entries * sizeof(struct io_uring_sqe);
    char *rings = mmap(NULL, u->rings_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, u->real_fd,
                       IORING_OFF_SQ_RING);
    if (rings == MAP_FAILED)
        return ERR_MEMORY;
    u->rings = rings;
    void *sqes = mmap(NULL, u->sqe_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, u->real_fd,
                      IORING_OFF_SQES);
    if (sqes == MAP_FAILED)
        return ERR_MEMORY;
    u->sqe_memory = u->sqes = sqes;

    u->sq_head = (unsigned *)(void *)(rings + p->sq_off.head);
    u->sq_tail = (unsigned *)(void *)(rings + p->sq_off.tail);
    u->sq_flags = (unsigned *)(void *)(rings + p->sq_off.flags);
    u->sq_entries = p->sq_entries;
    u->sq_mask = p->sq_entries - 1;
    if (!(u->setup_flags & IORING_SETUP_NO_SQARRAY))
        u->sq_array = (unsigned *)(void *)(rings + p->sq_off.array);
    for (unsigned i = 0; u->sq_array && i < p->sq_entries; i++)
        u->sq_array[i] = i;
    u->cq_head = (unsigned *)(void *)(rings + p->cq_off.head);
    u->cq_tail = (unsigned *)(void *)(rings + p->cq_off.tail);
    u->cq_mask = p->cq_entries - 1;
    u->cqes = (struct io_uring_cqe *)(void *)(rings + p->cq_off.cqes);
    return OK;
}

/* Spares the kernel a look into the descriptor table each time; not there before 5.18, and not needed. */
static void register_ring_fd(struct uring *u)
{
    struct io_uring_rsrc_update self = { .offset = -1U, .data = (unsigned)u->real_fd };
    if (ring_register(u, IORING_REGISTER_RING_FDS, &self, 1) != 1)
        return;
    u->fd = (int)self.offset;
    u->enter_flags |= IORING_ENTER_REGISTERED_RING;
}

err uring_open(struct uring *u, unsigned entries, unsigned completions)
{
    *u = (struct uring){ .real_fd = -1 };
    struct io_uring_params p;
    for (unsigned i = 0; u->real_fd < 0 && i < sizeof setups / sizeof *setups; i++) {
        p = (struct io_uring_params){ .flags = setups[i] | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
                                      .cq_entries = completions };
        u->real_fd = (int)syscall(__NR_io_uring_setup, entries, &p);
        u->setup_flags = p.flags;
        if (u->real_fd < 0 && errno != EINVAL)
            return err_from_errno(errno);
    }
    if (u->real_fd < 0)
        return ERR_UNSUPPORTED;
    const unsigned needed = IORING_FEAT_SINGLE_MMAP | IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE |
                            IORING_FEAT_EXT_ARG | IORING_FEAT_CQE_SKIP;
    err e = (p.features & needed) == needed ? map_rings(u, &p) : ERR_UNSUPPORTED;
    if (e) {
        uring_close(u);
        return e;
    }
    u->fd = u->real_fd;
    u->enter_flags = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG;
    register_ring_fd(u);
    return OK;
}

void uring_close(struct uring *u)
{
    if (u->sqe_memory)
        munmap(u->sqe_memory, u->sqe_bytes);
    if (u->rings)
        munmap(u->rings, u->rings_bytes);
    if (u->real_fd >= 0) {
        if (u->enter_flags & IORING_ENTER_REGISTERED_RING) {
            struct io_uring_rsrc_update self = { .offset = (unsigned)u->fd };
            ring_register(u, IORING_UNREGISTER_RING_FDS, &self, 1);
        }
        close(u->real_fd);
    }
    mem_free(u->stash);
    *u = (struct uring){ .real_fd = -1 };
}

/* ---- submission ---- */

unsigned uring_sqes_left(const struct uring *u)
{
    return u->sq_entries - (u->sq_next - SHARED_LOAD(u->sq_head));
}

void uring_enter(struct uring *u, unsigned wanted, uint64_t timeout_us)
{
    struct __kernel_timespec ts = { (int64_t)(timeout_us / 1000000), (int64_t)(timeout_us % 1000000 * 1000) };
    struct io_uring_getevents_arg arg = { .sigmask_sz = _NSIG / 8 };
    if (wanted && timeout_us != UINT64_MAX)
        arg.ts = (uint64_t)(uintptr_t)&ts;
    SHARED_STORE(u->sq_tail, u->sq_next);
    unsigned submit = u->sq_next - SHARED_LOAD(u->sq_head);
    u->enters++;
    /* What it returns is seen in the rings as well: what was not submitted, or not waited for, is so next
     * time. */
    syscall(__NR_io_uring_enter, u->fd, submit, wanted, u->enter_flags, &arg, sizeof arg);
}

bool uring_is_level(const struct uring *u)
{
    return SHARED_LOAD(u->sq_head) == u->sq_next && !(SHARED_LOAD(u->sq_flags) & IORING_SQ_CQ_OVERFLOW);
}

struct io_uring_sqe *uring_sqe(struct uring *u)
{
    while (uring_sqes_left(u) == 0)
        uring_enter(u, 0, 0);
    struct io_uring_sqe *sqe = &u->sqes[u->sq_next++ & u->sq_mask];
    memset(sqe, 0, sizeof *sqe);
    return sqe;
}

/* ---- completion ---- */

unsigned uring_cqes_ready(const struct uring *u)
{
    return SHARED_LOAD(u->cq_tail) - *u->cq_head + u->stash_count - u->stash_next;
}

bool uring_cqe_fresh(struct uring *u, struct io_uring_cqe *ret_cqe)
{
    unsigned head = *u->cq_head;
    if (head == SHARED_LOAD(u->cq_tail))
        return false;
    *ret_cqe = u->cqes[head & u->cq_mask];
    SHARED_STORE(u->cq_head, head + 1);
    return true;
}

bool uring_cqe(struct uring *u, struct io_uring_cqe *ret_cqe)
{
    if (__builtin_expect(u->stash_count == 0, 1))
        return uring_cqe_fresh(u, ret_cqe);
    *ret_cqe = u->stash[u->stash_next++];
    if (u->stash_next == u->stash_count)
        u->stash_next = u->stash_count = 0;
    return true;
}

void uring_stash(struct uring *u, const struct io_uring_cqe *cqe)
{
    if (u->stash_count == u->stash_size) {
        unsigned size = u->stash_size ? 2 * u->stash_size : 256;
        struct io_uring_cqe *larger = mem_must_get(size * sizeof *larger);
        if (u->stash_count)
            memcpy(larger, u->stash, u->stash_count * sizeof *larger);
        mem_free(u->stash);
        u->stash = larger;
        u->stash_size = size;
    }
    u->stash[u->stash_count++] = *cqe;
}

/* ---- provided buffers ---- */

err uring_buffers_open(struct uring *u, struct uring_buffers *b, unsigned entries, uint16_t group)
{
    *b = (struct uring_buffers){ .mask = entries - 1,
                                 .group = group,
                                 .bytes = entries * sizeof(struct io_uring_buf) };
    void *ring = mmap(NULL, b->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (ring == MAP_FAILED)
        return ERR_MEMORY;
    struct io_uring_buf_reg reg = { .ring_addr = (uint64_t)(uintptr_t)ring,
                                    .ring_entries = entries,
                                    .bgid = group };
    if (ring_register(u, IORING_REGISTER_PBUF_RING, &reg, 1) < 0) {
        err e = errno == EINVAL ? ERR_UNSUPPORTED : err_from_errno(errno);
        munmap(ring, b->bytes);
        return e;
    }
    b->ring = ring;
    return OK;
}

void uring_buffers_close(struct uring *u, struct uring_buffers *b)
{
    struct io_uring_buf_reg reg = { .bgid = b->group };
    ring_register(u, IORING_UNREGISTER_PBUF_RING, &reg, 1);
    munmap(b->ring, b->bytes);
}

uint16_t uring_buffers_add(struct uring_buffers *b, void *data, unsigned len)
{
    uint16_t number = (uint16_t)(b->tail & b->mask);
    /* The tail lies in the unused field of the first entry, so entries are filled field by field. */
    struct io_uring_buf *entry = (struct io_uring_buf *)(void *)b->ring + number;
    entry->addr = (uint64_t)(uintptr_t)data;
    entry->len = len;
    entry->bid = number;
    b->tail++;
    return number;
}

void uring_buffers_publish(struct uring_buffers *b)
{
    SHARED_STORE(&b->ring->tail, b->tail);
}

#endif

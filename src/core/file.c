#include "core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "core/helper.h"

/* since Linux 5.12; older headers */
#ifndef RESOLVE_CACHED
#define RESOLVE_CACHED 0x20
#endif

#define OPEN_FLAGS (O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
/* RESOLVE_BENEATH gives up when somebody renames folders meanwhile. */
#define RACES_MAX 16
/* How far apart a piece is looked at to know whether it is in memory. */
#define PROBE_BYTES (64 * 1024)

static struct helper_pool helpers = HELPER_POOL("files", 4, 1024, 0);

/* What this kernel cannot do is asked for once. */
static atomic_bool no_openat2, no_cached;

static err error_of(int number)
{
    switch (number) {
    case ENOENT:
    case ENOTDIR:
    case ENAMETOOLONG:
    case ELOOP:
    case EXDEV: /* outside */
    case ENXIO: /* a socket, or a device that is not there */
    case EINVAL:
        return ERR_NOT_FOUND;
    case EACCES:
    case EPERM:
        return ERR_DENIED;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
        return ERR_LIMIT;
    default:
        return ERR_IO;
    }
}

/* ---- opening ---- */

struct opening {
    int folder;
    const char *path;
    int fd;
    int number; /* errno when fd is negative */
};

static int open_how(const struct opening *o, uint64_t resolve)
{
    struct open_how how = { .flags = OPEN_FLAGS, .resolve = resolve };
    return (int)syscall(SYS_openat2, o->folder, o->path, &how, sizeof how);
}

/* One part after the other, none of them a link. */
static int open_parts(int folder, const char *path)
{
    char part[NAME_MAX + 1];
    int at = folder;
    for (;;) {
        size_t len = strcspn(path, "/");
        const char *next = path + len + strspn(path + len, "/");
        bool last = path[len] == 0;
        if (len == 0 || len > NAME_MAX || (len == 2 && path[0] == '.' && path[1] == '.')) {
            errno = ENOENT;
            break;
        }
        memcpy(part, path, len);
        part[len] = 0;
        bool folder_wanted = !last; /* "a/" has to be one, too */
        int fd = openat(at, part, OPEN_FLAGS | O_NOFOLLOW | (folder_wanted ? O_DIRECTORY : 0));
        if (at != folder)
            close(at);
        if (fd < 0 || last || !*next)
            return fd;
        at = fd;
        path = next;
    }
    if (at != folder)
        close(at);
    return -1;
}

static void open_now(void *arg)
{
    struct opening *o = arg;
    o->fd = -1;
    errno = ENOSYS;
    for (int i = 0; o->fd < 0 && i < RACES_MAX && !atomic_load_explicit(&no_openat2, memory_order_relaxed);
         i++) {
        o->fd = open_how(o, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS);
        if (o->fd < 0 && errno == ENOSYS)
            atomic_store_explicit(&no_openat2, true, memory_order_relaxed);
        if (o->fd < 0 && errno != EAGAIN)
            break;
    }
    if (o->fd < 0 && errno == ENOSYS)
        o->fd = open_parts(o->folder, o->path);
    o->number = errno;
}

/* false: it is not in memory, or this kernel cannot say. */
static bool open_cached(struct opening *o)
{
    if (atomic_load_explicit(&no_cached, memory_order_relaxed))
        return false;
    o->fd = open_how(o, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_CACHED);
    o->number = errno;
    if (o->fd >= 0)
        return true;
    if (o->number == ENOSYS || o->number == EINVAL)
        atomic_store_explicit(&no_cached, true, memory_order_relaxed);
    return o->number != EAGAIN && o->number != ENOSYS && o->number != EINVAL;
}

err file_open_beneath(int folder, const char *path, int *ret_fd, struct stat *ret_stat)
{
    struct opening o = { .folder = folder, .path = path };
    if (!open_cached(&o)) {
        err e = helper_run(&helpers, open_now, &o);
        if (e)
            return e;
    }
    if (o.fd < 0)
        return error_of(o.number);
    if (fstat(o.fd, ret_stat) < 0) {
        close(o.fd);
        return ERR_IO;
    }
    *ret_fd = o.fd;
    return OK;
}

err file_open_unnamed(const char *folder, int *ret_fd)
{
    int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_of(errno);
    *ret_fd = fd;
    return OK;
}

/* ---- reading ---- */

struct reading {
    int fd;
    void *out;
    size_t size;
    uint64_t offset;
    ssize_t len;
    int number;
};

static void read_now(void *arg)
{
    struct reading *r = arg;
    do {
        r->len = pread(r->fd, r->out, r->size, (off_t)r->offset);
        r->number = errno;
    } while (r->len < 0 && r->number == EINTR);
}

/* false: some of it has to come from a disk. */
static bool read_cached(struct reading *r)
{
    struct iovec v = { r->out, r->size };
    r->len = preadv2(r->fd, &v, 1, (off_t)r->offset, RWF_NOWAIT);
    r->number = errno;
    return r->len > 0 || (r->len < 0 && r->number != EAGAIN && r->number != EOPNOTSUPP && r->number != EINTR);
}

err file_read(int fd, void *out, size_t size, uint64_t offset, size_t *ret_len)
{
    struct reading r = { .fd = fd, .out = out, .size = size, .offset = offset };
    if (!read_cached(&r)) {
        err e = helper_run(&helpers, read_now, &r);
        if (e)
            return e;
    }
    if (r.len < 0)
        return error_of(r.number);
    *ret_len = (size_t)r.len;
    return OK;
}

static void warm_now(void *arg)
{
    struct reading *r = arg;
    char piece[PROBE_BYTES];
    posix_fadvise(r->fd, (off_t)r->offset, (off_t)r->size, POSIX_FADV_WILLNEED);
    while (r->size > 0) {
        size_t n = r->size < sizeof piece ? r->size : sizeof piece;
        ssize_t got = pread(r->fd, piece, n, (off_t)r->offset);
        if (got <= 0)
            return;
        r->offset += (uint64_t)got;
        r->size -= (size_t)got;
    }
}

err file_warm(int fd, uint64_t offset, size_t size)
{
    char byte;
    for (size_t at = 0; at < size; at += PROBE_BYTES) {
        const uint64_t last = offset + (size - at < PROBE_BYTES ? size : at + PROBE_BYTES) - 1;
        struct reading r = { .fd = fd, .out = &byte, .size = 1, .offset = last };
        if (read_cached(&r))
            continue;
        r.offset = offset + at;
        r.size = size - at;
        return helper_run(&helpers, warm_now, &r);
    }
    return OK;
}

/* ---- writing ---- */

struct writing {
    int fd;
    struct bytes data;
    uint64_t offset;
    err e;
};

static void write_now(void *arg)
{
    struct writing *w = arg;
    while (w->data.len > 0) {
        ssize_t n = pwrite(w->fd, w->data.ptr, w->data.len, (off_t)w->offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            w->e = n < 0 && (errno == ENOSPC || errno == EDQUOT) ? ERR_LIMIT : ERR_IO;
            return;
        }
        w->data = bytes_skip(w->data, (size_t)n);
        w->offset += (uint64_t)n;
    }
}

err file_write(int fd, struct bytes data, uint64_t offset)
{
    struct writing w = { .fd = fd, .data = data, .offset = offset };
    err e = helper_run(&helpers, write_now, &w);
    return e ? e : w.e;
}

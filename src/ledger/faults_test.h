/* faults_test: a disk that fills up, writes and syncs that fail, a clock that is set back, for a test that
 * includes this: the system calls below take the place of the C library's in its program, and in liblmdb. */
#pragma once
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"

static struct {
    _Atomic int64_t bytes_left;                     /* the disk is full behind them */
    _Atomic int64_t syncs_left;                     /* then one fails, and writes too */
    _Atomic int64_t writes_left;                    /* then one fails */
    _Atomic int64_t clock_ms;                       /* added to the wall clock */
    _Atomic int64_t log_syncs_left;                 /* the same for files of the log alone */
    _Atomic int64_t log_unsynced;                   /* writes to them that no sync has followed */
    _Atomic int64_t checkpoint_syncs_left;          /* and for the checkpoint's alone */
    _Atomic int64_t checkpoints, checkpoints_ahead; /* syncs of the checkpoint; those in spite of that */
    _Atomic bool failed;
    const char *_Atomic watched; /* a file of this name, NULL: none; how often it was synced */
    _Atomic int64_t watched_syncs;
} fault;

static inline void no_faults(void)
{
    fault.bytes_left = fault.syncs_left = fault.writes_left = fault.log_syncs_left =
        fault.checkpoint_syncs_left = INT64_MAX / 2;
    fault.log_unsynced = fault.checkpoints = fault.checkpoints_ahead = fault.watched_syncs = 0;
    fault.clock_ms = 0;
    fault.watched = NULL;
    fault.failed = false;
}

static inline bool runs_out(_Atomic int64_t *left, int64_t n)
{
    return atomic_fetch_sub(left, n) < n;
}

/* With 64-bit offsets the names above stand for pwrite64 and so on; liblmdb may ask for these. */
ssize_t plain_pwrite(int fd, const void *data, size_t n, off_t at) __asm__("pwrite");
ssize_t plain_pwritev(int fd, const struct iovec *v, int count, off_t at) __asm__("pwritev");
int plain_posix_fallocate(int fd, off_t at, off_t n) __asm__("posix_fallocate");

static inline ssize_t fail_with(int number)
{
    fault.failed = true;
    errno = number;
    return -1;
}

static inline bool is_named(int fd, const char *name)
{
    char link[64], path[256];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    path[n > 0 ? n : 0] = 0;
    return strstr(path, name) != NULL;
}

static inline bool is_log(int fd)
{
    return is_named(fd, "/log-");
}

/* In every answer's time the log must be synced: by the descriptor, or by a call since. */
static inline void note_write(int fd)
{
    if (is_log(fd) && !(fcntl(fd, F_GETFL) & O_DSYNC))
        fault.log_unsynced++;
}

static inline bool sync_fails(int fd)
{
    if (runs_out(&fault.syncs_left, 1) || (is_log(fd) && runs_out(&fault.log_syncs_left, 1)))
        return true;
    if (is_log(fd))
        fault.log_unsynced = 0;
    if (fault.watched && is_named(fd, fault.watched))
        fault.watched_syncs++;
    if (is_named(fd, "/checkpoint/data.mdb")) {
        if (runs_out(&fault.checkpoint_syncs_left, 1))
            return true;
        fault.checkpoints++;
        fault.checkpoints_ahead += fault.log_unsynced > 0;
    }
    return false;
}

static inline bool write_fails(size_t n, int *ret_number)
{
    *ret_number = ENOSPC;
    if (runs_out(&fault.bytes_left, (int64_t)n))
        return true;
    *ret_number = EIO;
    return runs_out(&fault.writes_left, 1);
}

ssize_t pwrite(int fd, const void *data, size_t n, off_t at)
{
    int number;
    note_write(fd);
    return write_fails(n, &number) ? fail_with(number) : syscall(SYS_pwrite64, fd, data, n, at);
}

ssize_t plain_pwrite(int fd, const void *data, size_t n, off_t at)
{
    return pwrite(fd, data, n, at);
}

ssize_t pwritev(int fd, const struct iovec *v, int count, off_t at)
{
    size_t n = 0;
    int number;
    for (int i = 0; i < count; i++)
        n += v[i].iov_len;
    return write_fails(n, &number) ? fail_with(number) : syscall(SYS_pwritev, fd, v, (long)count, at, 0L);
}

ssize_t plain_pwritev(int fd, const struct iovec *v, int count, off_t at)
{
    return pwritev(fd, v, count, at);
}

int fdatasync(int fd)
{
    return sync_fails(fd) ? (int)fail_with(EIO) : (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd)
{
    return sync_fails(fd) ? (int)fail_with(EIO) : (int)syscall(SYS_fsync, fd);
}

int posix_fallocate(int fd, off_t at, off_t n)
{
    int number;
    if (fault.bytes_left < n)
        return ENOSPC;
    number = (int)syscall(SYS_fallocate, fd, 0, at, n);
    return number < 0 ? errno : 0;
}

int plain_posix_fallocate(int fd, off_t at, off_t n)
{
    return posix_fallocate(fd, at, n);
}

int clock_gettime(clockid_t clock, struct timespec *t)
{
    int result = (int)syscall(SYS_clock_gettime, clock, t);
    if (clock == CLOCK_REALTIME)
        t->tv_sec += fault.clock_ms / 1000;
    return result;
}

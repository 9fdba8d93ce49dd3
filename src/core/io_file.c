/* io_file: from a file to a socket inside the kernel. */
#include <errno.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include "core/worker_internal.h"

static uint64_t stall_deadline(uint64_t idle_us, uint64_t deadline_us)
{
    uint64_t now_us = worker_this->now_us;
    uint64_t stall_us = idle_us < DEADLINE_NONE - now_us ? now_us + idle_us : DEADLINE_NONE;
    return stall_us < deadline_us ? stall_us : deadline_us;
}

/* Where a codec stands between: through the send queue. */
static err send_copied(struct io *to, int fd, off_t at, size_t n, uint64_t idle_us, uint64_t deadline_us,
                       uint64_t *ret_moved)
{
    err e = OK;
    while (n > 0 && !e) {
        size_t want = n < IO_BUFFER_BYTES ? n : IO_BUFFER_BYTES;
        char *out = io_out(to, want);
        ssize_t got = pread(fd, out, want, at);
        int number = errno;
        worker_this->syscalls++;
        io_out_end(to, got > 0 ? (size_t)got : 0);
        if (got == 0)
            return ERR_CLOSED; /* the file has become shorter */
        if (got < 0 && number == EINTR)
            continue;
        if (got < 0)
            return err_from_errno(number);
        at += got;
        n -= (size_t)got;
        *ret_moved += (uint64_t)got;
        e = io_drain(to, IO_SEND_BYTES_MAX, stall_deadline(idle_us, deadline_us));
    }
    return e;
}

err io_send_file(struct io *to, int fd, uint64_t offset, size_t n, uint64_t idle_us, uint64_t deadline_us,
                 uint64_t *ret_moved)
{
    off_t at = (off_t)offset;
    const off_t end = at + (off_t)n;
    *ret_moved = 0;
    if (to->flags & (IO_CODED | IO_FAR))
        return send_copied(to, fd, at, n, idle_us, deadline_us, ret_moved);
    err e = io_drain(to, 0, stall_deadline(idle_us, deadline_us));
    while (!e && at < end) {
        ssize_t sent = sendfile(to->fd, fd, &at, (size_t)(end - at));
        worker_this->syscalls++;
        if (sent == 0)
            return ERR_CLOSED; /* the file has become shorter */
        if (sent < 0 && errno == EAGAIN)
            e = io_wait_ready(to, true, stall_deadline(idle_us, deadline_us));
        else if (sent < 0 && errno != EINTR)
            e = (err)(to->out_failed = (uint8_t)err_from_errno(errno));
        *ret_moved = (uint64_t)at - offset;
    }
    return e;
}

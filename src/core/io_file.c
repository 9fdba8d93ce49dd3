/* io_file: from a file to a socket inside the kernel. */
#include <errno.h>
#include <sys/sendfile.h>

#include "core/worker_internal.h"

static uint64_t stall_deadline(uint64_t idle_us, uint64_t deadline_us)
{
    uint64_t now_us = worker_this->now_us;
    uint64_t stall_us = idle_us < DEADLINE_NONE - now_us ? now_us + idle_us : DEADLINE_NONE;
    return stall_us < deadline_us ? stall_us : deadline_us;
}

err io_send_file(struct io *to, int fd, uint64_t offset, size_t n, uint64_t idle_us, uint64_t deadline_us,
                 uint64_t *ret_moved)
{
    off_t at = (off_t)offset;
    const off_t end = at + (off_t)n;
    *ret_moved = 0;
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

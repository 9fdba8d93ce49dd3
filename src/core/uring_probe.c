/* uring_probe: is io_uring to be had, with all that loop_uring.c needs? Sets up a ring and receives over it.
 */
#include "core/loop.h"

#if WEIR_HAVE_URING

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/uring.h"

static err probe_receive(struct uring *u, struct uring_buffers *b, const int fds[2])
{
    char memory[64] = { 0 };
    struct io_uring_cqe cqe;
    uring_buffers_add(b, memory, sizeof memory);
    uring_buffers_publish(b);
    struct io_uring_sqe *sqe = uring_sqe(u);
    sqe->opcode = IORING_OP_RECV;
    sqe->fd = fds[0];
    sqe->ioprio = IORING_RECV_MULTISHOT;
    sqe->flags = IOSQE_BUFFER_SELECT;
    sqe->buf_group = b->group;
    uring_enter(u, 0, 0);
    if (write(fds[1], "weir", 4) != 4)
        return err_from_errno(errno);
    uring_enter(u, 1, 1000000);
    if (!uring_cqe(u, &cqe))
        return ERR_TIMEOUT;
    if (cqe.res < 0)
        return cqe.res == -EINVAL ? ERR_UNSUPPORTED : err_from_errno(-cqe.res);
    bool right = cqe.res == 4 && cqe.flags & IORING_CQE_F_BUFFER && cqe.flags & IORING_CQE_F_MORE;
    return right && memcmp(memory, "weir", 4) == 0 ? OK : ERR_UNSUPPORTED;
}

static err probe(struct uring *u, const char **ret_step)
{
    struct uring_buffers b;
    int fds[2];
    *ret_step = "io_uring";
    err e = uring_open(u, 8, 16);
    if (e)
        return e;
    *ret_step = "io_uring's buffer rings";
    e = uring_buffers_open(u, &b, 8, 0);
    if (e)
        return e;
    *ret_step = "io_uring's multishot receive";
    e = ERR_SYSTEM;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0) {
        e = probe_receive(u, &b, fds);
        close(fds[0]);
        close(fds[1]);
    }
    uring_buffers_close(u, &b);
    return e;
}

bool loop_uring_probe(char *ret_reason, unsigned reason_size)
{
    struct uring u = { .real_fd = -1 };
    const char *step;
    err e = probe(&u, &step);
    snprintf(ret_reason, reason_size, "%s: %s", step, e ? err_text(e) : "all there");
    uring_close(&u);
    return e == OK;
}

#endif

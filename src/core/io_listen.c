/* io_listen: sockets that are no connections (yet): listeners, connecting, and whatever can be polled. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"
#include "core/worker_internal.h"

#define ACCEPT_RETRY_US (100 * 1000) /* after the process ran out of descriptors or memory */

/* ---- listening ---- */

static void retry_accept(struct timer *t)
{
    struct io_listener *l = container_of(t, struct io_listener, retry);
    if (l->paused || l->accepting || (l->within && l->room == 0))
        return;
    if (worker_this->ops->accept_start(l))
        timer_set(t, worker_this->now_us + ACCEPT_RETRY_US);
}

static err listen_on(int fd, const struct io_listener *as, struct io_listener **ret_listener)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return err_from_errno(errno);
    struct io_listener *l = mem_get_aligned(sizeof *l, 64);
    if (!l)
        return ERR_MEMORY;
    *l = *as;
    l->fd = fd;
    timer_init(&l->retry, retry_accept);
    err e = l->within && l->room == 0 ? OK : worker_this->ops->accept_start(l);
    if (e) {
        mem_free(l);
        return e;
    }
    *ret_listener = l;
    return OK;
}

err io_listen(int fd, void (*on_accept)(void *owner, struct io *io), void *owner,
              struct io_listener **ret_listener)
{
    struct io_listener as = { .on_accept = on_accept, .owner = owner };
    return listen_on(fd, &as, ret_listener);
}

err io_listen_within(int fd, uint32_t room, void (*on_accept)(void *owner, struct io *io), void *owner,
                     struct io_listener **ret_listener)
{
    struct io_listener as = { .on_accept = on_accept, .owner = owner, .within = true, .room = room };
    return listen_on(fd, &as, ret_listener);
}

/* What is under way may have been counted on: where that is more than there is room for now, it is called
 * back. */
void io_listener_room(struct io_listener *l, uint32_t room)
{
    must(l->within);
    l->room = room;
    if (l->armed > room || (room == 0 && l->accepting))
        worker_this->ops->accept_stop(l);
    if (!timer_is_set(&l->retry))
        retry_accept(&l->retry);
}

void io_accepted(struct io_listener *l, int fd)
{
    if (l->within && l->room) /* 0: it was under way when room was taken back */
        l->room--;
    l->on_accept(l->owner, io_open(fd));
}

void io_accept_failed(struct io_listener *l, int number)
{
    bool scarce = number == EMFILE || number == ENFILE || number == ENOMEM || number == ENOBUFS;
    if (scarce && l->accepting)
        worker_this->ops->accept_stop(l);
    if (!l->accepting && !l->paused)
        timer_set(&l->retry, worker_this->now_us + (scarce ? ACCEPT_RETRY_US : 0));
}

void io_listener_pause(struct io_listener *l, bool pause)
{
    l->paused = pause;
    timer_stop(&l->retry);
    if (pause && l->accepting)
        worker_this->ops->accept_stop(l);
    if (!pause && !l->accepting)
        retry_accept(&l->retry);
}

void io_listener_close(struct io_listener *l, bool close_fd)
{
    io_listener_pause(l, true);
    while (!l->within || l->room > 0) {
        int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            io_accepted(l, fd);
        else if (errno != ECONNABORTED && errno != EINTR)
            break;
    }
    if (close_fd)
        close(l->fd);
    mem_free(l);
}

/* ---- connecting ---- */

static err wait_connected(struct io *io, uint64_t deadline_us)
{
    err e = io_wait_ready(io, true, deadline_us);
    if (e)
        return e;
    int number = 0;
    socklen_t size = sizeof number;
    if (getsockopt(io->fd, SOL_SOCKET, SO_ERROR, &number, &size) < 0)
        number = errno;
    return err_from_errno(number);
}

err io_connect(int fd, const struct addr *to, uint64_t deadline_us, struct io **ret_io)
{
    int done = connect(fd, &to->sock.any, to->len), number = errno;
    if (done < 0 && number != EINPROGRESS) {
        close(fd);
        /* a unix socket whose queue is full says EAGAIN */
        return number == EAGAIN ? ERR_LIMIT : err_from_errno(number);
    }
    struct io *io = io_open(fd);
    err e = io_failed(io);
    if (!e && done < 0)
        e = wait_connected(io, deadline_us);
    if (e) {
        io_abort(io, false);
        return e;
    }
    *ret_io = io;
    return OK;
}

/* ---- anything else ---- */

void fd_wait_done(struct fd_wait *wait, err result)
{
    wait->armed = false;
    wait->result = result;
    if (wait->fiber) {
        fiber_resume(wait->fiber, OK);
        return;
    }
    mem_free(wait); /* given up by its fiber; this was the kernel's last word */
    worker_this->ios.closing--;
}

err io_wait_fd(int fd, short events, uint64_t deadline_us)
{
    const struct loop_ops *ops = worker_this->ops;
    struct fd_wait *wait = mem_get_aligned(sizeof *wait, 64);
    must(wait != NULL);
    *wait = (struct fd_wait){ .fd = fd, .events = events, .armed = true, .fiber = fiber_self() };
    err e = ops->fd_wait(wait);
    if (!e)
        e = fiber_block_until(deadline_us);
    else
        wait->armed = false;
    if (!wait->armed) {
        if (!e)
            e = wait->result;
        mem_free(wait);
        return e;
    }
    wait->fiber = NULL; /* freed by fd_wait_done */
    worker_this->ios.closing++;
    ops->fd_wait_cancel(wait);
    return e;
}

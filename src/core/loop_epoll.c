/* loop_epoll: edge-triggered epoll. A socket is registered once, for everything; what it said last is kept in
 * the flags of its io, and system calls are made only where those say that there is something to be had.
 *
 * data.ptr of an event: the object, with its kind in the lowest bits. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"
#include "core/worker_internal.h"

#define EVENTS_PER_TURN 256
#define ACCEPTS_PER_TURN 256
#define DISCARDS_PER_EVENT 64
/* Room behind the last received bytes that is worth receiving into. */
#define ROOM_BYTES_MIN 4096

enum kind { KIND_IO, KIND_LISTENER, KIND_FD, KIND_WAKE, KIND_MASK = 3 };

struct epoll_loop {
    int fd;
    bool no_pwait2; /* Linux before 5.11 */
    struct epoll_event events[EVENTS_PER_TURN];
};

static struct epoll_loop *loop_this(void)
{
    return worker_this->loop;
}

static int epoll_add(int fd, uint32_t events, void *object, enum kind kind)
{
    struct epoll_event ev = { .events = events, .data.u64 = (uint64_t)(uintptr_t)object | (uint64_t)kind };
    worker_this->syscalls++;
    return epoll_ctl(loop_this()->fd, EPOLL_CTL_ADD, fd, &ev);
}

static void epoll_remove(int fd)
{
    worker_this->syscalls++;
    epoll_ctl(loop_this()->fd, EPOLL_CTL_DEL, fd, NULL);
}

static err loop_open(struct worker *w, struct diag *reterr)
{
    struct epoll_loop *loop = mem_get(sizeof *loop);
    if (!loop)
        return ERR_MEMORY;
    loop->fd = epoll_create1(EPOLL_CLOEXEC);
    w->loop = loop;
    if (loop->fd < 0 || epoll_add(w->wake_fd, EPOLLIN | EPOLLET, NULL, KIND_WAKE) < 0) {
        diag_set(reterr, "epoll: %s", strerror(errno));
        err e = err_from_errno(errno);
        if (loop->fd >= 0)
            close(loop->fd);
        mem_free(loop);
        return e;
    }
    return OK;
}

static void loop_close(struct worker *w)
{
    struct epoll_loop *loop = w->loop;
    close(loop->fd);
    mem_free(loop);
}

/* ---- receiving ---- */

/* One recv; io->in_failed and IO_ENDED tell what it was. */
static void receive(struct io *io)
{
    struct buffers *b = &worker_this->buffers;
    struct lease *tail = io->in_tail;
    bool behind = tail && tail->capacity - tail->end >= ROOM_BYTES_MIN && !(io->flags & IO_CODED);
    struct lease *l = behind ? tail : buffer_get(b);
    size_t room = l->capacity - l->end;
    worker_this->syscalls++;
    ssize_t n = recv(io->fd, l->data + l->end, room, 0);
    int number = errno;
    if (n > 0) {
        if (behind) {
            tail->end += (uint32_t)n;
            io->in_bytes += (uint32_t)n;
        } else {
            io_received(io, l, (uint32_t)n);
        }
        /* A short read means that the kernel has no more, except when the end is behind it: no edge follows.
         */
        if ((size_t)n < room && !(io->flags & IO_HUNG_UP))
            io->flags &= ~(uint32_t)IO_READABLE;
        return;
    }
    if (!behind)
        buffer_unref(b, l);
    if (n == 0)
        io_received_end(io);
    else if (number == EAGAIN)
        io->flags &= ~(uint32_t)IO_READABLE;
    else if (number != EINTR)
        io->in_failed = (uint8_t)err_from_errno(number);
}

static void discard(struct io *io);

static void loop_recv(struct io *io)
{
    if (io->phase == IO_DISCARDING) {
        discard(io);
        return;
    }
    const uint32_t before = io->in_bytes;
    while (io->flags & IO_READABLE && !io->in_failed && !(io->flags & (IO_ENDED | IO_RAW))) {
        receive(io);
        if (!(io->flags & IO_CODED) || io->in_bytes != before)
            break; /* else a codec has kept it, and no edge follows for the rest */
    }
}

/* What comes after the last answer. A peer that floods is not waited for. */
static void discard(struct io *io)
{
    for (int n = 0;
         n < DISCARDS_PER_EVENT && io->flags & IO_READABLE && !io->in_failed && !(io->flags & IO_ENDED);
         n++) {
        receive(io);
        io_drop_input(io);
    }
    if (io->flags & IO_READABLE)
        io->flags |= IO_ENDED;
    io_input_changed(io);
}

static bool loop_recv_stop(struct io *io)
{
    (void)io; /* nothing is received unasked */
    return true;
}

static bool loop_want_ready(struct io *io, bool writable)
{
    /* Called after an EAGAIN; the edge may have come in between only if a turn has passed, and then it was
     * told. */
    if (writable)
        io->flags |= IO_SEND_BLOCKED;
    else if (!(io->flags & IO_HUNG_UP))
        io->flags &= ~(uint32_t)IO_READABLE;
    return false;
}

/* ---- sending ---- */

static ssize_t send_queue(struct io *io, size_t *ret_wanted)
{
    struct iovec parts[IO_PARTS_PER_SEND];
    struct msghdr m = { .msg_iov = parts };
    *ret_wanted = io_out_parts(io, parts, &m.msg_iovlen);
    worker_this->syscalls++;
    if (m.msg_iovlen == 1)
        return send(io->fd, parts[0].iov_base, parts[0].iov_len, MSG_NOSIGNAL);
    return sendmsg(io->fd, &m, MSG_NOSIGNAL);
}

static void loop_send(struct io *io)
{
    while (io->out.head && !(io->flags & IO_SEND_BLOCKED) && io->phase != IO_GONE) {
        size_t wanted;
        ssize_t n = send_queue(io, &wanted);
        int number = errno;
        if (n < 0 && number == EINTR)
            continue;
        if (n < 0 && number != EAGAIN) {
            io_sent(io, 0, err_from_errno(number));
            return;
        }
        if (n < 0 || (size_t)n < wanted)
            io->flags |= IO_SEND_BLOCKED;
        if (n > 0)
            io_sent(io, (size_t)n, OK);
    }
}

/* ---- coming and going ---- */

static bool loop_attach(struct io *io)
{
    return epoll_add(io->fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, io, KIND_IO) == 0;
}

static void loop_detach(struct io *io)
{
    worker_this->syscalls++;
    close(io->fd); /* takes it out of epoll as well: nobody else holds the socket */
    io->fd = -1;
    io_free(io);
}

/* ---- listening ---- */

/* Level-triggered: what is left in the queue is told again. */
static err loop_accept_start(struct io_listener *l)
{
    if (epoll_add(l->fd, EPOLLIN, l, KIND_LISTENER) < 0)
        return err_from_errno(errno);
    l->accepting = true;
    return OK;
}

static void loop_accept_stop(struct io_listener *l)
{
    epoll_remove(l->fd);
    l->accepting = false;
}

static void accept_some(struct io_listener *l)
{
    for (int n = 0; n < ACCEPTS_PER_TURN && l->accepting; n++) {
        if (l->within && l->room == 0) {
            loop_accept_stop(l);
            return;
        }
        worker_this->syscalls++;
        int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            io_accepted(l, fd);
        } else if (errno == EAGAIN) {
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            io_accept_failed(l, errno);
            return;
        }
    }
}

/* ---- other descriptors ---- */

static err loop_fd_wait(struct fd_wait *wait)
{
    uint32_t events = EPOLLONESHOT;
    if (wait->events & POLLIN)
        events |= EPOLLIN;
    if (wait->events & POLLOUT)
        events |= EPOLLOUT;
    if (wait->events & POLLPRI)
        events |= EPOLLPRI;
    return epoll_add(wait->fd, events, wait, KIND_FD) < 0 ? err_from_errno(errno) : OK;
}

static void fd_wait_end(struct fd_wait *wait)
{
    epoll_remove(wait->fd);
    fd_wait_done(wait, OK);
}

/* ---- the turn ---- */

static void io_event(struct io *io, uint32_t events)
{
    if (io->phase == IO_GONE)
        return; /* closed by somebody earlier in this batch */
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        io->flags |= IO_HUNG_UP;
    if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR) && io->flags & IO_SEND_BLOCKED) {
        io->flags &= ~(uint32_t)IO_SEND_BLOCKED;
        if (io->out_bytes)
            io_mark_dirty(io);
        else
            io_ready(io, true);
    }
    if (!(events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
        return;
    io->flags |= IO_READABLE;
    if (io->flags & IO_RAW) {
        io_ready(io, false);
    } else if (io->phase == IO_DISCARDING) {
        discard(io);
    } else if (io->flags & IO_PARKED || io->reader) {
        uint32_t before = io->in_bytes;
        loop_recv(io);
        if (io->in_bytes != before || io->in_failed || io->flags & (IO_ENDED | IO_OPENED))
            io_input_changed(io);
    } else if (io->flags & IO_WATCHED && io->flags & IO_HUNG_UP) {
        io_input_changed(io);
    }
}

static int wait_events(struct epoll_loop *loop, uint64_t timeout_us)
{
    worker_this->syscalls++;
    if (timeout_us == 0 || timeout_us == UINT64_MAX)
        return epoll_wait(loop->fd, loop->events, EVENTS_PER_TURN, timeout_us ? -1 : 0);
    if (!loop->no_pwait2) {
        struct timespec ts = { (time_t)(timeout_us / 1000000), (long)(timeout_us % 1000000 * 1000) };
        int n = epoll_pwait2(loop->fd, loop->events, EVENTS_PER_TURN, &ts, NULL);
        if (n >= 0 || errno != ENOSYS)
            return n;
        loop->no_pwait2 = true;
    }
    uint64_t ms = timeout_us / 1000 + 1;
    return epoll_wait(loop->fd, loop->events, EVENTS_PER_TURN, ms < 60000 ? (int)ms : 60000);
}

static void loop_turn(struct worker *w, uint64_t timeout_us)
{
    struct epoll_loop *loop = w->loop;
    int n = wait_events(loop, timeout_us);
    worker_slept(w);
    for (int i = 0; i < n; i++) {
        uint64_t tagged = loop->events[i].data.u64;
        void *object = (void *)(uintptr_t)(tagged & ~(uint64_t)KIND_MASK);
        switch (tagged & KIND_MASK) {
        case KIND_IO:
            io_event(object, loop->events[i].events);
            break;
        case KIND_LISTENER:
            accept_some(object);
            break;
        case KIND_FD:
            fd_wait_end(object);
            break;
        default: /* KIND_WAKE: to have come back is all */
            break;
        }
    }
}

const struct loop_ops loop_epoll = {
    .name = "epoll",
    .open = loop_open,
    .close = loop_close,
    .turn = loop_turn,
    .attach = loop_attach,
    .detach = loop_detach,
    .recv = loop_recv,
    .recv_stop = loop_recv_stop,
    .send = loop_send,
    .want_ready = loop_want_ready,
    .accept_start = loop_accept_start,
    .accept_stop = loop_accept_stop,
    .fd_wait = loop_fd_wait,
    .fd_wait_cancel = fd_wait_end,
};

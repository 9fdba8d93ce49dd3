/* loop_uring: io_uring. One io_uring_enter a turn submits everything and waits; receiving and accepting are
 * multishot, so an idle connection costs no call at all.
 *
 * user_data: the object, with the kind of the operation in the low bits. An object lives until no completion
 * for it is outstanding (IO_KERNEL_HAS). The sockets' O_NONBLOCK does not matter here: io_uring waits by
 * itself. */
#include "core/loop.h"

#if WEIR_HAVE_URING

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"
#include "core/uring.h"
#include "core/worker_internal.h"

#define SUBMISSIONS 256
#define COMPLETIONS 4096
/* The ring has room for twice as many as are ever in it: a number is free again long before its turn. */
#define RING_BUFFERS_MIN 64
#define RING_BUFFERS_MAX 2048
#define RING_ENTRIES (2 * RING_BUFFERS_MAX)
#define RING_LOOK_TURNS 4096 /* after so many turns an oversized ring is halved */
#define ACCEPTS_ARMED 4      /* of a listener with a bound */
#define PORTION 16           /* so many completions, and there may be more */
#define PORTIONS_PER_TURN 64
#define MESSAGES 64     /* sends of more than one segment between two submissions */
#define QUIET_SENDS 512 /* in one turn */
/* What is longer may not find room at once, and waits for it in the kernel. */
#define QUIET_BYTES_MAX (16 * 1024)

enum kind {
    KIND_NONE,
    KIND_RECV,
    KIND_SEND,
    KIND_POLL_IN,
    KIND_POLL_OUT,
    KIND_ACCEPT,
    KIND_FD,
    KIND_WAKE,
    KIND_MASK = 63
};

/* Read by the kernel when it is submitted, not later (FEAT_SUBMIT_STABLE). */
struct message {
    struct msghdr head;
    struct iovec parts[IO_PARTS_PER_SEND];
};

struct quiet_send {
    struct io *io; /* NULL: it had a completion */
    uint32_t bytes;
};

struct uring_loop {
    struct uring ring;
    struct uring_buffers provided;
    unsigned in_ring;     /* buffers that the kernel has */
    unsigned ring_wanted; /* how many it should have */
    unsigned used_max;    /* in one turn, since the last look */
    unsigned look_turns;
    bool ran_dry; /* the ring, in this turn */
    unsigned messages_used;
    unsigned quiet_count;
    struct quiet_send quiet[QUIET_SENDS];
    struct message messages[MESSAGES];
    struct lease *by_number[RING_ENTRIES];
};

static struct uring_loop *loop_this(void)
{
    return worker_this->loop;
}

static struct io_uring_sqe *prepare(struct uring_loop *loop, uint8_t opcode, int fd, void *object,
                                    enum kind kind)
{
    struct io_uring_sqe *sqe = uring_sqe(&loop->ring);
    sqe->opcode = opcode;
    sqe->fd = fd;
    sqe->user_data = (uint64_t)(uintptr_t)object | (uint64_t)kind;
    return sqe;
}

/* The cancelled operation tells its end itself; the cancelling one only if there was nothing to cancel. */
static struct io_uring_sqe *cancel(struct uring_loop *loop, void *object, enum kind kind)
{
    struct io_uring_sqe *sqe = prepare(loop, IORING_OP_ASYNC_CANCEL, -1, NULL, KIND_NONE);
    sqe->addr = (uint64_t)(uintptr_t)object | (uint64_t)kind;
    sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
    return sqe;
}

/* ---- provided buffers ---- */

static void provide(struct uring_loop *loop)
{
    if (loop->in_ring >= loop->ring_wanted)
        return;
    struct buffers *b = &worker_this->buffers;
    while (loop->in_ring < loop->ring_wanted) {
        struct lease *l = buffer_get(b);
        uint16_t number = uring_buffers_add(&loop->provided, l->data, l->capacity);
        must(!loop->by_number[number]);
        loop->by_number[number] = l;
        loop->in_ring++;
    }
    uring_buffers_publish(&loop->provided);
}

/* The ring is used first-in first-out, so all of it becomes resident and passes through the cache: it is kept
 * as small as the turns allow. */
static void size_ring(struct uring_loop *loop)
{
    unsigned used = loop->ring_wanted > loop->in_ring ? loop->ring_wanted - loop->in_ring : 0;
    if (used > loop->used_max)
        loop->used_max = used;
    bool scarce = loop->ran_dry || used > loop->ring_wanted - loop->ring_wanted / 4;
    if (scarce && loop->ring_wanted < RING_BUFFERS_MAX)
        loop->ring_wanted *= 2;
    loop->ran_dry = false;
    if (++loop->look_turns < RING_LOOK_TURNS)
        return;
    if (loop->used_max < loop->ring_wanted / 4 && loop->ring_wanted > RING_BUFFERS_MIN)
        loop->ring_wanted /= 2;
    loop->look_turns = 0;
    loop->used_max = 0;
}

static struct lease *take_provided(struct uring_loop *loop, uint32_t cqe_flags)
{
    if (!(cqe_flags & IORING_CQE_F_BUFFER))
        return NULL;
    uint32_t number = cqe_flags >> IORING_CQE_BUFFER_SHIFT;
    must(number < RING_ENTRIES);
    struct lease *l = loop->by_number[number];
    must(l != NULL);
    loop->by_number[number] = NULL;
    loop->in_ring--;
    return l;
}

/* ---- receiving ---- */

/* Multishot goes on for as long as there are bytes and buffers, in one go, before any of our code runs: half
 * a large body may have been copied by the time that it could be spliced. So where bodies are large a receive
 * is one shot, made when somebody wants it. */
static void arm_recv(struct uring_loop *loop, struct io *io)
{
    struct io_uring_sqe *sqe = prepare(loop, IORING_OP_RECV, io->fd, io, KIND_RECV);
    sqe->ioprio = io->bulk ? 0 : IORING_RECV_MULTISHOT;
    sqe->flags = IOSQE_BUFFER_SELECT;
    sqe->buf_group = loop->provided.group;
    io->flags |= IO_RECV_ARMED;
}

static void loop_recv(struct io *io)
{
    if (!(io->flags & (IO_RECV_ARMED | IO_RAW | IO_ENDED)) && !io->in_failed)
        arm_recv(loop_this(), io);
}

static void cancel_recv(struct uring_loop *loop, struct io *io)
{
    if ((io->flags & (IO_RECV_ARMED | IO_RECV_CANCELLED)) != IO_RECV_ARMED)
        return;
    io->flags |= IO_RECV_CANCELLED;
    cancel(loop, io, KIND_RECV);
}

static bool loop_recv_stop(struct io *io)
{
    if (!(io->flags & IO_RECV_ARMED))
        return true;
    cancel_recv(loop_this(), io);
    return false;
}

static void free_if_gone(struct io *io)
{
    if (!(io->flags & IO_KERNEL_HAS))
        io_free(io);
}

/* One shot of many, or the last one: then it is armed again, unless the reader is behind. */
static void received(struct uring_loop *loop, struct io *io, const struct io_uring_cqe *cqe)
{
    struct lease *l = take_provided(loop, cqe->flags);
    bool last = !(cqe->flags & IORING_CQE_F_MORE), news = true, one_shot = io->bulk > 0;
    if (last)
        io->flags &= ~(uint32_t)(IO_RECV_ARMED | IO_RECV_CANCELLED);
    if (l && (cqe->res <= 0 || io->phase != IO_OPEN)) {
        buffer_unref(&worker_this->buffers, l);
        l = NULL;
    }
    if (io->phase == IO_GONE) {
        free_if_gone(io);
        return;
    }
    if (cqe->res > 0) {
        if (l)
            io_received(io, l, (uint32_t)cqe->res);
        if (one_shot)
            io->bulk--;
        if (io->in_bytes >= IO_RECV_BYTES_MAX && !io->reader)
            cancel_recv(loop, io);
    } else if (cqe->res == 0) {
        io_received_end(io);
    } else if (cqe->res == -ENOBUFS) {
        /* Now, not with the next turn: what is armed again below may be submitted before that. */
        worker_this->no_buffers++;
        loop->ran_dry = true;
        provide(loop);
        news = false;
    } else if (cqe->res == -ECANCELED || cqe->res == -EAGAIN || cqe->res == -EINTR) {
        news = false;
    } else {
        io->in_failed = (uint8_t)err_from_errno(-cqe->res);
    }
    if (last && io->flags & IO_RAW)
        io_ready(io, false);
    else if (last && one_shot && news && io->phase == IO_OPEN)
        ; /* who wants more asks */
    else if (last && (io_wants_input(io) || io->reader))
        loop_recv(io);
    else if (last)
        io->flags |= IO_PAUSED;
    if (news)
        io_input_changed(io);
}

/* ---- sending ---- */

static struct message *message_get(struct uring_loop *loop)
{
    if (loop->messages_used == MESSAGES) {
        uring_enter(&loop->ring, 0, 0);
        loop->messages_used = 0;
    }
    return &loop->messages[loop->messages_used++];
}

/* Almost every send goes out whole as soon as it is submitted. That needs no completion, which would only
 * wake the loop at once again: such a send does not wait for room, and has a completion only if it did not go
 * out whole; the others are over when the submission has returned (settle). Not where somebody waits for it.
 */
static bool send_quietly(struct uring_loop *loop, struct io *io, struct io_uring_sqe *sqe, size_t bytes)
{
    if (worker_this->fibers.current || io->writer || io->phase != IO_OPEN || bytes > QUIET_BYTES_MAX ||
        io->flags & (IO_SEND_WAITS | IO_FIN_WANTED) || loop->quiet_count == QUIET_SENDS)
        return false;
    loop->quiet[loop->quiet_count++] = (struct quiet_send){ io, (uint32_t)bytes };
    io->flags |= IO_SEND_QUIET;
    sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
    return true;
}

static void loop_send(struct io *io)
{
    struct uring_loop *loop = loop_this();
    struct segment *first = io->out.head;
    if (!first || io->flags & IO_SEND_ARMED)
        return;
    io->flags |= IO_SEND_ARMED;
    struct io_uring_sqe *sqe;
    size_t bytes = first->len;
    if (!first->next) {
        sqe = prepare(loop, IORING_OP_SEND, io->fd, io, KIND_SEND);
        sqe->addr = (uint64_t)(uintptr_t)first->ptr;
        sqe->len = (uint32_t)first->len;
    } else {
        struct message *m = message_get(loop);
        m->head = (struct msghdr){ .msg_iov = m->parts };
        bytes = io_out_parts(io, m->parts, &m->head.msg_iovlen);
        sqe = prepare(loop, IORING_OP_SENDMSG, io->fd, io, KIND_SEND);
        sqe->addr = (uint64_t)(uintptr_t)&m->head;
        sqe->len = 1;
    }
    sqe->msg_flags = MSG_NOSIGNAL | MSG_WAITALL;
    if (send_quietly(loop, io, sqe, bytes))
        sqe->msg_flags |= MSG_DONTWAIT;
}

static void sent(struct io *io, int result)
{
    io->flags &= ~(uint32_t)(IO_SEND_ARMED | IO_SEND_QUIET | IO_SEND_WAITS);
    if (io->phase == IO_GONE) {
        free_if_gone(io);
        return;
    }
    if (result == -EAGAIN)
        io->flags |= IO_SEND_WAITS;
    if (result >= 0 || result == -EAGAIN || result == -EINTR)
        io_sent(io, result > 0 ? (size_t)result : 0, OK);
    else
        io_sent(io, 0, err_from_errno(-result));
}

static void send_completed(struct uring_loop *loop, struct io *io, int result)
{
    for (unsigned i = 0; io->flags & IO_SEND_QUIET && i < loop->quiet_count; i++)
        if (loop->quiet[i].io == io)
            loop->quiet[i].io = NULL;
    sent(io, result);
}

/* After the completions of those that did not go out whole. */
static void settle(struct uring_loop *loop)
{
    for (unsigned i = 0; i < loop->quiet_count; i++)
        if (loop->quiet[i].io)
            sent(loop->quiet[i].io, (int)loop->quiet[i].bytes);
    loop->quiet_count = 0;
}

/* ---- readiness ---- */

static bool loop_want_ready(struct io *io, bool writable)
{
    uint32_t armed = writable ? IO_POLL_OUT_ARMED : IO_POLL_IN_ARMED;
    if (io->flags & armed)
        return false;
    struct io_uring_sqe *sqe =
        prepare(loop_this(), IORING_OP_POLL_ADD, io->fd, io, writable ? KIND_POLL_OUT : KIND_POLL_IN);
    sqe->poll32_events = writable ? POLLOUT : POLLIN | POLLRDHUP;
    io->flags |= armed;
    return false;
}

static void polled(struct io *io, bool writable)
{
    io->flags &= ~(uint32_t)(writable ? IO_POLL_OUT_ARMED : IO_POLL_IN_ARMED);
    if (io->phase == IO_GONE)
        free_if_gone(io);
    else
        io_ready(io, writable);
}

/* ---- coming and going ---- */

static bool loop_attach(struct io *io)
{
    (void)io; /* known to the kernel with its first operation */
    return true;
}

static void loop_detach(struct io *io)
{
    struct uring_loop *loop = loop_this();
    cancel_recv(loop, io);
    if (io->flags & IO_SEND_ARMED)
        cancel(loop, io, KIND_SEND);
    if (io->flags & IO_POLL_IN_ARMED)
        cancel(loop, io, KIND_POLL_IN);
    if (io->flags & IO_POLL_OUT_ARMED)
        cancel(loop, io, KIND_POLL_OUT);
    prepare(loop, IORING_OP_CLOSE, io->fd, NULL, KIND_NONE)->flags = IOSQE_CQE_SKIP_SUCCESS;
    io->fd = -1;
    free_if_gone(io);
}

/* ---- listening ---- */

static void arm_accept(struct io_listener *l, uint16_t how)
{
    struct io_uring_sqe *sqe = prepare(loop_this(), IORING_OP_ACCEPT, l->fd, l, KIND_ACCEPT);
    sqe->ioprio = how;
    sqe->accept_flags = SOCK_NONBLOCK | SOCK_CLOEXEC;
    l->accepting = true;
}

/* A multishot accept takes all that waits before any of our code runs. Where there is a bound each accept
 * takes one connection, and there are never more of them than there is room. */
static err loop_accept_start(struct io_listener *l)
{
    if (!l->within)
        arm_accept(l, IORING_ACCEPT_MULTISHOT);
    while (l->within && l->armed < l->room && l->armed < ACCEPTS_ARMED) {
        arm_accept(l, 0);
        l->armed++;
    }
    return OK;
}

static void accepted(struct io_listener *l, const struct io_uring_cqe *cqe)
{
    if (l->within)
        l->accepting = --l->armed > 0;
    else if (!(cqe->flags & IORING_CQE_F_MORE))
        l->accepting = false;
    if (cqe->res >= 0)
        io_accepted(l, cqe->res);
    else if (cqe->res != -ECANCELED)
        io_accept_failed(l, -cqe->res);
    if (cqe->res >= 0 && (l->within || !l->accepting) && !l->paused)
        (void)loop_accept_start(l);
}

/* Waits for the last word about it; what comes in between is kept for its turn. */
static void loop_accept_stop(struct io_listener *l)
{
    struct uring_loop *loop = loop_this();
    if (l->stopping)
        return; /* on_accept, called from below, asks again */
    l->stopping = true;
    bool paused = l->paused;
    l->paused = true;
    cancel(loop, l, KIND_ACCEPT)->cancel_flags = IORING_ASYNC_CANCEL_ALL;
    while (l->accepting) {
        struct io_uring_cqe cqe;
        uring_enter(&loop->ring, 1, UINT64_MAX);
        while (uring_cqe_fresh(&loop->ring, &cqe))
            if (cqe.user_data == ((uint64_t)(uintptr_t)l | KIND_ACCEPT))
                accepted(l, &cqe);
            else
                uring_stash(&loop->ring, &cqe);
    }
    l->paused = paused;
    l->stopping = false;
}

/* ---- other descriptors ---- */

static err loop_fd_wait(struct fd_wait *wait)
{
    struct io_uring_sqe *sqe = prepare(loop_this(), IORING_OP_POLL_ADD, wait->fd, wait, KIND_FD);
    sqe->poll32_events = (uint32_t)wait->events;
    return OK;
}

static void loop_fd_wait_cancel(struct fd_wait *wait)
{
    cancel(loop_this(), wait, KIND_FD);
}

/* ---- the turn ---- */

static void watch_mail(struct uring_loop *loop, int fd)
{
    struct io_uring_sqe *sqe = prepare(loop, IORING_OP_POLL_ADD, fd, NULL, KIND_WAKE);
    sqe->poll32_events = POLLIN;
    sqe->len = IORING_POLL_ADD_MULTI; /* each write is told; nothing has to be read */
}

static void complete(struct uring_loop *loop, const struct io_uring_cqe *cqe)
{
    void *object = (void *)(uintptr_t)(cqe->user_data & ~(uint64_t)KIND_MASK);
    switch (cqe->user_data & KIND_MASK) {
    case KIND_RECV:
        received(loop, object, cqe);
        break;
    case KIND_SEND:
        send_completed(loop, object, cqe->res);
        break;
    case KIND_POLL_IN:
        polled(object, false);
        break;
    case KIND_POLL_OUT:
        polled(object, true);
        break;
    case KIND_ACCEPT:
        accepted(object, cqe);
        break;
    case KIND_FD:
        fd_wait_done(object, cqe->res < 0 && cqe->res != -ECANCELED ? err_from_errno(-cqe->res) : OK);
        break;
    case KIND_WAKE:
        if (!(cqe->flags & IORING_CQE_F_MORE))
            watch_mail(loop, worker_this->wake_fd);
        break;
    default: /* a cancel or a close that failed: what it was for is over anyway */
        break;
    }
}

/* How many there were. Only what is there now: a completion may bring forth another at once, and there are
 * fibers to run. */
static unsigned complete_all(struct uring_loop *loop)
{
    struct io_uring_cqe cqe;
    bool level = uring_is_level(&loop->ring);
    unsigned count = uring_cqes_ready(&loop->ring);
    for (unsigned left = count; left && uring_cqe(&loop->ring, &cqe); left--)
        complete(loop, &cqe);
    if (level)
        settle(loop);
    return count;
}

/* The kernel gives what has come in portions of 20 (IO_LOCAL_TW_DEFAULT_MAX). All of it is taken before
 * fibers run, so that they can be put in order (fiber_admit). */
static void loop_turn(struct worker *w, uint64_t timeout_us)
{
    struct uring_loop *loop = w->loop;
    unsigned count, portions = 0;
    size_ring(loop);
    do {
        provide(loop);
        uring_enter(&loop->ring, !portions && timeout_us && !loop->ring.stash_count, timeout_us);
        loop->messages_used = 0;
        if (!portions)
            worker_slept(w);
        count = complete_all(loop);
    } while (count >= PORTION && ++portions < PORTIONS_PER_TURN);
    w->syscalls += loop->ring.enters; /* there may have been more: the queue was full */
    loop->ring.enters = 0;
}

/* ---- life ---- */

static err loop_open(struct worker *w, struct diag *reterr)
{
    struct uring_loop *loop = mem_get(sizeof *loop);
    if (!loop)
        return ERR_MEMORY;
    err e = uring_open(&loop->ring, SUBMISSIONS, COMPLETIONS);
    if (!e && (e = uring_buffers_open(&loop->ring, &loop->provided, RING_ENTRIES, 0)))
        uring_close(&loop->ring);
    if (e) {
        diag_set(reterr, "io_uring: %s", err_text(e));
        mem_free(loop);
        return e;
    }
    loop->ring_wanted = RING_BUFFERS_MIN;
    w->loop = loop;
    watch_mail(loop, w->wake_fd);
    return OK;
}

static void loop_close(struct worker *w)
{
    struct uring_loop *loop = w->loop;
    uring_buffers_close(&loop->ring, &loop->provided);
    uring_close(&loop->ring);
    mem_free(loop);
}

const struct loop_ops loop_uring = {
    .name = "io_uring",
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
    .fd_wait_cancel = loop_fd_wait_cancel,
};

#endif

/* io_splice: bytes that pass through the kernel only.
 *
 *      from ──splice──▶ [ pipe, 1 MiB where allowed ] ──splice──▶ to
 *
 * Pipes are pooled: one is taken per transfer, and thrown away when bytes were left in it. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"
#include "core/worker_internal.h"

#define PIPE_BYTES (1024 * 1024)
#define PIPES_KEPT 64
#define FLAGS (SPLICE_F_MOVE | SPLICE_F_NONBLOCK)

/* ---- pipes ---- */

static err pipe_take(struct pipe_pair **ret_pipe)
{
    struct ios *ios = &worker_this->ios;
    struct pipe_pair *p = ios->pipes;
    if (p) {
        ios->pipes = p->next;
        ios->pipe_count--;
        *ret_pipe = p;
        return OK;
    }
    int ends[2];
    if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) < 0)
        return err_from_errno(errno);
    /* Beyond the user's quota of pipe pages (not root) the kernel refuses: smaller works too, in more calls.
     */
    for (int size = PIPE_BYTES; size > 65536 && fcntl(ends[1], F_SETPIPE_SZ, size) < 0; size /= 4)
        ;
    p = mem_must_get(sizeof *p);
    p->in = ends[0];
    p->out = ends[1];
    *ret_pipe = p;
    return OK;
}

static void pipe_free(struct pipe_pair *p)
{
    close(p->in);
    close(p->out);
    mem_free(p);
}

static void pipe_give(struct pipe_pair *p, bool empty)
{
    struct ios *ios = &worker_this->ios;
    if (!empty || ios->pipe_count >= PIPES_KEPT) {
        pipe_free(p);
        return;
    }
    p->next = ios->pipes;
    ios->pipes = p;
    ios->pipe_count++;
}

void pipes_close(struct ios *ios)
{
    for (struct pipe_pair *p; (p = ios->pipes);) {
        ios->pipes = p->next;
        pipe_free(p);
    }
}

/* ---- one transfer ---- */

struct transfer {
    struct io *from, *to;
    struct pipe_pair *pipe;
    uint64_t left;              /* to be taken from `from` */
    size_t inside;              /* the pipe */
    uint64_t quiet_us, idle_us; /* `from` may say nothing, `to` may take nothing for so long */
    uint64_t deadline_us;
    uint64_t moved;
    uint64_t rest_at; /* of moved: then others have their turn */
    int failed_side;
};

static uint64_t deadline_after(const struct transfer *t, uint64_t us)
{
    uint64_t now_us = worker_this->now_us;
    uint64_t stall_us = us < DEADLINE_NONE - now_us ? now_us + us : DEADLINE_NONE;
    return stall_us < t->deadline_us ? stall_us : t->deadline_us;
}

static uint64_t stall_deadline(const struct transfer *t)
{
    return deadline_after(t, t->idle_us);
}

static err splice_error(struct io *io, int number, bool writing)
{
    err e = err_from_errno(number);
    if (writing)
        io->out_failed = (uint8_t)e;
    else
        io->in_failed = (uint8_t)e;
    return e;
}

/* Something goes into the empty pipe; ERR_CLOSED: `from` has ended. */
static err take_in(struct transfer *t)
{
    struct io *from = t->from;
    t->failed_side = 0;
    for (;;) {
        if (from->in_failed)
            return (err)from->in_failed;
        if (from->flags & IO_ENDED)
            return ERR_CLOSED;
        size_t want = t->left < PIPE_BYTES ? (size_t)t->left : PIPE_BYTES;
        ssize_t n = splice(from->fd, NULL, t->pipe->out, NULL, want, FLAGS);
        worker_this->syscalls++;
        if (n > 0) {
            t->inside = (size_t)n;
            t->left -= (uint64_t)n;
            return OK;
        }
        if (n == 0) {
            from->flags |= IO_ENDED;
            continue;
        }
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN)
            return splice_error(from, errno, false);
        err e = io_wait_ready(from, false, deadline_after(t, t->quiet_us));
        if (e)
            return e;
    }
}

static err put_out(struct transfer *t)
{
    struct io *to = t->to;
    t->failed_side = 1;
    while (t->inside > 0) {
        unsigned more = t->left > 0 && t->left != UINT64_MAX ? SPLICE_F_MORE : 0;
        ssize_t n = splice(t->pipe->in, NULL, to->fd, NULL, t->inside, FLAGS | more);
        worker_this->syscalls++;
        if (n > 0) {
            t->inside -= (size_t)n;
            t->moved += (uint64_t)n;
            continue;
        }
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0 || errno != EAGAIN)
            return splice_error(to, n == 0 ? EPIPE : errno, true);
        err e = io_wait_ready(to, true, stall_deadline(t));
        if (e)
            return e;
    }
    return OK;
}

/* What was received into buffers already goes first. */
static err send_received(struct transfer *t)
{
    struct io *from = t->from;
    while (t->left > 0 && from->in_bytes > 0) {
        size_t n = from->in_bytes < t->left ? from->in_bytes : (size_t)t->left;
        if (n > IO_BUFFER_BYTES)
            n = IO_BUFFER_BYTES;
        t->failed_side = 1;
        err e = io_lend(t->to, from, n, stall_deadline(t));
        if (e)
            return e;
        t->left -= n;
        t->moved += n;
    }
    return OK;
}

/* A source and a sink that are both fast never make this fiber wait: it has to stop by itself. */
static err let_others(struct transfer *t)
{
    if (t->moved < t->rest_at)
        return OK;
    t->rest_at = t->moved + PIPE_BYTES;
    fiber_yield();
    return worker_this->now_us < t->deadline_us ? OK : ERR_TIMEOUT;
}

/* Where a codec stands between the sockets and the queues there is nothing to splice. */
static err transfer_lent(struct transfer *t)
{
    while (t->left > 0) {
        struct bytes run;
        t->failed_side = 0;
        err e = io_pull(t->from, deadline_after(t, t->quiet_us), &run);
        if (e)
            return e;
        size_t n = run.len < t->left ? run.len : (size_t)t->left;
        t->failed_side = 1;
        e = io_lend(t->to, t->from, n, stall_deadline(t));
        if (e)
            return e;
        t->left -= t->left == UINT64_MAX ? 0 : n;
        t->moved += n;
        e = let_others(t);
        if (e)
            return e;
    }
    return OK;
}

static err transfer_run(struct transfer *t)
{
    if ((t->from->flags | t->to->flags) & (IO_CODED | IO_FAR))
        return transfer_lent(t);
    /* Asked to stop at once, or io_uring would go on receiving for as long as we go on sending. */
    if (t->from->in_bytes < t->left) {
        t->from->bulk = IO_BULK_RECEIVES;
        io_ask_stop(t->from);
    }
    err e = send_received(t);
    if (e || t->left == 0)
        return e;
    t->failed_side = 0;
    e = io_stop_input(t->from, stall_deadline(t));
    if (!e)
        e = send_received(t); /* what came while receiving was being stopped */
    if (e || t->left == 0)
        return e;
    t->failed_side = 1;
    e = io_drain(t->to, 0, stall_deadline(t));
    if (e)
        return e;
    e = pipe_take(&t->pipe);
    while (!e && t->left > 0) {
        e = take_in(t);
        if (!e)
            e = put_out(t);
        if (!e && t->left > 0)
            e = let_others(t);
    }
    if (t->pipe)
        pipe_give(t->pipe, t->inside == 0);
    return e;
}

err io_splice(struct io *from, struct io *to, uint64_t n, uint64_t idle_us, uint64_t deadline_us,
              uint64_t *ret_moved, int *ret_failed_side)
{
    struct transfer t = { .from = from,
                          .to = to,
                          .left = n,
                          .quiet_us = idle_us,
                          .idle_us = idle_us,
                          .deadline_us = deadline_us,
                          .rest_at = PIPE_BYTES };
    err e = transfer_run(&t);
    from->flags &= ~(uint32_t)IO_RAW;
    if (e == ERR_CLOSED && n == UINT64_MAX)
        e = OK;
    *ret_moved = t.moved;
    if (e)
        *ret_failed_side = t.failed_side;
    return e;
}

err io_splice_flow(struct io *from, struct io *to, uint64_t quiet_us, uint64_t idle_us, uint64_t *ret_moved)
{
    struct transfer t = { .from = from,
                          .to = to,
                          .left = UINT64_MAX,
                          .quiet_us = quiet_us,
                          .idle_us = idle_us,
                          .deadline_us = DEADLINE_NONE,
                          .rest_at = PIPE_BYTES };
    err e = transfer_run(&t);
    from->flags &= ~(uint32_t)IO_RAW;
    *ret_moved = t.moved;
    return e == ERR_TIMEOUT && t.failed_side == 0 ? ERR_AGAIN : e;
}

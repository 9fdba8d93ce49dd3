/* io_close: how a connection ends, and how it rests. */
#include <sys/socket.h>
#include <unistd.h>

#include "base/must.h"
#include "core/slab.h"
#include "core/worker_internal.h"

/* What a peer may still send after its answer is out and before the connection is really closed. */
#define DISCARD_US (2 * 1000 * 1000)
/* A codec's last word may take that long to leave. */
#define END_LINGER_US (100 * 1000)

/* ---- ending ---- */

void io_send_fin(struct io *io)
{
    if (io->flags & IO_FIN_SENT)
        return;
    io->flags |= IO_FIN_SENT;
    if (io->flags & IO_FAR)
        io->far->ops->end(io->far);
    else
        shutdown(io->fd, SHUT_WR); /* fails where the peer is gone already: nothing is left to tell it */
}

void io_send_last(struct io *io)
{
    struct iovec parts[IO_PARTS_PER_SEND];
    struct msghdr m = { .msg_iov = parts };
    size_t bytes = io_out_parts(io, parts, &m.msg_iovlen);
    if (bytes == 0 || bytes != io->out_bytes)
        return;
    worker_this->syscalls++;
    ssize_t n = sendmsg(io->fd, &m, MSG_MORE | MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n <= 0)
        return;
    if ((size_t)n == bytes)
        io_send_fin(io);
    io_sent(io, (size_t)n, OK);
}

void io_end(struct io *io)
{
    io->flags |= IO_FIN_WANTED;
    if (io->flags & IO_CODED)
        io_codec_say_end(io);
    if (!io->out_bytes)
        io_send_fin(io);
}

void io_finish(struct io *io)
{
    struct ios *ios = &worker_this->ios;
    if (io->phase == IO_FLUSHING || io->phase == IO_DISCARDING)
        ios->closing--;
    io->phase = IO_GONE;
    if (io->flags & IO_FAR && io->out_bytes)
        io->flags |= IO_CUT;
    io_drop_input(io);
    if (io->flags & IO_CODED)
        io_codec_free(io);
    if (!(io->flags & IO_SEND_ARMED))
        io_drop_output(io); /* else the kernel still reads it; io_free does it then */
    timer_stop(&io->timer);
    io_ops(io)->detach(io);
}

/* After everything was sent, or could not be. */
void io_close_step(struct io *io)
{
    if (!(io->flags & IO_DISCARD) || io->flags & IO_FAR || io->out_failed || io->in_failed ||
        io->flags & IO_ENDED) {
        io_finish(io);
        return;
    }
    io->phase = IO_DISCARDING;
    io_send_fin(io);
    io_set_write_deadline(io, worker_this->now_us + DISCARD_US);
    io_ops(io)->recv(io);
    if (io->phase == IO_DISCARDING && (io->in_failed || io->flags & IO_ENDED))
        io_finish(io);
}

static void leave_owner(struct io *io)
{
    must(io->phase == IO_OPEN && !io->reader && !io->writer);
    io->flags &= ~(uint32_t)(IO_PARKED | IO_WATCHED | IO_RAW);
    io->read_deadline_us = io->write_deadline_us = DEADLINE_NONE;
    io_drop_input(io);
}

void io_close(struct io *io, uint64_t linger_us, bool discard)
{
    leave_owner(io);
    if (discard)
        io->flags |= IO_DISCARD;
    if (io->flags & IO_CODED) {
        io_codec_say_end(io);
        io_codec_drop_plain(io->codec); /* what could not be encoded never will */
        linger_us = linger_us > END_LINGER_US ? linger_us : END_LINGER_US;
    }
    worker_this->ios.closing++;
    io->phase = IO_FLUSHING;
    if (!io->out_bytes) {
        io_close_step(io);
        return;
    }
    uint64_t now_us = worker_this->now_us;
    io_set_write_deadline(io, linger_us < DEADLINE_NONE - now_us ? now_us + linger_us : DEADLINE_NONE);
}

void io_abort(struct io *io, bool reset)
{
    leave_owner(io);
    if (io->flags & IO_FAR) {
        io->flags |= IO_CUT;
    } else if (reset) {
        struct linger now = { .l_onoff = 1, .l_linger = 0 };
        setsockopt(io->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    }
    io_finish(io);
}

/* Called once for each io, when neither the kernel nor the loop knows it any more. */
void io_free(struct io *io)
{
    struct ios *ios = &worker_this->ios;
    must(io->phase == IO_GONE && !(io->flags & IO_KERNEL_HAS));
    io_drop_output(io);
    list_remove(&io->all);
    ios->count--;
    io->all.next = (struct link *)(void *)ios->dead;
    ios->dead = io;
}

void ios_bury(struct ios *ios)
{
    struct io *io = ios->dead;
    ios->dead = NULL;
    while (io) {
        struct io *next = (struct io *)(void *)io->all.next;
        if (io->flags & IO_LISTED) { /* some list still holds it: next turn */
            io->all.next = (struct link *)(void *)ios->dead;
            ios->dead = io;
        } else {
            io->next_dirty = ios->free;
            ios->free = io;
        }
        io = next;
    }
}

void ios_open(struct ios *ios)
{
    *ios = (struct ios){ 0 };
    list_init(&ios->all);
    ios->dirty_end = &ios->dirty;
    ios->soon_end = &ios->soon;
}

void ios_abort_all(struct ios *ios)
{
    for (struct link *at = ios->all.next, *next; at != &ios->all; at = next) {
        next = at->next;
        struct io *io = container_of(at, struct io, all);
        if (io->phase != IO_GONE)
            io_finish(io);
    }
}

void ios_close(struct ios *ios)
{
    must(ios->count == 0);
    pipes_close(ios);
    slabs_free(&ios->slabs);
}

/* ---- resting ---- */

void io_wake_parked(struct io *io, err why)
{
    io->flags &= ~(uint32_t)(IO_PARKED | IO_OPENED);
    io->read_deadline_us = DEADLINE_NONE;
    io->wake(io->owner, why);
}

static bool has_news(const struct io *io)
{
    return io->in_bytes || io->in_failed || io->flags & IO_OPENED || io_has_ended(io);
}

static err news(const struct io *io)
{
    if (io->in_bytes || io->flags & IO_OPENED)
        return OK;
    return io->in_failed ? (err)io->in_failed : io_end_of(io);
}

static void tell_watcher(struct io *io)
{
    if (!io->in_failed && !(io->flags & (IO_ENDED | IO_HUNG_UP)))
        return;
    io->flags &= ~(uint32_t)IO_WATCHED;
    io->wake(io->owner, io->in_failed ? (err)io->in_failed : ERR_CLOSED);
}

void io_input_changed(struct io *io)
{
    if (io->phase != IO_OPEN) {
        io_drop_input(io);
        if (io->phase == IO_DISCARDING && has_news(io))
            io_finish(io);
        return;
    }
    bool tell = !(io->flags & IO_CODED) || has_news(io); /* a codec may have kept it all to itself */
    if (io->flags & IO_PARKED && tell)
        io_wake_parked(io, news(io));
    else if (io->reader && tell)
        fiber_resume(io->reader, OK);
    if (io->flags & IO_WATCHED)
        tell_watcher(io);
}

void io_watch(struct io *io, void (*ended)(void *owner, err why), void *owner)
{
    must(io->phase == IO_OPEN && !(io->flags & IO_PARKED));
    io->flags |= IO_WATCHED;
    io->wake = ended;
    io->owner = owner;
    if (io_wants_input(io))
        io_ops(io)->recv(io);
    tell_watcher(io);
}

void io_unwatch(struct io *io)
{
    io->flags &= ~(uint32_t)IO_WATCHED;
}

static void wake_soon(struct io *io)
{
    struct ios *ios = &worker_this->ios;
    if (io->flags & IO_WAKE_SOON)
        return;
    io->flags |= IO_WAKE_SOON;
    io->next_soon = NULL;
    *ios->soon_end = io;
    ios->soon_end = &io->next_soon;
}

void io_tell_soon(struct io *io)
{
    if (io->flags & IO_PARKED)
        wake_soon(io);
    else if (io->reader)
        fiber_resume(io->reader, OK);
}

void io_park(struct io *io, void (*wake)(void *owner, err why), void *owner, uint64_t deadline_us)
{
    must(io->phase == IO_OPEN && !io->reader && !(io->flags & IO_PARKED));
    io->flags |= IO_PARKED;
    io->wake = wake;
    io->owner = owner;
    io_set_read_deadline(io, deadline_us);
    if (!has_news(io))
        io_ops(io)->recv(io);
    if (has_news(io))
        wake_soon(io);
}

void io_unpark(struct io *io)
{
    must(io->flags & IO_PARKED);
    io->flags &= ~(uint32_t)IO_PARKED;
    io->read_deadline_us = DEADLINE_NONE;
}

void ios_wake_soon(struct ios *ios)
{
    struct io *io = ios->soon;
    ios->soon = NULL;
    ios->soon_end = &ios->soon;
    while (io) {
        struct io *next = io->next_soon;
        io->flags &= ~(uint32_t)IO_WAKE_SOON;
        if (io->flags & IO_PARKED && has_news(io))
            io_wake_parked(io, news(io));
        io = next;
    }
}

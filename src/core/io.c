/* io: making, reading, writing. Closing and resting are in io_close.c, sockets of other kinds in io_listen.c,
 * splicing in io_splice.c. */
#include "core/io.h"

#include <sys/socket.h>

#include "base/must.h"
#include "core/slab.h"
#include "core/worker_internal.h"

#define SMALL_BYTES                                                                        \
    4096 /* received pieces up to this are copied behind the last one, where there is room \
          */

/* ---- life ---- */

static void deadline_passed(struct timer *t);

static struct io *io_make(struct ios *ios)
{
    if (!ios->free) {
        struct slab *slab = slab_get_huge(&ios->slabs);
        struct io *at = (struct io *)(void *)((char *)slab + 64);
        for (; (char *)(at + 1) <= (char *)slab + slab->size; at++) {
            at->next_dirty = ios->free;
            ios->free = at;
        }
    }
    struct io *io = ios->free;
    ios->free = io->next_dirty;
    return io;
}

static struct io *io_begin(int fd, uint32_t flags)
{
    struct worker *w = worker_this;
    struct io *io = io_make(&w->ios);
    *io = (struct io){ .fd = fd,
                       .flags = flags,
                       .read_deadline_us = DEADLINE_NONE,
                       .write_deadline_us = DEADLINE_NONE,
                       .timer.fire = deadline_passed };
    list_push_back(&w->ios.all, &io->all);
    w->ios.count++;
    return io;
}

struct io *io_open(int fd)
{
    struct io *io = io_begin(fd, 0);
    if (!worker_this->ops->attach(io))
        io->in_failed = io->out_failed = ERR_MEMORY; /* told by the first call */
    return io;
}

struct io *io_make_far(void)
{
    return io_begin(-1, IO_FAR);
}

int io_fd(const struct io *io)
{
    return io->fd;
}

/* The wheel is touched only when the timer does not already stand at an earlier time. */
static void arm_timer(struct io *io, uint64_t deadline_us)
{
    if (deadline_us != DEADLINE_NONE && (!timer_is_set(&io->timer) || io->timer.due_us > deadline_us))
        timer_set(&io->timer, deadline_us);
}

void io_set_read_deadline(struct io *io, uint64_t deadline_us)
{
    io->read_deadline_us = deadline_us;
    arm_timer(io, deadline_us);
}

void io_set_write_deadline(struct io *io, uint64_t deadline_us)
{
    io->write_deadline_us = deadline_us;
    arm_timer(io, deadline_us);
}

static void deadline_passed(struct timer *t)
{
    struct io *io = container_of(t, struct io, timer);
    uint64_t now_us = worker_this->now_us;
    if (io->write_deadline_us <= now_us) {
        io->write_deadline_us = DEADLINE_NONE;
        if (io->phase != IO_OPEN)
            io_finish(io);
        else if (io->writer)
            fiber_resume(io->writer, ERR_TIMEOUT);
    }
    if (io->read_deadline_us <= now_us) {
        io->read_deadline_us = DEADLINE_NONE;
        if (io->flags & IO_PARKED)
            io_wake_parked(io, ERR_TIMEOUT); /* it may be closed now, but lives until the turn ends */
        else if (io->reader)
            fiber_resume(io->reader, ERR_TIMEOUT);
    }
    if (io->phase == IO_GONE)
        return;
    arm_timer(io, io->read_deadline_us);
    arm_timer(io, io->write_deadline_us);
}

/* ---- waiting ---- */

static err wait_as_reader(struct io *io, uint64_t deadline_us)
{
    must(!io->reader && !(io->flags & IO_PARKED));
    if (deadline_us <= worker_this->now_us)
        return ERR_TIMEOUT;
    io->reader = worker_this->fibers.current;
    io_set_read_deadline(io, deadline_us);
    err e = fiber_block();
    io->reader = NULL;
    io->read_deadline_us = DEADLINE_NONE;
    return e;
}

static err wait_as_writer(struct io *io, uint64_t deadline_us)
{
    must(!io->writer);
    if (deadline_us <= worker_this->now_us)
        return ERR_TIMEOUT;
    io->writer = worker_this->fibers.current;
    io_set_write_deadline(io, deadline_us);
    err e = fiber_block();
    io->writer = NULL;
    io->write_deadline_us = DEADLINE_NONE;
    return e;
}

err io_wait_ready(struct io *io, bool writable, uint64_t deadline_us)
{
    if (io_ops(io)->want_ready(io, writable))
        return OK;
    return writable ? wait_as_writer(io, deadline_us) : wait_as_reader(io, deadline_us);
}

void io_ask_stop(struct io *io)
{
    io->flags |= IO_RAW;
    (void)io_ops(io)->recv_stop(io);
}

err io_stop_input(struct io *io, uint64_t deadline_us)
{
    io->flags |= IO_RAW;
    while (!io_ops(io)->recv_stop(io)) {
        err e = wait_as_reader(io, deadline_us);
        if (e)
            return e;
    }
    return OK;
}

void io_ready(struct io *io, bool writable)
{
    struct fiber *f = writable ? io->writer : io->reader;
    if (f)
        fiber_resume(f, OK);
}

/* ---- reading ---- */

void io_append(struct io *io, struct lease *l, uint32_t len)
{
    struct lease *tail = io->in_tail;
    io->in_bytes += len;
    if (tail && len <= SMALL_BYTES && tail->capacity - tail->end >= len) {
        memcpy(tail->data + tail->end, l->data, len);
        tail->end += len;
        buffer_unref(&worker_this->buffers, l);
        return;
    }
    l->start = 0;
    l->end = len;
    l->next = NULL;
    if (tail)
        tail->next = l;
    else
        io->in_head = l;
    io->in_tail = l;
}

static void pop_input(struct io *io)
{
    struct lease *l = io->in_head;
    io->in_head = l->next;
    if (!io->in_head)
        io->in_tail = NULL;
    buffer_unref(&worker_this->buffers, l);
}

void io_received(struct io *io, struct lease *l, uint32_t len)
{
    if (!(io->flags & IO_CODED)) {
        io_append(io, l, len);
        return;
    }
    if (io->phase == IO_OPEN && !io->in_failed && !(io->flags & IO_ENDED))
        io->codec->ops->received(io->codec, (struct bytes){ l->data, len });
    buffer_unref(&worker_this->buffers, l);
}

void io_received_end(struct io *io)
{
    if (io->flags & IO_CODED && io->phase == IO_OPEN && !(io->flags & IO_ENDED) && !io->codec->away &&
        !io->codec->ops->ended(io->codec))
        io->flags |= IO_CUT;
    io->flags |= IO_ENDED;
}

void io_drop_input(struct io *io)
{
    while (io->in_head)
        pop_input(io);
    io->in_bytes = 0;
}

void io_consume(struct io *io, size_t n)
{
    must(n <= io->in_bytes);
    io->in_bytes -= (uint32_t)n;
    while (n > 0) {
        struct lease *l = io->in_head;
        size_t here = l->end - l->start;
        if (n < here) {
            l->start += (uint32_t)n;
            break;
        }
        n -= here;
        pop_input(io);
    }
    if (io->flags & IO_PAUSED && io_wants_input(io)) {
        io->flags &= ~(uint32_t)IO_PAUSED;
        io_ops(io)->recv(io);
    }
}

static struct bytes first_run(const struct io *io)
{
    struct lease *l = io->in_head;
    return l ? (struct bytes){ l->data + l->start, l->end - l->start } : BYTES_NONE;
}

/* Once, unless they are there now. */
static err wait_bytes(struct io *io, uint32_t have, uint64_t deadline_us)
{
    if (!io->in_failed && !(io->flags & IO_ENDED))
        io_ops(io)->recv(io);
    if (io->in_bytes > have)
        return OK;
    if (io->flags & IO_OPENED) {
        io->flags &= ~(uint32_t)IO_OPENED;
        return OK;
    }
    if (io->in_failed)
        return (err)io->in_failed;
    if (io_has_ended(io))
        return io_end_of(io);
    return wait_as_reader(io, deadline_us);
}

err io_wait_input(struct io *io, uint64_t deadline_us)
{
    return wait_bytes(io, io->in_bytes, deadline_us);
}

/* Makes more than `have` bytes arrive. */
static err fill(struct io *io, size_t have, uint64_t deadline_us)
{
    while (io->in_bytes <= have) {
        err e = wait_bytes(io, (uint32_t)have, deadline_us);
        if (e)
            return e;
    }
    return OK;
}

err io_pull(struct io *io, uint64_t deadline_us, struct bytes *ret_bytes)
{
    if (!io->in_bytes) {
        err e = fill(io, 0, deadline_us);
        if (e)
            return e;
    }
    *ret_bytes = first_run(io);
    return OK;
}

/* All unconsumed bytes into one buffer. */
static void gather(struct io *io)
{
    struct buffers *b = &worker_this->buffers;
    size_t size = io->in_bytes < IO_CONTIGUOUS_BYTES_MAX ? io->in_bytes : IO_CONTIGUOUS_BYTES_MAX;
    struct lease *into = size <= IO_BUFFER_BYTES / 2 ? buffer_get(b) : buffer_get_big(b, size);
    while (io->in_head && into->end + (io->in_head->end - io->in_head->start) <= into->capacity) {
        struct bytes run = first_run(io);
        memcpy(into->data + into->end, run.ptr, run.len);
        into->end += (uint32_t)run.len;
        pop_input(io);
    }
    into->next = io->in_head;
    io->in_head = into;
    if (!io->in_tail)
        io->in_tail = into;
}

err io_pull_more(struct io *io, size_t have, uint64_t deadline_us, struct bytes *ret_bytes)
{
    must(have <= io->in_bytes);
    if (have >= IO_CONTIGUOUS_BYTES_MAX)
        return ERR_LIMIT;
    err e = fill(io, have, deadline_us);
    if (e)
        return e;
    if (first_run(io).len <= have)
        gather(io);
    *ret_bytes = first_run(io);
    return ret_bytes->len > have ? OK : ERR_LIMIT;
}

struct bytes io_peek(struct io *io)
{
    if (!io->in_bytes && !io->in_failed && !(io->flags & (IO_ENDED | IO_RAW)))
        io_ops(io)->recv(io);
    return first_run(io);
}

struct lease *io_hold(struct io *io)
{
    must(io->in_head != NULL);
    io->in_head->refs++;
    return io->in_head;
}

void lease_drop(struct lease *l)
{
    buffer_unref(&worker_this->buffers, l);
}

bool io_peer_ended(const struct io *io)
{
    return io->flags & (IO_ENDED | IO_HUNG_UP);
}

err io_failed(const struct io *io)
{
    return (err)(io->out_failed ? io->out_failed : io->in_failed);
}

/* ---- writing ---- */

void io_mark_dirty(struct io *io)
{
    struct ios *ios = &worker_this->ios;
    if (io->flags & (IO_DIRTY | IO_SEND_ARMED))
        return; /* what is in flight marks it again when it is done */
    io->flags |= IO_DIRTY;
    io->next_dirty = NULL;
    *ios->dirty_end = io;
    ios->dirty_end = &io->next_dirty;
}

void ios_flush(struct ios *ios)
{
    struct io *io = ios->dirty;
    ios->dirty = NULL;
    ios->dirty_end = &ios->dirty;
    while (io) {
        struct io *next = io->next_dirty;
        io->flags &= ~(uint32_t)IO_DIRTY;
        if (io->phase != IO_GONE && !(io->flags & (IO_SEND_ARMED | IO_SEND_BLOCKED)))
            io_send(io);
        io = next;
    }
}

size_t io_out_parts(const struct io *io, struct iovec parts[IO_PARTS_PER_SEND], size_t *ret_count)
{
    size_t count = 0, bytes = 0;
    for (const struct segment *s = io->out.head; s && count < IO_PARTS_PER_SEND; s = s->next) {
        parts[count++] = (struct iovec){ s->ptr, s->len };
        bytes += s->len;
    }
    *ret_count = count;
    return bytes;
}

void io_send(struct io *io)
{
    if (io->flags & IO_CODED && io->codec->plain.head)
        io->codec->ops->encode(io->codec);
    bool last = io->phase == IO_FLUSHING || io->flags & IO_FIN_WANTED;
    if (last && !(io->flags & IO_FAR))
        io_send_last(io);
    if (io->phase != IO_GONE && io->out_bytes)
        io_ops(io)->send(io);
}

/* Where what is written is queued. */
static struct segment_queue *write_queue(struct io *io)
{
    return io->flags & IO_CODED ? &io->codec->plain : &io->out;
}

void io_queue_segment(struct io *io, struct segment_queue *q, struct lease *l, char *ptr, size_t len)
{
    struct segment *s = segment_get(&worker_this->buffers);
    s->lease = l;
    s->ptr = ptr;
    s->len = len;
    if (q->tail)
        q->tail->next = s;
    else
        q->head = s;
    q->tail = s;
    io->out_bytes += (uint32_t)len;
}

/* Bytes that fit behind the last segment, which nobody else looks at. */
static size_t tail_room(const struct segment_queue *q)
{
    const struct segment *s = q->tail;
    if (!s || s->lease->refs != 1 || s->ptr + s->len != s->lease->data + s->lease->end)
        return 0;
    return s->lease->capacity - s->lease->end;
}

char *io_out(struct io *io, size_t n)
{
    struct ios *ios = &worker_this->ios;
    const struct segment_queue *q = write_queue(io);
    must(n <= IO_BUFFER_BYTES && !ios->out);
    if (tail_room(q) >= n && n > 0)
        return q->tail->ptr + q->tail->len;
    ios->out = buffer_get(&worker_this->buffers);
    return ios->out->data;
}

void io_out_end(struct io *io, size_t n)
{
    struct ios *ios = &worker_this->ios;
    struct segment_queue *q = write_queue(io);
    struct lease *fresh = ios->out;
    ios->out = NULL;
    if (n == 0 || io->out_failed) {
        if (fresh)
            buffer_unref(&worker_this->buffers, fresh);
        return;
    }
    if (fresh) {
        must(n <= fresh->capacity);
        fresh->end = (uint32_t)n;
        io_queue_segment(io, q, fresh, fresh->data, n);
    } else {
        must(n <= tail_room(q));
        q->tail->lease->end += (uint32_t)n;
        q->tail->len += n;
        io->out_bytes += (uint32_t)n;
    }
    io_mark_dirty(io);
}

err io_drain(struct io *io, size_t queued_max, uint64_t deadline_us)
{
    while (io->out_bytes > queued_max && !io->out_failed) {
        io->drain_max = (uint32_t)queued_max;
        if (!(io->flags & (IO_SEND_ARMED | IO_SEND_BLOCKED)))
            io_send(io);
        if (io->out_bytes <= queued_max || io->out_failed)
            break;
        err e = wait_as_writer(io, deadline_us);
        if (e)
            return e;
    }
    return (err)io->out_failed;
}

/* Waits, where waiting is possible, until more may be queued. */
static err make_room(struct io *io, uint64_t deadline_us)
{
    if (io->out_bytes <= IO_SEND_BYTES_MAX || !worker_this->fibers.current)
        return (err)io->out_failed;
    return io_drain(io, IO_SEND_BYTES_MAX, deadline_us);
}

err io_write(struct io *io, struct bytes data, uint64_t deadline_us)
{
    while (data.len > 0) {
        err e = make_room(io, deadline_us);
        if (e)
            return e;
        size_t room = tail_room(write_queue(io)), n = room ? room : IO_BUFFER_BYTES;
        if (n > data.len)
            n = data.len;
        memcpy(io_out(io, n), data.ptr, n);
        io_out_end(io, n);
        data = bytes_skip(data, n);
    }
    return (err)io->out_failed;
}

err io_lend(struct io *io, struct io *from, size_t n, uint64_t deadline_us)
{
    must(n <= from->in_bytes);
    while (n > 0) {
        err e = make_room(io, deadline_us);
        if (e)
            return e;
        struct lease *l = from->in_head;
        size_t here = l->end - l->start;
        if (here > n)
            here = n;
        l->refs++;
        io_queue_segment(io, write_queue(io), l, l->data + l->start, here);
        io_consume(from, here);
        io_mark_dirty(io);
        n -= here;
    }
    return (err)io->out_failed;
}

size_t io_queued(const struct io *io)
{
    return io->out_bytes;
}

void io_drop_queue(struct segment_queue *q)
{
    struct buffers *b = &worker_this->buffers;
    for (struct segment *s; (s = q->head);) {
        q->head = s->next;
        buffer_unref(b, s->lease);
        segment_put(b, s);
    }
    q->tail = NULL;
}

void io_drop_output(struct io *io)
{
    io_drop_queue(&io->out);
    if (io->flags & IO_CODED)
        io_drop_queue(&io->codec->plain);
    io->out_bytes = 0;
}

void io_unqueue(struct segment_queue *q, size_t n)
{
    struct buffers *b = &worker_this->buffers;
    while (n > 0) {
        struct segment *s = q->head;
        if (n < s->len) {
            s->ptr += n;
            s->len -= n;
            return;
        }
        n -= s->len;
        q->head = s->next;
        if (!s->next)
            q->tail = NULL;
        buffer_unref(b, s->lease);
        segment_put(b, s);
    }
}

void io_sent(struct io *io, size_t n, err failed)
{
    if (failed) {
        io->out_failed = (uint8_t)failed;
        io_drop_output(io);
    } else {
        io->out_bytes -= (uint32_t)n;
        io_unqueue(&io->out, n);
    }
    if (io->writer && io->out_bytes <= io->drain_max)
        fiber_resume(io->writer, OK);
    if (io->out_bytes) {
        if (!(io->flags & IO_SEND_BLOCKED))
            io_mark_dirty(io);
        return;
    }
    if (io->flags & IO_FIN_WANTED)
        io_send_fin(io);
    if (io->phase == IO_FLUSHING)
        io_close_step(io);
}

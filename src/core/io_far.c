#include "core/io_far.h"

#include "core/worker_internal.h"

static void far_recv(struct io *io)
{
    io->flags |= IO_PAUSED; /* so that io_consume asks again */
    if (io_wants_input(io))
        io->far->ops->want(io->far);
}

static bool far_recv_stop(struct io *io)
{
    (void)io;
    return true;
}

static void far_send(struct io *io)
{
    if (io->out_bytes)
        io->far->ops->send(io->far);
}

static void far_detach(struct io *io)
{
    struct io_far *f = io->far;
    f->io = NULL;
    io_free(io);
    f->ops->closed(f, io->in_failed || io->out_failed || io->flags & IO_CUT);
}

/* Splicing, which waits for sockets to be ready, asks no io of this kind. */
const struct loop_ops loop_far = {
    .name = "far",
    .recv = far_recv,
    .recv_stop = far_recv_stop,
    .send = far_send,
    .detach = far_detach,
};

struct io *io_far_open(struct io_far *f)
{
    struct io *io = io_make_far();
    io->far = f;
    f->io = io;
    return io;
}

bool io_far_wants(const struct io_far *f)
{
    return io_wants_input(f->io);
}

void io_far_put(struct io_far *f, struct bytes data)
{
    while (data.len) {
        struct lease *l = buffer_get(&worker_this->buffers);
        size_t n = data.len < IO_BUFFER_BYTES ? data.len : IO_BUFFER_BYTES;
        memcpy(l->data, data.ptr, n);
        io_append(f->io, l, (uint32_t)n);
        data = bytes_skip(data, n);
    }
}

void io_far_put_end(struct io_far *f)
{
    f->io->flags |= IO_ENDED;
}

void io_far_fail(struct io_far *f, err why)
{
    f->io->in_failed = (uint8_t)why;
    io_sent(f->io, 0, why);
}

void io_far_news(struct io_far *f)
{
    io_input_changed(f->io);
}

struct bytes io_far_out(const struct io_far *f)
{
    const struct segment *s = f->io->out.head;
    return s ? (struct bytes){ s->ptr, s->len } : BYTES_NONE;
}

void io_far_took(struct io_far *f, size_t n)
{
    io_sent(f->io, n, OK);
}

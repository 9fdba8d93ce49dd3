/* io_codec: the queues that a codec works on. */
#include "core/io_codec.h"

#include "base/must.h"
#include "core/worker_internal.h"

/* Room behind the last received bytes that is worth decoding into. */
#define ROOM_BYTES_MIN 4096
/* A run of plain bytes that is not copied together with what stands behind it. */
#define RUN_BYTES_MIN (IO_BUFFER_BYTES - 1024)

struct io_codec *io_codec_of(const struct io *io)
{
    return io->flags & IO_CODED ? io->codec : NULL;
}

void io_set_codec(struct io *io, struct io_codec *c)
{
    struct buffers *b = &worker_this->buffers;
    struct lease *l = io->in_head;
    must(!(io->flags & (IO_CODED | IO_RAW)) && io->phase == IO_OPEN);
    io->flags |= IO_CODED;
    io->codec = c;
    c->io = io;
    io->in_head = io->in_tail = NULL;
    io->in_bytes = 0;
    while (l) {
        struct lease *next = l->next;
        if (!io->in_failed)
            c->ops->received(c, (struct bytes){ l->data + l->start, l->end - l->start });
        buffer_unref(b, l);
        l = next;
    }
    if (io->flags & IO_ENDED) {
        io->flags &= ~(uint32_t)IO_ENDED;
        io_received_end(io);
    }
}

err io_codec_wait(struct io_codec *c, uint64_t deadline_us)
{
    struct io *io = c->io;
    err e = OK;
    while (!e && !c->open)
        e = io_wait_input(io, deadline_us);
    io->flags &= ~(uint32_t)IO_OPENED;
    return e;
}

void io_codec_say_end(struct io *io)
{
    struct io_codec *c = io->codec;
    if (c->said_end || io->out_failed)
        return;
    c->said_end = true;
    c->ops->end(c);
}

void io_codec_drop_plain(struct io_codec *c)
{
    for (const struct segment *s = c->plain.head; s; s = s->next)
        c->io->out_bytes -= (uint32_t)s->len;
    io_drop_queue(&c->plain);
}

void io_codec_free(struct io *io)
{
    struct io_codec *c = io->codec;
    io_drop_queue(&c->plain);
    io->flags &= ~(uint32_t)IO_CODED;
    io->codec = NULL;
    c->io = NULL;
    c->ops->free(c);
}

/* ---- in ---- */

char *io_codec_room(struct io_codec *c, size_t *ret_room)
{
    struct ios *ios = &worker_this->ios;
    struct lease *l = c->io->in_tail;
    must(!ios->decoding);
    if (!l || l->capacity - l->end < ROOM_BYTES_MIN)
        l = buffer_get(&worker_this->buffers);
    ios->decoding = l;
    *ret_room = l->capacity - l->end;
    return l->data + l->end;
}

void io_codec_decoded(struct io_codec *c, size_t n)
{
    struct ios *ios = &worker_this->ios;
    struct io *io = c->io;
    struct lease *l = ios->decoding;
    must(n <= l->capacity - l->end);
    ios->decoding = NULL;
    if (l == io->in_tail) {
        l->end += (uint32_t)n;
        io->in_bytes += (uint32_t)n;
    } else if (n > 0) {
        io_append(io, l, (uint32_t)n);
    } else {
        buffer_unref(&worker_this->buffers, l);
    }
}

void io_codec_peer_ended(struct io_codec *c)
{
    c->io->flags |= IO_ENDED;
}

void io_codec_back(struct io_codec *c)
{
    c->away = false;
    if (c->io->flags & IO_ENDED && !(c->io->flags & IO_CUT) && !c->ops->ended(c))
        c->io->flags |= IO_CUT;
}

void io_codec_opened(struct io_codec *c)
{
    struct io *io = c->io;
    c->open = true;
    io->flags |= IO_OPENED;
    if (c->plain.head)
        io_mark_dirty(io);
}

/* ---- out ---- */

struct bytes io_codec_plain(struct io_codec *c)
{
    const struct segment *s = c->plain.head;
    return s ? (struct bytes){ s->ptr, s->len } : BYTES_NONE;
}

struct bytes io_codec_plain_run(struct io_codec *c, char *into, size_t size)
{
    const struct segment *s = c->plain.head;
    if (!s || !s->next || s->len >= RUN_BYTES_MIN)
        return io_codec_plain(c);
    size_t n = 0;
    for (; s && n < size; s = s->next) {
        size_t here = s->len < size - n ? s->len : size - n;
        memcpy(into + n, s->ptr, here);
        n += here;
    }
    return (struct bytes){ into, n };
}

void io_codec_encoded(struct io_codec *c, size_t n)
{
    io_unqueue(&c->plain, n);
    c->io->out_bytes -= (uint32_t)n;
}

void io_codec_emit(struct io_codec *c, struct bytes raw)
{
    struct io *io = c->io;
    struct segment_queue *q = &io->out;
    while (raw.len > 0) {
        struct segment *s = q->tail;
        size_t room = s && s->ptr + s->len == s->lease->data + s->lease->end && s->lease->refs == 1
                          ? s->lease->capacity - s->lease->end
                          : 0;
        if (!room) {
            struct lease *l = buffer_get(&worker_this->buffers);
            io_queue_segment(io, q, l, l->data, 0);
            continue;
        }
        size_t n = room < raw.len ? room : raw.len;
        memcpy(s->ptr + s->len, raw.ptr, n);
        s->len += n;
        s->lease->end += (uint32_t)n;
        io->out_bytes += (uint32_t)n;
        raw = bytes_skip(raw, n);
    }
    io_mark_dirty(io);
}

void io_codec_failed(struct io_codec *c, err why)
{
    struct io *io = c->io;
    if (io->in_failed)
        return;
    io->in_failed = io->out_failed = (uint8_t)why;
    io_codec_drop_plain(c);
    if (io->writer)
        fiber_resume(io->writer, OK);
}

void io_codec_news_soon(struct io_codec *c)
{
    io_tell_soon(c->io);
}

void io_codec_news(struct io_codec *c)
{
    io_input_changed(c->io);
}

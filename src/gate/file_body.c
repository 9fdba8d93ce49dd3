#include "gate/file_body.h"

#include <unistd.h>

#include "base/hash.h"
#include "base/list.h"
#include "core/file.h"

/* What is read at a time (it fits a pooled chunk of the arena; more would ask the heap), */
#define BUFFER_BYTES (15 * 1024)
/* what sendfile is asked for at a time, */
#define SEND_BYTES_MAX (512 * 1024)
/* and what it is worth a call of its own for. */
#define SEND_BYTES_MIN (64 * 1024)

static struct file_body *file_of(struct body *b)
{
    return container_of(b, struct file_body, body);
}

static void skip_done_parts(struct file_body *f)
{
    while (f->at < f->count && f->done == f->parts[f->at].length) {
        f->at++;
        f->done = 0;
    }
}

static err read_some(struct file_body *f, const struct file_part *p)
{
    const uint64_t left = p->length - f->done;
    size_t len;
    if (!f->buffer)
        f->buffer = arena_get(f->arena, BUFFER_BYTES);
    if (!f->buffer)
        return ERR_LIMIT;
    err e = file_read(f->fd, f->buffer, left < BUFFER_BYTES ? (size_t)left : BUFFER_BYTES,
                      p->offset + f->done, &len);
    if (e)
        return e;
    f->start = 0;
    f->end = len;
    return len ? OK : ERR_CLOSED; /* it has become shorter meanwhile */
}

static err file_pull(struct body *b, uint64_t deadline_us, struct bytes *ret_bytes)
{
    (void)deadline_us;
    struct file_body *f = file_of(b);
    if (f->at == f->count) {
        *ret_bytes = BYTES_NONE;
        return OK;
    }
    const struct file_part *p = &f->parts[f->at];
    if (p->words.ptr) {
        *ret_bytes = bytes_skip(p->words, (size_t)f->done);
        return OK;
    }
    err e = f->start == f->end ? read_some(f, p) : OK;
    if (!e)
        *ret_bytes = (struct bytes){ f->buffer + f->start, f->end - f->start };
    return e;
}

static void file_give(struct body *b, size_t n)
{
    struct file_body *f = file_of(b);
    if (!f->parts[f->at].words.ptr)
        f->start += n;
    f->done += n;
    skip_done_parts(f);
}

static int file_file(struct body *b, uint64_t *ret_offset, size_t *ret_left)
{
    struct file_body *f = file_of(b);
    if (f->at == f->count || f->parts[f->at].words.ptr || f->start < f->end)
        return -1;
    const struct file_part *p = &f->parts[f->at];
    const uint64_t left = p->length - f->done;
    if (left < SEND_BYTES_MIN)
        return -1;
    *ret_offset = p->offset + f->done;
    *ret_left = left < SEND_BYTES_MAX ? (size_t)left : SEND_BYTES_MAX;
    return file_warm(f->fd, *ret_offset, *ret_left) == OK ? f->fd : -1;
}

static void file_moved(struct body *b, uint64_t n)
{
    struct file_body *f = file_of(b);
    f->done += n;
    skip_done_parts(f);
}

static bool file_ready(struct body *b)
{
    (void)b;
    return true;
}

static void file_close(struct body *b)
{
    close(file_of(b)->fd);
}

static const struct body_ops file_ops = {
    .pull = file_pull,
    .give = file_give,
    .moved = file_moved,
    .file = file_file,
    .ready = file_ready,
    .close = file_close,
};

static struct file_body *file_body(struct arena *a, int fd, unsigned parts)
{
    struct file_body *f = arena_get(a, sizeof *f + parts * sizeof *f->parts);
    if (f)
        *f = (struct file_body){ .body = { .ops = &file_ops }, .arena = a, .fd = fd };
    return f;
}

static void add_part(struct file_body *f, struct file_part part)
{
    f->parts[f->count++] = part;
    f->body.length += part.length;
}

err file_body_range(struct arena *a, int fd, uint64_t offset, uint64_t length, struct body **ret_body)
{
    struct file_body *f = file_body(a, fd, 1);
    if (!f)
        return ERR_LIMIT;
    add_part(f, (struct file_part){ .offset = offset, .length = length });
    skip_done_parts(f);
    *ret_body = &f->body;
    return OK;
}

err file_body_multipart(struct arena *a, int fd, uint64_t size, struct bytes type,
                        const struct http_range *ranges, unsigned count, struct body **ret_body,
                        struct bytes *ret_type)
{
    struct file_body *f = file_body(a, fd, 2 * count + 1);
    const unsigned long long boundary =
        random_u64(); /* that 64 drawn bits stand in the file is not to be feared */
    if (!f)
        return ERR_LIMIT;
    for (unsigned i = 0; i < count; i++) {
        const struct http_range *r = &ranges[i];
        const struct bytes words =
            arena_print(a, "%s--%016llx\r\nContent-Type: %.*s\r\nContent-Range: bytes %llu-%llu/%llu\r\n\r\n",
                        i ? "\r\n" : "", boundary, BYTES_ARG(type), (unsigned long long)r->first,
                        (unsigned long long)r->last, (unsigned long long)size);
        if (!words.ptr)
            return ERR_LIMIT;
        add_part(f, (struct file_part){ .words = words, .length = words.len });
        add_part(f, (struct file_part){ .offset = r->first, .length = r->last - r->first + 1 });
    }
    const struct bytes end = arena_print(a, "\r\n--%016llx--\r\n", boundary);
    *ret_type = arena_print(a, "multipart/byteranges; boundary=%016llx", boundary);
    if (!end.ptr || !ret_type->ptr)
        return ERR_LIMIT;
    add_part(f, (struct file_part){ .words = end, .length = end.len });
    *ret_body = &f->body;
    return OK;
}

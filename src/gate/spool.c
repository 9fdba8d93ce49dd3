#include "gate/spool.h"

#include <unistd.h>

#include "base/must.h"
#include "core/file.h"

/* The first segment of a body that may be short. */
#define SEGMENT_BYTES_MIN 4096

/* Stands at the front of its own block. */
struct spool_segment {
    struct spool_segment *next;
    size_t size, start, end;
    char data[];
};

void spool_open(struct spool *s, const struct spool_opts *o)
{
    *s = (struct spool){ .opts = *o, .fd = -1 };
}

void spool_close(struct spool *s)
{
    for (struct spool_segment *g; (g = s->head);) {
        s->head = g->next;
        block_pool_put(s->opts.pool, g);
    }
    block_pool_put(s->opts.pool, s->stage);
    block_pool_put(s->opts.pool, s->block);
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
    s->stage = s->block = NULL;
    s->tail = NULL;
}

static void *take(struct spool *s, size_t size)
{
    if (s->opts.pool->used_bytes + size > s->opts.pool_bytes_max)
        return NULL;
    return block_pool_get(s->opts.pool, size);
}

static void swap_stage(struct spool *s)
{
    char *stage = s->stage;
    s->stage = s->block;
    s->block = stage;
}

err spool_reserve(struct spool *s)
{
    if (!s->stage && s->block_start == s->block_end)
        swap_stage(s);
    if (!s->stage)
        s->stage = take(s, SPOOL_BLOCK_BYTES);
    return s->stage ? OK : ERR_LIMIT;
}

/* ---- adding ---- */

static bool in_file(const struct spool *s)
{
    return s->file_start < s->file_end || s->block_start < s->block_end || s->stage_start < s->stage_end ||
           s->writing;
}

/* A longer body gets longer segments. */
static bool grow(struct spool *s)
{
    size_t size = s->memory_bytes < SEGMENT_BYTES_MIN ? SEGMENT_BYTES_MIN : s->memory_bytes;
    const size_t left = s->opts.memory_bytes_max - s->memory_bytes;
    size = size < SPOOL_BLOCK_BYTES ? size : SPOOL_BLOCK_BYTES;
    size = size < left ? size : left;
    struct spool_segment *g = size ? take(s, sizeof *g + size) : NULL;
    if (!g)
        return false;
    *g = (struct spool_segment){ .size = size };
    if (s->head)
        s->tail->next = g;
    else
        s->head = g;
    s->tail = g;
    s->memory_bytes += size;
    return true;
}

static size_t add_memory(struct spool *s, struct bytes data)
{
    if (in_file(s) || ((!s->head || s->tail->end == s->tail->size) && !grow(s)))
        return 0;
    struct spool_segment *g = s->tail;
    const size_t n = data.len < g->size - g->end ? data.len : g->size - g->end;
    memcpy(g->data + g->end, data.ptr, n);
    g->end += n;
    return n;
}

/* A full disk, no descriptor, too much to do for the helpers: not the fault of who sends the body. */
static err as_unavailable(err e)
{
    return e == ERR_LIMIT ? ERR_UNAVAILABLE : e;
}

/* The stage, full, goes behind what is in the file. Nobody reads it meanwhile. */
static err write_stage(struct spool *s)
{
    const struct bytes data = { s->stage + s->stage_start, s->stage_end - s->stage_start };
    err e = s->fd < 0 ? file_open_unnamed(s->opts.folder, &s->fd) : OK;
    if (e)
        return as_unavailable(e);
    s->writing = true;
    e = file_write(s->fd, data, s->file_end);
    s->writing = false;
    if (e)
        return as_unavailable(e);
    s->file_end += data.len;
    s->stage_start = s->stage_end = 0;
    return OK;
}

static bool file_has_room(const struct spool *s)
{
    return s->opts.file_bytes_max >= SPOOL_BLOCK_BYTES &&
           s->file_end <= s->opts.file_bytes_max - SPOOL_BLOCK_BYTES;
}

static err add_stage(struct spool *s, struct bytes data, size_t *ret_taken)
{
    *ret_taken = 0;
    if (spool_reserve(s) != OK)
        return OK;
    if (s->stage_end == SPOOL_BLOCK_BYTES) {
        if (!file_has_room(s))
            return OK;
        err e = write_stage(s);
        if (e)
            return e;
    }
    const size_t room = SPOOL_BLOCK_BYTES - s->stage_end;
    *ret_taken = data.len < room ? data.len : room;
    memcpy(s->stage + s->stage_end, data.ptr, *ret_taken);
    s->stage_end += *ret_taken;
    return OK;
}

err spool_add(struct spool *s, struct bytes data, size_t *ret_taken)
{
    *ret_taken = 0;
    while (data.len > 0) {
        size_t n = add_memory(s, data);
        err e = n ? OK : add_stage(s, data, &n);
        if (e)
            return e;
        if (!n)
            break;
        s->bytes += n;
        *ret_taken += n;
        data = bytes_skip(data, n);
    }
    return OK;
}

/* ---- reading ---- */

static err read_file(struct spool *s)
{
    const uint64_t left = s->file_end - s->file_start;
    size_t len;
    if (!s->block) /* for want of pooled memory a reader must not stand still */
        s->block = block_pool_get(s->opts.pool, SPOOL_BLOCK_BYTES);
    err e = file_read(s->fd, s->block, left < SPOOL_BLOCK_BYTES ? (size_t)left : SPOOL_BLOCK_BYTES,
                      s->file_start, &len);
    if (e)
        return e;
    if (!len)
        return ERR_IO;
    s->file_start += len;
    s->block_start = 0;
    s->block_end = len;
    return OK;
}

/* Whoever reads it may take long, and more comes meanwhile. */
static void lend_stage(struct spool *s)
{
    swap_stage(s);
    s->block_start = s->stage_start;
    s->block_end = s->stage_end;
    s->stage_start = s->stage_end = 0;
}

err spool_peek(struct spool *s, struct bytes *ret_bytes)
{
    struct spool_segment *g = s->head;
    *ret_bytes = BYTES_NONE;
    if (g && g->start < g->end) {
        *ret_bytes = (struct bytes){ g->data + g->start, g->end - g->start };
        return OK;
    }
    if (s->block_start == s->block_end && s->file_start < s->file_end) {
        err e = read_file(s);
        if (e)
            return e;
    }
    if (s->block_start == s->block_end && !s->writing && s->stage_start < s->stage_end)
        lend_stage(s);
    if (s->block_start < s->block_end)
        *ret_bytes = (struct bytes){ s->block + s->block_start, s->block_end - s->block_start };
    return OK;
}

static void skip_segment(struct spool *s, size_t n)
{
    struct spool_segment *g = s->head;
    g->start += n;
    if (g->start < g->end || g->end < g->size)
        return; /* it may still be added to */
    s->head = g->next;
    s->memory_bytes -= g->size;
    block_pool_put(s->opts.pool, g);
}

void spool_skip(struct spool *s, size_t n)
{
    must(n <= s->bytes);
    s->bytes -= n;
    if (s->head && s->head->start < s->head->end)
        skip_segment(s, n);
    else
        s->block_start += n;
    if (s->file_start == s->file_end &&
        !s->writing) /* read to its end: it is written from its beginning again */
        s->file_start = s->file_end = 0;
}

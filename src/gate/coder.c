#include "gate/coder.h"

#include "base/must.h"
#include "core/worker.h"
#include "gate/block_pool.h"

/* Blocks that no stream uses, kept by a worker for the next ones. */
#define KEPT_BYTES_MAX (16u << 20)

static const struct coder_ops *const coders[] = {
#if WEIR_HAVE_ZLIB
    &coder_gzip_encoder,
    &coder_gzip_decoder,
    &coder_deflate_decoder,
#endif
#if WEIR_HAVE_BROTLI
    &coder_br_encoder,
    &coder_br_decoder,
#endif
#if WEIR_HAVE_ZSTD
    &coder_zstd_encoder,
    &coder_zstd_decoder,
#endif
    NULL,
};

static _Thread_local struct pools {
    struct block_pool of[2]; /* encoders, decoders */
    size_t reserved_bytes;   /* by encoders */
    struct turn_hook end;
} pools;

static void pools_end(struct turn_hook *h)
{
    (void)h;
    for (int i = 0; i < 2; i++) {
        block_pool_close(&pools.of[i]);
        pools.of[i].kept_bytes_max = 0;
    }
}

static struct block_pool *pool_of(bool decodes)
{
    struct block_pool *m = &pools.of[decodes];
    if (!m->kept_bytes_max) {
        m->kept_bytes_max = KEPT_BYTES_MAX;
        if (worker_self() && !pools.end.run) {
            pools.end.run = pools_end;
            worker_on_end(&pools.end);
        }
    }
    return m;
}

static const struct coder_ops *find(enum content_coding coding, bool decodes)
{
    for (unsigned i = 0; coders[i]; i++) {
        if (coders[i]->coding == coding && coders[i]->decodes == decodes)
            return coders[i];
    }
    return NULL;
}

bool coder_has(enum content_coding coding)
{
    return find(coding, true) != NULL;
}

struct coder_levels coder_levels(enum content_coding coding)
{
    const struct coder_ops *ops = find(coding, false);
    return ops ? ops->levels : (struct coder_levels){ 0 };
}

size_t coder_memory_used(bool decoders)
{
    return decoders ? pools.of[1].used_bytes : pools.reserved_bytes;
}

/* ---- memory ---- */

void *coder_get(struct coder *c, size_t size)
{
    struct block_pool *m = pool_of(c->decodes);
    if (c->decodes && m->used_bytes + size > c->memory_bytes_max) {
        c->out_of_memory = true;
        return NULL;
    }
    void *memory = block_pool_get(m, size);
    if (memory)
        c->used_bytes += block_pool_size(memory);
    else
        c->out_of_memory = true;
    return memory;
}

void coder_put(struct coder *c, void *memory)
{
    c->used_bytes -= block_pool_put(pool_of(c->decodes), memory);
}

char *coder_buffer_get(const struct coder *c, size_t size)
{
    return block_pool_get(pool_of(c->decodes), size);
}

void coder_buffer_put(const struct coder *c, char *buffer)
{
    block_pool_put(pool_of(c->decodes), buffer);
}

/* ---- streams ---- */

static err coder_open(const struct coder_ops *ops, const struct coder_opts *o, size_t reserved_bytes,
                      struct coder **ret_coder)
{
    struct coder *c = block_pool_get(pool_of(ops->decodes), ops->size);
    must(c != NULL);
    memset(c, 0, ops->size);
    c->ops = ops;
    c->decodes = ops->decodes;
    c->reserved_bytes = reserved_bytes;
    c->memory_bytes_max = o->memory_bytes_max;
    err e = ops->open(c, o);
    if (e) {
        must(c->used_bytes == 0);
        block_pool_put(pool_of(ops->decodes), c);
        return e;
    }
    pools.reserved_bytes += reserved_bytes;
    *ret_coder = c;
    return OK;
}

err encoder_open(const struct coder_opts *o, struct coder **ret_coder)
{
    const struct coder_ops *ops = find(o->coding, false);
    if (!ops)
        return ERR_UNSUPPORTED;
    size_t estimate = ops->estimate(o) + CODER_PIECE_BYTES;
    if (pools.reserved_bytes + estimate > o->memory_bytes_max)
        return ERR_LIMIT;
    return coder_open(ops, o, estimate, ret_coder);
}

err decoder_open(const struct coder_opts *o, struct coder **ret_coder)
{
    const struct coder_ops *ops = find(o->coding, true);
    if (!ops)
        return ERR_UNSUPPORTED;
    if (coder_memory_used(true) + ops->size + CODER_PIECE_BYTES > o->memory_bytes_max)
        return ERR_LIMIT;
    return coder_open(ops, o, 0, ret_coder);
}

err coder_run(struct coder *c, struct bytes *in, char **out, size_t *room, enum coder_flush flush,
              bool *ret_done)
{
    *ret_done = false;
    return c->ops->run(c, in, out, room, flush, ret_done);
}

void coder_close(struct coder *c)
{
    if (!c)
        return;
    const bool decodes = c->decodes;
    pools.reserved_bytes -= c->reserved_bytes;
    c->ops->close(c);
    must(c->used_bytes == 0);
    block_pool_put(pool_of(decodes), c);
}

/* coder_zstd: the coding "zstd" (RFC 8878, its window bound by RFC 9659). */
#include "gate/coder.h"

#if WEIR_HAVE_ZSTD
/* for contexts with an allocator of the caller's */
#define ZSTD_STATIC_LINKING_ONLY
#include <zstd.h>
#include <zstd_errors.h>

#define LEVEL_MAX 19

struct zstd_coder {
    struct coder coder;
    ZSTD_CCtx *encoder;
    ZSTD_DCtx *decoder;
    bool begun; /* inside a frame */
};

static struct zstd_coder *zstd_of(struct coder *c)
{
    return (struct zstd_coder *)(void *)c;
}

static void *zstd_get(void *opaque, size_t size)
{
    return coder_get(opaque, size);
}

static void zstd_put(void *opaque, void *memory)
{
    coder_put(opaque, memory);
}

static ZSTD_customMem memory_of(struct coder *c)
{
    return (ZSTD_customMem){ zstd_get, zstd_put, c };
}

/* ---- encoding ---- */

static ZSTD_compressionParameters params_of(const struct coder_opts *o)
{
    ZSTD_compressionParameters p =
        ZSTD_getCParams(o->level, o->length == UINT64_MAX ? ZSTD_CONTENTSIZE_UNKNOWN : o->length, 0);
    if (p.windowLog > o->window_bits)
        p.windowLog = o->window_bits;
    return ZSTD_adjustCParams(p, o->length == UINT64_MAX ? ZSTD_CONTENTSIZE_UNKNOWN : o->length, 0);
}

static size_t zstd_estimate(const struct coder_opts *o)
{
    size_t size = ZSTD_estimateCStreamSize_usingCParams(params_of(o));
    return size + size / 4;
}

static err zstd_encoder_open(struct coder *coder, const struct coder_opts *o)
{
    struct zstd_coder *c = zstd_of(coder);
    c->encoder = ZSTD_createCCtx_advanced(memory_of(coder));
    if (!c->encoder)
        return ERR_LIMIT;
    const ZSTD_compressionParameters p = params_of(o);
    const struct {
        ZSTD_cParameter name;
        int value;
    } set[] = {
        { ZSTD_c_compressionLevel, o->level },        { ZSTD_c_windowLog, (int)p.windowLog },
        { ZSTD_c_chainLog, (int)p.chainLog },         { ZSTD_c_hashLog, (int)p.hashLog },
        { ZSTD_c_searchLog, (int)p.searchLog },       { ZSTD_c_minMatch, (int)p.minMatch },
        { ZSTD_c_targetLength, (int)p.targetLength }, { ZSTD_c_strategy, (int)p.strategy },
    };
    size_t failed = 0;
    for (unsigned i = 0; i < sizeof set / sizeof *set; i++)
        failed |= ZSTD_isError(ZSTD_CCtx_setParameter(c->encoder, set[i].name, set[i].value));
    if (!failed)
        return OK;
    ZSTD_freeCCtx(c->encoder);
    return ERR_UNSUPPORTED;
}

static err zstd_encoder_run(struct coder *coder, struct bytes *in, char **out, size_t *room,
                            enum coder_flush flush, bool *ret_done)
{
    static const ZSTD_EndDirective how[] = { ZSTD_e_continue, ZSTD_e_flush, ZSTD_e_end };
    const size_t piece = in->len < CODER_PIECE_BYTES ? in->len : CODER_PIECE_BYTES;
    ZSTD_inBuffer input = { in->ptr, piece, 0 };
    ZSTD_outBuffer output = { *out, *room, 0 };
    size_t left = ZSTD_compressStream2(zstd_of(coder)->encoder, &output, &input,
                                       piece < in->len ? ZSTD_e_continue : how[flush]);
    if (ZSTD_isError(left))
        return ERR_LIMIT;
    *in = bytes_skip(*in, input.pos);
    *out += output.pos;
    *room -= output.pos;
    *ret_done = in->len == 0 && (flush == CODER_RUN || left == 0);
    return OK;
}

static void zstd_encoder_close(struct coder *coder)
{
    ZSTD_freeCCtx(zstd_of(coder)->encoder);
}

const struct coder_ops coder_zstd_encoder = {
    .coding = CODING_ZSTD,
    .levels = { 1, LEVEL_MAX, 3 },
    .size = sizeof(struct zstd_coder),
    .estimate = zstd_estimate,
    .open = zstd_encoder_open,
    .run = zstd_encoder_run,
    .close = zstd_encoder_close,
};

/* ---- decoding ---- */

static err zstd_decoder_open(struct coder *coder, const struct coder_opts *o)
{
    (void)o;
    struct zstd_coder *c = zstd_of(coder);
    c->decoder = ZSTD_createDCtx_advanced(memory_of(coder));
    if (!c->decoder)
        return ERR_LIMIT;
    if (!ZSTD_isError(ZSTD_DCtx_setParameter(c->decoder, ZSTD_d_windowLogMax, CODER_WINDOW_BITS_MAX)))
        return OK;
    ZSTD_freeDCtx(c->decoder);
    return ERR_UNSUPPORTED;
}

static err zstd_decoder_run(struct coder *coder, struct bytes *in, char **out, size_t *room,
                            enum coder_flush flush, bool *ret_done)
{
    (void)flush;
    struct zstd_coder *c = zstd_of(coder);
    const size_t piece = in->len < CODER_PIECE_BYTES ? in->len : CODER_PIECE_BYTES;
    ZSTD_inBuffer input = { in->ptr, piece, 0 };
    ZSTD_outBuffer output = { *out, *room, 0 };
    if (!piece && !c->begun) { /* between frames, or before the first: nothing is inside */
        *ret_done = true;
        return OK;
    }
    size_t left = ZSTD_decompressStream(c->decoder, &output, &input);
    if (ZSTD_isError(left)) {
        const bool memory =
            coder->out_of_memory || ZSTD_getErrorCode(left) == ZSTD_error_frameParameter_windowTooLarge;
        return memory ? ERR_LIMIT : ERR_SYNTAX;
    }
    *in = bytes_skip(*in, input.pos);
    *out += output.pos;
    *room -= output.pos;
    c->begun = left != 0;
    *ret_done = left == 0;
    return OK;
}

static void zstd_decoder_close(struct coder *coder)
{
    ZSTD_freeDCtx(zstd_of(coder)->decoder);
}

const struct coder_ops coder_zstd_decoder = {
    .decodes = true,
    .coding = CODING_ZSTD,
    .size = sizeof(struct zstd_coder),
    .open = zstd_decoder_open,
    .run = zstd_decoder_run,
    .close = zstd_decoder_close,
};
#endif

/* coder_zlib: gzip (RFC 1952) both ways, and the coding "deflate" (RFC 1950 in RFC 9110 8.4.1.2, though some
 * send bare RFC 1951) on the way in. */
#include "gate/coder.h"

#if WEIR_HAVE_ZLIB
#include <limits.h>
#include <zlib.h>

#define GZIP 16 /* added to windowBits: gzip's frame instead of zlib's */
#define WINDOW_BITS_MAX 15
#define WINDOW_BITS_MIN 9
#define MEMORY_LEVEL_MAX 8

struct zlib_coder {
    struct coder coder;
    z_stream z;
    bool open;  /* a decoder opens with the first byte, which says what it is */
    bool ended; /* a member has ended: the next byte begins another */
};

static struct zlib_coder *zlib_of(struct coder *c)
{
    return (struct zlib_coder *)(void *)c;
}

static void *zlib_get(void *opaque, unsigned items, unsigned size)
{
    return coder_get(opaque, (size_t)items * size);
}

static void zlib_put(void *opaque, void *memory)
{
    coder_put(opaque, memory);
}

static void set_memory(struct zlib_coder *c)
{
    c->z.zalloc = zlib_get;
    c->z.zfree = zlib_put;
    c->z.opaque = &c->coder;
}

static err error_of(const struct coder *c, int result)
{
    return c->out_of_memory || result == Z_MEM_ERROR ? ERR_LIMIT : ERR_SYNTAX;
}

/* A run of zlib over *in and *out. */
static int turn(struct zlib_coder *c, struct bytes *in, char **out, size_t *room, int flush,
                int (*run)(z_stream *z, int flush))
{
    const size_t in_len = in->len < CODER_PIECE_BYTES ? in->len : CODER_PIECE_BYTES;
    const size_t out_len = *room < CODER_PIECE_BYTES ? *room : CODER_PIECE_BYTES;
    c->z.next_in = (Bytef *)(uintptr_t)in->ptr;
    c->z.avail_in = (unsigned)in_len;
    c->z.next_out = (Bytef *)*out;
    c->z.avail_out = (unsigned)out_len;
    int result = run(&c->z, in_len < in->len ? Z_NO_FLUSH : flush);
    *in = bytes_skip(*in, in_len - c->z.avail_in);
    *out += out_len - c->z.avail_out;
    *room -= out_len - c->z.avail_out;
    return result;
}

/* ---- encoding ---- */

static void window_of(const struct coder_opts *o, int *ret_bits, int *ret_memory_level)
{
    *ret_bits = WINDOW_BITS_MAX;
    *ret_memory_level = MEMORY_LEVEL_MAX;
    /* As nginx does: what is known to be short needs no long window. 262 is deflate's lookahead. */
    while (*ret_bits > WINDOW_BITS_MIN && o->length < (UINT64_C(1) << (*ret_bits - 1)) - 262) {
        --*ret_bits;
        --*ret_memory_level;
    }
    if (*ret_memory_level < 1)
        *ret_memory_level = 1;
}

/* zconf.h: (1 << (windowBits + 2)) + (1 << (memLevel + 9)), and a few kilobytes; our classes round up. */
static size_t gzip_estimate(const struct coder_opts *o)
{
    int bits;
    int memory_level;
    window_of(o, &bits, &memory_level);
    size_t size = ((size_t)1 << (bits + 2)) + ((size_t)1 << (memory_level + 9)) + 8192;
    return size + size / 4;
}

static err gzip_encoder_open(struct coder *coder, const struct coder_opts *o)
{
    struct zlib_coder *c = zlib_of(coder);
    int bits;
    int memory_level;
    window_of(o, &bits, &memory_level);
    set_memory(c);
    return deflateInit2(&c->z, o->level, Z_DEFLATED, bits + GZIP, memory_level, Z_DEFAULT_STRATEGY) == Z_OK
               ? OK
               : ERR_LIMIT;
}

static err gzip_encoder_run(struct coder *coder, struct bytes *in, char **out, size_t *room,
                            enum coder_flush flush, bool *ret_done)
{
    static const int how[] = { Z_NO_FLUSH, Z_SYNC_FLUSH, Z_FINISH };
    struct zlib_coder *c = zlib_of(coder);
    int result = turn(c, in, out, room, how[flush], deflate);
    if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR)
        return error_of(coder, result);
    *ret_done = flush == CODER_END ? result == Z_STREAM_END : in->len == 0 && c->z.avail_out > 0;
    return OK;
}

static void gzip_encoder_close(struct coder *coder)
{
    deflateEnd(&zlib_of(coder)->z);
}

const struct coder_ops coder_gzip_encoder = {
    .coding = CODING_GZIP,
    .levels = { 1, 9, 5 },
    .size = sizeof(struct zlib_coder),
    .estimate = gzip_estimate,
    .open = gzip_encoder_open,
    .run = gzip_encoder_run,
    .close = gzip_encoder_close,
};

/* ---- decoding ---- */

static err zlib_decoder_open(struct coder *coder, const struct coder_opts *o)
{
    (void)o;
    set_memory(zlib_of(coder));
    return OK;
}

/* CMF of RFC 1950 has 8 (deflate) in its low half and at most 7 in the other; a bare deflate stream that
 * begins so would be a stored block with padding bits set, which nobody writes. */
static bool is_zlib_frame(char first)
{
    return (first & 0x0f) == 8 && ((unsigned char)first >> 4) <= 7;
}

static int window_bits_of(const struct zlib_coder *c, char first)
{
    if (c->coder.ops->coding == CODING_GZIP)
        return WINDOW_BITS_MAX + GZIP;
    return is_zlib_frame(first) ? WINDOW_BITS_MAX : -WINDOW_BITS_MAX;
}

static err begin_member(struct zlib_coder *c, char first)
{
    int result = c->open ? inflateReset(&c->z) : inflateInit2(&c->z, window_bits_of(c, first));
    c->open = c->open || result == Z_OK;
    c->ended = false;
    return result == Z_OK ? OK : ERR_LIMIT;
}

static err zlib_decoder_run(struct coder *coder, struct bytes *in, char **out, size_t *room,
                            enum coder_flush flush, bool *ret_done)
{
    (void)flush;
    struct zlib_coder *c = zlib_of(coder);
    if (!c->open || c->ended) {
        *ret_done = c->ended;
        if (!in->len)
            return OK;
        if (c->ended && coder->ops->coding != CODING_GZIP)
            return ERR_SYNTAX; /* only gzip has members */
        err e = begin_member(c, in->ptr[0]);
        if (e)
            return e;
    }
    int result = turn(c, in, out, room, Z_NO_FLUSH, inflate);
    if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR)
        return error_of(coder, result);
    *ret_done = c->ended = result == Z_STREAM_END;
    return OK;
}

static void zlib_decoder_close(struct coder *coder)
{
    if (zlib_of(coder)->open)
        inflateEnd(&zlib_of(coder)->z);
}

const struct coder_ops coder_gzip_decoder = {
    .decodes = true,
    .coding = CODING_GZIP,
    .size = sizeof(struct zlib_coder),
    .open = zlib_decoder_open,
    .run = zlib_decoder_run,
    .close = zlib_decoder_close,
};

const struct coder_ops coder_deflate_decoder = {
    .decodes = true,
    .coding = CODING_DEFLATE,
    .size = sizeof(struct zlib_coder),
    .open = zlib_decoder_open,
    .run = zlib_decoder_run,
    .close = zlib_decoder_close,
};
#endif

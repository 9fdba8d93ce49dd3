/* coder_brotli: the coding "br" (RFC 7932). */
#include "gate/coder.h"

#if WEIR_HAVE_BROTLI
#include <brotli/decode.h>
#include <brotli/encode.h>

/* A length beyond this makes levels 4 to 9 take hash tables of several megabytes. */
#define SIZE_HINT_MAX ((1u << 20) - 1)

struct brotli_coder {
    struct coder coder;
    BrotliEncoderState *encoder;
    BrotliDecoderState *decoder;
    bool ended;
};

static struct brotli_coder *brotli_of(struct coder *c)
{
    return (struct brotli_coder *)(void *)c;
}

static void *brotli_get(void *opaque, size_t size)
{
    return coder_get(opaque, size);
}

static void brotli_put(void *opaque, void *memory)
{
    coder_put(opaque, memory);
}

/* ---- encoding ---- */

static unsigned window_of(const struct coder_opts *o)
{
    unsigned bits = o->window_bits;
    while (bits > CODER_WINDOW_BITS_MIN && o->length <= (UINT64_C(1) << (bits - 1)))
        bits--;
    return bits;
}

/* Measured over all levels and windows (the unit test holds it against what is taken), rounded up. */
static size_t br_estimate(const struct coder_opts *o)
{
    const size_t window = (size_t)1 << window_of(o);
    size_t size = 3 * window + (192u << 10);
    if (o->level >= 10)
        size += 24 * window + (12u << 20);
    else if (o->level >= 7)
        size += (size_t)(11u << 20) << (o->level - 7);
    else if (o->level >= 5)
        size += (size_t)(128u << 10) << (o->level - 1);
    else if (o->level >= 2)
        size += 5u << 18;
    return size + size / 4;
}

static err br_encoder_open(struct coder *coder, const struct coder_opts *o)
{
    struct brotli_coder *c = brotli_of(coder);
    c->encoder = BrotliEncoderCreateInstance(brotli_get, brotli_put, coder);
    if (!c->encoder)
        return ERR_LIMIT;
    BrotliEncoderSetParameter(c->encoder, BROTLI_PARAM_QUALITY, (uint32_t)o->level);
    BrotliEncoderSetParameter(c->encoder, BROTLI_PARAM_LGWIN, window_of(o));
    if (o->length < SIZE_HINT_MAX)
        BrotliEncoderSetParameter(c->encoder, BROTLI_PARAM_SIZE_HINT, (uint32_t)o->length);
    return OK;
}

static err br_encoder_run(struct coder *coder, struct bytes *in, char **out, size_t *room,
                          enum coder_flush flush, bool *ret_done)
{
    static const BrotliEncoderOperation how[] = { BROTLI_OPERATION_PROCESS, BROTLI_OPERATION_FLUSH,
                                                  BROTLI_OPERATION_FINISH };
    struct brotli_coder *c = brotli_of(coder);
    const uint8_t *next_in = (const uint8_t *)in->ptr;
    uint8_t *next_out = (uint8_t *)*out;
    const size_t piece = in->len < CODER_PIECE_BYTES ? in->len : CODER_PIECE_BYTES;
    size_t in_left = piece;
    size_t room_left = *room;
    BrotliEncoderOperation op = piece < in->len ? BROTLI_OPERATION_PROCESS : how[flush];
    if (!BrotliEncoderCompressStream(c->encoder, op, &in_left, &next_in, &room_left, &next_out, NULL))
        return ERR_LIMIT;
    *in = bytes_skip(*in, piece - in_left);
    *out += *room - room_left;
    *room = room_left;
    *ret_done = flush == CODER_END ? BrotliEncoderIsFinished(c->encoder)
                                   : in->len == 0 && !BrotliEncoderHasMoreOutput(c->encoder);
    return OK;
}

static void br_encoder_close(struct coder *coder)
{
    BrotliEncoderDestroyInstance(brotli_of(coder)->encoder);
}

const struct coder_ops coder_br_encoder = {
    .coding = CODING_BR,
    .levels = { BROTLI_MIN_QUALITY, BROTLI_MAX_QUALITY, 4 },
    .size = sizeof(struct brotli_coder),
    .estimate = br_estimate,
    .open = br_encoder_open,
    .run = br_encoder_run,
    .close = br_encoder_close,
};

/* ---- decoding ---- */

static err br_decoder_open(struct coder *coder, const struct coder_opts *o)
{
    (void)o;
    struct brotli_coder *c = brotli_of(coder);
    c->decoder = BrotliDecoderCreateInstance(brotli_get, brotli_put, coder);
    return c->decoder ? OK : ERR_LIMIT;
}

static err br_decoder_run(struct coder *coder, struct bytes *in, char **out, size_t *room,
                          enum coder_flush flush, bool *ret_done)
{
    (void)flush;
    struct brotli_coder *c = brotli_of(coder);
    const uint8_t *next_in = (const uint8_t *)in->ptr;
    uint8_t *next_out = (uint8_t *)*out;
    const size_t piece = in->len < CODER_PIECE_BYTES ? in->len : CODER_PIECE_BYTES;
    size_t in_left = piece;
    size_t room_left = *room;
    *ret_done = c->ended;
    if (c->ended) /* there is no second stream behind the first */
        return in->len ? ERR_SYNTAX : OK;
    BrotliDecoderResult r =
        BrotliDecoderDecompressStream(c->decoder, &in_left, &next_in, &room_left, &next_out, NULL);
    if (r == BROTLI_DECODER_RESULT_ERROR)
        return coder->out_of_memory ? ERR_LIMIT : ERR_SYNTAX;
    *in = bytes_skip(*in, piece - in_left);
    *out += *room - room_left;
    *room = room_left;
    *ret_done = c->ended = r == BROTLI_DECODER_RESULT_SUCCESS;
    return OK;
}

static void br_decoder_close(struct coder *coder)
{
    BrotliDecoderDestroyInstance(brotli_of(coder)->decoder);
}

const struct coder_ops coder_br_decoder = {
    .decodes = true,
    .coding = CODING_BR,
    .size = sizeof(struct brotli_coder),
    .open = br_decoder_open,
    .run = br_decoder_run,
    .close = br_decoder_close,
};
#endif

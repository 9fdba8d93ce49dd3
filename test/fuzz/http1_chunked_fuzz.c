/* Chunked bodies: decoded alike whole, byte by byte and in pieces of a size that the first byte chooses; the
 * trailers that were kept parse. */
#include "fuzz.h"
#include "proto/http1.h"

static const struct http1_limits limits = { 128, 512, 32 };

struct decoded {
    err e;
    bool done;
    size_t pos;
    char *body;
    size_t body_len;
    struct arena arena;
    struct http1_trailers trailers;
};

/* Reads in to its end, or its body's. */
static void decode_piece(struct http1_chunked *d, struct bytes in, struct decoded *ret)
{
    while (in.len && !d->done && !ret->e) {
        struct bytes data;
        size_t used;
        ret->e = http1_chunked_decode(d, in, &limits, &ret->trailers, &data, &used);
        if (ret->e)
            return;
        fuzz_check(used > 0 && used <= in.len && data.len <= used);
        if (data.len) {
            fuzz_check(data.ptr >= in.ptr && data.ptr + data.len == in.ptr + used);
            memcpy(ret->body + ret->body_len, data.ptr, data.len);
            ret->body_len += data.len;
        }
        ret->pos += used;
        in = bytes_skip(in, used);
    }
}

static void decode(struct bytes in, size_t piece, struct decoded *ret)
{
    struct http1_chunked d = HTTP1_CHUNKED_START;
    *ret = (struct decoded){ .body = malloc(in.len + 1) };
    fuzz_check(ret->body);
    arena_open(&ret->arena, &arena_heap, 1 << 16, NULL, 0);
    ret->trailers.arena = &ret->arena;
    while (ret->pos < in.len && !d.done && !ret->e) {
        struct bytes rest = bytes_skip(in, ret->pos);
        rest.len = rest.len < piece ? rest.len : piece;
        decode_piece(&d, rest, ret);
    }
    ret->done = d.done;
}

static void close_decoded(struct decoded *d)
{
    arena_close(&d->arena);
    free(d->body);
}

static void check_same(const struct decoded *a, const struct decoded *b)
{
    fuzz_check(a->e == b->e && a->done == b->done);
    fuzz_check(a->body_len == b->body_len && memcmp(a->body, b->body, a->body_len) == 0);
    if (a->e)
        return;
    fuzz_check(a->pos == b->pos);
    struct bytes x = { a->trailers.text, a->trailers.len };
    struct bytes y = { b->trailers.text, b->trailers.len };
    fuzz_check(bytes_eq(x, y));
}

static void check_trailers(struct decoded *d)
{
    struct http_fields fields;
    if (!d->done)
        return;
    fuzz_check(
        http1_parse_trailers((struct bytes){ d->trailers.text, d->trailers.len }, &d->arena, &fields) == OK);
    fuzz_check(!http_fields_get(&fields, FIELD_CONTENT_LENGTH));
    fuzz_check(!http_fields_get(&fields, FIELD_TRANSFER_ENCODING));
    fuzz_check(!http_fields_get(&fields, FIELD_HOST));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct decoded whole, bytewise, pieces;
    if (size < 2)
        return 0;
    struct bytes in = { (const char *)data + 1, size - 1 };
    decode(in, in.len, &whole);
    decode(in, 1, &bytewise);
    decode(in, (size_t)data[0] % 31 + 2, &pieces);
    check_same(&whole, &bytewise);
    check_same(&whole, &pieces);
    check_trailers(&whole);
    close_decoded(&whole);
    close_decoded(&bytewise);
    close_decoded(&pieces);
    return 0;
}

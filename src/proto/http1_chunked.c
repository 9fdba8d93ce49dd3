#include "proto/http1.h"
#include "proto/http_char.h"

/*   SIZE ──;──▶ EXT          TRAILER_NAME ──:──▶ TRAILER_VALUE
 *    │ ╲SP▶ EXT_SPACE ─;▶EXT      ▲                   │ CR
 *    CR           │               ├──── LF ── TRAILER_LF
 *    ▼            CR         TRAILER_START ──CR──▶ END_LF ──LF──▶ done
 *   SIZE_LF ◀─────┘               ▲
 *    ├── LF, size 0 ──────────────┘
 *    └── LF ──▶ DATA ──▶ DATA_CR ──CR──▶ DATA_LF ──LF──▶ SIZE */
enum state {
    SIZE,
    EXT_SPACE,
    EXT,
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER_START,
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_LF,
    END_LF,
};

#define SIZE_DIGITS_MAX 16

static err put_trailer(struct http1_trailers *t, struct bytes text)
{
    if (!t || text.len == 0)
        return OK;
    if (t->size - t->len < text.len) {
        uint32_t size = t->size < 256 ? 256 : t->size;
        while (size - t->len < text.len)
            size *= 2;
        char *grown = arena_get(t->arena, size);
        if (!grown)
            return ERR_LIMIT;
        if (t->len)
            memcpy(grown, t->text, t->len);
        t->text = grown;
        t->size = size;
    }
    memcpy(t->text + t->len, text.ptr, text.len);
    t->len += (uint32_t)text.len;
    return OK;
}

static err step_size(struct http1_chunked *d, char c)
{
    if (http_char_is(c, HTTP_CHAR_HEX_DIGIT)) {
        if (d->digits == SIZE_DIGITS_MAX || d->left > (uint64_t)INT64_MAX >> 4)
            return ERR_SYNTAX;
        d->left = d->left << 4 | http_hex_value(c);
        d->digits++;
        return OK;
    }
    if (d->digits == 0)
        return ERR_SYNTAX;
    if (c == '\r')
        d->state = SIZE_LF;
    else if (c == ';')
        d->state = EXT;
    else if (c == ' ' || c == '\t')
        d->state = EXT_SPACE;
    else
        return ERR_SYNTAX;
    return OK;
}

/* White space behind the size is BWS and only right in front of an extension (RFC 9112 7.1.1). */
static err step_ext_space(struct http1_chunked *d, char c)
{
    if (c == ';')
        d->state = EXT;
    return c == ';' || c == ' ' || c == '\t' ? OK : ERR_SYNTAX;
}

/* Extensions are read past: nobody here knows one, and they end with their chunk. */
static err step_ext(struct http1_chunked *d, char c)
{
    if (c == '\r')
        d->state = SIZE_LF;
    return c == '\r' || http_char_is(c, HTTP_CHAR_VALUE) ? OK : ERR_SYNTAX;
}

static err step_size_lf(struct http1_chunked *d, char c)
{
    if (c != '\n')
        return ERR_SYNTAX;
    d->state = d->left ? DATA : TRAILER_START;
    d->line_bytes = 0;
    return OK;
}

static err step_data_end(struct http1_chunked *d, char c)
{
    if (c != (d->state == DATA_CR ? '\r' : '\n'))
        return ERR_SYNTAX;
    d->state = d->state == DATA_CR ? DATA_LF : SIZE;
    d->digits = 0;
    return OK;
}

static err step_trailer_start(struct http1_chunked *d, char c)
{
    if (c == '\r') {
        d->state = END_LF;
        return OK;
    }
    d->state = TRAILER_NAME;
    return http_char_is(c, HTTP_CHAR_TOKEN) ? OK : ERR_SYNTAX;
}

static err step_trailer(struct http1_chunked *d, char c)
{
    if (d->state == TRAILER_NAME) {
        if (c == ':')
            d->state = TRAILER_VALUE;
        return c == ':' || http_char_is(c, HTTP_CHAR_TOKEN) ? OK : ERR_SYNTAX;
    }
    if (d->state == TRAILER_VALUE) {
        if (c == '\r')
            d->state = TRAILER_LF;
        return c == '\r' || http_char_is(c, HTTP_CHAR_VALUE) ? OK : ERR_SYNTAX;
    }
    if (c != '\n')
        return ERR_SYNTAX;
    d->state = TRAILER_START;
    return OK;
}

static err step_end(struct http1_chunked *d, char c)
{
    if (c != '\n')
        return ERR_SYNTAX;
    d->done = true;
    return OK;
}

static err step(struct http1_chunked *d, char c)
{
    switch ((enum state)d->state) {
    case SIZE:
        return step_size(d, c);
    case EXT_SPACE:
        return step_ext_space(d, c);
    case EXT:
        return step_ext(d, c);
    case SIZE_LF:
        return step_size_lf(d, c);
    case DATA_CR:
    case DATA_LF:
        return step_data_end(d, c);
    case TRAILER_START:
        return step_trailer_start(d, c);
    case TRAILER_NAME:
    case TRAILER_VALUE:
    case TRAILER_LF:
        return step_trailer(d, c);
    case END_LF:
        return step_end(d, c);
    default:
        return ERR_SYNTAX;
    }
}

/* Walks over framing up to data, trailers, the end, or the end of in; *pos moves along. */
static err walk_framing(struct http1_chunked *d, const char **pos, const char *end,
                        const struct http1_limits *limits)
{
    const char *p = *pos;
    err e = OK;
    while (p < end && (d->state < DATA || d->state == DATA_CR || d->state == DATA_LF) && !e) {
        if (++d->line_bytes > limits->line_bytes_max)
            return ERR_LIMIT;
        e = step(d, *p++);
    }
    *pos = p;
    return e;
}

/* The same for trailers, whose bytes are kept; the CRLF that ends them is not. */
static err walk_trailers(struct http1_chunked *d, const char **pos, const char *end,
                         const struct http1_limits *limits, struct http1_trailers *trailers)
{
    const char *p = *pos;
    const char *kept_end = NULL;
    while (p < end && !d->done) {
        if (++d->line_bytes > limits->head_bytes_max)
            return ERR_LIMIT;
        bool was_inside = d->state != END_LF;
        err e = step(d, *p);
        if (e)
            return e;
        if (was_inside && d->state == END_LF)
            kept_end = p;
        else if (was_inside)
            kept_end = p + 1;
        p++;
    }
    struct bytes kept = { *pos, kept_end ? (size_t)(kept_end - *pos) : 0 };
    *pos = p;
    return put_trailer(trailers, kept);
}

static struct bytes take_data(struct http1_chunked *d, const char *pos, const char *end)
{
    size_t len = (size_t)(end - pos) < d->left ? (size_t)(end - pos) : (size_t)d->left;
    d->left -= len;
    if (d->left == 0)
        d->state = DATA_CR;
    return (struct bytes){ pos, len };
}

err http1_chunked_decode(struct http1_chunked *d, struct bytes in, const struct http1_limits *limits,
                         struct http1_trailers *trailers, struct bytes *ret_data, size_t *ret_used)
{
    const char *pos = in.ptr;
    const char *end = in.ptr + in.len;
    struct bytes data = BYTES_NONE;
    err e = walk_framing(d, &pos, end, limits);
    if (!e && d->state == DATA && pos < end) {
        data = take_data(d, pos, end);
        pos += data.len;
    } else if (!e && d->state >= TRAILER_START) {
        e = walk_trailers(d, &pos, end, limits, trailers);
    }
    if (e)
        return e;
    *ret_data = data;
    *ret_used = (size_t)(pos - in.ptr);
    return OK;
}

static err add_trailer(struct bytes line, struct arena *a, struct http_fields *fields)
{
    size_t colon = bytes_index(line, ':');
    struct bytes name = { line.ptr, colon };
    if (colon == line.len || !http_is_token(name))
        return ERR_SYNTAX;
    struct bytes value = bytes_trim(bytes_skip(line, colon + 1));
    if (!http_is_field_value(value))
        return ERR_SYNTAX;
    return http_may_be_trailer(name) ? http_fields_add(fields, a, name, value) : OK;
}

err http1_parse_trailers(struct bytes text, struct arena *a, struct http_fields *ret)
{
    struct http_fields fields = { 0 };
    while (text.len) {
        size_t len = bytes_index(text, '\n');
        if (len == text.len || len == 0 || text.ptr[len - 1] != '\r')
            return ERR_SYNTAX;
        err e = add_trailer((struct bytes){ text.ptr, len - 1 }, a, &fields);
        if (e)
            return e;
        text = bytes_skip(text, len + 1);
    }
    *ret = fields;
    return OK;
}

size_t http1_chunk_head(uint64_t size, char out[HTTP1_CHUNK_HEAD_BYTES_MAX])
{
    unsigned digits = size ? (67 - (unsigned)__builtin_clzll(size)) / 4 : 1;
    for (unsigned i = digits; i-- > 0; size >>= 4)
        out[i] = "0123456789abcdef"[size & 15];
    out[digits] = '\r';
    out[digits + 1] = '\n';
    return digits + 2;
}

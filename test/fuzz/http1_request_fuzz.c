/* Request heads: both variants agree; slices lie inside the input; every beginning says "more" or the same;
 * what the writer makes of a head parses again to the same thing. */
#include "http1_head_fuzz.h"

struct parsed {
    err e;
    size_t used;
    unsigned status;
    struct http_request r;
    struct http_field at[FIELDS_MAX];
};

static void parse(struct bytes in, size_t seen, const struct http1_limits *limits, struct parsed *ret)
{
    memset(ret, 0, sizeof *ret);
    ret->r.fields.at = ret->at;
    ret->r.fields.count_max = FIELDS_MAX;
    ret->e = http1_parse_request(in, seen, limits, &ret->r, &ret->used, &ret->status);
}

static void check_same(const struct parsed *a, const struct parsed *b)
{
    fuzz_check(a->e == b->e && a->used == b->used && a->status == b->status);
    if (a->e)
        return;
    fuzz_check(memcmp(a->at, b->at, sizeof a->at) == 0);
    fuzz_check(bytes_eq(a->r.path, b->r.path) && bytes_eq(a->r.query, b->r.query));
    fuzz_check(bytes_eq(a->r.authority, b->r.authority) && bytes_eq(a->r.target, b->r.target));
    fuzz_check(a->r.framing == b->r.framing && a->r.content_length == b->r.content_length);
    fuzz_check(a->r.keep_alive == b->r.keep_alive && a->r.upgrade == b->r.upgrade);
}

static void check_sound(const struct parsed *p, struct bytes in)
{
    const struct http_request *r = &p->r;
    fuzz_check(p->used >= 16 && p->used <= in.len && p->used <= fuzz_limits.head_bytes_max);
    fuzz_check(memcmp(in.ptr + p->used - 4, "\r\n\r\n", 4) == 0);
    in.len = p->used;
    check_within(r->method_text, in);
    check_within(r->target, in);
    check_within(r->query, in);
    check_within(r->authority, in);
    check_fields(&r->fields, in);
    fuzz_check(http_method_of(r->method_text) == r->method && http_is_token(r->method_text));
    fuzz_check((r->framing == HTTP_BODY_LENGTH) == (r->content_length > 0));
    fuzz_check(r->framing != HTTP_BODY_CLOSE);
}

/* In pieces, as a slow client sends it. */
static void check_growing(const struct parsed *whole, struct bytes in)
{
    struct parsed p;
    size_t step = in.len / 7 + 1;
    size_t seen = 0;
    for (size_t len = step; seen < in.len; len += step) {
        struct bytes part = { in.ptr, len < in.len ? len : in.len };
        parse(part, seen, &fuzz_limits, &p);
        if (p.e != ERR_AGAIN)
            break;
        seen = part.len;
    }
    if (p.e != ERR_AGAIN)
        fuzz_check(p.e == whole->e && p.status == whole->status && p.used == whole->used);
    else
        fuzz_check(whole->e != OK);
}

static void check_written(const struct parsed *whole)
{
    static const struct http1_limits wide = { 1 << 16, 1 << 17, FIELDS_MAX };
    struct parsed again;
    const struct http_request *r = &whole->r;
    size_t size = http1_request_size(r);
    char *out = malloc(size);
    fuzz_check(out);
    char *end = http1_put_request(out, r, r->target, r->authority, HTTP1_CONNECTION_DEFAULT);
    fuzz_check((size_t)(end - out) <= size);
    parse((struct bytes){ out, (size_t)(end - out) }, 0, &wide, &again);
    bool room = r->fields.count + 2 < FIELDS_MAX; /* for Host and the length that the writer adds */
    if (room) {
        fuzz_check(again.e == OK && again.used == (size_t)(end - out));
        fuzz_check(again.r.method == r->method && bytes_eq(again.r.target, r->target));
        fuzz_check(bytes_eq(again.r.authority, r->authority) && bytes_eq(again.r.path, r->path));
        fuzz_check(again.r.framing == r->framing && again.r.content_length == r->content_length);
        check_same_fields(&r->fields, &again.r.fields);
    }
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct parsed scalar, vector;
    struct bytes in = { (const char *)data, size };
    http1_use_scalar(true);
    parse(in, 0, &fuzz_limits, &scalar);
    http1_use_scalar(false);
    parse(in, 0, &fuzz_limits, &vector);
    check_same(&scalar, &vector);
    if (size)
        check_growing(&vector, in);
    if (vector.e)
        return 0;
    check_sound(&vector, in);
    check_written(&vector);
    return 0;
}

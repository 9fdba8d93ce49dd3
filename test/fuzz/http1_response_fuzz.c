/* Response heads. The first byte chooses the method that is answered; the rest is what http1_request_fuzz.c
 * does. */
#include "http1_head_fuzz.h"

struct parsed {
    err e;
    size_t used;
    struct http_response r;
    struct http_field at[FIELDS_MAX];
};

static void parse(struct bytes in, size_t seen, enum http_method method, struct parsed *ret)
{
    memset(ret, 0, sizeof *ret);
    ret->r.fields.at = ret->at;
    ret->r.fields.count_max = FIELDS_MAX;
    ret->e = http1_parse_response(in, seen, &fuzz_limits, method, &ret->r, &ret->used);
}

static void check_same(const struct parsed *a, const struct parsed *b)
{
    fuzz_check(a->e == b->e && a->used == b->used);
    if (a->e)
        return;
    fuzz_check(memcmp(a->at, b->at, sizeof a->at) == 0);
    fuzz_check(a->r.status == b->r.status && bytes_eq(a->r.reason, b->r.reason));
    fuzz_check(a->r.framing == b->r.framing && a->r.content_length == b->r.content_length);
    fuzz_check(a->r.keep_alive == b->r.keep_alive && a->r.upgrade == b->r.upgrade);
}

static void check_sound(const struct parsed *p, struct bytes in, enum http_method method)
{
    const struct http_response *r = &p->r;
    fuzz_check(p->used <= in.len && p->used <= fuzz_limits.head_bytes_max);
    fuzz_check(memcmp(in.ptr + p->used - 4, "\r\n\r\n", 4) == 0);
    in.len = p->used;
    check_within(r->reason, in);
    check_fields(&r->fields, in);
    fuzz_check(r->status >= 100 && r->status <= 599 && http_is_field_value(r->reason));
    fuzz_check(r->framing != HTTP_BODY_CLOSE || !r->keep_alive);
    if (method == HTTP_HEAD || r->status < 200 || r->status == 204 || r->status == 304)
        fuzz_check(r->framing == HTTP_BODY_NONE);
}

static void check_growing(const struct parsed *whole, struct bytes in, enum http_method method)
{
    struct parsed p;
    size_t seen = 0;
    do {
        size_t len = seen + in.len / 7 + 1;
        struct bytes part = { in.ptr, len < in.len ? len : in.len };
        parse(part, seen, method, &p);
        seen = part.len;
    } while (p.e == ERR_AGAIN && seen < in.len);
    if (p.e != ERR_AGAIN)
        fuzz_check(p.e == whole->e && p.used == whole->used);
    else
        fuzz_check(whole->e != OK);
}

static void check_written(const struct parsed *whole, enum http_method method)
{
    struct parsed again;
    const struct http_response *r = &whole->r;
    size_t size = http1_response_size(r);
    char *out = malloc(size);
    fuzz_check(out);
    char *end = http1_put_response(out, r, method == HTTP_HEAD, HTTP1_CONNECTION_DEFAULT);
    size_t len = (size_t)(end - out);
    fuzz_check(len <= size);
    bool room = r->fields.count + 1 < FIELDS_MAX && len <= fuzz_limits.line_bytes_max;
    bool tunnel = method == HTTP_CONNECT && r->status < 300;
    if (room && !tunnel) {
        parse((struct bytes){ out, len }, 0, method, &again);
        fuzz_check(again.e == OK && again.used == len && again.r.status == r->status);
        fuzz_check(bytes_eq(again.r.reason, r->reason) && again.r.framing == r->framing);
        if (r->framing == HTTP_BODY_LENGTH)
            fuzz_check(again.r.content_length == r->content_length);
        check_same_fields(&r->fields, &again.r.fields);
    }
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct parsed scalar, vector;
    if (size < 2)
        return 0;
    struct bytes in = { (const char *)data + 1, size - 1 };
    enum http_method method = data[0] == 'H' ? HTTP_HEAD : data[0] == 'C' ? HTTP_CONNECT : HTTP_GET;
    http1_use_scalar(true);
    parse(in, 0, method, &scalar);
    http1_use_scalar(false);
    parse(in, 0, method, &vector);
    check_same(&scalar, &vector);
    check_growing(&vector, in, method);
    if (vector.e)
        return 0;
    check_sound(&vector, in, method);
    check_written(&vector, method);
    return 0;
}

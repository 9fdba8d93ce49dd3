/* What holds for every head that comes out of a session of HTTP/2 or /3 and goes on as HTTP/1.1: the head
 * that is written for a server is parsed there to the same one request. */
#pragma once
#include "http1_head_fuzz.h"
#include "proto/http2_head.h"

#define ARENA_BYTES_MAX (256 * 1024)

struct taken {
    struct arena arena;
    struct http_fields fields;
    struct http2_head head;
    bool open;
};

static inline void close_head(struct taken *t)
{
    if (t->open)
        arena_close(&t->arena);
    t->open = false;
}

static inline void check_same(const struct http_request *sent, const struct http_request *got)
{
    fuzz_check(bytes_eq(sent->method_text, got->method_text) && sent->method == got->method);
    fuzz_check(bytes_eq(sent->target, got->target) && bytes_eq(sent->path, got->path));
    fuzz_check(bytes_eq(sent->query, got->query) && bytes_eq(sent->authority, got->authority));
    fuzz_check(sent->framing == got->framing && sent->content_length == got->content_length);
    uint32_t i = 0;
    uint32_t j = 0;
    for (;;) {
        const struct http_field *a = next_kept(&sent->fields, &i);
        while (a && a->flags & FIELD_REMOVED)
            a = next_kept(&sent->fields, &i);
        const struct http_field *b = next_kept(&got->fields, &j);
        fuzz_check(!a == !b);
        if (!a)
            return;
        fuzz_check(bytes_eq(http_field_name(a), http_field_name(b)));
        fuzz_check(bytes_eq(http_field_value(a), http_field_value(b)));
    }
}

static inline void check_request(struct taken *t, bool ended)
{
    static const struct http1_limits limits = { 8192, 65536, FIELDS_MAX + 8 };
    struct http_request r;
    struct http_field at[FIELDS_MAX + 8];
    struct http_request again = { .fields = { .at = at, .count_max = FIELDS_MAX + 8 } };
    unsigned status = 0;
    size_t used;
    err e = http2_head_request(&t->head, ended, &r, &status);
    fuzz_check(!e || status >= 400);
    if (e || r.method == HTTP_CONNECT || r.upgrade)
        return;
    fuzz_check(r.framing == HTTP_BODY_NONE || !ended);
    char *text = arena_get(&t->arena, http1_request_size(&r) + r.target.len + r.authority.len);
    if (!text)
        return;
    char *end = http1_put_request(text, &r, r.target, r.authority, HTTP1_CONNECTION_DEFAULT);
    struct bytes in = { text, (size_t)(end - text) };
    fuzz_check(http1_parse_request(in, 0, &limits, &again, &used, &status) == OK && used == in.len);
    if (r.framing == HTTP_BODY_NONE && again.framing == HTTP_BODY_NONE)
        r.content_length = again.content_length = 0;
    check_same(&r, &again);
}

static inline void open_head(struct taken *t, bool trailers)
{
    close_head(t);
    arena_open(&t->arena, &arena_heap, ARENA_BYTES_MAX, NULL, 0);
    t->open = true;
    t->fields = (struct http_fields){ 0 };
    http2_head_open(&t->head, trailers ? HTTP2_TRAILERS : HTTP2_REQUEST, &t->arena, &t->fields, FIELDS_MAX,
                    1500);
}

static inline void add_field(struct taken *t, struct bytes name, struct bytes value)
{
    err e = http2_head_add(&t->head, name, value);
    fuzz_check(e == t->head.failed);
}

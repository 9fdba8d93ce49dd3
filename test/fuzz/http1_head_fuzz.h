/* Checks that hold for the fields of any head. */
#pragma once
#include "fuzz.h"
#include "proto/http1.h"

#define FIELDS_MAX 40
static const struct http1_limits fuzz_limits = { 512, 2048, FIELDS_MAX };

static inline void check_within(struct bytes part, struct bytes in)
{
    if (part.len)
        fuzz_check(part.ptr >= in.ptr && part.ptr + part.len <= in.ptr + in.len);
}

static inline void check_fields(const struct http_fields *fields, struct bytes in)
{
    fuzz_check(fields->count <= FIELDS_MAX);
    for (uint32_t i = 0; i < fields->count; i++) {
        const struct http_field *f = &fields->at[i];
        check_within(http_field_name(f), in);
        check_within(http_field_value(f), in);
        fuzz_check(http_is_token(http_field_name(f)) && http_is_field_value(http_field_value(f)));
        fuzz_check(http_field_id_of(http_field_name(f)) == f->id);
        struct bytes trimmed = bytes_trim(http_field_value(f));
        fuzz_check(trimmed.len == f->value_len);
    }
}

/* Those that are passed on are the same, in the same order. What the writer says itself is left aside. */
static inline const struct http_field *next_kept(const struct http_fields *fields, uint32_t *index)
{
    while (*index < fields->count) {
        const struct http_field *f = &fields->at[(*index)++];
        bool own = f->id == FIELD_HOST || f->id == FIELD_CONTENT_LENGTH || f->id == FIELD_CONNECTION;
        if (!own && !(f->flags & FIELD_HOP))
            return f;
    }
    return NULL;
}

static inline void check_same_fields(const struct http_fields *a, const struct http_fields *b)
{
    uint32_t at_a = 0, at_b = 0;
    const struct http_field *x, *y;
    do {
        x = next_kept(a, &at_a);
        y = next_kept(b, &at_b);
        fuzz_check(!x == !y);
        if (x) {
            fuzz_check(bytes_eq(http_field_name(x), http_field_name(y)));
            fuzz_check(bytes_eq(http_field_value(x), http_field_value(y)));
        }
    } while (x);
}

#include "proto/http_cookie.h"

static struct bytes unquoted(struct bytes value)
{
    if (value.len >= 2 && value.ptr[0] == '"' && value.ptr[value.len - 1] == '"')
        return (struct bytes){ value.ptr + 1, value.len - 2 };
    return value;
}

/* A semicolon ends a pair even between quotes: it cannot stand in a value (cookie-octet of RFC 6265 4.1.1).
 */
static bool find_in(struct bytes field, struct bytes name, struct bytes *ret_value)
{
    struct bytes pair;
    while (bytes_split(&field, ';', &pair)) {
        const size_t equals = bytes_index(pair, '=');
        if (equals == pair.len || !bytes_eq(bytes_trim((struct bytes){ pair.ptr, equals }), name))
            continue;
        *ret_value = unquoted(bytes_trim(bytes_skip(pair, equals + 1)));
        return true;
    }
    return false;
}

bool http_cookie_find(const struct http_fields *f, struct bytes name, struct bytes *ret_value)
{
    for (uint32_t i = 0; i < f->count; i++) {
        const struct http_field *field = &f->at[i];
        if (field->id == FIELD_COOKIE && !(field->flags & FIELD_REMOVED) &&
            find_in(http_field_value(field), name, ret_value))
            return true;
    }
    return false;
}

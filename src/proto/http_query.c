#include "proto/http_query.h"

#include "base/hex.h"

/* The first byte that text stands for; *ret_took: how many it is written with. text is not empty. */
static char decode_one(struct bytes text, size_t *ret_took)
{
    *ret_took = 1;
    if (text.ptr[0] == '+')
        return ' ';
    if (text.ptr[0] != '%' || text.len < 3)
        return text.ptr[0];
    const int high = hex_value(text.ptr[1]), low = hex_value(text.ptr[2]);
    if (high < 0 || low < 0)
        return '%';
    *ret_took = 3;
    return (char)(high << 4 | low);
}

static bool stands_for(struct bytes text, struct bytes wanted)
{
    while (text.len && wanted.len) {
        size_t took;
        if (decode_one(text, &took) != wanted.ptr[0])
            return false;
        text = bytes_skip(text, took);
        wanted = bytes_skip(wanted, 1);
    }
    return text.len == wanted.len;
}

static err decode(struct bytes text, struct arena *a, struct bytes *ret_value)
{
    *ret_value = text;
    if (bytes_index(text, '%') == text.len && bytes_index(text, '+') == text.len)
        return OK;
    char *out = arena_get(a, text.len);
    if (!out)
        return ERR_LIMIT;
    *ret_value = (struct bytes){ out, 0 };
    while (text.len) {
        size_t took;
        out[ret_value->len++] = decode_one(text, &took);
        text = bytes_skip(text, took);
    }
    return OK;
}

err http_query_find(struct bytes query, struct bytes name, struct arena *a, struct bytes *ret_value,
                    bool *ret_found)
{
    struct bytes pair;
    *ret_found = false;
    *ret_value = BYTES_NONE;
    while (bytes_split(&query, '&', &pair)) {
        const size_t equals = bytes_index(pair, '=');
        if (pair.len == 0 || !stands_for((struct bytes){ pair.ptr, equals }, name))
            continue;
        *ret_found = true;
        return decode(bytes_skip(pair, equals + (equals < pair.len)), a, ret_value);
    }
    return OK;
}

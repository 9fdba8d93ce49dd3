#include "load/cookies.h"

/* Where the pair of that name stands in the field; *ret_len includes the "; " behind it. False: nowhere. */
static bool find_pair(struct bytes field, struct bytes name, size_t *ret_at, size_t *ret_len,
                      struct bytes *ret_value)
{
    for (size_t at = 0; at < field.len;) {
        struct bytes rest = bytes_skip(field, at);
        struct bytes pair = { rest.ptr, bytes_index(rest, ';') };
        size_t len = pair.len + 2 < rest.len ? pair.len + 2 : rest.len;
        if (bytes_starts(pair, name) && pair.len > name.len && pair.ptr[name.len] == '=') {
            *ret_at = at;
            *ret_len = len;
            *ret_value = bytes_skip(pair, name.len + 1);
            return true;
        }
        at += len;
    }
    return false;
}

static struct bytes all_of(const struct cookies *c)
{
    return (struct bytes){ c->field.at, c->field.len };
}

static void remove_cookie(struct cookies *c, struct bytes name)
{
    size_t at, len;
    struct bytes value;
    if (!find_pair(all_of(c), name, &at, &len, &value))
        return;
    memmove(c->field.at + at, c->field.at + at + len, c->field.len - at - len);
    c->field.len -= len;
    if (c->field.len >= 2 && at == c->field.len) /* it was the last one: the "; " before it goes too */
        c->field.len -= 2;
}

static bool is_over(struct bytes attributes)
{
    struct bytes one;
    while (bytes_split(&attributes, ';', &one)) {
        one = bytes_trim(one);
        struct bytes name = { one.ptr, bytes_index(one, '=') };
        struct bytes value = name.len < one.len ? bytes_trim(bytes_skip(one, name.len + 1)) : BYTES_NONE;
        uint64_t seconds;
        if (bytes_eq_nocase(name, BYTES("max-age")))
            return !bytes_to_u64(value, &seconds) || seconds == 0;
        if (bytes_eq_nocase(name, BYTES("expires")) && memmem(value.ptr, value.len, "1970", 4))
            return true;
    }
    return false;
}

void cookies_take(struct cookies *c, struct bytes set_cookie)
{
    struct bytes pair = { set_cookie.ptr, bytes_index(set_cookie, ';') };
    struct bytes attributes = pair.len < set_cookie.len ? bytes_skip(set_cookie, pair.len + 1) : BYTES_NONE;
    size_t equal = bytes_index(pair, '=');
    if (equal == pair.len)
        return;
    struct bytes name = bytes_trim((struct bytes){ pair.ptr, equal });
    struct bytes value = bytes_trim(bytes_skip(pair, equal + 1));
    if (!name.len)
        return;
    remove_cookie(c, name);
    if (is_over(attributes) || c->field.len + name.len + value.len + 3 > COOKIES_BYTES_MAX)
        return;
    if (c->field.len)
        text_add(&c->field, BYTES("; "));
    text_add(&c->field, name);
    text_add(&c->field, BYTES("="));
    text_add(&c->field, value);
}

struct bytes cookies_find(const struct cookies *c, struct bytes name)
{
    size_t at, len;
    struct bytes value = BYTES_NONE;
    (void)!find_pair(all_of(c), name, &at, &len, &value);
    return value;
}

void cookies_close(struct cookies *c)
{
    text_free(&c->field);
}

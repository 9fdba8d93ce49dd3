#include "base/json.h"

#include <inttypes.h>
#include <math.h>

#include "base/utf8.h"

/* A comma unless something has just been opened, then the name. Room for `more` bytes behind it, or NULL. */
static char *begin_member(struct text *t, const char *key, size_t more)
{
    const size_t len = key ? strlen(key) : 0;
    const char last = t->len ? t->at[t->len - 1] : '{';
    const bool comma = last != '{' && last != '[' && last != '\n';
    char *begin = text_room(t, comma + (key ? len + 3 : 0) + more), *at = begin;
    if (!at)
        return NULL;
    if (comma)
        *at++ = ',';
    if (key) {
        *at++ = '"';
        memcpy(at, key, len);
        at += len;
        *at++ = '"';
        *at++ = ':';
    }
    t->len += (size_t)(at - begin);
    return at;
}

void json_begin(struct text *t, const char *key, char bracket)
{
    begin_member(t, key, 1);
    text_add(t, (struct bytes){ &bracket, 1 });
}

void json_end(struct text *t, char bracket)
{
    text_add(t, (struct bytes){ &bracket, 1 });
}

/* How much of it can stand in a string as it is. */
static size_t plain_len(struct bytes value)
{
    size_t len = 0;
    for (uint64_t word; len + sizeof word <= value.len; len += sizeof word) {
        memcpy(&word, value.ptr + len, sizeof word);
        if (word_below(word, 0x20) | word_equal(word, 0x7f) | word_equal(word, '"') | word_equal(word, '\\') |
            (word & WORD_TOP_BITS))
            break;
    }
    while (len < value.len && (unsigned char)value.ptr[len] >= 0x20 && (unsigned char)value.ptr[len] < 0x7f &&
           value.ptr[len] != '"' && value.ptr[len] != '\\')
        len++;
    return len;
}

void json_text(struct text *t, const char *key, struct bytes value)
{
    size_t plain = plain_len(value);
    char *at = begin_member(t, key, plain + 2);
    if (at && plain == value.len) { /* as most are */
        *at = '"';
        if (plain)
            memcpy(at + 1, value.ptr, plain);
        at[plain + 1] = '"';
        t->len += plain + 2;
        return;
    }
    text_add(t, BYTES("\""));
    for (;; plain = plain_len(value)) {
        text_add(t, (struct bytes){ value.ptr, plain });
        value = bytes_skip(value, plain);
        if (!value.len)
            break;
        char c = value.ptr[0];
        uint32_t code;
        size_t len = utf8_take(value, &code);
        if (len == 0)
            text_add(t, BYTES("\xef\xbf\xbd"));
        else if (c == '"' || c == '\\')
            text_print(t, "\\%c", c);
        else if (c == '\n')
            text_add(t, BYTES("\\n"));
        else if ((unsigned char)c < 0x20 || c == 0x7f)
            text_print(t, "\\u%04x", c);
        else
            text_add(t, (struct bytes){ value.ptr, len });
        value = bytes_skip(value, len ? len : 1);
    }
    text_add(t, BYTES("\""));
}

void json_u64(struct text *t, const char *key, uint64_t value)
{
    char digits[20];
    const size_t len = u64_to_text(value, digits);
    char *at = begin_member(t, key, len);
    if (!at)
        return;
    memcpy(at, digits, len);
    t->len += len;
}

void json_i64(struct text *t, const char *key, int64_t value)
{
    begin_member(t, key, 0);
    text_print(t, "%" PRId64, value);
}

void json_number(struct text *t, const char *key, double value)
{
    begin_member(t, key, 0);
    if (isfinite(value))
        text_print(t, "%.12g", value);
    else
        text_add(t, BYTES("null"));
}

void json_bool(struct text *t, const char *key, bool value)
{
    json_raw(t, key, value ? BYTES("true") : BYTES("false"));
}

void json_null(struct text *t, const char *key)
{
    json_raw(t, key, BYTES("null"));
}

void json_raw(struct text *t, const char *key, struct bytes value)
{
    begin_member(t, key, 0);
    text_add(t, value);
}

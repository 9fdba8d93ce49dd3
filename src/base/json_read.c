#include "base/json_read.h"

#include <stdlib.h>

struct reader {
    const char *at, *end;
    struct arena *arena;
    unsigned depth;
    err failed;
};

static struct json *fail(struct reader *r, err e)
{
    if (!r->failed)
        r->failed = e;
    return NULL;
}

static void skip_space(struct reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\n' || *r->at == '\t' || *r->at == '\r'))
        r->at++;
}

static bool take(struct reader *r, char c)
{
    skip_space(r);
    if (r->at == r->end || *r->at != c)
        return false;
    r->at++;
    return true;
}

static struct json *node(struct reader *r, enum json_kind kind)
{
    struct json *j = arena_get_zero(r->arena, sizeof *j);
    if (!j)
        return fail(r, ERR_MEMORY);
    j->kind = kind;
    return j;
}

/* ---- strings ---- */

static bool take_hex4(struct reader *r, uint32_t *ret_code)
{
    uint32_t code = 0;
    if (r->end - r->at < 4)
        return false;
    for (unsigned i = 0; i < 4; i++) {
        char c = *r->at++;
        unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                         : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10)
                         : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A' + 10)
                                                : 16;
        if (digit == 16)
            return false;
        code = code << 4 | digit;
    }
    *ret_code = code;
    return true;
}

static char *put_utf8(char *out, uint32_t code)
{
    if (code < 0x80) {
        *out++ = (char)code;
    } else if (code < 0x800) {
        *out++ = (char)(0xc0 | code >> 6);
        *out++ = (char)(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
        *out++ = (char)(0xe0 | code >> 12);
        *out++ = (char)(0x80 | (code >> 6 & 0x3f));
        *out++ = (char)(0x80 | (code & 0x3f));
    } else {
        *out++ = (char)(0xf0 | code >> 18);
        *out++ = (char)(0x80 | (code >> 12 & 0x3f));
        *out++ = (char)(0x80 | (code >> 6 & 0x3f));
        *out++ = (char)(0x80 | (code & 0x3f));
    }
    return out;
}

/* Two escapes make one character beyond U+FFFF; half of such a pair is U+FFFD. */
static bool take_unicode(struct reader *r, uint32_t *ret_code)
{
    uint32_t low;
    if (!take_hex4(r, ret_code))
        return false;
    if (*ret_code < 0xd800 || *ret_code > 0xdfff)
        return true;
    bool high = *ret_code < 0xdc00;
    if (high && r->end - r->at >= 6 && r->at[0] == '\\' && r->at[1] == 'u') {
        r->at += 2;
        if (!take_hex4(r, &low))
            return false;
        if (low >= 0xdc00 && low <= 0xdfff) {
            *ret_code = 0x10000 + ((*ret_code - 0xd800) << 10) + (low - 0xdc00);
            return true;
        }
        r->at -= 6;
    }
    *ret_code = 0xfffd;
    return true;
}

static bool take_escape(struct reader *r, char **out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    uint32_t code;
    if (r->at == r->end)
        return false;
    char c = *r->at++;
    const char *found = c ? strchr(from, c) : NULL;
    if (found) {
        *(*out)++ = to[found - from];
        return true;
    }
    if (c != 'u' || !take_unicode(r, &code))
        return false;
    *out = put_utf8(*out, code);
    return true;
}

/* Behind the opening quote. */
static bool take_string(struct reader *r, struct bytes *ret_text)
{
    const char *close = r->at;
    while (close < r->end && *close != '"')
        close += *close == '\\' && close + 1 < r->end ? 2 : 1;
    if (close >= r->end)
        return false;
    char *out =
        arena_get(r->arena, (size_t)(close - r->at) + 1); /* an escape is never shorter than it says */
    if (!out) {
        fail(r, ERR_MEMORY);
        return false;
    }
    ret_text->ptr = out;
    while (r->at < close) {
        char c = *r->at++;
        if ((unsigned char)c < 0x20 || (c == '\\' && !take_escape(r, &out)))
            return false;
        if (c != '\\')
            *out++ = c;
    }
    *out = 0;
    ret_text->len = (size_t)(out - ret_text->ptr);
    r->at++;
    return true;
}

/* ---- values ---- */

static struct json *take_value(struct reader *r);

static struct json *take_word(struct reader *r, struct bytes word, enum json_kind kind, double number)
{
    if ((size_t)(r->end - r->at) < word.len || memcmp(r->at, word.ptr, word.len) != 0)
        return fail(r, ERR_SYNTAX);
    r->at += word.len;
    struct json *j = node(r, kind);
    if (j)
        j->number = number;
    return j;
}

static struct json *take_number(struct reader *r)
{
    char text[64];
    size_t len = 0;
    while (r->at + len < r->end && len < sizeof text - 1 && strchr("+-.0123456789eE", r->at[len]) &&
           r->at[len])
        len++;
    memcpy(text, r->at, len);
    text[len] = 0;
    char *stop;
    double number = strtod(text, &stop);
    if (!len || *stop)
        return fail(r, ERR_SYNTAX);
    struct json *j = node(r, JSON_NUMBER);
    if (!j)
        return NULL;
    j->number = number;
    j->text = (struct bytes){ r->at, len };
    r->at += len;
    return j;
}

static struct json *take_children(struct reader *r, enum json_kind kind, char close)
{
    struct json *parent = node(r, kind);
    struct json **last = parent ? &parent->first : NULL;
    if (!parent || take(r, close))
        return parent;
    do {
        struct bytes key = BYTES_NONE;
        if (kind == JSON_OBJECT && (!take(r, '"') || !take_string(r, &key) || !take(r, ':')))
            return fail(r, ERR_SYNTAX);
        struct json *child = take_value(r);
        if (!child)
            return NULL;
        child->key = key;
        *last = child;
        last = &child->next;
        parent->count++;
    } while (take(r, ','));
    return take(r, close) ? parent : fail(r, ERR_SYNTAX);
}

static struct json *take_text(struct reader *r)
{
    struct json *j = node(r, JSON_TEXT);
    return j && take_string(r, &j->text) ? j : fail(r, ERR_SYNTAX);
}

static struct json *take_value(struct reader *r)
{
    struct json *j;
    skip_space(r);
    if (r->at == r->end)
        return fail(r, ERR_SYNTAX);
    if (++r->depth > JSON_DEPTH_MAX)
        return fail(r, ERR_LIMIT);
    if (take(r, '{'))
        j = take_children(r, JSON_OBJECT, '}');
    else if (take(r, '['))
        j = take_children(r, JSON_ARRAY, ']');
    else if (take(r, '"'))
        j = take_text(r);
    else if (*r->at == 't')
        j = take_word(r, BYTES("true"), JSON_BOOL, 1);
    else if (*r->at == 'f')
        j = take_word(r, BYTES("false"), JSON_BOOL, 0);
    else if (*r->at == 'n')
        j = take_word(r, BYTES("null"), JSON_NULL, 0);
    else
        j = take_number(r);
    r->depth--;
    return j;
}

err json_read(struct bytes text, struct arena *a, struct json **ret_json)
{
    struct reader r = { .at = text.ptr, .end = text.len ? text.ptr + text.len : text.ptr, .arena = a };
    struct json *j = take_value(&r);
    skip_space(&r);
    if (j && r.at != r.end)
        return ERR_SYNTAX;
    if (!j)
        return r.failed;
    *ret_json = j;
    return OK;
}

/* ---- looking ---- */

const struct json *json_member(const struct json *j, const char *key)
{
    JSON_EACH(at, j)
    {
        if (bytes_eq(at->key, bytes_from(key)))
            return at;
    }
    return NULL;
}

struct bytes json_member_text(const struct json *j, const char *key)
{
    const struct json *m = json_member(j, key);
    return m ? m->text : BYTES_NONE;
}

double json_member_number(const struct json *j, const char *key)
{
    const struct json *m = json_member(j, key);
    return m ? m->number : 0;
}

const struct json *json_at(const struct json *j, uint32_t index)
{
    JSON_EACH(at, j)
    {
        if (index-- == 0)
            return at;
    }
    return NULL;
}

/* ~1 is a slash, ~0 a tilde (RFC 6901 4). */
static bool token_is(struct bytes token, struct bytes key)
{
    size_t at = 0;
    for (size_t i = 0; i < token.len; i++, at++) {
        char c = token.ptr[i];
        if (c == '~') {
            if (++i == token.len || (token.ptr[i] != '0' && token.ptr[i] != '1'))
                return false;
            c = token.ptr[i] == '0' ? '~' : '/';
        }
        if (at == key.len || key.ptr[at] != c)
            return false;
    }
    return at == key.len;
}

const struct json *json_pointer(const struct json *j, struct bytes pointer)
{
    struct bytes token;
    if (pointer.len && pointer.ptr[0] != '/')
        return NULL;
    struct bytes left = pointer.len ? bytes_skip(pointer, 1) : BYTES_NONE;
    while (j && bytes_split(&left, '/', &token)) {
        uint64_t index;
        const struct json *at = NULL;
        if (j->kind == JSON_ARRAY && bytes_to_u64(token, &index) && index < j->count &&
            (token.len == 1 || token.ptr[0] != '0')) {
            at = json_at(j, (uint32_t)index);
        } else if (j->kind == JSON_OBJECT) {
            for (at = j->first; at && !token_is(token, at->key);)
                at = at->next;
        }
        j = at;
    }
    return j;
}

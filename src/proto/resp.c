#include "proto/resp.h"

/* The longest head of an array or a string that Redis takes. */
#define HEAD_BYTES_MAX 32

static err mistake(struct resp_command *c, const char *words)
{
    c->mistake = words ? words : "Protocol error";
    return ERR_SYNTAX;
}

static err want(struct resp_command *c, size_t bytes)
{
    c->need = (uint32_t)bytes;
    return ERR_AGAIN;
}

/* The number of a head ("*3\r\n") that begins at c->bytes, which moves behind it. */
static err head(struct resp_command *c, struct bytes data, const char *wrong, int64_t *ret_n)
{
    const char *from = data.ptr + c->bytes + 1;
    size_t left = data.len - c->bytes - 1;
    const char *cr = left ? memchr(from, '\r', left < HEAD_BYTES_MAX ? left : HEAD_BYTES_MAX) : NULL;
    if (!cr)
        return left < HEAD_BYTES_MAX ? want(c, data.len + 1) : mistake(c, wrong);
    if ((size_t)(cr - from) + 1 >= left)
        return want(c, data.len + 1);
    if (cr[1] != '\n' || !bytes_to_i64((struct bytes){ from, (size_t)(cr - from) }, ret_n))
        return mistake(c, wrong);
    c->bytes = (uint32_t)(cr - data.ptr) + 2;
    return OK;
}

/* The usual head of a string: one or two digits. Others take the long way. */
static inline bool short_head(struct resp_command *c, const char *p, size_t left, uint32_t *ret_len)
{
    if (left < 5 || p[0] != '$' || p[1] < '0' || p[1] > '9')
        return false;
    uint32_t n = (uint32_t)(p[1] - '0');
    if (p[2] == '\r' && p[3] == '\n') {
        *ret_len = n;
        c->bytes += 4;
        return true;
    }
    if (n == 0 || p[2] < '0' || p[2] > '9' || p[3] != '\r' || p[4] != '\n')
        return false;
    *ret_len = n * 10 + (uint32_t)(p[2] - '0');
    c->bytes += 5;
    return true;
}

/* ---- arrays of strings ---- */

static err room(struct resp_command *c, uint64_t args, struct arena *a)
{
    c->args = arena_get(a, (args ? args : 1) * sizeof *c->args);
    return c->args ? OK : ERR_LIMIT;
}

static err open_array(struct resp_command *c, struct bytes data, const struct resp_limits *limits,
                      struct arena *a)
{
    int64_t n;
    err e = head(c, data, "Protocol error: invalid multibulk length", &n);
    if (e)
        return e;
    if (n > RESP_ARGS_MAX)
        return mistake(c, "Protocol error: invalid multibulk length");
    if (n > (int64_t)limits->args_max)
        return mistake(c, "Protocol error: unauthenticated multibulk length");
    c->expected = n > 0 ? (uint32_t)n : 0;
    return room(c, c->expected, a);
}

/* Puts the head of the next string behind it; its bytes may be missing still. */
static err open_string(struct resp_command *c, struct bytes data, const struct resp_limits *limits,
                       struct arena *a, uint32_t *ret_len)
{
    const char *p = data.ptr + c->bytes;
    int64_t n;
    if (short_head(c, p, data.len - c->bytes, ret_len))
        return OK;
    if (c->bytes == data.len)
        return want(c, data.len + 1);
    if (*p != '$')
        return mistake(c, arena_print(a, "Protocol error: expected '$', got '%c'", *p).ptr);
    err e = head(c, data, "Protocol error: invalid bulk length", &n);
    if (e)
        return e;
    if (n < 0 || n > RESP_ARG_BYTES_MAX)
        return mistake(c, "Protocol error: invalid bulk length");
    if (n > (int64_t)limits->arg_bytes_max)
        return mistake(c, "Protocol error: unauthenticated bulk length");
    *ret_len = (uint32_t)n;
    return OK;
}

static err strings(struct resp_command *c, struct bytes data, const struct resp_limits *limits,
                   struct arena *a)
{
    while (c->count < c->expected) {
        const uint32_t begin = c->bytes;
        uint32_t len;
        err e = open_string(c, data, limits, a, &len);
        if (e)
            return e;
        const uint32_t at = c->bytes;
        if ((size_t)at + len + 2 > RESP_COMMAND_BYTES_MAX)
            return mistake(c, "Protocol error: too big mbulk count string");
        if ((size_t)at + len + 2 > data.len) {
            c->bytes = begin;
            return want(c, (size_t)at + len + 2);
        }
        if (data.ptr[at + len] != '\r' || data.ptr[at + len + 1] != '\n')
            return mistake(c, "Protocol error: a string does not end where its length says");
        c->args[c->count++] = (struct resp_arg){ at, len };
        c->bytes = at + len + 2;
    }
    return OK;
}

/* ---- inline commands: words of a line, some of them in quotes ---- */

static bool is_space(char ch)
{
    return ch == ' ' || (ch >= '\t' && ch <= '\r') || ch == 0;
}

static int hex_digit(char ch)
{
    if (ch >= '0' && ch <= '9')
        return ch - '0';
    ch = ascii_lower(ch);
    return ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : -1;
}

/* After a backslash in double quotes; returns how many bytes it took. */
static size_t escaped(struct bytes at, char *out)
{
    static const char from[] = "nrtba", to[] = "\n\r\t\b\a";
    if (at.len >= 3 && at.ptr[0] == 'x' && hex_digit(at.ptr[1]) >= 0 && hex_digit(at.ptr[2]) >= 0) {
        *out = (char)(hex_digit(at.ptr[1]) * 16 + hex_digit(at.ptr[2]));
        return 3;
    }
    const char *found = memchr(from, at.ptr[0], sizeof from - 1);
    *out = found ? to[found - from] : at.ptr[0];
    return 1;
}

/* What stands behind an opening quote, up to the closing one. 0: there is none, or no space behind it. */
static size_t quoted(struct bytes rest, char quote, char **out)
{
    for (size_t i = 0; i < rest.len; i++) {
        if (rest.ptr[i] == quote)
            return i + 1 < rest.len && !is_space(rest.ptr[i + 1]) ? 0 : i + 1;
        if (rest.ptr[i] == '\\' && i + 1 < rest.len) {
            struct bytes after = bytes_skip(rest, i + 1);
            if (quote == '"') {
                i += escaped(after, (*out)++);
                continue;
            }
            if (after.ptr[0] == '\'')
                i++;
        }
        *(*out)++ = rest.ptr[i];
    }
    return 0;
}

static err words(struct resp_command *c, struct bytes line, const struct resp_limits *limits, char *out)
{
    size_t i = 0;
    c->base = out;
    for (;;) {
        while (i < line.len && is_space(line.ptr[i]))
            i++;
        if (i == line.len)
            return OK;
        if (c->count == limits->args_max)
            return mistake(c, "Protocol error: too many arguments");
        char *begin = out;
        while (i < line.len && !is_space(line.ptr[i])) {
            const char ch = line.ptr[i++];
            if (ch != '"' && ch != '\'') {
                *out++ = ch;
                continue;
            }
            size_t used = quoted(bytes_skip(line, i), ch, &out);
            if (!used)
                return mistake(c, "Protocol error: unbalanced quotes in request");
            i += used;
        }
        c->args[c->count++] = (struct resp_arg){ (uint32_t)(begin - c->base), (uint32_t)(out - begin) };
    }
}

static err parse_inline(struct resp_command *c, struct bytes data, const struct resp_limits *limits,
                        struct arena *a)
{
    const size_t seen = c->need ? c->need - 1 : 0;
    const char *lf = memchr(data.ptr + seen, '\n', data.len - seen);
    if (lf ? lf - data.ptr > RESP_INLINE_BYTES_MAX : data.len > RESP_INLINE_BYTES_MAX)
        return mistake(c, "Protocol error: too big inline request");
    if (!lf)
        return want(c, data.len + 1);
    const struct bytes line = { data.ptr, (size_t)(lf - data.ptr) };
    const size_t most = line.len / 2 + 1;
    char *out = arena_get(a, line.len + 1);
    err e = room(c, most < limits->args_max ? most : limits->args_max, a);
    if (e || !out)
        return ERR_LIMIT;
    c->bytes = (uint32_t)line.len + 1;
    return words(c, line, limits, out);
}

err resp_parse(struct resp_command *c, struct bytes data, const struct resp_limits *limits, struct arena *a)
{
    if (data.len == 0)
        return want(c, 1);
    if (data.ptr[0] != '*')
        return parse_inline(c, data, limits, a);
    if (!c->args) {
        err e = open_array(c, data, limits, a);
        if (e)
            return e;
    }
    err e = strings(c, data, limits, a);
    c->base = data.ptr;
    return e;
}

/* ---- replies ---- */

static char *end_line(char *out)
{
    *out++ = '\r';
    *out++ = '\n';
    return out;
}

char *resp_head(char *out, char type, uint64_t n)
{
    *out++ = type;
    if (n < 10)
        *out++ = (char)('0' + n);
    else
        out += u64_to_text(n, out);
    return end_line(out);
}

char *resp_map(char *out, enum resp_protocol p, uint64_t n)
{
    return p == RESP_3 ? resp_head(out, '%', n) : resp_head(out, '*', n * 2);
}

char *resp_int(char *out, int64_t value)
{
    *out++ = ':';
    out += i64_to_text(value, out);
    return end_line(out);
}

static char *literal(char *out, struct bytes text)
{
    memcpy(out, text.ptr, text.len);
    return out + text.len;
}

char *resp_null(char *out, enum resp_protocol p)
{
    return literal(out, p == RESP_3 ? BYTES("_\r\n") : BYTES("$-1\r\n"));
}

char *resp_null_array(char *out, enum resp_protocol p)
{
    return literal(out, p == RESP_3 ? BYTES("_\r\n") : BYTES("*-1\r\n"));
}

char *resp_line(char *out, char type, struct bytes text)
{
    *out++ = type;
    for (size_t i = 0; i < text.len; i++)
        *out++ = text.ptr[i] == '\r' || text.ptr[i] == '\n' ? ' ' : text.ptr[i];
    return end_line(out);
}

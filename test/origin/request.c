#include "test/origin/request.h"

enum {
    CLASS_TOKEN = 1,  /* tchar, RFC 9110 5.6.2 */
    CLASS_TARGET = 2, /* visible ASCII */
    CLASS_VALUE = 4,  /* what may stand in a field value, RFC 9110 5.5 */
};

static uint8_t classes[256];

__attribute__((constructor)) static void classes_fill(void)
{
    static const char marks[] = "!#$%&'*+-.^_`|~";
    for (unsigned c = 0; c < 256; c++) {
        bool alnum = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        if (alnum || (c && memchr(marks, (int)c, sizeof marks - 1)))
            classes[c] |= CLASS_TOKEN;
        if (c > 0x20 && c < 0x7f)
            classes[c] |= CLASS_TARGET;
        if (c == '\t' || (c >= 0x20 && c != 0x7f))
            classes[c] |= CLASS_VALUE;
    }
}

static inline const char *skip_class(const char *at, const char *end, uint8_t class)
{
    while (at < end && (classes[(uint8_t)*at] & class))
        at++;
    return at;
}

static err mistake(struct request *r, const char *what)
{
    r->mistake = what;
    return ERR_SYNTAX;
}

struct seen {
    bool host, content_length, transfer_encoding, close, keep_alive;
};

/* Connection: a list of tokens; only these two matter to an origin. */
static void read_connection(struct bytes value, struct seen *seen)
{
    struct bytes part;
    while (bytes_split(&value, ',', &part)) {
        part = bytes_trim(part);
        if (bytes_eq_nocase(part, BYTES("close")))
            seen->close = true;
        else if (bytes_eq_nocase(part, BYTES("keep-alive")))
            seen->keep_alive = true;
    }
}

static err read_known_field(struct request *r, struct bytes name, struct bytes value, struct seen *seen)
{
    switch (name.len) {
    case 4:
        if (!bytes_eq_nocase(name, BYTES("host")))
            return OK;
        if (seen->host)
            return mistake(r, "repeated Host");
        seen->host = true;
        if (bytes_index(value, ' ') != value.len || bytes_index(value, ',') != value.len)
            return mistake(r, "malformed Host");
        return OK;
    case 6:
        if (!bytes_eq_nocase(name, BYTES("expect")))
            return OK;
        if (!bytes_eq_nocase(value, BYTES("100-continue")))
            return mistake(r, "unknown Expect");
        r->expect_continue = true;
        return OK;
    case 10:
        if (bytes_eq_nocase(name, BYTES("connection")))
            read_connection(value, seen);
        return OK;
    case 14:
        if (!bytes_eq_nocase(name, BYTES("content-length")))
            return OK;
        if (seen->content_length)
            return mistake(r, "repeated Content-Length");
        seen->content_length = true;
        if (!bytes_to_u64(value, &r->content_length))
            return mistake(r, "malformed Content-Length");
        r->body = REQUEST_BODY_LENGTH;
        return OK;
    case 17:
        if (!bytes_eq_nocase(name, BYTES("transfer-encoding")))
            return OK;
        if (seen->transfer_encoding)
            return mistake(r, "repeated Transfer-Encoding");
        seen->transfer_encoding = true;
        if (!bytes_eq_nocase(value, BYTES("chunked")))
            return mistake(r, "unknown Transfer-Encoding");
        return OK;
    default:
        return OK;
    }
}

/* name ":" OWS value OWS CRLF; *at is moved behind it. */
static err read_field(struct request *r, const char **at, const char *end, struct bytes *ret_name,
                      struct bytes *ret_value)
{
    const char *name = *at;
    const char *colon = skip_class(name, end, CLASS_TOKEN);
    if (colon == end)
        return ERR_AGAIN;
    if (*colon != ':' || colon == name)
        return mistake(r, "malformed field name");
    const char *value = colon + 1;
    const char *stop = skip_class(value, end, CLASS_VALUE);
    if (stop == end)
        return ERR_AGAIN;
    if (*stop != '\r')
        return mistake(r, "control character in a field value");
    if (stop + 1 == end)
        return ERR_AGAIN;
    if (stop[1] != '\n')
        return mistake(r, "bare CR");
    *ret_name = (struct bytes){ name, (size_t)(colon - name) };
    *ret_value = bytes_trim((struct bytes){ value, (size_t)(stop - value) });
    *at = stop + 2;
    return OK;
}

static err read_fields(struct request *r, const char **at, const char *end, struct seen *seen)
{
    for (;;) {
        if (end - *at < 2)
            return ERR_AGAIN;
        if ((*at)[0] == '\r') {
            if ((*at)[1] != '\n')
                return mistake(r, "bare CR");
            *at += 2;
            return OK;
        }
        if (r->fields_count == REQUEST_FIELDS_MAX)
            return mistake(r, "too many fields");
        struct request_field *field = &r->fields[r->fields_count];
        err e = read_field(r, at, end, &field->name, &field->value);
        if (e)
            return e;
        r->fields_count++;
        e = read_known_field(r, field->name, field->value, seen);
        if (e)
            return e;
    }
}

static err read_request_line(struct request *r, const char **at, const char *end)
{
    const char *start = *at;
    const char *space = skip_class(start, end, CLASS_TOKEN);
    if (space == end)
        return ERR_AGAIN;
    if (*space != ' ' || space == start)
        return mistake(r, "malformed method");
    const char *target = space + 1;
    const char *stop = skip_class(target, end, CLASS_TARGET);
    if (stop == end)
        return ERR_AGAIN;
    if (*stop != ' ' || stop == target)
        return mistake(r, "malformed target");
    if (end - stop < 11)
        return ERR_AGAIN;
    if (memcmp(stop, " HTTP/1.", 8) != 0 || (stop[8] != '0' && stop[8] != '1') || stop[9] != '\r' ||
        stop[10] != '\n')
        return mistake(r, "malformed version");
    r->method = (struct bytes){ start, (size_t)(space - start) };
    r->target = (struct bytes){ target, (size_t)(stop - target) };
    r->version_minor = (unsigned)(stop[8] - '0');
    r->is_head = bytes_eq(r->method, BYTES("HEAD"));
    if (target[0] != '/' && !bytes_eq(r->target, BYTES("*")) && !bytes_starts(r->target, BYTES("http://")))
        return mistake(r, "malformed target");
    *at = stop + 11;
    return OK;
}

err request_parse(struct bytes in, struct request *ret, size_t *ret_used)
{
    const char *at = in.ptr, *end = in.ptr + in.len;
    struct seen seen = { 0 };
    ret->fields_count = 0;
    ret->body = REQUEST_BODY_NONE;
    ret->content_length = 0;
    ret->expect_continue = false;

    err e = read_request_line(ret, &at, end);
    if (!e)
        e = read_fields(ret, &at, end, &seen);
    if (e == ERR_AGAIN && in.len >= REQUEST_HEAD_BYTES_MAX)
        return mistake(ret, "head too long");
    if (e)
        return e;
    if (!seen.host && ret->version_minor == 1)
        return mistake(ret, "no Host");
    if (seen.transfer_encoding) {
        if (seen.content_length)
            return mistake(ret, "Content-Length and Transfer-Encoding");
        if (ret->version_minor == 0)
            return mistake(ret, "Transfer-Encoding in HTTP/1.0");
        ret->body = REQUEST_BODY_CHUNKED;
    }
    ret->keep_alive = ret->version_minor == 1 ? !seen.close : seen.keep_alive && !seen.close;
    ret->head = (struct bytes){ in.ptr, (size_t)(at - in.ptr) };
    *ret_used = ret->head.len;
    return OK;
}

enum {
    CHUNK_SIZE,
    CHUNK_DATA,
    CHUNK_DATA_END,
    CHUNK_TRAILER,
};

/* The line at the front of in without its CRLF. */
static err read_line(struct bytes in, struct bytes *ret_line, const char **ret_mistake)
{
    size_t at = 0;
    while (at < in.len && (classes[(uint8_t)in.ptr[at]] & CLASS_VALUE))
        at++;
    if (at == in.len || at + 1 == in.len) {
        *ret_mistake = "line too long in a chunked body";
        return in.len < REQUEST_HEAD_BYTES_MAX ? ERR_AGAIN : ERR_SYNTAX;
    }
    *ret_mistake = "bare CR or LF or a control character in a chunked body";
    if (in.ptr[at] != '\r' || in.ptr[at + 1] != '\n')
        return ERR_SYNTAX;
    *ret_line = (struct bytes){ in.ptr, at };
    return OK;
}

static bool read_hex(struct bytes text, uint64_t *ret_value)
{
    if (text.len == 0 || text.len > 16)
        return false;
    uint64_t value = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = ascii_lower(text.ptr[i]);
        bool digit = c >= '0' && c <= '9';
        if (!digit && !(c >= 'a' && c <= 'f'))
            return false;
        value = value << 4 | (unsigned)(digit ? c - '0' : c - 'a' + 10);
    }
    *ret_value = value;
    return true;
}

static err read_chunk_size(struct bytes in, uint64_t *left, unsigned *state, size_t *ret_used,
                           const char **ret_mistake)
{
    struct bytes line;
    err e = read_line(in, &line, ret_mistake);
    if (e)
        return e;
    struct bytes digits = { line.ptr, bytes_index(line, ';') };
    *ret_mistake = "malformed chunk size";
    if (!read_hex(digits, left))
        return ERR_SYNTAX;
    *state = *left ? CHUNK_DATA : CHUNK_TRAILER;
    *ret_used = line.len + 2;
    return OK;
}

static err read_trailer(struct bytes in, size_t *ret_used, bool *ret_done, const char **ret_mistake)
{
    struct bytes line;
    err e = read_line(in, &line, ret_mistake);
    if (e)
        return e;
    size_t name = (size_t)(skip_class(line.ptr, line.ptr + line.len, CLASS_TOKEN) - line.ptr);
    *ret_mistake = "malformed trailer";
    if (line.len && (name == 0 || name == line.len || line.ptr[name] != ':'))
        return ERR_SYNTAX;
    *ret_done = line.len == 0;
    *ret_used = line.len + 2;
    return OK;
}

err request_chunk(struct bytes in, uint64_t *left, unsigned *state, struct bytes *ret_data, size_t *ret_used,
                  bool *ret_done, const char **ret_mistake)
{
    *ret_data = BYTES_NONE;
    *ret_done = false;
    switch (*state) {
    case CHUNK_SIZE:
        return read_chunk_size(in, left, state, ret_used, ret_mistake);
    case CHUNK_DATA:
        if (in.len == 0)
            return ERR_AGAIN;
        *ret_data = (struct bytes){ in.ptr, in.len < *left ? in.len : (size_t)*left };
        *left -= ret_data->len;
        *ret_used = ret_data->len;
        if (*left == 0)
            *state = CHUNK_DATA_END;
        return OK;
    case CHUNK_DATA_END:
        if (in.len < 2)
            return ERR_AGAIN;
        *ret_mistake = "chunk longer than its size";
        if (memcmp(in.ptr, "\r\n", 2) != 0)
            return ERR_SYNTAX;
        *state = CHUNK_SIZE;
        *ret_used = 2;
        return OK;
    default:
        return read_trailer(in, ret_used, ret_done, ret_mistake);
    }
}

#include "proto/http1_head.h"

#include <arpa/inet.h>

#include "proto/http_char.h"

bool http1_head_waits(struct bytes in, size_t seen, const struct http1_limits *limits)
{
    if (seen == 0 || seen > in.len || in.len >= limits->head_bytes_max)
        return false;
    const char *end = in.ptr + in.len;
    const char *p = in.ptr + seen;
    while (p < end && (p = memchr(p, '\n', (size_t)(end - p)))) {
        bool bare = p == in.ptr || p[-1] != '\r';
        if (bare || p - in.ptr < 2 || p[-2] == '\n')
            return false;
        p++;
    }
    size_t too_long = (size_t)limits->line_bytes_max + 1;
    return in.len < too_long || memrchr(end - too_long, '\n', too_long);
}

void http1_cut_open(struct http1_cut *cut, struct bytes in, const struct http1_limits *limits,
                    struct http_fields *fields)
{
    size_t len = in.len < limits->head_bytes_max ? in.len : limits->head_bytes_max;
    cut->base = cut->pos = in.ptr;
    cut->end = in.ptr + len;
    cut->line_bytes_max = limits->line_bytes_max;
    cut->fields_max = limits->fields_max < fields->count_max ? limits->fields_max : fields->count_max;
    cut->fields = fields;
    cut->known = cut->repeated = 0;
    fields->count = 0;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static err read_version_slowly(const char *pos, const char *end)
{
    static const char pattern[] = "HTTP/d.d";
    for (size_t i = 0; i < sizeof pattern - 1; i++) {
        if (pos + i == end)
            return ERR_AGAIN;
        bool fits = pattern[i] == 'd' ? is_digit(pos[i]) : pos[i] == pattern[i];
        if (!fits)
            return ERR_SYNTAX;
    }
    return ERR_UNSUPPORTED;
}

err http1_read_version(const char **pos, const char *end, uint8_t *ret_minor)
{
    const char *p = *pos;
    bool known = end - p >= 8 && memcmp(p, "HTTP/1.", 7) == 0 && (p[7] == '1' || p[7] == '0');
    if (!known)
        return read_version_slowly(p, end);
    *ret_minor = (uint8_t)(p[7] - '0');
    *pos = p + 8;
    return OK;
}

/* Names that Connection may hold besides the three words; bounds the work of looking for them. */
#define NOMINATED_MAX 32

#define FRAMING_IDS \
    (HTTP1_ID_BIT(FIELD_HOST) | HTTP1_ID_BIT(FIELD_CONTENT_LENGTH) | HTTP1_ID_BIT(FIELD_TRANSFER_ENCODING))

/* Fields that decide who asks, who is trusted and what the content means: "Connection: authorization" would
 * otherwise let a client take out what we or a filter put in. */
#define PROTECTED_IDS                                                                                    \
    (FRAMING_IDS | HTTP1_ID_BIT(FIELD_AUTHORIZATION) | HTTP1_ID_BIT(FIELD_COOKIE) |                      \
     HTTP1_ID_BIT(FIELD_SET_COOKIE) | HTTP1_ID_BIT(FIELD_ORIGIN) | HTTP1_ID_BIT(FIELD_FORWARDED) |       \
     HTTP1_ID_BIT(FIELD_X_FORWARDED_FOR) | HTTP1_ID_BIT(FIELD_X_FORWARDED_PROTO) |                       \
     HTTP1_ID_BIT(FIELD_X_FORWARDED_HOST) | HTTP1_ID_BIT(FIELD_X_REQUEST_ID) | HTTP1_ID_BIT(FIELD_VIA) | \
     HTTP1_ID_BIT(FIELD_CONTENT_TYPE) | HTTP1_ID_BIT(FIELD_CONTENT_ENCODING) |                           \
     HTTP1_ID_BIT(FIELD_CACHE_CONTROL) | HTTP1_ID_BIT(FIELD_EXPECT))

static bool is_protected(enum http_field_id id, struct bytes name)
{
    if (PROTECTED_IDS & HTTP1_ID_BIT(id))
        return true;
    struct bytes prefix = BYTES("x-forwarded-");
    if (name.len > prefix.len && bytes_eq_nocase((struct bytes){ name.ptr, prefix.len }, prefix))
        return true;
    return bytes_eq_nocase(name, BYTES("x-real-ip"));
}

static void mark_nominated(struct http_fields *fields, struct bytes name)
{
    enum http_field_id id = http_field_id_of(name);
    if (is_protected(id, name))
        return;
    for (uint32_t i = 0; i < fields->count; i++) {
        struct http_field *f = &fields->at[i];
        if (f->id == id && bytes_eq_nocase(http_field_name(f), name))
            f->flags |= FIELD_HOP;
    }
}

struct connection_reader {
    struct http_fields *fields;
    struct http1_connection_options *options;
    bool refuse_framing;
    unsigned nominated;
};

static err read_option(struct connection_reader *r, struct bytes option)
{
    if (!http_is_token(option))
        return ERR_SYNTAX;
    if (bytes_eq_nocase(option, BYTES("close"))) {
        r->options->close = true;
        return OK;
    }
    if (bytes_eq_nocase(option, BYTES("keep-alive"))) {
        r->options->keep_alive = true;
        return OK;
    }
    if (bytes_eq_nocase(option, BYTES("upgrade"))) {
        r->options->upgrade = true;
        return OK;
    }
    if (r->refuse_framing && FRAMING_IDS & HTTP1_ID_BIT(http_field_id_of(option)))
        return ERR_SYNTAX;
    if (++r->nominated > NOMINATED_MAX)
        return ERR_SYNTAX;
    mark_nominated(r->fields, option);
    return OK;
}

static err read_options(struct connection_reader *r, struct bytes value)
{
    struct bytes part;
    while (bytes_split(&value, ',', &part)) {
        part = bytes_trim(part);
        err e = part.len ? read_option(r, part) : OK;
        if (e)
            return e;
    }
    return OK;
}

/* Nearly all say one of two things. */
static err read_only_connection(struct connection_reader *r, struct bytes value)
{
    if (value.len == 10 && memcmp(value.ptr, "keep-alive", 10) == 0) {
        r->options->keep_alive = true;
        return OK;
    }
    if (value.len == 5 && memcmp(value.ptr, "close", 5) == 0) {
        r->options->close = true;
        return OK;
    }
    return read_options(r, value);
}

err http1_read_connection(struct http1_cut *cut, bool refuse_framing,
                          struct http1_connection_options *ret_options)
{
    struct connection_reader r = { cut->fields, ret_options, refuse_framing, 0 };
    *ret_options = (struct http1_connection_options){ 0 };
    if (!http1_has(cut, FIELD_CONNECTION))
        return OK;
    if (!(cut->repeated & HTTP1_ID_BIT(FIELD_CONNECTION)))
        return read_only_connection(&r, http1_value_of(cut, FIELD_CONNECTION));
    for (uint32_t i = 0; i < cut->fields->count; i++) {
        const struct http_field *f = &cut->fields->at[i];
        err e = f->id == FIELD_CONNECTION ? read_options(&r, http_field_value(f)) : OK;
        if (e)
            return e;
    }
    return OK;
}

bool http1_offers_upgrade(const struct http1_cut *cut)
{
    if (!http1_has(cut, FIELD_UPGRADE) || cut->repeated & HTTP1_ID_BIT(FIELD_UPGRADE))
        return false;
    struct bytes rest = http1_value_of(cut, FIELD_UPGRADE);
    struct bytes part;
    bool offers = false;
    while (bytes_split(&rest, ',', &part)) {
        part = bytes_trim(part);
        if (bytes_eq_nocase(part, BYTES("h2c")))
            return false;
        offers |= part.len > 0;
    }
    return offers;
}

err http1_read_content_length(const struct http1_cut *cut, uint64_t *ret_length)
{
    if (cut->repeated & HTTP1_ID_BIT(FIELD_CONTENT_LENGTH))
        return ERR_SYNTAX;
    uint64_t length;
    if (!bytes_to_u64(http1_value_of(cut, FIELD_CONTENT_LENGTH), &length) || length > INT64_MAX)
        return ERR_SYNTAX;
    *ret_length = length;
    return OK;
}

static bool is_port(struct bytes digits)
{
    uint64_t port;
    return digits.len <= 5 && bytes_to_u64(digits, &port) && port <= UINT16_MAX;
}

/* "[::1]" of RFC 3986 IP-literal; neither zones nor IPvFuture. Returns its length, 0: it is none. */
static size_t ip_literal_len(struct bytes text)
{
    char address[INET6_ADDRSTRLEN];
    struct in6_addr parsed;
    size_t close = bytes_index(text, ']');
    if (close == text.len || close - 1 >= sizeof address)
        return 0;
    memcpy(address, text.ptr + 1, close - 1);
    address[close - 1] = 0;
    return inet_pton(AF_INET6, address, &parsed) == 1 ? close + 1 : 0;
}

/* Of the reg-name or IPv4 address at the front, 0: there is none. */
static size_t reg_name_len(struct bytes text)
{
    size_t i = 0;
    for (; i < text.len; i++) {
        if (http_char_is(text.ptr[i], HTTP_CHAR_REG_NAME))
            continue;
        if (text.ptr[i] != '%')
            break;
        bool escaped = text.len - i > 2 && http_char_is(text.ptr[i + 1], HTTP_CHAR_HEX_DIGIT) &&
                       http_char_is(text.ptr[i + 2], HTTP_CHAR_HEX_DIGIT);
        if (!escaped)
            return 0;
        i += 2;
    }
    return i;
}

bool http1_is_authority(struct bytes text, bool needs_port)
{
    if (text.len == 0)
        return false;
    size_t len = text.ptr[0] == '[' ? ip_literal_len(text) : reg_name_len(text);
    if (len == 0)
        return false;
    if (len == text.len)
        return !needs_port;
    struct bytes port = bytes_skip(text, len + 1);
    if (text.ptr[len] != ':')
        return false;
    return port.len ? is_port(port) : !needs_port;
}

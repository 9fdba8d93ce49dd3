#include "proto/http2_head.h"

#include "proto/http1_head.h"
#include "proto/http_char.h"
#include "proto/http_field_id.h"

/* And what they may stand in.
 *    id         name           kind */
#define PSEUDO_LIST(X)                        \
    X(METHOD, ":method", HTTP2_REQUEST)       \
    X(SCHEME, ":scheme", HTTP2_REQUEST)       \
    X(AUTHORITY, ":authority", HTTP2_REQUEST) \
    X(PATH, ":path", HTTP2_REQUEST)           \
    X(PROTOCOL, ":protocol", HTTP2_REQUEST)   \
    X(STATUS, ":status", HTTP2_RESPONSE)

enum pseudo {
#define X(id, name, kind) PSEUDO_##id,
    PSEUDO_LIST(X)
#undef X
};
#define BIT(id) (1u << (PSEUDO_##id))

/* RFC 9113 8.2.2: they belong to a connection of HTTP/1.1, and make a message malformed. */
#define CONNECTION_IDS                                                              \
    (HTTP1_ID_BIT(FIELD_CONNECTION) | HTTP1_ID_BIT(FIELD_KEEP_ALIVE) |              \
     HTTP1_ID_BIT(FIELD_PROXY_CONNECTION) | HTTP1_ID_BIT(FIELD_TRANSFER_ENCODING) | \
     HTTP1_ID_BIT(FIELD_UPGRADE))

void http2_head_open(struct http2_head *h, enum http2_head_kind kind, struct arena *arena,
                     struct http_fields *fields, uint32_t fields_max, uint64_t bytes_max)
{
    *h = (struct http2_head){
        .kind = kind, .arena = arena, .fields = fields, .fields_max = fields_max, .bytes_max = bytes_max
    };
}

/* ---- one field ---- */

static bool is_lower_token(struct bytes name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        if (!http_char_is(c, HTTP_CHAR_TOKEN) || (c >= 'A' && c <= 'Z'))
            return false;
    }
    return name.len > 0;
}

/* RFC 9113 8.2.1 */
static bool is_value(struct bytes value)
{
    if (!value.len)
        return true;
    char first = value.ptr[0];
    char last = value.ptr[value.len - 1];
    return first != ' ' && first != '\t' && last != ' ' && last != '\t' && http_is_field_value(value);
}

static bool is_target(struct bytes path)
{
    for (size_t i = 0; i < path.len; i++) {
        if (!http_char_is(path.ptr[i], HTTP_CHAR_TARGET))
            return false;
    }
    return path.len > 0;
}

static bool read_status(struct http2_head *h, struct bytes value)
{
    uint64_t status;
    if (value.len != 3 || !bytes_to_u64(value, &status) || status < 100)
        return false;
    h->status = (uint16_t)status;
    return true;
}

static err keep_pseudo(struct http2_head *h, enum pseudo id, struct bytes value)
{
    bool good = true;
    struct bytes *to = NULL;
    switch (id) {
    case PSEUDO_METHOD:
        good = http_is_token(value);
        to = &h->method;
        break;
    case PSEUDO_SCHEME:
        good = http_is_token(value);
        to = &h->scheme;
        break;
    case PSEUDO_AUTHORITY:
        to = &h->authority;
        break;
    case PSEUDO_PATH:
        good = is_target(value);
        to = &h->path;
        break;
    case PSEUDO_PROTOCOL:
        good = http_is_token(value);
        to = &h->protocol;
        break;
    case PSEUDO_STATUS:
        return read_status(h, value) ? OK : ERR_SYNTAX;
    }
    if (!good)
        return ERR_SYNTAX;
    *to = arena_copy(h->arena, value);
    return to->ptr ? OK : ERR_LIMIT;
}

/* RFC 9113 8.3: before all others, each once, none but those that are defined. */
static err add_pseudo(struct http2_head *h, struct bytes name, struct bytes value)
{
    static const struct {
        struct bytes name;
        enum http2_head_kind kind;
    } known[] = {
#define X(id, text, kind) { { text, sizeof(text) - 1 }, kind },
        PSEUDO_LIST(X)
#undef X
    };
    if (h->regular)
        return ERR_SYNTAX;
    for (unsigned i = 0; i < sizeof known / sizeof *known; i++) {
        if (known[i].kind != h->kind || !bytes_eq(known[i].name, name))
            continue;
        if (h->pseudo >> i & 1)
            return ERR_SYNTAX;
        h->pseudo |= (uint8_t)(1u << i);
        return keep_pseudo(h, (enum pseudo)i, value);
    }
    return ERR_SYNTAX;
}

static err read_length(struct http2_head *h, struct bytes value)
{
    uint64_t length;
    if (h->has_length || !bytes_to_u64(value, &length) || length > INT64_MAX)
        return ERR_SYNTAX;
    h->has_length = true;
    h->content_length = length;
    return OK;
}

/* What the field means to the head; *ret_flags for the list. */
static err look_at(struct http2_head *h, enum http_field_id id, struct bytes name, struct bytes value,
                   uint8_t *ret_flags)
{
    if (HTTP1_ID_BIT(id) & CONNECTION_IDS)
        return ERR_SYNTAX;
    if (h->kind == HTTP2_TRAILERS) {
        *ret_flags = http_may_be_trailer(name) ? 0 : FIELD_REMOVED;
        return OK;
    }
    switch (id) {
    case FIELD_CONTENT_LENGTH:
        return read_length(h, value);
    case FIELD_TE: /* RFC 9113 8.2.2: nothing but "trailers" */
        *ret_flags = FIELD_HOP;
        return bytes_eq_nocase(value, BYTES("trailers")) ? OK : ERR_SYNTAX;
    case FIELD_HTTP2_SETTINGS:
        *ret_flags = FIELD_HOP;
        return OK;
    case FIELD_COOKIE: /* an empty one would be a space at the end of those that are joined */
        *ret_flags = value.len ? 0 : FIELD_REMOVED;
        h->cookies += value.len > 0;
        return OK;
    default:
        return OK;
    }
}

static err add_regular(struct http2_head *h, struct bytes name, struct bytes value)
{
    uint8_t flags = 0;
    h->regular = true;
    if (!is_lower_token(name) || !is_value(value))
        return ERR_SYNTAX;
    if (h->fields->count >= h->fields_max || name.len > UINT16_MAX)
        return ERR_LIMIT;
    enum http_field_id id = http_field_id_find(name.ptr, name.len);
    err e = look_at(h, id, name, value, &flags);
    if (!e)
        e = http_fields_reserve(h->fields, h->arena, 1);
    if (e)
        return e;
    /* "name: value" as HTTP/1.1 has it, with the end of a line behind it: where it goes on as that, whole
     * runs of fields are copied at once */
    char *text = arena_get(h->arena, name.len + value.len + 4);
    if (!text)
        return ERR_LIMIT;
    memcpy(text, name.ptr, name.len);
    memcpy(text + name.len, ": ", 2);
    if (value.len)
        memcpy(text + name.len + 2, value.ptr, value.len);
    memcpy(text + name.len + 2 + value.len, "\r\n", 2);
    h->fields->at[h->fields->count++] = (struct http_field){ .name = text,
                                                             .name_len = (uint16_t)name.len,
                                                             .value = text + name.len + 2,
                                                             .value_len = (uint32_t)value.len,
                                                             .id = (uint8_t)id,
                                                             .flags = flags };
    return OK;
}

err http2_head_add(struct http2_head *h, struct bytes name, struct bytes value)
{
    h->bytes += name.len + value.len + HTTP2_FIELD_EXTRA_BYTES;
    if (h->failed)
        return h->failed;
    if (h->bytes > h->bytes_max)
        h->failed = ERR_LIMIT;
    else if (name.len && name.ptr[0] == ':')
        h->failed = add_pseudo(h, name, value);
    else
        h->failed = add_regular(h, name, value);
    return h->failed;
}

/* ---- a request ---- */

/* RFC 9113 8.2.3: one field again, for those who read only the first. */
static err join_cookies(struct http2_head *h)
{
    size_t bytes = 0;
    struct http_field *first = NULL;
    for (uint32_t i = 0; i < h->fields->count; i++) {
        struct http_field *f = &h->fields->at[i];
        if (f->id == FIELD_COOKIE && !(f->flags & FIELD_REMOVED))
            bytes += f->value_len + 2;
    }
    char *text = arena_get(h->arena, bytes);
    if (!text)
        return ERR_LIMIT;
    char *out = text;
    for (uint32_t i = 0; i < h->fields->count; i++) {
        struct http_field *f = &h->fields->at[i];
        if (f->id != FIELD_COOKIE || f->flags & FIELD_REMOVED)
            continue;
        if (first) {
            memcpy(out, "; ", 2);
            out += 2;
            f->flags |= FIELD_REMOVED;
        } else {
            first = f;
        }
        memcpy(out, f->value, f->value_len);
        out += f->value_len;
    }
    first->value = text;
    first->value_len = (uint32_t)(out - text);
    return OK;
}

/* RFC 9113 8.3.1: what :authority and Host say must be the same; one of them is needed. */
static err find_authority(struct http2_head *h, struct http_request *ret, bool needs_port)
{
    const struct http_field *host = http_fields_get(h->fields, FIELD_HOST);
    for (const struct http_field *f = host ? host + 1 : NULL; f && f < h->fields->at + h->fields->count;
         f++) {
        if (f->id == FIELD_HOST)
            return ERR_SYNTAX;
    }
    if (h->pseudo & BIT(AUTHORITY)) {
        if (host && !bytes_eq_nocase(http_field_value(host), h->authority))
            return ERR_SYNTAX;
    } else if (host) {
        h->authority = http_field_value(host);
    }
    ret->authority = h->authority;
    if (!http1_is_authority(h->authority, needs_port))
        return ERR_SYNTAX;
    return host ? OK : http_fields_add(h->fields, h->arena, BYTES("host"), h->authority);
}

static err find_path(struct http2_head *h, struct http_request *ret)
{
    const struct bytes path = h->path;
    const char *mark = memchr(path.ptr, '?', path.len);
    bool star = bytes_eq(path, BYTES("*"));
    if (path.ptr[0] != '/' && !(star && ret->method == HTTP_OPTIONS))
        return ERR_SYNTAX;
    ret->target = ret->path = path;
    ret->query = BYTES_NONE;
    if (mark) {
        ret->path.len = (size_t)(mark - path.ptr);
        ret->query = bytes_skip(path, ret->path.len + 1);
    }
    return OK;
}

static void find_framing(const struct http2_head *h, bool ended, struct http_request *ret)
{
    ret->content_length = h->content_length;
    if (ended || (h->has_length && !h->content_length))
        ret->framing = HTTP_BODY_NONE;
    else
        ret->framing = h->has_length ? HTTP_BODY_LENGTH : HTTP_BODY_CHUNKED;
}

/* RFC 8441 4: the stream is to become a WebSocket. The key that HTTP/1.1 wants is the gate's to make. */
static err as_upgrade(struct http2_head *h, struct http_request *ret)
{
    if (!bytes_eq(h->protocol, BYTES("websocket")))
        return ERR_UNSUPPORTED;
    ret->method = HTTP_GET;
    ret->method_text = BYTES("GET");
    ret->framing = HTTP_BODY_NONE;
    ret->content_length = 0;
    ret->upgrade = true;
    err e = http_fields_add(h->fields, h->arena, BYTES("upgrade"), BYTES("websocket"));
    if (!e)
        h->fields->at[h->fields->count - 1].flags |= FIELD_HOP;
    return e;
}

static bool is_there_again(const struct http_fields *fields, const struct http_field *first)
{
    for (const struct http_field *f = first + 1; f < fields->at + fields->count; f++) {
        if (f->id == first->id)
            return true;
    }
    return false;
}

/* RFC 9110 10.1.1; as http1_request reads it: two of them are another expectation. */
static err read_expect(struct http2_head *h, struct http_request *ret, unsigned *ret_status)
{
    const struct http_field *f = http_fields_get(h->fields, FIELD_EXPECT);
    if (!f)
        return OK;
    if (is_there_again(h->fields, f) || !bytes_eq_nocase(http_field_value(f), BYTES("100-continue"))) {
        *ret_status = 417;
        return ERR_UNSUPPORTED;
    }
    ret->expect_continue = ret->framing != HTTP_BODY_NONE;
    return OK;
}

/* RFC 9113 8.3.1, 8.5; RFC 8441 4 */
static bool has_its_pseudo(const struct http2_head *h, bool connect)
{
    const unsigned usual = BIT(METHOD) | BIT(SCHEME) | BIT(PATH);
    if (connect && !(h->pseudo & BIT(PROTOCOL)))
        return h->pseudo == (BIT(METHOD) | BIT(AUTHORITY));
    if (h->pseudo & BIT(PROTOCOL))
        return connect && (h->pseudo & (usual | BIT(AUTHORITY))) == (usual | BIT(AUTHORITY));
    return (h->pseudo & usual) == usual;
}

static err read_request(struct http2_head *h, bool ended, struct http_request *ret, unsigned *ret_status)
{
    if (h->failed)
        return h->failed;
    ret->method = http_method_of(h->method);
    ret->method_text = h->method;
    ret->version_minor = 1;
    ret->keep_alive = true;
    const bool connect = ret->method == HTTP_CONNECT;
    const bool extended = connect && h->pseudo & BIT(PROTOCOL);
    if (!has_its_pseudo(h, connect))
        return ERR_SYNTAX;
    if (ended && h->has_length && h->content_length)
        return ERR_SYNTAX;
    find_framing(h, ended, ret);
    err e = find_authority(h, ret, connect && !extended);
    if (!e && connect && !extended)
        ret->target = ret->authority;
    else if (!e)
        e = find_path(h, ret);
    if (!e && extended) {
        *ret_status = 501;
        e = as_upgrade(h, ret);
    }
    if (!e && h->cookies > 1)
        e = join_cookies(h);
    return e ? e : read_expect(h, ret, ret_status);
}

err http2_head_request(struct http2_head *h, bool ended, struct http_request *ret, unsigned *ret_status)
{
    unsigned status = 400;
    const struct http_fields fields = *h->fields;
    *ret = (struct http_request){ .fields = fields };
    err e = read_request(h, ended, ret, &status);
    ret->fields = *h->fields;
    if (e == ERR_LIMIT)
        status = 431;
    if (e)
        *ret_status = status;
    return e;
}

/* ---- a response ---- */

err http2_head_response(struct http2_head *h, bool ended, enum http_method method, struct http_response *ret)
{
    if (h->failed)
        return h->failed;
    if (h->pseudo != BIT(STATUS) || h->status == 101)
        return ERR_SYNTAX;
    const bool bodiless = method == HTTP_HEAD || h->status < 200 || h->status == 204 || h->status == 304;
    *ret = (struct http_response){ .status = h->status,
                                   .version_minor = 1,
                                   .keep_alive = true,
                                   .has_content_length = h->has_length,
                                   .content_length = h->content_length,
                                   .reason = http_reason(h->status),
                                   .fields = *h->fields };
    if (ended || bodiless)
        ret->framing = HTTP_BODY_NONE;
    else
        ret->framing = h->has_length ? HTTP_BODY_LENGTH : HTTP_BODY_CHUNKED;
    if (ret->framing == HTTP_BODY_LENGTH && !h->content_length)
        ret->framing = HTTP_BODY_NONE;
    if (ended && !bodiless && h->content_length)
        return ERR_SYNTAX;
    return OK;
}

err http2_head_trailers(struct http2_head *h)
{
    return h->failed ? h->failed : h->pseudo ? ERR_SYNTAX : OK;
}

/* ---- writing ---- */

struct bytes http2_field_name(const struct http_field *f, struct arena *a)
{
    if (f->id != FIELD_OTHER)
        return http_field_id_name((enum http_field_id)f->id);
    size_t upper = 0;
    while (upper < f->name_len && !(f->name[upper] >= 'A' && f->name[upper] <= 'Z'))
        upper++;
    if (upper == f->name_len)
        return http_field_name(f);
    char *text = arena_get(a, f->name_len);
    if (!text)
        return BYTES_NONE;
    for (size_t i = 0; i < f->name_len; i++)
        text[i] = ascii_lower(f->name[i]);
    return (struct bytes){ text, f->name_len };
}

#include "proto/http.h"

#include "proto/http_char.h"

static const struct method {
    struct bytes text;
    bool safe, idempotent;
} methods[] = {
#define X(id, text, safe, idempotent) { { text, sizeof(text) - 1 }, safe, idempotent },
    HTTP_METHOD_LIST(X)
#undef X
};

enum http_method http_method_of(struct bytes text)
{
    for (unsigned m = 0; m < HTTP_OTHER; m++) {
        if (bytes_eq(text, methods[m].text))
            return (enum http_method)m;
    }
    return HTTP_OTHER;
}

struct bytes http_method_text(enum http_method m)
{
    return methods[m].text;
}

bool http_method_is_safe(enum http_method m)
{
    return methods[m].safe;
}

bool http_method_is_idempotent(enum http_method m)
{
    return methods[m].idempotent;
}

/* RFC 9110 15, and those that others registered with IANA */
#define HTTP_REASON_LIST(X)                   \
    X(100, "Continue")                        \
    X(101, "Switching Protocols")             \
    X(102, "Processing")                      \
    X(103, "Early Hints")                     \
    X(200, "OK")                              \
    X(201, "Created")                         \
    X(202, "Accepted")                        \
    X(203, "Non-Authoritative Information")   \
    X(204, "No Content")                      \
    X(205, "Reset Content")                   \
    X(206, "Partial Content")                 \
    X(207, "Multi-Status")                    \
    X(208, "Already Reported")                \
    X(226, "IM Used")                         \
    X(300, "Multiple Choices")                \
    X(301, "Moved Permanently")               \
    X(302, "Found")                           \
    X(303, "See Other")                       \
    X(304, "Not Modified")                    \
    X(305, "Use Proxy")                       \
    X(307, "Temporary Redirect")              \
    X(308, "Permanent Redirect")              \
    X(400, "Bad Request")                     \
    X(401, "Unauthorized")                    \
    X(402, "Payment Required")                \
    X(403, "Forbidden")                       \
    X(404, "Not Found")                       \
    X(405, "Method Not Allowed")              \
    X(406, "Not Acceptable")                  \
    X(407, "Proxy Authentication Required")   \
    X(408, "Request Timeout")                 \
    X(409, "Conflict")                        \
    X(410, "Gone")                            \
    X(411, "Length Required")                 \
    X(412, "Precondition Failed")             \
    X(413, "Content Too Large")               \
    X(414, "URI Too Long")                    \
    X(415, "Unsupported Media Type")          \
    X(416, "Range Not Satisfiable")           \
    X(417, "Expectation Failed")              \
    X(421, "Misdirected Request")             \
    X(422, "Unprocessable Content")           \
    X(423, "Locked")                          \
    X(424, "Failed Dependency")               \
    X(425, "Too Early")                       \
    X(426, "Upgrade Required")                \
    X(428, "Precondition Required")           \
    X(429, "Too Many Requests")               \
    X(431, "Request Header Fields Too Large") \
    X(451, "Unavailable For Legal Reasons")   \
    X(500, "Internal Server Error")           \
    X(501, "Not Implemented")                 \
    X(502, "Bad Gateway")                     \
    X(503, "Service Unavailable")             \
    X(504, "Gateway Timeout")                 \
    X(505, "HTTP Version Not Supported")      \
    X(506, "Variant Also Negotiates")         \
    X(507, "Insufficient Storage")            \
    X(508, "Loop Detected")                   \
    X(511, "Network Authentication Required")

struct bytes http_reason(unsigned status)
{
    switch (status) {
#define X(number, text) \
    case number:        \
        return BYTES(text);
        HTTP_REASON_LIST(X)
#undef X
    default:
        return BYTES("");
    }
}

static bool is_named(const struct http_field *f, enum http_field_id id, struct bytes name)
{
    if (f->flags & FIELD_REMOVED || f->id != id)
        return false;
    return id != FIELD_OTHER || bytes_eq_nocase(http_field_name(f), name);
}

const struct http_field *http_fields_get(const struct http_fields *f, enum http_field_id id)
{
    for (uint32_t i = 0; i < f->count; i++) {
        if (f->at[i].id == id && !(f->at[i].flags & FIELD_REMOVED))
            return &f->at[i];
    }
    return NULL;
}

const struct http_field *http_fields_find(const struct http_fields *f, struct bytes name)
{
    enum http_field_id id = http_field_id_of(name);
    for (uint32_t i = 0; i < f->count; i++) {
        if (is_named(&f->at[i], id, name))
            return &f->at[i];
    }
    return NULL;
}

static unsigned remove_named(struct http_fields *f, enum http_field_id id, struct bytes name)
{
    unsigned removed = 0;
    for (uint32_t i = 0; i < f->count; i++) {
        if (!is_named(&f->at[i], id, name))
            continue;
        f->at[i].flags |= FIELD_REMOVED;
        removed++;
    }
    return removed;
}

struct bytes http_fields_value(const struct http_fields *f, enum http_field_id id, struct bytes name)
{
    const struct http_field *field = id == FIELD_OTHER ? http_fields_find(f, name) : http_fields_get(f, id);
    return field ? http_field_value(field) : BYTES_NONE;
}

unsigned http_fields_remove(struct http_fields *f, struct bytes name)
{
    return remove_named(f, http_field_id_of(name), name);
}

unsigned http_fields_remove_id(struct http_fields *f, enum http_field_id id)
{
    /* FIELD_OTHER is no name: nothing is called so */
    return id == FIELD_OTHER ? 0 : remove_named(f, id, BYTES_NONE);
}

static err grow(struct http_fields *f, struct arena *a, uint32_t more)
{
    uint32_t count_max = (f->count + more) * 2 < 16 ? 16 : (f->count + more) * 2;
    struct http_field *at = arena_get(a, count_max * sizeof *at);
    if (!at)
        return ERR_LIMIT;
    if (f->count)
        memcpy(at, f->at, f->count * sizeof *at);
    f->at = at;
    f->count_max = count_max;
    return OK;
}

err http_fields_reserve(struct http_fields *f, struct arena *a, uint32_t more)
{
    return f->count_max - f->count >= more ? OK : grow(f, a, more);
}

err http_fields_keep(struct http_fields *f, struct arena *a)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < f->count; i++) {
        struct http_field field = f->at[i];
        if (field.flags & FIELD_REMOVED)
            continue;
        const struct bytes name = arena_copy(a, http_field_name(&field));
        const struct bytes value = arena_copy(a, http_field_value(&field));
        if (!name.ptr || !value.ptr)
            return ERR_LIMIT;
        field.name = name.ptr;
        field.value = value.ptr;
        f->at[kept++] = field;
    }
    f->count = kept;
    return OK;
}

err http_fields_add(struct http_fields *f, struct arena *a, struct bytes name, struct bytes value)
{
    if (name.len > UINT16_MAX || value.len > UINT32_MAX)
        return ERR_LIMIT;
    err e = http_fields_reserve(f, a, 1);
    if (e)
        return e;
    f->at[f->count++] = (struct http_field){
        .name = name.ptr,
        .value = value.ptr,
        .value_len = (uint32_t)value.len,
        .name_len = (uint16_t)name.len,
        .id = (uint8_t)http_field_id_of(name),
    };
    return OK;
}

err http_fields_set(struct http_fields *f, struct arena *a, struct bytes name, struct bytes value)
{
    uint32_t before = f->count;
    err e = http_fields_add(f, a, name, value);
    if (e)
        return e;
    f->count = before;
    http_fields_remove(f, name);
    f->count = before + 1;
    return OK;
}

static bool all_are(struct bytes text, enum http_char_class class)
{
    for (size_t i = 0; i < text.len; i++) {
        if (!http_char_is(text.ptr[i], class))
            return false;
    }
    return true;
}

bool http_is_token(struct bytes text)
{
    return text.len > 0 && all_are(text, HTTP_CHAR_TOKEN);
}

bool http_is_field_value(struct bytes text)
{
    return all_are(text, HTTP_CHAR_VALUE);
}

/* Trailer fields may carry what is known only at the end, a checksum or a status; not what decides how the
 * message is read, where it goes, who sent it or what its content is (RFC 9110 6.5.1). The fields that we
 * know by id are all of the second kind but these. */
#define TRAILER_IDS (1ULL << FIELD_OTHER | 1ULL << FIELD_ETAG | 1ULL << FIELD_DATE)

bool http_may_be_trailer(struct bytes name)
{
    struct bytes content = BYTES("content-");
    struct bytes forwarded = BYTES("x-forwarded-");
    if (!(TRAILER_IDS >> http_field_id_of(name) & 1))
        return false;
    if (bytes_eq_nocase(name, BYTES("content-digest"))) /* RFC 9530 means it to stand here */
        return true;
    if (name.len >= content.len && bytes_eq_nocase((struct bytes){ name.ptr, content.len }, content))
        return false;
    return name.len < forwarded.len || !bytes_eq_nocase((struct bytes){ name.ptr, forwarded.len }, forwarded);
}

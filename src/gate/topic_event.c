#include "gate/topic_event.h"

#include <stdio.h>
#include <time.h>

#include "base/json.h"

#define TYPE_USUAL BYTES("weir.message")
#define TIME_BYTES 32

static bool is_plain(unsigned char c)
{
    return c > ' ' && c < 0x7f && c != '"' && c != '%';
}

struct bytes topic_event_value(struct bytes text, struct arena *a)
{
    static const char digits[] = "0123456789ABCDEF";
    char *out = arena_get(a, 3 * text.len + 1);
    size_t len = 0;
    for (size_t i = 0; out && i < text.len; i++) {
        const unsigned char c = (unsigned char)text.ptr[i];
        if (is_plain(c)) {
            out[len++] = (char)c;
            continue;
        }
        out[len++] = '%';
        out[len++] = digits[c >> 4];
        out[len++] = digits[c & 15];
    }
    return (struct bytes){ out, len };
}

/* RFC 3339, to the millisecond. */
static struct bytes time_text(uint64_t ms, struct arena *a)
{
    const time_t s = (time_t)(ms / 1000);
    char text[TIME_BYTES];
    struct tm tm;
    gmtime_r(&s, &tm);
    text[strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm)] = 0;
    return arena_print(a, "%s.%03uZ", text, (unsigned)(ms % 1000));
}

static err add(struct http_fields *fields, struct arena *a, struct bytes name, struct bytes value)
{
    return value.ptr ? http_fields_add(fields, a, name, value) : ERR_LIMIT;
}

/* Those that say how a request is framed or routed are not a message's to say, nor what weir says itself. */
static bool is_passed_on(const struct queue_field *f)
{
    static const struct bytes taken[] = { { "connection", sizeof("connection") - 1 },
                                          { "content-length", sizeof("content-length") - 1 },
                                          { "transfer-encoding", sizeof("transfer-encoding") - 1 },
                                          { "host", sizeof("host") - 1 },
                                          { "expect", sizeof("expect") - 1 },
                                          { "upgrade", sizeof("upgrade") - 1 },
                                          { "te", sizeof("te") - 1 },
                                          { "trailer", sizeof("trailer") - 1 },
                                          { "keep-alive", sizeof("keep-alive") - 1 },
                                          { "ce-id", sizeof("ce-id") - 1 },
                                          { "ce-specversion", sizeof("ce-specversion") - 1 },
                                          { "ce-time", sizeof("ce-time") - 1 },
                                          { "ce-subject", sizeof("ce-subject") - 1 },
                                          { "weir-attempt", sizeof("weir-attempt") - 1 },
                                          { "proxy-connection", sizeof("proxy-connection") - 1 },
                                          { "content-encoding", sizeof("content-encoding") - 1 } };
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++) {
        if (bytes_eq_nocase(f->name, taken[i]))
            return false;
    }
    return http_is_token(f->name) && http_is_field_value(f->value);
}

struct known {
    struct bytes body, type, source, content_type;
    bool has_body;
};

static struct known look(const struct queue_message *m)
{
    struct known k = { .type = TYPE_USUAL };
    struct bytes rest = m->fields;
    struct queue_field f;
    while (queue_read_field(&rest, &f)) {
        if (bytes_eq(f.name, QUEUE_BODY) && !k.has_body) {
            k.body = f.value;
            k.has_body = true;
        } else if (bytes_eq_nocase(f.name, BYTES("ce-type")) && is_passed_on(&f)) {
            k.type = f.value;
        } else if (bytes_eq_nocase(f.name, BYTES("ce-source")) && is_passed_on(&f)) {
            k.source = f.value;
        } else if (bytes_eq_nocase(f.name, BYTES("content-type")) && is_passed_on(&f)) {
            k.content_type = f.value;
        }
    }
    return k;
}

static bool is_known(struct bytes name)
{
    return bytes_eq(name, QUEUE_BODY) || bytes_eq_nocase(name, BYTES("ce-type")) ||
           bytes_eq_nocase(name, BYTES("ce-source")) || bytes_eq_nocase(name, BYTES("content-type"));
}

static err add_others(const struct queue_message *m, struct arena *a, struct http_fields *fields)
{
    struct bytes rest = m->fields;
    struct queue_field f;
    err e = OK;
    while (!e && queue_read_field(&rest, &f)) {
        if (!is_known(f.name) && is_passed_on(&f))
            e = http_fields_add(fields, a, f.name, f.value);
    }
    return e;
}

/* Others are left out: nobody names a field so. */
static bool is_member_name(struct bytes name)
{
    bool good = name.len > 0 && name.len <= QUEUE_NAME_BYTES_MAX;
    for (size_t i = 0; good && i < name.len; i++)
        good = name.ptr[i] >= ' ' && name.ptr[i] < 0x7f && name.ptr[i] != '"' && name.ptr[i] != '\\';
    return good;
}

static struct bytes as_json(const struct queue_message *m, struct arena *a)
{
    const size_t size = 6 * m->fields.len + 64; /* escaped, at worst */
    struct text t = text_within(arena_get(a, size), size);
    struct bytes rest = m->fields;
    struct queue_field f;
    char name[QUEUE_NAME_BYTES_MAX + 1];
    json_begin(&t, NULL, '{');
    while (queue_read_field(&rest, &f)) {
        if (!is_member_name(f.name))
            continue;
        memcpy(name, f.name.ptr, f.name.len);
        name[f.name.len] = 0;
        json_text(&t, name, f.value);
    }
    json_end(&t, '}');
    return t.cut ? (struct bytes){ NULL, 0 } : text_bytes(&t);
}

err topic_event_write(const struct topic_event *ev, struct arena *a, struct http_fields *fields,
                      struct bytes *ret_body)
{
    const struct queue_message *m = &ev->message;
    const struct known k = look(m);
    char id[QUEUE_ID_TEXT_BYTES];
    const struct bytes id_text = arena_copy(a, (struct bytes){ id, queue_id_text(m->id, id) });
    const struct bytes source = topic_event_value(ev->topic, a);
    *ret_body = k.has_body ? k.body : as_json(m, a);
    err e = k.has_body || ret_body->ptr ? OK : ERR_LIMIT;
    if (!e)
        e = add(fields, a, BYTES("ce-specversion"), BYTES("1.0"));
    if (!e)
        e = add(fields, a, BYTES("ce-id"), id_text);
    if (!e)
        e = add(fields, a, BYTES("ce-source"),
                k.source.len ? k.source : arena_print(a, "/topics/%.*s", BYTES_ARG(source)));
    if (!e)
        e = add(fields, a, BYTES("ce-type"), k.type);
    if (!e)
        e = add(fields, a, BYTES("ce-time"), time_text(m->published_ms, a));
    if (!e && m->key.len)
        e = add(fields, a, BYTES("ce-subject"), topic_event_value(m->key, a));
    if (!e)
        e = add(fields, a, BYTES("weir-attempt"), arena_print(a, "%u", (unsigned)m->attempts));
    if (!e && (k.content_type.len || !k.has_body))
        e = add(fields, a, BYTES("content-type"), k.has_body ? k.content_type : BYTES("application/json"));
    if (!e && k.has_body)
        e = add_others(m, a, fields);
    return e;
}

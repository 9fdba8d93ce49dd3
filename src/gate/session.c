#include "gate/session.h"

#include "base/hex.h"

#define SERVER_PREFIX "@server/"
#define ROOM_FIRST 8 /* values */

/* ---- values ---- */

static bool is_name_char(char c)
{
    const char lower = ascii_lower(c);
    return (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

bool session_name_is_good(struct bytes name)
{
    for (size_t i = 0; i < name.len; i++) {
        if (!is_name_char(name.ptr[i]))
            return false;
    }
    return name.len && name.len <= SESSION_NAME_BYTES_MAX && !bytes_eq_nocase(name, BYTES("id"));
}

static struct session_value *find(const struct session *s, struct bytes name)
{
    for (uint32_t i = 0; i < s->count; i++) {
        if (bytes_eq(s->values[i].name, name))
            return &s->values[i];
    }
    return NULL;
}

struct bytes session_find(const struct session *s, struct bytes name)
{
    const struct session_value *v = find(s, name);
    return v ? v->value : BYTES_NONE;
}

err session_put(struct session *s, struct arena *a, struct bytes name, struct bytes value)
{
    struct session_value *v = find(s, name);
    if (v) {
        v->value = value;
        return OK;
    }
    if (s->count == s->count_max) {
        const uint32_t more = s->count_max ? 2 * s->count_max : ROOM_FIRST;
        struct session_value *values = arena_get(a, more * sizeof *values);
        if (!values)
            return ERR_LIMIT;
        if (s->count)
            memcpy(values, s->values, s->count * sizeof *values);
        s->values = values;
        s->count_max = more;
    }
    s->values[s->count++] = (struct session_value){ name, value };
    return OK;
}

void session_take(struct session *s, struct bytes name)
{
    struct session_value *v = find(s, name);
    if (v)
        *v = s->values[--s->count];
}

struct bytes session_variable(const struct exchange *x, struct bytes name)
{
    if (!x->session)
        return BYTES_NONE;
    return bytes_eq(name, BYTES("id")) ? x->session->id : session_find(x->session, name);
}

struct bytes session_server(const struct session *s, struct bytes service)
{
    const struct bytes prefix = BYTES(SERVER_PREFIX);
    for (uint32_t i = 0; s && i < s->count; i++) {
        const struct session_value *v = &s->values[i];
        if (bytes_starts(v->name, prefix) && bytes_eq(bytes_skip(v->name, prefix.len), service))
            return v->value;
    }
    return BYTES_NONE;
}

struct bytes session_server_name(struct bytes service, struct arena *a)
{
    return arena_print(a, SERVER_PREFIX "%.*s", BYTES_ARG(service));
}

/* ---- as they stand in fields ---- */

static bool stays(char c)
{
    return c > ' ' && c < 0x7f && c != '%';
}

struct bytes session_encode(struct bytes value, struct arena *a)
{
    size_t n = 0;
    while (n < value.len && stays(value.ptr[n]))
        n++;
    if (n == value.len)
        return value.ptr ? value : BYTES("");
    char *out = arena_get(a, 3 * value.len), *at = out;
    for (size_t i = 0; out && i < value.len; i++) {
        if (stays(value.ptr[i])) {
            *at++ = value.ptr[i];
            continue;
        }
        *at++ = '%';
        hex_put(at, (unsigned char)value.ptr[i], 2);
        at += 2;
    }
    return (struct bytes){ out, (size_t)(at - out) };
}

struct bytes session_decode(struct bytes text, struct arena *a)
{
    if (bytes_index(text, '%') == text.len)
        return text.ptr ? text : BYTES("");
    char *out = arena_get(a, text.len), *at = out;
    for (size_t i = 0; out && i < text.len; i++) {
        const int high = i + 2 < text.len ? hex_value(text.ptr[i + 1]) : -1;
        const int low = i + 2 < text.len ? hex_value(text.ptr[i + 2]) : -1;
        const bool coded = text.ptr[i] == '%' && high >= 0 && low >= 0;
        *at = text.ptr[i];
        if (coded) {
            *at = (char)(high << 4 | low);
            i += 2;
        }
        at++;
    }
    return (struct bytes){ out, (size_t)(at - out) };
}

/* ---- what stands in fields ---- */

static char like_dash(char c)
{
    return c == '_' ? '-' : ascii_lower(c);
}

/* Is name the prefix, a dash and something? *ret_rest: what is behind the dash. */
static bool has_prefix(struct bytes name, struct bytes prefix, struct bytes *ret_rest)
{
    if (name.len <= prefix.len + 1)
        return false;
    for (size_t i = 0; i < prefix.len; i++) {
        if (like_dash(name.ptr[i]) != like_dash(prefix.ptr[i]))
            return false;
    }
    *ret_rest = bytes_skip(name, prefix.len + 1);
    return like_dash(name.ptr[prefix.len]) == '-';
}

unsigned session_strip(struct http_fields *f, struct bytes prefix)
{
    struct bytes rest;
    unsigned n = 0;
    for (uint32_t i = 0; i < f->count; i++) {
        if (f->at[i].flags & FIELD_REMOVED || !has_prefix(http_field_name(&f->at[i]), prefix, &rest))
            continue;
        f->at[i].flags |= FIELD_REMOVED;
        n++;
    }
    return n;
}

/* "cart=3 apples" */
static err read_set(struct session_change *c, struct bytes text, struct arena *a)
{
    const size_t equals = bytes_index(text, '=');
    const struct bytes name = bytes_trim((struct bytes){ text.ptr, equals });
    if (equals == text.len || !session_name_is_good(name)) {
        c->wrong = "a value to be set is written NAME=VALUE; a name is letters, digits, - and _, and not id";
        return OK;
    }
    if (c->sets_count == SESSION_SETS_MAX) {
        c->wrong = "more values than can be set at once";
        return OK;
    }
    const struct bytes value = session_decode(bytes_trim(bytes_skip(text, equals + 1)), a);
    c->sets[c->sets_count++] = (struct session_value){ name, value };
    return value.ptr ? OK : ERR_LIMIT;
}

/* "cart, user" */
static void read_remove(struct session_change *c, struct bytes text)
{
    struct bytes name;
    while (bytes_split(&text, ',', &name)) {
        name = bytes_trim(name);
        if (!session_name_is_good(name))
            c->wrong = "what is to be removed is no name";
        else if (c->removes_count == SESSION_SETS_MAX)
            c->wrong = "more values than can be removed at once";
        else
            c->removes[c->removes_count++] = name;
    }
}

err session_change_read(const struct http_fields *f, struct bytes prefix, struct arena *a,
                        struct session_change *ret_change)
{
    struct session_change *c = ret_change;
    c->sets_count = c->removes_count = 0;
    c->end = c->new_id = false;
    c->wrong = NULL;
    for (uint32_t i = 0; i < f->count; i++) {
        const struct http_field *field = &f->at[i];
        struct bytes word;
        err e = OK;
        if (field->flags & FIELD_REMOVED || !has_prefix(http_field_name(field), prefix, &word))
            continue;
        if (bytes_eq_nocase(word, BYTES("set")))
            e = read_set(c, http_field_value(field), a);
        else if (bytes_eq_nocase(word, BYTES("remove")))
            read_remove(c, http_field_value(field));
        else if (bytes_eq_nocase(word, BYTES("end")))
            c->end = true;
        else if (bytes_eq_nocase(word, BYTES("new-id")))
            c->new_id = true;
        if (e)
            return e;
    }
    return OK;
}

static bool touches(const struct session_change *c, struct bytes name)
{
    for (unsigned i = 0; i < c->sets_count; i++) {
        if (bytes_eq(c->sets[i].name, name))
            return true;
    }
    for (unsigned i = 0; i < c->removes_count; i++) {
        if (bytes_eq(c->removes[i], name))
            return true;
    }
    return false;
}

size_t session_bytes_after(const struct session *s, const struct session_change *c)
{
    size_t n = 0;
    for (unsigned i = 0; i < c->sets_count; i++)
        n += c->sets[i].name.len + c->sets[i].value.len;
    for (uint32_t i = 0; i < s->count; i++) {
        if (!touches(c, s->values[i].name))
            n += s->values[i].name.len + s->values[i].value.len;
    }
    return n;
}

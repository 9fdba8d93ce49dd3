#include "load/expect.h"

#include "base/json_read.h"

/* ---- JSON ---- */

static const struct json *look_up(struct expect_answer *a, struct bytes pointer)
{
    if (!a->json_tried) {
        a->json_tried = true;
        if (json_read(a->body, a->arena, &a->json) != OK)
            a->json = NULL;
    }
    return a->json ? json_pointer(a->json, pointer) : NULL;
}

/* As one would write it; ptr NULL for what has parts. */
static struct bytes json_plain(const struct json *j)
{
    if (!j)
        return BYTES_NONE;
    switch (j->kind) {
    case JSON_NULL:
        return BYTES("null");
    case JSON_BOOL:
        return j->number > 0 ? BYTES("true") : BYTES("false");
    case JSON_NUMBER:
    case JSON_TEXT:
        return j->text.ptr ? j->text : BYTES("");
    default:
        return BYTES_NONE;
    }
}

/* ---- what must be ---- */

static bool take_digits(struct bytes *rest, unsigned *ret)
{
    uint64_t n;
    if (rest->len < 3 || !bytes_to_u64((struct bytes){ rest->ptr, 3 }, &n) || n < 100 || n > 599)
        return false;
    *ret = (unsigned)n;
    *rest = bytes_skip(*rest, 3);
    return true;
}

err expect_status_parse(struct bytes text, struct expect *into, struct diag *reterr)
{
    struct expect_status s;
    struct bytes rest = text;
    bool good = false;
    if (rest.len == 3 && rest.ptr[1] == 'x' && rest.ptr[2] == 'x' && rest.ptr[0] >= '1' &&
        rest.ptr[0] <= '5') {
        s.from = (unsigned)(rest.ptr[0] - '0') * 100;
        s.to = s.from + 99;
        good = true;
    } else if (take_digits(&rest, &s.from)) {
        s.to = s.from;
        good = !rest.len;
        if (rest.len && rest.ptr[0] == '-') {
            rest = bytes_skip(rest, 1);
            good = take_digits(&rest, &s.to) && !rest.len && s.to >= s.from;
        }
    }
    if (!good || into->statuses_count == EXPECT_STATUSES_MAX) {
        diag_set(reterr, "\"%.*s\" is no status (like 200, 2xx, 200-299), or there are more than %u",
                 (int)(text.len < 40 ? text.len : 40), text.ptr, EXPECT_STATUSES_MAX);
        return ERR_CONF;
    }
    into->statuses[into->statuses_count++] = s;
    return OK;
}

static bool status_is_good(const struct expect *e, unsigned status)
{
    for (unsigned i = 0; i < e->statuses_count; i++) {
        if (status >= e->statuses[i].from && status <= e->statuses[i].to)
            return true;
    }
    return !e->statuses_count && status < 400;
}

static bool body_is_good(const struct expect *e, struct expect_answer *a)
{
    if (e->contains.ptr && !memmem(a->body.ptr, a->body.len, e->contains.ptr, e->contains.len))
        return false;
    if (e->matches) {
        struct regex_match m;
        if (regex_match(e->matches, a->body, 0, &m) != OK || !m.count)
            return false;
    }
    for (size_t i = 0; i < e->json_count; i++) {
        struct bytes is = json_plain(look_up(a, e->json[i].pointer));
        if (!is.ptr || !bytes_eq(is, e->json[i].value))
            return false;
    }
    return true;
}

enum load_error expect_look(const struct expect *e, struct expect_answer *a)
{
    if (!status_is_good(e, a->head->status))
        return LOAD_ERROR_STATUS;
    if (!body_is_good(e, a))
        return LOAD_ERROR_BODY;
    if (e->within_ns && a->ns > e->within_ns)
        return LOAD_ERROR_TIME;
    return LOAD_NO_ERROR;
}

/* ---- what is taken ---- */

err take_parse(struct bytes text, struct take *ret_take, struct diag *reterr)
{
    static const char *const words[] = {
#define X(id, word) word,
        TAKE_LIST(X)
#undef X
    };
    struct bytes word = { text.ptr, bytes_index(text, ' ') };
    struct take t = { .what = bytes_trim(bytes_skip(text, word.len)) };
    for (unsigned i = 0; i < sizeof words / sizeof *words; i++) {
        if (!bytes_eq(word, bytes_from(words[i])))
            continue;
        t.kind = (enum take_kind)i;
        if (t.kind == TAKE_JSON ? t.what.len && t.what.ptr[0] != '/' : !t.what.len)
            break;
        err e = t.kind == TAKE_REGEX ? regex_compile(t.what, REGEX_ANYWHERE, &t.regex, reterr) : OK;
        if (!e)
            *ret_take = t;
        return e;
    }
    diag_set(reterr,
             "\"%.*s\" is nothing that can be taken: json /a/b, header NAME, cookie NAME, regex PATTERN",
             (int)(text.len < 60 ? text.len : 60), text.ptr);
    return ERR_CONF;
}

static struct bytes set_cookie_value(const struct http_fields *fields, struct bytes name)
{
    for (uint32_t i = 0; i < fields->count; i++) {
        const struct http_field *f = &fields->at[i];
        struct bytes value = http_field_value(f);
        if (f->id != FIELD_SET_COOKIE || value.len <= name.len || !bytes_starts(value, name) ||
            value.ptr[name.len] != '=')
            continue;
        value = bytes_skip(value, name.len + 1);
        value.len = bytes_index(value, ';');
        return bytes_trim(value);
    }
    return BYTES_NONE;
}

static struct bytes regex_value(const struct regex *r, struct bytes body)
{
    struct regex_match m;
    if (regex_match(r, body, 0, &m) != OK || !m.count)
        return BYTES_NONE;
    return m.count > 1 ? m.groups[1] : m.groups[0];
}

struct bytes take_from(const struct take *t, struct expect_answer *a)
{
    const struct http_field *f;
    switch (t->kind) {
    case TAKE_JSON:
        return json_plain(look_up(a, t->what));
    case TAKE_HEADER:
        f = http_fields_find(&a->head->fields, t->what);
        return f ? http_field_value(f) : BYTES_NONE;
    case TAKE_COOKIE:
        return set_cookie_value(&a->head->fields, t->what);
    case TAKE_REGEX:
        break;
    }
    return regex_value(t->regex, a->body);
}

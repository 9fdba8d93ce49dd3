#include "gate/condition.h"

#include <stdlib.h>

#include "gate/regex.h"
#include "proto/http_cookie.h"
#include "proto/http_query.h"

static const char *const kind_names[] = { "header", "cookie", "query" };

/* ---- reading ---- */

static bool take_word(struct bytes *text, const char *word)
{
    struct bytes w = bytes_from(word);
    if (!bytes_starts(*text, w))
        return false;
    struct bytes rest = bytes_skip(*text, w.len);
    if (rest.len && rest.ptr[0] != ' ')
        return false;
    *text = bytes_trim(rest);
    return true;
}

static struct bytes after_sign(struct bytes text)
{
    text = bytes_skip(text, 1);
    return text.len && text.ptr[0] == ' ' ? bytes_skip(text, 1) : text;
}

static void read_value(struct condition *c, struct bytes text)
{
    struct bytes rest = text;
    while (take_word(&rest, "not") && rest.len) {
        c->negated = !c->negated;
        text = rest;
    }
    bool present = bytes_eq(text, BYTES("present"));
    c->text = text;
    c->how = CONDITION_IS;
    if (present || bytes_eq(text, BYTES("absent"))) {
        c->how = CONDITION_THERE;
        c->text = BYTES_NONE;
        c->negated ^= !present;
    } else if (text.len && text.ptr[0] == '~') {
        c->how = CONDITION_FITS;
        c->text = after_sign(text);
    } else if (text.len && text.ptr[0] == '=') {
        c->text = after_sign(text);
    } else if (text.len && text.ptr[text.len - 1] == '*') {
        c->how = CONDITION_BEGINS;
        c->text.len--;
    }
}

static err read_one(enum condition_of of, const struct conf_pair *pair, struct condition *c,
                    struct diag *reterr)
{
    *c = (struct condition){ .of = of, .name = pair->name };
    if (of != CONDITION_QUERY && !http_is_token(pair->name)) {
        diag_set(reterr, "%s: \"%.*s\" is not a name: expected letters, digits and !#$%%&'*+-.^_`|~",
                 kind_names[of], BYTES_ARG(pair->name));
        return ERR_CONF;
    }
    if (of == CONDITION_HEADER)
        c->id = http_field_id_of(pair->name);
    read_value(c, pair->value);
    if (c->how != CONDITION_FITS)
        return OK;
    struct diag d = DIAG_NONE;
    err e = regex_compile(c->text, REGEX_WHOLE, &c->regex, &d);
    if (e == ERR_CONF)
        diag_set(reterr, "%s %.*s: %s", kind_names[of], BYTES_ARG(pair->name), d.text);
    return e;
}

static const struct conf_list *list_of(const struct condition_conf *conf, enum condition_of of)
{
    return of == CONDITION_HEADER ? &conf->header : of == CONDITION_COOKIE ? &conf->cookie : &conf->query;
}

static err read_all(const struct condition_conf *conf, struct conditions *c, struct diag *reterr)
{
    for (unsigned of = 0; of < 3; of++) {
        const struct conf_list *list = list_of(conf, of);
        for (size_t i = 0; i < list->count; i++) {
            err e = read_one(of, (const struct conf_pair *)list->items + i, &c->at[c->count], reterr);
            if (e)
                return e;
            c->count++;
        }
    }
    return OK;
}

static err read_methods(const struct condition_conf *conf, struct conditions *c, struct arena *a,
                        struct diag *reterr)
{
    const struct bytes *names = conf->method.items;
    struct bytes *other = arena_get(a, (conf->method.count + 1) * sizeof *other);
    if (!other)
        return ERR_MEMORY;
    c->other.items = other;
    for (size_t i = 0; i < conf->method.count; i++) {
        enum http_method m = http_method_of(names[i]);
        if (!http_is_token(names[i])) {
            diag_set(reterr, "method: \"%.*s\" is not a method, like GET", BYTES_ARG(names[i]));
            return ERR_CONF;
        }
        if (m == HTTP_OTHER)
            other[c->other.count++] = names[i];
        c->methods |= 1u << m;
        if (m == HTTP_GET)
            c->methods |= 1u << HTTP_HEAD;
    }
    return OK;
}

/* In the order of their names, so that the same set is the same list. */
static int compare_names(const void *first, const void *second)
{
    const struct condition *a = first;
    const struct condition *b = second;
    if (a->of != b->of)
        return (int)a->of - (int)b->of;
    size_t len = a->name.len < b->name.len ? a->name.len : b->name.len;
    for (size_t i = 0; i < len; i++) {
        int d = ascii_lower(a->name.ptr[i]) - ascii_lower(b->name.ptr[i]);
        if (d)
            return d;
    }
    return (a->name.len > b->name.len) - (a->name.len < b->name.len);
}

err conditions_open(const struct condition_conf *conf, struct arena *a, struct conditions **ret_conditions,
                    struct diag *reterr)
{
    size_t count = conf->header.count + conf->cookie.count + conf->query.count;
    *ret_conditions = NULL;
    if (!count && !conf->method.count)
        return OK;
    struct conditions *c = arena_get_zero(a, sizeof *c + count * sizeof c->at[0]);
    if (!c)
        return ERR_MEMORY;
    err e = read_methods(conf, c, a, reterr);
    if (!e)
        e = read_all(conf, c, reterr);
    if (e) {
        conditions_close(c);
        return e;
    }
    qsort(c->at, c->count, sizeof c->at[0], compare_names);
    *ret_conditions = c;
    return OK;
}

void conditions_close(struct conditions *c)
{
    for (uint32_t i = 0; c && i < c->count; i++)
        regex_free(c->at[i].regex);
}

err condition_check(const struct condition_conf *conf, struct diag *reterr)
{
    struct arena a;
    struct conditions *c;
    arena_open(&a, &arena_heap, 1 << 20, NULL, 0);
    err e = conditions_open(conf, &a, &c, reterr);
    if (!e)
        conditions_close(c);
    arena_close(&a);
    return e;
}

/* ---- which is more specific ---- */

static unsigned count_all(const struct conditions *c)
{
    return c ? c->count + (c->methods != 0) : 0;
}

/* How many are at least as exact as `how` and not negated. */
static unsigned count_exact(const struct conditions *c, enum condition_how how)
{
    unsigned n = 0;
    for (uint32_t i = 0; c && i < c->count; i++)
        n += c->at[i].how <= how && !c->at[i].negated;
    return n;
}

int conditions_compare(const struct conditions *a, const struct conditions *b)
{
    int d = (int)count_all(b) - (int)count_all(a);
    for (unsigned how = CONDITION_IS; !d && how <= CONDITION_THERE; how++)
        d = (int)count_exact(b, how) - (int)count_exact(a, how);
    if (d || !a || !b)
        return d;
    int methods_a = __builtin_popcount(a->methods) + (int)a->other.count;
    int methods_b = __builtin_popcount(b->methods) + (int)b->other.count;
    return methods_a - methods_b;
}

/* ---- as text ---- */

struct bytes condition_text(const struct condition *c, struct arena *a)
{
    static const char *const how[] = { "=", "^=", "~", " " };
    struct bytes text = c->how == CONDITION_THERE ? BYTES("present") : c->text;
    struct bytes t = arena_print(a, "%s %.*s%s%s%.*s", kind_names[c->of], BYTES_ARG(c->name), how[c->how],
                                 c->negated ? "not " : "", BYTES_ARG(text));
    char *name = (char *)(uintptr_t)t.ptr;
    for (size_t i = 0; t.ptr && c->of == CONDITION_HEADER && i < c->name.len; i++)
        name[7 + i] = ascii_lower(name[7 + i]); /* behind "header " */
    return t;
}

static struct bytes methods_text(const struct conditions *c, struct arena *a)
{
    struct bytes t = BYTES("");
    const struct bytes *other = c->other.items;
    for (unsigned m = 0; t.ptr && m < HTTP_OTHER; m++) {
        bool implied = m == HTTP_HEAD && c->methods >> HTTP_GET & 1;
        if (c->methods >> m & 1 && !implied)
            t = arena_print(a, "%.*s%s%.*s", BYTES_ARG(t), t.len ? "," : " ", BYTES_ARG(http_method_text(m)));
    }
    for (size_t i = 0; t.ptr && i < c->other.count; i++)
        t = arena_print(a, "%.*s%s%.*s", BYTES_ARG(t), t.len ? "," : " ", BYTES_ARG(other[i]));
    return t;
}

struct bytes conditions_text(const struct conditions *c, struct arena *a)
{
    if (!c)
        return BYTES("");
    struct bytes t = methods_text(c, a);
    for (uint32_t i = 0; t.ptr && i < c->count; i++) {
        struct bytes one = condition_text(&c->at[i], a);
        t = one.ptr ? arena_print(a, "%.*s %.*s", BYTES_ARG(t), BYTES_ARG(one)) : BYTES_NONE;
    }
    return t;
}

/* ---- asking ---- */

bool condition_method_fits(const struct conditions *c, const struct http_request *q)
{
    if (!c->methods)
        return true;
    if (q->method != HTTP_OTHER)
        return c->methods >> q->method & 1;
    const struct bytes *other = c->other.items;
    for (size_t i = 0; i < c->other.count; i++) {
        if (bytes_eq(other[i], q->method_text))
            return true;
    }
    return false;
}

static bool value_fits(const struct condition *c, struct bytes value, struct asked *asked)
{
    struct regex_match m;
    switch (c->how) {
    case CONDITION_IS:
        return bytes_eq(value, c->text);
    case CONDITION_BEGINS:
        return bytes_starts(value, c->text);
    case CONDITION_FITS:
        if (regex_match(c->regex, value, 0, &m) != OK) {
            asked->stalled = true;
            return false;
        }
        return m.count > 0;
    case CONDITION_THERE:
        return true;
    }
    return false;
}

static bool any_line_fits(const struct condition *c, struct asked *asked)
{
    const struct http_fields *f = &asked->request->fields;
    for (uint32_t i = 0; i < f->count; i++) {
        const struct http_field *field = &f->at[i];
        if (field->id != c->id || field->flags & FIELD_REMOVED)
            continue;
        if (c->id == FIELD_OTHER && !bytes_eq_nocase(http_field_name(field), c->name))
            continue;
        if (value_fits(c, http_field_value(field), asked))
            return true;
    }
    return false;
}

static bool parameter_fits(const struct condition *c, struct asked *asked)
{
    struct bytes value;
    bool found;
    if (http_query_find(asked->request->query, c->name, asked->arena, &value, &found) != OK) {
        asked->stalled = true;
        return false;
    }
    return found && value_fits(c, value, asked);
}

bool condition_fits(const struct condition *c, struct asked *asked)
{
    struct bytes value;
    bool fits = false;
    switch (c->of) {
    case CONDITION_HEADER:
        fits = any_line_fits(c, asked);
        break;
    case CONDITION_COOKIE:
        fits = http_cookie_find(&asked->request->fields, c->name, &value) && value_fits(c, value, asked);
        break;
    case CONDITION_QUERY:
        fits = parameter_fits(c, asked);
        break;
    }
    return fits != c->negated;
}

bool conditions_fit(const struct conditions *c, struct asked *asked)
{
    if (!c)
        return true;
    if (!condition_method_fits(c, asked->request))
        return false;
    for (uint32_t i = 0; i < c->count; i++) {
        if (!condition_fits(&c->at[i], asked))
            return false;
    }
    return true;
}

#include "gate/request_match.h"

#include "gate/route_path.h"

/* "abc*" is a prefix, anything else has to be equal. */
static bool fits(struct bytes pattern, struct bytes text)
{
    if (pattern.len && pattern.ptr[pattern.len - 1] == '*')
        return bytes_starts(text, (struct bytes){ pattern.ptr, pattern.len - 1 });
    return bytes_eq(pattern, text);
}

static bool any_fits(const struct conf_list *patterns, struct bytes text)
{
    const struct bytes *p = patterns->items;
    for (size_t i = 0; i < patterns->count; i++) {
        if (fits(p[i], text))
            return true;
    }
    return false;
}

/* Of several lines with that name any may fit. */
static bool has_field(const struct http_fields *fields, const struct conf_pair *wanted)
{
    for (uint32_t i = 0; i < fields->count; i++) {
        const struct http_field *f = &fields->at[i];
        if (!(f->flags & FIELD_REMOVED) && bytes_eq_nocase(http_field_name(f), wanted->name) &&
            fits(wanted->value, http_field_value(f)))
            return true;
    }
    return false;
}

static bool path_fits(const struct request_match *m, struct exchange *x)
{
    struct bytes path;
    return route_path(x->request.path, &x->arena, &path) == OK && any_fits(&m->path, path);
}

bool request_matches(const struct request_match *m, struct exchange *x)
{
    if (!m)
        return true;
    if (m->methods.count && !any_fits(&m->methods, x->request.method_text))
        return false;
    const struct conf_pair *headers = m->headers.items;
    for (size_t i = 0; i < m->headers.count; i++) {
        if (!has_field(&x->request.fields, &headers[i]))
            return false;
    }
    return !m->path.count || path_fits(m, x);
}

static err match_check(void *conf, struct diag *reterr)
{
    const struct request_match *m = conf;
    const struct bytes *methods = m->methods.items;
    for (size_t i = 0; i < m->methods.count; i++) {
        if (!http_is_token(methods[i])) {
            diag_set(reterr, "\"%.*s\" is no method: expected GET, POST, ...", BYTES_ARG(methods[i]));
            return ERR_CONF;
        }
    }
    const struct bytes *path = m->path.items;
    for (size_t i = 0; i < m->path.count; i++) {
        if (!bytes_starts(path[i], BYTES("/"))) {
            diag_set(reterr, "\"%.*s\" is no path: expected /exact or /prefix*", BYTES_ARG(path[i]));
            return ERR_CONF;
        }
    }
    const struct conf_pair *headers = m->headers.items;
    for (size_t i = 0; i < m->headers.count; i++) {
        if (!http_is_token(headers[i].name)) {
            diag_set(reterr, "\"%.*s\" is not a field's name", BYTES_ARG(headers[i].name));
            return ERR_CONF;
        }
    }
    return OK;
}

const struct conf_struct request_match_struct = {
    .name = "only",
    .size = sizeof(struct request_match),
    .fields = (const struct conf_field[]){ { .name = "methods",
                                             .type = CONF_LIST,
                                             .item = CONF_TEXT,
                                             .offset = offsetof(struct request_match, methods),
                                             .doc = "one of these; any when not said" },
                                           { .name = "path",
                                             .type = CONF_LIST,
                                             .item = CONF_TEXT,
                                             .offset = offsetof(struct request_match, path),
                                             .doc = "one of these, exact or with a `*` at the end" },
                                           { .name = "headers",
                                             .type = CONF_PAIRS,
                                             .offset = offsetof(struct request_match, headers),
                                             .doc = "fields that the request has, all of them; the value `*` "
                                                    "is any, one with a `*` at its end a prefix" },
                                           { 0 } },
    .check = match_check,
    .doc = "Which requests it is for. All that is said must hold.",
};

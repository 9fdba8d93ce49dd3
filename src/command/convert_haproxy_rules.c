/* convert_haproxy_rules: http-request and http-response rules that hold for all requests. */
#include "command/convert_haproxy.h"

/* ---- texts with variables ---- */

static bool sample(struct bytes name, struct conv *c, struct bytes *ret)
{
    static const char *const same[][2] = { { "src", "${client}" },    { "path", "${path}" },
                                           { "method", "${method}" }, { "query", "${query}" },
                                           { "pathq", "${target}" },  { "url", "${target}" } };
    for (unsigned i = 0; i < sizeof same / sizeof *same; i++) {
        if (bytes_eq(name, bytes_from(same[i][0]))) {
            *ret = bytes_from(same[i][1]);
            return true;
        }
    }
    static const char *const calls[][2] = {
        { "req.hdr(", "header" }, { "hdr(", "header" }, { "req.cook(", "cookie" }, { "url_param(", "arg" }
    };
    for (unsigned i = 0; i < sizeof calls / sizeof *calls; i++) {
        struct bytes front = bytes_from(calls[i][0]);
        if (!bytes_starts(name, front) || name.ptr[name.len - 1] != ')')
            continue;
        struct bytes arg = { name.ptr + front.len, name.len - front.len - 1 };
        *ret = bytes_eq_nocase(arg, BYTES("host")) ? BYTES("${authority}")
                                                   : conv_text(c, "${%s.%.*s}", calls[i][1], BYTES_ARG(arg));
        return true;
    }
    return false;
}

/* %[sample], %ci, %%; and $ is a sign of weir's, so it is doubled. */
bool haproxy_format(struct conv *c, struct bytes text, struct bytes *ret)
{
    struct bytes out = BYTES("");
    while (text.len > 0) {
        struct bytes as;
        size_t used = 1;
        if (text.ptr[0] == '$') {
            as = BYTES("$$");
        } else if (text.ptr[0] != '%') {
            as = (struct bytes){ text.ptr, 1 };
        } else if (bytes_starts(text, BYTES("%%"))) {
            as = BYTES("%");
            used = 2;
        } else if (bytes_starts(text, BYTES("%ci"))) {
            as = BYTES("${client}");
            used = 3;
        } else if (bytes_starts(text, BYTES("%["))) {
            used = bytes_index(text, ']') + 1;
            if (used > text.len || !sample((struct bytes){ text.ptr + 2, used - 3 }, c, &as))
                return false;
        } else {
            return false;
        }
        out = conv_text(c, "%.*s%.*s", BYTES_ARG(out), BYTES_ARG(as));
        text = bytes_skip(text, used);
    }
    *ret = out;
    return true;
}

/* ---- rules ---- */

static void rule_field(struct conv *c, struct line *l, struct conv_setting **settings, const char *side)
{
    struct bytes value = BYTES_NONE;
    struct bytes name = l->word[2];
    bool del = line_is(l, 1, "del-header");
    if (l->count != (del ? 3 : 4) || (!del && !haproxy_format(c, l->word[3], &value)))
        return;
    const char *how = del ? "remove" : line_is(l, 1, "set-header") ? "set" : "add";
    const struct conv_setting *old = conv_setting_get(*settings, "headers");
    struct bytes one = del ? conv_text(c, "%s: [%.*s]", how, BYTES_ARG(conv_quote(c, name)))
                           : conv_text(c, "%s: {%.*s: %.*s}", how, BYTES_ARG(conv_quote(c, name)),
                                       BYTES_ARG(conv_quote(c, value)));
    /* {request: {set: {A: b}, remove: [C]}}: into the list of that side and kind, if there is one */
    struct bytes opening = conv_text(c, "%s: {", side);
    char *at = old ? strstr(old->value.ptr, opening.ptr) : NULL;
    l->done = true;
    if (!at) {
        conv_set_in(c, settings, "headers", bytes_from(side), conv_text(c, "{%.*s}", BYTES_ARG(one)));
        return;
    }
    struct bytes list = conv_text(c, "%s: %c", how, del ? '[' : '{');
    char *into = strstr(at, list.ptr);
    char *other = strstr(at + opening.len, strcmp(side, "request") == 0 ? "response: {" : "request: {");
    if (into && (!other || into < other)) {
        into += list.len;
        one = (struct bytes){ one.ptr + list.len, one.len - list.len - 1 };
    } else {
        into = at + opening.len;
    }
    conv_set(
        c, settings, "headers",
        conv_text(c, "%.*s%.*s, %s", (int)(into - old->value.ptr), old->value.ptr, BYTES_ARG(one), into));
}

static void rule_path(struct conv *c, struct line *l, struct conv_setting **settings)
{
    struct bytes to;
    if (!conv_knows("rewrite") || conv_setting_get(*settings, "rewrite"))
        return;
    if (line_is(l, 1, "set-path") && l->count == 3 && haproxy_format(c, l->word[2], &to)) {
        conv_set_in(c, settings, "rewrite", BYTES("path"), conv_quote(c, to));
        l->done = true;
    } else if (line_is(l, 1, "replace-path") && l->count == 4) {
        struct bytes text = conv_text(c, "%.*s", BYTES_ARG(l->word[3]));
        for (size_t i = 0; i + 1 < text.len; i++) { /* \1 is $1 here */
            if (text.ptr[i] == '\\' && text.ptr[i + 1] >= '1' && text.ptr[i + 1] <= '9')
                ((char *)(uintptr_t)text.ptr)[i] = '$';
        }
        conv_set_in(c, settings, "rewrite", BYTES("regex"), conv_quote(c, l->word[2]));
        conv_set_in(c, settings, "rewrite", BYTES("to"), conv_quote(c, text));
        l->done = true;
    }
}

void haproxy_rules(struct conv *c, struct section *s, struct conv_setting **settings)
{
    for (struct line *l = s->first; l; l = l->next) {
        bool request = line_is(l, 0, "http-request");
        if ((!request && !line_is(l, 0, "http-response")) || haproxy_behind(l, "if") ||
            haproxy_behind(l, "unless"))
            continue;
        if (line_is(l, 1, "set-header") || line_is(l, 1, "add-header") || line_is(l, 1, "del-header"))
            rule_field(c, l, settings, request ? "request" : "response");
        else if (request)
            rule_path(c, l, settings);
    }
}

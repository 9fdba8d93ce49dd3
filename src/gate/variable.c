#include "gate/variable.h"

#include "base/mem.h"
#include "core/conf_near.h"
#include "gate/carrier.h"
#include "gate/gate.h"
#include "gate/regex.h"
#include "gate/route_match.h"
#include "gate/session.h"
#include "proto/http_cookie.h"
#include "proto/http_query.h"

#define PARTS_MAX 32

enum variable_id {
#define X(id, word, meaning) VARIABLE_TLS_##id,
    TLS_FACT_LIST(X)
#undef X
#define X(id, word, named, url, doc) VARIABLE_##id,
        VARIABLE_LIST(X)
#undef X
            VARIABLE_COUNT,
    VARIABLE_LITERAL = VARIABLE_COUNT
};

static const struct variable {
    const char *word;
    bool named, url;
} variables[] = {
#define X(id, word, meaning) { word, false, false },
    TLS_FACT_LIST(X)
#undef X
#define X(id, word, named, url, doc) { word, named, url },
        VARIABLE_LIST(X)
#undef X
};

struct part {
    enum variable_id id;
    enum http_field_id field; /* of HEADER and ANSWER */
    unsigned group;
    struct bytes text; /* a literal, or the name behind the dot */
};

struct variable_text {
    unsigned count;
    struct part parts[];
};

/* ---- reading ---- */

static bool is_word_char(char c)
{
    return (c >= 'a' && c <= 'z') || c == '_';
}

static bool is_name_char(char c)
{
    return is_word_char(ascii_lower(c)) || (c >= '0' && c <= '9') || c == '-';
}

static size_t run_of(struct bytes text, bool (*is)(char))
{
    size_t n = 0;
    while (n < text.len && is(text.ptr[n]))
        n++;
    return n;
}

static err fail_unknown(struct bytes word, struct diag *reterr)
{
    struct conf_near near;
    conf_near_begin(&near, word);
    for (unsigned i = 0; i < VARIABLE_GROUP; i++)
        conf_near_offer(&near, bytes_from(variables[i].word));
    diag_set(reterr, "$%.*s is no variable%s", BYTES_ARG(word), conf_near_hint(&near));
    return ERR_CONF;
}

static err find_word(struct bytes word, enum variable_id *ret_id, struct diag *reterr)
{
    for (unsigned i = 0; i < VARIABLE_GROUP; i++) {
        if (bytes_eq(word, bytes_from(variables[i].word))) {
            *ret_id = i;
            return OK;
        }
    }
    return fail_unknown(word, reterr);
}

static err read_group(struct bytes *rest, struct part *ret_part, const struct variable_scope *scope,
                      struct diag *reterr)
{
    unsigned group = (unsigned)(rest->ptr[0] - '0');
    if (scope && group >= scope->groups) {
        if (scope->groups)
            diag_set(reterr, "$%u: the regular expression has %u groups", group, scope->groups - 1);
        else
            diag_set(reterr, "$%u: there is no regular expression here that has groups; a $ is written $$",
                     group);
        return ERR_CONF;
    }
    *ret_part = (struct part){ .id = VARIABLE_GROUP, .group = group };
    *rest = bytes_skip(*rest, 1);
    return OK;
}

/* Behind the $, or behind "${": a word, and its name where it takes one. */
static err read_variable(struct bytes *rest, struct part *ret_part, const struct variable_scope *scope,
                         struct diag *reterr)
{
    struct part p = { 0 };
    if (rest->len && rest->ptr[0] >= '0' && rest->ptr[0] <= '9')
        return read_group(rest, ret_part, scope, reterr);
    size_t n = run_of(*rest, is_word_char);
    struct bytes word = { rest->ptr, n };
    if (!n) {
        diag_set(reterr, "a $ alone: expected a variable, like $host; a $ is written $$");
        return ERR_CONF;
    }
    err e = find_word(word, &p.id, reterr);
    if (e)
        return e;
    *rest = bytes_skip(*rest, n);
    if (variables[p.id].named) {
        struct bytes name = rest->len && rest->ptr[0] == '.' ? bytes_skip(*rest, 1) : BYTES_NONE;
        p.text = (struct bytes){ name.ptr, run_of(name, is_name_char) };
        if (!p.text.len) {
            diag_set(reterr, "$%.*s takes a name: expected $%.*s.NAME", BYTES_ARG(word), BYTES_ARG(word));
            return ERR_CONF;
        }
        *rest = bytes_skip(*rest, 1 + p.text.len);
        p.field = http_field_id_of(p.text);
    }
    *ret_part = p;
    return OK;
}

static err read_braced(struct bytes *rest, struct part *ret_part, const struct variable_scope *scope,
                       struct diag *reterr)
{
    size_t end = bytes_index(*rest, '}');
    struct bytes inside = { rest->ptr + 1, end - 1 };
    if (end == rest->len) {
        diag_set(reterr, "a ${ without its }");
        return ERR_CONF;
    }
    err e = read_variable(&inside, ret_part, scope, reterr);
    if (!e && inside.len) {
        diag_set(reterr, "in ${...} stands \"%.*s\" behind the variable", BYTES_ARG(inside));
        e = ERR_CONF;
    }
    *rest = bytes_skip(*rest, end + 1);
    return e;
}

/* One part off the front: a literal up to the next $, or what that stands for. */
static err read_part(struct bytes *rest, struct part *ret_part, const struct variable_scope *scope,
                     struct diag *reterr)
{
    size_t n = bytes_index(*rest, '$');
    if (n == 0 && rest->len > 1 && rest->ptr[1] == '$') {
        *ret_part = (struct part){ .id = VARIABLE_LITERAL, .text = { rest->ptr, 1 } };
        *rest = bytes_skip(*rest, 2);
        return OK;
    }
    if (n > 0) {
        *ret_part = (struct part){ .id = VARIABLE_LITERAL, .text = { rest->ptr, n } };
        *rest = bytes_skip(*rest, n);
        return OK;
    }
    *rest = bytes_skip(*rest, 1);
    if (rest->len && rest->ptr[0] == '{')
        return read_braced(rest, ret_part, scope, reterr);
    return read_variable(rest, ret_part, scope, reterr);
}

/* ---- captures ---- */

struct names {
    struct bytes wanted;
    struct conf_near near;
    bool found, any;
};

static void look_in_pattern(const struct match_pattern *p, struct names *n)
{
    struct bytes names[ROUTE_CAPTURES_MAX];
    struct regex *regex = NULL;
    if (p->regex && regex_compile(p->path, REGEX_WHOLE, &regex, NULL) != OK)
        return;
    unsigned count = match_pattern_names(p, regex, names);
    for (unsigned i = 0; i < count; i++) {
        n->any = true;
        n->found |= bytes_eq(names[i], n->wanted);
    }
    for (unsigned i = 0; !p->regex && i < count; i++) /* a regex's names end with it */
        conf_near_offer(&n->near, names[i]);
    regex_free(regex);
}

static err check_capture(struct bytes name, const struct route_conf *route, struct diag *reterr)
{
    struct names n = { .wanted = name };
    const struct match_conf *m = route->matches.items;
    conf_near_begin(&n.near, name);
    for (size_t i = 0; i < route->matches.count; i++) {
        struct match_pattern p;
        unsigned at = 0;
        while (match_pattern_next(&m[i], &at, &p))
            look_in_pattern(&p, &n);
    }
    if (n.found)
        return OK;
    diag_set(reterr, "$capture.%.*s: the route's match %s%s", BYTES_ARG(name),
             n.any ? "captures no such thing" : "captures nothing; expected a {name} in it",
             conf_near_hint(&n.near));
    return ERR_CONF;
}

err variable_check(struct bytes text, const struct variable_scope *scope, struct diag *reterr)
{
    for (unsigned count = 0; text.len; count++) {
        struct part p;
        err e = read_part(&text, &p, scope, reterr);
        if (!e && p.id == VARIABLE_CAPTURE && scope->route)
            e = check_capture(p.text, scope->route, reterr);
        if (!e && count == PARTS_MAX) {
            diag_set(reterr, "more than %d variables and pieces between them", PARTS_MAX);
            e = ERR_CONF;
        }
        if (e)
            return e;
    }
    return OK;
}

err variable_open(struct bytes text, struct variable_text **ret_text)
{
    struct part parts[PARTS_MAX];
    unsigned count = 0;
    while (text.len) {
        if (count == PARTS_MAX)
            return ERR_CONF;
        err e = read_part(&text, &parts[count++], NULL, NULL);
        if (e)
            return e;
    }
    struct variable_text *t = mem_get(sizeof *t + count * sizeof *parts);
    if (!t)
        return ERR_MEMORY;
    t->count = count;
    memcpy(t->parts, parts, count * sizeof *parts);
    *ret_text = t;
    return OK;
}

void variable_close(struct variable_text *t)
{
    mem_free(t);
}

/* ---- values ---- */

static struct bytes cookie_of(const struct exchange *x, struct bytes name)
{
    struct bytes value;
    return http_cookie_find(&x->request.fields, name, &value) ? value : BYTES_NONE;
}

static struct bytes arg_of(struct exchange *x, struct bytes name)
{
    struct bytes value;
    bool found;
    if (http_query_find(x->request.query, name, &x->arena, &value, &found) != OK || !found)
        return BYTES_NONE;
    return value;
}

static struct bytes capture_of(const struct exchange *x, struct bytes name)
{
    const struct route_captures *c = x->captures;
    for (unsigned i = 0; c && i < c->count; i++) {
        if (bytes_eq(c->names[i], name))
            return c->values[i];
    }
    return BYTES_NONE;
}

static struct bytes target_of(struct exchange *x)
{
    const struct http_request *q = &x->request;
    if (q->target.len && q->target.ptr[0] == '/')
        return q->target;
    if (!q->query.ptr)
        return q->path;
    return arena_print(&x->arena, "%.*s?%.*s", BYTES_ARG(q->path), BYTES_ARG(q->query));
}

static struct bytes client_of(struct exchange *x)
{
    char *text = x->client ? arena_get(&x->arena, ADDR_TEXT_BYTES_MAX) : NULL;
    return text ? (struct bytes){ text, addr_print_ip(x->client, text) } : BYTES_NONE;
}

static struct bytes group_of(const struct regex_match *groups, unsigned i)
{
    return groups && i < groups->count ? groups->groups[i] : BYTES_NONE;
}

static struct bytes value_of(const struct part *p, struct exchange *x, const struct regex_match *groups)
{
    switch (p->id) {
#define X(id, word, meaning) case VARIABLE_TLS_##id:
        TLS_FACT_LIST(X)
#undef X
        return exchange_tls_fact(x, (enum tls_fact)p->id);
    case VARIABLE_HOST:
        return match_host_of(x->request.authority);
    case VARIABLE_AUTHORITY:
        return x->request.authority;
    case VARIABLE_METHOD:
        return x->request.method_text;
    case VARIABLE_SCHEME:
        return bytes_from(x->scheme);
    case VARIABLE_PATH:
        return x->request.path;
    case VARIABLE_QUERY:
        return x->request.query;
    case VARIABLE_TARGET:
        return target_of(x);
    case VARIABLE_REST:
        return x->rest;
    case VARIABLE_CAPTURE:
        return capture_of(x, p->text);
    case VARIABLE_HEADER:
        return http_fields_value(&x->request.fields, p->field, p->text);
    case VARIABLE_COOKIE:
        return cookie_of(x, p->text);
    case VARIABLE_ARG:
        return arg_of(x, p->text);
    case VARIABLE_CLIENT:
        return client_of(x);
    case VARIABLE_REQUEST_ID:
        return x->request_id;
    case VARIABLE_ROUTE:
        return exchange_route_name(x);
    case VARIABLE_SERVICE:
        return exchange_service_name(x);
    case VARIABLE_SERVER:
        return exchange_server_name(x);
    case VARIABLE_STATUS:
        return x->response.status ? arena_print(&x->arena, "%u", x->response.status) : BYTES_NONE;
    case VARIABLE_ANSWER:
        return http_fields_value(&x->response.fields, p->field, p->text);
    case VARIABLE_SESSION:
        return session_variable(x, p->text);
    case VARIABLE_GROUP:
        return group_of(groups, p->group);
    case VARIABLE_LITERAL:
        return p->text;
    }
    return BYTES_NONE;
}

/* ---- forms ---- */

#define ESCAPED_BYTES_MAX 6

/* How a value is written: what stays as it is (a bit for each byte), and what becomes of the rest. */
enum escape { ESCAPE_FIELD, ESCAPE_PIECE, ESCAPE_COMPONENT, ESCAPE_HTML, ESCAPE_JSON, ESCAPE_NONE };

#define ALL_ABOVE 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff

static const uint32_t stays[][8] = {
    [ESCAPE_FIELD] = { 1u << '\t', 0xffffffff, 0xffffffff, 0x7fffffff,
                       ALL_ABOVE },                                 /* all but control characters */
    [ESCAPE_PIECE] = { 0, 0xaffffffa, 0xafffffff, 0x47fffffe },     /* all that RFC 3986 knows, and % */
    [ESCAPE_COMPONENT] = { 0, 0x03ff6000, 0x87fffffe, 0x47fffffe }, /* its unreserved */
    [ESCAPE_HTML] = { 0xffffffff, 0xafffff3b, 0xffffffff, 0xffffffff, ALL_ABOVE }, /* all but & < > " ' */
    [ESCAPE_JSON] = { 0, 0xfffffffb, 0xefffffff, 0x7fffffff, ALL_ABOVE },          /* RFC 8259 7 */
};

static enum escape escape_of(enum variable_form form, bool is_url)
{
    switch (form) {
    case VARIABLE_FIELD:
        return ESCAPE_FIELD;
    case VARIABLE_URL:
        return is_url ? ESCAPE_PIECE : ESCAPE_COMPONENT;
    case VARIABLE_HTML:
        return ESCAPE_HTML;
    case VARIABLE_JSON:
        return ESCAPE_JSON;
    case VARIABLE_PLAIN:
        break;
    }
    return ESCAPE_NONE;
}

static char *put_text(char *out, const char *text)
{
    size_t n = strlen(text);
    memcpy(out, text, n);
    return out + n;
}

static char *put_hex(char *out, const char *before, unsigned char c)
{
    static const char digits[] = "0123456789ABCDEF";
    out = put_text(out, before);
    *out++ = digits[c >> 4];
    *out++ = digits[c & 15];
    return out;
}

static const char *entity_of(char c)
{
    return c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '"' ? "&quot;" : "&#39;";
}

/* At most ESCAPED_BYTES_MAX. */
static char *put_escaped(char *out, char c, enum escape how)
{
    switch (how) {
    case ESCAPE_PIECE:
    case ESCAPE_COMPONENT:
        return put_hex(out, "%", (unsigned char)c);
    case ESCAPE_HTML:
        return put_text(out, entity_of(c));
    case ESCAPE_JSON:
        if (c != '"' && c != '\\')
            return put_hex(out, "\\u00", (unsigned char)c);
        *out++ = '\\';
        *out = c;
        return out + 1;
    case ESCAPE_FIELD:
    case ESCAPE_NONE:
        break;
    }
    *out = '?';
    return out + 1;
}

static char *put_value(char *out, struct bytes value, enum escape how)
{
    const uint32_t *stay = how == ESCAPE_NONE ? NULL : stays[how];
    while (value.len) {
        size_t n = stay ? 0 : value.len;
        while (n < value.len && stay[(unsigned char)value.ptr[n] >> 5] >> (value.ptr[n] & 31) & 1)
            n++;
        memcpy(out, value.ptr, n);
        out += n;
        if (n < value.len)
            out = put_escaped(out, value.ptr[n++], how);
        value = bytes_skip(value, n);
    }
    return out;
}

static size_t grown(enum variable_form form)
{
    return form == VARIABLE_FIELD || form == VARIABLE_PLAIN ? 1
           : form == VARIABLE_URL                           ? 3
                                                            : ESCAPED_BYTES_MAX;
}

struct bytes variable_print(const struct variable_text *t, struct exchange *x, enum variable_form form,
                            const struct regex_match *groups)
{
    struct bytes values[PARTS_MAX];
    size_t size = 1;
    if (!t->count)
        return BYTES("");
    if (t->count == 1 && t->parts[0].id == VARIABLE_LITERAL)
        return t->parts[0].text;
    for (unsigned i = 0; i < t->count; i++) {
        bool literal = t->parts[i].id == VARIABLE_LITERAL;
        values[i] = value_of(&t->parts[i], x, groups);
        size += values[i].len * (literal ? 1 : grown(form));
    }
    char *start = arena_get(&x->arena, size);
    if (!start)
        return BYTES_NONE;
    char *out = start;
    for (unsigned i = 0; i < t->count; i++) {
        bool literal = t->parts[i].id == VARIABLE_LITERAL;
        enum escape how = literal ? ESCAPE_NONE : escape_of(form, variables[t->parts[i].id].url);
        out = put_value(out, values[i], how);
    }
    return (struct bytes){ start, (size_t)(out - start) };
}

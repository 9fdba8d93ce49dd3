#include "admin/admin.h"

#include <stdarg.h>
#include <stdio.h>

#include "admin/call.h"
#include "gate/gate.h"
#include "gate/problem.h"

/* ---- answers ---- */

static void free_text(struct exchange *x, void *arg)
{
    (void)x;
    text_free(arg);
}

void call_answer_status(struct call *c, unsigned status, const char *type)
{
    exchange_answer(c->x, status, bytes_from(type), (struct bytes){ c->out->at, c->out->len },
                    BYTES("admin"));
}

void call_answer(struct call *c, const char *type)
{
    if (c->out->len == 0)
        exchange_answer(c->x, 204, BYTES_NONE, BYTES_NONE, BYTES("admin"));
    else
        call_answer_status(c, 200, type);
}

void call_problem(struct exchange *x, unsigned status, const char *format, ...)
{
    char detail[768];
    struct problem p;
    va_list args;
    va_start(args, format);
    vsnprintf(detail, sizeof detail, format, args);
    va_end(args);
    problem_begin(&p, x, status, bytes_from(detail));
    if (problem_end(&p, BYTES("admin")) != OK)
        exchange_answer(x, status, BYTES_NONE, BYTES_NONE, BYTES("admin"));
}

void call_failed(struct call *c, unsigned status, err e, const struct diag *d)
{
    char text[700];
    call_problem(c->x, status, "%s", d && d->set ? diag_print(d, text, sizeof text) : err_text(e));
}

/* ---- which endpoint ---- */

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* ptr NULL: no room. */
static struct bytes decoded(struct bytes text, bool plus, struct arena *a)
{
    char *out = arena_get(a, text.len + 1);
    size_t len = 0;
    for (size_t i = 0; out && i < text.len; i++) {
        char c = text.ptr[i];
        if (c == '%' && i + 2 < text.len && hex(text.ptr[i + 1]) >= 0 && hex(text.ptr[i + 2]) >= 0) {
            c = (char)(hex(text.ptr[i + 1]) << 4 | hex(text.ptr[i + 2]));
            i += 2;
        } else if (c == '+' && plus) {
            c = ' ';
        }
        out[len++] = c;
    }
    return (struct bytes){ out, len };
}

/* Segment by segment; {..} takes any that is not empty. */
static bool path_fits(const char *pattern, struct bytes path, struct call *c)
{
    struct bytes wanted = bytes_from(pattern), left = path, a, b;
    unsigned args = 0;
    while (bytes_split(&wanted, '/', &a)) {
        if (!bytes_split(&left, '/', &b))
            return false;
        if (a.len && a.ptr[0] == '{') {
            c->args[args] = decoded(b, false, &c->x->arena);
            if (!c->args[args++].len)
                return false;
        } else if (!bytes_eq(a, b)) {
            return false;
        }
    }
    return left.ptr == NULL;
}

/* NULL: none; then *ret_allow says which methods the path has, empty: there is no such path. */
static const struct endpoint *find(struct call *c, struct text *ret_allow)
{
    enum http_method method = c->x->request.method;
    if (method == HTTP_HEAD)
        method = HTTP_GET;
    for (const struct endpoint *e = c->api->endpoints; e->path; e++) {
        if (!path_fits(e->path, c->x->request.path, c))
            continue;
        if (e->method == method)
            return e;
        text_print(ret_allow, "%s%.*s%s", ret_allow->len ? ", " : "", BYTES_ARG(http_method_text(e->method)),
                   e->method == HTTP_GET ? ", HEAD" : "");
    }
    return NULL;
}

static void answer_not_found(struct call *c, const struct text *allow)
{
    struct exchange *x = c->x;
    if (!allow->len) {
        call_problem(x, 404, "there is no such page; / lists them");
        return;
    }
    struct bytes methods = arena_copy(&x->arena, (struct bytes){ allow->at, allow->len });
    call_problem(x, 405, "%.*s cannot be asked for here", BYTES_ARG(x->request.method_text));
    if (methods.ptr)
        (void)!http_fields_add(&x->response.fields, &x->arena, BYTES("Allow"), methods);
}

/* ---- what it is told ---- */

/* As a mapping, so that the table of its settings checks it. */
static err read_query(struct call *c, const struct conf_struct *s, struct diag *reterr)
{
    struct text yaml = { 0 };
    struct bytes left = c->x->request.query, pair;
    void *conf;
    json_begin(&yaml, NULL, '{');
    while (bytes_split(&left, '&', &pair)) {
        size_t equals = bytes_index(pair, '=');
        struct bytes name = decoded((struct bytes){ pair.ptr, equals }, true, &c->x->arena);
        struct bytes value = decoded(bytes_skip(pair, equals + (equals < pair.len)), true, &c->x->arena);
        if (!name.ptr || !value.ptr || !name.len)
            continue;
        text_add(&yaml, yaml.len > 1 ? BYTES(",") : BYTES_NONE);
        struct text key = { 0 };
        json_text(&key, NULL, name);
        text_add(&yaml, (struct bytes){ key.at, key.len });
        text_add(&yaml, BYTES(": "));
        text_free(&key);
        key = (struct text){ 0 };
        json_text(&key, NULL, value);
        text_add(&yaml, (struct bytes){ key.at, key.len });
        text_free(&key);
    }
    json_end(&yaml, '}');
    err e = conf_parse((struct bytes){ yaml.at, yaml.len }, "query", s, &c->x->arena, NULL, &conf, reterr);
    text_free(&yaml);
    if (!e)
        c->query = conf;
    return e;
}

static err pull_all(struct exchange *x, size_t bytes_max, struct text *t)
{
    for (;;) {
        struct bytes part;
        err e = body_pull(x->request_body, deadline_in_ms(10000), &part);
        if (e || !part.len)
            return e;
        if (t->len + part.len > bytes_max)
            return ERR_LIMIT;
        text_add(t, part);
        body_give(x->request_body, part.len);
    }
}

/* JSON is YAML too. */
static err read_body(struct call *c, const struct conf_struct *s, struct diag *reterr)
{
    struct text t = { 0 };
    void *conf;
    err e = c->x->request_body ? pull_all(c->x, CALL_BODY_BYTES_MAX, &t) : OK;
    if (!e && t.len == 0)
        text_add(&t, BYTES("{}"));
    if (!e)
        e = conf_parse((struct bytes){ t.at, t.len }, "body", s, &c->x->arena, NULL, &conf, reterr);
    text_free(&t);
    if (!e)
        c->body = conf;
    return e;
}

/* Kept until the exchange ends. */
static err read_text(struct call *c, const struct endpoint *e)
{
    struct text *t = arena_get_zero(&c->x->arena, sizeof *t);
    if (!t || exchange_on_end(c->x, free_text, t) != OK)
        return ERR_MEMORY;
    const err failed = c->x->request_body ? pull_all(c->x, e->text_bytes_max, t) : OK;
    c->text = text_bytes(t);
    return failed;
}

/* ---- serving ---- */

static bool may(struct call *c, const struct endpoint *e)
{
    const char *why;
    enum admin_right right = auth_right(c, &why);
    if (right == RIGHT_CHANGE || (right == RIGHT_READ && !e->changes))
        return true;
    struct exchange *x = c->x;
    const struct api_conf *conf = c->api->conf(x);
    bool token = conf && conf->token_file.len;
    call_problem(x, token ? 401 : 403, "%s", why);
    if (token)
        (void)!http_fields_add(&x->response.fields, &x->arena, BYTES("WWW-Authenticate"),
                               BYTES("Bearer realm=\"weir\""));
    return false;
}

static void serve(struct call *c)
{
    struct text allow = { 0 };
    struct diag d = DIAG_NONE;
    const struct endpoint *e = find(c, &allow);
    if (!e) {
        answer_not_found(c, &allow);
        text_free(&allow);
        return;
    }
    text_free(&allow);
    if (!may(c, e))
        return;
    err failed = e->query ? read_query(c, e->query, &d) : OK;
    if (!failed && e->body)
        failed = read_body(c, e->body, &d);
    if (!failed && e->text_type)
        failed = read_text(c, e);
    if (failed)
        call_failed(c, failed == ERR_LIMIT ? 413 : failed == ERR_MEMORY ? 503 : 400, failed, &d);
    else
        e->run(c);
}

void call_serve(const struct api *api, struct exchange *x)
{
    struct call *c = arena_get_zero(&x->arena, sizeof *c);
    struct text *t = arena_get_zero(&x->arena, sizeof *t);
    if (!c || !t || exchange_on_end(x, free_text, t) != OK) {
        exchange_answer(x, 503, BYTES_NONE, BYTES_NONE, BYTES("admin"));
        return;
    }
    c->api = api;
    c->x = x;
    c->out = t;
    serve(c);
}

void admin_serve(struct exchange *x)
{
    call_serve(&admin_api, x);
}

/* rewrite: another path (query, host) for the server than the client asked for.
 *
 *      rewrite: /api to /v2                              the prefix: /api/x becomes /v2/x
 *      rewrite: /v2/$rest                                all of it, with variables
 *      rewrite: {regex: ^/item-([0-9]+), to: /items/$1}  what the expression finds
 *
 * Works on the path that the route was found by, without dot segments, and makes none: what comes out is
 * cleaned in the same way. The client's own target is back when the answer comes, so the access log and later
 * headers show it. */
#include "base/mem.h"
#include "core/metrics.h"
#include "gate/filter.h"
#include "gate/regex.h"
#include "gate/route_path.h"
#include "gate/variable.h"

struct rewrite_conf {
    struct bytes path, prefix, regex, to, query, host;
    bool every, drop_query;
};

/* ---- metrics ---- */

#define REWRITE_METRICS(X)                                                             \
    X(CHANGED, "changed_total", METRIC_COUNTER, "Requests that got another target")    \
    X(UNCHANGED, "unchanged_total", METRIC_COUNTER, "Requests that nothing fitted on") \
    X(REFUSED, "refused_total", METRIC_COUNTER, "Requests refused: no path came out (400)")

enum rewrite_metric {
#define X(id, name, type, help) METRIC_##id,
    REWRITE_METRICS(X)
#undef X
        METRIC_COUNT
};

static const struct metric_group metric_group = {
    .module = "rewrite",
    .defs =
        (const struct metric_def[]){
#define X(id, name, type, help) { name, type, help },
            REWRITE_METRICS(X)
#undef X
        },
    .count = METRIC_COUNT,
    .labels = (const char *const[]){ "route", NULL },
};

/* ---- checks, when the configuration is loaded ---- */

static err check_shape(const struct rewrite_conf *c, struct diag *reterr)
{
    int ways = (c->path.len != 0) + (c->prefix.len != 0) + (c->regex.len != 0);
    bool other = c->query.len || c->drop_query || c->host.len;
    const char *wrong = NULL;
    if (ways > 1)
        wrong = "path, prefix and regex: expected one of them";
    else if (!ways && !other && !c->to.len)
        wrong = "expected path, or prefix and to, or regex and to";
    else if ((c->prefix.len || c->regex.len) != (c->to.len != 0))
        wrong = c->to.len ? "to: expected prefix or regex with it" : "expected to with prefix or regex";
    else if (c->path.len && c->path.ptr[0] != '/' && c->path.ptr[0] != '$')
        wrong = "path: expected a / in front";
    else if (c->prefix.len && (c->prefix.ptr[0] != '/' || (c->to.ptr[0] != '/' && c->to.ptr[0] != '$')))
        wrong = "prefix and to: expected a / in front of both";
    else if (c->query.len && c->drop_query)
        wrong = "query and drop_query contradict each other";
    else if (c->every && !c->regex.len)
        wrong = "every: expected regex with it";
    if (!wrong)
        return OK;
    diag_set(reterr, "%s", wrong);
    return ERR_CONF;
}

static err check_path_text(struct bytes text, const struct variable_scope *scope, bool query,
                           struct diag *reterr)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        bool fits = c > ' ' && c < 0x7f && c != '#' && (query || c != '?');
        if (fits)
            continue;
        if (c == '?')
            diag_set(reterr, "\"%.*s\": a path has no ?; expected query for what stands behind it",
                     BYTES_ARG(text));
        else
            diag_set(reterr, "\"%.*s\" has a character that no URL has: write it as %%20 and the like",
                     BYTES_ARG(text));
        return ERR_CONF;
    }
    return variable_check(text, scope, reterr);
}

static err check_texts(const struct rewrite_conf *c, const struct variable_scope *scope, struct diag *reterr)
{
    const struct variable_scope plain = { .route = scope->route };
    err e = check_path_text(c->path, &plain, false, reterr);
    if (!e)
        e = check_path_text(c->to, scope, false, reterr);
    if (!e)
        e = check_path_text(c->query, &plain, true, reterr);
    return e ? e : check_path_text(c->host, &plain, false, reterr);
}

static err check_all(const struct rewrite_conf *c, const struct route_conf *route, struct diag *reterr)
{
    struct regex *r = NULL;
    err e = c->regex.len ? regex_compile(c->regex, REGEX_ANYWHERE, &r, reterr) : OK;
    if (e)
        return e;
    const struct variable_scope scope = { .route = route, .groups = r ? regex_groups(r) + 1 : 0 };
    e = check_texts(c, &scope, reterr);
    regex_free(r);
    return e;
}

static err rewrite_conf_check(void *conf, struct diag *reterr)
{
    err e = check_shape(conf, reterr);
    return e ? e : check_all(conf, NULL, reterr);
}

static err rewrite_check_route(const void *conf, const struct filter_place *place, struct diag *reterr)
{
    return check_all(conf, place->route, reterr);
}

/* ---- the new path ---- */

struct rewrite {
    const struct rewrite_conf *conf;
    struct regex *regex;
    struct variable_text *path, *to, *query, *host; /* NULL: not said */
    struct metric_instance *metrics;
    struct metric_cells *cells;
};

/* Whole segments: /api is in front of /api and /api/x, not of /apix. *ret_path stays when it is not. */
static err replace_prefix(const struct rewrite *r, struct exchange *x, struct bytes *ret_path)
{
    struct bytes prefix = r->conf->prefix;
    while (prefix.len && prefix.ptr[prefix.len - 1] == '/')
        prefix.len--;
    struct bytes rest = bytes_starts(*ret_path, prefix) ? bytes_skip(*ret_path, prefix.len) : BYTES("-");
    if (rest.len && rest.ptr[0] != '/')
        return OK;
    struct bytes to = variable_print(r->to, x, VARIABLE_URL, NULL);
    if (!to.ptr)
        return ERR_LIMIT;
    while (rest.len && to.len && to.ptr[to.len - 1] == '/')
        to.len--;
    struct bytes path = arena_print(&x->arena, "%.*s%.*s", BYTES_ARG(to), BYTES_ARG(rest));
    if (!path.ptr)
        return ERR_LIMIT;
    *ret_path = path;
    return OK;
}

/* A path that grows is copied that often at most. */
#define REPLACED_MAX 64

static err replace_regex(const struct rewrite *r, struct exchange *x, struct bytes *ret_path)
{
    struct bytes subject = *ret_path;
    struct bytes done = BYTES(""); /* of the new path */
    size_t at = 0;
    for (unsigned n = 0; at <= subject.len && n < (r->conf->every ? REPLACED_MAX : 1); n++) {
        struct regex_match m;
        err e = regex_match(r->regex, subject, at, &m);
        if (e || !m.count)
            return e;
        struct bytes to = variable_print(r->to, x, VARIABLE_URL, &m);
        size_t from = (size_t)(m.groups[0].ptr - subject.ptr);
        struct bytes before = { subject.ptr + at, from - at };
        done = to.ptr
                   ? arena_print(&x->arena, "%.*s%.*s%.*s", BYTES_ARG(done), BYTES_ARG(before), BYTES_ARG(to))
                   : BYTES_NONE;
        at = from + m.groups[0].len;
        *ret_path =
            done.ptr ? arena_print(&x->arena, "%.*s%.*s", BYTES_ARG(done), BYTES_ARG(bytes_skip(subject, at)))
                     : BYTES_NONE;
        if (!ret_path->ptr)
            return ERR_LIMIT;
        if (!m.groups[0].len) /* an empty one would be found again at the same place */
            break;
    }
    return OK;
}

static err path_of(const struct rewrite *r, struct exchange *x, struct bytes *ret_path)
{
    *ret_path = x->path;
    if (r->path) {
        *ret_path = variable_print(r->path, x, VARIABLE_URL, NULL);
        return ret_path->ptr ? OK : ERR_LIMIT;
    }
    if (r->regex)
        return replace_regex(r, x, ret_path);
    return r->to ? replace_prefix(r, x, ret_path) : OK;
}

static err query_of(const struct rewrite *r, struct exchange *x, struct bytes *ret_query)
{
    *ret_query = r->conf->drop_query ? BYTES_NONE : x->request.query;
    if (!r->query)
        return OK;
    *ret_query = variable_print(r->query, x, VARIABLE_URL, NULL);
    return ret_query->ptr ? OK : ERR_LIMIT;
}

/* What a client's own target is, to be put back. */
struct target {
    struct bytes target, path, query, authority;
};

/* *ret_changed false: as it was. ERR_SYNTAX: no path comes out. */
static err change(const struct rewrite *r, struct exchange *x, bool *ret_changed)
{
    struct http_request *q = &x->request;
    struct bytes path, query, host = q->authority;
    err e = path_of(r, x, &path);
    if (!e)
        e = query_of(r, x, &query);
    if (!e && r->host) {
        host = variable_print(r->host, x, VARIABLE_URL, NULL);
        e = host.ptr ? OK : ERR_LIMIT;
    }
    if (e)
        return e;
    bool same_path = bytes_eq(path, x->path);
    *ret_changed = !same_path || !bytes_eq(query, q->query) || !bytes_eq(host, q->authority);
    if (!*ret_changed)
        return OK;
    e = route_path(path, &x->arena, &path);
    if (e)
        return e;
    /* A path that nobody touched goes on as it came, its dots and all. */
    path = same_path ? q->path : path;
    struct bytes target =
        query.ptr ? arena_print(&x->arena, "%.*s?%.*s", BYTES_ARG(path), BYTES_ARG(query)) : path;
    if (!target.ptr)
        return ERR_LIMIT;
    q->target = target;
    q->path = (struct bytes){ target.ptr, path.len };
    q->query = query.ptr ? bytes_skip(target, path.len + 1) : BYTES_NONE;
    q->authority = host;
    return OK;
}

/* ---- the filter ---- */

static err rewrite_handle(struct exchange *x, void *state, struct chain *next)
{
    struct rewrite *r = state;
    struct http_request *q = &x->request;
    const struct target before = { q->target, q->path, q->query, q->authority };
    bool changed = false;
    err e = change(r, x, &changed);
    if (e == ERR_SYNTAX) {
        metric_inc(r->cells, METRIC_REFUSED);
        exchange_answer(x, 400, BYTES_NONE, BYTES_NONE, BYTES("rewrite"));
        return OK;
    }
    if (e)
        return e;
    metric_inc(r->cells, changed ? METRIC_CHANGED : METRIC_UNCHANGED);
    e = chain_next(next, x);
    q->target = before.target;
    q->path = before.path;
    q->query = before.query;
    q->authority = before.authority;
    return e;
}

static void close_texts(struct rewrite *r)
{
    regex_free(r->regex);
    variable_close(r->path);
    variable_close(r->to);
    variable_close(r->query);
    variable_close(r->host);
}

static err open_text(struct bytes text, struct variable_text **ret_text)
{
    return text.len ? variable_open(text, ret_text) : OK;
}

static err open_texts(struct rewrite *r, const struct rewrite_conf *c, struct diag *reterr)
{
    r->conf = c;
    err e = c->regex.len ? regex_compile(c->regex, REGEX_ANYWHERE, &r->regex, reterr) : OK;
    if (!e && r->regex)
        e = regex_ready();
    if (!e)
        e = open_text(c->path, &r->path);
    if (!e)
        e = open_text(c->to, &r->to);
    if (!e)
        e = open_text(c->query, &r->query);
    return e ? e : open_text(c->host, &r->host);
}

static void rewrite_close(void *state)
{
    struct rewrite *r = state;
    close_texts(r);
    metric_instance_free(r->metrics);
    mem_free(r);
}

static err rewrite_open(const void *conf, struct gate *g, struct bytes scope, void **ret_state,
                        struct diag *reterr)
{
    (void)g;
    struct rewrite *r = mem_get(sizeof *r);
    if (!r)
        return ERR_MEMORY;
    err e = open_texts(r, conf, reterr);
    if (!e)
        e = metric_instance_open(&metric_group, &scope, &r->metrics);
    if (e) {
        rewrite_close(r);
        return e;
    }
    r->cells = metric_cells(r->metrics, worker_index(worker_self()));
    *ret_state = r;
    return OK;
}

static bool rewrite_explain(const void *conf, const struct filter_place *place, struct exchange *x,
                            const struct conf_writer *w)
{
    (void)place;
    struct rewrite r = { 0 };
    bool changed = false;
    err e = open_texts(&r, conf, NULL);
    if (!e)
        e = change(&r, x, &changed);
    struct bytes line = e         ? arena_print(&x->arena, "answers 400: no path comes out\n")
                        : changed ? arena_print(&x->arena, "asks for %.*s at %.*s\n",
                                                BYTES_ARG(x->request.target), BYTES_ARG(x->request.authority))
                                  : arena_print(&x->arena, "changes nothing: it does not fit\n");
    if (line.ptr)
        w->write(w->arg, line);
    close_texts(&r);
    return e != OK;
}

#define AT(member) offsetof(struct rewrite_conf, member)

const struct filter rewrite_filter = {
    .conf = { .name = "rewrite",
              .size = sizeof(struct rewrite_conf),
              .phrases = (const char *const[]){ "{prefix} to {to}", "{path}", NULL },
              .fields =
                  (const struct conf_field[]){
                      { .name = "path",
                        .type = CONF_TEXT,
                        .offset = AT(path),
                        .doc = "the new path, with variables: `/v2/$rest`, `/users/$capture.id`" },
                      { .name = "prefix",
                        .type = CONF_TEXT,
                        .offset = AT(prefix),
                        .doc = "whole segments at the beginning of the path that `to` replaces; `to: /` "
                               "takes them off" },
                      { .name = "regex",
                        .type = CONF_TEXT,
                        .offset = AT(regex),
                        .doc = "a regular expression (PCRE2); what it finds in the path is replaced by `to`, "
                               "where `$1` "
                               "to `$9` are its groups" },
                      { .name = "to",
                        .type = CONF_TEXT,
                        .offset = AT(to),
                        .doc = "see `prefix` and `regex`" },
                      { .name = "every",
                        .type = CONF_BOOL,
                        .offset = AT(every),
                        .preset = "false",
                        .doc = "of `regex`: each place that it finds (64 at most), not only the first" },
                      { .name = "query",
                        .type = CONF_TEXT,
                        .offset = AT(query),
                        .doc = "the new query, with variables; the client's own when not said" },
                      { .name = "drop_query",
                        .type = CONF_BOOL,
                        .offset = AT(drop_query),
                        .preset = "false",
                        .doc = "without a query" },
                      { .name = "host",
                        .type = CONF_TEXT,
                        .offset = AT(host),
                        .doc = "the Host field that servers get, with variables; a service's own `host` goes "
                               "before it" },
                      { 0 } },
              .check = rewrite_conf_check,
              .doc = "Another path, query or host for the server than the client asked for." },
    .check_route = rewrite_check_route,
    .explain = rewrite_explain,
    .open = rewrite_open,
    .handle = rewrite_handle,
    .close = rewrite_close,
};

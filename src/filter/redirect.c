/* redirect: sends the client elsewhere.
 *
 *      redirect: https                                      the same, over TLS
 *      redirect: to https://www.example.com$target          308
 *      redirect: 302 to /login?from=$path
 *      redirect: {host: www.example.com, path: /new/$rest}  parts: what is not said stays
 *
 * 308 is the default: it is permanent and keeps method and body (RFC 9110 15.4.9), where 301 lets a POST
 * become a GET. */
#include "base/mem.h"
#include "core/metrics.h"
#include "gate/filter.h"
#include "gate/route_match.h"
#include "gate/variable.h"

struct redirect_conf {
    int64_t status;
    struct bytes location;
    int scheme; /* enum redirect_scheme */
    struct bytes host, path, query;
    int64_t port; /* 0: not said */
    bool drop_query;
};

enum redirect_scheme { SCHEME_SAME, SCHEME_HTTP, SCHEME_HTTPS };
static const char *const scheme_words[] = { "same", "http", "https", NULL };

/* ---- metrics ---- */

#define REDIRECT_METRICS(X) X(SENT, "sent_total", METRIC_COUNTER, "Requests that were sent elsewhere")

enum redirect_metric {
#define X(id, name, type, help) METRIC_##id,
    REDIRECT_METRICS(X)
#undef X
        METRIC_COUNT
};

static const struct metric_group metric_group = {
    .module = "redirect",
    .defs =
        (const struct metric_def[]){
#define X(id, name, type, help) { name, type, help },
            REDIRECT_METRICS(X)
#undef X
        },
    .count = METRIC_COUNT,
    .labels = (const char *const[]){ "route", NULL },
};

/* ---- checks, when the configuration is loaded ---- */

static bool is_redirect(int64_t status)
{
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

/* A relative one begins with a slash, so that it does not depend on the path asked for. */
static bool is_location(struct bytes text)
{
    return text.ptr[0] == '/' || text.ptr[0] == '$' || bytes_starts(text, BYTES("http://")) ||
           bytes_starts(text, BYTES("https://"));
}

static bool has_parts(const struct redirect_conf *c)
{
    return c->scheme || c->host.len || c->path.len || c->query.len || c->port || c->drop_query;
}

static bool is_url_text(struct bytes text)
{
    for (size_t i = 0; i < text.len; i++) {
        if ((unsigned char)text.ptr[i] <= ' ' || (unsigned char)text.ptr[i] >= 0x7f)
            return false;
    }
    return true;
}

static err check_texts(const struct redirect_conf *c, const struct route_conf *route, struct diag *reterr)
{
    const struct variable_scope scope = { .route = route };
    const struct bytes texts[] = { c->location, c->host, c->path, c->query };
    for (unsigned i = 0; i < sizeof texts / sizeof *texts; i++) {
        err e = variable_check(texts[i], &scope, reterr);
        if (e)
            return e;
        if (!is_url_text(texts[i])) {
            diag_set(reterr, "\"%.*s\" has a character that no URL has: write it as %%20 and the like",
                     BYTES_ARG(texts[i]));
            return ERR_CONF;
        }
    }
    return OK;
}

static err check_shape(const struct redirect_conf *c, struct diag *reterr)
{
    const char *wrong = NULL;
    if (!is_redirect(c->status))
        wrong = "status: expected 301, 302, 303, 307 or 308";
    else if (c->location.len && has_parts(c))
        wrong = "location says all of it: expected it alone, or scheme, host, port, path and query";
    else if (!c->location.len && !has_parts(c))
        wrong = "where to? expected location, or one of scheme, host, port, path and query";
    else if (c->location.len && !is_location(c->location))
        wrong = "location: expected /path, http://..., https://... or a variable in front";
    else if (c->path.len && c->path.ptr[0] != '/' && c->path.ptr[0] != '$')
        wrong = "path: expected a / in front";
    else if (c->query.len && c->drop_query)
        wrong = "query and drop_query contradict each other";
    if (!wrong)
        return OK;
    diag_set(reterr, "%s", wrong);
    return ERR_CONF;
}

static err redirect_conf_check(void *conf, struct diag *reterr)
{
    err e = check_shape(conf, reterr);
    return e ? e : check_texts(conf, NULL, reterr);
}

static err redirect_check_route(const void *conf, const struct filter_place *place, struct diag *reterr)
{
    return check_texts(conf, place->route, reterr);
}

/* ---- where to ---- */

struct redirect {
    const struct redirect_conf *conf;
    struct variable_text *location, *host, *path, *query; /* NULL: not said */
    struct metric_instance *metrics;
    struct metric_cells *cells;
};

/* "//evil.example" and "/\evil.example" would lead to another host than what was meant: a path has one slash
 * in front. (A backslash is percent-encoded already.) */
static struct bytes one_slash(struct bytes location)
{
    while (location.len > 1 && location.ptr[0] == '/' && location.ptr[1] == '/')
        location = bytes_skip(location, 1);
    return location;
}

static struct bytes print(const struct variable_text *t, struct exchange *x)
{
    return variable_print(t, x, VARIABLE_URL, NULL);
}

static struct bytes query_of(const struct redirect *r, struct exchange *x)
{
    if (r->query)
        return print(r->query, x);
    return r->conf->drop_query || !x->request.query.ptr ? BYTES("") : x->request.query;
}

/* With the port that the client named, unless the scheme changes: then it would be the other one's. */
static struct bytes origin_of(const struct redirect *r, struct exchange *x)
{
    const struct redirect_conf *c = r->conf;
    const char *scheme = c->scheme ? scheme_words[c->scheme] : x->scheme;
    struct bytes host = r->host                                     ? print(r->host, x)
                        : c->port || strcmp(scheme, x->scheme) != 0 ? match_host_of(x->request.authority)
                                                                    : x->request.authority;
    if (!host.len)
        return host.ptr ? BYTES("") : BYTES_NONE;
    if (!c->port)
        return arena_print(&x->arena, "%s://%.*s", scheme, BYTES_ARG(host));
    return arena_print(&x->arena, "%s://%.*s:%u", scheme, BYTES_ARG(host), (unsigned)c->port);
}

/* ptr NULL: no memory left */
static struct bytes location_of(const struct redirect *r, struct exchange *x)
{
    if (r->location) {
        struct bytes location = print(r->location, x);
        return location.ptr ? one_slash(location) : location;
    }
    struct bytes path = r->path ? print(r->path, x) : x->request.path;
    struct bytes query = query_of(r, x);
    struct bytes origin = r->host || r->conf->scheme || r->conf->port ? origin_of(r, x) : BYTES("");
    if (!path.ptr || !query.ptr || !origin.ptr)
        return BYTES_NONE;
    bool slash = path.len && path.ptr[0] == '/';
    return arena_print(&x->arena, "%.*s%s%.*s%s%.*s", BYTES_ARG(origin), slash ? "" : "/",
                       BYTES_ARG(one_slash(path)), query.len ? "?" : "", BYTES_ARG(query));
}

/* ---- the filter ---- */

static err redirect_handle(struct exchange *x, void *state, struct chain *next)
{
    (void)next;
    struct redirect *r = state;
    struct bytes location = location_of(r, x);
    if (!location.ptr)
        return ERR_LIMIT;
    exchange_answer(x, (unsigned)r->conf->status, BYTES_NONE, BYTES_NONE, BYTES("redirect"));
    metric_inc(r->cells, METRIC_SENT);
    return http_fields_set(&x->response.fields, &x->arena, BYTES("Location"), location);
}

static void close_texts(struct redirect *r)
{
    variable_close(r->location);
    variable_close(r->host);
    variable_close(r->path);
    variable_close(r->query);
}

static err open_text(struct bytes text, struct variable_text **ret_text)
{
    return text.len ? variable_open(text, ret_text) : OK;
}

static err open_texts(struct redirect *r, const struct redirect_conf *c)
{
    r->conf = c;
    err e = open_text(c->location, &r->location);
    if (!e)
        e = open_text(c->host, &r->host);
    if (!e)
        e = open_text(c->path, &r->path);
    return e ? e : open_text(c->query, &r->query);
}

static void redirect_close(void *state)
{
    struct redirect *r = state;
    close_texts(r);
    metric_instance_free(r->metrics);
    mem_free(r);
}

static err redirect_open(const void *conf, struct gate *g, struct bytes scope, void **ret_state,
                         struct diag *reterr)
{
    (void)g;
    (void)reterr;
    struct redirect *r = mem_get(sizeof *r);
    if (!r)
        return ERR_MEMORY;
    err e = open_texts(r, conf);
    if (!e)
        e = metric_instance_open(&metric_group, &scope, &r->metrics);
    if (e) {
        redirect_close(r);
        return e;
    }
    r->cells = metric_cells(r->metrics, worker_index(worker_self()));
    *ret_state = r;
    return OK;
}

static bool redirect_explain(const void *conf, const struct filter_place *place, struct exchange *x,
                             const struct conf_writer *w)
{
    (void)place;
    struct redirect r = { 0 };
    struct bytes location = open_texts(&r, conf) == OK ? location_of(&r, x) : BYTES_NONE;
    struct bytes line = BYTES_NONE;
    if (location.ptr)
        line = arena_print(&x->arena, "answers %u, Location: %.*s\n", (unsigned)r.conf->status,
                           BYTES_ARG(location));
    if (line.ptr)
        w->write(w->arg, line);
    close_texts(&r);
    return true;
}

#define AT(member) offsetof(struct redirect_conf, member)

const struct filter redirect_filter = {
    .conf = { .name = "redirect",
              .size = sizeof(struct redirect_conf),
              .phrases = (const char *const[]){ "{status} to {location}", "to {location}", "{scheme}", NULL },
              .fields =
                  (const struct conf_field[]){
                      { .name = "status",
                        .type = CONF_INT,
                        .offset = AT(status),
                        .preset = "308",
                        .min = 301,
                        .max = 308,
                        .doc = "`308` for good and `307` for now keep method and body; `301` and `302` let a "
                               "POST become "
                               "a GET; `303` says: look there with GET" },
                      { .name = "location",
                        .type = CONF_TEXT,
                        .offset = AT(location),
                        .doc = "all of it, with variables: `/path` or `https://...`; the query is not added "
                               "by itself "
                               "(`$target` has it)" },
                      { .name = "scheme",
                        .type = CONF_WORD,
                        .offset = AT(scheme),
                        .preset = "same",
                        .words = scheme_words,
                        .doc = "instead of `location`, a part: `http` or `https`" },
                      { .name = "host",
                        .type = CONF_TEXT,
                        .offset = AT(host),
                        .doc = "a part, with variables" },
                      { .name = "port",
                        .type = CONF_INT,
                        .offset = AT(port),
                        .preset = "0",
                        .max = 65535,
                        .doc = "a part; 0: that of the request, or none when scheme or host change" },
                      { .name = "path",
                        .type = CONF_TEXT,
                        .offset = AT(path),
                        .doc = "a part, with variables; that of the request when not said" },
                      { .name = "query",
                        .type = CONF_TEXT,
                        .offset = AT(query),
                        .doc = "a part, with variables; that of the request when not said" },
                      { .name = "drop_query",
                        .type = CONF_BOOL,
                        .offset = AT(drop_query),
                        .preset = "false",
                        .doc = "without the query of the request" },
                      { 0 } },
              .check = redirect_conf_check,
              .doc = "Sends the client elsewhere." },
    .ends = true,
    .check_route = redirect_check_route,
    .explain = redirect_explain,
    .open = redirect_open,
    .handle = redirect_handle,
    .close = redirect_close,
};

/* cors: which web pages of other origins may use a route (Fetch standard, "CORS protocol"). weir answers the
 * browser's preflight by itself and writes the fields of every other answer; what servers say of it is taken
 * out.
 *
 *      cors: https://shop.example
 *      cors: {origins: [https://shop.example, "~https://pr-[0-9]+.preview.example"], credentials: on}
 *
 *      OPTIONS + Origin + Access-Control-Request-Method   a preflight: 204, no server hears of it
 *      Origin                                             the chain goes on; its answer is marked
 *
 * An answer that depends on the request's origin says so: Vary: Origin, also when there was no Origin. */
#include "base/mem.h"
#include "core/metrics.h"
#include "gate/filter.h"
#include "gate/once.h"
#include "proto/http_char.h"

#if WEIR_HAVE_PCRE2
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#endif

struct cors_conf {
    struct conf_list origins, methods, headers, expose; /* struct bytes */
    bool credentials, private_network;
    uint64_t max_age_ms;
};

#define CORS_METRICS(X)                                                                \
    X(PREFLIGHTS, "preflights_total", METRIC_COUNTER, "Preflights that were answered") \
    X(REFUSED, "refused_total", METRIC_COUNTER, "Requests and preflights of an origin that may not")

enum cors_metric {
#define X(id, name, type, help) METRIC_##id,
    CORS_METRICS(X)
#undef X
        METRIC_COUNT
};

static const struct metric_group metric_group = {
    .module = "cors",
    .defs =
        (const struct metric_def[]){
#define X(id, name, type, help) { name, type, help },
            CORS_METRICS(X)
#undef X
        },
    .count = METRIC_COUNT,
    .labels = (const char *const[]){ "route", NULL },
};

#define ORIGIN_BYTES_MAX 512 /* a longer one is no browser's */

/* ---- what may be said in the file, made once for all workers ---- */

enum origin_kind { ORIGIN_EXACT, ORIGIN_WILDCARD, ORIGIN_REGEX };

struct origin {
    enum origin_kind kind;
    struct bytes text;   /* exact; of a wildcard what stands in front of its * */
    struct bytes behind; /* ... and behind it */
#if WEIR_HAVE_PCRE2
    pcre2_code *regex;
#endif
};

struct policy {
    bool any; /* "*" */
    bool any_method, any_header;
    struct bytes methods, headers, expose, max_age; /* as the fields' values; in arena */
    size_t count;
    struct origin *origins;
    struct arena arena;
};

#if WEIR_HAVE_PCRE2
static err compile(struct origin *o, struct bytes pattern, struct diag *reterr)
{
    int code;
    size_t at;
    o->regex =
        pcre2_compile((PCRE2_SPTR)pattern.ptr, pattern.len,
                      PCRE2_ANCHORED | PCRE2_ENDANCHORED | PCRE2_NEVER_BACKSLASH_C | PCRE2_NO_AUTO_CAPTURE,
                      &code, &at, NULL);
    if (o->regex)
        return OK;
    PCRE2_UCHAR words[160] = "";
    pcre2_get_error_message(code, words, sizeof words);
    diag_set(reterr, "origins: \"~%.*s\": %s, at character %zu", BYTES_ARG(pattern), (const char *)words,
             at + 1);
    return ERR_CONF;
}

#define STEPS_MAX 10000 /* of one match: a pattern that explodes matches nothing */

/* What a worker matches with. */
struct matcher {
    pcre2_match_context *limits;
    pcre2_match_data *found;
};

static err matcher_open(struct matcher *m)
{
    m->limits = pcre2_match_context_create(NULL);
    m->found = pcre2_match_data_create(1, NULL);
    if (!m->limits || !m->found)
        return ERR_MEMORY;
    pcre2_set_match_limit(m->limits, STEPS_MAX);
    return OK;
}

static void matcher_close(struct matcher *m)
{
    pcre2_match_data_free(m->found);
    pcre2_match_context_free(m->limits);
}

static bool regex_matches(const struct origin *o, const struct matcher *m, struct bytes text)
{
    return pcre2_match(o->regex, (PCRE2_SPTR)text.ptr, text.len, 0, 0, m->found, m->limits) >= 0;
}

static void origin_close(struct origin *o)
{
    pcre2_code_free(o->regex);
}
#else
static err compile(struct origin *o, struct bytes pattern, struct diag *reterr)
{
    (void)o;
    diag_set(reterr, "origins: \"~%.*s\": this weir was built without pcre2", BYTES_ARG(pattern));
    return ERR_CONF;
}

struct matcher {
    bool unused;
};

static err matcher_open(struct matcher *m)
{
    m->unused = true;
    return OK;
}

static void matcher_close(struct matcher *m)
{
    (void)m;
}

static bool regex_matches(const struct origin *o, const struct matcher *m, struct bytes text)
{
    (void)o;
    (void)m;
    (void)text;
    return false;
}

static void origin_close(struct origin *o)
{
    (void)o;
}
#endif

/* scheme "://" host [":" port], without a path; "null" is one too. */
static bool is_origin(struct bytes text)
{
    size_t colon = bytes_index(text, ':');
    if (bytes_eq(text, BYTES("null")))
        return true;
    if (colon == 0 || !bytes_starts(bytes_skip(text, colon), BYTES("://")) || text.len == colon + 3)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (c <= ' ' || c >= 0x7f || (c == '/' && i > colon + 2) || (c >= 'A' && c <= 'Z') || c == ',')
            return false;
    }
    return true;
}

static err origin_of(struct origin *o, struct bytes text, struct diag *reterr)
{
    size_t star = bytes_index(text, '*');
    if (text.len && text.ptr[0] == '~') {
        o->kind = ORIGIN_REGEX;
        return compile(o, bytes_skip(text, 1), reterr);
    }
    bool two = star < text.len && bytes_index(bytes_skip(text, star + 1), '*') < text.len - star - 1;
    if (!is_origin(text) || two) {
        diag_set(reterr,
                 "origins: \"%.*s\" is no origin: expected *, https://shop.example (lower case, no path), "
                 "https://*.shop.example or ~ and a regular expression",
                 BYTES_ARG(text));
        return ERR_CONF;
    }
    o->kind = star < text.len ? ORIGIN_WILDCARD : ORIGIN_EXACT;
    o->text = (struct bytes){ text.ptr, star };
    o->behind = star < text.len ? bytes_skip(text, star + 1) : BYTES_NONE;
    return OK;
}

/* What a * may stand for: one or more labels, or a port. Nothing that could end the host. */
static bool is_label(struct bytes text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '-' && c != '.')
            return false;
    }
    return text.len > 0;
}

static bool origin_matches(const struct origin *o, const struct matcher *m, struct bytes origin)
{
    if (o->kind == ORIGIN_EXACT)
        return bytes_eq(o->text, origin);
    if (o->kind == ORIGIN_REGEX)
        return regex_matches(o, m, origin);
    size_t around = o->text.len + o->behind.len;
    return origin.len > around && bytes_starts(origin, o->text) &&
           bytes_eq(bytes_skip(origin, origin.len - o->behind.len), o->behind) &&
           is_label((struct bytes){ origin.ptr + o->text.len, origin.len - around });
}

/* "a, b"; a "*" among them is any. */
static err join(struct arena *a, const struct conf_list *list, const char *key, struct bytes *ret_text,
                bool *ret_any, struct diag *reterr)
{
    const struct bytes *item = list->items;
    *ret_text = BYTES_NONE;
    *ret_any = false;
    for (size_t i = 0; i < list->count; i++) {
        if (bytes_eq(item[i], BYTES("*"))) {
            *ret_any = true;
            continue;
        }
        if (!http_is_token(item[i])) {
            diag_set(reterr, "%s: \"%.*s\" is no name", key, BYTES_ARG(item[i]));
            return ERR_CONF;
        }
        *ret_text =
            arena_print(a, "%.*s%s%.*s", BYTES_ARG(*ret_text), ret_text->len ? ", " : "", BYTES_ARG(item[i]));
        if (!ret_text->ptr)
            return ERR_MEMORY;
    }
    return OK;
}

static err fill_lists(struct policy *p, const struct cors_conf *c, struct diag *reterr)
{
    bool any_expose;
    err e = join(&p->arena, &c->methods, "methods", &p->methods, &p->any_method, reterr);
    if (!e)
        e = join(&p->arena, &c->headers, "headers", &p->headers, &p->any_header, reterr);
    if (!e)
        e = join(&p->arena, &c->expose, "expose", &p->expose, &any_expose, reterr);
    if (e)
        return e;
    if (any_expose && c->credentials) {
        diag_set(reterr, "expose: with credentials a * means nothing to a browser: name the fields");
        return ERR_CONF;
    }
    if (any_expose)
        p->expose = BYTES("*");
    p->max_age = arena_print(&p->arena, "%llu", (unsigned long long)(c->max_age_ms / 1000));
    return p->max_age.ptr ? OK : ERR_MEMORY;
}

static err fill_origins(struct policy *p, const struct cors_conf *c, struct diag *reterr)
{
    const struct bytes *item = c->origins.items;
    p->origins = arena_get_zero(&p->arena, c->origins.count * sizeof *p->origins);
    if (!p->origins)
        return ERR_MEMORY;
    for (size_t i = 0; i < c->origins.count; i++) {
        if (bytes_eq(item[i], BYTES("*"))) {
            p->any = true;
            continue;
        }
        err e = origin_of(&p->origins[p->count], item[i], reterr);
        if (e)
            return e;
        p->count++;
    }
    if (p->any && c->credentials) {
        diag_set(reterr,
                 "origins: with credentials every page of the web could act as the user: name the origins");
        return ERR_CONF;
    }
    return OK;
}

static void unmake(void *made)
{
    struct policy *p = made;
    for (size_t i = 0; i < p->count; i++)
        origin_close(&p->origins[i]);
    arena_close(&p->arena);
    mem_free(p);
}

static err make(const void *conf, void **ret_made, struct diag *reterr)
{
    struct policy *p = mem_get(sizeof *p);
    if (!p)
        return ERR_MEMORY;
    arena_open(&p->arena, &arena_heap, 1 << 20, NULL, 0);
    err e = fill_lists(p, conf, reterr);
    if (!e)
        e = fill_origins(p, conf, reterr);
    if (e) {
        unmake(p);
        return e;
    }
    *ret_made = p;
    return OK;
}

static const struct once_kind policy_kind = { make, unmake };

/* ---- the filter ---- */

struct cors {
    const struct cors_conf *conf;
    void *policy; /* struct policy */
    struct matcher matcher;
    struct metric_instance *metrics;
    struct metric_cells *cells;
};

static bool may(const struct cors *c, struct bytes origin)
{
    const struct policy *p = c->policy;
    if (p->any)
        return true;
    if (!origin.len || origin.len > ORIGIN_BYTES_MAX)
        return false;
    for (size_t i = 0; i < p->count; i++) {
        if (origin_matches(&p->origins[i], &c->matcher, origin))
            return true;
    }
    return false;
}

static err set(struct exchange *x, struct bytes name, struct bytes value)
{
    return http_fields_set(&x->response.fields, &x->arena, name, value);
}

/* What an actual answer and that to a preflight have in common. */
static err mark(struct exchange *x, const struct cors *c, struct bytes origin)
{
    const struct policy *p = c->policy;
    err e = set(x, BYTES("Access-Control-Allow-Origin"), p->any ? BYTES("*") : origin);
    if (!e && c->conf->credentials)
        e = set(x, BYTES("Access-Control-Allow-Credentials"), BYTES("true"));
    return e;
}

static err vary(struct exchange *x, const struct cors *c, struct bytes names)
{
    const struct policy *p = c->policy;
    return p->any ? OK : http_fields_add(&x->response.fields, &x->arena, BYTES("Vary"), names);
}

static struct bytes asked(const struct exchange *x, struct bytes name)
{
    const struct http_field *f = http_fields_find(&x->request.fields, name);
    return f ? http_field_value(f) : BYTES_NONE;
}

/* With a * in the file: what the browser asks for, which credentials would not let "*" stand for. */
static err allow(struct exchange *x, struct bytes name, bool any, struct bytes listed, struct bytes wanted)
{
    struct bytes value = any && wanted.len ? wanted : listed;
    return value.len ? set(x, name, value) : OK;
}

static err preflight(struct exchange *x, const struct cors *c, struct bytes origin, struct bytes method)
{
    const struct policy *p = c->policy;
    err e = mark(x, c, origin);
    if (!e)
        e = allow(x, BYTES("Access-Control-Allow-Methods"), p->any_method, p->methods, method);
    if (!e)
        e = allow(x, BYTES("Access-Control-Allow-Headers"), p->any_header, p->headers,
                  asked(x, BYTES("Access-Control-Request-Headers")));
    if (!e && c->conf->private_network &&
        bytes_eq(asked(x, BYTES("Access-Control-Request-Private-Network")), BYTES("true")))
        e = set(x, BYTES("Access-Control-Allow-Private-Network"), BYTES("true"));
    if (!e)
        e = set(x, BYTES("Access-Control-Max-Age"), p->max_age);
    return e;
}

static err answer_preflight(struct exchange *x, const struct cors *c, struct bytes origin,
                            struct bytes method)
{
    bool fine = may(c, origin);
    metric_inc(c->cells, fine ? METRIC_PREFLIGHTS : METRIC_REFUSED);
    exchange_answer(x, fine ? 204 : 403, BYTES_NONE, BYTES_NONE, BYTES("cors"));
    err e = fine ? preflight(x, c, origin, method) : OK;
    if (e)
        return e;
    return vary(x, c,
                BYTES("Origin, Access-Control-Request-Method, Access-Control-Request-Headers, "
                      "Access-Control-Request-Private-Network"));
}

/* The route's policy counts and not the server's: two values would make a browser refuse both. */
static void take_out(struct http_fields *fields)
{
    static const char prefix[] = "Access-Control-";
    for (uint32_t i = 0; i < fields->count; i++) {
        struct http_field *f = &fields->at[i];
        struct bytes name = { f->name, f->name_len < sizeof prefix - 1 ? f->name_len : sizeof prefix - 1 };
        if (bytes_eq_nocase(name, BYTES("Access-Control-")))
            f->flags |= FIELD_REMOVED;
    }
}

static err answer_actual(struct exchange *x, const struct cors *c, struct bytes origin)
{
    const struct policy *p = c->policy;
    bool fine = origin.ptr && may(c, origin);
    if (origin.ptr && !fine)
        metric_inc(c->cells, METRIC_REFUSED);
    take_out(&x->response.fields);
    err e = fine ? mark(x, c, origin) : OK;
    if (!e && fine && p->expose.len)
        e = set(x, BYTES("Access-Control-Expose-Headers"), p->expose);
    return e ? e : vary(x, c, BYTES("Origin"));
}

static err cors_handle(struct exchange *x, void *state, struct chain *next)
{
    const struct cors *c = state;
    const struct http_field *f = http_fields_get(&x->request.fields, FIELD_ORIGIN);
    struct bytes origin = f ? http_field_value(f) : BYTES_NONE;
    struct bytes method = BYTES_NONE;
    if (x->request.method == HTTP_OPTIONS && f)
        method = asked(x, BYTES("Access-Control-Request-Method"));
    if (http_is_token(method))
        return answer_preflight(x, c, origin, method);
    err e = chain_next(next, x);
    return e ? e : answer_actual(x, c, origin);
}

static void cors_close(void *state)
{
    struct cors *c = state;
    metric_instance_free(c->metrics);
    matcher_close(&c->matcher);
    once_put(c->policy);
    mem_free(c);
}

static err cors_open(const void *conf, struct gate *g, struct bytes scope, void **ret_state,
                     struct diag *reterr)
{
    (void)g;
    struct cors *c = mem_get(sizeof *c);
    if (!c)
        return ERR_MEMORY;
    c->conf = conf;
    err e = once_get(&policy_kind, conf, &c->policy, reterr);
    if (!e)
        e = matcher_open(&c->matcher);
    if (!e)
        e = metric_instance_open(&metric_group, &scope, &c->metrics);
    if (e) {
        cors_close(c);
        return e;
    }
    c->cells = metric_cells(c->metrics, worker_index(worker_self()));
    *ret_state = c;
    return OK;
}

static err cors_check(void *conf, struct diag *reterr)
{
    void *made;
    err e = make(conf, &made, reterr);
    if (!e)
        unmake(made);
    return e;
}

const struct filter cors_filter = {
    .conf = { .name = "cors",
              .size = sizeof(struct cors_conf),
              .phrases = (const char *const[]){ "{origins}", NULL },
              .fields =
                  (const struct conf_field[]){
                      { .name = "origins",
                        .type = CONF_LIST,
                        .item = CONF_TEXT,
                        .offset = offsetof(struct cors_conf, origins),
                        .required = true,
                        .doc = "whose pages may: `https://shop.example`, `https://*.shop.example` (any "
                               "subdomain, not "
                               "itself), `http://localhost:*` (any port), `~` and a regular expression for "
                               "all of "
                               "it, `null`, or `*`: everybody's" },
                      { .name = "methods",
                        .type = CONF_LIST,
                        .item = CONF_TEXT,
                        .offset = offsetof(struct cors_conf, methods),
                        .preset = "[GET, HEAD, POST]",
                        .doc = "what they may ask; `*`: everything" },
                      { .name = "headers",
                        .type = CONF_LIST,
                        .item = CONF_TEXT,
                        .offset = offsetof(struct cors_conf, headers),
                        .doc = "fields they may send, beyond the ones that any page may; `*`: all" },
                      { .name = "expose",
                        .type = CONF_LIST,
                        .item = CONF_TEXT,
                        .offset = offsetof(struct cors_conf, expose),
                        .doc = "fields of the answer that they may read, beyond the usual ones; `*`: all, "
                               "without "
                               "credentials" },
                      { .name = "credentials",
                        .type = CONF_BOOL,
                        .offset = offsetof(struct cors_conf, credentials),
                        .preset = "false",
                        .doc = "whether they may use the user's cookies and logins; never together with the "
                               "origin "
                               "`*`" },
                      { .name = "max_age",
                        .type = CONF_MS,
                        .offset = offsetof(struct cors_conf, max_age_ms),
                        .preset = "10m",
                        .max = 86400000,
                        .doc = "how long a browser may remember the answer to a preflight" },
                      { .name = "private_network",
                        .type = CONF_BOOL,
                        .offset = offsetof(struct cors_conf, private_network),
                        .preset = "false",
                        .doc =
                            "whether pages of public sites may use it in a private network (Private Network "
                            "Access)" },
                      { 0 } },
              .check = cors_check,
              .doc = "Says which web pages of other origins may use a route, and answers their preflights." },
    .open = cors_open,
    .handle = cors_handle,
    .close = cors_close,
};

/* forward_auth: another service says whether a request may pass. It is asked with the request's head, without
 * its body; what it answers with 2xx passes, and any other answer of it goes to the client.
 *
 *      forward_auth: auth
 *      forward_auth: {service: auth, path: /verify, copy: [X-User, X-Groups], timeout: 500ms}
 *
 *   client ──▶ GET /verify, the client's fields, X-Forwarded-Method, -Uri, -Host, -Proto, -For ──▶ auth
 *                2xx: its fields named in `copy` are set on the request ──▶ chain
 *                else: status, fields and body go to the client          none, or late: 503
 *
 * Fields named in `copy` are taken out of what the client has sent, whatever the answer says. With `cache` an
 * answer of 2xx counts for a while for the same method, host, target and credentials. */
#include "base/mem.h"
#include "core/metrics.h"
#include "gate/filter.h"
#include "gate/verdict_cache.h"

struct forward_auth_conf {
    struct bytes service, path;
    struct conf_list copy, answer; /* struct bytes */
    uint64_t timeout_ms, cache_ms, answer_bytes_max;
    int64_t cache_entries;
};

#define FORWARD_AUTH_METRICS(X)                                                                        \
    X(ALLOWED, "allowed_total", METRIC_COUNTER, "Requests that the service has let through")           \
    X(REFUSED, "refused_total", METRIC_COUNTER, "Requests that got the service's own answer")          \
    X(FAILED, "failed_total", METRIC_COUNTER, "Requests that got 503, because the service was silent") \
    X(CACHED, "cached_total", METRIC_COUNTER, "Requests let through without asking again")

enum forward_auth_metric {
#define X(id, name, type, help) METRIC_##id,
    FORWARD_AUTH_METRICS(X)
#undef X
        METRIC_COUNT
};

static const struct metric_group metric_group = {
    .module = "forward_auth",
    .defs =
        (const struct metric_def[]){
#define X(id, name, type, help) { name, type, help },
            FORWARD_AUTH_METRICS(X)
#undef X
        },
    .count = METRIC_COUNT,
    .labels = (const char *const[]){ "route", NULL },
};

#define COPIED_BYTES_MAX 1024 /* of the fields that are remembered with an answer */

struct forward_auth {
    const struct forward_auth_conf *conf;
    struct service *service;
    struct verdict_cache *cache; /* NULL: off */
    struct metric_instance *metrics;
    struct metric_cells *cells;
};

/* ---- asking ---- */

static err add(struct exchange *to, struct bytes name, struct bytes value)
{
    return http_fields_add(&to->request.fields, &to->arena, name, value);
}

/* What says how the body that is not sent is framed, or asks for what only the client's own answer can be. */
static bool is_for_the_body(enum http_field_id id)
{
    return id == FIELD_CONTENT_LENGTH || id == FIELD_TRANSFER_ENCODING || id == FIELD_EXPECT ||
           id == FIELD_TRAILER || id == FIELD_CONTENT_ENCODING || id == FIELD_RANGE ||
           id == FIELD_IF_NONE_MATCH || id == FIELD_IF_MODIFIED_SINCE;
}

/* Only weir says these. */
static bool is_ours(const struct http_field *f)
{
    struct bytes name = http_field_name(f);
    return bytes_eq_nocase(name, BYTES("X-Forwarded-Method")) ||
           bytes_eq_nocase(name, BYTES("X-Forwarded-Uri"));
}

/* The client's texts live as long as its exchange, which waits for this one. */
static err copy_fields(const struct exchange *x, struct exchange *ask)
{
    err e = OK;
    for (uint32_t i = 0; !e && i < x->request.fields.count; i++) {
        const struct http_field *f = &x->request.fields.at[i];
        if (f->flags & (FIELD_REMOVED | FIELD_HOP) || is_for_the_body((enum http_field_id)f->id) ||
            is_ours(f))
            continue;
        e = add(ask, http_field_name(f), http_field_value(f));
    }
    if (!e)
        e = add(ask, BYTES("X-Forwarded-Method"), x->request.method_text);
    return e ? e : add(ask, BYTES("X-Forwarded-Uri"), x->request.target);
}

static err fill(const struct exchange *x, const struct forward_auth *f, struct exchange *ask)
{
    const struct bytes path = f->conf->path.len ? f->conf->path : x->request.path;
    const struct bytes query = f->conf->path.len ? BYTES_NONE : x->request.query;
    ask->route = x->route;
    ask->service = f->service;
    ask->scheme = x->scheme;
    ask->client = x->client;
    ask->peer = x->peer;
    ask->priority = x->priority;
    ask->request_id = x->request_id;
    ask->deadline_us = deadline_in_ms(f->conf->timeout_ms);
    ask->request.method = HTTP_GET;
    ask->request.method_text = BYTES("GET");
    ask->request.path = path;
    ask->request.query = query;
    ask->request.authority = x->request.authority;
    ask->request.version_minor = 1;
    ask->request.keep_alive = true;
    ask->request.target =
        query.ptr ? arena_print(&ask->arena, "%.*s?%.*s", BYTES_ARG(path), BYTES_ARG(query)) : path;
    return ask->request.target.ptr ? copy_fields(x, ask) : ERR_LIMIT;
}

/* ---- an answer of 2xx ---- */

static bool is_named(const struct conf_list *names, struct bytes name)
{
    const struct bytes *item = names->items;
    for (size_t i = 0; i < names->count; i++) {
        if (bytes_eq_nocase(item[i], name))
            return true;
    }
    return false;
}

/* What the client says of itself by these names is nobody's word. */
static void take_out(struct exchange *x, const struct conf_list *names)
{
    const struct bytes *item = names->items;
    for (size_t i = 0; i < names->count; i++)
        http_fields_remove(&x->request.fields, item[i]);
}

/* "Name: value\n" for each field that counts: in `copy` for the request, in `answer` for the answer. As one
 * text, so that it can be remembered. */
static struct bytes gather(struct exchange *x, const struct exchange *ask, const struct forward_auth_conf *c)
{
    struct bytes text = BYTES("");
    for (uint32_t i = 0; text.ptr && i < ask->response.fields.count; i++) {
        const struct http_field *f = &ask->response.fields.at[i];
        struct bytes name = http_field_name(f);
        if (f->flags & FIELD_REMOVED || (!is_named(&c->copy, name) && !is_named(&c->answer, name)))
            continue;
        text = arena_print(&x->arena, "%.*s%.*s:%.*s\n", BYTES_ARG(text), BYTES_ARG(name),
                           BYTES_ARG(http_field_value(f)));
    }
    return text;
}

static err put_fields(struct exchange *x, struct http_fields *fields, const struct conf_list *names,
                      struct bytes text)
{
    struct bytes line;
    err e = OK;
    while (!e && bytes_split(&text, '\n', &line)) {
        size_t colon = bytes_index(line, ':');
        struct bytes name = { line.ptr, colon };
        if (colon < line.len && is_named(names, name))
            e = http_fields_add(fields, &x->arena, name, bytes_skip(line, colon + 1));
    }
    return e;
}

/* text: of gather, in x's arena. */
static err pass(struct exchange *x, const struct forward_auth *f, struct bytes text, struct chain *next)
{
    err e = put_fields(x, &x->request.fields, &f->conf->copy, text);
    if (!e)
        e = chain_next(next, x);
    return e ? e : put_fields(x, &x->response.fields, &f->conf->answer, text);
}

/* ---- any other answer ---- */

static err read_body(struct exchange *x, struct exchange *ask, uint64_t bytes_max, struct bytes *ret_body)
{
    char *out = NULL;
    size_t len = 0, size = 0;
    struct bytes piece;
    while (ask->response_body) {
        err e = body_pull(ask->response_body, ask->deadline_us, &piece);
        if (e)
            return e;
        if (!piece.len)
            break;
        if (len + piece.len > bytes_max)
            return ERR_LIMIT;
        if (len + piece.len > size) {
            size = 2 * (len + piece.len);
            char *larger = arena_get(&x->arena, size);
            if (!larger)
                return ERR_LIMIT;
            if (len)
                memcpy(larger, out, len);
            out = larger;
        }
        memcpy(out + len, piece.ptr, piece.len);
        len += piece.len;
        body_give(ask->response_body, piece.len);
    }
    *ret_body = (struct bytes){ out, len };
    return OK;
}

static bool is_passed_on(const struct http_field *f)
{
    return !(f->flags & (FIELD_REMOVED | FIELD_HOP)) && f->id != FIELD_CONTENT_LENGTH &&
           f->id != FIELD_TRANSFER_ENCODING && f->id != FIELD_CONNECTION && f->id != FIELD_DATE &&
           f->id != FIELD_CONTENT_TYPE && f->id != FIELD_X_REQUEST_ID;
}

static err copy_answer_field(struct exchange *x, const struct http_field *f)
{
    struct bytes name = arena_copy(&x->arena, http_field_name(f));
    struct bytes value = arena_copy(&x->arena, http_field_value(f));
    return name.ptr && value.ptr ? http_fields_add(&x->response.fields, &x->arena, name, value) : ERR_LIMIT;
}

static err refuse(struct exchange *x, struct exchange *ask, const struct forward_auth *f)
{
    struct bytes body;
    err e = read_body(x, ask, f->conf->answer_bytes_max, &body);
    if (e)
        return e;
    const struct http_field *type = http_fields_get(&ask->response.fields, FIELD_CONTENT_TYPE);
    struct bytes content_type = type ? arena_copy(&x->arena, http_field_value(type)) : BYTES_NONE;
    exchange_answer(x, ask->response.status, content_type, body, BYTES("forward_auth"));
    for (uint32_t i = 0; !e && i < ask->response.fields.count; i++) {
        if (is_passed_on(&ask->response.fields.at[i]))
            e = copy_answer_field(x, &ask->response.fields.at[i]);
    }
    return e;
}

/* ---- the filter ---- */

/* Closed when in doubt. */
static void answer_failure(struct exchange *x, const struct forward_auth *f)
{
    metric_inc(f->cells, METRIC_FAILED);
    exchange_answer(x, 503, BYTES_NONE, BYTES_NONE, BYTES("forward_auth"));
}

static struct bytes value_of(const struct exchange *x, enum http_field_id id)
{
    const struct http_field *f = http_fields_get(&x->request.fields, id);
    return f ? http_field_value(f) : BYTES_NONE;
}

static struct verdict_key key_of(const struct forward_auth *f, const struct exchange *x)
{
    char ip[ADDR_TEXT_BYTES_MAX];
    const struct bytes parts[] = { x->request.method_text,
                                   bytes_from(x->scheme),
                                   x->request.authority,
                                   x->request.target,
                                   value_of(x, FIELD_AUTHORIZATION),
                                   value_of(x, FIELD_COOKIE),
                                   x->client ? (struct bytes){ ip, addr_print_ip(x->client, ip) }
                                             : BYTES_NONE };
    return verdict_cache_key(f->cache, parts, sizeof parts / sizeof *parts);
}

static bool is_cached(const struct forward_auth *f, struct exchange *x, struct verdict_key key,
                      struct bytes *ret_text)
{
    struct bytes found;
    if (!verdict_cache_find(f->cache, key, worker_now_us(), &found))
        return false;
    *ret_text = arena_copy(&x->arena, found);
    return ret_text->ptr != NULL;
}

/* *ret_passes false: x has its answer. */
static err ask_service(struct exchange *x, const struct forward_auth *f, bool *ret_passes,
                       struct bytes *ret_text)
{
    struct exchange ask;
    exchange_prepare(&ask, x->gate);
    err e = fill(x, f, &ask);
    if (!e)
        e = proxy_handle(&ask);
    *ret_passes = !e && ask.response.status >= 200 && ask.response.status < 300;
    if (*ret_passes) {
        *ret_text = gather(x, &ask, f->conf);
        e = ret_text->ptr ? OK : ERR_LIMIT;
    } else if (!e && ask.response.status >= 300) {
        e = refuse(x, &ask, f);
    } else if (!e) {
        e = ERR_PROTOCOL; /* 101: this was no upgrade */
    }
    exchange_release(&ask);
    return e;
}

static err forward_auth_handle(struct exchange *x, void *state, struct chain *next)
{
    const struct forward_auth *f = state;
    struct verdict_key key = { 0 };
    struct bytes text;
    bool passes;
    take_out(x, &f->conf->copy);
    if (f->cache) {
        key = key_of(f, x);
        if (is_cached(f, x, key, &text)) {
            metric_inc(f->cells, METRIC_CACHED);
            return pass(x, f, text, next);
        }
    }
    err e = ask_service(x, f, &passes, &text);
    if (e) {
        answer_failure(x, f);
        return OK;
    }
    metric_inc(f->cells, passes ? METRIC_ALLOWED : METRIC_REFUSED);
    if (!passes)
        return OK;
    if (f->cache)
        verdict_cache_put(f->cache, key, worker_now_us(), deadline_in_ms(f->conf->cache_ms), text);
    return pass(x, f, text, next);
}

static void forward_auth_close(void *state)
{
    struct forward_auth *f = state;
    metric_instance_free(f->metrics);
    verdict_cache_close(f->cache);
    mem_free(f);
}

static err forward_auth_open(const void *conf, struct gate *g, struct bytes scope, void **ret_state,
                             struct diag *reterr)
{
    (void)reterr;
    const struct forward_auth_conf *c = conf;
    struct forward_auth *f = mem_get(sizeof *f);
    if (!f)
        return ERR_MEMORY;
    f->conf = c;
    f->service = gate_service(g, c->service);
    err e = OK;
    if (c->cache_ms != CONF_MS_OFF) {
        f->cache = verdict_cache_open((size_t)c->cache_entries, COPIED_BYTES_MAX);
        e = f->cache ? OK : ERR_MEMORY;
    }
    if (!e)
        e = metric_instance_open(&metric_group, &scope, &f->metrics);
    if (e) {
        forward_auth_close(f);
        return e;
    }
    f->cells = metric_cells(f->metrics, worker_index(worker_self()));
    *ret_state = f;
    return OK;
}

static err check_names(const struct conf_list *names, const char *key, struct diag *reterr)
{
    const struct bytes *item = names->items;
    for (size_t i = 0; i < names->count; i++) {
        if (http_is_token(item[i]))
            continue;
        diag_set(reterr, "%s: \"%.*s\" is no name of a field", key, BYTES_ARG(item[i]));
        return ERR_CONF;
    }
    return OK;
}

static err forward_auth_check(void *conf, struct diag *reterr)
{
    const struct forward_auth_conf *c = conf;
    if (c->path.len &&
        (c->path.ptr[0] != '/' || !http_is_field_value(c->path) || bytes_index(c->path, ' ') < c->path.len)) {
        diag_set(reterr, "path: \"%.*s\" is no path", BYTES_ARG(c->path));
        return ERR_CONF;
    }
    err e = check_names(&c->copy, "copy", reterr);
    return e ? e : check_names(&c->answer, "answer", reterr);
}

const struct filter forward_auth_filter = {
    .conf = { .name = "forward_auth",
              .size = sizeof(struct forward_auth_conf),
              .phrases = (const char *const[]){ "{service} at {path}", "{service}", NULL },
              .fields =
                  (const struct conf_field[]){
                      { .name = "service",
                        .type = CONF_REF,
                        .offset = offsetof(struct forward_auth_conf, service),
                        .required = true,
                        .ref = "services",
                        .doc = "who is asked" },
                      { .name = "path",
                        .type = CONF_TEXT,
                        .offset = offsetof(struct forward_auth_conf, path),
                        .doc = "what is asked for; the request's own path and query when not said" },
                      { .name = "copy",
                        .type = CONF_LIST,
                        .item = CONF_TEXT,
                        .offset = offsetof(struct forward_auth_conf, copy),
                        .doc = "fields of its answer that the request gets on its way to the server; what "
                               "the client "
                               "sends by these names is taken out" },
                      { .name = "answer",
                        .type = CONF_LIST,
                        .item = CONF_TEXT,
                        .offset = offsetof(struct forward_auth_conf, answer),
                        .doc = "fields of its answer that the client gets with the server's (Set-Cookie)" },
                      { .name = "timeout",
                        .type = CONF_MS,
                        .offset = offsetof(struct forward_auth_conf, timeout_ms),
                        .preset = "1s",
                        .min = 1,
                        .max = 60000,
                        .doc = "how long it may take; 503 beyond" },
                      { .name = "answer_bytes_max",
                        .type = CONF_BYTES,
                        .offset = offsetof(struct forward_auth_conf, answer_bytes_max),
                        .preset = "64k",
                        .max = 512 * 1024,
                        .doc = "of an answer's body that goes to the client; 503 beyond" },
                      { .name = "cache",
                        .type = CONF_MS,
                        .offset = offsetof(struct forward_auth_conf, cache_ms),
                        .preset = "off",
                        .min = 1,
                        .max = 3600000,
                        .words = conf_word_off,
                        .doc = "how long an answer of 2xx counts for the same method, host, target, client, "
                               "Authorization and Cookie" },
                      { .name = "cache_entries",
                        .type = CONF_INT,
                        .offset = offsetof(struct forward_auth_conf, cache_entries),
                        .preset = "1024",
                        .min = 1,
                        .max = 1000000,
                        .doc = "of each worker" },
                      { 0 } },
              .check = forward_auth_check,
              .doc = "Asks another service whether a request may pass." },
    .open = forward_auth_open,
    .handle = forward_auth_handle,
    .close = forward_auth_close,
};

/* jwt: only requests with a signed token of somebody who is trusted (RFC 7519; RFC 6750 for how it is carried
 * and how it is refused).
 *
 *      jwt: {file: /etc/weir/jwks.json, issuer: https://login.example, audience: shop}
 *      jwt: {service: login, path: /.well-known/jwks.json, headers: {X-User: sub}}
 *
 *   Authorization: Bearer ─▶ seen lately? ──yes───────────────────────────────────────▶ fields ─▶ chain
 *                               │no                                                       ▲
 *                               ▼                                                         │
 *                            algorithm allowed? ─▶ key ─▶ signature ─▶ times, iss, aud, claims ─▶ remembered
 *                               └──────── no: 401 (403 for a claim), with WWW-Authenticate
 *
 * What a token claims is put into fields for the servers; fields of these names that the client has sent are
 * taken out first, whatever becomes of the token. */
#if WEIR_HAVE_OPENSSL && WEIR_HAVE_JANSSON
#include <math.h>

#include "base/mem.h"
#include "core/metrics.h"
#include "gate/filter.h"
#include "gate/jwt_conf.h"
#include "gate/jwt_source.h"
#include "gate/once.h"
#include "gate/verdict_cache.h"
#include "proto/http_cookie.h"

#define JWT_METRICS(X)                                                                      \
    X(ACCEPTED, "accepted_total", METRIC_COUNTER,                                           \
      "Requests with a token that holds, remembered ones included")                         \
    X(CACHED, "cached_total", METRIC_COUNTER, "Requests whose token was remembered")        \
    X(ABSENT, "absent_total", METRIC_COUNTER, "Requests without a token")                   \
    X(REFUSED, "refused_total", METRIC_COUNTER, "Requests with a token that does not hold") \
    X(NO_KEYS, "no_keys_total", METRIC_COUNTER,                                             \
      "Requests that got 503, because no key has been fetched yet")                         \
    X(FETCHED, "fetched_total", METRIC_COUNTER, "Times that the keys were fetched")         \
    X(FETCH_FAILED, "fetch_failed_total", METRIC_COUNTER, "Times that they could not be")

enum jwt_metric {
#define X(id, name, type, help) METRIC_##id,
    JWT_METRICS(X)
#undef X
        METRIC_COUNT
};

static const struct metric_group metric_group = {
    .module = "jwt",
    .defs =
        (const struct metric_def[]){
#define X(id, name, type, help) { name, type, help },
            JWT_METRICS(X)
#undef X
        },
    .count = METRIC_COUNT,
    .labels = (const char *const[]){ "route", NULL },
};

#define VALUES_BYTES_MAX 768 /* of the claims that are remembered with a token */

/* ---- what all workers share ---- */

static err make_source(const void *conf, void **ret_made, struct diag *reterr)
{
    const struct jwt_conf *c = conf;
    struct jwt_source *s;
    err e = jwt_source_open(&c->source, &s, reterr);
    if (!e)
        *ret_made = s;
    return e;
}

static void unmake_source(void *made)
{
    jwt_source_close(made);
}

static const struct once_kind source_kind = { make_source, unmake_source };

/* ---- the filter ---- */

struct jwt_filter {
    const struct jwt_conf *conf;
    bool algs[JWT_ALG_COUNT];
    void *source; /* struct jwt_source */
    struct jwt_reader reader;
    struct jwt_fetcher *fetcher; /* of the control worker */
    struct verdict_cache *cache; /* NULL: off */
    struct metric_instance *metrics;
    struct metric_cells *cells;
};

/* ---- where it is ---- */

/* "Bearer " and a token, the scheme without case; ptr NULL: none. */
static struct bytes bearer(struct bytes value)
{
    if (value.len < 7 || !bytes_eq_nocase((struct bytes){ value.ptr, 7 }, BYTES("Bearer ")))
        return BYTES_NONE;
    return bytes_trim(bytes_skip(value, 7));
}

static struct bytes token_of(const struct jwt_filter *j, const struct exchange *x)
{
    const struct jwt_conf *c = j->conf;
    struct bytes token = BYTES_NONE;
    const struct http_field *f = c->header.len ? http_fields_find(&x->request.fields, c->header)
                                               : http_fields_get(&x->request.fields, FIELD_AUTHORIZATION);
    if (f) {
        token = bearer(http_field_value(f));
        if (!token.ptr && c->header.len)
            token = http_field_value(f);
    }
    if (!token.ptr && c->cookie.len && !http_cookie_find(&x->request.fields, c->cookie, &token))
        return BYTES_NONE;
    return token;
}

/* ---- refusing (RFC 6750 3) ---- */

static err challenge(struct exchange *x, const struct jwt_filter *j, const char *error, const char *words)
{
    const struct bytes realm = j->conf->realm;
    struct bytes value =
        error ? arena_print(&x->arena, "Bearer realm=\"%.*s\", error=\"%s\", error_description=\"%s\"",
                            BYTES_ARG(realm), error, words)
              : arena_print(&x->arena, "Bearer realm=\"%.*s\"", BYTES_ARG(realm));
    if (!value.ptr)
        return ERR_LIMIT;
    return http_fields_set(&x->response.fields, &x->arena, BYTES("WWW-Authenticate"), value);
}

static err refuse(struct exchange *x, const struct jwt_filter *j, unsigned status, const char *error,
                  const char *words)
{
    metric_inc(j->cells, error ? METRIC_REFUSED : METRIC_ABSENT);
    exchange_answer(x, status, BYTES_NONE, BYTES_NONE, BYTES("jwt"));
    return challenge(x, j, error, words);
}

static err refuse_without_keys(struct exchange *x, const struct jwt_filter *j)
{
    metric_inc(j->cells, METRIC_NO_KEYS);
    exchange_answer(x, 503, BYTES_NONE, BYTES_NONE, BYTES("jwt"));
    return http_fields_set(&x->response.fields, &x->arena, BYTES("Retry-After"), BYTES("5"));
}

/* ---- fields from claims ---- */

static void take_out(struct exchange *x, const struct jwt_conf *c)
{
    const struct conf_pair *pair = c->headers.items;
    for (size_t i = 0; i < c->headers.count; i++)
        http_fields_remove(&x->request.fields, pair[i].name);
}

/* "+value\n" for each of `headers` in its order, "-\n" for one that the token has not; the subject in front.
 * As one text, so that it can be remembered. */
static struct bytes gather(const struct jwt *t, const struct jwt_conf *c, struct arena *a)
{
    const struct conf_pair *pair = c->headers.items;
    struct bytes value;
    struct bytes text = jwt_claim_text(t, BYTES("sub"), a, &value)
                            ? arena_print(a, "+%.*s\n", BYTES_ARG(value))
                            : BYTES("-\n");
    for (size_t i = 0; text.ptr && i < c->headers.count; i++) {
        if (jwt_claim_text(t, pair[i].value, a, &value))
            text = arena_print(a, "%.*s+%.*s\n", BYTES_ARG(text), BYTES_ARG(value));
        else
            text = arena_print(a, "%.*s-\n", BYTES_ARG(text));
    }
    return text;
}

/* text: of gather, in x's arena. */
static err put_fields(struct exchange *x, const struct jwt_conf *c, struct bytes text)
{
    const struct conf_pair *pair = c->headers.items;
    struct bytes line;
    err e = OK;
    if (bytes_split(&text, '\n', &line) && line.len && line.ptr[0] == '+')
        x->user = bytes_skip(line, 1);
    for (size_t i = 0; !e && i < c->headers.count && bytes_split(&text, '\n', &line); i++) {
        if (line.len && line.ptr[0] == '+')
            e = http_fields_add(&x->request.fields, &x->arena, pair[i].name, bytes_skip(line, 1));
    }
    if (!e && c->hide && !c->header.len)
        http_fields_remove_id(&x->request.fields, FIELD_AUTHORIZATION);
    else if (!e && c->hide)
        http_fields_remove(&x->request.fields, c->header);
    return e;
}

/* ---- judging ---- */

struct verdict {
    unsigned status; /* 0: fine */
    const char *error, *words;
    double exp_s;      /* when it ends; HUGE_VAL: never */
    struct bytes text; /* of gather */
};

static struct verdict invalid(const char *words)
{
    return (struct verdict){ .status = 401, .error = "invalid_token", .words = words };
}

static bool has_claims(const struct jwt *t, const struct jwt_conf *c)
{
    const struct conf_pair *pair = c->claims.items;
    for (size_t i = 0; i < c->claims.count; i++) {
        if (!jwt_claim_has(t, pair[i].name, pair[i].value))
            return false;
    }
    return true;
}

static struct verdict judge(const struct jwt_filter *j, const struct jwt *t, struct arena *a)
{
    const struct jwt_conf *c = j->conf;
    const struct jwt_rules rules = { .issuers = c->issuer.items,
                                     .issuers_count = c->issuer.count,
                                     .audiences = c->audience.items,
                                     .audiences_count = c->audience.count,
                                     .leeway_s = (double)c->leeway_ms / 1000,
                                     .expiry = c->expiry };
    struct verdict v = { .exp_s = 0 };
    if (c->typ.len && !(t->typ.ptr && bytes_eq_nocase(t->typ, c->typ)))
        return invalid("the token is of another type");
    enum jwt_verdict verdict = jwt_judge(t, &rules, (double)worker_wall_us() / 1e6, &v.exp_s);
    if (verdict != JWT_FINE)
        return invalid(jwt_verdict_text(verdict));
    if (!has_claims(t, c))
        return (struct verdict){ .status = 403,
                                 .error = "insufficient_scope",
                                 .words = "the token does not claim what is wanted here" };
    v.text = gather(t, c, a);
    return v;
}

/* An unknown key is asked for once; the fiber may wait in there. */
static err verify(struct jwt_filter *j, const struct jwt *t)
{
    err e = j->reader.keys ? jwt_keys_verify(j->reader.keys, t) : ERR_UNAVAILABLE;
    if ((e == ERR_NOT_FOUND || e == ERR_UNAVAILABLE) && jwt_reader_want(&j->reader) && j->reader.keys)
        e = jwt_keys_verify(j->reader.keys, t);
    return e;
}

static err check_token(struct jwt_filter *j, struct bytes token, struct exchange *x, struct verdict *ret)
{
    struct jwt t;
    err e = jwt_read(token, &x->arena, &t);
    if (e) {
        *ret = invalid(e == ERR_UNSUPPORTED ? "the token's algorithm or an extension of it is not known"
                       : e == ERR_LIMIT     ? "the token is too long"
                                            : "the token is malformed");
        return OK;
    }
    if (!j->algs[t.alg]) {
        *ret = invalid("the token's algorithm is not allowed");
        jwt_close(&t);
        return OK;
    }
    e = verify(j, &t);
    if (e == ERR_NOT_FOUND)
        *ret = invalid("the token's key is not known");
    else if (e == ERR_DENIED)
        *ret = invalid("the token's signature is wrong");
    else if (!e)
        *ret = judge(j, &t, &x->arena);
    jwt_close(&t);
    return e == ERR_UNAVAILABLE ? e : OK;
}

/* ---- remembering ---- */

static struct verdict_key key_of(const struct jwt_filter *j, struct bytes token)
{
    /* of these keys: with others it is checked again */
    const struct bytes parts[] = { token, { (const char *)&j->reader.version, sizeof j->reader.version } };
    return verdict_cache_key(j->cache, parts, 2);
}

static void remember(struct jwt_filter *j, struct bytes token, const struct verdict *v)
{
    const uint64_t now_us = worker_now_us();
    const double left_s = v->exp_s - (double)worker_wall_us() / 1e6;
    uint64_t until_us = deadline_in_ms(j->conf->cache_ms);
    if (left_s < (double)j->conf->cache_ms / 1000)
        until_us = now_us + (uint64_t)(left_s > 0 ? left_s * 1e6 : 0);
    verdict_cache_put(j->cache, key_of(j, token), now_us, until_us, v->text);
}

static bool is_remembered(struct jwt_filter *j, struct bytes token, struct arena *a, struct bytes *ret_text)
{
    struct bytes found;
    if (!verdict_cache_find(j->cache, key_of(j, token), worker_now_us(), &found))
        return false;
    *ret_text = arena_copy(a, found);
    return ret_text->ptr != NULL;
}

static err jwt_handle(struct exchange *x, void *state, struct chain *next)
{
    struct jwt_filter *j = state;
    struct verdict v = { .status = 0 };
    take_out(x, j->conf);
    struct bytes token = token_of(j, x);
    if (!token.ptr) {
        if (j->conf->required)
            return refuse(x, j, 401, NULL, NULL);
        metric_inc(j->cells, METRIC_ABSENT);
        return chain_next(next, x);
    }
    jwt_reader_look(&j->reader);
    if (j->cache && is_remembered(j, token, &x->arena, &v.text)) {
        metric_inc(j->cells, METRIC_CACHED);
    } else {
        err e = check_token(j, token, x, &v);
        if (e)
            return refuse_without_keys(x, j);
        if (v.status)
            return refuse(x, j, v.status, v.error, v.words);
        if (!v.text.ptr)
            return ERR_LIMIT;
        if (j->cache)
            remember(j, token, &v);
    }
    metric_inc(j->cells, METRIC_ACCEPTED);
    err e = put_fields(x, j->conf, v.text);
    return e ? e : chain_next(next, x);
}

/* ---- opening ---- */

static void jwt_filter_close(void *state)
{
    struct jwt_filter *j = state;
    jwt_fetcher_stop(j->fetcher);
    if (j->source)
        jwt_reader_close(&j->reader);
    once_put(j->source);
    metric_instance_free(j->metrics);
    verdict_cache_close(j->cache);
    mem_free(j);
}

static void count_fetch(void *arg, bool fine)
{
    struct jwt_filter *j = arg;
    metric_inc(j->cells, fine ? METRIC_FETCHED : METRIC_FETCH_FAILED);
}

static err open_parts(struct jwt_filter *j, struct gate *g, struct bytes scope, struct diag *reterr)
{
    const struct jwt_conf *c = j->conf;
    const unsigned index = worker_index(worker_self());
    err e = jwt_conf_algs(j->conf, j->algs, reterr);
    if (!e)
        e = once_get(&source_kind, c, &j->source, reterr);
    if (e)
        return e;
    jwt_reader_open(&j->reader, j->source);
    if (c->cache_ms != CONF_MS_OFF &&
        !(j->cache = verdict_cache_open((size_t)c->cache_entries, VALUES_BYTES_MAX)))
        return ERR_MEMORY;
    e = metric_instance_open(&metric_group, &scope, &j->metrics);
    if (e)
        return e;
    j->cells = metric_cells(j->metrics, index);
    return index == gate_workers(g) ? jwt_fetcher_start(j->source, g, scope, count_fetch, j, &j->fetcher)
                                    : OK;
}

static err jwt_open(const void *conf, struct gate *g, struct bytes scope, void **ret_state,
                    struct diag *reterr)
{
    struct jwt_filter *j = mem_get(sizeof *j);
    if (!j)
        return ERR_MEMORY;
    j->conf = conf;
    err e = open_parts(j, g, scope, reterr);
    if (e) {
        jwt_filter_close(j);
        return e;
    }
    *ret_state = j;
    return OK;
}

const struct filter jwt_filter = {
    .conf = { .name = "jwt",
              .size = sizeof(struct jwt_conf),
              .phrases = (const char *const[]){ "{file}", NULL },
              .fields = jwt_conf_fields,
              .check = jwt_conf_check,
              .doc = "Lets only requests with a signed token pass." },
    .open = jwt_open,
    .handle = jwt_handle,
    .close = jwt_filter_close,
};
#endif

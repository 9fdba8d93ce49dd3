/* basic_auth: users and passwords from an htpasswd file (RFC 7617).
 *
 *      basic_auth: /etc/weir/users
 *
 *   Authorization ─▶ seen lately? ──yes──▶ chain
 *                        │no
 *                        ▼
 *                    helper thread: the hash, slow by design ──fits──▶ remembered for `cache` ─▶ chain
 *                                                            ──else──▶ 401
 *
 * A worker never hashes: it would stand still for that time. Who is right is remembered on each worker, as a
 * keyed hash and not as a password; who is wrong is not. A name that nobody has costs as much as one that
 * somebody has. */
#include "base/base64.h"
#include "base/mem.h"
#include "core/helper.h"
#include "core/metrics.h"
#include "gate/filter.h"
#include "gate/htpasswd.h"
#include "gate/once.h"
#include "gate/password.h"
#include "gate/verdict_cache.h"

struct basic_auth_conf {
    struct bytes file, realm, user_header;
    bool hide;
    uint64_t cache_ms;
    int64_t cache_entries;
};

#define HELPER_THREADS 2
#define HELPER_NICE 5   /* requests go before passwords */
#define WAITING_MAX 256 /* passwords that wait for a helper thread, of all routes and workers */
#define CREDENTIALS_BYTES_MAX 1024

#define BASIC_AUTH_METRICS(X)                                                           \
    X(ACCEPTED, "accepted_total", METRIC_COUNTER,                                       \
      "Requests with a right password, remembered ones included")                       \
    X(CACHED, "cached_total", METRIC_COUNTER, "Requests whose password was remembered") \
    X(REFUSED, "refused_total", METRIC_COUNTER, "Requests that got 401")                \
    X(BUSY, "busy_total", METRIC_COUNTER, "Requests that got 503, because too many passwords were waiting")

enum basic_auth_metric {
#define X(id, name, type, help) METRIC_##id,
    BASIC_AUTH_METRICS(X)
#undef X
        METRIC_COUNT
};

static const struct metric_group metric_group = {
    .module = "basic_auth",
    .defs =
        (const struct metric_def[]){
#define X(id, name, type, help) { name, type, help },
            BASIC_AUTH_METRICS(X)
#undef X
        },
    .count = METRIC_COUNT,
    .labels = (const char *const[]){ "route", NULL },
};

/* ---- the helper threads, one pool for all routes ---- */

static struct helper_pool helpers = HELPER_POOL("weir-password", HELPER_THREADS, WAITING_MAX, HELPER_NICE);

/* ---- the users, one table for all workers ---- */

static err make_users(const void *conf, void **ret_made, struct diag *reterr)
{
    const struct basic_auth_conf *c = conf;
    struct htpasswd *h;
    err e = htpasswd_load(c->file.ptr, &h, reterr);
    if (!e)
        *ret_made = h;
    return e;
}

static void unmake_users(void *made)
{
    htpasswd_close(made);
}

static const struct once_kind users_kind = { make_users, unmake_users };

/* ---- what the client says ---- */

struct credentials {
    struct bytes name, password;
    char text[CREDENTIALS_BYTES_MAX];
};

/* "Basic " and base64 of name:password (RFC 7617 2); the scheme without case. */
static bool credentials_read(struct bytes value, struct credentials *c)
{
    size_t len;
    if (value.len < 6 || !bytes_eq_nocase((struct bytes){ value.ptr, 6 }, BYTES("Basic ")))
        return false;
    struct bytes token = bytes_trim(bytes_skip(value, 6));
    if (base64_bytes_max(token.len) > sizeof c->text ||
        base64_decode(BASE64_STANDARD, token, c->text, &len) != OK)
        return false;
    const struct bytes both = { c->text, len };
    size_t colon = bytes_index(both, ':');
    if (colon == len || colon == 0 || colon > HTPASSWD_NAME_BYTES_MAX)
        return false;
    c->name = (struct bytes){ both.ptr, colon };
    c->password = bytes_skip(both, colon + 1);
    return http_is_field_value(c->name);
}

/* ---- the filter ---- */

struct basic_auth {
    const struct basic_auth_conf *conf;
    void *users;                 /* struct htpasswd */
    struct verdict_cache *cache; /* NULL: off */
    struct metric_instance *metrics;
    struct metric_cells *cells;
};

struct question {
    struct bytes password;
    const char *hash;
    bool fits;
};

/* On a helper thread. */
static void answer_question(void *arg)
{
    struct question *q = arg;
    q->fits = password_fits(q->password, q->hash);
}

/* ERR_LIMIT: too many are waiting; else *ret_right says it. */
static err is_right(const struct basic_auth *b, const struct credentials *c, bool *ret_right)
{
    struct verdict_key key = { 0 };
    struct bytes nothing;
    const char *hash = htpasswd_find(b->users, c->name);
    if (b->cache && hash) {
        const struct bytes parts[] = { c->name, c->password, bytes_from(hash) };
        key = verdict_cache_key(b->cache, parts, 3);
        *ret_right = verdict_cache_find(b->cache, key, worker_now_us(), &nothing);
        if (*ret_right) {
            metric_inc(b->cells, METRIC_CACHED);
            return OK;
        }
    }
    struct question q = { .password = c->password, .hash = hash ? hash : htpasswd_any(b->users) };
    err e = helper_run(&helpers, answer_question, &q);
    if (e)
        return e;
    *ret_right = q.fits && hash;
    if (*ret_right && b->cache)
        verdict_cache_put(b->cache, key, worker_now_us(), deadline_in_ms(b->conf->cache_ms), BYTES(""));
    return OK;
}

static err refuse(struct exchange *x, const struct basic_auth *b)
{
    metric_inc(b->cells, METRIC_REFUSED);
    exchange_answer(x, 401, BYTES_NONE, BYTES_NONE, BYTES("basic_auth"));
    struct bytes challenge =
        arena_print(&x->arena, "Basic realm=\"%.*s\", charset=\"UTF-8\"", BYTES_ARG(b->conf->realm));
    if (!challenge.ptr)
        return ERR_LIMIT;
    return http_fields_set(&x->response.fields, &x->arena, BYTES("WWW-Authenticate"), challenge);
}

static err refuse_busy(struct exchange *x, const struct basic_auth *b)
{
    metric_inc(b->cells, METRIC_BUSY);
    exchange_answer(x, 503, BYTES_NONE, BYTES_NONE, BYTES("basic_auth"));
    return http_fields_set(&x->response.fields, &x->arena, BYTES("Retry-After"), BYTES("1"));
}

static err accept_user(struct exchange *x, const struct basic_auth *b, const struct credentials *c)
{
    metric_inc(b->cells, METRIC_ACCEPTED);
    x->user = arena_copy(&x->arena, c->name);
    if (!x->user.ptr)
        return ERR_LIMIT;
    if (b->conf->hide)
        http_fields_remove_id(&x->request.fields, FIELD_AUTHORIZATION);
    if (!b->conf->user_header.len)
        return OK;
    return http_fields_add(&x->request.fields, &x->arena, b->conf->user_header, x->user);
}

static err basic_auth_handle(struct exchange *x, void *state, struct chain *next)
{
    const struct basic_auth *b = state;
    struct credentials c;
    bool right = false;
    if (b->conf->user_header.len) /* only weir says it */
        http_fields_remove(&x->request.fields, b->conf->user_header);
    const struct http_field *f = http_fields_get(&x->request.fields, FIELD_AUTHORIZATION);
    err e = f && credentials_read(http_field_value(f), &c) ? is_right(b, &c, &right) : OK;
    if (e)
        return refuse_busy(x, b);
    if (!right)
        return refuse(x, b);
    e = accept_user(x, b, &c);
    return e ? e : chain_next(next, x);
}

static void basic_auth_close(void *state)
{
    struct basic_auth *b = state;
    metric_instance_free(b->metrics);
    verdict_cache_close(b->cache);
    once_put(b->users);
    mem_free(b);
}

static err basic_auth_open(const void *conf, struct gate *g, struct bytes scope, void **ret_state,
                           struct diag *reterr)
{
    (void)g;
    const struct basic_auth_conf *c = conf;
    struct basic_auth *b = mem_get(sizeof *b);
    if (!b)
        return ERR_MEMORY;
    b->conf = c;
    err e = once_get(&users_kind, conf, &b->users, reterr);
    if (!e && c->cache_ms != CONF_MS_OFF && !(b->cache = verdict_cache_open((size_t)c->cache_entries, 0)))
        e = ERR_MEMORY;
    if (!e)
        e = metric_instance_open(&metric_group, &scope, &b->metrics);
    if (e) {
        basic_auth_close(b);
        return e;
    }
    b->cells = metric_cells(b->metrics, worker_index(worker_self()));
    *ret_state = b;
    return OK;
}

static err basic_auth_check(void *conf, struct diag *reterr)
{
    const struct basic_auth_conf *c = conf;
    void *users;
    if (!http_is_field_value(c->realm) || bytes_index(c->realm, '"') < c->realm.len ||
        bytes_index(c->realm, '\\') < c->realm.len) {
        diag_set(reterr, "realm: no quotes, backslashes or control characters");
        return ERR_CONF;
    }
    if (c->user_header.len && !http_is_token(c->user_header)) {
        diag_set(reterr, "user_header: \"%.*s\" is no name of a field", BYTES_ARG(c->user_header));
        return ERR_CONF;
    }
    err e = make_users(conf, &users, reterr);
    if (!e)
        unmake_users(users);
    return e;
}

const struct filter basic_auth_filter = {
    .conf = { .name = "basic_auth",
              .size = sizeof(struct basic_auth_conf),
              .phrases = (const char *const[]){ "{file}", NULL },
              .fields =
                  (const struct conf_field[]){
                      { .name = "file",
                        .type = CONF_TEXT,
                        .offset = offsetof(struct basic_auth_conf, file),
                        .required = true,
                        .doc =
                            "an htpasswd file: `name:hash` a line, bcrypt, SHA-crypt, yescrypt or $apr1$" },
                      { .name = "realm",
                        .type = CONF_TEXT,
                        .offset = offsetof(struct basic_auth_conf, realm),
                        .preset = "weir",
                        .doc = "what a browser shows when it asks for the password" },
                      { .name = "user_header",
                        .type = CONF_TEXT,
                        .offset = offsetof(struct basic_auth_conf, user_header),
                        .doc = "a field that tells servers the name; what clients send by that name is taken "
                               "out" },
                      { .name = "hide",
                        .type = CONF_BOOL,
                        .offset = offsetof(struct basic_auth_conf, hide),
                        .preset = "false",
                        .doc = "takes Authorization out, so that servers never see a password" },
                      { .name = "cache",
                        .type = CONF_MS,
                        .offset = offsetof(struct basic_auth_conf, cache_ms),
                        .preset = "5m",
                        .min = 1000,
                        .max = 86400000,
                        .words = conf_word_off,
                        .doc = "how long a right password is remembered; a reload forgets" },
                      { .name = "cache_entries",
                        .type = CONF_INT,
                        .offset = offsetof(struct basic_auth_conf, cache_entries),
                        .preset = "1024",
                        .min = 1,
                        .max = 1000000,
                        .doc = "of each worker" },
                      { 0 } },
              .check = basic_auth_check,
              .doc = "Asks for a name and a password of an htpasswd file." },
    .open = basic_auth_open,
    .handle = basic_auth_handle,
    .close = basic_auth_close,
};

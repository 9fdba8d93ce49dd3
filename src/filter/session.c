#if WEIR_HAVE_OPENSSL
/* session: gives the clients of a route sessions that are kept in the ledger, under a signed cookie.
 *
 *      request   cookie ─▶ signature right? ─▶ ledger: its values    none, or not there: a new one, a new id
 *                X-Session-Id and chosen values to the server; the server that it stays at (sticky)
 *      answer    X-Session-Set, -Remove, -End, -New-Id ─▶ ledger, before the client hears of it
 *                the cookie, where it is new
 *
 * What clients send under the header's prefix never reaches a server, what servers send never a client. */
#include "base/file_read.h"
#include "base/mem.h"
#include "core/log.h"
#include "core/metrics.h"
#include "gate/filter.h"
#include "gate/gate_conf.h"
#include "gate/problem.h"
#include "gate/service.h"
#include "gate/session_conf.h"
#include "gate/session_store.h"
#include "proto/http_cookie.h"

#define SECRET_FILE_BYTES_MAX 4096
#define RENEWALS 16 /* of a cookie that is kept, in the length of its time */

/* ---- metrics ---- */

#define SESSION_METRICS(X)                                                                                \
    X(FOUND, "found_total", METRIC_COUNTER, "Requests whose session was there")                           \
    X(MADE, "made_total", METRIC_COUNTER, "Sessions made")                                                \
    X(GONE, "gone_total", METRIC_COUNTER, "Requests whose session had ended")                             \
    X(FORGED, "forged_total", METRIC_COUNTER, "Requests with a cookie that weir has not signed")          \
    X(CHANGED, "changed_total", METRIC_COUNTER, "Answers that changed values")                            \
    X(ENDED, "ended_total", METRIC_COUNTER, "Sessions ended by a server, or for their age")               \
    X(MOVED, "moved_total", METRIC_COUNTER, "Sessions that got a new id")                                 \
    X(STUCK, "server_changes_total", METRIC_COUNTER, "Sessions that were given a server, or another one") \
    X(LOST, "lost_total", METRIC_COUNTER, "Changes of sessions that ended while the server worked")       \
    X(REFUSED, "refused_total", METRIC_COUNTER, "Answers that asked for what cannot be done: 502")        \
    X(FAILED, "failed_total", METRIC_COUNTER, "Requests that the ledger could not serve")

enum session_metric {
#define X(id, name, type, help) METRIC_##id,
    SESSION_METRICS(X)
#undef X
        METRIC_COUNT
};

static const struct metric_group metric_group = {
    .module = "session",
    .defs =
        (const struct metric_def[]){
#define X(id, name, type, help) { name, type, help },
            SESSION_METRICS(X)
#undef X
        },
    .count = METRIC_COUNT,
    .labels = (const char *const[]){ "route", NULL },
};

/* ---- the filter ---- */

struct session_filter {
    const struct session_conf *conf;
    struct session_store store;
    struct session_secrets secrets;
    struct bytes secret_text; /* of the file */
    char secret_own[SESSION_SECRET_BYTES];
    struct random_ids ids;
    struct bytes id_name, *pass_names; /* of the header fields */
    struct metric_instance *metrics;
    struct metric_cells *cells;
    struct arena arena;
};

/* One request with its session. */
struct visit {
    struct session_filter *f;
    struct exchange *x;
    struct session s;
    bool tell; /* the client needs the cookie */
};

/* ---- the ledger is not there ---- */

static struct log_limit limit = LOG_LIMIT(1);

static err without(struct visit *v, err failed)
{
    struct problem p;
    metric_inc(v->f->cells, METRIC_FAILED);
    log_limited(&limit, LOG_WARN, "session", "the ledger did not serve: %s", err_text(failed));
    problem_begin(&p, v->x, 503, BYTES("sessions cannot be kept at the moment"));
    json_text(&p.json, "reason", BYTES("unavailable"));
    const err e = problem_end(&p, BYTES("session"));
    return e ? e : http_fields_set(&v->x->response.fields, &v->x->arena, BYTES("Retry-After"), BYTES("1"));
}

static bool passes_without(const struct visit *v)
{
    return v->f->conf->without_ledger == SESSION_WITHOUT_PASS;
}

/* ---- the request ---- */

/* Where no file says it, the ledger does. */
static err need_secret(struct session_filter *f, struct exchange *x)
{
    struct bytes secret;
    if (f->secrets.count)
        return OK;
    const struct bytes a = random_id_make(&f->ids, &x->arena), b = random_id_make(&f->ids, &x->arena);
    const struct bytes offered =
        a.ptr && b.ptr ? arena_print(&x->arena, "%.*s%.*s", BYTES_ARG(a), BYTES_ARG(b)) : BYTES_NONE;
    if (!offered.ptr)
        return ERR_LIMIT;
    err e = session_store_secret(&x->arena, offered, &secret);
    if (e)
        return e;
    const size_t len = secret.len < sizeof f->secret_own ? secret.len : sizeof f->secret_own;
    memcpy(f->secret_own, secret.ptr, len);
    f->secrets.at[0] = (struct bytes){ f->secret_own, len };
    f->secrets.count = 1;
    return OK;
}

static uint64_t now_ms(void)
{
    return worker_wall_us() / 1000;
}

/* A new session, with nothing in it but when it was made. old: one that ends with it. */
static err make(struct visit *v, struct bytes old)
{
    struct exchange *x = v->x;
    v->s = (struct session){ .id = random_id_make(&v->f->ids, &x->arena) };
    const struct bytes made = arena_print(&x->arena, "%llu", (unsigned long long)now_ms());
    if (!v->s.id.ptr || !made.ptr)
        return ERR_LIMIT;
    err e = session_put(&v->s, &x->arena, SESSION_MADE, made);
    if (!e)
        e = session_store_make(&v->f->store, &x->arena, &v->s, old);
    if (e)
        return e;
    metric_inc(v->f->cells, METRIC_MADE);
    v->tell = true;
    return OK;
}

static bool is_too_old(const struct visit *v)
{
    uint64_t made_ms;
    const uint64_t age_max_ms = v->f->conf->age_max_ms;
    return age_max_ms != CONF_MS_OFF && bytes_to_u64(session_find(&v->s, SESSION_MADE), &made_ms) &&
           now_ms() > made_ms && now_ms() - made_ms > age_max_ms;
}

/* The session that the cookie speaks of, if it does; *ret_old: the id of one that is there and too old. */
static err find(struct visit *v, struct bytes *ret_old)
{
    struct session_filter *f = v->f;
    struct bytes text, id;
    uint64_t issued_s;
    unsigned secret;
    bool found;
    if (!http_cookie_find(&v->x->request.fields, f->conf->cookie->name, &text))
        return OK;
    if (!session_cookie_read(&f->secrets, f->store.keys, text, &id, &issued_s, &secret)) {
        metric_inc(f->cells, METRIC_FORGED);
        return OK;
    }
    const err e = session_store_load(&f->store, &v->x->arena, id, &v->s, &found);
    if (e)
        return e;
    if (!found) {
        metric_inc(f->cells, METRIC_GONE);
        return OK;
    }
    if (is_too_old(v)) {
        metric_inc(f->cells, METRIC_ENDED);
        *ret_old = id;
        v->s = (struct session){ 0 };
        return OK;
    }
    metric_inc(f->cells, METRIC_FOUND);
    const bool renews = f->conf->cookie->keep && f->conf->renew;
    v->tell = secret != 0 || (renews && (now_ms() / 1000 - issued_s) * RENEWALS >= f->conf->ttl_ms / 1000);
    return OK;
}

static err arrive(struct visit *v)
{
    struct bytes old = BYTES_NONE;
    err e = need_secret(v->f, v->x);
    if (!e)
        e = find(v, &old);
    if (e || v->s.id.len)
        return e;
    if (v->f->conf->create == SESSION_AT_ONCE)
        return make(v, old);
    return old.len ? session_store_end(&v->f->store, &v->x->arena, old) : OK;
}

/* What the server and the other filters are told. */
static err hand_over(struct visit *v)
{
    const struct session_filter *f = v->f;
    const struct bytes *pass = f->conf->pass.items;
    struct exchange *x = v->x;
    x->session = &v->s;
    err e = v->s.id.len ? http_fields_add(&x->request.fields, &x->arena, f->id_name, v->s.id) : OK;
    for (size_t i = 0; !e && i < f->conf->pass.count; i++) {
        const struct bytes value = session_find(&v->s, pass[i]);
        if (!value.ptr)
            continue;
        const struct bytes text = session_encode(value, &x->arena);
        e = text.ptr ? http_fields_add(&x->request.fields, &x->arena, f->pass_names[i], text) : ERR_LIMIT;
    }
    if (f->conf->user.len && !x->user.len)
        x->user = session_find(&v->s, f->conf->user);
    return e;
}

/* ---- the answer ---- */

/* The server that answered is where it stays from now on, unless the one before is well and was only busy. */
static bool moves_server(const struct visit *v)
{
    const struct exchange *x = v->x;
    const struct server *to = x->server;
    if (!v->f->conf->sticky || !v->s.id.len || !to || !x->service || to->service != x->service ||
        x->answered_by.len || x->failed)
        return false;
    const struct bytes before = session_server(&v->s, x->service->name);
    if (bytes_eq(before, bytes_from(to->shared->text)))
        return false;
    for (uint32_t i = 0; i < x->service->servers_count && x->attempts == 1; i++) {
        const struct server *s = &x->service->servers[i];
        if (bytes_eq(before, bytes_from(s->shared->text)))
            return !server_is_well(s, worker_now_us());
    }
    return true;
}

static err add_server(struct visit *v, struct session_change *c)
{
    if (!moves_server(v) || c->end || c->sets_count == SESSION_SETS_MAX)
        return OK;
    const struct bytes name = session_server_name(v->x->service->name, &v->x->arena);
    c->sets[c->sets_count++] = (struct session_value){ name, bytes_from(v->x->server->shared->text) };
    metric_inc(v->f->cells, METRIC_STUCK);
    return name.ptr ? OK : ERR_LIMIT;
}

/* The same in x->session: for what comes behind, and the access log. */
static err take_over(struct visit *v, const struct session_change *c)
{
    err e = OK;
    for (unsigned i = 0; !e && i < c->sets_count; i++)
        e = session_put(&v->s, &v->x->arena, c->sets[i].name, c->sets[i].value);
    for (unsigned i = 0; i < c->removes_count; i++)
        session_take(&v->s, c->removes[i]);
    return e;
}

static err answer_wrong(struct visit *v, const char *wrong)
{
    struct problem p;
    metric_inc(v->f->cells, METRIC_REFUSED);
    log_limited(&limit, LOG_WARN, "session", "an answer was refused: %s", wrong);
    problem_begin(&p, v->x, 502, BYTES("the server asked for what no session can do"));
    json_text(&p.json, "reason", bytes_from(wrong));
    return problem_end(&p, BYTES("session"));
}

static err end(struct visit *v)
{
    const err e = session_store_end(&v->f->store, &v->x->arena, v->s.id);
    if (e)
        return e;
    metric_inc(v->f->cells, METRIC_ENDED);
    v->s = (struct session){ 0 };
    return session_cookie_give(v->f->conf->cookie, v->x, BYTES_NONE, 0);
}

/* It ended while the server worked on it: what was to be kept is kept nowhere. */
static void lose(struct visit *v)
{
    metric_inc(v->f->cells, METRIC_LOST);
    v->s = (struct session){ 0 };
    v->tell = false;
}

static err change(struct visit *v, const struct session_change *c)
{
    struct arena *a = &v->x->arena;
    bool there = true;
    err e = OK;
    if (c->sets_count || c->removes_count) {
        e = session_store_change(&v->f->store, a, v->s.id, c, &there);
        if (!e && there)
            metric_inc(v->f->cells, METRIC_CHANGED);
    }
    if (!e && there && c->new_id) {
        const struct bytes id = random_id_make(&v->f->ids, a);
        e = id.ptr ? session_store_move(&v->f->store, a, &v->s, id, &there) : ERR_LIMIT;
        if (!e && there)
            metric_inc(v->f->cells, METRIC_MOVED);
        v->tell |= there;
    }
    if (!e && !there)
        lose(v);
    return e;
}

static err apply(struct visit *v, const struct session_change *c)
{
    err e = OK;
    if (!v->s.id.len && (c->end || (!c->sets_count && !c->new_id)))
        return OK;
    if (c->end)
        return end(v);
    if (!v->s.id.len)
        e = make(v, BYTES_NONE);
    if (!e)
        e = change(v, c);
    return e;
}

static err give_cookie(struct visit *v)
{
    char *text = arena_get(&v->x->arena, SESSION_COOKIE_BYTES);
    if (!text)
        return ERR_LIMIT;
    session_cookie_write(&v->f->secrets, v->f->store.keys, v->s.id, now_ms() / 1000, text);
    return session_cookie_give(v->f->conf->cookie, v->x, (struct bytes){ text, SESSION_COOKIE_BYTES },
                               v->f->conf->ttl_ms / 1000);
}

static err leave(struct visit *v)
{
    struct exchange *x = v->x;
    struct session_change *c = arena_get(&x->arena, sizeof *c);
    err e = c ? session_change_read(&x->response.fields, v->f->conf->header, &x->arena, c) : ERR_LIMIT;
    session_strip(&x->response.fields, v->f->conf->header);
    if (e)
        return e;
    if (c->wrong)
        return answer_wrong(v, c->wrong);
    e = add_server(v, c);
    if (e)
        return e;
    if (session_bytes_after(&v->s, c) > v->f->conf->values_bytes_max)
        return answer_wrong(v, "a session of more than values_bytes_max");
    e = apply(v, c);
    if (e)
        return passes_without(v) ? OK : without(v, e);
    if (!v->s.id.len)
        return OK;
    e = take_over(v, c);
    return !e && v->tell ? give_cookie(v) : e;
}

static err session_handle(struct exchange *x, void *state, struct chain *next)
{
    struct session_filter *f = state;
    struct visit *v = arena_get_zero(&x->arena, sizeof *v);
    if (!v)
        return ERR_LIMIT;
    v->f = f;
    v->x = x;
    session_strip(&x->request.fields, f->conf->header);
    err e = arrive(v);
    if (e && !passes_without(v))
        return without(v, e);
    if (e) {
        metric_inc(f->cells, METRIC_FAILED);
        e = chain_next(next, x);
        session_strip(&x->response.fields, f->conf->header);
        return e;
    }
    e = hand_over(v);
    if (e)
        return e;
    e = chain_next(next, x);
    if (e && !v->tell)
        return e;
    if (e)
        gate_answer_failure(x, e);
    return leave(v);
}

/* ---- opening ---- */

static void session_close(void *state)
{
    struct session_filter *f = state;
    metric_instance_free(f->metrics);
    file_read_free(f->secret_text);
    arena_close(&f->arena);
    mem_free(f);
}

static err name_headers(struct session_filter *f)
{
    const struct session_conf *c = f->conf;
    const struct bytes *pass = c->pass.items;
    f->id_name = arena_print(&f->arena, "%.*s-Id", BYTES_ARG(c->header));
    f->pass_names = arena_get(&f->arena, (c->pass.count + 1) * sizeof *f->pass_names);
    if (!f->id_name.ptr || !f->pass_names)
        return ERR_MEMORY;
    for (size_t i = 0; i < c->pass.count; i++) {
        f->pass_names[i] = arena_print(&f->arena, "%.*s-%.*s", BYTES_ARG(c->header), BYTES_ARG(pass[i]));
        if (!f->pass_names[i].ptr)
            return ERR_MEMORY;
    }
    return OK;
}

static err read_secrets(struct session_filter *f, struct diag *reterr)
{
    const struct session_conf *c = f->conf;
    if (!c->secret_file.len)
        return OK;
    const err e = file_read_whole(c->secret_file.ptr, SECRET_FILE_BYTES_MAX, &f->secret_text, reterr);
    return e ? e : session_secrets_read(f->secret_text, &f->secrets, reterr);
}

static err session_open(const void *conf, struct gate *g, struct bytes scope, void **ret_state,
                        struct diag *reterr)
{
    (void)g;
    struct session_filter *f = mem_get(sizeof *f);
    if (!f)
        return ERR_MEMORY;
    f->conf = conf;
    f->store =
        (struct session_store){ f->conf->keys, f->conf->ttl_ms, f->conf->renew, f->conf->values_bytes_max };
    arena_open(&f->arena, &arena_heap, 1 << 20, NULL, 0);
    err e = name_headers(f);
    if (!e)
        e = read_secrets(f, reterr);
    if (!e)
        e = metric_instance_open(&metric_group, &scope, &f->metrics);
    if (e) {
        session_close(f);
        return e;
    }
    f->cells = metric_cells(f->metrics, worker_index(worker_self()));
    *ret_state = f;
    return OK;
}

static void session_report(void *state, struct text *json)
{
    const struct session_filter *f = state;
    json_u64(json, "found", metric_value(f->metrics, METRIC_FOUND));
    json_u64(json, "made", metric_value(f->metrics, METRIC_MADE));
    json_u64(json, "failed", metric_value(f->metrics, METRIC_FAILED));
}

/* ---- explaining ---- */

static void say(struct exchange *x, const struct conf_writer *w, const char *words, struct bytes about)
{
    const struct bytes line = arena_print(&x->arena, "%s%.*s\n", words, BYTES_ARG(about));
    if (line.ptr)
        w->write(w->arg, line);
}

static bool session_explain(const void *conf, const struct filter_place *place, struct exchange *x,
                            const struct conf_writer *w)
{
    const struct session_conf *c = conf;
    struct bytes text;
    (void)place;
    if (session_strip(&x->request.fields, c->header))
        say(x, w, "takes out what only weir may say, fields that begin with ", c->header);
    if (http_cookie_find(&x->request.fields, c->cookie->name, &text))
        say(x, w, "the session of the cookie, if weir signed it and it has not ended; else as without ",
            c->cookie->name);
    else
        say(x, w,
            c->create == SESSION_AT_ONCE ? "a new session; the answer sets the cookie "
                                         : "no session until a server sets a value; then the cookie ",
            c->cookie->name);
    if (c->sticky)
        w->write(w->arg, BYTES("the server that the session stays at, as long as it is well\n"));
    return false;
}

static err session_check_route(const void *conf, const struct filter_place *place, struct diag *reterr)
{
    (void)conf;
    if (!place->root || place->root->ledger)
        return OK;
    diag_set(
        reterr,
        "session: it keeps them in the ledger, and there is none: expected `ledger: /PATH` beside routes");
    return ERR_CONF;
}

const struct filter session_filter = {
    .conf = { .name = "session",
              .size = sizeof(struct session_conf),
              .phrases = (const char *const[]){ "{ttl}", NULL },
              .fields = session_conf_fields,
              .check = session_conf_check,
              .doc = "Sessions of the clients, kept in the ledger, under a signed cookie." },
    .check_route = session_check_route,
    .explain = session_explain,
    .open = session_open,
    .handle = session_handle,
    .close = session_close,
    .report = session_report,
};
#endif

#include "gate/jwt_source.h"

#if WEIR_HAVE_OPENSSL && WEIR_HAVE_JANSSON
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "base/file_read.h"
#include "base/hash.h"
#include "base/mem.h"
#include "core/fiber.h"
#include "core/log.h"
#include "gate/gate.h"

#define PAUSE_FIRST_MS 1000     /* after a failure; then twice that, and so on up to refresh */
#define WANTED_PAUSE_US 5000000 /* between two fetches that unknown keys have caused */
#define WAIT_US 3000000         /* a request's, for keys */
#define WAIT_STEP_US 10000
#define WAITING_MAX 256

struct jwt_source {
    const struct jwt_source_conf *conf;
    pthread_mutex_t lock; /* protects keys; held for a pointer move */
    struct jwt_keys *keys;
    _Atomic uint64_t version;   /* of keys; 0: none yet */
    _Atomic uint64_t tries;     /* fetches that have ended, well or not */
    _Atomic uint64_t wanted_us; /* when somebody last wanted a fetch; 0: nobody since the last began */
    _Atomic uint64_t begun_us;  /* when the last one began */
    _Atomic uint32_t waiting;   /* requests, for what a fetch brings */
};

/* ---- publishing ---- */

/* Takes over keys. */
static void publish(struct jwt_source *s, struct jwt_keys *keys)
{
    pthread_mutex_lock(&s->lock);
    struct jwt_keys *before = s->keys;
    s->keys = keys;
    atomic_fetch_add(&s->version, 1);
    pthread_mutex_unlock(&s->lock);
    jwt_keys_drop(before);
}

void jwt_reader_open(struct jwt_reader *r, struct jwt_source *s)
{
    *r = (struct jwt_reader){ .source = s };
    jwt_reader_look(r);
}

void jwt_reader_close(struct jwt_reader *r)
{
    jwt_keys_drop(r->keys);
    r->keys = NULL;
}

void jwt_reader_look(struct jwt_reader *r)
{
    struct jwt_source *s = r->source;
    if (atomic_load_explicit(&s->version, memory_order_relaxed) == r->version)
        return;
    jwt_keys_drop(r->keys);
    pthread_mutex_lock(&s->lock);
    r->keys = s->keys ? jwt_keys_hold(s->keys) : NULL;
    r->version = s->version;
    pthread_mutex_unlock(&s->lock);
}

static void wait_for_fetch(const struct jwt_source *s, uint64_t version, uint64_t tries)
{
    const uint64_t until_us = worker_now_us() + WAIT_US;
    while (s->version == version && s->tries == tries && worker_now_us() < until_us) {
        if (fiber_sleep_us(WAIT_STEP_US) != OK)
            break;
    }
}

/* Whether a fetch may be wanted: the first is under way and worth waiting for, the others are not too often.
 */
static bool may_want(const struct jwt_source *s, uint64_t version)
{
    if (!s->conf->service.len)
        return false;
    return version ? worker_now_us() >= s->begun_us + WANTED_PAUSE_US : s->tries == 0;
}

/* The fetcher looks at wanted_us every now and then: see fetcher_rest. */
bool jwt_reader_want(struct jwt_reader *r)
{
    struct jwt_source *s = r->source;
    const uint64_t version = r->version;
    const uint64_t tries = s->tries;
    if (!may_want(s, version))
        return false;
    if (version)
        s->wanted_us = worker_now_us();
    if (atomic_fetch_add(&s->waiting, 1) < WAITING_MAX)
        wait_for_fetch(s, version, tries);
    atomic_fetch_sub(&s->waiting, 1);
    jwt_reader_look(r);
    return r->version != version;
}

/* ---- files ---- */

static err keys_of_file(const struct jwt_source_conf *c, struct jwt_keys **ret_keys, struct diag *reterr)
{
    const bool secret = c->secret_file.len;
    const struct bytes path = secret ? c->secret_file : c->file;
    struct diag why = DIAG_NONE;
    struct bytes text;
    err e = file_read_whole(path.ptr, JWKS_BYTES_MAX, &text, reterr);
    if (e)
        return e;
    struct bytes line = text;
    while (secret && line.len && (line.ptr[line.len - 1] == '\n' || line.ptr[line.len - 1] == '\r'))
        line.len--;
    e = secret ? jwt_keys_secret(line, ret_keys, &why) : jwt_keys_parse(text, c->secrets, ret_keys, &why);
    if (why.set)
        diag_set(reterr, "%s: %s", path.ptr, why.text);
    file_read_free(text);
    return e;
}

err jwt_source_open(const struct jwt_source_conf *conf, struct jwt_source **ret_source, struct diag *reterr)
{
    struct jwt_source *s = mem_get(sizeof *s);
    struct jwt_keys *keys;
    if (!s)
        return ERR_MEMORY;
    s->conf = conf;
    pthread_mutex_init(&s->lock, NULL);
    if (!conf->service.len) {
        err e = keys_of_file(conf, &keys, reterr);
        if (e) {
            jwt_source_close(s);
            return e;
        }
        publish(s, keys);
    }
    *ret_source = s;
    return OK;
}

void jwt_source_close(struct jwt_source *s)
{
    jwt_keys_drop(s->keys);
    pthread_mutex_destroy(&s->lock);
    mem_free(s);
}

/* ---- fetching ---- */

struct jwt_fetcher {
    struct jwt_source *source;
    const struct jwt_source_conf *conf;
    struct gate *gate;
    struct service *service;
    struct fiber *fiber;
    void (*on_fetch)(void *arg, bool fine);
    void *arg;
    unsigned failures; /* in a row */
    bool stopped;      /* nothing of the above is there any more */
    bool ended;        /* its fiber; whoever comes last frees it */
    char scope[200];
};

uint64_t jwt_fetch_pause_ms(uint64_t refresh_ms, unsigned failures, uint64_t random)
{
    uint64_t pause_ms = refresh_ms;
    if (failures) {
        unsigned doubled = failures - 1 < 20 ? failures - 1 : 20;
        pause_ms = (uint64_t)PAUSE_FIRST_MS << doubled;
        pause_ms = pause_ms < refresh_ms ? pause_ms : refresh_ms;
    }
    return pause_ms - pause_ms / 10 + random % (pause_ms / 5 + 1); /* a tenth more or less */
}

static err read_body(struct exchange *x, struct bytes *ret_text)
{
    char *text = arena_get(&x->arena, JWKS_BYTES_MAX);
    size_t len = 0;
    struct bytes piece = BYTES_NONE;
    if (!text)
        return ERR_LIMIT;
    while (x->response_body) {
        err e = body_pull(x->response_body, x->deadline_us, &piece);
        if (e)
            return e;
        if (!piece.len)
            break;
        if (len + piece.len > JWKS_BYTES_MAX)
            return ERR_LIMIT;
        memcpy(text + len, piece.ptr, piece.len);
        len += piece.len;
        body_give(x->response_body, piece.len);
    }
    *ret_text = (struct bytes){ text, len };
    return OK;
}

static void ask_for(const struct jwt_fetcher *f, struct exchange *x)
{
    const struct bytes path = f->conf->path;
    x->service = f->service;
    x->deadline_us = deadline_in_ms(f->conf->timeout_ms);
    x->request.method = HTTP_GET;
    x->request.method_text = BYTES("GET");
    x->request.target = path;
    x->request.path = (struct bytes){ path.ptr, bytes_index(path, '?') };
    x->request.query =
        x->request.path.len < path.len ? bytes_skip(path, x->request.path.len + 1) : BYTES_NONE;
    x->request.authority = f->conf->host.len ? f->conf->host : f->conf->service;
    x->request.version_minor = 1;
    x->request.keep_alive = true;
}

static err fetch(const struct jwt_fetcher *f, struct exchange *x, struct jwt_keys **ret_keys,
                 struct diag *reterr)
{
    struct bytes text;
    ask_for(f, x);
    err e = http_fields_add(&x->request.fields, &x->arena, BYTES("Accept"),
                            BYTES("application/jwk-set+json, application/json"));
    if (!e)
        e = proxy_handle(x);
    if (!e && x->response.status != 200) {
        diag_set(reterr, "status %u", x->response.status);
        return ERR_PROTOCOL;
    }
    if (!e)
        e = read_body(x, &text);
    if (e) {
        diag_set(reterr, "%s", err_text(e));
        return e;
    }
    return jwt_keys_parse(text, false, ret_keys, reterr);
}

static void fetched(struct jwt_fetcher *f, err e, struct jwt_keys *keys, const struct diag *d)
{
    struct jwt_source *s = f->source;
    if (e) {
        f->failures++;
        log_warn("jwt", "cannot fetch keys route=%s service=%.*s: %s; %s", f->scope,
                 BYTES_ARG(f->conf->service), d->set ? d->text : err_text(e),
                 s->version ? "the old ones stay" : "there are none");
    } else {
        if (f->failures || !s->version)
            log_info("jwt", "fetched keys route=%s keys=%zu", f->scope, jwt_keys_count(keys));
        f->failures = 0;
        publish(s, keys);
    }
    s->tries++;
    f->on_fetch(f->arg, !e);
}

/* The exchange holds the generation: so the source is there until it is released, and may be gone then. */
static void fetch_once(struct jwt_fetcher *f)
{
    struct exchange x;
    struct jwt_keys *keys = NULL;
    struct diag d = DIAG_NONE;
    f->source->begun_us = worker_now_us();
    f->source->wanted_us = 0;
    exchange_prepare(&x, f->gate);
    err e = fetch(f, &x, &keys, &d);
    fetched(f, e, keys, &d);
    exchange_release(&x);
}

#define LOOK_US 100000 /* how often it is looked whether somebody wants a fetch */

/* false: it was stopped. */
static bool fetcher_rest(struct jwt_fetcher *f)
{
    const uint64_t until_us =
        deadline_in_ms(jwt_fetch_pause_ms(f->conf->refresh_ms, f->failures, random_u64()));
    while (!f->stopped && worker_now_us() < until_us && !f->source->wanted_us) {
        if (fiber_sleep_us(LOOK_US) != OK)
            return false;
    }
    return !f->stopped;
}

static void fetcher_run(void *arg)
{
    struct jwt_fetcher *f = arg;
    f->fiber = fiber_self();
    bool goes_on = !f->stopped;
    while (goes_on) {
        fetch_once(f);
        goes_on = !f->stopped && fetcher_rest(f);
    }
    f->ended = true;
    if (f->stopped)
        mem_free(f);
}

err jwt_fetcher_start(struct jwt_source *s, struct gate *g, struct bytes scope,
                      void (*on_fetch)(void *arg, bool fine), void *arg, struct jwt_fetcher **ret_fetcher)
{
    *ret_fetcher = NULL;
    if (!s->conf->service.len)
        return OK;
    struct jwt_fetcher *f = mem_get(sizeof *f);
    if (!f)
        return ERR_MEMORY;
    *f = (struct jwt_fetcher){
        .source = s,
        .conf = s->conf,
        .gate = g,
        .service = gate_service(g, s->conf->service),
        .on_fetch = on_fetch,
        .arg = arg,
    };
    snprintf(f->scope, sizeof f->scope, "%.*s", BYTES_ARG(scope));
    fiber_spawn(fetcher_run, f);
    *ret_fetcher = f;
    return OK;
}

void jwt_fetcher_stop(struct jwt_fetcher *f)
{
    if (!f)
        return;
    f->stopped = true;
    if (f->ended)
        mem_free(f);
    else if (f->fiber && f->fiber != fiber_self())
        fiber_cancel(f->fiber);
}
#endif

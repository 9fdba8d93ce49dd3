/* buffer: bodies that are gathered here, so that neither a slow client nor a slow server holds the other up.
 *
 *      buffer: 1m                         buffer: {request: 100m, response: 10m, folder: /var/tmp}
 *
 *   request   all of it is read before a server is asked: memory, then a file, else 413
 *   response  client ◀── pull ── [ spool ] ◀── filler, a fiber of its own ── server
 *             the filler reads ahead; with the last byte the server's connection is free, however slow the
 * client
 *
 * A body that is already here, or fits the send queue anyway, is left alone. */
#include <unistd.h>

#include "base/mem.h"
#include "core/fiber.h"
#include "core/file.h"
#include "core/io.h"
#include "core/metrics.h"
#include "gate/filter.h"
#include "gate/spool.h"

static const char *const buffer_words[] = { "off", NULL };
#define OFF CONF_UINT_WORD(0)

struct buffer_conf {
    uint64_t request_bytes_max, response_bytes_max;
    uint64_t memory_bytes_max; /* of one body, when there is a folder for the rest */
    uint64_t total_bytes_max;
    struct bytes folder;
};

/* Blocks that no body uses, kept by a worker. */
#define KEPT_BYTES_MAX (8u << 20)

#define BUFFER_METRICS(X)                                                                               \
    X(REQUESTS, "requests_total", METRIC_COUNTER, "Requests whose body was gathered")                   \
    X(RESPONSES, "responses_total", METRIC_COUNTER, "Answers that were read ahead of the client")       \
    X(FILES, "files_total", METRIC_COUNTER, "Bodies of which a part went into a file")                  \
    X(TOO_LARGE, "too_large_total", METRIC_COUNTER, "Requests refused because their body was too long") \
    X(BUSY, "busy_total", METRIC_COUNTER, "Bodies that found the worker's memory used up")

enum buffer_metric {
#define X(id, name, type, help) METRIC_##id,
    BUFFER_METRICS(X)
#undef X
        METRIC_COUNT
};

static const struct metric_group metric_group = {
    .module = "buffer",
    .defs =
        (const struct metric_def[]){
#define X(id, name, type, help) { name, type, help },
            BUFFER_METRICS(X)
#undef X
        },
    .count = METRIC_COUNT,
    .labels = (const char *const[]){ "route", NULL },
};

/* A route's, on one worker. */
struct buffer {
    const struct buffer_conf *conf;
    struct metric_instance *metrics;
    struct metric_cells *cells;
};

/* All of a worker's bodies come out of one pool. */
static _Thread_local struct block_pool pool;
static _Thread_local struct turn_hook pool_end;

static void close_pool(struct turn_hook *h)
{
    (void)h;
    block_pool_close(&pool);
    pool.kept_bytes_max = 0;
}

static void open_pool(void)
{
    if (pool.kept_bytes_max)
        return;
    pool.kept_bytes_max = KEPT_BYTES_MAX;
    if (worker_self() && !pool_end.run) {
        pool_end.run = close_pool;
        worker_on_end(&pool_end);
    }
}

/* Without a folder for the rest all of it is in memory. */
static struct spool_opts spool_opts(const struct buffer_conf *c, uint64_t bytes_max)
{
    const bool file = c->folder.len > 0;
    return (struct spool_opts){ .pool = &pool,
                                .pool_bytes_max = (size_t)c->total_bytes_max,
                                .memory_bytes_max = (size_t)(file ? c->memory_bytes_max : bytes_max),
                                .file_bytes_max = file ? bytes_max + SPOOL_BLOCK_BYTES : 0,
                                .folder = c->folder.ptr };
}

/* ---- requests ---- */

struct gathered {
    struct body body;
    struct body *inner; /* closed at the end */
    struct spool spool;
};

static err gathered_pull(struct body *b, uint64_t deadline_us, struct bytes *ret_bytes)
{
    (void)deadline_us;
    return spool_peek(&container_of(b, struct gathered, body)->spool, ret_bytes);
}

static void gathered_give(struct body *b, size_t n)
{
    spool_skip(&container_of(b, struct gathered, body)->spool, n);
}

static bool gathered_ready(struct body *b)
{
    (void)b;
    return true;
}

static void gathered_close(struct body *b)
{
    struct gathered *g = container_of(b, struct gathered, body);
    spool_close(&g->spool);
    body_close(g->inner);
}

static const struct body_ops gathered_ops = {
    .pull = gathered_pull,
    .give = gathered_give,
    .ready = gathered_ready,
    .close = gathered_close,
};

/* ERR_LIMIT: longer than it may be; ERR_UNAVAILABLE: the worker's memory is used up. */
static err gather_all(struct gathered *g, uint64_t bytes_max, uint64_t deadline_us)
{
    struct bytes data;
    err e;
    while (!(e = body_pull(g->inner, deadline_us, &data)) && data.len) {
        size_t taken;
        if (g->spool.bytes + data.len > bytes_max)
            return ERR_LIMIT;
        e = spool_add(&g->spool, data, &taken);
        if (e)
            return e;
        if (!taken)
            return ERR_UNAVAILABLE;
        body_give(g->inner, taken);
    }
    return e;
}

static err refuse(struct buffer *b, struct exchange *x)
{
    metric_inc(b->cells, METRIC_TOO_LARGE);
    exchange_answer(x, 413, BYTES_NONE, BYTES_NONE, BYTES("buffer"));
    return OK;
}

/* The server gets it with its length. Trailers end here, and so does Expect: it was answered. */
static void replace_body(struct exchange *x, struct gathered *g)
{
    g->body = (struct body){ .ops = &gathered_ops, .length = g->spool.bytes };
    x->request_body = &g->body;
    x->request.framing = g->spool.bytes ? HTTP_BODY_LENGTH : HTTP_BODY_NONE;
    x->request.content_length = g->spool.bytes;
    x->request.expect_continue = false;
    http_fields_remove_id(&x->request.fields, FIELD_EXPECT);
}

/* *ret_answered: it was refused. */
static err gather_request(struct buffer *b, struct exchange *x, bool *ret_answered)
{
    const uint64_t bytes_max = b->conf->request_bytes_max;
    struct body *inner = x->request_body;
    *ret_answered = inner->length != BODY_LENGTH_UNKNOWN && inner->length > bytes_max;
    if (*ret_answered)
        return refuse(b, x);
    struct gathered *g = arena_get(&x->arena, sizeof *g);
    if (!g)
        return ERR_LIMIT;
    g->inner = inner;
    const struct spool_opts o = spool_opts(b->conf, bytes_max);
    spool_open(&g->spool, &o);
    metric_inc(b->cells, METRIC_REQUESTS);
    err e = gather_all(g, bytes_max, x->deadline_us);
    if (g->spool.fd >= 0)
        metric_inc(b->cells, METRIC_FILES);
    if (!e) {
        replace_body(x, g);
        return OK;
    }
    spool_close(&g->spool);
    if (e == ERR_UNAVAILABLE)
        metric_inc(b->cells, METRIC_BUSY);
    *ret_answered = e == ERR_LIMIT && !x->request_failed;
    return *ret_answered ? refuse(b, x) : e;
}

/* ---- answers ---- */

struct ahead {
    struct body body;
    struct body *inner; /* NULL: read to its end and closed */
    struct spool spool;
    struct fiber *filler, *reader; /* the reader waits; NULL: nobody */
    struct buffer *buffer;
    err failed; /* of inner, once all before it was given */
    bool ended;
    bool filler_waits; /* for room */
    uint64_t deadline_us;
};

static struct ahead *ahead_of(struct body *b)
{
    return container_of(b, struct ahead, body);
}

static void wake(struct fiber *f)
{
    if (f)
        fiber_wake(f);
}

/* One pull's worth. */
static err fill_some(struct ahead *a)
{
    struct bytes data;
    err e = body_pull(a->inner, a->deadline_us, &data);
    if (e)
        return e;
    a->ended = data.len == 0;
    while (data.len > 0) {
        size_t taken;
        e = spool_add(&a->spool, data, &taken);
        if (e)
            return e;
        body_give(a->inner, taken);
        data = bytes_skip(data, taken);
        wake(a->reader);
        a->filler_waits = data.len > 0;
        if (data.len > 0)
            e = fiber_wait(a->deadline_us);
        a->filler_waits = false;
        if (e)
            return e;
    }
    return OK;
}

static void fill(void *arg)
{
    struct ahead *a = arg;
    err e;
    a->filler = fiber_self();
    do
        e = fill_some(a);
    while (!e && !a->ended);
    a->failed = e;
    if (a->ended) { /* the server is free */
        a->body.trailers = a->inner->trailers;
        body_close(a->inner);
        a->inner = NULL;
    }
    if (a->spool.fd >= 0)
        metric_inc(a->buffer->cells, METRIC_FILES);
    a->filler = NULL;
    wake(a->reader);
}

static err wait_for_filler(struct ahead *a, uint64_t deadline_us)
{
    a->reader = fiber_self();
    err e = fiber_wait(deadline_us);
    a->reader = NULL;
    return e;
}

static err ahead_pull(struct body *b, uint64_t deadline_us, struct bytes *ret_bytes)
{
    struct ahead *a = ahead_of(b);
    for (;;) {
        err e = spool_peek(&a->spool, ret_bytes);
        if (e || ret_bytes->len)
            return e;
        if (a->ended || a->failed)
            return a->failed;
        e = wait_for_filler(a, deadline_us);
        if (e)
            return e;
    }
}

static void ahead_give(struct body *b, size_t n)
{
    struct ahead *a = ahead_of(b);
    spool_skip(&a->spool, n);
    if (a->filler_waits)
        wake(a->filler);
}

static bool ahead_ready(struct body *b)
{
    const struct ahead *a = ahead_of(b);
    return (a->spool.bytes && !a->spool.writing) || a->ended || a->failed;
}

static void ahead_close(struct body *b)
{
    struct ahead *a = ahead_of(b);
    if (a->filler) {
        fiber_cancel(a->filler);
        a->reader = fiber_self();
        while (a->filler) {
            if (fiber_wait(DEADLINE_NONE) != OK)
                fiber_yield(); /* this fiber is being cancelled itself: the filler still has to end first */
        }
    }
    spool_close(&a->spool);
    body_close(a->inner);
}

static const struct body_ops ahead_ops = {
    .pull = ahead_pull,
    .give = ahead_give,
    .ready = ahead_ready,
    .close = ahead_close,
};

/* The head stands in the server's buffer, which goes when its body is closed: and that will be before the
 * exchange has ended. */
static err keep_head(struct exchange *x)
{
    struct http_response *r = &x->response;
    r->reason = r->reason.len ? arena_copy(&x->arena, r->reason) : BYTES_NONE;
    for (uint32_t i = 0; i < r->fields.count; i++) {
        struct http_field *f = &r->fields.at[i];
        if (f->flags & FIELD_REMOVED)
            continue;
        const struct bytes line = arena_print(&x->arena, "%.*s: %.*s\r\n", BYTES_ARG(http_field_name(f)),
                                              BYTES_ARG(http_field_value(f)));
        if (!line.ptr)
            return ERR_LIMIT;
        f->name = line.ptr;
        f->value = line.ptr + f->name_len + 2;
    }
    return OK;
}

/* Nobody waits for it: the send queue takes that much at once, or it stands in a file. */
static bool is_at_hand(const struct body *b)
{
    return b->length <= IO_SEND_BYTES_MAX || b->ops->file;
}

static err read_ahead(struct buffer *b, struct exchange *x)
{
    struct ahead *a = arena_get_zero(&x->arena, sizeof *a);
    if (!a || keep_head(x) != OK)
        return ERR_LIMIT;
    const struct spool_opts o = spool_opts(b->conf, b->conf->response_bytes_max);
    spool_open(&a->spool, &o);
    if (spool_reserve(&a->spool) != OK) { /* as it is, then */
        metric_inc(b->cells, METRIC_BUSY);
        return OK;
    }
    a->body = (struct body){ .ops = &ahead_ops, .length = x->response_body->length };
    a->inner = x->response_body;
    a->buffer = b;
    a->deadline_us = x->deadline_us;
    x->response_body = &a->body;
    metric_inc(b->cells, METRIC_RESPONSES);
    fiber_spawn(fill, a);
    fiber_yield(); /* until it runs for the first time nobody can cancel it */
    return OK;
}

/* ---- the filter ---- */

static bool wants_response(const struct buffer *b, const struct exchange *x)
{
    return b->conf->response_bytes_max != OFF && x->response_body && !x->tunnel &&
           !is_at_hand(x->response_body) && x->request.method != HTTP_HEAD;
}

static err buffer_handle(struct exchange *x, void *state, struct chain *next)
{
    struct buffer *b = state;
    bool answered = false;
    err e = OK;
    if (b->conf->request_bytes_max != OFF && x->request_body && x->request.framing != HTTP_BODY_NONE)
        e = gather_request(b, x, &answered);
    if (e || answered)
        return e;
    e = chain_next(next, x);
    return e || !wants_response(b, x) ? e : read_ahead(b, x);
}

static void buffer_close(void *state)
{
    struct buffer *b = state;
    metric_instance_free(b->metrics);
    mem_free(b);
}

static err buffer_open(const void *conf, struct gate *g, struct bytes scope, void **ret_state,
                       struct diag *reterr)
{
    (void)g;
    (void)reterr;
    struct buffer *b = mem_get(sizeof *b);
    if (!b)
        return ERR_MEMORY;
    b->conf = conf;
    open_pool();
    err e = metric_instance_open(&metric_group, &scope, &b->metrics);
    if (e) {
        mem_free(b);
        return e;
    }
    b->cells = metric_cells(b->metrics, worker_index(worker_self()));
    *ret_state = b;
    return OK;
}

static err buffer_check(void *conf, struct diag *reterr)
{
    const struct buffer_conf *c = conf;
    int fd;
    if (c->request_bytes_max == OFF && c->response_bytes_max == OFF) {
        diag_set(reterr, "neither requests nor answers: expected a size for one of them, or `buffer: off`");
        return ERR_CONF;
    }
    if (!c->folder.len && c->request_bytes_max != OFF && c->request_bytes_max > c->total_bytes_max) {
        diag_set(reterr, "request: more than `total`, and no `folder` for the rest");
        return ERR_CONF;
    }
    if (c->folder.len && file_open_unnamed(c->folder.ptr, &fd) != OK) {
        diag_set(reterr, "folder: no file without a name can be made in \"%s\"", c->folder.ptr);
        return ERR_CONF;
    }
    if (c->folder.len)
        close(fd);
    return OK;
}

const struct filter buffer_filter = {
    .conf = { .name = "buffer",
              .size = sizeof(struct buffer_conf),
              .phrases = (const char *const[]){ "{request}", NULL },
              .fields =
                  (const struct conf_field[]){
                      { .name = "request",
                        .type = CONF_BYTES,
                        .offset = offsetof(struct buffer_conf, request_bytes_max),
                        .preset = "1m",
                        .max = 1e15,
                        .words = buffer_words,
                        .doc =
                            "requests are gathered whole before a server is asked, so much at most (413)" },
                      { .name = "response",
                        .type = CONF_BYTES,
                        .offset = offsetof(struct buffer_conf, response_bytes_max),
                        .preset = "off",
                        .max = 1e15,
                        .words = buffer_words,
                        .doc = "answers are read so far ahead of the client" },
                      { .name = "folder",
                        .type = CONF_TEXT,
                        .offset = offsetof(struct buffer_conf, folder),
                        .doc = "what is beyond `memory` goes into a file without a name here; all of it "
                               "stays in "
                               "memory when not said" },
                      { .name = "memory",
                        .type = CONF_BYTES,
                        .offset = offsetof(struct buffer_conf, memory_bytes_max),
                        .preset = "64k",
                        .max = 1 << 30,
                        .doc = "of one body, where there is a `folder`" },
                      { .name = "total",
                        .type = CONF_BYTES,
                        .offset = offsetof(struct buffer_conf, total_bytes_max),
                        .preset = "64m",
                        .min = 1 << 20,
                        .max = 1e12,
                        .doc = "memory of all bodies of one worker; beyond it requests are refused (503) and "
                               "answers are not read ahead" },
                      { 0 } },
              .check = buffer_check,
              .doc = "Gathers requests before a server is asked, and reads answers ahead of slow clients." },
    .open = buffer_open,
    .handle = buffer_handle,
    .close = buffer_close,
};

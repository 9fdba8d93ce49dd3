/* mirror: sends copies of a share of the requests to another service, and nobody waits for it.
 *
 *      mirror: 30% to shadow
 *
 *   client ──▶ request ──▶ tee ──▶ proxy ──▶ service        (as if there were no mirror)
 *                           │ head, and the body as it passes
 *                           ▼
 *                        shadow ── whole? ──▶ a fiber of its own ──▶ mirror's service; the answer is read and
 * dropped
 *
 *   a shadow:  free ──▶ filling ──▶ sent ──▶ free         filling ──▶ dropped (too long, cut off, no room)
 * ──▶ free
 *
 * Shadows are made when the route is opened, in_flight_max of them on each worker; when none is free the
 * request is not mirrored. A copy carries X-Weir-Mirror: 1; a request that carries it already is not copied
 * again, so that mirrors that point at each other end. */
#include "base/hash.h"
#include "base/mem.h"
#include "core/fiber.h"
#include "core/metrics.h"
#include "gate/filter.h"
#include "gate/request_match.h"

#define MARK BYTES("X-Weir-Mirror")

struct mirror_conf {
    double percent; /* 0 to 1 */
    struct bytes service;
    const struct request_match *only; /* NULL: all */
    uint64_t body_bytes_max;
    uint64_t answer_bytes_max;
    uint64_t timeout_ms;
    int64_t in_flight_max;
};

#define MIRROR_METRICS(X)                                                                                    \
    X(SENT, "sent_total", METRIC_COUNTER, "Copies that were answered whole")                                 \
    X(FAILED, "failed_total", METRIC_COUNTER, "Copies that were sent and got no answer, or a broken one")    \
    X(BUSY, "busy_total", METRIC_COUNTER, "Requests not copied because in_flight_max copies were under way") \
    X(TOO_LONG, "too_long_total", METRIC_COUNTER, "Requests not copied because their body was too long")     \
    X(UNFINISHED, "unfinished_total", METRIC_COUNTER,                                                        \
      "Requests not copied because their body was never read whole")

enum mirror_metric {
#define X(id, name, type, help) METRIC_##id,
    MIRROR_METRICS(X)
#undef X
        METRIC_COUNT
};

static const struct metric_group metric_group = {
    .module = "mirror",
    .defs =
        (const struct metric_def[]){
#define X(id, name, type, help) { name, type, help },
            MIRROR_METRICS(X)
#undef X
        },
    .count = METRIC_COUNT,
    .labels = (const char *const[]){ "route", NULL },
};

struct mirror;

/* One copy. The memory of what it says is in its own exchange's arena. */
struct shadow {
    struct shadow *next_free;
    struct mirror *mirror;
    struct exchange x;
    struct addr client, peer;
    struct body_memory body;
    char *content; /* of the body so far */
    size_t content_len, content_size;
    size_t content_first; /* room to begin with: the whole length, if it was said */
};

/* A route's, on one worker. */
struct mirror {
    const struct mirror_conf *conf;
    struct service *service;
    struct metric_instance *metrics;
    struct metric_cells *cells;
    struct shadow *free;
    unsigned in_flight;
    bool closed; /* the last shadow frees it */
    struct shadow shadows[];
};

/* ---- shadows ---- */

static void mirror_free(struct mirror *m)
{
    metric_instance_free(m->metrics);
    mem_free(m);
}

static struct shadow *shadow_take(struct mirror *m)
{
    struct shadow *s = m->free;
    if (s) {
        m->free = s->next_free;
        m->in_flight++;
    }
    return s;
}

/* Its exchange may be the last one of its generation, which then closes the mirror: so that is freed here,
 * last. */
static void shadow_give(struct shadow *s)
{
    struct mirror *m = s->mirror;
    exchange_release(&s->x);
    s->next_free = m->free;
    m->free = s;
    if (--m->in_flight == 0 && m->closed)
        mirror_free(m);
}

/* A part of text becomes the same part of its copy, so that slices that lie in one another still do. */
static struct bytes copy_part(struct arena *a, struct bytes text, struct bytes copy, struct bytes part)
{
    const uintptr_t at = (uintptr_t)part.ptr - (uintptr_t)text.ptr;
    if (part.ptr && (uintptr_t)part.ptr >= (uintptr_t)text.ptr && at + part.len <= text.len)
        return (struct bytes){ copy.ptr + at, part.len };
    return part.ptr ? arena_copy(a, part) : BYTES_NONE;
}

/* A field as one line, so that it can be written as one piece. */
static bool copy_field(struct arena *a, const struct http_field *from, struct http_field *to)
{
    const struct bytes line =
        arena_print(a, "%.*s: %.*s\r\n", BYTES_ARG(http_field_name(from)), BYTES_ARG(http_field_value(from)));
    *to = *from;
    to->name = line.ptr;
    to->value = line.ptr + from->name_len + 2;
    return line.ptr != NULL;
}

static bool copy_fields(struct arena *a, const struct http_fields *from, struct http_fields *to)
{
    *to = (struct http_fields){ .at = arena_get(a, (from->count + 1) * sizeof *to->at),
                                .count_max = from->count + 1 };
    if (!to->at)
        return false;
    for (uint32_t i = 0; i < from->count; i++) {
        const struct http_field *f = &from->at[i];
        if (f->flags & FIELD_REMOVED || f->id == FIELD_EXPECT)
            continue;
        if (!copy_field(a, f, &to->at[to->count++]))
            return false;
    }
    return http_fields_add(to, a, MARK, BYTES("1")) == OK;
}

static bool copy_head(struct arena *a, const struct http_request *from, struct http_request *to)
{
    *to = *from;
    to->expect_continue = false;
    to->method_text = arena_copy(a, from->method_text);
    to->target = arena_copy(a, from->target);
    if (!to->method_text.ptr || !to->target.ptr)
        return false;
    to->path = copy_part(a, from->target, to->target, from->path);
    to->query = copy_part(a, from->target, to->target, from->query);
    to->authority = copy_part(a, from->target, to->target, from->authority);
    if ((from->path.ptr && !to->path.ptr) || (from->query.ptr && !to->query.ptr) ||
        (from->authority.ptr && !to->authority.ptr))
        return false;
    return copy_fields(a, &from->fields, &to->fields);
}

static bool shadow_fill_head(struct shadow *s, const struct exchange *x)
{
    struct exchange *copy = &s->x;
    copy->route = x->route;
    copy->service = s->mirror->service;
    copy->scheme = x->scheme;
    copy->request_id = arena_copy(&copy->arena, x->request_id);
    if (x->client) {
        s->client = *x->client;
        copy->client = &s->client;
    }
    if (x->peer) {
        s->peer = *x->peer;
        copy->peer = &s->peer;
    }
    return copy->request_id.ptr && copy_head(&copy->arena, &x->request, &copy->request);
}

static bool shadow_fill_body(struct shadow *s, struct bytes data)
{
    if (s->content_len + data.len > s->content_size) {
        size_t size = s->content_size ? 2 * s->content_size : s->content_first;
        while (size < s->content_len + data.len)
            size *= 2;
        char *larger = arena_get(&s->x.arena, size);
        if (!larger)
            return false;
        if (s->content_len)
            memcpy(larger, s->content, s->content_len);
        s->content = larger;
        s->content_size = size;
    }
    memcpy(s->content + s->content_len, data.ptr, data.len);
    s->content_len += data.len;
    return true;
}

/* ---- sending ---- */

static err drop_answer(struct exchange *x, uint64_t bytes_max)
{
    struct bytes data = BYTES_NONE;
    err e = x->response_body ? body_pull(x->response_body, x->deadline_us, &data) : OK;
    for (uint64_t bytes = 0; !e && data.len;) {
        bytes += data.len;
        body_give(x->response_body, data.len);
        if (bytes >= bytes_max) /* enough: the rest goes with its connection */
            return OK;
        e = body_pull(x->response_body, x->deadline_us, &data);
    }
    return e;
}

static void shadow_run(void *arg)
{
    struct shadow *s = arg;
    struct mirror *m = s->mirror;
    err e = proxy_handle(&s->x);
    if (!e)
        e = drop_answer(&s->x, m->conf->answer_bytes_max);
    metric_inc(m->cells, e ? METRIC_FAILED : METRIC_SENT);
    shadow_give(s);
}

static void shadow_send(struct shadow *s)
{
    struct exchange *x = &s->x;
    x->start_us = worker_now_us();
    x->deadline_us = deadline_in_ms(s->mirror->conf->timeout_ms);
    x->request.framing = s->content_len ? HTTP_BODY_LENGTH : HTTP_BODY_NONE;
    x->request.content_length = s->content_len;
    if (s->content_len)
        x->request_body = body_memory_init(&s->body, (struct bytes){ s->content, s->content_len });
    fiber_spawn(shadow_run, s);
}

/* ---- the tee: the request's body, copied as it passes ---- */

struct tee {
    struct body body;
    struct body *inner;
    struct shadow *shadow; /* NULL: sent, or given up */
    struct bytes lent;
};

static void tee_drop(struct tee *t, enum mirror_metric why)
{
    metric_inc(t->shadow->mirror->cells, why);
    shadow_give(t->shadow);
    t->shadow = NULL;
}

static void tee_send(struct tee *t)
{
    shadow_send(t->shadow);
    t->shadow = NULL;
}

static err tee_pull(struct body *b, uint64_t deadline_us, struct bytes *ret_bytes)
{
    struct tee *t = container_of(b, struct tee, body);
    err e = body_pull(t->inner, deadline_us, ret_bytes);
    if (e)
        return e;
    b->length = t->inner->length;
    b->trailers = t->inner->trailers;
    t->lent = *ret_bytes;
    if (t->shadow && ret_bytes->len == 0)
        tee_send(t);
    return OK;
}

static void tee_give(struct body *b, size_t n)
{
    struct tee *t = container_of(b, struct tee, body);
    struct shadow *s = t->shadow;
    if (s && s->content_len + n > s->mirror->conf->body_bytes_max)
        tee_drop(t, METRIC_TOO_LONG);
    else if (s && !shadow_fill_body(s, (struct bytes){ t->lent.ptr, n }))
        tee_drop(t, METRIC_TOO_LONG);
    else if (s && s->content_len == b->length)
        tee_send(t);
    t->lent = bytes_skip(t->lent, n);
    body_give(t->inner, n);
}

/* While it is being copied it has to pass through here. */
static struct io *tee_raw(struct body *b, uint64_t *ret_left)
{
    struct tee *t = container_of(b, struct tee, body);
    return t->shadow ? NULL : body_raw(t->inner, ret_left);
}

static void tee_moved(struct body *b, uint64_t n)
{
    body_moved(container_of(b, struct tee, body)->inner, n);
}

static void tee_close(struct body *b)
{
    struct tee *t = container_of(b, struct tee, body);
    if (t->shadow)
        tee_drop(t, METRIC_UNFINISHED);
    body_close(t->inner);
}

static const struct body_ops tee_ops = {
    .pull = tee_pull,
    .give = tee_give,
    .raw = tee_raw,
    .moved = tee_moved,
    .close = tee_close,
};

/* ---- the filter ---- */

static bool is_drawn(const struct mirror_conf *c)
{
    return (double)(random_u64() >> 11) < c->percent * 0x1p53;
}

/* An upgraded connection is not one request; a copy is not copied. */
static bool is_fit(const struct exchange *x)
{
    return !x->request.upgrade && x->request.method != HTTP_CONNECT &&
           !http_fields_find(&x->request.fields, MARK);
}

static void mirror_request(struct mirror *m, struct exchange *x)
{
    const bool has_body = x->request_body && x->request.framing != HTTP_BODY_NONE;
    const uint64_t length = has_body ? x->request_body->length : 0;
    if (length != BODY_LENGTH_UNKNOWN && length > m->conf->body_bytes_max) {
        metric_inc(m->cells, METRIC_TOO_LONG);
        return;
    }
    struct shadow *s = shadow_take(m);
    if (!s) {
        metric_inc(m->cells, METRIC_BUSY);
        return;
    }
    exchange_prepare(&s->x, x->gate);
    struct tee *t = has_body ? arena_get(&x->arena, sizeof *t) : NULL;
    if ((has_body && !t) || !shadow_fill_head(s, x)) {
        metric_inc(m->cells, METRIC_TOO_LONG);
        shadow_give(s);
        return;
    }
    s->content_len = s->content_size = 0;
    if (!has_body) {
        shadow_send(s);
        return;
    }
    s->content_first = length == BODY_LENGTH_UNKNOWN ? 4096 : length;
    *t = (struct tee){ .body = { &tee_ops, length, x->request_body->trailers },
                       .inner = x->request_body,
                       .shadow = s };
    x->request_body = &t->body;
}

static err mirror_handle(struct exchange *x, void *state, struct chain *next)
{
    struct mirror *m = state;
    if (request_matches(m->conf->only, x) && is_drawn(m->conf) && is_fit(x))
        mirror_request(m, x);
    return chain_next(next, x);
}

static void mirror_close(void *state)
{
    struct mirror *m = state;
    m->closed = true;
    if (m->in_flight == 0)
        mirror_free(m);
}

static err mirror_open(const void *conf, struct gate *g, struct bytes scope, void **ret_state,
                       struct diag *reterr)
{
    (void)reterr;
    const struct mirror_conf *c = conf;
    const size_t count = (size_t)c->in_flight_max;
    struct mirror *m = mem_get(sizeof *m + count * sizeof *m->shadows);
    if (!m)
        return ERR_MEMORY;
    m->conf = c;
    m->service = gate_service(g, c->service);
    for (size_t i = 0; i < count; i++) {
        m->shadows[i].mirror = m;
        m->shadows[i].next_free = m->free;
        m->free = &m->shadows[i];
    }
    err e = metric_instance_open(&metric_group, &scope, &m->metrics);
    if (e) {
        mem_free(m);
        return e;
    }
    m->cells = metric_cells(m->metrics, worker_index(worker_self()));
    *ret_state = m;
    return OK;
}

const struct filter mirror_filter = {
    .conf = { .name = "mirror",
              .size = sizeof(struct mirror_conf),
              .phrases = (const char *const[]){ "{percent} to {service}", "to {service}", NULL },
              .fields =
                  (const struct conf_field[]){
                      { .name = "percent",
                        .type = CONF_PERCENT,
                        .offset = offsetof(struct mirror_conf, percent),
                        .preset = "100%",
                        .doc = "which share of the requests is copied, drawn at random" },
                      { .name = "service",
                        .type = CONF_REF,
                        .offset = offsetof(struct mirror_conf, service),
                        .required = true,
                        .ref = "services",
                        .doc = "who gets the copies" },
                      { .name = "only",
                        .type = CONF_STRUCT,
                        .offset = offsetof(struct mirror_conf, only),
                        .sub = &request_match_struct,
                        .doc = "which requests are drawn from; all when not said" },
                      { .name = "body_bytes_max",
                        .type = CONF_BYTES,
                        .offset = offsetof(struct mirror_conf, body_bytes_max),
                        .preset = "64k",
                        .max = 256 * 1024,
                        .doc = "a request with a longer body is not copied" },
                      { .name = "answer_bytes_max",
                        .type = CONF_BYTES,
                        .offset = offsetof(struct mirror_conf, answer_bytes_max),
                        .preset = "1m",
                        .doc = "how much of an answer to a copy is read before its connection is closed" },
                      { .name = "timeout",
                        .type = CONF_MS,
                        .offset = offsetof(struct mirror_conf, timeout_ms),
                        .preset = "10s",
                        .min = 1,
                        .doc = "of a copy, its answer included" },
                      { .name = "in_flight_max",
                        .type = CONF_INT,
                        .offset = offsetof(struct mirror_conf, in_flight_max),
                        .preset = "64",
                        .min = 1,
                        .max = 10000,
                        .doc = "copies under way at a time, of one worker; beyond that requests are not "
                               "copied" },
                      { 0 } },
              .doc =
                  "Sends copies of a share of the requests to another service; its answers are dropped, and "
                  "nobody waits for them." },
    .open = mirror_open,
    .handle = mirror_handle,
    .close = mirror_close,
};

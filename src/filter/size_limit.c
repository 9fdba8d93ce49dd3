/* size_limit: how long the bodies of a route's requests and answers may be.
 *
 *      size_limit: 1m                          size_limit: {request: 1m, response: 100m}
 *
 *   request   length said:   too long ─▶ 413, nobody is asked       (RFC 9110 15.5.14)
 *             chunked:       counted as it passes ─▶ 413
 *   response  length said:   too long ─▶ 502
 *             not said:      counted as it passes ─▶ cut
 *
 * A length that was said is kept by the framing, so only bodies of unknown length are counted. */
#include "base/mem.h"
#include "core/metrics.h"
#include "gate/filter.h"

static const char *const size_words[] = { "off", NULL };

struct size_limit_conf {
    uint64_t request_bytes_max, response_bytes_max; /* off is CONF_UINT_WORD(0): more than any length */
};

#define SIZE_LIMIT_METRICS(X)                                                             \
    X(REQUEST, "request_total", METRIC_COUNTER, "Requests whose body was too long (413)") \
    X(RESPONSE, "response_total", METRIC_COUNTER, "Answers whose body was too long (502, or cut)")

enum size_limit_metric {
#define X(id, name, type, help) METRIC_##id,
    SIZE_LIMIT_METRICS(X)
#undef X
        METRIC_COUNT
};

static const struct metric_group metric_group = {
    .module = "size_limit",
    .defs =
        (const struct metric_def[]){
#define X(id, name, type, help) { name, type, help },
            SIZE_LIMIT_METRICS(X)
#undef X
        },
    .count = METRIC_COUNT,
    .labels = (const char *const[]){ "route", NULL },
};

/* A route's, on one worker. */
struct size_limit {
    const struct size_limit_conf *conf;
    struct metric_instance *metrics;
    struct metric_cells *cells;
};

/* ---- a body that is counted as it passes ---- */

struct counted {
    struct body body;
    struct body *inner;
    struct exchange *x;
    struct size_limit *limit;
    uint64_t left;
    bool is_request;
    bool failed;
};

static err counted_fail(struct counted *c)
{
    if (!c->failed)
        metric_inc(c->limit->cells, c->is_request ? METRIC_REQUEST : METRIC_RESPONSE);
    c->failed = true;
    if (c->is_request)
        c->x->request_failed = ERR_LIMIT;
    return ERR_LIMIT;
}

/* What is within the limit is passed on; the first byte beyond it is the end of it. */
static err counted_pull(struct body *b, uint64_t deadline_us, struct bytes *ret_bytes)
{
    struct counted *c = container_of(b, struct counted, body);
    struct bytes data;
    err e = c->failed ? ERR_LIMIT : body_pull(c->inner, deadline_us, &data);
    if (e)
        return e;
    if (data.len && c->left == 0)
        return counted_fail(c);
    if (data.len > c->left)
        data.len = (size_t)c->left;
    b->length = c->inner->length;
    b->trailers = c->inner->trailers;
    *ret_bytes = data;
    return OK;
}

static void counted_give(struct body *b, size_t n)
{
    struct counted *c = container_of(b, struct counted, body);
    c->left -= n;
    body_give(c->inner, n);
}

/* Only what has been pulled can be told apart from what is too much: nothing moves by the side without end.
 */
static struct io *counted_raw(struct body *b, uint64_t *ret_left)
{
    struct counted *c = container_of(b, struct counted, body);
    uint64_t left;
    struct io *io = body_raw(c->inner, &left);
    if (!io || left > c->left)
        return NULL;
    *ret_left = left;
    return io;
}

static void counted_moved(struct body *b, uint64_t n)
{
    struct counted *c = container_of(b, struct counted, body);
    c->left -= n;
    body_moved(c->inner, n);
}

static void counted_close(struct body *b)
{
    body_close(container_of(b, struct counted, body)->inner);
}

static const struct body_ops counted_ops = {
    .pull = counted_pull,
    .give = counted_give,
    .raw = counted_raw,
    .moved = counted_moved,
    .close = counted_close,
};

static err count_body(struct size_limit *l, struct exchange *x, struct body **body, uint64_t bytes_max,
                      bool is_request)
{
    struct counted *c = arena_get(&x->arena, sizeof *c);
    if (!c)
        return ERR_LIMIT;
    *c = (struct counted){ .body = { &counted_ops, (*body)->length, (*body)->trailers },
                           .inner = *body,
                           .x = x,
                           .limit = l,
                           .left = bytes_max,
                           .is_request = is_request };
    *body = &c->body;
    return OK;
}

/* ---- the filter ---- */

static bool is_known(const struct body *b)
{
    return b->length != BODY_LENGTH_UNKNOWN;
}

static err limit_response(struct size_limit *l, struct exchange *x)
{
    struct body *b = x->response_body;
    if (!b || b->length <= l->conf->response_bytes_max) /* off is more than any, an unknown one too */
        return OK;
    if (!is_known(b))
        return count_body(l, x, &x->response_body, l->conf->response_bytes_max, false);
    metric_inc(l->cells, METRIC_RESPONSE);
    exchange_answer(x, 502, BYTES_NONE, BYTES_NONE, BYTES("size_limit"));
    return OK;
}

static err size_limit_handle(struct exchange *x, void *state, struct chain *next)
{
    struct size_limit *l = state;
    struct body *b = x->request_body;
    err e = OK;
    if (b && is_known(b) && b->length > l->conf->request_bytes_max) {
        metric_inc(l->cells, METRIC_REQUEST);
        exchange_answer(x, 413, BYTES_NONE, BYTES_NONE, BYTES("size_limit"));
        return OK;
    }
    if (b && !is_known(b) && l->conf->request_bytes_max != CONF_UINT_WORD(0))
        e = count_body(l, x, &x->request_body, l->conf->request_bytes_max, true);
    if (!e)
        e = chain_next(next, x);
    return e ? e : limit_response(l, x);
}

static void size_limit_close(void *state)
{
    struct size_limit *l = state;
    metric_instance_free(l->metrics);
    mem_free(l);
}

static err size_limit_open(const void *conf, struct gate *g, struct bytes scope, void **ret_state,
                           struct diag *reterr)
{
    (void)g;
    (void)reterr;
    struct size_limit *l = mem_get(sizeof *l);
    if (!l)
        return ERR_MEMORY;
    l->conf = conf;
    err e = metric_instance_open(&metric_group, &scope, &l->metrics);
    if (e) {
        mem_free(l);
        return e;
    }
    l->cells = metric_cells(l->metrics, worker_index(worker_self()));
    *ret_state = l;
    return OK;
}

const struct filter size_limit_filter = {
    .conf = { .name = "size_limit",
              .size = sizeof(struct size_limit_conf),
              .phrases = (const char *const[]){ "{request}", NULL },
              .fields =
                  (const struct conf_field[]){
                      { .name = "request",
                        .type = CONF_BYTES,
                        .offset = offsetof(struct size_limit_conf, request_bytes_max),
                        .preset = "off",
                        .max = 1e18,
                        .words = size_words,
                        .doc = "longest body of a request (413); `client.body_bytes_max` holds beside it" },
                      { .name = "response",
                        .type = CONF_BYTES,
                        .offset = offsetof(struct size_limit_conf, response_bytes_max),
                        .preset = "off",
                        .max = 1e18,
                        .words = size_words,
                        .doc =
                            "longest body of an answer (502 when its length is said, else it is cut there)" },
                      { 0 } },
              .doc = "Bounds the bodies of requests and answers." },
    .open = size_limit_open,
    .handle = size_limit_handle,
    .close = size_limit_close,
};

#include "gate/coding_body.h"

#include <time.h>

#include "core/fiber.h"
#include "core/metrics.h"

/* So much is worked on in one go; then other fibers have their turn. */
#define REST_BYTES (64 * 1024)

/* What coding cost is counted as CPU time of this thread: the worker may have been put aside meanwhile. */
static uint64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static struct coding_body *coding_of(struct body *b)
{
    return container_of(b, struct coding_body, body);
}

static err fail(struct coding_body *c, err e)
{
    c->failed = e;
    if (c->request_of && !c->request_of->request_failed && e != ERR_CANCELLED)
        c->request_of->request_failed = e;
    return e;
}

/* One run of the coder over in, into what is left of the buffer; gives back to the inner body what was taken.
 */
static err run(struct coding_body *c, struct bytes in, enum coder_flush flush, bool *ret_done)
{
    const size_t in_len = in.len;
    char *out = c->buffer + c->end;
    size_t room = CODER_PIECE_BYTES - c->end;
    const uint64_t begin_ns = cpu_ns();
    err e = coder_run(c->coder, &in, &out, &room, flush, ret_done);
    const size_t made = (size_t)(out - (c->buffer + c->end));
    const size_t taken = in_len - in.len;
    metric_add(c->meter.cells, c->meter.cpu_ns, cpu_ns() - begin_ns);
    metric_add(c->meter.cells, c->meter.in_bytes, taken);
    metric_add(c->meter.cells, c->meter.out_bytes, made);
    c->end += made;
    c->made += made;
    c->taken += taken;
    if (taken)
        body_give(c->inner, taken);
    return e;
}

static void let_others(struct coding_body *c)
{
    if (c->taken + c->made < c->rest_at)
        return;
    c->rest_at = c->taken + c->made + REST_BYTES;
    fiber_yield();
}

static err pull_inner(struct coding_body *c, uint64_t deadline_us, struct bytes *ret_in)
{
    err e = body_pull(c->inner, deadline_us, ret_in);
    if (!e && ret_in->len == 0)
        c->inner_ended = true;
    return e;
}

static void end(struct coding_body *c)
{
    c->ended = true;
    c->body.trailers = c->inner->trailers;
}

static err lend(struct coding_body *c, struct bytes *ret_bytes)
{
    *ret_bytes = (struct bytes){ c->buffer + c->start, c->end - c->start };
    return OK;
}

/* ---- encoding ---- */

static err encode_end(struct coding_body *c)
{
    bool done;
    err e = run(c, BYTES_NONE, CODER_END, &done);
    if (!e && done)
        end(c);
    return e;
}

/* Before a pull that would block. */
static err encode_flush(struct coding_body *c)
{
    bool done;
    err e = run(c, BYTES_NONE, CODER_FLUSH, &done);
    if (!e && done)
        c->dirty = false;
    return e;
}

static err encode_some(struct coding_body *c, uint64_t deadline_us)
{
    bool done;
    struct bytes in;
    if (c->inner_ended)
        return encode_end(c);
    if (c->dirty && !body_ready(c->inner))
        return encode_flush(c);
    err e = pull_inner(c, deadline_us, &in);
    if (e || c->inner_ended)
        return e;
    if (in.len > CODER_PIECE_BYTES)
        in.len = CODER_PIECE_BYTES;
    c->dirty = true;
    e = run(c, in, CODER_RUN, &done);
    let_others(c);
    return e;
}

/* Until the buffer is full, or there is something and the next pull would block. */
static err encode_pull(struct body *b, uint64_t deadline_us, struct bytes *ret_bytes)
{
    struct coding_body *c = coding_of(b);
    if (c->failed)
        return c->failed;
    if (c->start < c->end)
        return lend(c, ret_bytes);
    c->start = c->end = 0;
    while (!c->ended && c->end <= CODER_PIECE_BYTES - CODER_ROOM_MIN) {
        if (c->end && !c->dirty && !c->inner_ended && !body_ready(c->inner))
            break;
        err e = encode_some(c, deadline_us);
        if (e)
            return fail(c, e);
    }
    return lend(c, ret_bytes);
}

/* ---- decoding ---- */

static bool is_bomb(const struct coding_body *c)
{
    return c->made > c->bound.bytes_max ||
           (c->made > CODING_RATIO_BYTES_MIN && c->made / c->bound.ratio_max > c->taken);
}

static err decode_some(struct coding_body *c, uint64_t deadline_us)
{
    struct bytes in = BYTES_NONE;
    err e = c->full ? OK : pull_inner(c, deadline_us, &in);
    if (e)
        return e;
    if (c->inner_ended && !c->full) {
        /* some servers say they coded what is empty */
        if (c->taken && !c->stream_done)
            return ERR_SYNTAX;
        end(c);
        return OK;
    }
    e = run(c, in, CODER_RUN, &c->stream_done);
    if (!e && is_bomb(c))
        e = ERR_LIMIT;
    c->full = c->end == CODER_PIECE_BYTES;
    let_others(c);
    return e;
}

static err decode_pull(struct body *b, uint64_t deadline_us, struct bytes *ret_bytes)
{
    struct coding_body *c = coding_of(b);
    if (c->failed)
        return c->failed;
    while (c->start == c->end && !c->ended) {
        c->start = c->end = 0;
        err e = decode_some(c, deadline_us);
        if (e)
            return fail(c, e);
    }
    return lend(c, ret_bytes);
}

/* ---- both ---- */

static void coding_give(struct body *b, size_t n)
{
    coding_of(b)->start += n;
}

static bool coding_ready(struct body *b)
{
    struct coding_body *c = coding_of(b);
    return c->failed || c->ended || c->start < c->end || c->full || body_ready(c->inner);
}

static void coding_close(struct body *b)
{
    struct coding_body *c = coding_of(b);
    coder_buffer_put(c->coder, c->buffer);
    coder_close(c->coder);
    body_close(c->inner);
}

static const struct body_ops encode_ops = {
    .pull = encode_pull,
    .give = coding_give,
    .ready = coding_ready,
    .close = coding_close,
};

static const struct body_ops decode_ops = {
    .pull = decode_pull,
    .give = coding_give,
    .ready = coding_ready,
    .close = coding_close,
};

static struct coding_body *coding_body(struct arena *a, const struct body_ops *ops, struct body *inner,
                                       struct coder *coder, const struct coding_meter *meter)
{
    struct coding_body *c = arena_get(a, sizeof *c);
    if (!c)
        return NULL;
    *c = (struct coding_body){ .body = { .ops = ops, .length = BODY_LENGTH_UNKNOWN },
                               .inner = inner,
                               .coder = coder,
                               .buffer = coder_buffer_get(coder, CODER_PIECE_BYTES),
                               .rest_at = REST_BYTES,
                               .meter = *meter };
    return c;
}

err encoding_body(struct arena *a, struct body *inner, struct coder *coder, const struct coding_meter *meter,
                  struct body **ret_body)
{
    struct coding_body *c = coding_body(a, &encode_ops, inner, coder, meter);
    if (!c)
        return ERR_LIMIT;
    *ret_body = &c->body;
    return OK;
}

err decoding_body(struct arena *a, struct body *inner, struct coder *coder, const struct coding_meter *meter,
                  const struct coding_bound *bound, struct coding_body **ret_body)
{
    struct coding_body *c = coding_body(a, &decode_ops, inner, coder, meter);
    if (!c)
        return ERR_LIMIT;
    c->bound = *bound;
    *ret_body = c;
    return OK;
}

/* ---- heads ---- */

bool coding_may_transform(const struct exchange *x)
{
    const unsigned status = x->response.status;
    if (status < 200 || status == 204 || status == 206 || status == 304 || x->tunnel)
        return false;
    return !http_fields_list_has(&x->response.fields, FIELD_CACHE_CONTROL, BYTES("no-transform")) &&
           !http_fields_list_has(&x->request.fields, FIELD_CACHE_CONTROL, BYTES("no-transform"));
}

err coding_vary(struct exchange *x)
{
    struct http_fields *f = &x->response.fields;
    if (http_fields_list_has(f, FIELD_VARY, BYTES("Accept-Encoding")) ||
        http_fields_list_has(f, FIELD_VARY, BYTES("*")))
        return OK;
    return http_fields_add(f, &x->arena, BYTES("Vary"), BYTES("Accept-Encoding"));
}

static err weaken_etag(struct exchange *x)
{
    const struct http_field *etag = http_fields_get(&x->response.fields, FIELD_ETAG);
    if (!etag || bytes_starts(http_field_value(etag), BYTES("W/")))
        return OK;
    struct bytes weak = arena_print(&x->arena, "W/%.*s", BYTES_ARG(http_field_value(etag)));
    if (!weak.ptr)
        return ERR_LIMIT;
    return http_fields_set(&x->response.fields, &x->arena, BYTES("ETag"), weak);
}

err coding_changed(struct exchange *x)
{
    static const struct bytes gone[] = {
        { "Accept-Ranges", 13 },  { "Content-MD5", 11 }, { "Digest", 6 },
        { "Content-Digest", 14 }, { "Repr-Digest", 11 },
    };
    struct http_fields *f = &x->response.fields;
    for (unsigned i = 0; i < sizeof gone / sizeof *gone; i++)
        http_fields_remove(f, gone[i]);
    http_fields_remove_id(f, FIELD_CONTENT_LENGTH);
    x->response.has_content_length = false;
    x->response.content_length = 0;
    return weaken_etag(x);
}

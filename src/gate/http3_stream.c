/* A request of a connection: its exchange on a fiber, its body in, its answer out. */
#if WEIR_HAVE_NGTCP2
#include "core/fiber.h"
#include "gate/extended_connect.h"
#include "gate/gate.h"
#include "gate/http3_internal.h"

#define PIECE_BYTES_MAX (16 * 1024)

static const struct client_conf *client_conf(const struct http3_stream *s)
{
    return s->x.gate->generation->conf->client;
}

static struct http3_stream *stream_of(const struct exchange *x)
{
    return x->carried;
}

/* ---- the carrier ---- */

static int carrier_fd(const struct exchange *x)
{
    (void)x;
    return -1;
}

static bool carrier_gone(const struct exchange *x)
{
    return stream_of(x)->gone;
}

static struct bytes carrier_tls(const struct exchange *x, enum tls_fact fact)
{
    struct http3_stream *s = stream_of(x);
    return s->conn->base.quic ? quic_fact(s->conn->base.quic, fact, &s->x.arena) : BYTES_NONE;
}

static bool carrier_covers(const struct exchange *x, struct bytes host)
{
    const struct http3_stream *s = stream_of(x);
    return !s->conn->base.quic || quic_covers(s->conn->base.quic, host);
}

/* ---- heads out ---- */

static nghttp3_nv pair(struct bytes name, struct bytes value)
{
    return (nghttp3_nv){ .name = (uint8_t *)(uintptr_t)name.ptr,
                         .value = (uint8_t *)(uintptr_t)value.ptr,
                         .namelen = name.len,
                         .valuelen = value.len };
}

static err add_fields(struct http3_stream *s, const struct http_fields *f, nghttp3_nv *at, size_t *count)
{
    for (uint32_t i = 0; i < f->count; i++) {
        const struct http_field *field = &f->at[i];
        if (!http2_field_passes(field) || field->id == FIELD_CONTENT_LENGTH)
            continue;
        struct bytes name = http2_field_name(field, &s->x.arena);
        if (!name.ptr)
            return ERR_LIMIT;
        at[(*count)++] = pair(name, http_field_value(field));
    }
    return OK;
}

/* The library copies it. length: of the body, where that is to be said; else BODY_LENGTH_UNKNOWN. */
static err make_head(struct http3_stream *s, const struct http_response *r, uint64_t length,
                     nghttp3_nv **ret_at, size_t *ret_count)
{
    struct arena *a = &s->x.arena;
    size_t count = 0;
    nghttp3_nv *at = arena_get(a, (r->fields.count + 2) * sizeof *at);
    char *status = arena_get(a, 32);
    if (!at || !status)
        return ERR_LIMIT;
    at[count++] = pair(BYTES(":status"), (struct bytes){ status, u64_to_text(r->status, status) });
    err e = add_fields(s, &r->fields, at, &count);
    if (length != BODY_LENGTH_UNKNOWN) {
        char *text = status + 8;
        at[count++] = pair(BYTES("content-length"), (struct bytes){ text, u64_to_text(length, text) });
    }
    *ret_at = at;
    *ret_count = count;
    return e;
}

static err carrier_interim(struct exchange *x, const struct http_response *r)
{
    struct http3_stream *s = stream_of(x);
    nghttp3_nv *head;
    size_t count;
    if (s->gone || r->status == 101)
        return OK;
    err e = make_head(s, r, BODY_LENGTH_UNKNOWN, &head, &count);
    if (!e && nghttp3_conn_submit_info(s->conn->base.lib, s->id, head, count))
        e = ERR_PROTOCOL;
    if (!e)
        quic_want_send(s->conn->base.quic);
    return e;
}

const struct carrier http3_carrier = {
    .protocol = "HTTP/3",
    .interim = carrier_interim,
    .fd = carrier_fd,
    .tls = carrier_tls,
    .covers = carrier_covers,
    .gone = carrier_gone,
};

/* ---- the request's body ---- */

static err wait_for_input(struct http3_stream *s, uint64_t deadline_us)
{
    uint64_t pause_us = deadline_in_ms(client_conf(s)->body_timeout_ms);
    s->reader = fiber_self();
    err e = fiber_wait(deadline_us < pause_us ? deadline_us : pause_us);
    s->reader = NULL;
    return e;
}

static err body_pull_now(struct http3_stream *s, uint64_t deadline_us, struct bytes *ret_bytes)
{
    if (!s->in.first && !s->in_ended && !s->in_failed && s->x.request.expect_continue && s->in_bytes == 0) {
        const struct http_response go_on = { .status = 100 };
        err e = carrier_interim(&s->x, &go_on);
        s->x.request.expect_continue = false;
        if (e)
            return e;
    }
    while (!s->in.first && !s->in_ended && !s->in_failed) {
        err e = wait_for_input(s, deadline_us);
        if (e)
            return e;
    }
    if (s->in.first) {
        const struct http3_block *b = s->in.first;
        *ret_bytes = (struct bytes){ b->data + b->begin, b->end - b->begin };
        return s->in_bytes + s->in.bytes > client_conf(s)->body_bytes_max ? ERR_LIMIT : OK;
    }
    if (s->in_failed)
        return s->in_failed;
    if (s->body.length != BODY_LENGTH_UNKNOWN && s->in_bytes != s->body.length)
        return ERR_SYNTAX;
    s->body.trailers = s->trailer_fields.count ? &s->trailer_fields : NULL;
    *ret_bytes = BYTES_NONE;
    return OK;
}

static err request_body_pull(struct body *b, uint64_t deadline_us, struct bytes *ret_bytes)
{
    struct http3_stream *s = container_of(b, struct http3_stream, body);
    return exchange_note_body(&s->x, body_pull_now(s, deadline_us, ret_bytes));
}

void http3_stream_took(struct http3_stream *s, size_t n)
{
    http3_queue_drop(&s->in, n);
    s->in_bytes += n;
    if (s->conn->base.quic)
        quic_give(s->conn->base.quic, s->id, n);
}

static void request_body_give(struct body *b, size_t n)
{
    http3_stream_took(container_of(b, struct http3_stream, body), n);
}

static bool request_body_ready(struct body *b)
{
    const struct http3_stream *s = container_of(b, struct http3_stream, body);
    return s->in.first || s->in_ended || s->in_failed;
}

static const struct body_ops request_body_ops = {
    .pull = request_body_pull,
    .give = request_body_give,
    .ready = request_body_ready,
};

static void open_body(struct http3_stream *s)
{
    struct http_request *q = &s->x.request;
    if (q->framing == HTTP_BODY_NONE)
        return;
    s->body =
        (struct body){ .ops = &request_body_ops,
                       .length = q->framing == HTTP_BODY_LENGTH ? q->content_length : BODY_LENGTH_UNKNOWN };
    s->x.request_body = &s->body;
}

/* ---- the answer's body ---- */

static err give_trailers(nghttp3_conn *lib, struct http3_stream *s)
{
    size_t count = 0;
    nghttp3_nv *at = arena_get(&s->x.arena, s->out_trailers->count * sizeof *at);
    err e = at ? add_fields(s, s->out_trailers, at, &count) : ERR_LIMIT;
    if (!e && nghttp3_conn_submit_trailers(lib, s->id, at, count))
        e = ERR_PROTOCOL;
    return e;
}

nghttp3_ssize http3_stream_read_out(nghttp3_conn *lib, int64_t id, nghttp3_vec *vecs, size_t count,
                                    uint32_t *flags, void *conn, void *stream)
{
    (void)id, (void)conn;
    struct http3_stream *s = stream;
    size_t n = 0;
    while (s->out_next && n < count) {
        struct http3_block *b = s->out_next;
        if (s->out_next_at < b->end)
            vecs[n++] = (nghttp3_vec){ (uint8_t *)b->data + s->out_next_at, b->end - s->out_next_at };
        s->out_next_at = b->end;
        if (!b->next)
            break;
        s->out_next = b->next;
        s->out_next_at = b->next->begin;
    }
    bool all = !s->out_next || (!s->out_next->next && s->out_next_at == s->out_next->end);
    if (s->out_ended && all) {
        *flags |= NGHTTP3_DATA_FLAG_EOF;
        if (s->out_trailers) {
            *flags |= NGHTTP3_DATA_FLAG_NO_END_STREAM;
            if (give_trailers(lib, s))
                return NGHTTP3_ERR_CALLBACK_FAILURE;
        }
        s->out_read = true;
        if (s->writer)
            fiber_wake(s->writer);
        return (nghttp3_ssize)n;
    }
    return n ? (nghttp3_ssize)n : NGHTTP3_ERR_WOULDBLOCK;
}

/* The client has so many more of the answer's bytes. */
void http3_stream_acked(struct http3_stream *s, uint64_t bytes)
{
    struct http3_block *b = s->out_next;
    if (b && b->next && s->out_next_at == b->end) { /* it may go now */
        s->out_next = b->next;
        s->out_next_at = b->next->begin;
    }
    if (bytes == s->out.bytes)
        s->out_next = NULL; /* all that there was */
    http3_queue_drop(&s->out, bytes);
    if (s->writer && s->out.bytes <= HTTP3_OUT_BYTES_MAX / 2)
        fiber_wake(s->writer);
    if (s->far)
        http3_far_acked(s->far);
}

void http3_stream_push(struct http3_stream *s)
{
    if (s->gone)
        return;
    (void)!nghttp3_conn_resume_stream(s->conn->base.lib, s->id);
    quic_want_send(s->conn->base.quic);
}

void http3_stream_put(struct http3_stream *s, struct bytes data)
{
    http3_queue_append(&s->out, data);
    if (!s->out_next) {
        s->out_next = s->out.first;
        s->out_next_at = s->out.first->begin;
    }
}

/* Until at most max bytes are unacknowledged; or, with trailers, until the library has them. */
static err wait_for_room(struct http3_stream *s, uint64_t max, bool until_read)
{
    while (!s->gone && (s->out.bytes > max || (until_read && !s->out_read))) {
        uint64_t before = s->out.bytes;
        s->writer = fiber_self();
        err e = fiber_wait(deadline_in_ms(client_conf(s)->write_timeout_ms));
        s->writer = NULL;
        if (e == ERR_TIMEOUT && s->out.bytes < before)
            continue;
        if (e)
            return e;
    }
    return s->gone ? ERR_RESET : OK;
}

static err write_body(struct http3_stream *s)
{
    struct exchange *x = &s->x;
    uint64_t left = x->response_body->length;
    for (;;) {
        struct bytes b;
        err e = body_pull(x->response_body, x->deadline_us, &b);
        if (e)
            return e;
        if (!b.len)
            return left == BODY_LENGTH_UNKNOWN || left == 0 ? OK : ERR_CLOSED;
        if (b.len > PIECE_BYTES_MAX)
            b.len = PIECE_BYTES_MAX;
        if (b.len > left)
            b.len = (size_t)left;
        http3_stream_put(s, b);
        body_give(x->response_body, b.len);
        x->response_bytes += b.len;
        if (left != BODY_LENGTH_UNKNOWN)
            left -= b.len;
        if (left == 0 && !x->response_body->trailers)
            return OK;
        http3_stream_push(s);
        if (s->out.bytes > HTTP3_OUT_BYTES_MAX || s->gone)
            e = wait_for_room(s, HTTP3_OUT_BYTES_MAX / 2, false);
        if (e)
            return e;
    }
}

/* ---- the answer ---- */

/* Of an answer to HEAD, Content-Length says what a GET would have brought. */
static uint64_t length_to_say(const struct exchange *x, bool has_body)
{
    const struct http_response *a = &x->response;
    if (x->tunnel)
        return BODY_LENGTH_UNKNOWN;
    if (has_body)
        return x->response_body->length;
    if (x->request.method == HTTP_HEAD || a->status == 304)
        return a->has_content_length ? a->content_length : BODY_LENGTH_UNKNOWN;
    return a->status == 204 || a->status < 200 ? BODY_LENGTH_UNKNOWN : 0;
}

/* RFC 9218 8: the server may say better than the client what is urgent. */
static void look_at_priority(struct http3_stream *s)
{
    const struct http_field *f = http_fields_find(&s->x.response.fields, BYTES("priority"));
    if (f)
        quic_lib_set_priority(s->conn->base.lib, s->id, http_field_value(f));
}

static err send_head(struct http3_stream *s, bool has_body)
{
    static const nghttp3_data_reader reader = { http3_stream_read_out };
    nghttp3_nv *head;
    size_t count;
    err e = make_head(s, &s->x.response, length_to_say(&s->x, has_body), &head, &count);
    if (e)
        return e;
    if (nghttp3_conn_submit_response(s->conn->base.lib, s->id, head, count, has_body ? &reader : NULL))
        return ERR_PROTOCOL;
    look_at_priority(s);
    quic_want_send(s->conn->base.quic);
    return OK;
}

static err send_answer(struct http3_stream *s)
{
    struct exchange *x = &s->x;
    if (s->gone)
        return ERR_RESET;
    if (x->request.upgrade)
        extended_connect_answer(x);
    bool has_body = x->response_body && exchange_may_have_body(x) && x->response_body->length != 0;
    err e = send_head(s, has_body || x->tunnel);
    if (e || !has_body || x->tunnel)
        return e;
    s->sending = client_conf(s)->cancel_when_gone != GONE_OFF;
    e = write_body(s);
    s->sending = false;
    if (e)
        return s->gone ? ERR_RESET : e;
    s->out_trailers = x->response_body->trailers;
    s->out_ended = true;
    http3_stream_push(s);
    return s->out_trailers ? wait_for_room(s, UINT64_MAX, true) : OK;
}

/* ---- the exchange ---- */

/* RFC 8470 5.1: what is asked in early data might be a repetition, and the server is told. */
static err tell_early(struct http3_stream *s)
{
    return s->early ? http_fields_set(&s->x.request.fields, &s->x.arena, BYTES("Early-Data"), BYTES("1"))
                    : OK;
}

static void serve(struct http3_stream *s)
{
    struct exchange *x = &s->x;
    gate_early(x, EARLY_HEAD);
    exchange_take_id(x);
    open_body(s);
    if (!exchange_admit_body(x, BYTES("http3")))
        return;
    s->serving = client_conf(s)->cancel_when_gone != GONE_OFF;
    if (s->gone)
        x->client_gone = true;
    else
        s->conn->client.clients->serve(x);
    s->serving = false;
}

void http3_stream_run(void *stream)
{
    struct http3_stream *s = stream;
    struct exchange *x = &s->x;
    unsigned status = 0;
    s->fiber = fiber_self();
    err e = http2_head_request(&s->head, s->in_ended && !s->in.first, &x->request, &status);
    if (!e)
        e = tell_early(s);
    if (!e && x->request.upgrade)
        e = extended_connect_begin(x);
    if (e) {
        x->failed = e;
        exchange_answer(x, status ? status : 431, BYTES_NONE, BYTES_NONE, BYTES("http3"));
    } else {
        serve(s);
    }
    e = x->client_gone ? ERR_RESET : send_answer(s);
    if (e && !x->client_gone)
        x->failed = e;
    s->fiber = NULL;
    if (!e && x->tunnel)
        http3_far_relay(s);
    else
        http3_stream_over(s, e != OK);
}

#endif

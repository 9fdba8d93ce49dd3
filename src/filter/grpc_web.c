/* grpc_web: gRPC calls from browsers ("gRPC Web", PROTOCOL-WEB.md), which can send no HTTP/2 frames and see
 * no trailers.
 *
 *      browser ── application/grpc-web[-text] ──▶ [ base64 off ] ──▶ application/grpc ──▶ server
 *              ◀── messages, then the trailers as one more [0x80 len text] [ base64 on ] ◀── messages,
 * trailers
 *
 * Answers of the gate's own become those of gRPC here too. Bodies pass piece by piece. */
#include "base/base64.h"
#include "base/mem.h"
#include "base/must.h"
#include "gate/filter.h"
#include "gate/grpc.h"

/* ---- types ---- */

#define WEB "application/grpc-web"
#define WEB_TEXT "application/grpc-web-text"

static bool starts(struct bytes type, struct bytes prefix)
{
    return type.len >= prefix.len && bytes_eq_nocase((struct bytes){ type.ptr, prefix.len }, prefix);
}

/* What stands behind the type's name: "+proto", ";charset=x". */
static struct bytes rest_of(struct bytes type, struct bytes name)
{
    return bytes_skip(type, name.len);
}

static bool is_type(struct bytes type, struct bytes name)
{
    if (!starts(type, name))
        return false;
    const struct bytes rest = rest_of(type, name);
    return !rest.len || rest.ptr[0] == '+' || rest.ptr[0] == ';';
}

static bool is_text(struct bytes type)
{
    return is_type(type, BYTES(WEB_TEXT));
}

static bool is_web(struct bytes type)
{
    return is_type(type, BYTES(WEB)) || is_text(type);
}

/* type, which begins with `from`, as one that begins with `to`. */
static err set_type(struct exchange *x, struct http_fields *fields, struct bytes type, struct bytes from,
                    const char *to)
{
    const struct bytes rest = rest_of(type, from);
    const struct bytes value = arena_print(&x->arena, "%s%.*s", to, BYTES_ARG(rest));
    if (!value.ptr)
        return ERR_LIMIT;
    http_fields_remove_id(fields, FIELD_CONTENT_TYPE);
    return http_fields_add(fields, &x->arena, BYTES("content-type"), value);
}

static struct bytes value_of(const struct http_fields *fields, enum http_field_id id)
{
    const struct http_field *f = http_fields_get(fields, id);
    return f ? http_field_value(f) : BYTES_NONE;
}

/* ---- a request in base64: its four digits at a time, padded wherever the client flushed ---- */

#define BUFFER_BYTES 4096

struct request_text {
    struct body body;
    struct body *inner;
    struct exchange *x;
    size_t start, end; /* of buffer: what is lent */
    unsigned carried;  /* of a group that is not whole */
    bool ended;
    char carry[4];
    char buffer[BUFFER_BYTES];
};

/* Up to and with the first group that is padded; groups only. */
static size_t run_of(struct bytes text)
{
    const size_t pad = bytes_index(text, '=');
    const size_t groups = text.len / 4 * 4;
    return pad < groups ? pad / 4 * 4 + 4 : groups;
}

static err decode(struct request_text *t, struct bytes text)
{
    size_t len;
    err e = base64_decode(BASE64_STANDARD, text, t->buffer + t->end, &len);
    t->end += e ? 0 : len;
    return e;
}

/* The group that a piece's end has cut. */
static err fill_carry(struct request_text *t, struct bytes *text)
{
    while (t->carried && t->carried < 4 && text->len) {
        t->carry[t->carried++] = text->ptr[0];
        *text = bytes_skip(*text, 1);
    }
    if (t->carried < 4)
        return OK;
    t->carried = 0;
    return decode(t, (struct bytes){ t->carry, 4 });
}

/* Takes of a piece what there is room for. */
static err take(struct request_text *t, struct bytes piece, size_t *ret_taken)
{
    const size_t most = (BUFFER_BYTES / 3 - 2) * 4;
    struct bytes text = { piece.ptr, piece.len < most ? piece.len : most };
    *ret_taken = text.len;
    t->start = t->end = 0;
    err e = fill_carry(t, &text);
    while (!e && text.len >= 4) {
        const size_t run = run_of(text);
        e = decode(t, (struct bytes){ text.ptr, run });
        text = bytes_skip(text, run);
    }
    if (!e && text.len) {
        memcpy(t->carry, text.ptr, text.len);
        t->carried = (unsigned)text.len;
    }
    return e;
}

static err request_text_pull(struct body *b, uint64_t deadline_us, struct bytes *ret_bytes)
{
    struct request_text *t = container_of(b, struct request_text, body);
    err e = OK;
    while (!e && t->start == t->end && !t->ended) {
        struct bytes piece;
        size_t taken;
        e = body_pull(t->inner, deadline_us, &piece);
        if (e)
            break;
        t->ended = !piece.len;
        if (t->ended) {
            e = t->carried ? ERR_SYNTAX : OK;
        } else {
            e = take(t, piece, &taken);
            body_give(t->inner, taken);
        }
        if (e)
            t->x->request_failed = e;
    }
    *ret_bytes = (struct bytes){ t->buffer + t->start, t->end - t->start };
    return e;
}

static void request_text_give(struct body *b, size_t n)
{
    container_of(b, struct request_text, body)->start += n;
}

static void request_text_close(struct body *b)
{
    body_close(container_of(b, struct request_text, body)->inner);
}

static const struct body_ops request_text_ops = {
    .pull = request_text_pull,
    .give = request_text_give,
    .close = request_text_close,
};

static err decode_request(struct exchange *x)
{
    struct request_text *t = x->request_body ? arena_get_zero(&x->arena, sizeof *t) : NULL;
    if (!t)
        return x->request_body ? ERR_LIMIT : OK;
    t->body = (struct body){ .ops = &request_text_ops, .length = BODY_LENGTH_UNKNOWN };
    t->inner = x->request_body;
    t->x = x;
    x->request_body = &t->body;
    x->request.framing = HTTP_BODY_CHUNKED;
    x->request.content_length = 0;
    http_fields_remove_id(&x->request.fields, FIELD_CONTENT_LENGTH);
    return OK;
}

/* ---- an answer: its trailers as a last message, all of it in base64 if asked ---- */

struct answer {
    struct body body;
    struct body *inner;
    struct exchange *x;
    struct bytes left; /* lent: of the trailers, or of what was encoded */
    bool text;
    bool inner_ended;
    char buffer[BUFFER_BYTES]; /* of text */
};

static err make_trailers(struct answer *a, struct bytes *ret_frame)
{
    const struct http_fields *fields = a->inner->trailers;
    size_t len = 0;
    for (uint32_t i = 0; fields && i < fields->count; i++)
        len += (size_t)fields->at[i].name_len + fields->at[i].value_len + 4;
    char *frame = arena_get(&a->x->arena, GRPC_PREFIX_BYTES + len);
    if (!frame)
        return ERR_LIMIT;
    grpc_prefix_put(frame, GRPC_WEB_TRAILERS, (uint32_t)len);
    char *at = frame + GRPC_PREFIX_BYTES;
    for (uint32_t i = 0; fields && i < fields->count; i++) {
        const struct http_field *f = &fields->at[i];
        for (uint16_t j = 0; j < f->name_len; j++)
            *at++ = ascii_lower(f->name[j]);
        at = (char *)memcpy(at, ": ", 2) + 2;
        at = (char *)memcpy(at, f->value, f->value_len) + f->value_len;
        at = (char *)memcpy(at, "\r\n", 2) + 2;
    }
    *ret_frame = (struct bytes){ frame, (size_t)(at - frame) };
    return OK;
}

/* The whole trailers' frame in base64: it comes once. */
static err encode_whole(struct answer *a, struct bytes frame)
{
    char *out = arena_get(&a->x->arena, base64_text_bytes(frame.len));
    if (!out)
        return ERR_LIMIT;
    a->left = (struct bytes){ out, base64_encode(frame, out) };
    return OK;
}

static err end_answer(struct answer *a)
{
    struct bytes frame;
    const struct http_field *status =
        a->inner->trailers ? http_fields_find(a->inner->trailers, BYTES("grpc-status")) : NULL;
    if (status)
        a->x->grpc_known = (uint8_t)(grpc_status_read(http_field_value(status)) + 1);
    if (!a->inner->trailers || !a->inner->trailers->count) /* they stood in the head */
        return OK;
    err e = make_trailers(a, &frame);
    if (!e && a->text)
        return encode_whole(a, frame);
    a->left = e ? BYTES_NONE : frame;
    return e;
}

static err answer_pull(struct body *b, uint64_t deadline_us, struct bytes *ret_bytes)
{
    struct answer *a = container_of(b, struct answer, body);
    struct bytes piece = BYTES_NONE;
    err e = OK;
    if (!a->left.len && !a->inner_ended) {
        e = body_pull(a->inner, deadline_us, &piece);
        a->inner_ended = !e && !piece.len;
        if (a->inner_ended)
            e = end_answer(a);
    }
    if (!e && piece.len && a->text) {
        const size_t most = BUFFER_BYTES / 4 * 3;
        piece.len = piece.len < most ? piece.len : most;
        a->left = (struct bytes){ a->buffer, base64_encode(piece, a->buffer) };
        body_give(a->inner, piece.len);
        piece.len = 0;
    }
    *ret_bytes = piece.len ? piece : a->left;
    return e;
}

static void answer_give(struct body *b, size_t n)
{
    struct answer *a = container_of(b, struct answer, body);
    if (a->left.len)
        a->left = bytes_skip(a->left, n);
    else
        body_give(a->inner, n);
}

static void answer_close(struct body *b)
{
    body_close(container_of(b, struct answer, body)->inner);
}

static const struct body_ops answer_ops = {
    .pull = answer_pull,
    .give = answer_give,
    .close = answer_close,
};

static err wrap_answer(struct exchange *x, bool text)
{
    const struct bytes type = value_of(&x->response.fields, FIELD_CONTENT_TYPE);
    if (!grpc_is_type(type))
        return OK; /* it is none of gRPC's: the HTTP status has to say all */
    err e = set_type(x, &x->response.fields, type, BYTES("application/grpc"), text ? WEB_TEXT : WEB);
    if (e || !x->response_body)
        return e;
    struct answer *a = arena_get(&x->arena, sizeof *a);
    if (!a)
        return ERR_LIMIT;
    *a = (struct answer){ .body = { .ops = &answer_ops, .length = BODY_LENGTH_UNKNOWN },
                          .inner = x->response_body,
                          .x = x,
                          .text = text };
    x->response_body = &a->body;
    http_fields_remove_id(&x->response.fields, FIELD_CONTENT_LENGTH);
    http_fields_remove_id(&x->response.fields, FIELD_TRAILER);
    return OK;
}

/* ---- the filter ---- */

static err take_request(struct exchange *x, struct bytes type)
{
    struct http_fields *f = &x->request.fields;
    err e = is_text(type) ? decode_request(x) : OK;
    if (!e)
        e = set_type(x, f, type, is_text(type) ? BYTES(WEB_TEXT) : BYTES(WEB), "application/grpc");
    http_fields_remove(f, BYTES("x-grpc-web"));
    if (!e)
        e = http_fields_set(f, &x->arena, BYTES("te"), BYTES("trailers"));
    grpc_take(x);
    return e;
}

static err grpc_web_handle(struct exchange *x, void *state, struct chain *next)
{
    (void)state;
    const struct bytes type = value_of(&x->request.fields, FIELD_CONTENT_TYPE);
    if (x->request.method != HTTP_POST || !is_web(type))
        return chain_next(next, x);
    const bool text = is_text(type) || starts(value_of(&x->request.fields, FIELD_ACCEPT), BYTES(WEB_TEXT));
    err e = take_request(x, type);
    if (!e)
        e = chain_next(next, x);
    if (e)
        gate_answer_failure(x, e);
    grpc_answer(x);
    return wrap_answer(x, text);
}

const struct filter grpc_web_filter = {
    .conf = { .name = "grpc_web",
              .doc = "Lets browsers make gRPC calls: gRPC-Web, binary or in base64, to servers that speak "
                     "gRPC." },
    .handle = grpc_web_handle,
};

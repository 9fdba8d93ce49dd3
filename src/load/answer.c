#include "load/answer.h"

static const struct http1_limits limits = {
    .line_bytes_max = 32 * 1024,
    .head_bytes_max = 96 * 1024,
    .fields_max = ANSWER_FIELDS_MAX,
};

/* One head, interim or not. */
static err read_head(struct io *io, enum http_method method, uint64_t deadline_us, struct http_field *fields,
                     struct http_response *head, size_t *ret_used)
{
    struct bytes in = io_peek(io);
    size_t seen = 0;
    for (;;) {
        *head = (struct http_response){ .fields = { .at = fields, .count_max = ANSWER_FIELDS_MAX } };
        err e = in.len ? http1_parse_response(in, seen, &limits, method, head, ret_used) : ERR_AGAIN;
        if (e != ERR_AGAIN)
            return e ? ERR_PROTOCOL : OK;
        seen = in.len;
        e = io_pull_more(io, seen, deadline_us, &in);
        if (e)
            return e == ERR_LIMIT ? ERR_PROTOCOL : e;
    }
}

static err read_final(struct answer *a, struct io *io, enum http_method method, bool upgrade,
                      uint64_t deadline_us, struct http_field *fields, struct http_response *ret_head,
                      size_t *ret_used)
{
    err e = read_head(io, method, deadline_us, fields, ret_head, ret_used);
    while (!e && ret_head->status < 200 && !(upgrade && ret_head->status == 101)) {
        if (ret_head->status == 101)
            return ERR_PROTOCOL; /* nobody asked for it */
        io_consume(io, *ret_used);
        e = read_head(io, method, deadline_us, fields, ret_head, ret_used);
    }
    if (e)
        return e;
    *a = (struct answer){ .chunked = HTTP1_CHUNKED_START,
                          .left = ret_head->content_length,
                          .bytes = *ret_used,
                          .framing = ret_head->framing,
                          .status = ret_head->status,
                          .keep_alive = ret_head->keep_alive && ret_head->framing != HTTP_BODY_CLOSE,
                          .done = ret_head->framing == HTTP_BODY_NONE };
    return OK;
}

err answer_head(struct answer *a, struct io *io, enum http_method method, uint64_t deadline_us,
                struct http_field *fields, struct http_response *ret_head, size_t *ret_used)
{
    return read_final(a, io, method, false, deadline_us, fields, ret_head, ret_used);
}

err answer_upgrade(struct answer *a, struct io *io, uint64_t deadline_us, struct http_field *fields,
                   struct http_response *ret_head, size_t *ret_used)
{
    return read_final(a, io, HTTP_GET, true, deadline_us, fields, ret_head, ret_used);
}

err answer_body(struct answer *a, struct bytes in, struct bytes *ret_piece, size_t *ret_used)
{
    *ret_piece = in;
    *ret_used = in.len;
    if (a->framing == HTTP_BODY_LENGTH) {
        if (in.len > a->left)
            ret_piece->len = *ret_used = (size_t)a->left;
        a->left -= ret_piece->len;
        a->done = a->left == 0;
    } else if (a->framing == HTTP_BODY_CHUNKED) {
        if (http1_chunked_decode(&a->chunked, in, &limits, NULL, ret_piece, ret_used))
            return ERR_PROTOCOL;
        a->done = a->chunked.done;
    }
    a->bytes += *ret_used;
    return OK;
}

err answer_ended(struct answer *a)
{
    if (a->framing != HTTP_BODY_CLOSE || a->done)
        return ERR_CLOSED;
    a->done = true;
    return OK;
}

#include "proto/http1_head.h"

#include "proto/http_char.h"

/* HTTP-version SP 3DIGIT [ SP reason-phrase ] CRLF, RFC 9112 4. The space before an absent reason is wanted
 * by the grammar but missing from many servers. */
static err read_status(const char **pos, const char *end, unsigned *ret_status)
{
    const char *p = *pos;
    unsigned status = 0;
    for (unsigned i = 0; i < 4; i++) {
        if (p + i == end)
            return ERR_AGAIN;
        bool fits = i == 0 ? p[i] == ' ' : p[i] >= '0' && p[i] <= '9';
        if (!fits)
            return ERR_SYNTAX;
        status = i == 0 ? 0 : status * 10 + (unsigned)(p[i] - '0');
    }
    if (status < 100 || status > 599)
        return ERR_SYNTAX;
    *ret_status = status;
    *pos = p + 4;
    return OK;
}

static err read_reason(struct http1_cut *cut, const char *line, struct http_response *ret)
{
    const char *p = cut->pos;
    const char *end = cut->end;
    if (p == end)
        return ERR_AGAIN;
    ret->reason = BYTES("");
    if (*p == ' ') {
        const char *reason = p + 1;
        p = http1_scan->value_end(reason, cut->base, end);
        ret->reason = (struct bytes){ reason, (size_t)(p - reason) };
    }
    if ((size_t)(p - line) > cut->line_bytes_max)
        return ERR_LIMIT;
    cut->pos = p;
    return http1_read_crlf(&cut->pos, end);
}

static err read_status_line(struct http1_cut *cut, struct http_response *ret)
{
    const char *line = cut->pos;
    err e = http1_read_version(&cut->pos, cut->end, &ret->version_minor);
    if (e)
        return e == ERR_UNSUPPORTED ? ERR_SYNTAX : e;
    e = read_status(&cut->pos, cut->end, &ret->status);
    return e ? e : read_reason(cut, line, ret);
}

/* RFC 9112 6.3, rules 1 and 2: the status or the method says that there is none */
static bool has_no_body(unsigned status, enum http_method method)
{
    if (method == HTTP_HEAD || status < 200 || status == 204 || status == 304)
        return true;
    return method == HTTP_CONNECT && status < 300;
}

/* A server that announces a body where none can be may well send it: nothing that follows on the connection
 * can be trusted. (HEAD and 304 may say what a GET would bring.) */
static bool announces_forbidden_body(const struct http1_cut *cut, const struct http_response *ret)
{
    if (ret->status >= 200 && ret->status != 204)
        return false;
    return http1_has(cut, FIELD_TRANSFER_ENCODING) || ret->content_length > 0;
}

static err read_lengths(const struct http1_cut *cut, struct http_response *ret)
{
    bool chunked = http1_has(cut, FIELD_TRANSFER_ENCODING);
    ret->content_length = 0;
    ret->has_content_length = http1_has(cut, FIELD_CONTENT_LENGTH);
    if (chunked) {
        bool twice = cut->repeated & HTTP1_ID_BIT(FIELD_TRANSFER_ENCODING);
        if (twice || ret->has_content_length || ret->version_minor == 0)
            return ERR_SYNTAX;
        if (!bytes_eq_nocase(http1_value_of(cut, FIELD_TRANSFER_ENCODING), BYTES("chunked")))
            return ERR_SYNTAX;
    }
    return ret->has_content_length ? http1_read_content_length(cut, &ret->content_length) : OK;
}

static enum http_framing framing_of(const struct http1_cut *cut, const struct http_response *ret,
                                    enum http_method method)
{
    if (has_no_body(ret->status, method))
        return HTTP_BODY_NONE;
    if (http1_has(cut, FIELD_TRANSFER_ENCODING))
        return HTTP_BODY_CHUNKED;
    if (!ret->has_content_length)
        return HTTP_BODY_CLOSE;
    return ret->content_length ? HTTP_BODY_LENGTH : HTTP_BODY_NONE;
}

static err read_meaning(struct http1_cut *cut, enum http_method method, struct http_response *ret)
{
    struct http1_connection_options options;
    err e = http1_read_connection(cut, false, &options);
    if (!e)
        e = read_lengths(cut, ret);
    if (e)
        return e;
    ret->framing = framing_of(cut, ret, method);
    ret->keep_alive = !options.close && (ret->version_minor > 0 || options.keep_alive);
    ret->upgrade = options.upgrade && ret->version_minor > 0 && http1_offers_upgrade(cut);
    if (announces_forbidden_body(cut, ret)) {
        if (ret->status < 200)
            return ERR_SYNTAX;
        ret->keep_alive = false;
    }
    if (ret->framing == HTTP_BODY_CLOSE)
        ret->keep_alive = false;
    return OK;
}

err http1_parse_response(struct bytes in, size_t seen, const struct http1_limits *limits,
                         enum http_method method, struct http_response *ret, size_t *ret_used)
{
    if (http1_head_waits(in, seen, limits))
        return ERR_AGAIN;
    struct http1_cut cut;
    http1_cut_open(&cut, in, limits, &ret->fields);
    err e = read_status_line(&cut, ret);
    if (!e)
        e = http1_scan->cut_fields(&cut);
    if (e == ERR_AGAIN && in.len >= limits->head_bytes_max)
        return ERR_LIMIT;
    if (!e)
        e = read_meaning(&cut, method, ret);
    if (!e)
        *ret_used = (size_t)(cut.pos - in.ptr);
    return e;
}

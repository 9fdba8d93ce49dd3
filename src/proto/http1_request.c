#include "proto/http1_head.h"

#include "proto/http_char.h"
#include "proto/http_field_id.h"

#define METHOD_BYTES_MAX 32
#define EMPTY_LINES_MAX 2

/* Takes *ret_status and gives the err that goes with it. */
static err refuse(unsigned status, unsigned *ret_status)
{
    *ret_status = status;
    switch (status) {
    case 400:
        return ERR_SYNTAX;
    case 414:
    case 431:
        return ERR_LIMIT;
    default:
        return ERR_UNSUPPORTED;
    }
}

/* RFC 9112 2.2: a server should ignore at least one empty line that was received before the request line */
static err skip_empty_lines(const char **pos, const char *end)
{
    for (unsigned i = 0; i < EMPTY_LINES_MAX && *pos < end && **pos == '\r'; i++) {
        err e = http1_read_crlf(pos, end);
        if (e)
            return e;
    }
    return *pos == end ? ERR_AGAIN : OK;
}

static err read_method(const char **pos, const char *end, struct http_request *ret)
{
    const char *start = *pos;
    if (end - start >= 4 && memcmp(start, "GET ", 4) == 0) {
        ret->method = HTTP_GET;
        ret->method_text = (struct bytes){ start, 3 };
        *pos = start + 4;
        return OK;
    }
    const char *p = start;
    while (p < end && p - start <= METHOD_BYTES_MAX && http_char_is(*p, HTTP_CHAR_TOKEN))
        p++;
    if (p - start > METHOD_BYTES_MAX)
        return ERR_SYNTAX;
    if (p == end)
        return ERR_AGAIN;
    if (*p != ' ' || p == start)
        return ERR_SYNTAX;
    ret->method_text = (struct bytes){ start, (size_t)(p - start) };
    ret->method = http_method_of(ret->method_text);
    *pos = p + 1;
    return OK;
}

/* method SP request-target SP HTTP-version CRLF, RFC 9112 3 */
static err read_request_line(struct http1_cut *cut, struct http_request *ret)
{
    const char *line = cut->pos;
    const char *end = cut->end;
    err e = read_method(&cut->pos, end, ret);
    if (e)
        return e;
    const char *target = cut->pos;
    const char *p = http1_scan->target_end(target, cut->base, end);
    if ((size_t)(p - line) > cut->line_bytes_max)
        return ERR_LIMIT;
    if (p == end)
        return ERR_AGAIN;
    if (*p != ' ' || p == target)
        return ERR_SYNTAX;
    ret->target = (struct bytes){ target, (size_t)(p - target) };
    p++;
    e = http1_read_version(&p, end, &ret->version_minor);
    if (e)
        return e;
    if ((size_t)(p - line) > cut->line_bytes_max)
        return ERR_LIMIT;
    e = http1_read_crlf(&p, end);
    if (e)
        return e;
    cut->pos = p;
    return OK;
}

static void split_query(struct bytes path_and_query, struct http_request *ret)
{
    const char *mark = memchr(path_and_query.ptr, '?', path_and_query.len);
    ret->path = path_and_query;
    ret->query = BYTES_NONE;
    if (!mark)
        return;
    ret->path.len = (size_t)(mark - path_and_query.ptr);
    ret->query = bytes_skip(path_and_query, ret->path.len + 1);
}

/* "http://authority/path?query", scheme http or https. RFC 9112 3.2.2; an empty path is "/" there, but "*"
 * for OPTIONS (3.2.4). */
static bool split_absolute(struct http_request *ret)
{
    struct bytes rest = ret->target;
    struct bytes http = BYTES("http://");
    struct bytes https = BYTES("https://");
    if (rest.len > http.len && bytes_eq_nocase((struct bytes){ rest.ptr, http.len }, http))
        rest = bytes_skip(rest, http.len);
    else if (rest.len > https.len && bytes_eq_nocase((struct bytes){ rest.ptr, https.len }, https))
        rest = bytes_skip(rest, https.len);
    else
        return false;
    size_t len = 0;
    while (len < rest.len && rest.ptr[len] != '/' && rest.ptr[len] != '?')
        len++;
    ret->authority = (struct bytes){ rest.ptr, len };
    rest = bytes_skip(rest, len);
    split_query(rest, ret);
    if (ret->path.len == 0)
        ret->path = ret->method == HTTP_OPTIONS && !ret->query.ptr ? BYTES("*") : BYTES("/");
    return http1_is_authority(ret->authority, false);
}

/* RFC 9112 3.2 */
static bool split_target(struct http_request *ret)
{
    ret->authority = BYTES_NONE;
    if (ret->method == HTTP_CONNECT) {
        ret->authority = ret->target;
        ret->path = ret->query = BYTES_NONE;
        return http1_is_authority(ret->target, true);
    }
    if (ret->target.ptr[0] == '/') {
        split_query(ret->target, ret);
        return true;
    }
    if (ret->method == HTTP_OPTIONS && bytes_eq(ret->target, BYTES("*"))) {
        ret->path = ret->target;
        ret->query = BYTES_NONE;
        return true;
    }
    return split_absolute(ret);
}

/* RFC 9112 3.2: exactly one for 1.1. The target's authority, where it has one, goes before it. */
static bool read_host(const struct http1_cut *cut, struct http_request *ret)
{
    if (!http1_has(cut, FIELD_HOST))
        return ret->version_minor == 0;
    if (cut->repeated & HTTP1_ID_BIT(FIELD_HOST))
        return false;
    struct bytes host = http1_value_of(cut, FIELD_HOST);
    if (!ret->authority.ptr)
        ret->authority = host;
    return host.len == 0 || http1_is_authority(host, false);
}

/* transfer-coding = token *( OWS ";" OWS token BWS "=" BWS ( token / quoted-string ) ). What follows the
 * first
 * ';' does not matter for the answer and is not looked at. */
static bool is_coding(struct bytes text, bool *ret_has_parameters)
{
    size_t len = bytes_index(text, ';');
    *ret_has_parameters = len < text.len;
    return http_is_token(bytes_trim((struct bytes){ text.ptr, len }));
}

/* The status for a Transfer-Encoding that is not just "chunked": 501 when it is a sound list of codings that
 * we do not know, 400 when it is none, or plays with "chunked". */
static unsigned status_of_coding(struct bytes value)
{
    struct bytes part;
    bool chunked = false;
    while (bytes_split(&value, ',', &part)) {
        bool has_parameters;
        part = bytes_trim(part);
        if (chunked || !is_coding(part, &has_parameters))
            return 400;
        struct bytes name = bytes_trim((struct bytes){ part.ptr, bytes_index(part, ';') });
        chunked = bytes_eq_nocase(name, BYTES("chunked"));
        if (chunked && has_parameters)
            return 400;
    }
    return 501;
}

/* Returns 0 or the status to refuse it with. RFC 9112 6.1, 6.3. */
static unsigned read_framing(const struct http1_cut *cut, struct http_request *ret)
{
    ret->framing = HTTP_BODY_NONE;
    ret->content_length = 0;
    bool has_length = http1_has(cut, FIELD_CONTENT_LENGTH);
    if (http1_has(cut, FIELD_TRANSFER_ENCODING)) {
        bool twice = cut->repeated & HTTP1_ID_BIT(FIELD_TRANSFER_ENCODING);
        if (has_length || twice || ret->version_minor == 0)
            return 400;
        struct bytes coding = http1_value_of(cut, FIELD_TRANSFER_ENCODING);
        if (!bytes_eq_nocase(coding, BYTES("chunked")))
            return status_of_coding(coding);
        ret->framing = HTTP_BODY_CHUNKED;
        return 0;
    }
    if (!has_length)
        return 0;
    if (http1_read_content_length(cut, &ret->content_length))
        return 400;
    ret->framing = ret->content_length ? HTTP_BODY_LENGTH : HTTP_BODY_NONE;
    return 0;
}

/* RFC 9110 10.1.1; an HTTP/1.0 client cannot mean it */
static unsigned read_expect(const struct http1_cut *cut, struct http_request *ret)
{
    ret->expect_continue = false;
    if (!http1_has(cut, FIELD_EXPECT))
        return 0;
    bool twice = cut->repeated & HTTP1_ID_BIT(FIELD_EXPECT);
    if (twice || !bytes_eq_nocase(http1_value_of(cut, FIELD_EXPECT), BYTES("100-continue")))
        return 417;
    ret->expect_continue = ret->version_minor > 0 && ret->framing != HTTP_BODY_NONE;
    return 0;
}

/* Returns 0 or the status to refuse it with. */
static unsigned read_meaning(struct http1_cut *cut, struct http_request *ret)
{
    struct http1_connection_options options;
    if (!read_host(cut, ret) || http1_read_connection(cut, true, &options))
        return 400;
    unsigned status = read_framing(cut, ret);
    if (status)
        return status;
    ret->keep_alive = !options.close && (ret->version_minor > 0 || options.keep_alive);
    ret->upgrade = options.upgrade && ret->version_minor > 0 && http1_offers_upgrade(cut);
    return read_expect(cut, ret);
}

static err read_line(struct http1_cut *cut, struct http_request *ret, unsigned *ret_status)
{
    err e = skip_empty_lines(&cut->pos, cut->end);
    if (!e)
        e = read_request_line(cut, ret);
    if (e == ERR_AGAIN)
        return e;
    if (e == ERR_LIMIT)
        return refuse(414, ret_status);
    if (e == ERR_UNSUPPORTED)
        return refuse(505, ret_status);
    if (e || !split_target(ret))
        return refuse(400, ret_status);
    return OK;
}

err http1_parse_request(struct bytes in, size_t seen, const struct http1_limits *limits,
                        struct http_request *ret, size_t *ret_used, unsigned *ret_status)
{
    if (http1_head_waits(in, seen, limits))
        return ERR_AGAIN;
    struct http1_cut cut;
    http1_cut_open(&cut, in, limits, &ret->fields);
    bool full = in.len >= limits->head_bytes_max;
    err e = read_line(&cut, ret, ret_status);
    if (e)
        return e == ERR_AGAIN && full ? refuse(414, ret_status) : e;
    e = http1_scan->cut_fields(&cut);
    if (e == ERR_LIMIT || (e == ERR_AGAIN && full))
        return refuse(431, ret_status);
    if (e)
        return e == ERR_AGAIN ? e : refuse(400, ret_status);
    unsigned status = read_meaning(&cut, ret);
    if (status)
        return refuse(status, ret_status);
    *ret_used = (size_t)(cut.pos - in.ptr);
    return OK;
}

#include "base/must.h"
#include "proto/http1.h"

#define ID_BIT(id) (UINT64_C(1) << (id))
/* Written by the writer itself, from what it was told. */
#define FRAMING_IDS \
    (ID_BIT(FIELD_CONTENT_LENGTH) | ID_BIT(FIELD_TRANSFER_ENCODING) | ID_BIT(FIELD_CONNECTION))

/* "Transfer-Encoding: chunked", or "Content-Length: " and 20 digits; "Connection: keep-alive"; status digits;
 * the fixed text and spaces of a first line; "Host: "; all CRLFs */
#define HEAD_EXTRA_BYTES 160
#define FIELD_EXTRA_BYTES 4 /* ": " and CRLF */

static char *put(char *out, struct bytes text)
{
    if (text.len)
        memcpy(out, text.ptr, text.len);
    return out + text.len;
}

#define PUT_LITERAL(out, literal) \
    ((char *)memcpy((out), (literal), sizeof(literal) - 1) + sizeof(literal) - 1)

char *http1_put_field(char *out, struct bytes name, struct bytes value)
{
    out = put(out, name);
    *out++ = ':';
    *out++ = ' ';
    out = put(out, value);
    *out++ = '\r';
    *out++ = '\n';
    return out;
}

static bool are_two(const char *at, char first, char second)
{
    return at[0] == first && at[1] == second;
}

/* "Name: value" with exactly that between the two: it can be copied as one. The pointers are compared first:
 * only then do the two bytes between them lie in memory that is known to be there. */
static bool is_whole(const struct http_field *f)
{
    const char *name_end = f->name + f->name_len;
    return f->value == name_end + 2 && are_two(name_end, ':', ' ');
}

/* A run of field lines that lie behind one another in the buffer they came in, to be copied as one:
 *
 *     Accept: * / * CRLF User-Agent: x CRLF Connection: close CRLF Cookie: a=b CRLF
 *     ├───────────run──────────┤            (skipped)              ├───run───┤                    */
struct run {
    const char *start; /* NULL: empty */
    const char *end;   /* of the last value */
};

static char *put_run(char *out, struct run *run)
{
    if (!run->start)
        return out;
    out = put(out, (struct bytes){ run->start, (size_t)(run->end - run->start) });
    run->start = NULL;
    return PUT_LITERAL(out, "\r\n");
}

static char *put_in_run(char *out, struct run *run, const struct http_field *f)
{
    bool follows = run->start && f->name == run->end + 2 && are_two(run->end, '\r', '\n');
    if (!follows) {
        out = put_run(out, run);
        run->start = f->name;
    }
    run->end = f->value + f->value_len;
    return out;
}

/* skip: bits of ids that are not written; FIELD_HOP fields are not, but for those in keep_hop. */
static char *put_fields(char *out, const struct http_fields *fields, uint64_t skip, uint64_t keep_hop)
{
    struct run run = { 0 };
    for (uint32_t i = 0; i < fields->count; i++) {
        const struct http_field *f = &fields->at[i];
        uint64_t bit = ID_BIT(f->id);
        if (f->flags & FIELD_REMOVED || bit & skip || (f->flags & FIELD_HOP && !(bit & keep_hop)))
            continue;
        if (is_whole(f)) {
            out = put_in_run(out, &run, f);
            continue;
        }
        out = put_run(out, &run);
        out = http1_put_field(out, http_field_name(f), http_field_value(f));
    }
    return put_run(out, &run);
}

static char *put_length(char *out, uint64_t length)
{
    out = PUT_LITERAL(out, "Content-Length: ");
    out += u64_to_text(length, out);
    return PUT_LITERAL(out, "\r\n");
}

static char *put_chunked(char *out)
{
    return PUT_LITERAL(out, "Transfer-Encoding: chunked\r\n");
}

static char *put_connection(char *out, enum http1_connection connection)
{
    switch (connection) {
    case HTTP1_CONNECTION_DEFAULT:
        return out;
    case HTTP1_CONNECTION_CLOSE:
        return PUT_LITERAL(out, "Connection: close\r\n");
    case HTTP1_CONNECTION_KEEP_ALIVE:
        return PUT_LITERAL(out, "Connection: keep-alive\r\n");
    case HTTP1_CONNECTION_UPGRADE:
        return PUT_LITERAL(out, "Connection: upgrade\r\n");
    }
    return out;
}

static uint64_t kept_hops(enum http1_connection connection)
{
    return connection == HTTP1_CONNECTION_UPGRADE ? ID_BIT(FIELD_UPGRADE) : 0;
}

static size_t fields_size(const struct http_fields *fields)
{
    size_t size = 0;
    for (uint32_t i = 0; i < fields->count; i++)
        size += (size_t)fields->at[i].name_len + fields->at[i].value_len + FIELD_EXTRA_BYTES;
    return size;
}

size_t http1_request_size(const struct http_request *r)
{
    return HEAD_EXTRA_BYTES + r->method_text.len + r->target.len + r->path.len + r->query.len +
           r->authority.len + fields_size(&r->fields);
}

/* RFC 9110 8.6: these expect a body, so an empty one is said to be so. */
static bool says_empty_body(enum http_method m)
{
    return m == HTTP_POST || m == HTTP_PUT || m == HTTP_PATCH;
}

static char *put_request_framing(char *out, const struct http_request *r)
{
    switch (r->framing) {
    case HTTP_BODY_NONE:
        return says_empty_body(r->method) ? put_length(out, 0) : out;
    case HTTP_BODY_LENGTH:
        return put_length(out, r->content_length);
    case HTTP_BODY_CHUNKED:
        return put_chunked(out);
    case HTTP_BODY_CLOSE:
        break;
    }
    must(r->framing != HTTP_BODY_CLOSE); /* a request's body cannot end so */
    return out;
}

char *http1_put_request(char *out, const struct http_request *r, struct bytes target, struct bytes host,
                        enum http1_connection connection)
{
    out = put(out, r->method_text);
    *out++ = ' ';
    out = put(out, target);
    out = PUT_LITERAL(out, " HTTP/1.1\r\nHost: ");
    out = put(out, host);
    out = PUT_LITERAL(out, "\r\n");
    out = put_fields(out, &r->fields, FRAMING_IDS | ID_BIT(FIELD_HOST), kept_hops(connection));
    out = put_request_framing(out, r);
    out = put_connection(out, connection);
    return PUT_LITERAL(out, "\r\n");
}

size_t http1_response_size(const struct http_response *r)
{
    return HEAD_EXTRA_BYTES + r->reason.len + fields_size(&r->fields);
}

/* What stands for "no body": nothing where the status says so already, the length that a GET would have
 * brought for HEAD and 304, else a length of 0. */
static char *put_no_body(char *out, const struct http_response *r, bool head_request)
{
    if (r->status < 200 || r->status == 204)
        return out;
    if (head_request || r->status == 304)
        return r->has_content_length ? put_length(out, r->content_length) : out;
    return put_length(out, 0);
}

static char *put_response_framing(char *out, const struct http_response *r, bool head_request)
{
    switch (r->framing) {
    case HTTP_BODY_NONE:
        return put_no_body(out, r, head_request);
    case HTTP_BODY_LENGTH:
        return put_length(out, r->content_length);
    case HTTP_BODY_CHUNKED:
        return put_chunked(out);
    case HTTP_BODY_CLOSE:
        break;
    }
    return out;
}

char *http1_put_response(char *out, const struct http_response *r, bool head_request,
                         enum http1_connection connection)
{
    must(r->status >= 100 && r->status <= 999);
    out = PUT_LITERAL(out, "HTTP/1.1 ");
    *out++ = (char)('0' + r->status / 100);
    *out++ = (char)('0' + r->status / 10 % 10);
    *out++ = (char)('0' + r->status % 10);
    *out++ = ' ';
    out = put(out, r->reason);
    out = PUT_LITERAL(out, "\r\n");
    out = put_fields(out, &r->fields, FRAMING_IDS, kept_hops(connection));
    out = put_response_framing(out, r, head_request);
    out = put_connection(out, connection);
    return PUT_LITERAL(out, "\r\n");
}

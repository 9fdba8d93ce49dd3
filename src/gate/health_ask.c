#if WEIR_HAVE_PCRE2
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#endif
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "gate/health_ask.h"
#include "gate/health_grpc.h"
#include "gate/health_http2.h"
#include "gate/http1_body.h"
#include "gate/proxied.h"
#include "gate/tls_service.h"
#include "net/tcp.h"

#define PATH_BYTES_MAX 1024
#define HOST_BYTES_MAX 255
/* Steps of one match: a pattern that goes back and forth must not hold up the others. */
#define REGEX_STEPS_MAX 1000000

const char *const health_methods[] = { "GET", "HEAD", "OPTIONS", "tcp", "grpc", NULL };

/* ---- regex ---- */

#if WEIR_HAVE_PCRE2
static err pattern_open(struct bytes text, void **ret_pattern, struct diag *reterr)
{
    int number;
    size_t at;
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)text.ptr, text.len, PCRE2_DOTALL, &number, &at, NULL);
    if (code) {
        *ret_pattern = code;
        return OK;
    }
    PCRE2_UCHAR words[120];
    pcre2_get_error_message(number, words, sizeof words);
    diag_set(reterr, "regex: %s at character %zu", (char *)words, at + 1);
    return ERR_CONF;
}

static void pattern_close(void *pattern)
{
    pcre2_code_free(pattern);
}

static bool pattern_matches(void *pattern, struct bytes text)
{
    pcre2_match_data *data = pcre2_match_data_create_from_pattern(pattern, NULL);
    pcre2_match_context *context = pcre2_match_context_create(NULL);
    bool matches = false;
    if (data && context) {
        pcre2_set_match_limit(context, REGEX_STEPS_MAX);
        pcre2_set_heap_limit(context, 1024); /* KiB */
        matches =
            pcre2_match(pattern, (PCRE2_SPTR)(text.len ? text.ptr : ""), text.len, 0, 0, data, context) >= 0;
    }
    pcre2_match_context_free(context);
    pcre2_match_data_free(data);
    return matches;
}
#else
static err pattern_open(struct bytes text, void **ret_pattern, struct diag *reterr)
{
    (void)text;
    (void)ret_pattern;
    diag_set(reterr, "regex: this weir was built without pcre2");
    return ERR_CONF;
}

static void pattern_close(void *pattern)
{
    (void)pattern;
}

static bool pattern_matches(void *pattern, struct bytes text)
{
    (void)pattern;
    (void)text;
    return false;
}
#endif

/* ---- settings ---- */

bool health_status_is_well(const struct health_ask_conf *c, unsigned status)
{
    return status / 64 < 10 && c->status_bits[status / 64] >> (status % 64) & 1;
}

/* "200" or "200-299" */
static bool status_add(struct health_ask_conf *c, struct bytes text)
{
    struct bytes part;
    uint64_t first, last;
    if (!bytes_split(&text, '-', &part) || !bytes_to_u64(part, &first))
        return false;
    last = first;
    if (text.ptr && !bytes_to_u64(text, &last))
        return false;
    if (first < 200 || last > 599 || first > last)
        return false;
    for (uint64_t status = first; status <= last; status++)
        c->status_bits[status / 64] |= UINT64_C(1) << (status % 64);
    return true;
}

static bool is_plain(struct bytes text, size_t len_max)
{
    return text.len <= len_max && bytes_index(text, ' ') == text.len && http_is_field_value(text);
}

static err check_body(const struct health_ask_conf *c, struct diag *reterr)
{
    const bool tcp = c->method == HEALTH_TCP;
    if (!tcp && (c->send.len || c->expect.len)) {
        diag_set(reterr, "%s: only where the method is tcp", c->send.len ? "send" : "expect");
        return ERR_CONF;
    }
    if ((tcp || c->method == HEALTH_HEAD || c->method == HEALTH_GRPC) && (c->contains.len || c->regex.len)) {
        diag_set(reterr, "%s: there is no body to look at with the method %s",
                 c->contains.len ? "contains" : "regex", health_methods[c->method]);
        return ERR_CONF;
    }
    void *pattern = NULL;
    err e = c->regex.len ? pattern_open(c->regex, &pattern, reterr) : OK;
    if (pattern)
        pattern_close(pattern);
    return e;
}

static bool is_whole_server(const struct health_ask_conf *c)
{
    return bytes_eq(c->path, BYTES("/"));
}

static err check_path(const struct health_ask_conf *c, struct diag *reterr)
{
    if (c->method == HEALTH_GRPC) {
        if (is_whole_server(c) || (c->path.len && c->path.ptr[0] != '/' && is_plain(c->path, PATH_BYTES_MAX)))
            return OK;
        diag_set(reterr, "path: \"%.*s\" is not a service of gRPC: expected like shop.Orders",
                 BYTES_ARG(c->path));
        return ERR_CONF;
    }
    if (c->path.len == 0 || c->path.ptr[0] != '/' || !is_plain(c->path, PATH_BYTES_MAX)) {
        diag_set(reterr, "path: \"%.*s\" is not a path: expected like /healthz", BYTES_ARG(c->path));
        return ERR_CONF;
    }
    return OK;
}

err health_ask_check(struct health_ask_conf *c, struct diag *reterr)
{
    err e = check_path(c, reterr);
    if (e)
        return e;
#if !WEIR_HAVE_NGHTTP2
    if (c->method == HEALTH_GRPC) {
        diag_set(reterr, "grpc: this weir was built without libnghttp2 and speaks no HTTP/2");
        return ERR_CONF;
    }
#endif
    if (!is_plain(c->host, HOST_BYTES_MAX)) {
        diag_set(reterr, "host: \"%.*s\" is not a host", BYTES_ARG(c->host));
        return ERR_CONF;
    }
    const struct bytes *status = c->status.items;
    for (size_t i = 0; i < c->status.count; i++) {
        if (!status_add(c, status[i])) {
            diag_set(reterr, "status: \"%.*s\" is not a status: expected like 200 or 200-299 (of 200 to 599)",
                     BYTES_ARG(status[i]));
            return ERR_CONF;
        }
    }
    return check_body(c, reterr);
}

err health_ask_open(struct health_ask *a, const struct health_ask_conf *conf)
{
    struct diag ignored = DIAG_NONE; /* health_ask_check has said it */
    *a = (struct health_ask){ .conf = conf };
    return conf->regex.len ? pattern_open(conf->regex, &a->pattern, &ignored) : OK;
}

void health_ask_close(struct health_ask *a)
{
    if (a->pattern)
        pattern_close(a->pattern);
    a->pattern = NULL;
}

/* ---- the answer ---- */

static bool contains(struct bytes text, struct bytes wanted)
{
    return wanted.len == 0 || (text.len && memmem(text.ptr, text.len, wanted.ptr, wanted.len));
}

const char *health_body_lacks(const struct health_ask *a, struct bytes body)
{
    if (!contains(body, a->conf->contains))
        return "the body does not contain what it should";
    if (a->pattern && !pattern_matches(a->pattern, body))
        return "the body does not match";
    return NULL;
}

static const struct http1_limits limits = { .line_bytes_max = 8192,
                                            .head_bytes_max = 32768,
                                            .fields_max = 64 };

/* Up to the head of the last answer, which is consumed. */
static err read_head(struct io *io, enum http_method method, uint64_t deadline_us, struct http_response *r)
{
    struct bytes in;
    size_t seen = 0;
    const struct http_fields fields = r->fields;
    err e = io_pull(io, deadline_us, &in);
    while (!e) {
        size_t used;
        r->fields = fields;
        e = http1_parse_response(in, seen, &limits, method, r, &used);
        if (e == ERR_AGAIN) {
            seen = in.len;
            e = io_pull_more(io, in.len, deadline_us, &in);
            continue;
        }
        if (e)
            return e;
        io_consume(io, used);
        if (r->status >= 200)
            return OK;
        seen = 0;
        e = io_pull(io, deadline_us, &in);
    }
    return e;
}

/* The beginning of it, as far as it is looked at. */
static err read_body(struct io *io, const struct http_response *r, uint64_t deadline_us, char *out,
                     size_t *ret_len)
{
    struct http1_body b;
    struct arena trailers;
    size_t len = 0;
    arena_open(&trailers, &arena_heap, 1 << 16, NULL, 0);
    http1_body_init(&b, io, r->framing, r->content_length, UINT64_MAX, 600000, &limits, &trailers);
    err e = OK;
    while (!e && len < HEALTH_BODY_BYTES_MAX && r->framing != HTTP_BODY_NONE) {
        struct bytes in;
        e = http1_body_pull(&b.body, deadline_us, &in);
        if (e || in.len == 0)
            break;
        if (in.len > HEALTH_BODY_BYTES_MAX - len)
            in.len = HEALTH_BODY_BYTES_MAX - len;
        memcpy(out + len, in.ptr, in.len);
        len += in.len;
        http1_body_give(&b.body, in.len);
    }
    arena_close(&trailers);
    *ret_len = len;
    return e;
}

static bool looks_at_body(const struct health_ask *a)
{
    return a->conf->contains.len || a->pattern;
}

/* text: the beginning of the body, where that is looked at. */
static void judge(const struct health_ask *a, unsigned status, struct bytes text, struct health_answer *ret)
{
    ret->status = status;
    ret->well = health_status_is_well(a->conf, status);
    if (!ret->well || !looks_at_body(a))
        return;
    ret->why = health_body_lacks(a, text);
    ret->well = !ret->why;
}

/* Room for the beginning of a body, where that is looked at. */
static err get_room(const struct health_ask *a, char **ret_text)
{
    *ret_text = looks_at_body(a) ? mem_get(HEALTH_BODY_BYTES_MAX) : NULL;
    return *ret_text || !looks_at_body(a) ? OK : ERR_MEMORY;
}

static void ask_http1(const struct health_ask *a, struct io *io, struct bytes host, uint64_t deadline_us,
                      struct health_answer *ret)
{
    const struct health_ask_conf *c = a->conf;
    char request[PATH_BYTES_MAX + HOST_BYTES_MAX + 256];
    struct http_field fields[64];
    struct http_response r = { .fields = { fields, 0, limits.fields_max } };
    const int len = snprintf(request, sizeof request,
                             "%s %.*s HTTP/1.1\r\nHost: %.*s\r\nUser-Agent: weir-health-check\r\n"
                             "Accept: */*\r\nConnection: close\r\n\r\n",
                             health_methods[c->method], BYTES_ARG(c->path), BYTES_ARG(host));
    char *text;
    size_t text_len = 0;
    ret->failed = get_room(a, &text);
    if (!ret->failed)
        ret->failed = io_write(io, (struct bytes){ request, (size_t)len }, deadline_us);
    if (!ret->failed)
        ret->failed = read_head(io, http_method_of(bytes_from(health_methods[c->method])), deadline_us, &r);
    if (!ret->failed)
        ret->status = r.status;
    if (!ret->failed && text && health_status_is_well(c, r.status))
        ret->failed = read_body(io, &r, deadline_us, text, &text_len);
    if (!ret->failed)
        judge(a, r.status, (struct bytes){ text, text_len }, ret);
    mem_free(text);
}

#if WEIR_HAVE_NGHTTP2
static void ask_http2(const struct health_ask *a, struct io *io, struct bytes host, bool secure,
                      uint64_t deadline_us, struct health_answer *ret)
{
    struct health_http2 q = {
        .method = health_methods[a->conf->method], .authority = host, .path = a->conf->path, .secure = secure
    };
    ret->failed = get_room(a, &q.body);
    q.body_max = q.body ? HEALTH_BODY_BYTES_MAX : 0;
    if (!ret->failed)
        ret->failed = health_http2_ask(&q, io, deadline_us);
    if (!ret->failed)
        judge(a, q.status, (struct bytes){ q.body, q.body_len }, ret);
    mem_free(q.body);
}
#endif

/* Until it is there; the connection's end, the deadline or the bound say that it is not. */
static err wait_for(struct io *io, struct bytes wanted, uint64_t deadline_us, const char **ret_why)
{
    struct bytes in;
    err e = io_pull(io, deadline_us, &in);
    while (!e && !contains(in, wanted)) {
        *ret_why = "the answer does not contain what it should";
        if (in.len >= HEALTH_BODY_BYTES_MAX)
            return OK;
        e = io_pull_more(io, in.len, deadline_us, &in);
    }
    if (!e)
        *ret_why = NULL;
    return *ret_why ? OK : e;
}

static void ask_tcp(const struct health_ask_conf *c, struct io *io, uint64_t deadline_us,
                    struct health_answer *ret)
{
    if (c->send.len)
        ret->failed = io_write(io, c->send, deadline_us);
    if (!ret->failed && c->expect.len)
        ret->failed = wait_for(io, c->expect, deadline_us, &ret->why);
    ret->well = !ret->failed && !ret->why;
}

/* What is asked of a connection that is ready. */
static void ask(const struct health_ask *a, struct io *io, const char *name, const struct health_way *way,
                uint64_t deadline_us, struct health_answer *ret)
{
    const struct health_ask_conf *c = a->conf;
    const struct bytes host = c->host.len ? c->host : bytes_from(name);
    if (c->method == HEALTH_TCP)
        ask_tcp(c, io, deadline_us, ret);
#if WEIR_HAVE_NGHTTP2 /* without it health_ask_check refuses the one, and the service the other */
    else if (c->method == HEALTH_GRPC)
        health_grpc_ask(io, is_whole_server(c) ? BYTES_NONE : c->path, host, way->tls, deadline_us, ret);
    else if (way->http2)
        ask_http2(a, io, host, way->tls, deadline_us, ret);
#endif
    else
        ask_http1(a, io, host, deadline_us, ret);
}

struct health_answer health_ask(const struct health_ask *a, const struct addr *to, const char *name,
                                const struct health_way *way, uint64_t deadline_us)
{
    struct health_answer answer = { 0 };
    struct io *io;
    answer.failed = tcp_connect(to, NULL, deadline_us, &io);
    if (answer.failed)
        return answer;
    if (way->proxy_protocol)
        proxied_write(io, way->proxy_protocol, NULL, NULL, -1);
    if (way->tls)
        answer.failed = tls_client_shake(way->tls, io, false, deadline_us);
    if (!answer.failed)
        ask(a, io, name, way, deadline_us, &answer);
    io_abort(io, false);
    return answer;
}

#include "gate/access_log_format.h"

#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"
#include "gate/access_log_sink.h"
#include "gate/access_log_text.h"
#include "gate/carrier.h"
#include "gate/gate.h"
#include "gate/grpc.h"
#include "gate/session.h"

/* What a pattern may name: ${client}. And ${request.NAME}, ${response.NAME}: a field's (first) value;
 * ${session.NAME}: of gate/session.h. */
#define VARIABLE_LIST(X)                                                                   \
    X(TIME, "time")         /* 2026-01-02T03:04:05.678901Z, of the request's first byte */ \
    X(TIME_CLF, "time_clf") /* 02/Jan/2026:03:04:05 +0000 */                               \
    X(ID, "id")             /* the request id */                                           \
    X(CLIENT, "client")     /* its address */                                              \
    X(PEER, "peer")         /* of the connection: a trusted proxy's, or the client's */    \
    X(USER, "user")         /* whom a filter has found the client to be */                 \
    X(METHOD, "method")                                                                    \
    X(SCHEME, "scheme")                                                                    \
    X(HOST, "host")                                                                        \
    X(TARGET, "target") /* as it came, with its query */                                   \
    X(PATH, "path")                                                                        \
    X(QUERY, "query")                                                                      \
    X(PROTOCOL, "protocol") /* HTTP/1.1 */                                                 \
    X(STATUS, "status")                                                                    \
    X(US, "us")           /* microseconds from the first byte to the end */                \
    X(SECONDS, "seconds") /* the same, 0.002410 */                                         \
    X(REQUEST_BYTES, "request_bytes")                                                      \
    X(RESPONSE_BYTES, "response_bytes")                                                    \
    X(ROUTE, "route")                                                                      \
    X(SERVICE, "service")                                                                  \
    X(SERVER, "server")                                                                    \
    X(TRIES, "tries")                                                                      \
    X(GRPC_STATUS, "grpc_status")       /* a number; of a call */                          \
    X(WEBSOCKET_CODE, "websocket_code") /* of its first Close; 1006 without one */         \
    X(ANSWERED_BY, "answered_by")                                                          \
    X(ERROR, "error")

enum variable {
#define X(id, name, meaning) VARIABLE_TLS_##id,
    TLS_FACT_LIST(X)
#undef X
#define X(id, name) VARIABLE_##id,
        VARIABLE_LIST(X)
#undef X
            VARIABLE_COUNT,
    VARIABLE_LITERAL,
    VARIABLE_REQUEST_FIELD,
    VARIABLE_RESPONSE_FIELD,
    VARIABLE_SESSION
};

static const char *const variable_names[] = {
#define X(id, name, meaning) name,
    TLS_FACT_LIST(X)
#undef X
#define X(id, name) name,
        VARIABLE_LIST(X)
#undef X
};

struct piece {
    enum variable variable;
    enum http_field_id field;
    struct bytes text; /* of a literal; a field's name */
};

#define PIECES_MAX 128
#define PATTERN_BYTES_MAX 8192

struct access_log_format {
    bool json;                     /* the usual members; no pieces */
    enum access_log_escape escape; /* of a pattern's variables */
    struct bytes empty;            /* what stands for a text that there is not */
    int syslog;                    /* facility, or ACCESS_LOG_NO_SYSLOG */
    char syslog_head[400];         /* behind the time: " host weir 123 access - " */
    size_t syslog_head_len;
    size_t count;
    struct piece pieces[PIECES_MAX];
    char text[PATTERN_BYTES_MAX]; /* what the pieces point into */
};

/* ---- making one ---- */

#define COMMON \
    "${client} - ${user} [${time_clf}] \"${method} ${target} ${protocol}\" ${status} ${response_bytes}"

/* Names that others have given to whole patterns: NCSA httpd, Apache. */
static const struct {
    const char *name, *pattern;
} known[] = {
    { "common", COMMON },
    { "combined", COMMON " \"${request.referer}\" \"${request.user-agent}\"" },
};

static err piece_of(struct bytes name, struct piece *p, struct diag *reterr)
{
    for (unsigned i = 0; i < VARIABLE_COUNT; i++) {
        if (bytes_eq(name, bytes_from(variable_names[i]))) {
            p->variable = (enum variable)i;
            return OK;
        }
    }
    if (bytes_starts(name, BYTES("session."))) {
        p->variable = VARIABLE_SESSION;
        p->text = bytes_skip(name, 8);
        if (session_name_is_good(p->text) || bytes_eq(p->text, BYTES("id")))
            return OK;
    }
    bool request = bytes_starts(name, BYTES("request."));
    bool response = bytes_starts(name, BYTES("response."));
    p->text = bytes_skip(name, request ? 8 : response ? 9 : 0);
    if ((request || response) && http_is_token(p->text)) {
        p->variable = request ? VARIABLE_REQUEST_FIELD : VARIABLE_RESPONSE_FIELD;
        p->field = http_field_id_of(p->text);
        return OK;
    }
    diag_set(reterr, "format: there is no ${%.*s}; see the page access_log for those that there are",
             name.len > 60 ? 60 : (int)name.len, name.ptr);
    return ERR_CONF;
}

static err add_piece(struct access_log_format *f, struct piece p, struct diag *reterr)
{
    if (f->count == PIECES_MAX) {
        diag_set(reterr, "format: more than %d variables and texts between them", PIECES_MAX);
        return ERR_CONF;
    }
    f->pieces[f->count++] = p;
    return OK;
}

static err add_literal(struct access_log_format *f, struct bytes text, struct diag *reterr)
{
    return text.len ? add_piece(f, (struct piece){ .variable = VARIABLE_LITERAL, .text = text }, reterr) : OK;
}

/* Where the next "${" begins, or the end. */
static size_t next_variable(struct bytes text)
{
    size_t at = 0;
    while (at + 1 < text.len && (text.ptr[at] != '$' || text.ptr[at + 1] != '{'))
        at++;
    return at + 1 < text.len ? at : text.len;
}

static err cut_pattern(struct access_log_format *f, struct bytes text, struct diag *reterr)
{
    err e = OK;
    while (!e && text.len) {
        size_t at = next_variable(text);
        e = add_literal(f, (struct bytes){ text.ptr, at }, reterr);
        text = bytes_skip(text, at);
        if (e || !text.len)
            break;
        size_t end = bytes_index(text, '}');
        struct piece p = { .variable = VARIABLE_LITERAL };
        if (end == text.len) {
            diag_set(reterr, "format: a ${ without its }");
            return ERR_CONF;
        }
        e = piece_of((struct bytes){ text.ptr + 2, end - 2 }, &p, reterr);
        if (!e)
            e = add_piece(f, p, reterr);
        text = bytes_skip(text, end + 1);
    }
    return e;
}

static err fill(struct access_log_format *f, struct bytes text, struct diag *reterr)
{
    for (unsigned i = 0; i < sizeof known / sizeof *known; i++) {
        if (bytes_eq(text, bytes_from(known[i].name)))
            text = bytes_from(known[i].pattern);
    }
    f->json = bytes_eq(text, BYTES("json"));
    if (f->json)
        return OK;
    if (next_variable(text) == text.len) {
        diag_set(reterr, "format: \"%.*s\" is neither json, common nor combined, and has no ${variable}",
                 text.len > 60 ? 60 : (int)text.len, text.ptr);
        return ERR_CONF;
    }
    if (text.len > sizeof f->text || !http_is_field_value(text)) {
        diag_set(reterr, "format: a pattern is one line of at most %d bytes", PATTERN_BYTES_MAX);
        return ERR_CONF;
    }
    memcpy(f->text, text.ptr, text.len);
    bool is_object = text.ptr[0] == '{';
    f->escape = is_object ? ACCESS_LOG_JSON : ACCESS_LOG_HEX;
    f->empty = is_object ? BYTES("") : BYTES("-");
    return cut_pattern(f, (struct bytes){ f->text, text.len }, reterr);
}

/* RFC 5424 6.2.4: printable ASCII. */
static void make_syslog_head(struct access_log_format *f)
{
    char host[256] = "";
    if (gethostname(host, sizeof host - 1) != 0)
        host[0] = 0;
    for (char *c = host; *c; c++)
        *c = *c > ' ' && *c < 0x7f ? *c : '_';
    f->syslog_head_len = (size_t)snprintf(f->syslog_head, sizeof f->syslog_head, " %s weir %d access - ",
                                          *host ? host : "-", (int)getpid());
}

err access_log_format_open(struct bytes text, int syslog_facility, struct access_log_format **ret_format,
                           struct diag *reterr)
{
    struct access_log_format *f = mem_get(sizeof *f);
    if (!f)
        return ERR_MEMORY;
    f->syslog = syslog_facility;
    if (syslog_facility != ACCESS_LOG_NO_SYSLOG)
        make_syslog_head(f);
    err e = fill(f, text, reterr);
    if (e) {
        mem_free(f);
        return e;
    }
    *ret_format = f;
    return OK;
}

void access_log_format_close(struct access_log_format *f)
{
    mem_free(f);
}

/* ---- a line ---- */

static uint64_t us_of(const struct exchange *x)
{
    return worker_now_us() - x->start_us;
}

static uint64_t wall_us_of(const struct exchange *x)
{
    return worker_wall_us() - us_of(x);
}

static struct bytes cut(struct bytes text, size_t len_max)
{
    return (struct bytes){ text.ptr, text.len < len_max ? text.len : len_max };
}

/* Of a literal: its length is known to the compiler, and no function is called for it. */
#define PUT(at, literal) ((char *)memcpy((at), (literal), sizeof(literal) - 1) + sizeof(literal) - 1)
#define PUT_NUMBER(at, key, value) access_log_put_number(PUT(at, ",\"" key "\":"), value)
/* Behind its key and the quote; plain: what holds nothing to escape, as a token or an address. */
#define PUT_TEXT(at, key, value) put_text(PUT(at, ",\"" key "\":\""), value)
#define PUT_PLAIN(at, key, value) put_plain(PUT(at, ",\"" key "\":\""), value)

static char *put_text(char *at, struct bytes value)
{
    at = access_log_put_text(at, cut(value, ACCESS_LOG_TEXT_BYTES_MAX), ACCESS_LOG_JSON);
    *at++ = '"';
    return at;
}

static char *put_plain(char *at, struct bytes value)
{
    at = access_log_put(at, value);
    *at++ = '"';
    return at;
}

/* The names that weir gives are short. Four texts of ACCESS_LOG_TEXT_BYTES_MAX, all of them escapes, and the
 * rest are within ACCESS_LOG_LINE_BYTES_MAX. */
static char *put_json(char *at, const struct exchange *x)
{
    const struct http_request *q = &x->request;
    char ip[ADDR_TEXT_BYTES_MAX];
    at = access_log_put_time(PUT(at, "{\"time\":\""), wall_us_of(x));
    *at++ = '"';
    at = PUT_TEXT(at, "id", x->request_id);
    if (x->client)
        at = PUT_PLAIN(at, "client", ((struct bytes){ ip, addr_print_ip(x->client, ip) }));
    if (x->user.len)
        at = PUT_TEXT(at, "user", cut(x->user, 256));
    at = PUT_TEXT(at, "method", q->method_text);
    at = PUT_TEXT(at, "host", q->authority);
    at = PUT_TEXT(at, "target", q->target);
    at = PUT_NUMBER(at, "status", x->response.status);
    at = PUT_NUMBER(at, "us", us_of(x));
    at = PUT_NUMBER(at, "request_bytes", x->request_bytes);
    at = PUT_NUMBER(at, "response_bytes", x->response_bytes);
    if (x->service)
        at = PUT_TEXT(at, "service", x->service->name);
    if (x->server)
        at = PUT_TEXT(at, "server", bytes_from(x->server->shared->text));
    if (x->attempts > 1)
        at = PUT_NUMBER(at, "tries", x->attempts);
    if (x->grpc && grpc_status(x) != GRPC_NO_STATUS)
        at = PUT_NUMBER(at, "grpc_status", (uint64_t)grpc_status(x));
    if (x->close_code)
        at = PUT_NUMBER(at, "websocket_code", x->close_code);
    if (x->answered_by.len)
        at = PUT_TEXT(at, "answered_by", cut(x->answered_by, 64));
    if (x->failed)
        at = PUT_TEXT(at, "error", bytes_from(err_text(x->failed)));
    *at++ = '}';
    return at;
}

static struct bytes ip_text(const struct addr *a, char out[ADDR_TEXT_BYTES_MAX])
{
    return a ? (struct bytes){ out, addr_print_ip(a, out) } : BYTES_NONE;
}

/* Of those that are texts; room: for what has to be made first. */
static struct bytes text_of(const struct exchange *x, const struct piece *p, char room[ADDR_TEXT_BYTES_MAX])
{
    const struct http_request *q = &x->request;
    if (p->variable < (enum variable)TLS_FACT_COUNT)
        return exchange_tls_fact(x, (enum tls_fact)p->variable);
    switch ((int)p->variable) {
    case VARIABLE_ID:
        return x->request_id;
    case VARIABLE_CLIENT:
        return ip_text(x->client, room);
    case VARIABLE_PEER:
        return ip_text(x->peer ? x->peer : x->client, room);
    case VARIABLE_USER:
        return x->user;
    case VARIABLE_METHOD:
        return q->method_text;
    case VARIABLE_SCHEME:
        return bytes_from(x->scheme);
    case VARIABLE_HOST:
        return q->authority;
    case VARIABLE_TARGET:
        return q->target;
    case VARIABLE_PATH:
        return q->path;
    case VARIABLE_QUERY:
        return q->query;
    case VARIABLE_PROTOCOL:
        if (x->carrier && x->carrier->protocol)
            return bytes_from(x->carrier->protocol);
        return q->version_minor ? BYTES("HTTP/1.1") : BYTES("HTTP/1.0");
    case VARIABLE_ROUTE:
        return exchange_route_name(x);
    case VARIABLE_SERVICE:
        return exchange_service_name(x);
    case VARIABLE_SERVER:
        return exchange_server_name(x);
    case VARIABLE_ANSWERED_BY:
        return x->answered_by;
    case VARIABLE_ERROR:
        return x->failed ? bytes_from(err_text(x->failed)) : BYTES_NONE;
    case VARIABLE_REQUEST_FIELD:
        return http_fields_value(&q->fields, p->field, p->text);
    case VARIABLE_RESPONSE_FIELD:
        return http_fields_value(&x->response.fields, p->field, p->text);
    case VARIABLE_SESSION:
        return session_variable(x, p->text);
    default:
        return BYTES_NONE;
    }
}

/* left: what the line has room for behind `at`. */
static char *put_piece(const struct access_log_format *f, char *at, size_t left, const struct exchange *x,
                       const struct piece *p)
{
    char room[ADDR_TEXT_BYTES_MAX];
    switch ((int)p->variable) {
    case VARIABLE_LITERAL:
        return access_log_put(at, cut(p->text, left));
    case VARIABLE_TIME:
        return access_log_put_time(at, wall_us_of(x));
    case VARIABLE_TIME_CLF:
        return access_log_put_time_clf(at, wall_us_of(x));
    case VARIABLE_STATUS:
        return access_log_put_number(at, x->response.status);
    case VARIABLE_US:
        return access_log_put_number(at, us_of(x));
    case VARIABLE_SECONDS:
        return access_log_put_seconds(at, us_of(x));
    case VARIABLE_REQUEST_BYTES:
        return access_log_put_number(at, x->request_bytes);
    case VARIABLE_RESPONSE_BYTES:
        return access_log_put_number(at, x->response_bytes);
    case VARIABLE_TRIES:
        return access_log_put_number(at, x->attempts);
    case VARIABLE_GRPC_STATUS:
        return x->grpc && grpc_status(x) != GRPC_NO_STATUS
                   ? access_log_put_number(at, (uint64_t)grpc_status(x))
                   : access_log_put(at, f->empty);
    case VARIABLE_WEBSOCKET_CODE:
        return x->close_code ? access_log_put_number(at, x->close_code) : access_log_put(at, f->empty);
    }
    struct bytes text = text_of(x, p, room);
    size_t fits = (left - 16) / ACCESS_LOG_ESCAPE_BYTES_MAX;
    if (!text.len)
        return access_log_put(at, f->empty);
    return access_log_put_text(at, cut(cut(text, fits), ACCESS_LOG_TEXT_BYTES_MAX), f->escape);
}

#define PIECE_ROOM_BYTES 64 /* numbers, times, and the end */

static char *put_pattern(const struct access_log_format *f, char *at, char *end, const struct exchange *x)
{
    for (size_t i = 0; i < f->count && end - at > PIECE_ROOM_BYTES; i++)
        at = put_piece(f, at, (size_t)(end - at) - PIECE_ROOM_BYTES / 2, x, &f->pieces[i]);
    return at;
}

/* RFC 5424 6: <PRI>1 TIME HOST APP PROCID MSGID SD. Severity: error for what failed, else informational. */
static char *put_syslog_head(const struct access_log_format *f, char *at, const struct exchange *x)
{
    enum { SEVERITY_ERROR = 3, SEVERITY_INFO = 6 };
    const bool bad = x->failed || exchange_outcome(x) >= 500;
    *at++ = '<';
    at = access_log_put_number(at, (uint64_t)f->syslog * 8 + (bad ? SEVERITY_ERROR : SEVERITY_INFO));
    at = access_log_put(at, BYTES(">1 "));
    at = access_log_put_time(at, wall_us_of(x));
    return access_log_put(at, (struct bytes){ f->syslog_head, f->syslog_head_len });
}

char *access_log_format_put(const struct access_log_format *f, char *at, const struct exchange *x)
{
    char *end = at + ACCESS_LOG_LINE_BYTES_MAX;
    if (f->syslog != ACCESS_LOG_NO_SYSLOG)
        at = put_syslog_head(f, at, x);
    at = f->json ? put_json(at, x) : put_pattern(f, at, end, x);
    *at++ = '\n';
    return at;
}

/* ---- the settings ---- */

static err check(void *conf, struct diag *reterr)
{
    const struct access_log_conf *c = conf;
    struct access_log_format *f;
    err e = access_log_sink_check(c->path, reterr);
    if (!e)
        e = access_log_format_open(c->format, ACCESS_LOG_NO_SYSLOG, &f, reterr);
    if (!e)
        access_log_format_close(f);
    return e;
}

const struct conf_struct access_log_struct = {
    .name = "access_log",
    .size = sizeof(struct access_log_conf),
    .phrases = (const char *const[]){ "{path}", NULL },
    .fields =
        (const struct conf_field[]){
            { .name = "path",
              .type = CONF_TEXT,
              .offset = offsetof(struct access_log_conf, path),
              .required = true,
              .doc =
                  "`stdout`; a file (opened again on SIGUSR1); `syslog` (/dev/log), `syslog:unix:/path` or, "
                  "by UDP, `syslog:10.0.0.1:514`" },
            { .name = "format",
              .type = CONF_TEXT,
              .offset = offsetof(struct access_log_conf, format),
              .preset = "json",
              .doc = "`json`, `common`, `combined`, or a pattern with `${variables}`" },
            { .name = "sample",
              .type = CONF_PERCENT,
              .offset = offsetof(struct access_log_conf, sample),
              .preset = "100%",
              .max = 1,
              .doc = "share of the exchanges that get a line; errors and slow ones always do" },
            { .name = "errors",
              .type = CONF_INT,
              .offset = offsetof(struct access_log_conf, errors),
              .preset = "500",
              .min = 100,
              .max = 1000,
              .doc = "the lowest status that counts as an error for `sample`" },
            { .name = "slow",
              .type = CONF_MS,
              .offset = offsetof(struct access_log_conf, slow_ms),
              .preset = "1s",
              .words = conf_word_off,
              .doc = "what takes as long or longer is slow for `sample`" },
            { .name = "facility",
              .type = CONF_WORD,
              .offset = offsetof(struct access_log_conf, facility),
              .preset = "local7",
              .words = access_log_facility_words,
              .doc = "of syslog (RFC 5424 6.2.1)" },
            { .name = "flush_interval",
              .type = CONF_MS,
              .offset = offsetof(struct access_log_conf, flush_interval_ms),
              .preset = "1s",
              .min = 1,
              .max = 60000,
              .doc = "lines wait at most that long for others" },
            { 0 } },
    .check = check,
    .doc = "One line for each exchange.",
};

/* Which exchanges a tap is for, and how they are told: pure. */
#include <stdio.h>
#include <time.h>

#include "base/utf8.h"
#include "gate/gate.h"
#include "gate/service.h"
#include "gate/tap.h"

/* ---- the expression ---- */

static const struct {
    struct bytes name;
    enum tap_field field;
    bool number;
} fields[] = {
    { { "method", 6 }, TAP_METHOD, false }, { { "host", 4 }, TAP_HOST, false },
    { { "path", 4 }, TAP_PATH, false },     { { "service", 7 }, TAP_SERVICE, false },
    { { "server", 6 }, TAP_SERVER, false }, { { "client", 6 }, TAP_CLIENT, false },
    { { "route", 5 }, TAP_ROUTE, false },   { { "status", 6 }, TAP_STATUS, true },
    { { "ms", 2 }, TAP_MS, true },
};

static err parse_number(struct tap_term *t)
{
    struct bytes v = t->text;
    if (t->field == TAP_STATUS && v.len == 3 && bytes_eq_nocase(bytes_skip(v, 1), BYTES("xx")) &&
        v.ptr[0] >= '1' && v.ptr[0] <= '5') {
        t->least = (uint64_t)(v.ptr[0] - '0') * 100;
        t->most = t->least + 99;
        return OK;
    }
    if (!bytes_to_u64(v, &t->least))
        return ERR_SYNTAX;
    t->most = t->least;
    return OK;
}

static err parse_term(struct bytes text, struct tap_term *t, struct diag *reterr)
{
    size_t at = 0;
    while (at < text.len && text.ptr[at] != '=' && text.ptr[at] != '!' && text.ptr[at] != '>' &&
           text.ptr[at] != '<')
        at++;
    struct bytes name = { text.ptr, at }, rest = bytes_skip(text, at);
    size_t len = rest.len > 1 && rest.ptr[0] != '=' && rest.ptr[1] == '=' ? 2 : 1;
    bool known = false, number = false;
    for (unsigned i = 0; i < sizeof fields / sizeof *fields && !known; i++) {
        known = bytes_eq(fields[i].name, name);
        t->field = fields[i].field;
        number = fields[i].number;
    }
    bool op = rest.len > len && (rest.ptr[0] == '=' || len == 2);
    if (known && op) {
        t->is = rest.ptr[0] == '='   ? TAP_IS
                : rest.ptr[0] == '!' ? TAP_IS_NOT
                : rest.ptr[0] == '>' ? TAP_AT_LEAST
                                     : TAP_AT_MOST;
        t->text = bytes_skip(rest, len);
        if (number ? parse_number(t) == OK : t->is <= TAP_IS_NOT)
            return OK;
    }
    diag_set(
        reterr,
        "\"%.*s\" is no condition: expected like method=GET, host=a.example, path=/api/*, service=shop, "
        "server=10.0.0.1:80, client=10.1.2.3, route=/api/*, status=5xx, status!=200, status>=500, ms>=100",
        BYTES_ARG(text));
    return ERR_SYNTAX;
}

err tap_match_parse(struct bytes text, struct tap_match *m, struct diag *reterr)
{
    struct bytes term;
    *m = (struct tap_match){ 0 };
    if (text.len >= sizeof m->text) {
        diag_set(reterr, "the conditions are too long");
        return ERR_SYNTAX;
    }
    if (text.len)
        memcpy(m->text, text.ptr, text.len);
    for (size_t i = 0; i < text.len; i++) {
        if (m->text[i] == ',')
            m->text[i] = ' ';
    }
    struct bytes left = { m->text, text.len };
    while (bytes_split(&left, ' ', &term)) {
        if (!term.len)
            continue;
        if (m->count == TAP_TERMS_MAX) {
            diag_set(reterr, "more than %d conditions", TAP_TERMS_MAX);
            return ERR_SYNTAX;
        }
        err e = parse_term(term, &m->terms[m->count++], reterr);
        if (e)
            return e;
    }
    return OK;
}

static bool text_fits(struct bytes wanted, struct bytes is)
{
    if (wanted.len && wanted.ptr[wanted.len - 1] == '*')
        return bytes_starts(is, (struct bytes){ wanted.ptr, wanted.len - 1 });
    return bytes_eq(wanted, is);
}

static struct bytes text_of(const struct exchange *x, enum tap_field f, char ip[ADDR_TEXT_BYTES_MAX])
{
    switch (f) {
    case TAP_METHOD:
        return x->request.method_text;
    case TAP_HOST:
        return x->request.authority;
    case TAP_PATH:
        return x->request.path;
    case TAP_SERVICE:
        return exchange_service_name(x);
    case TAP_SERVER:
        return exchange_server_name(x);
    case TAP_ROUTE:
        return exchange_route_name(x);
    default:
        return x->client ? (struct bytes){ ip, addr_print_ip(x->client, ip) } : BYTES_NONE;
    }
}

static bool term_fits(const struct tap_term *t, const struct exchange *x, uint64_t took_us)
{
    char ip[ADDR_TEXT_BYTES_MAX];
    if (t->field != TAP_STATUS && t->field != TAP_MS)
        return text_fits(t->text, text_of(x, t->field, ip)) == (t->is == TAP_IS);
    uint64_t value = t->field == TAP_STATUS ? x->response.status : took_us / 1000;
    if (t->is == TAP_AT_LEAST)
        return value >= t->least;
    if (t->is == TAP_AT_MOST)
        return value <= t->most;
    return (value >= t->least && value <= t->most) == (t->is == TAP_IS);
}

bool tap_matches(const struct tap_match *m, const struct exchange *x, uint64_t took_us)
{
    for (unsigned i = 0; i < m->count; i++) {
        if (!term_fits(&m->terms[i], x, took_us))
            return false;
    }
    return true;
}

/* ---- the line ---- */

#define LINE_TAIL_BYTES 64 /* kept free for what closes a line */
#define TEXT_BYTES_MAX 1024

struct line {
    char *out;
    size_t len;
    bool full;
};

static void put(struct line *l, struct bytes part)
{
    if (l->full || l->len + part.len > TAP_LINE_BYTES_MAX - LINE_TAIL_BYTES) {
        l->full = true;
        return;
    }
    memcpy(l->out + l->len, part.ptr, part.len);
    l->len += part.len;
}

/* As the inside of a JSON string; what is not UTF-8 becomes U+FFFD. */
static void put_escaped(struct line *l, struct bytes text)
{
    if (text.len > TEXT_BYTES_MAX)
        text.len = TEXT_BYTES_MAX;
    while (text.len) {
        char escape[12];
        uint32_t code;
        size_t len = utf8_take(text, &code);
        if (len == 0)
            put(l, BYTES("\xef\xbf\xbd"));
        else if (code == '"' || code == '\\' || code < 0x20 || code == 0x7f)
            put(l,
                (struct bytes){ escape, (size_t)snprintf(escape, sizeof escape, "\\u%04x", (unsigned)code) });
        else
            put(l, (struct bytes){ text.ptr, len });
        text = bytes_skip(text, len ? len : 1);
    }
}

/* A member goes in whole or not at all. */
static void put_member(struct line *l, struct bytes key, struct bytes value)
{
    size_t before = l->len;
    if (l->full)
        return;
    if (l->out[l->len - 1] != '{')
        put(l, BYTES(","));
    put(l, BYTES("\""));
    put_escaped(l, key);
    put(l, BYTES("\":\""));
    put_escaped(l, value);
    put(l, BYTES("\""));
    if (l->full)
        l->len = before;
}

static void put_number(struct line *l, const char *key, uint64_t value)
{
    char text[64];
    put(l, (struct bytes){
               text, (size_t)snprintf(text, sizeof text, ",\"%s\":%llu", key, (unsigned long long)value) });
}

/* What opens doors is not shown. */
static bool is_secret(struct bytes name)
{
    static const struct bytes secrets[] = {
        { "authorization", 13 }, { "proxy-authorization", 19 }, { "cookie", 6 }, { "set-cookie", 10 }
    };
    for (unsigned i = 0; i < sizeof secrets / sizeof *secrets; i++) {
        if (bytes_eq_nocase(name, secrets[i]))
            return true;
    }
    return false;
}

static void put_fields(struct line *l, struct bytes key, const struct http_fields *f)
{
    if (l->full || l->len + key.len + 8 > TAP_LINE_BYTES_MAX - LINE_TAIL_BYTES)
        return;
    put(l, BYTES(",\""));
    put(l, key);
    put(l, BYTES("\":{"));
    for (uint32_t i = 0; i < f->count; i++) {
        struct bytes name = http_field_name(&f->at[i]);
        if (!(f->at[i].flags & FIELD_REMOVED))
            put_member(l, name, is_secret(name) ? BYTES("...") : http_field_value(&f->at[i]));
    }
    l->out[l->len++] = '}'; /* there is always room for it */
}

static void put_time(struct line *l, uint64_t wall_us)
{
    char text[64], date[32];
    time_t t = (time_t)(wall_us / 1000000);
    struct tm tm;
    gmtime_r(&t, &tm);
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &tm);
    int n = snprintf(text, sizeof text, "{\"time\":\"%s.%06uZ\"", date, (unsigned)(wall_us % 1000000));
    put(l, (struct bytes){ text, (size_t)n });
}

size_t tap_line(const struct exchange *x, bool fields_too, uint64_t took_us, uint64_t wall_us,
                char out[TAP_LINE_BYTES_MAX])
{
    struct line l = { .out = out };
    char ip[ADDR_TEXT_BYTES_MAX];
    put_time(&l, wall_us);
    put_member(&l, BYTES("id"), x->request_id);
    put_member(&l, BYTES("client"), text_of(x, TAP_CLIENT, ip));
    put_member(&l, BYTES("method"), x->request.method_text);
    put_member(&l, BYTES("host"), x->request.authority);
    put_member(&l, BYTES("target"), x->request.target);
    put_number(&l, "status", x->response.status);
    put_number(&l, "us", took_us);
    put_number(&l, "request_bytes", x->request_bytes);
    put_number(&l, "response_bytes", x->response_bytes);
    put_number(&l, "tries", x->attempts);
    put_member(&l, BYTES("route"), text_of(x, TAP_ROUTE, ip));
    put_member(&l, BYTES("service"), text_of(x, TAP_SERVICE, ip));
    put_member(&l, BYTES("server"), text_of(x, TAP_SERVER, ip));
    if (x->answered_by.len)
        put_member(&l, BYTES("answered_by"), x->answered_by);
    if (x->failed)
        put_member(&l, BYTES("error"), bytes_from(err_text(x->failed)));
    if (fields_too) {
        put_fields(&l, BYTES("request"), &x->request.fields);
        put_fields(&l, BYTES("response"), &x->response.fields);
    }
    memcpy(l.out + l.len, "}\n", 2);
    return l.len + 2;
}

#include "gate/route_match.h"

#include "gate/regex.h"

#define NAME_BYTES_MAX 32

/* ---- patterns ---- */

static struct bytes list_at(const struct conf_list *list, unsigned i)
{
    return ((const struct bytes *)list->items)[i];
}

bool match_pattern_next(const struct match_conf *m, unsigned *at, struct match_pattern *ret_pattern)
{
    unsigned paths = (unsigned)m->path.count + (m->regex.len != 0);
    unsigned hosts = m->host.count ? (unsigned)m->host.count : 1;
    unsigned i = *at / hosts;
    unsigned j = *at % hosts;
    if (i >= (paths ? paths : 1))
        return false;
    struct match_pattern p = { .path = BYTES("/*") };
    if (i < m->path.count) {
        struct bytes text = list_at(&m->path, i);
        size_t slash = bytes_index(text, '/');
        p.host = (struct bytes){ text.ptr, slash };
        p.path = bytes_skip(text, slash);
    } else if (m->regex.len) {
        p.path = m->regex;
        p.regex = true;
    }
    if (m->host.count)
        p.host = list_at(&m->host, j);
    *ret_pattern = p;
    ++*at;
    return true;
}

static bool is_capture(struct bytes segment)
{
    return segment.len > 2 && segment.ptr[0] == '{' && segment.ptr[segment.len - 1] == '}';
}

static struct bytes capture_name(struct bytes segment)
{
    return (struct bytes){ segment.ptr + 1, segment.len - 2 };
}

unsigned match_pattern_names(const struct match_pattern *p, const struct regex *regex,
                             struct bytes names[ROUTE_CAPTURES_MAX])
{
    unsigned count = 0;
    for (unsigned i = 1; regex && i <= regex_groups(regex); i++) {
        struct bytes name = regex_group_name(regex, i);
        if (name.len && count < ROUTE_CAPTURES_MAX)
            names[count++] = name;
    }
    struct bytes rest = p->path;
    struct bytes segment;
    while (!p->regex && bytes_split(&rest, '/', &segment)) {
        if (is_capture(segment) && count < ROUTE_CAPTURES_MAX)
            names[count++] = capture_name(segment);
    }
    return count;
}

/* ---- checks, when the file is loaded ---- */

static err check_host(struct bytes host, struct bytes shown, struct diag *reterr)
{
    size_t colon = host.len && host.ptr[0] == '[' ? bytes_index(host, ']') + 1 : bytes_index(host, ':');
    if (colon < host.len) {
        diag_set(reterr, "match: in \"%.*s\" the host has a port: hosts are compared without",
                 BYTES_ARG(shown));
        return ERR_CONF;
    }
    if (host.len > ROUTE_HOST_BYTES_MAX) {
        diag_set(reterr, "match: the host is longer than %d bytes", ROUTE_HOST_BYTES_MAX);
        return ERR_CONF;
    }
    bool wild = bytes_starts(host, BYTES("*."));
    struct bytes rest = bytes_skip(host, wild ? 2 : 0);
    if ((wild && !rest.len) || bytes_index(rest, '*') < rest.len) {
        diag_set(reterr, "match: in \"%.*s\" the * of the host is not a first label: expected *.example.com",
                 BYTES_ARG(shown));
        return ERR_CONF;
    }
    return OK;
}

static bool is_name(struct bytes text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = ascii_lower(text.ptr[i]);
        if (!((c >= 'a' && c <= 'z') || c == '_' || (i && c >= '0' && c <= '9')))
            return false;
    }
    return text.len > 0 && text.len <= NAME_BYTES_MAX;
}

static err check_name(struct bytes name, const struct bytes *names, unsigned count, struct bytes shown,
                      struct diag *reterr)
{
    if (!is_name(name)) {
        diag_set(
            reterr,
            "match: in \"%.*s\" \"%.*s\" is no name of a capture: expected letters, digits and _, %d at most",
            BYTES_ARG(shown), BYTES_ARG(name), NAME_BYTES_MAX);
        return ERR_CONF;
    }
    for (unsigned i = 0; i < count; i++) {
        if (bytes_eq(names[i], name)) {
            diag_set(reterr, "match: in \"%.*s\" {%.*s} stands twice", BYTES_ARG(shown), BYTES_ARG(name));
            return ERR_CONF;
        }
    }
    if (count == ROUTE_CAPTURES_MAX) {
        diag_set(reterr, "match: in \"%.*s\" there are more than %d captures", BYTES_ARG(shown),
                 ROUTE_CAPTURES_MAX);
        return ERR_CONF;
    }
    return OK;
}

static err check_segments(struct bytes path, struct bytes shown, struct diag *reterr)
{
    struct bytes names[ROUTE_CAPTURES_MAX];
    unsigned count = 0;
    struct bytes rest = path;
    struct bytes segment;
    while (bytes_split(&rest, '/', &segment)) {
        bool braces = bytes_index(segment, '{') < segment.len || bytes_index(segment, '}') < segment.len;
        if (!braces)
            continue;
        if (!is_capture(segment)) {
            diag_set(reterr, "match: in \"%.*s\" \"%.*s\" is not a capture: expected {name}, a whole segment",
                     BYTES_ARG(shown), BYTES_ARG(segment));
            return ERR_CONF;
        }
        err e = check_name(capture_name(segment), names, count, shown, reterr);
        if (e)
            return e;
        names[count++] = capture_name(segment);
    }
    return OK;
}

static err check_path(struct bytes path, struct bytes shown, struct diag *reterr)
{
    size_t star = bytes_index(path, '*');
    if (star + 1 < path.len) {
        diag_set(reterr, "match: in \"%.*s\" the * is not at the end", BYTES_ARG(shown));
        return ERR_CONF;
    }
    for (size_t i = 0; i < path.len; i++) {
        char c = path.ptr[i];
        if ((unsigned char)c > ' ' && c != 0x7f && c != '?' && c != '#')
            continue;
        if (c == '?' || c == '#')
            diag_set(
                reterr,
                "match: in \"%.*s\" there is a %c: a path ends before it; expected `query` for parameters",
                BYTES_ARG(shown), c);
        else
            diag_set(reterr, "match: in \"%.*s\" there is a space or control character: no path has one",
                     BYTES_ARG(shown));
        return ERR_CONF;
    }
    return check_segments(path, shown, reterr);
}

static err check_regex(struct bytes pattern, struct diag *reterr)
{
    struct regex *r;
    struct bytes names[ROUTE_CAPTURES_MAX];
    unsigned count = 0;
    struct diag d = DIAG_NONE;
    err e = regex_compile(pattern, REGEX_WHOLE, &r, &d);
    if (e == ERR_CONF)
        diag_set(reterr, "match: %s", d.text);
    if (e)
        return e;
    for (unsigned i = 1; !e && i <= regex_groups(r); i++) {
        struct bytes name = regex_group_name(r, i);
        if (!name.len)
            continue;
        e = check_name(name, names, count, pattern, reterr);
        if (!e)
            names[count++] = name;
    }
    regex_free(r);
    return e;
}

static err check_text(const struct match_conf *m, struct bytes text, struct diag *reterr)
{
    size_t slash = bytes_index(text, '/');
    if (slash == text.len) {
        diag_set(reterr,
                 "match: \"%.*s\" has no path: expected host/path, /path, or either with a * at the end",
                 BYTES_ARG(text));
        return ERR_CONF;
    }
    if (slash && m->host.count) {
        diag_set(reterr, "match: \"%.*s\" has a host in front, and `host` says another", BYTES_ARG(text));
        return ERR_CONF;
    }
    err e = check_host((struct bytes){ text.ptr, slash }, text, reterr);
    return e ? e : check_path(bytes_skip(text, slash), text, reterr);
}

static err match_check(void *conf, struct diag *reterr)
{
    const struct match_conf *m = conf;
    err e = OK;
    for (unsigned i = 0; !e && i < m->host.count; i++) {
        struct bytes host = list_at(&m->host, i);
        if (!host.len || bytes_index(host, '/') < host.len) {
            diag_set(reterr, "match: \"%.*s\" is not a host", BYTES_ARG(host));
            return ERR_CONF;
        }
        e = check_host(host, host, reterr);
    }
    for (unsigned i = 0; !e && i < m->path.count; i++)
        e = check_text(m, list_at(&m->path, i), reterr);
    if (!e && m->regex.len)
        e = check_regex(m->regex, reterr);
    return e ? e : condition_check(&m->asks, reterr);
}

#define AT(member) offsetof(struct match_conf, member)

const struct conf_struct match_conf_struct = {
    .name = "match",
    .size = sizeof(struct match_conf),
    .phrases = (const char *const[]){ "{method} {path}", "{path}", NULL },
    .fields =
        (const struct conf_field[]){
            { .name = "host",
              .type = CONF_LIST,
              .item = CONF_TEXT,
              .offset = AT(host),
              .doc = "`shop.example`, or `*.example.com` for all below it, without a port; any host when not "
                     "said" },
            { .name = "path",
              .type = CONF_LIST,
              .item = CONF_TEXT,
              .offset = AT(path),
              .doc = "`/exact`, `/prefix/*`, `/users/{id}`, `/users/{id}/*`; without `host` one may stand in "
                     "front: "
                     "`shop.example/api/*`. All paths when neither it nor `regex` is said" },
            { .name = "regex",
              .type = CONF_TEXT,
              .offset = AT(regex),
              .doc = "a regular expression (PCRE2) that the whole path fits; named groups are captures" },
            CONDITION_FIELDS(AT(asks)),
            { 0 } },
    .check = match_check,
    .mark_offset = AT(mark),
    .doc = "Which requests a route takes.",
};

/* ---- texts ---- */

struct bytes match_text(const struct conf_list *matches, struct arena *a)
{
    const struct match_conf *m = matches->items;
    struct match_pattern p;
    struct conditions *asks;
    unsigned at = 0;
    if (!match_pattern_next(m, &at, &p) || conditions_open(&m->asks, a, &asks, NULL) != OK)
        return BYTES_NONE;
    struct bytes asked = conditions_text(asks, a);
    conditions_close(asks);
    if (!asked.ptr)
        return BYTES_NONE;
    return arena_print(a, "%.*s%s%.*s%.*s", BYTES_ARG(p.host), p.regex ? "~" : "", BYTES_ARG(p.path),
                       BYTES_ARG(asked));
}

/* "/users/{id}/x" -> "/users/{}/x" at out; returns the end */
static char *put_shape(char *out, struct bytes path)
{
    bool inside = false;
    for (size_t i = 0; i < path.len; i++) {
        inside &= path.ptr[i] != '}';
        if (!inside)
            *out++ = path.ptr[i];
        inside |= path.ptr[i] == '{';
    }
    return out;
}

static char *put(char *out, struct bytes text)
{
    if (text.len)
        memcpy(out, text.ptr, text.len);
    return out + text.len;
}

struct bytes match_pattern_key(const struct match_pattern *p, struct bytes asks_text, struct arena *a)
{
    char *start = arena_get(a, p->host.len + 1 + p->path.len + asks_text.len);
    if (!start)
        return BYTES_NONE;
    char *out = start;
    for (size_t i = 0; i < p->host.len; i++)
        *out++ = ascii_lower(p->host.ptr[i]);
    *out++ = p->regex ? '~' : ' ';
    out = p->regex ? put(out, p->path) : put_shape(out, p->path);
    out = put(out, asks_text);
    return (struct bytes){ start, (size_t)(out - start) };
}

/* ---- one pattern by itself ---- */

struct bytes match_host_of(struct bytes authority)
{
    size_t from = authority.len && authority.ptr[0] == '[' ? bytes_index(authority, ']') : 0;
    if (from == authority.len)
        return authority;
    return (struct bytes){ authority.ptr, from + bytes_index(bytes_skip(authority, from), ':') };
}

bool match_host_fits(struct bytes host, struct bytes authority)
{
    struct bytes asked = match_host_of(authority);
    if (!host.len)
        return true;
    if (!bytes_starts(host, BYTES("*.")))
        return bytes_eq_nocase(host, asked);
    struct bytes end = bytes_skip(host, 1); /* ".example.com" */
    return asked.len > end.len && bytes_eq_nocase(bytes_skip(asked, asked.len - end.len), end);
}

/* Segment by segment; the last one may end in a *. */
static bool segments_fit(struct bytes pattern, struct bytes path)
{
    while (pattern.len) {
        if (pattern.ptr[0] == '*')
            return true;
        if (pattern.ptr[0] == '{') {
            size_t n = bytes_index(path, '/');
            if (!n)
                return false;
            path = bytes_skip(path, n);
            pattern = bytes_skip(pattern, bytes_index(pattern, '}') + 1);
            continue;
        }
        if (!path.len || path.ptr[0] != pattern.ptr[0])
            return false;
        path = bytes_skip(path, 1);
        pattern = bytes_skip(pattern, 1);
    }
    return !path.len;
}

bool match_path_fits(const struct match_pattern *p, struct bytes path)
{
    if (!p->regex)
        return segments_fit(p->path, path);
    struct regex *r;
    struct regex_match m = { 0 };
    if (regex_compile(p->path, REGEX_WHOLE, &r, NULL) != OK)
        return false;
    bool fits = regex_match(r, path, 0, &m) == OK && m.count > 0;
    regex_free(r);
    return fits;
}

/* convert_haproxy_front: frontends. haproxy takes the first rule whose condition holds; weir the most
 * specific route. Where an earlier rule takes all that a later one asks for, the later one is left out, as
 * haproxy never comes to it. */
#include "command/convert_haproxy.h"

/* ---- conditions ---- */

#define VALUES_MAX 256
#define ASKED_MAX 8

struct asked {
    struct bytes hosts; /* items of a list; "" with hosts_count 0: any */
    unsigned hosts_count;
    struct bytes more; /* method, header */
    struct bytes src;  /* addresses */
    const char *key;   /* "path" or "regex" */
    struct bytes values[VALUES_MAX];
    unsigned count; /* of values; 0: any path */
};

static void add_host(struct conv *c, struct asked *a, struct bytes host)
{
    struct bytes item = conv_quote(c, conv_lower(c, host));
    a->hosts = a->hosts_count++ ? conv_text(c, "%.*s, %.*s", BYTES_ARG(a->hosts), BYTES_ARG(item)) : item;
}

static bool add_value(struct asked *a, const char *key, struct bytes value)
{
    if ((a->key && strcmp(a->key, key) != 0) || a->count == VALUES_MAX || !value.len)
        return false;
    a->key = key;
    a->values[a->count++] = value;
    return true;
}

static bool path_is_plain(struct bytes path)
{
    return path.len && path.ptr[0] == '/' && bytes_index(path, '*') == path.len &&
           bytes_index(path, '{') == path.len;
}

/* What stands behind the name: CRITERION [-i] [-m str] VALUE... */
static bool criterion(struct conv *c, struct asked *a, const struct line *l, unsigned at)
{
    struct bytes what = l->word[at++];
    bool nocase = false;
    for (; at < l->count && l->word[at].len > 1 && l->word[at].ptr[0] == '-'; at++) {
        if (line_is(l, at, "-i"))
            nocase = true;
        else if (line_is(l, at, "-m") && line_is(l, at + 1, "str"))
            at++;
        else
            return false;
    }
    bool host = bytes_eq_nocase(what, BYTES("hdr(host)")) || bytes_eq_nocase(what, BYTES("req.hdr(host)"));
    bool header = !host && (bytes_starts(what, BYTES("hdr(")) || bytes_starts(what, BYTES("req.hdr(")));
    struct bytes list = BYTES("");
    if (at == l->count || (nocase && !host && !bytes_starts(what, BYTES("path_reg"))))
        return false;
    for (; at < l->count; at++) {
        struct bytes v = l->word[at];
        bool good = true;
        if (host)
            add_host(c, a, v);
        else if (bytes_eq(what, BYTES("path")))
            good = path_is_plain(v) && add_value(a, "path", v);
        else if (bytes_eq(what, BYTES("path_beg")))
            good = path_is_plain(v) && add_value(a, "path", conv_text(c, "%.*s*", BYTES_ARG(v)));
        else if (bytes_eq(what, BYTES("path_reg")))
            good = add_value(a, "regex", conv_regex(c, v, nocase));
        else if (bytes_eq(what, BYTES("path_end")))
            good = add_value(a, "regex", conv_text(c, "/.*\\Q%.*s\\E", BYTES_ARG(v)));
        else if (bytes_eq(what, BYTES("src")))
            a->src = a->src.len ? conv_text(c, "%.*s, %.*s", BYTES_ARG(a->src), BYTES_ARG(conv_quote(c, v)))
                                : conv_quote(c, v);
        else if (bytes_eq(what, BYTES("method")) || header)
            list = list.len ? conv_text(c, "%.*s, %.*s", BYTES_ARG(list), BYTES_ARG(conv_quote(c, v)))
                            : conv_quote(c, v);
        else
            return false;
        if (!good)
            return false;
    }
    if (bytes_eq(what, BYTES("method")))
        a->more = conv_text(c, "%.*s, method: [%.*s]", BYTES_ARG(a->more), BYTES_ARG(list));
    if (header) {
        size_t open = bytes_index(what, '(');
        struct bytes name = { what.ptr + open + 1, what.len - open - 2 };
        if (bytes_index(list, ',') < list.len)
            return false;
        a->more =
            conv_text(c, "%.*s, header: {%.*s: %.*s}", BYTES_ARG(a->more), BYTES_ARG(name), BYTES_ARG(list));
    }
    return true;
}

/* The lines `acl NAME ...`: any of them. */
static bool named(struct conv *c, struct section *s, struct bytes name, struct asked *a)
{
    bool found = false;
    for (struct line *l = s->first; l; l = l->next) {
        if (!line_is(l, 0, "acl") || l->count < 3 || !bytes_eq(l->word[1], name))
            continue;
        if (!criterion(c, a, l, 2))
            return false;
        l->done = found = true;
    }
    return found;
}

/* { CRITERION ... }: *at moves to its } */
static bool unnamed(struct conv *c, const struct line *l, unsigned *at, struct asked *a)
{
    struct line inner = { .number = l->number };
    for (++*at; *at < l->count && !line_is(l, *at, "}"); ++*at)
        inner.word[inner.count++] = l->word[*at];
    return *at < l->count && inner.count > 1 && criterion(c, a, &inner, 0);
}

/* From `if` or `unless` on: alternatives of names. *ret_count 0: there is no condition. *ret_not: one single
 * name, negated. */
static bool condition(struct conv *c, struct section *s, const struct line *l, struct asked *alternatives,
                      unsigned *ret_count, bool *ret_not)
{
    unsigned at = haproxy_behind(l, "if");
    bool unless = !at;
    if (unless)
        at = haproxy_behind(l, "unless");
    *ret_count = 0;
    *ret_not = false;
    if (!at)
        return true;
    alternatives[(*ret_count)++] = (struct asked){ .more = BYTES("") };
    unsigned names = 0;
    for (; at < l->count; at++) {
        struct bytes word = l->word[at];
        if (bytes_eq(word, BYTES("||")) || bytes_eq(word, BYTES("or"))) {
            if (*ret_count == ASKED_MAX)
                return false;
            alternatives[(*ret_count)++] = (struct asked){ .more = BYTES("") };
            continue;
        }
        bool not = word.ptr[0] == '!';
        struct asked *a = &alternatives[*ret_count - 1];
        struct asked before = *a;
        names++;
        *ret_not = not != unless;
        if (not )
            word = bytes_skip(word, 1);
        if (!word.len && line_is(l, at + 1, "{")) /* "! {" */
            word = l->word[++at];
        if (bytes_eq(word, BYTES("{")) ? !unnamed(c, l, &at, a) : !named(c, s, word, a))
            return false;
        /* two names that ask for the path, or for the host: both would have to hold */
        if ((before.count && a->count > before.count) ||
            (before.hosts_count && a->hosts_count > before.hosts_count))
            return false;
    }
    return names > 0 && (!*ret_not || (names == 1 && *ret_count == 1));
}

/* ---- routes ---- */

struct front {
    struct section *section;
    struct section *sections; /* of the file */
    struct bytes hosts;       /* all that some rule asks for */
    unsigned hosts_count;
    struct conv_setting *settings; /* of every route */
    bool whole;                    /* an answer takes everything: nothing comes behind it */
};

static bool is_taken(const struct conv *c, struct bytes match)
{
    for (const struct conv_route *r = c->routes; r; r = r->next) {
        if (bytes_eq(r->match, match))
            return true;
    }
    return false;
}

static struct conv_route *add_route(struct conv *c, const struct front *f, struct bytes match, struct line *l,
                                    struct bytes service)
{
    if (!match.len || is_taken(c, match)) {
        conv_miss(c, c->path, l->number, haproxy_text(c, l),
                  match.len ? "an earlier rule takes the same requests" : "weir has no such match");
        return NULL;
    }
    struct conv_route *r = conv_route(c, match, l->number);
    r->service = service;
    for (const struct conv_setting *s = f->settings; s; s = s->next) {
        if (service.len ||
            bytes_eq(s->key, BYTES("ip_allow"))) /* what haproxy answers itself is not edited */
            conv_set(c, &r->settings, s->key.ptr, s->value);
    }
    return r;
}

static void backend_settings(struct conv *c, struct section *all, struct conv_route *r)
{
    for (struct section *s = all; s; s = s->next) {
        if (bytes_eq(s->kind, BYTES("backend")) && bytes_eq(s->name, r->service))
            haproxy_rules(c, s, &r->settings);
    }
}

/* later: the hosts that rules behind this one ask for, which would go before it without a host. */
static void route_to(struct conv *c, const struct front *f, struct line *l, const struct asked *a,
                     struct bytes service, const struct asked *later)
{
    struct conv_service *s = conv_service_find(c, service);
    if (!s || !s->servers) {
        conv_miss(c, c->path, l->number, haproxy_text(c, l),
                  "that backend has no server that could be converted");
        return;
    }
    s->used = true;
    for (unsigned i = 0; i < (a->count ? a->count : 1); i++) {
        for (unsigned both = 0; both < (a->hosts_count || !later->hosts_count ? 1u : 2u); both++) {
            const struct asked *who = both ? later : a;
            struct bytes match = conv_match(c, who->hosts, who->hosts_count, a->count ? a->key : "path",
                                            a->count ? a->values[i] : BYTES("/*"), a->more);
            struct conv_route *r = add_route(c, f, match, l, service);
            if (r)
                backend_settings(c, f->sections, r);
        }
    }
}

/* An answer goes before all backends: for each host that has a route it has one, too. */
static void answer(struct conv *c, const struct front *f, struct line *l, const struct asked *a,
                   const char *filter, struct bytes value)
{
    for (unsigned i = 0; i < (a->count ? a->count : 1); i++) {
        for (unsigned both = 0; both < (a->hosts_count || !f->hosts_count ? 1u : 2u); both++) {
            struct bytes hosts = a->hosts_count ? a->hosts : both ? f->hosts : BYTES_NONE;
            unsigned count = a->hosts_count ? a->hosts_count : both ? f->hosts_count : 0;
            struct bytes match = conv_match(c, hosts, count, a->count ? a->key : "path",
                                            a->count ? a->values[i] : BYTES("/*"), a->more);
            struct conv_route *r = add_route(c, f, match, l, BYTES_NONE);
            if (r)
                conv_set(c, &r->settings, filter, value);
        }
    }
}

/* deny [deny_status N]; return status N [content-type T] [string S]; redirect location|prefix|scheme X [code
 * N] */
static bool answer_of(struct conv *c, const struct line *l, unsigned at, const char **ret_filter,
                      struct bytes *ret_value)
{
    unsigned status = haproxy_behind(l, line_is(l, at, "deny")     ? "deny_status"
                                        : line_is(l, at, "return") ? "status"
                                                                   : "code");
    struct bytes to;
    if (line_is(l, at, "deny")) {
        *ret_filter = "respond";
        *ret_value = conv_text(c, "{status: %.*s}", BYTES_ARG(status ? l->word[status] : BYTES("403")));
        return conv_knows("respond");
    }
    if (line_is(l, at, "return")) {
        unsigned type = haproxy_behind(l, "content-type");
        unsigned text = haproxy_behind(l, "string");
        *ret_filter = "respond";
        *ret_value = conv_text(c, "{status: %.*s", BYTES_ARG(status ? l->word[status] : BYTES("200")));
        if (type)
            *ret_value = conv_text(c, "%.*s, content_type: %.*s", BYTES_ARG(*ret_value),
                                   BYTES_ARG(conv_quote(c, l->word[type])));
        if (text)
            *ret_value = conv_text(c, "%.*s, text: %.*s", BYTES_ARG(*ret_value),
                                   BYTES_ARG(conv_plain(c, l->word[text])));
        *ret_value = conv_text(c, "%.*s}", BYTES_ARG(*ret_value));
        return conv_knows("respond");
    }
    if (!line_is(l, at, "redirect") || at + 2 >= l->count || !conv_knows("redirect") ||
        !haproxy_format(c, l->word[at + 2], &to))
        return false;
    struct bytes code = status ? l->word[status] : BYTES("302");
    const char *key = line_is(l, at + 1, "scheme") ? "scheme" : "location";
    if (line_is(l, at + 1, "prefix"))
        to = conv_text(c, "%.*s${target}", BYTES_ARG(to));
    *ret_filter = "redirect";
    *ret_value = conv_text(c, "{status: %.*s, %s: %.*s}", BYTES_ARG(code), key, BYTES_ARG(conv_quote(c, to)));
    return line_is(l, at + 1, "scheme") || line_is(l, at + 1, "location") || line_is(l, at + 1, "prefix");
}

static void conditional(struct conv *c, struct front *f, struct line *l)
{
    struct asked alternatives[ASKED_MAX];
    unsigned count;
    bool not ;
    const char *filter;
    struct bytes value;
    unsigned at = line_is(l, 0, "redirect") ? 0 : 1;
    if (!condition(c, f->section, l, alternatives, &count, &not ))
        return;
    const struct asked *first = &alternatives[0];
    bool addresses = count == 1 && first->src.len && !first->count && !first->hosts_count && !first->more.len;
    if (addresses && line_is(l, at, "deny") && conv_knows("ip_allow")) {
        conv_set_in(c, &f->settings, "ip_allow", not ? BYTES("allow") : BYTES("deny"),
                    conv_text(c, "[%.*s]", BYTES_ARG(first->src)));
        l->done = true;
        return;
    }
    for (unsigned i = 0; i < count; i++) {
        if (alternatives[i].src.len)
            return;
    }
    if (not || !answer_of(c, l, at, &filter, &value))
        return;
    l->done = true;
    f->whole |= count == 0;
    const struct asked any = { .more = BYTES("") };
    for (unsigned i = 0; i < (count ? count : 1); i++)
        answer(c, f, l, count ? &alternatives[i] : &any, filter, value);
}

static struct asked hosts_behind(struct conv *c, const struct front *f, const struct line *l)
{
    struct asked all = { .more = BYTES("") };
    for (l = l->next; l; l = l->next) {
        struct asked alternatives[ASKED_MAX];
        unsigned count;
        bool not ;
        if (!line_is(l, 0, "use_backend") || !condition(c, f->section, l, alternatives, &count, &not ))
            continue;
        for (unsigned i = 0; i < count; i++) {
            const struct asked *a = &alternatives[i];
            if (a->hosts_count)
                all.hosts = all.hosts_count
                                ? conv_text(c, "%.*s, %.*s", BYTES_ARG(all.hosts), BYTES_ARG(a->hosts))
                                : a->hosts;
            all.hosts_count += a->hosts_count;
        }
    }
    return all;
}

static void use_backend(struct conv *c, const struct front *f, struct line *l)
{
    struct asked alternatives[ASKED_MAX];
    unsigned count;
    bool not ;
    if (l->count < 2 || !condition(c, f->section, l, alternatives, &count, &not ) || not || !count)
        return;
    for (unsigned i = 0; i < count; i++) {
        if (alternatives[i].src.len)
            return;
    }
    l->done = true;
    const struct asked later = hosts_behind(c, f, l);
    for (unsigned i = 0; i < count; i++)
        route_to(c, f, l, &alternatives[i], l->word[1], &later);
}

/* ---- listening ---- */

/* One time for both sides: that of the client. */
static void idle(struct conv *c, struct section *s, struct conv_listen *listen)
{
    struct bytes said = BYTES_NONE;
    for (unsigned round = 0; round < 2; round++) {
        for (struct line *l = s->first; l; l = l->next) {
            if (!line_is(l, 0, "timeout") || !line_is(l, 1, round ? "server" : "client") || l->count < 3)
                continue;
            struct bytes value = conv_duration(c, l->word[2], "ms");
            if (!round)
                said = value;
            l->done = value.len && bytes_eq(value, said);
        }
    }
    if (said.len)
        conv_set(c, &listen->settings, "idle_timeout", said);
}

static void bind(struct conv *c, struct front *f, struct line *l, const struct conv_service *tcp)
{
    static const char *const cannot[] = { "ssl", "crt" };
    l->done = true;
    for (unsigned i = 0; i < sizeof cannot / sizeof *cannot; i++) {
        if (haproxy_behind(l, cannot[i]) || line_is(l, l->count - 1, cannot[i])) {
            conv_miss(c, c->path, l->number, haproxy_text(c, l), "weir does not speak TLS here");
            return;
        }
    }
    struct bytes rest = l->count > 1 ? l->word[1] : BYTES_NONE;
    struct bytes one;
    while (bytes_split(&rest, ',', &one)) {
        struct bytes at = one;
        if (at.len && at.ptr[0] == '/')
            at = conv_text(c, "unix:%.*s", BYTES_ARG(at));
        else if (bytes_starts(at, BYTES("*:")) || bytes_starts(at, BYTES(":")))
            at = conv_text(c, "0.0.0.0%.*s", BYTES_ARG(bytes_skip(at, bytes_index(at, ':'))));
        struct conv_listen *listen = conv_listen(c, at, tcp ? "tcp" : "http");
        if (tcp)
            conv_set(c, &listen->settings, "tcp", conv_quote(c, tcp->name));
        for (unsigned i = 2; i < l->count; i++) {
            if (line_is(l, i, "accept-proxy"))
                conv_set(c, &listen->settings, "proxy_protocol", BYTES("{from: all}"));
        }
        if (tcp)
            idle(c, f->section, listen);
        struct line *most = tcp ? haproxy_line(f->section, "maxconn") : NULL;
        if (most && most->count > 1)
            conv_set(c, &listen->settings, "connections_max", most->word[1]);
    }
}

static struct bytes default_backend(struct section *s)
{
    struct line *l = haproxy_line(s, "default_backend");
    if (l && l->count > 1)
        return l->word[1];
    return bytes_eq(s->kind, BYTES("listen")) ? s->name : BYTES_NONE;
}

static void all_hosts(struct conv *c, struct front *f)
{
    struct asked a = { .more = BYTES("") };
    for (struct line *l = f->section->first; l; l = l->next) {
        bool host = l->count > 3 && line_is(l, 0, "acl") &&
                    (bytes_eq_nocase(l->word[2], BYTES("hdr(host)")) ||
                     bytes_eq_nocase(l->word[2], BYTES("req.hdr(host)")));
        for (unsigned i = 3; host && i < l->count; i++) {
            if (l->word[i].ptr[0] != '-')
                add_host(c, &a, l->word[i]);
        }
    }
    f->hosts = a.hosts;
    f->hosts_count = a.hosts_count;
}

static void http_frontend(struct conv *c, struct front *f)
{
    struct section *s = f->section;
    all_hosts(c, f);
    haproxy_rules(c, s, &f->settings);
    for (struct line *l = s->first; l; l = l->next) {
        bool field =
            line_is(l, 1, "set-header") || line_is(l, 1, "add-header") || line_is(l, 1, "del-header");
        if ((line_is(l, 0, "http-request") && !field) || line_is(l, 0, "redirect"))
            conditional(c, f, l);
    }
    for (struct line *l = s->first; l; l = l->next) {
        if (line_is(l, 0, "use_backend") && !f->whole)
            use_backend(c, f, l);
    }
    struct bytes last = default_backend(s);
    struct line *said = haproxy_line(s, "default_backend");
    struct line here = { .number = said ? said->number : s->number };
    const struct asked any = { .more = BYTES("") };
    if (last.len && !f->whole)
        route_to(c, f, said ? said : &here, &any, last, &any);
    else if (!f->whole && conv_knows("respond") && !is_taken(c, BYTES("/*")))
        answer(c, f, &here, &any, "respond", BYTES("{status: 503}"));
}

void haproxy_frontend(struct conv *c, struct section *s, struct section *all)
{
    struct front f = { .section = s, .sections = all };
    struct conv_service *tcp = NULL;
    if (s->tcp) {
        struct bytes name = default_backend(s);
        tcp = name.len ? conv_service_find(c, name) : NULL;
        if (!tcp || !tcp->servers) {
            conv_miss(c, c->path, s->number,
                      conv_text(c, "%.*s %.*s", BYTES_ARG(s->kind), BYTES_ARG(s->name)),
                      "it has no default_backend with servers");
            return;
        }
        tcp->used = true;
    }
    for (struct line *l = s->first; l; l = l->next) {
        if (line_is(l, 0, "bind"))
            bind(c, &f, l, tcp);
    }
    if (!tcp)
        http_frontend(c, &f);
}

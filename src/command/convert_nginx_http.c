/* convert_nginx_http: server and location blocks become routes. */
#include "command/convert_nginx.h"

struct site {
    struct directive *server;
    struct bytes hosts; /* as items of a YAML list; empty: any */
    unsigned hosts_count;
    bool root; /* some location takes all paths */
};

/* ---- services ---- */

static void service_time(struct conv *c, struct directive *loc, const char *name, struct conv_service *s,
                         const char *const *keys)
{
    struct directive *d = nginx_find(loc, name);
    struct bytes value = d ? conv_duration(c, nginx_arg(d, 0), "s") : BYTES_NONE;
    if (d && !value.len)
        d->done = false;
    for (; value.len && *keys; keys++) {
        const struct conv_setting *old = conv_setting_get(s->settings, *keys);
        if (old && !bytes_eq(old->value, value))
            conv_miss(c, d->file, d->line, nginx_text(c, d),
                      "a service of weir has one of it; the first is taken");
        else
            conv_set(c, &s->settings, *keys, value);
    }
}

static void next_upstream(struct conv *c, struct directive *loc, struct conv_service *s)
{
    struct directive *d = nginx_find(loc, "proxy_next_upstream");
    struct directive *tries = nginx_find(loc, "proxy_next_upstream_tries");
    uint64_t n = 0;
    if (tries && bytes_to_u64(nginx_arg(tries, 0), &n) && n)
        conv_set(c, &s->settings, "tries_max", conv_text(c, "%llu", (unsigned long long)(n > 4 ? 4 : n)));
    if (!d)
        return;
    if (nginx_flag(d, "off")) {
        conv_set(c, &s->settings, "tries_max", BYTES("1"));
        return;
    }
    struct bytes on = BYTES("connect");
    for (unsigned i = 0; i < d->count; i++) {
        struct bytes word = d->args[i];
        if (bytes_eq(word, BYTES("error")))
            on = conv_text(c, "%.*s, reset", BYTES_ARG(on));
        else if (bytes_eq(word, BYTES("timeout")))
            on = conv_text(c, "%.*s, timeout", BYTES_ARG(on));
        else if (bytes_starts(word, BYTES("http_")))
            on = conv_text(c, "%.*s, %.*s", BYTES_ARG(on), BYTES_ARG(bytes_skip(word, 5)));
        else
            d->done = false; /* invalid_header, non_idempotent */
    }
    if (conv_has("services.retry"))
        conv_set(c, &s->settings, "retry",
                 conv_text(c, "{on: [%.*s], attempts: %llu}", BYTES_ARG(on),
                           (unsigned long long)(n > 1 ? n - 1 : 2)));
    else
        d->done = false;
}

static void service_settings(struct conv *c, struct directive *loc, struct conv_service *s)
{
    service_time(c, loc, "proxy_connect_timeout", s, (const char *const[]){ "connect_timeout", NULL });
    service_time(c, loc, "proxy_read_timeout", s,
                 (const char *const[]){ "first_byte_timeout", "idle_timeout", NULL });
    next_upstream(c, loc, s);
}

/* ---- answers ---- */

/* (a)(b) become (?<g1>a)(?<g2>b), to be named where they are used. */
static struct bytes name_groups(struct conv *c, struct bytes re)
{
    struct bytes out = BYTES("");
    unsigned group = 0;
    bool class = false;
    for (size_t i = 0; i < re.len; i++) {
        char ch = re.ptr[i];
        if (ch == '\\' && i + 1 < re.len) {
            out = conv_text(c, "%.*s%c%c", BYTES_ARG(out), ch, re.ptr[++i]);
            continue;
        }
        class = ch == '[' || (class && ch != ']');
        if (ch == '(' && !class && !(i + 1 < re.len && re.ptr[i + 1] == '?'))
            out = conv_text(c, "%.*s(?<g%u>", BYTES_ARG(out), ++group);
        else
            out = conv_text(c, "%.*s%c", BYTES_ARG(out), ch);
    }
    return out;
}

static void redirect(struct conv *c, struct conv_route *r, uint64_t status, struct bytes to, bool keeps_query)
{
    bool path = keeps_query && to.len && to.ptr[0] == '/';
    conv_set(c, &r->settings, "redirect",
             conv_text(c, "{status: %llu, %s: %.*s}", (unsigned long long)status, path ? "path" : "location",
                       BYTES_ARG(conv_quote(c, to))));
}

static void respond(struct conv *c, struct conv_route *r, uint64_t status, struct bytes text,
                    struct bytes type)
{
    struct bytes value = conv_text(c, "{status: %llu", (unsigned long long)status);
    if (text.len)
        value = conv_text(c, "%.*s, text: %.*s, content_type: %.*s", BYTES_ARG(value),
                          BYTES_ARG(conv_quote(c, text)), BYTES_ARG(conv_quote(c, type)));
    conv_set(c, &r->settings, "respond", conv_text(c, "%.*s}", BYTES_ARG(value)));
}

/* return CODE; return CODE text; return CODE url; return url */
static bool returns(struct conv *c, struct directive *loc, struct directive *d, struct conv_route *r)
{
    uint64_t status;
    struct bytes text = nginx_arg(d, 1);
    if (!bytes_to_u64(nginx_arg(d, 0), &status)) {
        status = 302;
        text = nginx_arg(d, 0);
    }
    struct bytes as = BYTES("");
    bool moves = status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
    if (!conv_knows(moves ? "redirect" : "respond") || status < 200 || status > 599 || status == 444 ||
        !nginx_translate(c, text, NULL, &as))
        return false;
    d->done = true;
    struct directive *type = nginx_find(loc, "default_type");
    if (moves)
        redirect(c, r, status, as, false);
    else
        respond(c, r, status, as, type ? nginx_arg(type, 0) : BYTES("text/plain"));
    return true;
}

/* ---- locations ---- */

static bool sensible_path(struct bytes path)
{
    return path.len && path.ptr[0] == '/' && bytes_index(path, '*') == path.len &&
           bytes_index(path, '{') == path.len;
}

/* Empty: weir cannot ask for that. */
static struct bytes location_match(struct conv *c, const struct site *site, const struct directive *loc)
{
    struct bytes first = nginx_arg(loc, 0);
    struct bytes second = nginx_arg(loc, 1);
    if (bytes_eq(first, BYTES("=")))
        return sensible_path(second)
                   ? conv_match(c, site->hosts, site->hosts_count, "path", second, BYTES_NONE)
                   : BYTES_NONE;
    if (bytes_eq(first, BYTES("~")) || bytes_eq(first, BYTES("~*"))) {
        struct bytes re = conv_knows("redirect") ? conv_regex(c, second, first.len > 1) : BYTES_NONE;
        return re.len ? conv_match(c, site->hosts, site->hosts_count, "regex", re, BYTES_NONE) : BYTES_NONE;
    }
    struct bytes path = bytes_eq(first, BYTES("^~")) ? second : first;
    return sensible_path(path) ? conv_match(c, site->hosts, site->hosts_count, "path",
                                            conv_text(c, "%.*s*", BYTES_ARG(path)), BYTES_NONE)
                               : BYTES_NONE;
}

static bool is_taken(const struct conv *c, struct bytes match)
{
    for (const struct conv_route *r = c->routes; r; r = r->next) {
        if (bytes_eq(r->match, match))
            return true;
    }
    return false;
}

/* proxy_pass with a path: what the location's stands for becomes that one. */
static bool pass_path(struct conv *c, struct directive *loc, struct bytes to, struct conv_route *r)
{
    struct bytes first = nginx_arg(loc, 0);
    bool exact = bytes_eq(first, BYTES("="));
    bool front = bytes_eq(first, BYTES("^~"));
    struct bytes from = exact || front ? nginx_arg(loc, 1) : first;
    if (!to.len || bytes_eq(from, to))
        return true;
    if (!conv_knows("rewrite") || bytes_starts(first, BYTES("~")))
        return false;
    if (exact) {
        conv_set_in(c, &r->settings, "rewrite", BYTES("path"), conv_plain(c, to));
        return true;
    }
    if (from.len > 1 && from.ptr[from.len - 1] == '/' && to.ptr[to.len - 1] == '/') {
        from.len--;
        to.len -= to.len > 1;
    }
    if (from.ptr[from.len - 1] == '/') /* segments would run into each other */
        return false;
    conv_set_in(c, &r->settings, "rewrite", BYTES("prefix"), conv_quote(c, from));
    conv_set_in(c, &r->settings, "rewrite", BYTES("to"), conv_plain(c, to));
    return true;
}

static bool passes(struct conv *c, struct directive *loc, struct directive *d, struct conv_route *r)
{
    struct bytes target = nginx_arg(d, 0);
    if (!bytes_starts(target, BYTES("http://")) || bytes_index(target, '$') < target.len)
        return false;
    target = bytes_skip(target, 7);
    size_t end = bytes_starts(target, BYTES("unix:")) ? 5 + bytes_index(bytes_skip(target, 5), ':')
                                                      : bytes_index(target, '/');
    struct bytes path = bytes_skip(target, end);
    target.len = end;
    if (path.len && path.ptr[0] == ':')
        path = bytes_skip(path, 1);
    if (!pass_path(c, loc, path, r))
        return false;
    struct bytes host = bytes_starts(target, BYTES("unix:")) ? BYTES("localhost") : target;
    nginx_proxy_host(c, loc, &host);
    struct conv_service *s = nginx_service(c, target, host, "80");
    service_settings(c, loc, s);
    r->service = s->name;
    d->done = true;
    return true;
}

/* rewrite RE TO last|break: the path that the server gets. */
static void rewrites(struct conv *c, struct directive *loc, struct conv_route *r)
{
    struct directive *d = nginx_in(loc, "rewrite");
    struct bytes flag = d ? nginx_arg(d, 2) : BYTES_NONE;
    struct bytes to;
    bool inner = bytes_eq(flag, BYTES("last")) || bytes_eq(flag, BYTES("break")) || !flag.len;
    if (!d || !inner || conv_setting_get(r->settings, "rewrite") || !conv_knows("rewrite") ||
        !nginx_translate(c, nginx_arg(d, 1), "$", &to))
        return;
    /* nginx puts TO in the place of all of the path */
    struct bytes re = nginx_arg(d, 0);
    const char *front = re.len && re.ptr[0] == '^' ? "" : "^.*?";
    const char *back = re.len && re.ptr[re.len - 1] == '$' ? "" : ".*";
    conv_set_in(c, &r->settings, "rewrite", BYTES("regex"),
                conv_quote(c, conv_text(c, "%s%.*s%s", front, BYTES_ARG(re), back)));
    conv_set_in(c, &r->settings, "rewrite", BYTES("to"), conv_quote(c, to));
    d->done = true;
}

/* root and alias: files. Nothing but the file, or one for all others ("try_files $uri /index.html"). */
static bool files(struct conv *c, struct directive *loc, struct bytes path, struct conv_route *r)
{
    struct directive *alias = nginx_in(loc, "alias");
    struct directive *root = alias ? alias : nginx_find(loc, "root");
    struct directive *tries = nginx_find(loc, "try_files");
    struct directive *index = nginx_find(loc, "index");
    struct bytes folder = root ? nginx_arg(root, 0) : BYTES_NONE;
    struct bytes last = tries && tries->count ? tries->args[tries->count - 1] : BYTES_NONE;
    bool page = last.len && last.ptr[0] == '/' && bytes_index(last, '$') == last.len;
    if (tries)
        tries->done = false;
    if (!conv_knows("static") || folder.len == 0 || folder.ptr[0] != '/' ||
        bytes_index(folder, '$') < folder.len || (tries && !page && !bytes_eq(last, BYTES("=404"))))
        return false;
    root->done = true;
    struct bytes value = conv_text(c, "{folder: %.*s", BYTES_ARG(conv_quote(c, folder)));
    if (alias && path.len > 1) {
        path.len -= path.ptr[path.len - 1] == '/';
        value = conv_text(c, "%.*s, strip: %.*s", BYTES_ARG(value), BYTES_ARG(conv_quote(c, path)));
    }
    if (page)
        value = conv_text(c, "%.*s, fallback: %.*s", BYTES_ARG(value),
                          BYTES_ARG(conv_quote(c, bytes_skip(last, 1))));
    for (unsigned i = 0; index && i < index->count; i++)
        value = conv_text(c, "%.*s%s%.*s%s", BYTES_ARG(value), i ? ", " : ", index: [",
                          BYTES_ARG(conv_quote(c, index->args[i])), i + 1 == index->count ? "]" : "");
    conv_set(c, &r->settings, "static", conv_text(c, "%.*s}", BYTES_ARG(value)));
    if (tries)
        tries->done = true;
    return true;
}

static bool answers(struct conv *c, struct directive *loc, struct conv_route *r)
{
    struct directive *said = nginx_in(loc, "return");
    struct directive *pass = nginx_in(loc, "proxy_pass");
    if (said)
        return returns(c, loc, said, r);
    if (pass)
        return passes(c, loc, pass, r);
    struct bytes first = nginx_arg(loc, 0);
    bool front = bytes_eq(first, BYTES("^~")) || bytes_eq(first, BYTES("="));
    return !bytes_starts(first, BYTES("~")) && files(c, loc, front ? nginx_arg(loc, 1) : first, r);
}

static void location(struct conv *c, const struct site *site, struct directive *loc)
{
    loc->done = true;
    for (struct directive *d = nginx_in(loc, "location"); d; d = nginx_next(d))
        location(c, site, d);
    struct bytes match = location_match(c, site, loc);
    if (!match.len) {
        nginx_give_up(c, loc, "weir has no such match");
        return;
    }
    if (is_taken(c, match)) {
        nginx_give_up(c, loc, "another server block takes this; weir does not tell them apart by port");
        return;
    }
    struct conv_route r = { .match = match };
    if (!answers(c, loc, &r)) {
        nginx_give_up(c, loc, "nothing in it that weir could answer with");
        return;
    }
    rewrites(c, loc, &r);
    nginx_route_settings(c, loc, &r);
    struct conv_route *added = conv_route(c, match, loc->line);
    added->service = r.service;
    added->settings = r.settings;
}

/* ---- servers ---- */

static bool is_default(const struct directive *server, struct directive *http)
{
    struct directive *mine = nginx_in((struct directive *)(uintptr_t)server, "listen");
    for (; mine; mine = nginx_next(mine)) {
        if (nginx_flag(mine, "default_server") || nginx_flag(mine, "default"))
            return true;
    }
    for (struct directive *d = nginx_in(http, "server"); d; d = nginx_next(d)) {
        for (struct directive *l = nginx_in(d, "listen"); l; l = nginx_next(l)) {
            if (d != server && (nginx_flag(l, "default_server") || nginx_flag(l, "default")))
                return false;
        }
    }
    return nginx_in(http, "server") == server;
}

static void hosts_of(struct conv *c, struct site *site, bool is_first)
{
    struct directive *names = nginx_in(site->server, "server_name");
    if (names)
        names->done = true;
    for (unsigned i = 0; names && i < names->count && !is_first; i++) {
        struct bytes name = names->args[i];
        bool dotted = name.len > 1 && name.ptr[0] == '.';
        if (!name.len || bytes_eq(name, BYTES("_")) || name.ptr[0] == '~' ||
            bytes_index(bytes_skip(name, 1), '*') + 1 < name.len) {
            if (name.len && name.ptr[0] != '_')
                conv_miss(c, names->file, names->line, conv_text(c, "server_name %.*s", BYTES_ARG(name)),
                          "weir has no such host");
            continue;
        }
        struct bytes item =
            dotted ? conv_text(c, "%.*s, \"*%.*s\"", BYTES_ARG(bytes_skip(name, 1)), BYTES_ARG(name))
                   : conv_quote(c, name);
        site->hosts =
            site->hosts_count ? conv_text(c, "%.*s, %.*s", BYTES_ARG(site->hosts), BYTES_ARG(item)) : item;
        site->hosts_count += dotted ? 2 : 1;
    }
}

static void listens(struct conv *c, struct directive *server)
{
    struct directive *d = nginx_in(server, "listen");
    if (!d)
        conv_listen(c, BYTES("0.0.0.0:80"), "http");
    for (; d; d = nginx_next(d)) {
        d->done = true;
        if (nginx_flag(d, "ssl") || nginx_flag(d, "quic")) {
            nginx_give_up(c, d, "weir does not speak TLS here");
            continue;
        }
        struct conv_listen *l = conv_listen(c, nginx_address(c, nginx_arg(d, 0), "80"), "http");
        struct bytes backlog = nginx_option(d, "backlog");
        if (backlog.len)
            conv_set(c, &l->settings, "backlog", backlog);
        if (!nginx_flag(d, "proxy_protocol"))
            continue;
        struct bytes from = BYTES("");
        struct directive *at = server;
        while (at->parent && !nginx_in(at, "set_real_ip_from"))
            at = at->parent;
        for (struct directive *t = nginx_in(at, "set_real_ip_from"); t; t = nginx_next(t)) {
            struct bytes who = conv_quote(c, nginx_arg(t, 0));
            from = from.len ? conv_text(c, "%.*s, %.*s", BYTES_ARG(from), BYTES_ARG(who)) : who;
        }
        conv_set(c, &l->settings, "proxy_protocol",
                 conv_text(c, "{from: [%.*s]}", BYTES_ARG(from.len ? from : BYTES("all"))));
    }
}

static void server(struct conv *c, struct directive *http, struct directive *d)
{
    struct site site = { .server = d };
    bool is_first = is_default(d, http);
    d->done = true;
    hosts_of(c, &site, is_first);
    listens(c, d);
    if (!site.hosts_count && !is_first && nginx_in(d, "server_name")) {
        nginx_give_up(c, d, "none of its names could be converted, or it is a default besides another");
        return;
    }
    struct bytes all = conv_match(c, site.hosts, site.hosts_count, "path", BYTES("/*"), BYTES_NONE);
    struct directive *answer = nginx_in(d, "return");
    struct conv_route r = { .match = all };
    if (!all.len) {
        nginx_give_up(c, d, "weir has no match for these hosts");
        return;
    }
    if (answer && !is_taken(c, all) && returns(c, d, answer, &r)) {
        nginx_route_settings(c, d, &r);
        conv_route(c, all, d->line)->settings = r.settings;
        return;
    }
    for (struct directive *l = nginx_in(d, "location"); l; l = nginx_next(l))
        location(c, &site, l);
    bool rooted = nginx_find(d, "root") != NULL;
    if (is_taken(c, all) || !(rooted || site.hosts_count))
        return;
    if (rooted && files(c, d, BYTES_NONE, &r)) {
        nginx_route_settings(c, d, &r);
        conv_route(c, all, d->line)->settings = r.settings;
        return;
    }
    if (!conv_knows("respond"))
        return;
    respond(c, &r, 404, BYTES_NONE, BYTES_NONE); /* nginx would look for a file, and find none */
    conv_route(c, all, d->line)->settings = r.settings;
}

/* rewrite RE TO permanent|redirect, at the server's level: a route of its own. */
static void moves(struct conv *c, struct directive *http, struct directive *d)
{
    struct site site = { .server = d };
    hosts_of(c, &site, is_default(d, http));
    for (struct directive *w = nginx_in(d, "rewrite"); w; w = nginx_next(w)) {
        struct bytes flag = nginx_arg(w, 2);
        bool good = bytes_eq(flag, BYTES("permanent")) || bytes_eq(flag, BYTES("redirect"));
        struct bytes re = good && conv_knows("redirect")
                              ? conv_regex(c, name_groups(c, nginx_arg(w, 0)), false)
                              : BYTES_NONE;
        struct bytes to;
        if (!re.len || !nginx_translate(c, nginx_arg(w, 1), "${capture.g", &to))
            continue;
        struct bytes match = conv_match(c, site.hosts, site.hosts_count, "regex", re, BYTES_NONE);
        if (!match.len || is_taken(c, match))
            continue;
        redirect(c, conv_route(c, match, w->line), bytes_eq(flag, BYTES("permanent")) ? 301 : 302, to, true);
        w->done = true;
    }
}

static void client_time(struct conv *c, struct directive *http, const char *name, const char *key)
{
    struct directive *d = nginx_in(http, name);
    for (struct directive *s = nginx_in(http, "server"); s && !d; s = nginx_next(s))
        d = nginx_in(s, name);
    struct bytes value = d ? conv_duration(c, nginx_arg(d, 0), "s") : BYTES_NONE;
    if (!value.len || bytes_eq(value, BYTES("0s")))
        return;
    conv_set(c, &c->client, key, value);
    d->done = true;
}

void nginx_http(struct conv *c, struct directive *http)
{
    http->done = true;
    conv_set(c, &c->settings, "via", BYTES("off"));
    conv_set(c, &c->settings, "request_id", BYTES("off"));
    conv_set(c, &c->settings, "x_forwarded", BYTES("off"));
    client_time(c, http, "keepalive_timeout", "idle_timeout");
    client_time(c, http, "client_header_timeout", "head_timeout");
    client_time(c, http, "client_body_timeout", "body_timeout");
    client_time(c, http, "send_timeout", "write_timeout");
    struct directive *requests = nginx_in(http, "keepalive_requests");
    if (requests && nginx_arg(requests, 0).len) {
        conv_set(c, &c->client, "requests_max", nginx_arg(requests, 0));
        requests->done = true;
    }
    for (struct directive *d = nginx_in(http, "upstream"); d; d = nginx_next(d))
        nginx_upstream(c, d, "80");
    for (struct directive *d = nginx_in(http, "server"); d; d = nginx_next(d)) {
        moves(c, http, d);
        server(c, http, d);
    }
}

/* convert_haproxy: sections, and backends as services. */
#include "command/convert_haproxy.h"

#define WORD_BYTES_MAX 4096

static const char *const harmless[] = {
    "log",
    "chroot",
    "user",
    "group",
    "daemon",
    "pidfile",
    "stats",
    "maxconn",
    "nbproc",
    "nbthread",
    "mode",
    "master-worker",
    "cpu-map",
    "ulimit-n",
    "ca-base",
    "crt-base",
    "description",
    "bind-process",
    "no",
    "ssl-default-bind-ciphers",
    "ssl-default-bind-options",
    "ssl-default-bind-ciphersuites",
    "hard-stop-after",
    "log-tag",
    "option",
    "unique-id-format",
    "server-state-file",
    "load-server-state-from-file",
    "http-reuse",
    "tune.bufsize",
    "backlog",
    "log-format",
    "fullconn",
    "retries",
    "zero-warning",
    "default-server",
};

/* Options that change what happens; the others are how haproxy logs and what weir does anyway. */
static const char *const options_that_matter[] = { "httpchk",
                                                   "redis-check",
                                                   "mysql-check",
                                                   "pgsql-check",
                                                   "smtpchk",
                                                   "ldap-check",
                                                   "external-check",
                                                   "transparent",
                                                   "http_proxy",
                                                   "originalto",
                                                   "accept-invalid-http-request" };

/* ---- words ---- */

static bool is_space(char ch)
{
    return ch == ' ' || ch == '\t' || ch == '\r';
}

/* One word off *rest; quotes and backslashes as haproxy has them. False: there is none left. */
static bool next_word(struct conv *c, struct bytes *rest, struct bytes *ret_word)
{
    char out[WORD_BYTES_MAX];
    size_t len = 0;
    size_t at = 0;
    char quote = 0;
    while (at < rest->len && is_space(rest->ptr[at]))
        at++;
    if (at == rest->len || rest->ptr[at] == '#')
        return false;
    for (; at < rest->len && len < sizeof out && (quote || !is_space(rest->ptr[at])); at++) {
        char ch = rest->ptr[at];
        bool escapes =
            ch == '\\' && quote != '\'' && at + 1 < rest->len && strchr(" #\\\"'", rest->ptr[at + 1]);
        if (escapes) {
            out[len++] = rest->ptr[++at];
        } else if (quote ? ch == quote : ch == '"' || ch == '\'') {
            quote = quote ? 0 : ch;
        } else if (ch == '#' && !quote) {
            at = rest->len;
            break;
        } else {
            out[len++] = ch;
        }
    }
    *rest = bytes_skip(*rest, at);
    *ret_word = conv_text(c, "%.*s", (int)len, out);
    return true;
}

static struct line *read_line(struct conv *c, struct bytes text, unsigned number)
{
    struct line *l = conv_get(c, sizeof *l);
    l->number = number;
    while (l->count < HAPROXY_WORDS_MAX && next_word(c, &text, &l->word[l->count]))
        l->count++;
    return l;
}

struct bytes haproxy_text(struct conv *c, const struct line *l)
{
    struct bytes text = BYTES("");
    for (unsigned i = 0; i < l->count; i++)
        text = conv_text(c, "%.*s%s%.*s", BYTES_ARG(text), i ? " " : "", BYTES_ARG(l->word[i]));
    for (size_t i = 0; i < text.len; i++) { /* it stands in a comment: one line */
        if (text.ptr[i] == '\n')
            ((char *)(uintptr_t)text.ptr)[i] = ' ';
    }
    return text;
}

unsigned haproxy_behind(const struct line *l, const char *word)
{
    for (unsigned i = 1; i + 1 < l->count; i++) {
        if (line_is(l, i, word))
            return i + 1;
    }
    return 0;
}

struct line *haproxy_line(struct section *s, const char *name)
{
    struct line *found = NULL;
    for (struct line *l = s->first; l; l = l->next) {
        if (!line_is(l, 0, name))
            continue;
        l->done = true;
        found = l;
    }
    return found;
}

/* ---- sections ---- */

static bool begins_section(const struct line *l)
{
    static const char *const kinds[] = { "global", "defaults",    "frontend", "backend", "listen",
                                         "peers",  "resolvers",   "userlist", "program", "mailers",
                                         "cache",  "http-errors", "ring" };
    for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (line_is(l, 0, kinds[i]))
            return true;
    }
    return false;
}

/* The lines of its defaults stand before its own, by copies that share nothing but the words: what is
 * converted once is named nowhere. */
static struct line **inherit(struct conv *c, struct section *s, const struct section *defaults)
{
    struct line **at = &s->first;
    for (const struct line *l = defaults ? defaults->first : NULL; l; l = l->next) {
        struct line *copy = conv_get(c, sizeof *copy);
        *copy = *l;
        copy->next = NULL;
        *at = copy;
        at = &copy->next;
    }
    return at;
}

static struct section *read_sections(struct conv *c, struct bytes text)
{
    struct section *first = NULL;
    struct section **at = &first;
    struct section *defaults = NULL;
    struct section *now = NULL;
    struct line **lines = NULL;
    struct bytes raw;
    for (unsigned number = 1; bytes_split(&text, '\n', &raw); number++) {
        struct line *l = read_line(c, raw, number);
        if (!l->count)
            continue;
        if (!begins_section(l)) {
            if (!lines) {
                conv_miss(c, c->path, number, haproxy_text(c, l), "it stands in no section");
                continue;
            }
            *lines = l;
            lines = &l->next;
            continue;
        }
        now = conv_get(c, sizeof *now);
        now->kind = l->word[0];
        now->name = l->count > 1 ? l->word[1] : BYTES_NONE;
        now->number = number;
        bool own = bytes_eq(now->kind, BYTES("frontend")) || bytes_eq(now->kind, BYTES("backend")) ||
                   bytes_eq(now->kind, BYTES("listen"));
        lines = inherit(c, now, own ? defaults : NULL);
        if (bytes_eq(now->kind, BYTES("defaults")))
            defaults = now;
        *at = now;
        at = &now->next;
    }
    return first;
}

/* ---- what is left ---- */

static bool needs_nothing(const struct line *l)
{
    for (unsigned i = 0; i < sizeof options_that_matter / sizeof *options_that_matter; i++) {
        if (line_is(l, 0, "option") && line_is(l, 1, options_that_matter[i]))
            return false;
    }
    for (unsigned i = 0; i < sizeof harmless / sizeof *harmless; i++) {
        if (line_is(l, 0, harmless[i]))
            return true;
    }
    return l->count && bytes_starts(l->word[0], BYTES("tune."));
}

static bool said_already(const struct conv *c, unsigned number)
{
    for (const struct conv_miss *m = c->misses; m; m = m->next) {
        if (m->line == number)
            return true;
    }
    return false;
}

/* A line of the defaults is there once for each section that has it: one that used it is enough. */
static bool used_elsewhere(const struct section *all, unsigned number)
{
    for (const struct section *s = all; s; s = s->next) {
        for (const struct line *l = s->first; l; l = l->next) {
            if (l->number == number && l->done)
                return true;
        }
    }
    return false;
}

static void name_the_rest(struct conv *c, const struct section *all)
{
    static const char *const own[] = { "global", "defaults", "frontend", "backend", "listen" };
    for (const struct section *s = all; s; s = s->next) {
        bool known = false;
        for (unsigned i = 0; i < sizeof own / sizeof *own; i++)
            known |= bytes_eq(s->kind, bytes_from(own[i]));
        if (!known) {
            conv_miss(c, c->path, s->number,
                      conv_text(c, "%.*s %.*s", BYTES_ARG(s->kind), BYTES_ARG(s->name)), "no counterpart");
            continue;
        }
        for (const struct line *l = s->first; l; l = l->next) {
            if (!l->done && !needs_nothing(l) && !used_elsewhere(all, l->number) &&
                !said_already(c, l->number))
                conv_miss(c, c->path, l->number, haproxy_text(c, l), "no counterpart");
        }
    }
}

/* ---- backends ---- */

static void timeout(struct conv *c, struct section *s, const char *name, struct conv_setting **list,
                    const char *key)
{
    for (struct line *l = s->first; l; l = l->next) {
        if (!line_is(l, 0, "timeout") || !line_is(l, 1, name) || l->count < 3)
            continue;
        struct bytes value = conv_duration(c, l->word[2], "ms");
        l->done = value.len > 0;
        if (value.len)
            conv_set(c, list, key, value);
    }
}

static void balance(struct conv *c, struct conv_service *s, struct line *l)
{
    struct bytes value = BYTES_NONE;
    const char *module = "hash";
    struct bytes how = l->count > 1 ? l->word[1] : BYTES_NONE;
    if (bytes_eq(how, BYTES("roundrobin")) || bytes_eq(how, BYTES("static-rr"))) {
        module = "round_robin";
        value = BYTES("round_robin");
    } else if (bytes_eq(how, BYTES("leastconn"))) {
        module = "least_request";
        value = BYTES("least_request");
    } else if (bytes_starts(how, BYTES("random"))) {
        module = "random";
        value = BYTES("random");
    } else if (bytes_eq(how, BYTES("source"))) {
        value = BYTES("hash by ip/128");
    } else if (bytes_eq(how, BYTES("uri"))) {
        value = BYTES("hash by path");
    } else if (bytes_starts(how, BYTES("hdr(")) && how.len > 5) {
        value = conv_text(c, "hash by header %.*s", (int)how.len - 5, how.ptr + 4);
    } else if (bytes_eq(how, BYTES("url_param")) && l->count > 2) {
        value = conv_text(c, "hash by query %.*s", BYTES_ARG(l->word[2]));
    }
    l->done = value.len && conv_knows(module);
    if (l->done)
        conv_set(c, &s->settings, "balance", value);
}

/* option httpchk [METHOD] URI [version]; http-check expect status 200; http-check send meth GET uri /x. What
 * is said first counts, so the lines that go before the option come first. */
static bool health(struct conv *c, struct section *section, struct conv_service *s)
{
    struct conv_setting **list = &s->settings;
    struct line *option = NULL;
    for (struct line *l = section->first; l; l = l->next) {
        if (line_is(l, 0, "option") && line_is(l, 1, "httpchk"))
            option = l;
        bool check = line_is(l, 0, "http-check");
        if (check && line_is(l, 1, "send") && haproxy_behind(l, "uri")) {
            conv_set_in(c, list, "health_check", BYTES("path"),
                        conv_quote(c, l->word[haproxy_behind(l, "uri")]));
            if (haproxy_behind(l, "meth"))
                conv_set_in(c, list, "health_check", BYTES("method"), l->word[haproxy_behind(l, "meth")]);
            l->done = true;
        } else if (check && line_is(l, 1, "expect") && line_is(l, 2, "status") && l->count == 4) {
            conv_set_in(c, list, "health_check", BYTES("status"), l->word[3]);
            l->done = true;
        }
    }
    if (!option)
        return false;
    bool both = option->count > 3;
    option->done = true;
    conv_set_in(c, list, "health_check", BYTES("method"), both ? option->word[2] : BYTES("OPTIONS"));
    if (option->count > 2)
        conv_set_in(c, list, "health_check", BYTES("path"), conv_quote(c, option->word[both ? 3 : 2]));
    conv_set_in(c, list, "health_check", BYTES("status"), BYTES("200-399"));
    return true;
}

struct servers {
    struct conv_service *service;
    bool checked, http;
};

static void server_number(struct conv *c, struct servers *all, const struct line *l, const char *word,
                          const char *key)
{
    unsigned at = haproxy_behind(l, word);
    if (!at)
        return;
    struct bytes value = l->word[at];
    if (strcmp(word, "inter") == 0)
        value = conv_duration(c, value, "ms");
    if (value.len)
        conv_set_in(c, &all->service->settings, "health_check", bytes_from(key), value);
}

static void check(struct conv *c, struct servers *all, const struct line *l)
{
    if (!all->checked && !all->http)
        conv_set_in(c, &all->service->settings, "health_check", BYTES("method"), BYTES("tcp"));
    server_number(c, all, l, "inter", "interval");
    server_number(c, all, l, "rise", "healthy_after");
    server_number(c, all, l, "fall", "unhealthy_after");
    all->checked = true;
}

static void server(struct conv *c, struct servers *all, struct line *l)
{
    struct conv_service *s = all->service;
    uint64_t weight = 1;
    l->done = true;
    if (l->count < 3)
        return;
    bool off = false, backup = false, encrypted = false;
    for (unsigned i = 3; i < l->count; i++) {
        off |= line_is(l, i, "disabled");
        backup |= line_is(l, i, "backup");
        encrypted |= line_is(l, i, "ssl");
        if (line_is(l, i, "send-proxy"))
            conv_set(c, &s->settings, "proxy_protocol", BYTES("v1"));
        if (line_is(l, i, "send-proxy-v2"))
            conv_set(c, &s->settings, "proxy_protocol", BYTES("v2"));
        if (line_is(l, i, "check"))
            check(c, all, l);
    }
    unsigned at = haproxy_behind(l, "weight");
    if (at && (!bytes_to_u64(l->word[at], &weight) || weight == 0))
        off = true; /* weight 0: no traffic */
    at = haproxy_behind(l, "maxconn");
    if (at)
        conv_set(c, &s->settings, "connections_max", l->word[at]);
    if (encrypted || (backup && !conv_has("services.servers.priority"))) {
        conv_miss(c, c->path, l->number, haproxy_text(c, l),
                  encrypted ? "weir does not speak TLS here" : "weir has no backup servers");
        return;
    }
    struct bytes address = l->word[2];
    if (bytes_index(address, ':') == address.len)
        address = conv_text(c, "%.*s:80", BYTES_ARG(address));
    else if (address.ptr[0] == '/')
        address = conv_text(c, "unix:%.*s", BYTES_ARG(address));
    if (!off)
        conv_server(c, s, address, weight, backup);
}

static void stick(struct conv *c, struct conv_service *s, struct line *l)
{
    l->done = line_is(l, 1, "on") && line_is(l, 2, "src") && conv_knows("hash");
    if (l->done)
        conv_set(c, &s->settings, "balance", BYTES("hash by ip/128"));
}

void haproxy_backend(struct conv *c, struct section *section)
{
    struct conv_service *s = conv_service(c, section->name);
    struct servers all = { .service = s };
    uint64_t retries = 3;
    all.http = health(c, section, s);
    for (struct line *l = section->first; l; l = l->next) {
        if (line_is(l, 0, "balance"))
            balance(c, s, l);
        else if (line_is(l, 0, "default-server"))
            l->done = true;
        else if (line_is(l, 0, "server"))
            server(c, &all, l);
        else if (line_is(l, 0, "stick"))
            stick(c, s, l);
        else if (line_is(l, 0, "stick-table") && conv_knows("hash"))
            l->done = true; /* `stick` says what it is for */
        else if (line_is(l, 0, "retries") && l->count > 1 && bytes_to_u64(l->word[1], &retries))
            l->done = true;
    }
    if (!all.checked) { /* without `check` nobody is asked */
        struct conv_setting **at = &s->settings;
        while (*at && !bytes_eq((*at)->key, BYTES("health_check")))
            at = &(*at)->next;
        if (*at)
            *at = (*at)->next;
    }
    conv_set(c, &s->settings, "tries_max", conv_text(c, "%u", retries >= 3 ? 4u : (unsigned)retries + 1));
    timeout(c, section, "connect", &s->settings, "connect_timeout");
    timeout(c, section, "queue", &s->settings, "wait_timeout");
    if (!section->tcp) {
        timeout(c, section, "server", &s->settings, "first_byte_timeout");
        timeout(c, section, "server", &s->settings, "idle_timeout");
    }
}

/* ---- all of it ---- */

static void global(struct conv *c, struct section *s)
{
    struct line *threads = haproxy_line(s, "nbthread");
    struct line *most = haproxy_line(s, "maxconn");
    if (threads && threads->count > 1)
        conv_set(c, &c->settings, "workers", threads->word[1]);
    if (most && most->count > 1)
        conv_set(c, &c->client, "connections_max", most->word[1]);
}

static void clients(struct conv *c, struct section *s)
{
    timeout(c, s, "client", &c->client, "idle_timeout");
    timeout(c, s, "client", &c->client, "body_timeout");
    timeout(c, s, "client", &c->client, "write_timeout");
    timeout(c, s, "http-request", &c->client, "head_timeout");
    timeout(c, s, "http-keep-alive", &c->client, "idle_timeout");
}

static bool is_kind(const struct section *s, const char *kind)
{
    return bytes_eq(s->kind, bytes_from(kind)) || bytes_eq(s->kind, BYTES("listen"));
}

static bool forwards(const struct section *all)
{
    for (const struct section *s = all; s; s = s->next) {
        for (const struct line *l = s->first; l; l = l->next) {
            if (line_is(l, 0, "option") && line_is(l, 1, "forwardfor"))
                return true;
        }
    }
    return false;
}

err convert_haproxy(struct conv *c, struct bytes text, struct diag *reterr)
{
    (void)reterr;
    struct section *all = read_sections(c, text);
    conv_set(c, &c->settings, "via", BYTES("off"));
    conv_set(c, &c->settings, "request_id", BYTES("off"));
    conv_set(c, &c->settings, "x_forwarded", forwards(all) ? BYTES("on") : BYTES("off"));
    for (struct section *s = all; s; s = s->next) {
        struct line *mode = haproxy_line(s, "mode");
        s->tcp = !mode || !line_is(mode, 1, "http");
        if (bytes_eq(s->kind, BYTES("global")))
            global(c, s);
        if (is_kind(s, "backend"))
            haproxy_backend(c, s);
        if (is_kind(s, "frontend") && !s->tcp)
            clients(c, s);
    }
    for (struct section *s = all; s; s = s->next) {
        if (is_kind(s, "frontend"))
            haproxy_frontend(c, s, all);
    }
    name_the_rest(c, all);
    return OK;
}

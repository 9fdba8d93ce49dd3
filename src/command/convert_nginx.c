/* convert_nginx: the http block. What is said in a block counts in those inside of it, as nginx has it. Each
 * directive that nothing here has marked as done is named at the end. */
#include "command/convert_nginx.h"

/* What has no counterpart and needs none: how nginx itself runs, and what weir does anyway or never. */
static const char *const harmless[] = {
    "user",
    "pid",
    "events",
    "error_log",
    "access_log",
    "log_format",
    "types",
    "default_type",
    "sendfile",
    "tcp_nopush",
    "tcp_nodelay",
    "server_tokens",
    "proxy_http_version",
    "proxy_buffering",
    "proxy_buffers",
    "proxy_buffer_size",
    "proxy_busy_buffers_size",
    "daemon",
    "master_process",
    "proxy_redirect",
    "client_body_temp_path",
    "proxy_temp_path",
    "fastcgi_temp_path",
    "uwsgi_temp_path",
    "scgi_temp_path",
    "client_body_buffer_size",
    "client_header_buffer_size",
    "gzip_vary",
    "gzip_proxied",
    "gzip_disable",
    "gzip_http_version",
    "gzip_buffers",
    "gzip_types",
    "gzip_min_length",
    "gzip_comp_level",
    "charset",
    "types_hash_max_size",
    "types_hash_bucket_size",
    "server_names_hash_bucket_size",
    "server_names_hash_max_size",
    "limit_req_status",
    "limit_req_log_level",
    "limit_req_zone",
    "worker_rlimit_nofile",
    "reset_timedout_connection",
    "worker_connections",
    "multi_accept",
    "use",
    "server_name_in_redirect",
    "port_in_redirect",
    "log_not_found",
    "variables_hash_max_size",
    "variables_hash_bucket_size",
    "proxy_send_timeout",
    "worker_cpu_affinity",
    "proxy_request_buffering",
    "set_real_ip_from",
    "real_ip_header",
};

static void is_done(struct directive *d)
{
    for (unsigned i = 0; i < sizeof harmless / sizeof *harmless; i++)
        d->done |= nginx_is(d, harmless[i]);
}

static void name_the_rest(struct conv *c, struct directive *block)
{
    for (struct directive *d = block->first; d; d = d->next) {
        is_done(d);
        if (!d->done)
            conv_miss(c, d->file, d->line, nginx_text(c, d), "no counterpart");
        else if (d->block && !nginx_is(d, "types") && !nginx_is(d, "events"))
            name_the_rest(c, d);
    }
}

/* Not this one after all, and why. */
static void give_up(struct conv *c, struct directive *d, const char *why)
{
    conv_miss(c, d->file, d->line, nginx_text(c, d), why);
    d->done = true;
}

/* ---- variables ---- */

static bool word_char(char ch)
{
    return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') || ch == '_';
}

static struct bytes variable(struct conv *c, struct bytes name)
{
    static const char *const same[][2] = {
        { "host", "${host}" },
        { "http_host", "${authority}" },
        { "remote_addr", "${client}" },
        { "scheme", "${scheme}" },
        { "request_uri", "${target}" },
        { "uri", "${path}" },
        { "document_uri", "${path}" },
        { "args", "${query}" },
        { "query_string", "${query}" },
        { "status", "${status}" },
        { "request_id", "${request_id}" },
        { "request_method", "${method}" },
        { "realip_remote_addr", "${client}" },
    };
    for (unsigned i = 0; i < sizeof same / sizeof *same; i++) {
        if (bytes_eq(name, bytes_from(same[i][0])))
            return bytes_from(same[i][1]);
    }
    if (bytes_starts(name, BYTES("cookie_")))
        return conv_text(c, "${cookie.%.*s}", BYTES_ARG(bytes_skip(name, 7)));
    if (bytes_starts(name, BYTES("arg_")))
        return conv_text(c, "${arg.%.*s}", BYTES_ARG(bytes_skip(name, 4)));
    if (!bytes_starts(name, BYTES("http_")))
        return BYTES_NONE;
    struct bytes field = conv_text(c, "${header.%.*s}", BYTES_ARG(bytes_skip(name, 5)));
    for (size_t i = 0; i < field.len; i++) {
        if (field.ptr[i] == '_')
            ((char *)(uintptr_t)field.ptr)[i] = '-';
    }
    return field;
}

/* With weir's variables; false: there is one that weir has not. groups: $1 to $9 become these, NULL: stay
 * out. */
static bool translate(struct conv *c, struct bytes text, const char *groups, struct bytes *ret)
{
    struct bytes out = BYTES("");
    while (text.len > 0) {
        size_t dollar = bytes_index(text, '$');
        out = conv_text(c, "%.*s%.*s", BYTES_ARG(out), (int)dollar, text.ptr);
        text = bytes_skip(text, dollar);
        if (!text.len)
            break;
        bool braced = text.len > 1 && text.ptr[1] == '{';
        size_t begun = braced ? 2 : 1;
        size_t end = begun;
        while (end < text.len && word_char(text.ptr[end]))
            end++;
        struct bytes name = { text.ptr + begun, end - begun };
        bool group = name.len == 1 && name.ptr[0] >= '1' && name.ptr[0] <= '9';
        struct bytes as = BYTES_NONE;
        if (group && groups)
            as = conv_text(c, "%s%.*s%s", groups, BYTES_ARG(name), strlen(groups) > 1 ? "}" : "");
        else if (!group && conv_knows("redirect"))
            as = variable(c, name);
        if (!as.len)
            return false;
        out = conv_text(c, "%.*s%.*s", BYTES_ARG(out), BYTES_ARG(as));
        text = bytes_skip(text, end + (braced && end < text.len ? 1 : 0));
    }
    *ret = out;
    return true;
}

/* ---- what a location does besides ---- */

/* Those of the innermost block that has any of that name. */
static struct directive *level(struct directive *block, const char *name)
{
    struct directive *d = NULL;
    for (; block && !d; block = block->parent)
        d = nginx_in(block, name);
    return d;
}

static bool is_forwarding(struct bytes name)
{
    static const char *const names[] = { "X-Forwarded-For",  "X-Forwarded-Proto", "X-Forwarded-Host",
                                         "Upgrade",          "Connection",        "X-Request-ID",
                                         "X-Forwarded-Port", "X-Forwarded-Scheme" };
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        if (bytes_eq_nocase(name, bytes_from(names[i])))
            return true;
    }
    return false;
}

struct edits {
    struct bytes set, add, remove, hide;
};

static void edit(struct conv *c, struct bytes *list, struct bytes name, struct bytes value)
{
    struct bytes more = value.ptr ? conv_text(c, "%.*s: %.*s", BYTES_ARG(conv_quote(c, name)),
                                              BYTES_ARG(conv_quote(c, value)))
                                  : conv_quote(c, name);
    *list = list->len ? conv_text(c, "%.*s, %.*s", BYTES_ARG(*list), BYTES_ARG(more)) : more;
}

static void request_fields(struct conv *c, struct directive *loc, struct edits *e, struct bytes *ret_host)
{
    for (struct directive *d = level(loc, "proxy_set_header"); d; d = nginx_next(d)) {
        struct bytes name = nginx_arg(d, 0);
        struct bytes value = nginx_arg(d, 1);
        struct bytes as;
        if (bytes_eq_nocase(name, BYTES("Host"))) {
            bool clients = bytes_eq(value, BYTES("$host")) || bytes_eq(value, BYTES("$http_host")) ||
                           bytes_eq(value, BYTES("$host:$server_port"));
            bool servers = bytes_eq(value, BYTES("$proxy_host"));
            d->done = clients || servers || bytes_index(value, '$') == value.len;
            if (d->done && !servers)
                *ret_host = clients ? BYTES_NONE : value;
        } else if (is_forwarding(name) && bytes_index(value, '$') < value.len) {
            d->done = true; /* weir's own; see `x_forwarded` */
            if (bytes_eq_nocase(name, BYTES("X-Forwarded-For")))
                conv_set(c, &c->settings, "x_forwarded", BYTES("on"));
        } else if (is_forwarding(name) && !value.len) {
            d->done = true;
        } else if (translate(c, value, NULL, &as)) {
            edit(c, as.len ? &e->set : &e->remove, name, as.len ? as : BYTES_NONE);
            d->done = true;
        }
    }
}

static void answer_fields(struct conv *c, struct directive *loc, struct edits *e)
{
    struct bytes as;
    for (struct directive *d = level(loc, "add_header"); d; d = nginx_next(d)) {
        d->done = translate(c, nginx_arg(d, 1), NULL, &as);
        if (d->done && as.len)
            edit(c, &e->add, nginx_arg(d, 0), as);
    }
    for (struct directive *d = level(loc, "proxy_hide_header"); d; d = nginx_next(d)) {
        edit(c, &e->hide, nginx_arg(d, 0), BYTES_NONE);
        d->done = true;
    }
}

static void put_edits(struct conv *c, struct conv_route *r, const struct edits *e)
{
    struct bytes side[2] = { BYTES(""), BYTES("") };
    if (e->set.len)
        side[0] = conv_text(c, ", set: {%.*s}", BYTES_ARG(e->set));
    if (e->remove.len)
        side[0] = conv_text(c, "%.*s, remove: [%.*s]", BYTES_ARG(side[0]), BYTES_ARG(e->remove));
    if (e->add.len)
        side[1] = conv_text(c, ", add: {%.*s}", BYTES_ARG(e->add));
    if (e->hide.len)
        side[1] = conv_text(c, "%.*s, remove: [%.*s]", BYTES_ARG(side[1]), BYTES_ARG(e->hide));
    for (unsigned i = 0; i < 2; i++) {
        if (side[i].len)
            conv_set_in(c, &r->settings, "headers", i ? BYTES("response") : BYTES("request"),
                        conv_text(c, "{%.*s}", BYTES_ARG(bytes_skip(side[i], 2))));
    }
}

static struct directive *zone_of(struct directive *loc, struct bytes name)
{
    struct directive *root = loc;
    while (root->parent && !nginx_is(root, "http"))
        root = root->parent;
    struct directive *z = nginx_in(root, "limit_req_zone");
    while (z) {
        struct bytes said = nginx_option(z, "zone");
        if (bytes_eq((struct bytes){ said.ptr, bytes_index(said, ':') }, name))
            return z;
        z = nginx_next(z);
    }
    return NULL;
}

/* nginx lets rate's worth pass evenly and `burst` more at once; weir's burst is all that may come at once. */
static void limits(struct conv *c, struct directive *loc, struct conv_route *r)
{
    struct bytes list = BYTES("");
    for (struct directive *d = level(loc, "limit_req"); d; d = nginx_next(d)) {
        struct bytes name = nginx_option(d, "zone");
        struct directive *z = zone_of(loc, name);
        struct bytes key = z ? nginx_arg(z, 0) : BYTES_NONE;
        struct bytes rate = z ? nginx_option(z, "rate") : BYTES_NONE;
        uint64_t burst = 0;
        uint64_t count;
        if (nginx_option(d, "burst").len && !bytes_to_u64(nginx_option(d, "burst"), &burst))
            continue;
        const char *per = bytes_eq(key, BYTES("$binary_remote_addr")) || bytes_eq(key, BYTES("$remote_addr"))
                              ? "ip/128"
                          : bytes_eq(key, BYTES("$server_name")) ? "all"
                                                                 : NULL;
        struct bytes number = { rate.ptr, rate.len > 3 ? rate.len - 3 : 0 };
        if (!per || !bytes_to_u64(number, &count) || !count)
            continue;
        char unit = rate.ptr[rate.len - 1];
        d->done = true;
        struct bytes one =
            conv_text(c, "{rate: %llu/%c, key: %s, burst: %llu, name: %.*s}", (unsigned long long)count, unit,
                      per, (unsigned long long)burst + 1, BYTES_ARG(conv_quote(c, name)));
        list = list.len ? conv_text(c, "%.*s, %.*s", BYTES_ARG(list), BYTES_ARG(one)) : one;
    }
    if (list.len)
        conv_set(c, &r->settings, "rate_limit", conv_text(c, "[%.*s]", BYTES_ARG(list)));
}

static void compression(struct conv *c, struct directive *loc, struct conv_route *r)
{
    struct directive *d = nginx_find(loc, "gzip");
    if (!d || !nginx_flag(d, "on"))
        return;
    if (!conv_knows("compress")) {
        d->done = false;
        return;
    }
    struct directive *types = nginx_find(loc, "gzip_types");
    struct directive *min = nginx_find(loc, "gzip_min_length");
    struct bytes list = BYTES("text/html");
    for (unsigned i = 0; types && i < types->count; i++) {
        struct bytes t = types->args[i];
        if (!bytes_eq(t, BYTES("text/html")))
            list = conv_text(c, "%.*s, %.*s", BYTES_ARG(list),
                             BYTES_ARG(bytes_eq(t, BYTES("*")) ? BYTES("\"*\"") : t));
    }
    struct bytes least = min ? nginx_arg(min, 0) : BYTES("20");
    conv_set(
        c, &r->settings, "compress",
        conv_text(c, "{codings: [gzip], types: [%.*s], min_bytes: %.*s}", BYTES_ARG(list), BYTES_ARG(least)));
}

/* nginx takes the first that fits; weir the most specific. `all` behind addresses is the same in both. */
static void addresses(struct conv *c, struct directive *loc, struct conv_route *r)
{
    struct directive *at = loc;
    while (at && !nginx_in(at, "allow") && !nginx_in(at, "deny"))
        at = at->parent;
    if (!at || !conv_knows("ip_allow"))
        return;
    struct bytes lists[2] = { BYTES(""), BYTES("") };
    for (struct directive *d = at->first; d; d = d->next) {
        bool deny = nginx_is(d, "deny");
        if (!deny && !nginx_is(d, "allow"))
            continue;
        struct bytes who = conv_quote(c, nginx_arg(d, 0));
        struct bytes *list = &lists[deny];
        *list = list->len ? conv_text(c, "%.*s, %.*s", BYTES_ARG(*list), BYTES_ARG(who)) : who;
        d->done = true;
    }
    struct bytes value = BYTES("");
    if (lists[0].len)
        value = conv_text(c, "allow: [%.*s]", BYTES_ARG(lists[0]));
    if (lists[1].len)
        value =
            conv_text(c, "%.*s%sdeny: [%.*s]", BYTES_ARG(value), value.len ? ", " : "", BYTES_ARG(lists[1]));
    conv_set(c, &r->settings, "ip_allow", conv_text(c, "{%.*s}", BYTES_ARG(value)));
}

/* Below weir's own limit: client.body_bytes_max is the largest of all. nginx's default is 1m; 0: none. */
static void body_limit(struct conv *c, struct directive *loc, struct conv_route *r)
{
    struct directive *d = nginx_find(loc, "client_max_body_size");
    struct bytes size = d ? conv_lower(c, nginx_arg(d, 0)) : BYTES("1m");
    if (bytes_eq(size, BYTES("0")))
        conv_set(c, &c->client, "body_bytes_max", BYTES("900000g"));
    else if (conv_knows("size_limit"))
        conv_set(c, &r->settings, "size_limit", size);
    else if (d)
        give_up(c, d, "weir has no size_limit here");
}

void nginx_route_settings(struct conv *c, struct directive *loc, struct conv_route *r)
{
    struct edits e = { 0 };
    struct bytes unused;
    if (r->service.len) {
        request_fields(c, loc, &e, &unused);
        body_limit(c, loc, r);
    }
    answer_fields(c, loc, &e);
    put_edits(c, r, &e);
    limits(c, loc, r);
    addresses(c, loc, r);
    compression(c, loc, r);
}

void nginx_proxy_host(struct conv *c, struct directive *loc, struct bytes *ret_host)
{
    struct edits unused = { 0 };
    request_fields(c, loc, &unused, ret_host);
}

bool nginx_translate(struct conv *c, struct bytes text, const char *groups, struct bytes *ret)
{
    return translate(c, text, groups, ret);
}

void nginx_give_up(struct conv *c, struct directive *d, const char *why)
{
    give_up(c, d, why);
}

err convert_nginx(struct conv *c, struct bytes text, struct diag *reterr)
{
    struct directive root = { 0 };
    err e = nginx_parse(c, text, &root, reterr);
    if (e)
        return e;
    struct directive *workers = nginx_in(&root, "worker_processes");
    if (workers && nginx_arg(workers, 0).len) {
        conv_set(c, &c->settings, "workers", nginx_arg(workers, 0));
        workers->done = true;
    }
    for (struct directive *d = nginx_in(&root, "http"); d; d = nginx_next(d))
        nginx_http(c, d);
    for (struct directive *d = nginx_in(&root, "stream"); d; d = nginx_next(d))
        nginx_stream(c, d);
    name_the_rest(c, &root);
    return OK;
}

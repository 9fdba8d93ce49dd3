/* convert_nginx_stream: upstreams, addresses, and the stream block. */
#include "command/convert_nginx.h"

/* ---- addresses ---- */

static bool is_port(struct bytes text)
{
    uint64_t n;
    return bytes_to_u64(text, &n) && n > 0 && n < 65536;
}

struct bytes nginx_address(struct conv *c, struct bytes said, const char *port)
{
    if (bytes_starts(said, BYTES("unix:")))
        return said;
    if (is_port(said))
        return conv_text(c, "0.0.0.0:%.*s", BYTES_ARG(said));
    if (bytes_starts(said, BYTES("*:")))
        return conv_text(c, "0.0.0.0:%.*s", BYTES_ARG(bytes_skip(said, 2)));
    size_t end = said.len && said.ptr[0] == '[' ? bytes_index(said, ']') : 0;
    if (bytes_index(bytes_skip(said, end), ':') < said.len - end)
        return said;
    return conv_text(c, "%.*s:%s", BYTES_ARG(said), port);
}

/* ---- upstreams ---- */

static void upstream_server(struct conv *c, struct conv_service *s, struct directive *d, const char *port)
{
    uint64_t weight = 1;
    d->done = true;
    if (nginx_flag(d, "down"))
        return;
    struct bytes said = nginx_option(d, "weight");
    if (said.len && !bytes_to_u64(said, &weight))
        weight = 1;
    bool backup = nginx_flag(d, "backup") && conv_has("services.servers.priority");
    if (nginx_flag(d, "backup") && !backup) {
        conv_miss(c, d->file, d->line, nginx_text(c, d), "weir has no backup servers");
        return;
    }
    conv_server(c, s, nginx_address(c, nginx_arg(d, 0), port), weight, backup);
    struct bytes fails = nginx_option(d, "max_fails");
    struct bytes rest = conv_duration(c, nginx_option(d, "fail_timeout"), "s");
    if (!fails.len && !rest.len)
        return;
    if (!conv_knows("outlier")) {
        conv_miss(c, d->file, d->line, nginx_text(c, d),
                  "max_fails and fail_timeout: weir's own ejection holds");
        return;
    }
    if (fails.len)
        conv_set_in(c, &s->settings, "outlier", BYTES("failures"), fails);
    if (rest.len)
        conv_set_in(c, &s->settings, "outlier", BYTES("rest"), rest);
}

static void balance(struct conv *c, struct conv_service *s, struct directive *d, const char *module,
                    struct bytes value)
{
    if (conv_knows(module))
        conv_set(c, &s->settings, "balance", value);
    else
        conv_miss(c, d->file, d->line, nginx_text(c, d), "weir has no such balancer");
    d->done = true;
}

static void balance_hash(struct conv *c, struct conv_service *s, struct directive *d)
{
    struct bytes key = nginx_arg(d, 0);
    struct bytes by = BYTES_NONE;
    if (bytes_eq(key, BYTES("$remote_addr")) || bytes_eq(key, BYTES("$binary_remote_addr")))
        by = BYTES("ip/128");
    else if (bytes_eq(key, BYTES("$request_uri")) || bytes_eq(key, BYTES("$uri")))
        by = BYTES("path");
    else if (bytes_eq(key, BYTES("$host")) || bytes_eq(key, BYTES("$http_host")))
        by = BYTES("host");
    else if (bytes_starts(key, BYTES("$cookie_")))
        by = conv_text(c, "cookie %.*s", BYTES_ARG(bytes_skip(key, 8)));
    else if (bytes_starts(key, BYTES("$arg_")))
        by = conv_text(c, "query %.*s", BYTES_ARG(bytes_skip(key, 5)));
    else if (bytes_starts(key, BYTES("$http_"))) {
        by = conv_text(c, "header %.*s", BYTES_ARG(bytes_skip(key, 6)));
        for (size_t i = 7; i < by.len; i++)
            ((char *)(uintptr_t)by.ptr)[i] = by.ptr[i] == '_' ? '-' : by.ptr[i];
    }
    if (by.len)
        balance(c, s, d, "hash", conv_text(c, "hash by %.*s", BYTES_ARG(by)));
}

void nginx_upstream(struct conv *c, struct directive *upstream, const char *port)
{
    struct conv_service *s = conv_service(c, nginx_arg(upstream, 0));
    upstream->done = true;
    for (struct directive *d = upstream->first; d; d = d->next) {
        if (nginx_is(d, "server"))
            upstream_server(c, s, d, port);
        else if (nginx_is(d, "least_conn"))
            balance(c, s, d, "least_request", BYTES("least_request"));
        else if (nginx_is(d, "random"))
            balance(c, s, d, "random", nginx_flag(d, "two") ? BYTES("least_request") : BYTES("random"));
        else if (nginx_is(d, "ip_hash"))
            balance(c, s, d, "hash", BYTES("hash by ip"));
        else if (nginx_is(d, "hash"))
            balance_hash(c, s, d);
        else if (nginx_is(d, "keepalive") && nginx_arg(d, 0).len) {
            conv_set(c, &s->settings, "idle_max", nginx_arg(d, 0));
            d->done = true;
        } else if (nginx_is(d, "keepalive_timeout") && conv_duration(c, nginx_arg(d, 0), "s").len) {
            conv_set(c, &s->settings, "idle_timeout", conv_duration(c, nginx_arg(d, 0), "s"));
            d->done = true;
        } else if (nginx_is(d, "zone") || nginx_is(d, "keepalive_requests")) {
            d->done = true;
        }
    }
}

static void copy_service(struct conv *c, const struct conv_service *from, struct conv_service *to)
{
    for (const struct conv_server *v = from->servers; v; v = v->next)
        conv_server(c, to, v->address, v->weight, v->backup);
    for (const struct conv_setting *s = from->settings; s; s = s->next) {
        if (!bytes_eq(s->key, BYTES("host")))
            conv_set(c, &to->settings, s->key.ptr, s->value);
    }
}

static struct bytes name_of(struct conv *c, struct bytes target)
{
    struct bytes name = conv_text(c, "%.*s", BYTES_ARG(target));
    for (size_t i = 0; i < name.len; i++) {
        if (strchr(":/[]", name.ptr[i]))
            ((char *)(uintptr_t)name.ptr)[i] = '-';
    }
    return name;
}

/* An upstream that is asked with different Host fields becomes a service for each. */
struct conv_service *nginx_service(struct conv *c, struct bytes target, struct bytes host, const char *port)
{
    struct conv_service *upstream = conv_service_find(c, target);
    struct bytes name = upstream ? target : name_of(c, target);
    struct bytes wanted = host.len ? conv_quote(c, host) : BYTES_NONE;
    for (unsigned i = 1; i < 1000; i++) {
        struct bytes numbered = i == 1 ? name : conv_text(c, "%.*s-%u", BYTES_ARG(name), i);
        struct conv_service *s = conv_service(c, numbered);
        const struct conv_setting *said = conv_setting_get(s->settings, "host");
        if (s->used && !bytes_eq(said ? said->value : BYTES_NONE, wanted))
            continue;
        if (!s->servers && upstream)
            copy_service(c, upstream, s);
        else if (!s->servers)
            conv_server(c, s, nginx_address(c, target, port), 1, false);
        if (wanted.len && !said)
            conv_set(c, &s->settings, "host", wanted);
        s->used = true;
        return s;
    }
    return upstream;
}

/* ---- stream ---- */

static void set_duration(struct conv *c, struct directive *server, const char *name,
                         struct conv_setting **list, const char *key)
{
    struct directive *d = nginx_find(server, name);
    struct bytes value = d ? conv_duration(c, nginx_arg(d, 0), "s") : BYTES_NONE;
    if (value.len)
        conv_set(c, list, key, value);
    else if (d)
        d->done = false;
}

static void stream_listen(struct conv *c, struct directive *server, struct directive *d,
                          struct conv_service *s)
{
    static const char *const dropped[] = { "ssl" };
    d->done = true;
    for (unsigned i = 0; i < sizeof dropped / sizeof *dropped; i++) {
        if (nginx_flag(d, dropped[i])) {
            conv_miss(c, d->file, d->line, nginx_text(c, d), "weir does not speak TLS here");
            return;
        }
    }
    bool udp = nginx_flag(d, "udp");
    const char *kind = udp ? "udp" : "tcp";
    struct conv_listen *l = conv_listen(c, nginx_address(c, nginx_arg(d, 0), "80"), kind);
    conv_set(c, &l->settings, kind, conv_quote(c, s->name));
    set_duration(c, server, "proxy_timeout", &l->settings, "idle_timeout");
    struct directive *responses = udp ? nginx_find(server, "proxy_responses") : NULL;
    if (responses && nginx_arg(responses, 0).len)
        conv_set(c, &l->settings, "responses", nginx_arg(responses, 0));
    if (nginx_flag(d, "proxy_protocol"))
        conv_set(c, &l->settings, "proxy_protocol", BYTES("{from: all}"));
}

static void stream_server(struct conv *c, struct directive *server)
{
    struct directive *pass = nginx_in(server, "proxy_pass");
    server->done = true;
    if (!pass || bytes_index(nginx_arg(pass, 0), '$') < nginx_arg(pass, 0).len)
        return;
    pass->done = true;
    struct conv_service *s = nginx_service(c, nginx_arg(pass, 0), BYTES_NONE, "80");
    set_duration(c, server, "proxy_connect_timeout", &s->settings, "connect_timeout");
    struct directive *proxy = nginx_find(server, "proxy_protocol");
    if (proxy && nginx_flag(proxy, "on"))
        conv_set(c, &s->settings, "proxy_protocol", BYTES("v1"));
    for (struct directive *d = nginx_in(server, "listen"); d; d = nginx_next(d))
        stream_listen(c, server, d, s);
}

void nginx_stream(struct conv *c, struct directive *stream)
{
    stream->done = true;
    for (struct directive *d = nginx_in(stream, "upstream"); d; d = nginx_next(d))
        nginx_upstream(c, d, "80");
    for (struct directive *d = nginx_in(stream, "server"); d; d = nginx_next(d))
        stream_server(c, d);
}

#include "gate/request_key.h"

#include "gate/gate.h"
#include "gate/session.h"
#include "proto/http_cookie.h"
#include "proto/http_query.h"

/* ---- as it is written ---- */

static const struct {
    struct bytes word;
    bool named;
} kinds[] = {
#define X(id, word, named) { { word, sizeof(word) - 1 }, named },
    REQUEST_KEY_LIST(X)
#undef X
};

#define PREFIX_BITS_PRESET 64
#define PREFIX_BITS_MIN 16
#define PREFIX_BITS_MAX 128

static err parse_prefix(struct bytes text, struct request_key *key, struct diag *reterr)
{
    uint64_t bits;
    if (!bytes_to_u64(text, &bits) || bits < PREFIX_BITS_MIN || bits > PREFIX_BITS_MAX || bits % 8) {
        diag_set(reterr, "ip/%.*s: the prefix of an IPv6 address is a multiple of 8 from %d to %d",
                 BYTES_ARG(text), PREFIX_BITS_MIN, PREFIX_BITS_MAX);
        return ERR_CONF;
    }
    key->prefix_bytes = (unsigned)bits / 8;
    return OK;
}

static err parse_name(struct bytes text, struct request_key *key, struct diag *reterr)
{
    const struct bytes word = kinds[key->kind].word;
    if (!kinds[key->kind].named && text.len) {
        diag_set(reterr, "%.*s takes no name, but \"%.*s\" follows it", BYTES_ARG(word), BYTES_ARG(text));
        return ERR_CONF;
    }
    if (kinds[key->kind].named && !text.len) {
        diag_set(reterr, "%.*s wants a name behind it: %.*s NAME", BYTES_ARG(word), BYTES_ARG(word));
        return ERR_CONF;
    }
    if ((key->kind == REQUEST_KEY_HEADER || key->kind == REQUEST_KEY_COOKIE) && !http_is_token(text)) {
        diag_set(reterr, "\"%.*s\" cannot be the name of a %.*s", BYTES_ARG(text), BYTES_ARG(word));
        return ERR_CONF;
    }
    key->name = text;
    if (key->kind == REQUEST_KEY_HEADER)
        key->field = http_field_id_of(text);
    return OK;
}

err request_key_parse_late(struct bytes text, struct request_key *ret_key, struct diag *reterr)
{
    text = bytes_trim(text);
    const size_t space = bytes_index(text, ' ');
    const struct bytes word = { text.ptr, space };
    struct request_key key = { .prefix_bytes = PREFIX_BITS_PRESET / 8 };
    *ret_key = key;
    if (bytes_starts(text, BYTES("ip/"))) {
        ret_key->kind = REQUEST_KEY_IP;
        return parse_prefix(bytes_skip(text, 3), ret_key, reterr);
    }
    for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (bytes_eq(kinds[i].word, word)) {
            ret_key->kind = (enum request_key_kind)i;
            return parse_name(bytes_trim(bytes_skip(text, space)), ret_key, reterr);
        }
    }
    diag_set(
        reterr,
        "\"%.*s\" is nothing to tell requests apart by: expected ip, header NAME, cookie NAME, query NAME, "
        "path, host, route or all",
        BYTES_ARG(text));
    return ERR_CONF;
}

err request_key_parse(struct bytes text, struct request_key *ret_key, struct diag *reterr)
{
    const err e = request_key_parse_late(text, ret_key, reterr);
    if (e || ret_key->kind != REQUEST_KEY_SESSION)
        return e;
    diag_set(reterr, "session: it is not known yet where this is asked; its cookie is: `cookie NAME`");
    return ERR_CONF;
}

/* ---- of a request ---- */

static struct bytes ip_of(const struct addr *client, unsigned prefix_bytes)
{
    if (!client)
        return BYTES_NONE;
    if (client->sock.any.sa_family == AF_INET)
        return (struct bytes){ (const char *)&client->sock.v4.sin_addr, 4 };
    if (client->sock.any.sa_family != AF_INET6)
        return BYTES_NONE;
    const char *ip = (const char *)&client->sock.v6.sin6_addr;
    if (IN6_IS_ADDR_V4MAPPED(&client->sock.v6.sin6_addr))
        return (struct bytes){ ip + 12, 4 };
    return (struct bytes){ ip, prefix_bytes };
}

static struct bytes host_of(struct exchange *x)
{
    struct bytes host = x->request.authority;
    host.len = host.len && host.ptr[0] == '[' ? bytes_index(host, ']') : bytes_index(host, ':');
    size_t i = 0;
    while (i < host.len && host.ptr[i] == ascii_lower(host.ptr[i]))
        i++;
    if (i == host.len)
        return host;
    char *lower = arena_get(&x->arena, host.len);
    if (!lower)
        return BYTES_NONE;
    for (i = 0; i < host.len; i++)
        lower[i] = ascii_lower(host.ptr[i]);
    return (struct bytes){ lower, host.len };
}

static struct bytes cookie_of(const struct request_key *key, const struct exchange *x)
{
    struct bytes value;
    return http_cookie_find(&x->request.fields, key->name, &value) ? value : BYTES_NONE;
}

static struct bytes query_of(const struct request_key *key, struct exchange *x)
{
    struct bytes value;
    bool found;
    return http_query_find(x->request.query, key->name, &x->arena, &value, &found) == OK ? value : BYTES_NONE;
}

struct bytes request_key_of(const struct request_key *key, struct exchange *x)
{
    switch (key->kind) {
    case REQUEST_KEY_ROUTE:
        return exchange_route_name(x);
    case REQUEST_KEY_IP:
        return ip_of(x->client, key->prefix_bytes);
    case REQUEST_KEY_HOST:
        return host_of(x);
    case REQUEST_KEY_PATH:
        return x->request.path;
    case REQUEST_KEY_HEADER:
        return http_fields_value(&x->request.fields, key->field, key->name);
    case REQUEST_KEY_COOKIE:
        return cookie_of(key, x);
    case REQUEST_KEY_QUERY:
        return query_of(key, x);
    case REQUEST_KEY_SESSION:
        return session_variable(x, BYTES("id"));
    case REQUEST_KEY_ALL:
        break;
    }
    return BYTES("all");
}

#include "gate/trusted_proxies.h"

#include "base/mem.h"
#include "gate/exchange.h"

/* ---- one entry ---- */

/* Port of RFC 7239 6: digits, or an obfuscated one ("_x"). */
static bool is_port(struct bytes text)
{
    uint64_t port;
    if (text.len > 1 && text.ptr[0] == '_')
        return http_is_token(text);
    return text.len <= 5 && bytes_to_u64(text, &port) && port <= 65535;
}

bool forwarded_node(struct bytes text, struct addr *ret_addr)
{
    if (text.len && text.ptr[0] == '[') {
        size_t end = bytes_index(text, ']');
        if (end == text.len)
            return false;
        struct bytes rest = bytes_skip(text, end + 1);
        if (rest.len && (rest.ptr[0] != ':' || !is_port(bytes_skip(rest, 1))))
            return false;
        struct bytes ip = { text.ptr + 1, end - 1 };
        return bytes_index(ip, ':') < ip.len && cidr_parse_ip(ip, ret_addr) == OK;
    }
    size_t colon = bytes_index(text, ':');
    bool one_colon =
        colon < text.len && bytes_index(bytes_skip(text, colon + 1), ':') == text.len - colon - 1;
    if (one_colon) {
        if (!is_port(bytes_skip(text, colon + 1)))
            return false;
        text.len = colon;
    }
    return cidr_parse_ip(text, ret_addr) == OK;
}

/* ---- the walk ----
 *
 * From left to right in one pass: what is known at the end is what a walk from the right end would have
 * found. An untrusted address makes all before it worthless, and so does an entry that is none. */

struct walk {
    const struct trusted_proxies *trusted;
    struct forwarded at;
    bool known; /* at.client is an entry's, not the peer's */
};

static void walk_on(struct walk *w, bool is_address, const struct addr *a, struct bytes scheme)
{
    if (!is_address) {
        w->known = false;
        return;
    }
    if (w->known && cidr_set_find(w->trusted->set, a) != CIDR_NONE)
        return;
    w->known = true;
    w->at = (struct forwarded){ *a, scheme };
}

static void walk_x(struct walk *w, struct bytes list)
{
    struct bytes part;
    while (bytes_split(&list, ',', &part)) {
        struct addr a = { 0 };
        part = bytes_trim(part);
        if (part.len)
            walk_on(w, forwarded_node(part, &a), &a, BYTES_NONE);
    }
}

/* Takes what stands before the next sep off *rest; a sep in a quoted string (RFC 9110 5.6.4) is text. */
static bool split_quoted(struct bytes *rest, char sep, struct bytes *ret_part)
{
    bool quoted = false;
    size_t i = 0;
    if (!rest->ptr)
        return false;
    for (; i < rest->len && (quoted || rest->ptr[i] != sep); i++) {
        if (quoted && rest->ptr[i] == '\\')
            i += i + 1 < rest->len;
        else if (rest->ptr[i] == '"')
            quoted = !quoted;
    }
    *ret_part = (struct bytes){ rest->ptr, i };
    *rest = i < rest->len ? bytes_skip(*rest, i + 1) : BYTES_NONE;
    return true;
}

/* No address and no scheme needs an escape: a value that has one is none. */
static struct bytes unquoted(struct bytes value)
{
    if (value.len >= 2 && value.ptr[0] == '"' && value.ptr[value.len - 1] == '"')
        return (struct bytes){ value.ptr + 1, value.len - 2 };
    return value;
}

static struct bytes scheme_of(struct bytes text)
{
    if (bytes_eq_nocase(text, BYTES("https")))
        return BYTES("https");
    return bytes_eq_nocase(text, BYTES("http")) ? BYTES("http") : BYTES_NONE;
}

/* forwarded-element of RFC 7239 4: pairs between semicolons. */
static void walk_element(struct walk *w, struct bytes element)
{
    struct bytes pair;
    struct bytes node = BYTES_NONE;
    struct bytes scheme = BYTES_NONE;
    while (split_quoted(&element, ';', &pair)) {
        size_t equals = bytes_index(pair, '=');
        if (equals == pair.len)
            continue;
        struct bytes name = bytes_trim((struct bytes){ pair.ptr, equals });
        struct bytes value = unquoted(bytes_trim(bytes_skip(pair, equals + 1)));
        if (bytes_eq_nocase(name, BYTES("for")))
            node = value;
        else if (bytes_eq_nocase(name, BYTES("proto")))
            scheme = scheme_of(value);
    }
    struct addr a = { 0 };
    walk_on(w, node.ptr && forwarded_node(node, &a), &a, scheme);
}

/* Does each quoted string end? One that a client has left open would swallow what proxies have appended. */
static bool quotes_close(struct bytes list)
{
    bool quoted = false;
    for (size_t i = 0; i < list.len; i++) {
        if (quoted && list.ptr[i] == '\\')
            i++;
        else if (list.ptr[i] == '"')
            quoted = !quoted;
    }
    return !quoted;
}

static void walk_rfc7239(struct walk *w, struct bytes list)
{
    struct bytes element;
    while (split_quoted(&list, ',', &element)) {
        if (bytes_trim(element).len)
            walk_element(w, element);
    }
}

/* The last one said: whoever is nearest is trusted, and the others may not be. */
static struct bytes last_proto(const struct http_fields *fields)
{
    struct bytes said = BYTES_NONE;
    for (uint32_t i = 0; i < fields->count; i++) {
        const struct http_field *f = &fields->at[i];
        struct bytes list = http_field_value(f);
        struct bytes part;
        if (f->id != FIELD_X_FORWARDED_PROTO || f->flags & FIELD_REMOVED)
            continue;
        while (bytes_split(&list, ',', &part))
            said = bytes_trim(part);
    }
    return scheme_of(said);
}

err forwarded_read(const struct trusted_proxies *t, const struct http_fields *fields, const struct addr *peer,
                   struct forwarded *ret)
{
    struct walk w = { .trusted = t };
    const bool x = t->header == FORWARDED_BY_X;
    for (uint32_t i = 0; i < fields->count; i++) {
        const struct http_field *f = &fields->at[i];
        if (f->id != (x ? FIELD_X_FORWARDED_FOR : FIELD_FORWARDED) || f->flags & FIELD_REMOVED)
            continue;
        if (!x && !quotes_close(http_field_value(f)))
            return ERR_SYNTAX;
        if (x)
            walk_x(&w, http_field_value(f));
        else
            walk_rfc7239(&w, http_field_value(f));
    }
    if (!w.known)
        w.at = (struct forwarded){ *peer, BYTES_NONE };
    if (x)
        w.at.scheme = last_proto(fields);
    *ret = w.at;
    return OK;
}

/* ---- an exchange ---- */

static void take_out(struct http_fields *fields)
{
    static const enum http_field_id ids[] = { FIELD_FORWARDED, FIELD_X_FORWARDED_FOR, FIELD_X_FORWARDED_PROTO,
                                              FIELD_X_FORWARDED_HOST };
    for (unsigned i = 0; i < sizeof ids / sizeof *ids; i++)
        http_fields_remove_id(fields, ids[i]);
}

err trusted_proxies_apply(const struct trusted_proxies *t, struct exchange *x)
{
    if (!x->client)
        return OK;
    if (cidr_set_find(t->set, x->client) == CIDR_NONE) {
        take_out(&x->request.fields);
        return OK;
    }
    struct forwarded f;
    err e = forwarded_read(t, &x->request.fields, x->client, &f);
    if (e)
        return e;
    struct addr *client = arena_get(&x->arena, sizeof *client);
    if (!client)
        return ERR_LIMIT;
    *client = f.client;
    x->peer = x->client;
    x->client = client;
    if (f.scheme.len)
        x->scheme = f.scheme.ptr;
    return OK;
}

/* ---- the settings ---- */

static err build(const struct trusted_proxies_conf *conf, struct cidr_set **ret_set, struct diag *reterr)
{
    struct cidr_list l = CIDR_LIST_EMPTY;
    const struct bytes *from = conf->from.items;
    err e = OK;
    for (size_t i = 0; !e && i < conf->from.count; i++)
        e = cidr_list_add(&l, from[i], 1, reterr);
    if (!e)
        e = cidr_set_build(&l, ret_set);
    cidr_list_close(&l);
    return e;
}

err trusted_proxies_open(const struct trusted_proxies_conf *conf, struct trusted_proxies **ret,
                         struct diag *reterr)
{
    *ret = NULL;
    if (!conf)
        return OK;
    struct trusted_proxies *t = mem_get(sizeof *t);
    if (!t)
        return ERR_MEMORY;
    t->header = (enum forwarded_field)conf->header;
    err e = build(conf, &t->set, reterr);
    if (e) {
        mem_free(t);
        return e;
    }
    *ret = t;
    return OK;
}

void trusted_proxies_close(struct trusted_proxies *t)
{
    if (!t)
        return;
    cidr_set_free(t->set);
    mem_free(t);
}

static err check(void *conf, struct diag *reterr)
{
    struct trusted_proxies *t;
    err e = trusted_proxies_open(conf, &t, reterr);
    if (!e)
        trusted_proxies_close(t);
    return e;
}

static const char *const header_words[] = {
    [FORWARDED_BY_X] = "x_forwarded_for", [FORWARDED_BY_RFC7239] = "forwarded", NULL
};

const struct conf_struct trusted_proxies_struct = {
    .name = "trusted_proxies",
    .size = sizeof(struct trusted_proxies_conf),
    .phrases = (const char *const[]){ "{from}", NULL },
    .fields =
        (const struct conf_field[]){
            { .name = "from",
              .type = CONF_LIST,
              .item = CONF_TEXT,
              .offset = offsetof(struct trusted_proxies_conf, from),
              .required = true,
              .doc =
                  "addresses and ranges (`10.0.0.0/8`, `2001:db8::/32`, `192.0.2.1`), `private`, `loopback`, "
                  "`all`, or `file:/path` of them" },
            { .name = "header",
              .type = CONF_WORD,
              .offset = offsetof(struct trusted_proxies_conf, header),
              .preset = "x_forwarded_for",
              .words = header_words,
              .doc = "which field these proxies write: X-Forwarded-For (with X-Forwarded-Proto) or Forwarded "
                     "(RFC 7239); the other one is not looked at" },
            { 0 } },
    .check = check,
    .doc = "Whose word on the client's address is believed.",
};

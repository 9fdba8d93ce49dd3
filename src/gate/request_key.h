/* request_key: what tells requests apart for whoever counts, hashes or divides them: rate_limit, the hash
 * balancers, sticky splits.
 *
 *      written                what request_key_of gives
 *      ip, ip/56              the client's address: 4 bytes, of IPv6 its first 64 (or 56) bits; a client on a
 * unix socket has none header X-Api-Key       the first such field's value        cookie NAME
 * http_cookie_find query NAME             decoded, http_query_find            path           as the client
 * wrote it host                   without the port, in lower case     route          the route's own match
 *      all                    the same for everybody       session      the id of the session filter's
 *
 * In a configuration it is a CONF_TEXT beside a struct request_key that the struct's check fills:
 *
 *      { .name = "key", .type = CONF_TEXT, .preset = "all", .doc = "... " REQUEST_KEY_DOC }
 *      static err x_check(void *conf, struct diag *reterr) { return request_key_parse(c->key_text, &c->key,
 * reterr);}
 *
 * Why an IPv6 client is one /64: that is the least that a site gets (RFC 6177), each of its hosts can use all
 * of it. A key is immutable, its name lives as long as the text it was parsed from; any thread. */
#pragma once
#include "base/diag.h"
#include "gate/exchange.h"

/*    id      word      takes a name */
#define REQUEST_KEY_LIST(X)   \
    X(ALL, "all", false)      \
    X(ROUTE, "route", false)  \
    X(IP, "ip", false)        \
    X(HOST, "host", false)    \
    X(PATH, "path", false)    \
    X(HEADER, "header", true) \
    X(COOKIE, "cookie", true) \
    X(QUERY, "query", true)   \
    X(SESSION, "session", false)

enum request_key_kind {
#define X(id, word, named) REQUEST_KEY_##id,
    REQUEST_KEY_LIST(X)
#undef X
};

#define REQUEST_KEY_DOC                                                                \
    "`ip` (of IPv6 one /64; `ip/128`: another prefix), `header NAME`, `cookie NAME`, " \
    "`query NAME`, `path`, `host`, `route`, `all`"
/* Of those who come behind the session filter. */
#define REQUEST_KEY_SESSION_DOC REQUEST_KEY_DOC ", `session` (the id of the [session](session.md))"

struct request_key {
    enum request_key_kind kind;
    enum http_field_id field; /* of HEADER */
    unsigned prefix_bytes;    /* of IP: of an IPv6 address */
    struct bytes name;        /* of HEADER, COOKIE, QUERY */
};

/* ERR_CONF with words. The key borrows from text. */
err request_key_parse(struct bytes text, struct request_key *ret_key, struct diag *reterr) CHECK_RESULT;
/* The same with `session`: for what is asked behind the filter of that name. */
err request_key_parse_late(struct bytes text, struct request_key *ret_key, struct diag *reterr) CHECK_RESULT;
/* The bytes that tell this request apart; empty: it has nothing of the kind (or no memory was left to decode
 * it). Alive as long as the exchange. */
struct bytes request_key_of(const struct request_key *key, struct exchange *x);

/* trusted_proxies: who the client is when proxies stand between it and weir.
 *
 *      client 203.0.113.7 ──▶ cdn 198.51.100.2 ──▶ balancer 10.0.0.5 ──▶ weir
 *                             X-Forwarded-For: 203.0.113.7   X-Forwarded-For: 203.0.113.7, 198.51.100.2
 *
 * Each proxy appends whom it was asked by. The list is read from its right end, beginning with the peer of
 * the connection, as long as who wrote it is trusted: the first address that is not is the client. What
 * stands further left anybody may have made up. An entry that is no address ("unknown", "_hidden", RFC
 * 7239 6.3) ends the walk too: the client is then the last address that was known.
 *
 * The set is made with the generation; any thread. */
#pragma once
#include "base/addr.h"
#include "base/cidr.h"
#include "core/conf.h"
#include "proto/http.h"

struct exchange;

enum forwarded_field { FORWARDED_BY_X, FORWARDED_BY_RFC7239 };

struct trusted_proxies_conf {
    struct conf_list from; /* struct bytes */
    int header;            /* enum forwarded_field */
};

extern const struct conf_struct trusted_proxies_struct;

struct trusted_proxies {
    struct cidr_set *set;
    enum forwarded_field header;
};

/* conf NULL: nobody, *ret is NULL then. ERR_CONF, ERR_MEMORY. */
err trusted_proxies_open(const struct trusted_proxies_conf *conf, struct trusted_proxies **ret,
                         struct diag *reterr) CHECK_RESULT;
/* NULL is allowed. */
void trusted_proxies_close(struct trusted_proxies *t);

/* Sets x->client (and x->peer, where that is another) and x->scheme by what the fields of a trusted peer say;
 * takes the forwarding fields of any other peer out. ERR_SYNTAX: see forwarded_read; ERR_LIMIT: no memory
 * left. */
err trusted_proxies_apply(const struct trusted_proxies *t, struct exchange *x) CHECK_RESULT;

/* ---- the decision, pure */

struct forwarded {
    struct addr client;
    struct bytes scheme; /* "http", "https", or empty when nothing was said */
};

/* What the fields say, the peer being trusted; ret->client is the peer when they say nothing. ERR_SYNTAX: a
 * quoted string of Forwarded does not end, so that it cannot be told who said what. */
err forwarded_read(const struct trusted_proxies *t, const struct http_fields *fields, const struct addr *peer,
                   struct forwarded *ret) CHECK_RESULT;
/* One entry: "192.0.2.43", "192.0.2.43:47011", "[2001:db8::17]:4711", "2001:db8::17"; not "unknown". */
bool forwarded_node(struct bytes text, struct addr *ret_addr);

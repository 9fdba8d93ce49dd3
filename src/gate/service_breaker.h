/* service_breaker: the breakers of a service: one for all its requests, one for each of its servers.
 *
 *      services:
 *        shop:
 *          circuit_breaker: [5% over 10s, 50% over 10s per server]
 *
 *   per service   service_ask: refuses with 503, whichever route the request came by
 *   per server    while open the server is not well (server_shared.broken_until_us), so balancers leave it
 * out; after that a growing share of the picks that fall on it stand. When nobody else is left it is asked
 * anyway: a breaker of a server never refuses a request.
 *
 * That worker only. */
#pragma once
#include "gate/breaker_use.h"
#include "gate/service.h"

struct service_breaker_conf {
    struct breaker_conf breaker;
    int per;
};

extern const struct conf_struct service_breaker_struct;

struct service_breakers {
    struct breaker_use *service; /* NULL: none */
    struct breaker_use *servers; /* one each; NULL: none */
};

/* At most one of each. */
err service_breakers_check(const struct conf_list *confs, struct diag *reterr) CHECK_RESULT;
/* Sets s->breakers, when the configuration has some. On failure service_breakers_close still has to be
 * called. */
err service_breakers_open(struct service *s) CHECK_RESULT;
void service_breakers_close(struct service *s);

/* Whether a pick of this server stands. */
bool server_breaker_passes(struct server *s);
/* What came of an attempt at it that began then. */
void server_breaker_tell(struct server *s, bool failed, uint64_t began_us);

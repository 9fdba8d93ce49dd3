/* service_open: what the gate alone does with services. service.h is for everybody. */
#pragma once
#include "gate/service.h"

struct service_conf;
struct diag;

/* On failure what was opened is still to be closed. */
err service_open(struct service *s, struct gate *g, const struct service_conf *conf, const struct addr *addrs,
                 struct diag *reterr) CHECK_RESULT;
void service_close(struct service *s);
/* A choice for x begins; x outlives it. */
struct pick pick_begin(struct exchange *x);
/* Asks the balancer; when nobody is well, among all (p->any). NULL: every server was tried. */
struct server *service_pick(struct service *s, struct pick *p);
/* An attempt at it by x begins; it ends when the answer's body is closed, or when it failed. */
void server_begin(struct server *s, const struct exchange *x);
void server_end(struct server *s, const struct exchange *x);
/* Tells the balancer what came of an attempt that began then: x->response's head is there, or (failed) it is
 * the server's fault that none is. */
void server_tell(struct server *s, struct exchange *x, uint64_t began_us, bool failed);
/* It answered / could not be reached or did not answer: what server_is_well goes by besides health checks. */
void server_succeeded(struct server *s);
void server_failed(struct server *s);
/* The end of an attempt: goes to the service's watcher, else to one of the two above. */
void server_result(struct server *s, enum server_result r);

/* l4: TCP and UDP services: what stands between a listener and its service without looking inside.
 *
 *      listener ─▶ (PROXY header) ─▶ the service's balancer ─▶ connection (socket) to a server ─▶ both ways
 *
 * A struct l4_tcp or l4_udp is one listener on one worker. What was begun outlives the listener, and a
 * reload: it holds the generation that it began in. All calls: on that worker. */
#pragma once
#include "base/addr.h"
#include "base/err.h"

struct l4_tcp;
struct l4_udp;

/* Takes over the socket on success. at: as configured, by which the current generation's settings are found.
 */
err l4_tcp_start(int fd, const struct addr *at, struct l4_tcp **ret_tcp) CHECK_RESULT;
/* No more clients; those that are there go on. */
void l4_tcp_stop(struct l4_tcp *t);
/* The configuration has changed: connections_max may be another. */
void l4_tcp_look(struct l4_tcp *t);

err l4_udp_start(int fd, const struct addr *at, struct l4_udp **ret_udp) CHECK_RESULT;
/* No more datagrams of clients; answers are still passed on, until a session has been idle for a second. */
void l4_udp_stop(struct l4_udp *u);

/* Connections and sessions of this worker. */
uint32_t l4_tcp_count(void);
uint32_t l4_udp_count(void);
/* Cuts them. Fibers that connect have to be cancelled besides (fiber_cancel_all). */
void l4_tcp_abort(void);
void l4_udp_abort(void);

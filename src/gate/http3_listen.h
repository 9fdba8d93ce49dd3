/* http3_listen: what listeners and upgrades have to do with HTTP/3: certificates of a generation on a worker,
 * and how the processes of an upgrade find each other's connections. */
#pragma once
#include "gate/gate_conf.h"
#include "net/quic.h"

struct listening;

extern const struct quic_owner http3_owner;

/* Does it listen for HTTP/3 anywhere? */
bool http3_is_wanted(const struct gate_conf *conf);
/* Before a generation that does is opened; the first time in this process it takes the secret of the one
 * before, or makes one. Control worker. ERR_MEMORY. */
err http3_prepare(struct worker *const *workers, unsigned count, struct diag *reterr) CHECK_RESULT;

/* Of one listener, as a generation is opened and closed on a worker. */
err http3_listening_open(struct listening *l, const struct gate_conf *root, struct diag *reterr) CHECK_RESULT;
void http3_listening_close(struct listening *l);

/* ---- upgrades, on the control worker */

/* Takes over the descriptors: the process before this one takes its datagrams there. */
void http3_elder(uint32_t process, const int *fds, unsigned count);
/* Each process that has connections still, this one first. */
err http3_each_inlet(void (*fn)(void *arg, uint32_t process, const int *fds, unsigned count),
                     void *arg) CHECK_RESULT;

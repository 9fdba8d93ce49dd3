/* control_listener: the addresses of weir's own, which the control worker answers: the operators' (admin) and
 * the ledger's (ledger.http). Kept over reloads and handed over in an upgrade. Control worker. */
#pragma once
#include "base/diag.h"
#include "gate/gate_conf.h"
#include "gate/process_internal.h"

/* In the order of enum control_listener; as the upgrade calls them. */
extern const char *const control_listener_names[];

/* New sockets of a configuration that may still fail; -1: none. */
struct control_opened {
    int fds[CONTROL_LISTENERS];
};
/* On failure nothing is left open. */
err control_listeners_open(const struct gate_conf *conf, struct control_opened *ret_opened,
                           struct diag *reterr) CHECK_RESULT;
void control_listeners_undo(const struct control_opened *opened);
/* Accepts on what was opened, and closes what the configuration names no more. */
void control_listeners_use(const struct gate_conf *conf, const struct control_opened *opened);
void control_listeners_stop(void);
/* Each that is open. */
void control_listeners_each(void (*fn)(void *arg, const char *name, const struct addr *at, int fd),
                            void *arg);

/* listeners: the sockets of the process that take clients, one for each address and worker, kept over
 * reloads. Control thread, from a fiber. */
#pragma once
#include "base/diag.h"
#include "gate/gate_conf.h"

struct listener;
struct worker;

/* Opens what a new generation listens on (struct listen_conf: its `listen`) and this process does not yet;
 * nothing is accepted there before listeners_use. On failure nothing has changed. */
err listeners_open(const struct conf_list *listen, unsigned workers, struct diag *reterr) CHECK_RESULT;
/* Accepts on what listeners_open opened, and closes what the configuration names no more. */
void listeners_use(struct worker *const *workers, unsigned count);
/* Gives up what listeners_open opened. */
void listeners_undo(void);
/* On a worker: its connections_max is reached, or there is room again. */
void listeners_full_here(bool full);
/* Closes all (draining, stop). Of those that were given the next process empties the queue. */
void listeners_close(struct worker *const *workers, unsigned count);

/* ---- upgrades: name is the address with the options, as the configuration has them */

/* Each with its sockets. */
void listeners_each(void (*fn)(void *arg, const char *name, const int *fds, unsigned count), void *arg);
/* The next process accepts on that one; none of them after all. */
void listeners_give(struct bytes name);
void listeners_give_none(void);
/* Takes over sockets of the process before: listeners_open will find them. More may follow under the same
 * name. The descriptors are taken in any case. */
err listeners_adopt(struct bytes name, const int *fds, unsigned count) CHECK_RESULT;
/* Each that listeners_open took; what it did not take is closed. */
void listeners_adopted(void (*fn)(void *arg, const char *name), void *arg);

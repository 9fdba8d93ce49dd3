/* upgrade: the binary on disk takes over from this process, without a client noticing.
 *
 *   old: serves ──spawns──▶ new: takes sockets and memory ─▶ loads ─▶ opens ─▶ accepts ──ready──▶ serves
 *         └─ goes on serving, whatever goes wrong on the right ─┘                   └▶ old: drains, ends
 *
 * The sockets themselves are handed over, not their addresses: both accept from the same queues for a moment,
 * and no connection that stands in one is lost. Memory: gate/shared.h. Control worker, on its one fiber that
 * changes the process; the new side's upgrade_receive on the main thread before there are workers. */
#pragma once
#include <sys/types.h>

#include "base/addr.h"
#include "base/diag.h"
#include "base/err.h"

/* ---- the old process. In words why it goes on serving. */
err upgrade_run(pid_t *ret_pid, struct diag *reterr) CHECK_RESULT;

/* ---- the new process */

/* Was this process started to take over? Then takes what it is given. */
err upgrade_receive(struct diag *reterr) CHECK_RESULT;
bool upgrade_active(void);
/* The generation that was in force before; 0: none. */
uint64_t upgrade_generation(void);
/* The configuration, when it is not the file's (after a rollback); *ret_number is where it was rolled back
 * to. NULL: the file. */
const struct bytes *upgrade_conf(uint64_t *ret_number);
/* which: enum control_listener. -1: the old process does not listen there. */
int upgrade_take_control(unsigned which, const struct addr *a);
/* What the old process's entries for the ledger come over; the caller's. -1: there is nothing. */
int upgrade_take_entries(void);
/* Serves from now on; tells so, and waits (on a fiber) for the old one to end. */
void upgrade_ready(void);
/* Cannot; the old one shall say why. */
void upgrade_failed(const char *why);
/* How many processes before this one are still draining. */
unsigned upgrade_elders(void);

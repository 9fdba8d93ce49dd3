/* pass_on: entries that reach a process which has let the ledger go are done by the one that has it now.
 *
 *   old: worker ─▶ writer, which has left ══ entries that wait, in one frame ══▶ new: a fiber ─▶ its writer
 *                                        ◀═════ their answers, in one frame ═════
 *
 * Over a socket pair that is made for the upgrade. The new process first says how it writes what goes over
 * it; when that is not how the old one does, or the other end is gone or silent, what waits is refused.
 * Passed on is what says that it may be (ledger_call.may_pass): nobody here is told of what changes there. */
#pragma once
#include "ledger/ledger.h"

#define PASS_ON_WAIT_MS 10000 /* for the new process: it may be recovering */

/* The old process's end. */
struct pass_on {
    int fd;     /* -1: there is nobody */
    bool known; /* it has said how it writes */
};

/* The writer's thread: those of the chain that may be passed on have their results. false: there is nobody
 * any more; what was under way is as it was before, and may have been done. */
bool pass_on_calls(struct pass_on *p, struct ledger_call *first) CHECK_RESULT;
void pass_on_close(struct pass_on *p);

/* The new process, a worker's fiber: does what comes until the other end is closed. fd: a stream socket that
 * does not block, its own from now on. */
void pass_on_serve(struct ledger *l, int fd);

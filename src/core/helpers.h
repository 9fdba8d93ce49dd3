/* helpers: threads for what would hold up a worker: a computation of milliseconds, a library that blocks. A
 * fiber hands a function over and waits; the worker goes on with its others.
 *
 *      fiber: helpers_call ──▶ queue (bounded) ──▶ helper thread: fn(arg) ──mail──▶ fiber goes on
 *
 * One pool a purpose. The mutex is held for the time of a few pointer moves, by a worker once a call. */
#pragma once
#include "base/diag.h"
#include "base/err.h"

struct helpers;

/* name: of the threads, up to 15 characters. They run with less priority than workers do (nice 5).
 * ERR_MEMORY, ERR_SYSTEM. */
err helpers_open(const char *name, unsigned threads, unsigned waiting_max, struct helpers **ret_helpers,
                 struct diag *reterr) CHECK_RESULT;
/* Ends the threads; no call is under way. NULL is allowed. */
void helpers_close(struct helpers *h);

/* From a fiber; returns when fn(arg) has run on a helper thread, also when the fiber is cancelled while it
 * runs. ERR_LIMIT: waiting_max wait already; ERR_CANCELLED: it was cancelled before it began. fn is not
 * called then. */
err helpers_call(struct helpers *h, void (*fn)(void *arg), void *arg) CHECK_RESULT;

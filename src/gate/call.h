/* call: has another worker run a function, and waits for it. From a fiber. */
#pragma once
#include "core/worker.h"

/* fn(arg) on w's loop (it must not wait); returns when it has run. w may be the caller's own. */
void call_worker(struct worker *w, void (*fn)(void *arg), void *arg);

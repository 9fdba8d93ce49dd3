/* helper: work that blocks (a file's pages from a disk, a slow library) away from the workers: a few threads
 * a purpose. The fiber waits, its worker goes on.
 *
 *      fiber ──helper_run──▶ [ queue ] ──▶ thread: fn(arg) ──mail──▶ the fiber goes on
 *
 * A pool is a static of the module that needs it and is never shared between purposes, so that a slow disk
 * holds up nothing else. Its threads start with the first work and stay. The pool's mutex protects the queue
 * and the count of threads; nothing is waited for with it held but the next work. */
#pragma once
#include <pthread.h>

#include "core/worker.h"

struct helper_job;

struct helper_pool {
    const char *name;     /* of its threads, up to 15 characters */
    unsigned threads_max; /* started when there is work and nobody idle */
    unsigned jobs_max;    /* waiting for a thread; ERR_LIMIT beyond */
    int nice;             /* of its threads, above the workers': 0 for what waits, more for what computes */
    pthread_mutex_t mutex;
    pthread_cond_t work;
    struct helper_job *first, **last;
    unsigned waiting, threads, idle;
};

#define HELPER_POOL(name_, threads_max_, jobs_max_, nice_)                                        \
    {                                                                                             \
        .name = (name_), .threads_max = (threads_max_), .jobs_max = (jobs_max_), .nice = (nice_), \
        .mutex = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER                      \
    }

/* Runs fn(arg) on one of the pool's threads and waits for it. A fiber that is cancelled while it runs waits
 * all the same: arg may lie on its stack. ERR_LIMIT: too many wait already; ERR_SYSTEM: no thread is to be
 * had; ERR_CANCELLED: it was cancelled before fn began, so that a stop does not wait for a long queue. fn was
 * not called then. */
err helper_run(struct helper_pool *p, void (*fn)(void *arg), void *arg) CHECK_RESULT;

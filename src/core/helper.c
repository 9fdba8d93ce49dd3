#include "core/helper.h"

#include <signal.h>
#include <sys/resource.h>

#include "base/must.h"
#include "core/worker_internal.h"

#define STACK_BYTES (256 * 1024)

/* On the stack of the fiber that waits for it. */
struct helper_job {
    struct helper_job *next;
    void (*fn)(void *arg);
    void *arg;
    struct worker *worker;
    struct fiber *fiber;
    struct mail mail;
    bool taken; /* a thread has begun; under the pool's mutex */
    bool done;
};

static void job_done(struct mail *m)
{
    struct helper_job *j = container_of(m, struct helper_job, mail);
    j->done = true;
    fiber_resume(j->fiber, OK);
}

static struct helper_job *take(struct helper_pool *p)
{
    pthread_mutex_lock(&p->mutex);
    p->idle++;
    while (!p->first)
        pthread_cond_wait(&p->work, &p->mutex);
    p->idle--;
    struct helper_job *j = p->first;
    p->first = j->next;
    p->waiting--;
    j->taken = true;
    pthread_mutex_unlock(&p->mutex);
    return j;
}

static void *thread_main(void *arg)
{
    struct helper_pool *p = arg;
    pthread_setname_np(pthread_self(), p->name);
    if (p->nice)
        (void)!setpriority(PRIO_PROCESS, 0, p->nice); /* of this thread alone, on Linux */
    for (;;) {
        struct helper_job *j = take(p);
        j->fn(j->arg);
        j->mail.run = job_done;
        worker_post(j->worker, &j->mail); /* from here on the job is the fiber's again */
    }
    return NULL;
}

/* With the mutex held. Signals are the main thread's. */
static bool start_thread(struct helper_pool *p)
{
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    bool started = pthread_create(&thread, &attr, thread_main, p) == 0;
    pthread_attr_destroy(&attr);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    p->threads += started;
    return started;
}

static err give(struct helper_pool *p, struct helper_job *j)
{
    err e = OK;
    pthread_mutex_lock(&p->mutex);
    if (p->waiting >= p->jobs_max)
        e = ERR_LIMIT;
    else if (p->idle <= p->waiting && p->threads < p->threads_max && !start_thread(p) && !p->threads)
        e = ERR_SYSTEM;
    if (!e) {
        if (!p->first)
            p->last = &p->first;
        *p->last = j;
        p->last = &j->next;
        p->waiting++;
        pthread_cond_signal(&p->work);
    }
    pthread_mutex_unlock(&p->mutex);
    return e;
}

/* false: it is being run, or has been. */
static bool take_back(struct helper_pool *p, struct helper_job *j)
{
    pthread_mutex_lock(&p->mutex);
    const bool mine = !j->taken;
    if (mine) {
        struct helper_job **at = &p->first;
        while (*at != j)
            at = &(*at)->next;
        *at = j->next;
        if (!j->next)
            p->last = at;
        p->waiting--;
    }
    pthread_mutex_unlock(&p->mutex);
    return mine;
}

err helper_run(struct helper_pool *p, void (*fn)(void *arg), void *arg)
{
    struct helper_job j = { .fn = fn, .arg = arg, .worker = worker_this, .fiber = fiber_self() };
    must(j.fiber != NULL);
    err e = give(p, &j);
    if (e)
        return e;
    if (fiber_block() == OK || j.done)
        return OK;
    if (take_back(p, &j))
        return ERR_CANCELLED;
    fiber_hold();
    return OK;
}

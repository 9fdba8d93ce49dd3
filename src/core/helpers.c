#include "core/helpers.h"

#include <pthread.h>
#include <sys/resource.h>

#include "base/mem.h"
#include "base/must.h"
#include "core/worker.h"

/* Lies on the stack of the fiber that waits for it. */
struct job {
    struct job *next;
    void (*fn)(void *arg);
    void *arg;
    struct mail back;
    struct worker *from;
    struct fiber *fiber;
    bool taken; /* a helper thread has begun; protected by the pool's lock */
    bool done;
};

struct helpers {
    pthread_mutex_t lock; /* protects what follows, up to waiting */
    pthread_cond_t work;
    struct job *first, **last;
    unsigned waiting;
    bool stop;
    unsigned waiting_max, count;
    char name[16];
    pthread_t threads[];
};

#define NICE 5

static void run_back(struct mail *m)
{
    struct job *j = container_of(m, struct job, back);
    j->done = true;
    fiber_wake(j->fiber);
}

static struct job *take_locked(struct helpers *h)
{
    struct job *j = h->first;
    h->first = j->next;
    if (!h->first)
        h->last = &h->first;
    h->waiting--;
    j->taken = true;
    return j;
}

static void *run(void *arg)
{
    struct helpers *h = arg;
    pthread_setname_np(pthread_self(), h->name);
    (void)!setpriority(PRIO_PROCESS, 0, NICE); /* of this thread alone, on Linux */
    pthread_mutex_lock(&h->lock);
    while (h->first || !h->stop) {
        if (!h->first) {
            pthread_cond_wait(&h->work, &h->lock);
            continue;
        }
        struct job *j = take_locked(h);
        pthread_mutex_unlock(&h->lock);
        struct worker *from = j->from;
        j->fn(j->arg);
        worker_post(from, &j->back);
        pthread_mutex_lock(&h->lock);
    }
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

void helpers_close(struct helpers *h)
{
    if (!h)
        return;
    pthread_mutex_lock(&h->lock);
    must(!h->first);
    h->stop = true;
    pthread_cond_broadcast(&h->work);
    pthread_mutex_unlock(&h->lock);
    for (unsigned i = 0; i < h->count; i++)
        pthread_join(h->threads[i], NULL);
    pthread_cond_destroy(&h->work);
    pthread_mutex_destroy(&h->lock);
    mem_free(h);
}

err helpers_open(const char *name, unsigned threads, unsigned waiting_max, struct helpers **ret_helpers,
                 struct diag *reterr)
{
    struct helpers *h = mem_get(sizeof *h + threads * sizeof *h->threads);
    if (!h)
        return ERR_MEMORY;
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->work, NULL);
    h->last = &h->first;
    h->waiting_max = waiting_max;
    for (unsigned i = 0; name[i] && i < sizeof h->name - 1; i++)
        h->name[i] = name[i];
    for (; h->count < threads; h->count++) {
        if (pthread_create(&h->threads[h->count], NULL, run, h) == 0)
            continue;
        diag_set(reterr, "cannot start the threads of %s", name);
        helpers_close(h);
        return ERR_SYSTEM;
    }
    *ret_helpers = h;
    return OK;
}

/* false: it is being run, or has been. */
static bool take_back(struct helpers *h, struct job *j)
{
    pthread_mutex_lock(&h->lock);
    const bool mine = !j->taken;
    if (mine) {
        struct job **at = &h->first;
        while (*at != j)
            at = &(*at)->next;
        *at = j->next;
        if (!j->next)
            h->last = at;
        h->waiting--;
    }
    pthread_mutex_unlock(&h->lock);
    return mine;
}

err helpers_call(struct helpers *h, void (*fn)(void *arg), void *arg)
{
    struct job j = {
        .fn = fn, .arg = arg, .back = { .run = run_back }, .from = worker_self(), .fiber = fiber_self()
    };
    pthread_mutex_lock(&h->lock);
    bool full = h->waiting == h->waiting_max;
    if (!full) {
        *h->last = &j;
        h->last = &j.next;
        h->waiting++;
        pthread_cond_signal(&h->work);
    }
    pthread_mutex_unlock(&h->lock);
    if (full)
        return ERR_LIMIT;
    while (!j.done) { /* it points into this frame: a cancelled fiber has to stay for it, once it has begun */
        if (fiber_wait(DEADLINE_NONE) == OK || j.done)
            continue;
        if (take_back(h, &j))
            return ERR_CANCELLED;
        fiber_yield();
    }
    return OK;
}

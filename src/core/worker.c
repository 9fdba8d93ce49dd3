#include "core/worker.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"
#include "core/worker_internal.h"

#define WALL_SYNC_US (1000 * 1000)
#define CHUNK_BYTES (16 * 1024)
#define CHUNKS_KEPT 256

_Thread_local struct worker *worker_this;

static uint64_t clock_us(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* ---- what others ask ---- */

struct worker *worker_self(void)
{
    return worker_this;
}

unsigned worker_index(const struct worker *w)
{
    return w->index;
}

uint64_t worker_now_us(void)
{
    return worker_this->now_us;
}

uint64_t worker_clock_us(void)
{
    return clock_us(CLOCK_MONOTONIC);
}

uint64_t worker_wall_us(void)
{
    struct worker *w = worker_this;
    if (w->now_us - w->wall_synced_us > WALL_SYNC_US) { /* somebody may have set the clock */
        w->wall_offset_us = clock_us(CLOCK_REALTIME) - clock_us(CLOCK_MONOTONIC);
        w->wall_synced_us = w->now_us;
    }
    return w->now_us + w->wall_offset_us;
}

void **worker_slot(struct worker *w, unsigned slot)
{
    must(slot < WORKER_SLOTS);
    return &w->slots[slot];
}

struct worker_stats worker_stats(struct worker *w)
{
    struct worker_stats s = { .turns = w->turns,
                              .syscalls = w->syscalls,
                              .lag_us_max = atomic_exchange(&w->lag_us_max, 0),
                              .buffers_bytes = (uint64_t)w->buffers.count * BUFFER_PITCH,
                              .connections = w->ios.count,
                              .no_buffers = w->no_buffers };
    clockid_t cpu;
    if (pthread_getcpuclockid(w->thread, &cpu) == 0)
        s.busy_us = clock_us(cpu);
    return s;
}

/* ---- mail ---- */

/* The receiver says `asleep` and then looks for mail; a sender leaves mail and then looks for `asleep`. Both
 * in sequentially consistent order, so that at least one of them sees the other. */
static void wake(struct worker *w)
{
    if (!atomic_load(&w->asleep) || !atomic_exchange(&w->asleep, false))
        return;
    uint64_t one = 1;
    while (write(w->wake_fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

void worker_post(struct worker *w, struct mail *m)
{
    struct mail *newest = atomic_load_explicit(&w->mails, memory_order_relaxed);
    atomic_fetch_add_explicit(&w->posting, 1, memory_order_relaxed);
    do
        m->next = newest;
    while (!atomic_compare_exchange_weak(&w->mails, &newest, m));
    wake(w);
    atomic_fetch_sub_explicit(&w->posting, 1, memory_order_release);
}

static void run_mails(struct worker *w)
{
    if (!atomic_load_explicit(&w->mails, memory_order_relaxed))
        return;
    struct mail *m = atomic_exchange(&w->mails, NULL), *oldest = NULL;
    while (m) {
        struct mail *next = m->next;
        m->next = oldest;
        oldest = m;
        m = next;
    }
    while (oldest) {
        struct mail *next = oldest->next;
        oldest->run(oldest); /* it may be freed now */
        oldest = next;
    }
}

void worker_stop(struct worker *w)
{
    atomic_store(&w->stop, true);
    wake(w);
}

/* ---- hooks ---- */

void worker_end_of_turn(struct turn_hook *h)
{
    struct worker *w = worker_this;
    if (h->next)
        return;
    h->next = h; /* the last one points at itself: never NULL while queued */
    *w->hooks_end = h;
    w->hooks_end = &h->next;
}

void worker_on_end(struct turn_hook *h)
{
    struct worker *w = worker_this;
    h->next = w->end_hooks ? w->end_hooks : h;
    w->end_hooks = h;
}

static void run_list(struct turn_hook *h)
{
    while (h) {
        struct turn_hook *next = h->next == h ? NULL : h->next;
        h->next = NULL;
        h->run(h);
        h = next;
    }
}

static void run_hooks(struct worker *w)
{
    struct turn_hook *h = w->hooks;
    w->hooks = NULL;
    w->hooks_end = &w->hooks;
    run_list(h);
}

/* ---- arena chunks ---- */

struct chunk {
    struct chunk *next;
};

static void *chunk_get(size_t *size)
{
    struct worker *w = worker_this;
    if (*size > CHUNK_BYTES)
        return mem_must_get(*size);
    *size = CHUNK_BYTES;
    struct chunk *c = w->chunks;
    if (!c)
        return mem_must_get(CHUNK_BYTES);
    w->chunks = c->next;
    w->chunk_count--;
    return c;
}

static void chunk_put(void *chunk, size_t size)
{
    struct worker *w = worker_this;
    if (size != CHUNK_BYTES || w->chunk_count >= CHUNKS_KEPT) {
        mem_free(chunk);
        return;
    }
    struct chunk *c = chunk;
    c->next = w->chunks;
    w->chunks = c;
    w->chunk_count++;
}

const struct arena_source arena_worker = { chunk_get, chunk_put };

/* ---- the turn ---- */

static void note_lag(struct worker *w, uint64_t now_us)
{
    const uint64_t lag_us = now_us - w->now_us;
    if (lag_us > atomic_load_explicit(&w->lag_us_max, memory_order_relaxed))
        atomic_store_explicit(&w->lag_us_max, lag_us, memory_order_relaxed);
}

void worker_slept(struct worker *w)
{
    atomic_store_explicit(&w->asleep, false, memory_order_relaxed);
    const uint64_t now_us = clock_us(CLOCK_MONOTONIC);
    if (w->busy) /* it did not sleep */
        note_lag(w, now_us);
    w->now_us = now_us;
}

static uint64_t time_to_wait_us(struct worker *w)
{
    w->busy = !fibers_idle(&w->fibers) || w->hooks || w->ios.soon;
    if (w->busy)
        return 0;
    uint64_t next_us = wheel_next_us(&w->wheel);
    uint64_t now_us = clock_us(CLOCK_MONOTONIC);
    note_lag(w, now_us);
    if (next_us <= now_us)
        return 0;
    atomic_store(&w->asleep, true);
    if (atomic_load(&w->mails) || (atomic_load(&w->stop) && !w->stop_seen)) {
        atomic_store_explicit(&w->asleep, false, memory_order_relaxed);
        return 0;
    }
    return next_us == UINT64_MAX ? UINT64_MAX : next_us - now_us;
}

static bool is_over(struct worker *w)
{
    w->stop_seen = atomic_load(&w->stop);
    /* stop before mails: what was posted before worker_stop is run */
    return w->stop_seen && !atomic_load(&w->mails) && w->fibers.live_count == 0 && !w->ios.closing;
}

static void turn(struct worker *w)
{
    w->turns++;
    w->ops->turn(w, time_to_wait_us(w));
    run_mails(w);
    wheel_run(&w->wheel, w->now_us);
    fibers_run(&w->fibers);
    run_hooks(w);
    ios_wake_soon(&w->ios);
    ios_flush(&w->ios);
    ios_bury(&w->ios);
}

static void worker_loop(struct worker *w)
{
    fiber_spawn(w->start, w->start_arg);
    do
        turn(w);
    while (!is_over(w));
    /* Parked connections and those that nobody closed: their owners are gone. */
    ios_abort_all(&w->ios);
    while (w->fibers.live_count || w->ios.count) /* what the kernel still has to let go of */
        turn(w);
    run_list(w->end_hooks);
    w->end_hooks = NULL;
}

/* ---- life ---- */

static err worker_make(const struct worker_opts *opts, void (*start)(void *arg), void *arg,
                       struct worker **ret_worker, struct diag *reterr)
{
    char reason[128];
    enum loop_kind kind = loop_choose(opts->loop, reason, sizeof reason);
    if (opts->loop != LOOP_AUTO && kind != opts->loop) {
        diag_set(reterr, "the loop %s is not to be had here: %s", loop_name(opts->loop), reason);
        return ERR_UNSUPPORTED;
    }
    struct worker *w = mem_get_aligned(sizeof *w, 64);
    if (!w)
        return ERR_MEMORY;
    *w = (struct worker){ .index = opts->index, .cpu = opts->cpu, .start = start, .start_arg = arg };
    snprintf(w->name, sizeof w->name, "%s", opts->name ? opts->name : "worker");
#if WEIR_HAVE_URING
    w->ops = kind == LOOP_URING ? &loop_uring : &loop_epoll;
#else
    w->ops = &loop_epoll;
#endif
    w->hooks_end = &w->hooks;
    w->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (w->wake_fd < 0) {
        err e = err_from_errno(errno);
        diag_set(reterr, "eventfd: %s", strerror(errno));
        mem_free(w);
        return e;
    }
    *ret_worker = w;
    return OK;
}

static void worker_free(struct worker *w)
{
    while (atomic_load_explicit(&w->posting, memory_order_acquire))
        sched_yield(); /* its last mail has been run, and who posted that has not come back yet */
    close(w->wake_fd);
    mem_free(w);
}

/* All workers, for the debugger. The mutex protects the list; nothing is called with it held. */
struct worker *worker_all;
static pthread_mutex_t worker_all_lock = PTHREAD_MUTEX_INITIALIZER;

static void worker_enlist(struct worker *w)
{
    pthread_mutex_lock(&worker_all_lock);
    w->next = worker_all;
    worker_all = w;
    pthread_mutex_unlock(&worker_all_lock);
}

static void worker_delist(struct worker *w)
{
    pthread_mutex_lock(&worker_all_lock);
    struct worker **at = &worker_all;
    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    pthread_mutex_unlock(&worker_all_lock);
}

static err worker_open(struct worker *w, struct diag *reterr)
{
    must(!worker_this);
    worker_this = w;
    w->thread = pthread_self();
    w->now_us = clock_us(CLOCK_MONOTONIC);
    w->wall_offset_us = clock_us(CLOCK_REALTIME) - w->now_us;
    w->wall_synced_us = w->now_us;
    wheel_init(&w->wheel, w->now_us);
    fibers_open(&w->fibers);
    buffers_open(&w->buffers);
    ios_open(&w->ios);
    err e = w->ops->open(w, reterr);
    if (e) {
        worker_this = NULL;
        return e;
    }
    worker_enlist(w);
    return OK;
}

static void worker_close(struct worker *w)
{
    worker_delist(w);
    w->ops->close(w);
    ios_close(&w->ios);
    fibers_close(&w->fibers);
    buffers_close(&w->buffers);
    for (struct chunk *c; (c = w->chunks);) {
        w->chunks = c->next;
        mem_free(c);
    }
    worker_this = NULL;
}

static void pin(int cpu)
{
    cpu_set_t set;
    if (cpu < 0)
        return;
    CPU_ZERO(&set);
    CPU_SET((unsigned)cpu, &set);
    pthread_setaffinity_np(pthread_self(), sizeof set, &set); /* slower without, not wrong */
}

/* splice(2) into a socket whose peer is gone raises SIGPIPE whatever the flags say. */
static void block_sigpipe(sigset_t *ret_before)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &set, ret_before);
}

err worker_run(const struct worker_opts *opts, void (*start)(void *arg), void *arg, struct diag *reterr)
{
    struct worker *w;
    err e = worker_make(opts, start, arg, &w, reterr);
    if (e)
        return e;
    sigset_t before;
    block_sigpipe(&before);
    pin(w->cpu);
    e = worker_open(w, reterr);
    if (!e) {
        worker_loop(w);
        worker_close(w);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    worker_free(w);
    return e;
}

struct birth {
    struct worker *w;
    struct diag *reterr;
    sem_t done;
    err result;
};

static void *thread_main(void *arg)
{
    struct birth *b = arg;
    struct worker *w = b->w;
    sigset_t before;
    block_sigpipe(&before);
    pthread_setname_np(pthread_self(), w->name);
    pin(w->cpu);
    err e = b->result = worker_open(w, b->reterr);
    sem_post(&b->done); /* b is gone now */
    if (!e) {
        worker_loop(w);
        worker_close(w);
    }
    return NULL;
}

err worker_start(const struct worker_opts *opts, void (*start)(void *arg), void *arg,
                 struct worker **ret_worker, struct diag *reterr)
{
    struct birth b = { .reterr = reterr };
    err e = worker_make(opts, start, arg, &b.w, reterr);
    if (e)
        return e;
    struct worker *w = b.w;
    pthread_t thread;
    sem_init(&b.done, 0, 0);
    int number = pthread_create(&thread, NULL, thread_main, &b);
    if (number) {
        diag_set(reterr, "a thread: %s", strerror(number));
        sem_destroy(&b.done);
        worker_free(w);
        return ERR_SYSTEM;
    }
    while (sem_wait(&b.done) != 0)
        ;
    sem_destroy(&b.done);
    if (b.result) {
        pthread_join(thread, NULL);
        worker_free(w);
        return b.result;
    }
    w->thread = thread;
    *ret_worker = w;
    return OK;
}

void worker_join(struct worker *w)
{
    pthread_join(w->thread, NULL);
    worker_free(w);
}

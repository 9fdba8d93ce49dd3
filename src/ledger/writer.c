/* The writer: gathers, applies, appends, answers; round and round on a thread of its own. */
#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "core/log.h"
#include "ledger/ledger_internal.h"
#include "ledger/watch.h"

static uint64_t clock_us(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

uint64_t ledger_clock_us(void)
{
    return clock_us(CLOCK_MONOTONIC);
}

/* The wall clock; but it never goes back, and it goes on while the wall clock is behind it. */
uint64_t ledger_time_ms(struct ledger *l)
{
    const uint64_t mono_us = clock_us(CLOCK_MONOTONIC), wall_ms = clock_us(CLOCK_REALTIME) / 1000;
    const uint64_t passed_ms = l->clock_us ? (mono_us - l->clock_us) / 1000 : 0;
    const uint64_t least_ms = l->machine.now_ms + passed_ms;
    if (passed_ms || !l->clock_us || wall_ms >= least_ms)
        l->clock_us = mono_us;
    return wall_ms > least_ms ? wall_ms : least_ms;
}

#define LATER_LOOK_US 5000
#define TIMER_SLACK_NS 1000UL /* a batch waits for less than the usual 50 us */

/* ---- gathering ---- */

/* Into `waiting`, the oldest first. */
static bool take_mail(struct ledger *l)
{
    struct ledger_call *newest = atomic_exchange_explicit(&l->mailbox, NULL, memory_order_acquire);
    struct ledger_call *oldest = NULL, *last = newest;
    uint32_t count = 0;
    for (; newest; count++) {
        struct ledger_call *next = newest->next;
        __builtin_prefetch(newest->ops);
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    if (!oldest)
        return false;
    *l->waiting_last = oldest;
    l->waiting_last = &last->next;
    l->waiting_count += count;
    atomic_fetch_sub(&l->mailed, (int32_t)count);
    return true;
}

static bool is_told_to_end(struct ledger *l)
{
    return atomic_load(&l->stop) || (atomic_load(&l->leave) && !ledger_stopped(l));
}

/* How long there is nothing to do by itself; UINT64_MAX: for ever. */
static uint64_t idle_us(struct ledger *l)
{
    uint64_t wait_us = ledger_tend_idle_us(l);
    uint64_t due_ms = records_due_next_ms(l->machine.records), now_ms = ledger_time_ms(l);
    if (due_ms <= now_ms)
        return 0;
    if (due_ms != UINT64_MAX && (due_ms - now_ms) * 1000 < wait_us)
        wait_us = (due_ms - now_ms) * 1000;
    if (l->opts.durability == LEDGER_INTERVAL && ledger_log_durable_seq(l->log) < l->machine.seq) {
        uint64_t passed_us = clock_us(CLOCK_MONOTONIC) - l->synced_us,
                 interval_us = l->opts.interval_ms * 1000;
        uint64_t left_us = passed_us >= interval_us ? 0 : interval_us - passed_us;
        wait_us = left_us < wait_us ? left_us : wait_us;
    }
    return wait_us;
}

/* Until so many entries have been mailed, or for so long. Says in `asleep` how many, and then looks again;
 * who leaves mail looks at `asleep` behind that. */
static void sleep_until_mailed(struct ledger *l, uint32_t entries, uint64_t us)
{
    const struct timespec t = { .tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000) * 1000 };
    pthread_mutex_unlock(&l->resting);
    atomic_store(&l->asleep, entries);
    if (atomic_load(&l->mailed) < (int32_t)entries && !is_told_to_end(l) &&
        (ledger_stopped(l) || !checkpoint_has_result(l->checkpoint)))
        syscall(SYS_futex, &l->asleep, FUTEX_WAIT_PRIVATE, entries, us == UINT64_MAX ? NULL : &t, NULL, 0);
    atomic_store(&l->asleep, 0);
    pthread_mutex_lock(&l->resting);
}

#define YIELDS_MAX 4

/* Those that are on their way. As long as each look brings more, up to a bound; where nobody waits for this
 * core a look takes no time. */
static void take_what_comes(struct ledger *l)
{
    unsigned turns = 0;
    pthread_mutex_unlock(&l->resting);
    do
        sched_yield();
    while (take_mail(l) && ++turns < YIELDS_MAX);
    pthread_mutex_lock(&l->resting);
}

/* What is taken now shares one sync, what comes later sits it out (ledger/gather.h). */
static void wait_for_more(struct ledger *l)
{
    if (gather_is_enough(&l->gather, l->waiting_count))
        return;
    const uint64_t begun_us = ledger_clock_us();
    uint64_t us = gather_begin(&l->gather, l->waiting_count, begun_us);
    if (!us) {
        take_what_comes(l);
        return;
    }
    while (us && !is_told_to_end(l) && !checkpoint_has_result(l->checkpoint)) { /* it would not sleep */
        sleep_until_mailed(l, gather_missing(&l->gather, l->waiting_count), us);
        take_mail(l);
        us = gather_look(&l->gather, l->waiting_count, ledger_clock_us());
    }
    ledger_metrics_gathered(l, (ledger_clock_us() - begun_us) * 1000);
}

static void gather(struct ledger *l)
{
    take_mail(l);
    if (!l->waiting && !is_told_to_end(l)) {
        const uint64_t us = idle_us(l);
        if (us == 0)
            return;
        sleep_until_mailed(l, 1, us);
        take_mail(l);
    }
    if (l->waiting)
        wait_for_more(l);
}

/* ---- a batch ---- */

void ledger_fail(struct ledger *l, err e, const struct diag *d)
{
    diag_set(&l->why, "%s", d->set ? d->text : err_text(e));
    atomic_store_explicit(&l->stopped, l->why.text, memory_order_release);
    if (l->metrics.cells)
        metric_set(l->metrics.cells, LEDGER_METRIC_STOPPED, 1);
    watch_tell_all();
    log_error("ledger", "stopped: %s; nothing is accepted until weir is started again", l->why.text);
}

/* What the entries to come look for: buckets first, then, when those have come, what is in them. */
#define FETCH_AHEAD 16 /* a power of two */
#define FETCH_RECORDS_AHEAD 8
struct fetching {
    struct ledger_call *next;
    uint32_t buckets, records; /* entries whose buckets, and whose records, are on their way */
    struct ledger_ahead ahead[FETCH_AHEAD];
};

/* For entry `at` and those behind it. A call lies on its fiber's stack, which another core has written. */
static void fetch(const struct ledger *l, struct fetching *f, uint32_t at)
{
    for (; f->next && f->buckets < at + FETCH_AHEAD; f->next = f->next->next) {
        if (f->next->next) {
            __builtin_prefetch(f->next->next->ops->body.ptr);
            __builtin_prefetch(f->next->next->ops->answer, 1);
        }
        machine_fetch(&l->machine, f->next, &f->ahead[f->buckets++ % FETCH_AHEAD]);
    }
    for (; f->records < f->buckets && f->records < at + FETCH_RECORDS_AHEAD; f->records++)
        machine_fetch_records(&l->machine, &f->ahead[f->records % FETCH_AHEAD]);
}

static void apply_waiting(struct ledger *l)
{
    struct fetching f = { .next = l->waiting };
    struct ledger_call *c;
    uint32_t count = 0;
    while ((c = l->waiting) && count < l->opts.batch_entries_max && machine_has_room(&l->machine, c)) {
        fetch(l, &f, count);
        l->waiting = c->next;
        l->waiting_count--;
        if (!l->waiting)
            l->waiting_last = &l->waiting;
        c->next = NULL;
        *l->done_last = c;
        l->done_last = &c->next;
        machine_entry(&l->machine, c, &f.ahead[count % FETCH_AHEAD]);
        count++;
    }
}

static err sync_in_time(struct ledger *l, struct diag *reterr)
{
    if (l->opts.durability != LEDGER_INTERVAL)
        return OK;
    uint64_t now_us = clock_us(CLOCK_MONOTONIC);
    if (now_us - l->synced_us < l->opts.interval_ms * 1000)
        return OK;
    l->synced_us = now_us;
    return ledger_log_sync(l->log, reterr);
}

static err write_batch(struct ledger *l, uint64_t *ret_ns, struct diag *reterr)
{
    struct machine *m = &l->machine;
    err e = l->store->ops->sound(l->store, reterr);
    if (!e && machine_end(m)) {
        uint64_t begun_us = clock_us(CLOCK_MONOTONIC);
        e = ledger_log_append(l->log, &m->head, m->batch, reterr);
        *ret_ns = (clock_us(CLOCK_MONOTONIC) - begun_us) * 1000 + 1;
        l->frozen_bytes += m->head.bytes;
    }
    return e ? e : sync_in_time(l, reterr);
}

static void answer(struct ledger *l)
{
    struct ledger_call *done = l->done;
    l->done = NULL;
    l->done_last = &l->done;
    ledger_answer_all(done);
}

static uint32_t waiting(struct ledger *l)
{
    const int32_t mailed = atomic_load_explicit(&l->mailed, memory_order_relaxed);
    return l->waiting_count + (uint32_t)(mailed > 0 ? mailed : 0);
}

static void run_batch(struct ledger *l)
{
    struct diag d = DIAG_NONE;
    uint64_t commit_ns = 0;
    machine_begin(&l->machine, ledger_time_ms(l));
    machine_expire(&l->machine);
    apply_waiting(l);
    err e = write_batch(l, &commit_ns, &d);
    if (e)
        ledger_fail(l, e, &d);
    else
        machine_show(&l->machine, &l->board);
    for (struct ledger_call *c = l->done; e && c; c = c->next)
        c->ret_failed = ERR_UNAVAILABLE;
    ledger_metrics_batch(l, commit_ns);
    answer(l);
    if (!e)
        gather_answered(&l->gather, l->machine.taken, waiting(l), commit_ns / 1000);
    if (!e)
        e = ledger_tend(l, &d);
    if (e && !ledger_stopped(l))
        ledger_fail(l, e, &d);
}

/* After it has stopped: what still comes gets its answer; after it has left, the next process's. */
static void refuse(struct ledger *l)
{
    if (!take_mail(l) && !l->waiting && !is_told_to_end(l))
        sleep_until_mailed(l, 1, UINT64_MAX);
    for (struct ledger_call *c = l->waiting; c; c = c->next)
        c->ret_failed = ERR_UNAVAILABLE;
    if (atomic_load(&l->passes) && !pass_on_calls(&l->next, l->waiting))
        atomic_store(&l->passes, false);
    l->done = l->waiting;
    l->waiting = NULL;
    l->waiting_count = 0;
    l->waiting_last = &l->waiting;
    ledger_metrics_batch(l, 0);
    answer(l);
}

/* ---- from the beginning to the end ---- */

static bool has_work(struct ledger *l)
{
    return l->waiting || atomic_load(&l->mailbox);
}

/* What was answered gets into the checkpoint too, so that the next start has nothing to replay. */
static void settle(struct ledger *l)
{
    struct diag d = DIAG_NONE;
    if (ledger_stopped(l))
        return;
    err e = ledger_log_sync(l->log, &d);
    if (!e)
        e = ledger_tend_last(l, &d);
    if (e)
        ledger_fail(l, e, &d);
}

static void leave(struct ledger *l)
{
    settle(l);
    ledger_release_files(l);
    if (!ledger_stopped(l)) {
        diag_set(&l->why, "another process has taken over");
        atomic_store(&l->passes, l->next.fd >= 0);
        atomic_store_explicit(&l->stopped, l->why.text, memory_order_release);
    }
    watch_tell_all();
    sem_post(&l->left);
}

static void open_later(struct ledger *l)
{
    struct diag d = DIAG_NONE;
    err e;
    while ((e = ledger_recover(l, &d)) == ERR_IN_USE && !atomic_load(&l->stop)) {
        ledger_release_files(l);
        d = DIAG_NONE;
        usleep(LATER_LOOK_US);
    }
    if (e)
        ledger_fail(l, e, &d);
}

void *ledger_writer(void *arg)
{
    struct ledger *l = arg;
    bool left = false;
    prctl(PR_SET_TIMERSLACK, TIMER_SLACK_NS);
    pthread_mutex_lock(&l->resting);
    if (l->opts.later)
        open_later(l);
    while (!atomic_load(&l->stop) || has_work(l)) {
        if (ledger_stopped(l)) {
            if (atomic_load(&l->leave) && !left) {
                left = true;
                leave(l);
            }
            refuse(l);
            continue;
        }
        gather(l);
        run_batch(l);
        if (atomic_load(&l->leave) && !left && !has_work(l)) {
            left = true;
            leave(l);
        }
    }
    if (!left)
        settle(l);
    pthread_mutex_unlock(&l->resting);
    return NULL;
}

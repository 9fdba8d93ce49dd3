/* pace: the open loop. One fiber a worker sends what is due; it sleeps on a timerfd, which is exact to some
 * microseconds where the worker's timers are to a millisecond. */
#include <errno.h>
#include <poll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "core/fiber.h"
#include "core/io.h"
#include "load/load.h"

uint64_t load_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void arm(const struct load_worker *lw, uint64_t at_ns)
{
    struct itimerspec when = { .it_value = { .tv_sec = (time_t)(at_ns / 1000000000u),
                                             .tv_nsec = (long)(at_ns % 1000000000u) } };
    timerfd_settime(lw->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

/* Late is what was due while somebody was free for it. */
static void note_lag(struct load_worker *lw, uint64_t due_ns, uint64_t now_ns)
{
    if (due_ns >= lw->starved_ns)
        histogram_add(&lw->stats->lag, now_ns - due_ns);
}

/* Sends all that is due. False: nobody is free. */
static bool send_due(struct load_worker *lw, uint64_t now_ns)
{
    while (lw->next_ns != ARRIVALS_NONE && lw->start_ns + lw->next_ns <= now_ns) {
        uint64_t due_ns = lw->start_ns + lw->next_ns;
        if (!lw->load->carrier->due(lw, due_ns))
            return false;
        note_lag(lw, due_ns, now_ns);
        lw->next_ns = lw->left ? arrivals_next(&lw->schedule) : ARRIVALS_NONE;
    }
    return true;
}

static void pace_run(void *arg)
{
    struct load_worker *lw = arg;
    while (!lw->stopping) {
        uint64_t now_ns = load_now_ns();
        err e;
        if (!send_due(lw, now_ns)) {
            lw->starving = true;
            e = fiber_wait(DEADLINE_NONE);
            lw->starving = false;
            lw->starved_ns = load_now_ns();
        } else if (lw->next_ns == ARRIVALS_NONE) {
            break;
        } else {
            arm(lw, lw->start_ns + lw->next_ns);
            e = io_wait_fd(lw->timer_fd, POLLIN, DEADLINE_NONE);
        }
        if (e)
            break;
    }
    close(lw->timer_fd);
    lw->pacer = NULL;
}

void load_worker_free(struct load_worker *lw)
{
    if (lw->starving)
        fiber_wake(lw->pacer);
}

static void pace_begin(void *arg)
{
    struct load_worker *lw = arg;
    lw->pacer = fiber_self();
    pace_run(lw);
}

static err pacer_open(struct load_worker *lw)
{
    lw->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (lw->timer_fd < 0)
        return err_from_errno(errno);
    fiber_spawn(pace_begin, lw);
    return OK;
}

err pace_start(struct load_worker *lw, const struct curve *curve, uint64_t start_ns)
{
    const struct load *l = lw->load;
    if (l->times)
        arrivals_open_list(&lw->schedule, l->times, l->times_count, load_share_number(lw), l->shares);
    else
        arrivals_open(&lw->schedule, curve, l->arrivals, load_share_number(lw), l->shares, l->seed);
    lw->start_ns = start_ns;
    lw->next_ns = arrivals_next(&lw->schedule);
    if (!lw->pacer)
        return pacer_open(lw);
    if (lw->starving)
        fiber_wake(lw->pacer);
    else
        arm(lw, load_now_ns());
    return OK;
}

void pace_stop(struct load_worker *lw)
{
    uint64_t now_ns = load_now_ns();
    lw->stopping = true;
    while (lw->next_ns != ARRIVALS_NONE && lw->start_ns + lw->next_ns <= now_ns && lw->left) {
        lw->stats->kinds[0].errors[LOAD_ERROR_UNSENT]++;
        lw->next_ns = arrivals_next(&lw->schedule);
    }
    lw->next_ns = ARRIVALS_NONE;
    if (lw->pacer)
        fiber_cancel(lw->pacer);
}

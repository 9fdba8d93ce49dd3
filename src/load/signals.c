/* The signals that end a run, as a descriptor. */
#include <errno.h>
#include <pthread.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "load/load.h"

err load_signals_open(struct load_signals *s)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    s->fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (s->fd < 0)
        return err_from_errno(errno);
    pthread_sigmask(SIG_BLOCK, &set, &s->before);
    return OK;
}

unsigned load_signals_take(const struct load_signals *s)
{
    struct signalfd_siginfo info;
    unsigned count = 0;
    while (read(s->fd, &info, sizeof info) == sizeof info)
        count++;
    return count;
}

void load_signals_close(struct load_signals *s)
{
    (void)!load_signals_take(s);
    close(s->fd);
    pthread_sigmask(SIG_SETMASK, &s->before, NULL);
}

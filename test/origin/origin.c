/* origin: the server behind weir in tests and examples of failure: what it does for each path is in answer.h.
 *
 *      origin [--body N] [--name TEXT] [--congestion NAME] ADDRESS[=NAME]...
 *
 * ADDRESS: 127.0.0.1:9001, :0 (picks a port), [::1]:0, unix:/path. Prints "ready ADDRESS..." (a port alone
 * for TCP) when all listen; SIGTERM and SIGINT stop it. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "test/origin/serve.h"

#define EVENTS_A_TURN_MAX 256

static bool stopping;

static void signal_ready(struct serve_handle *h, uint32_t events)
{
    (void)h;
    (void)events;
    stopping = true;
}

static _Noreturn void fail(const char *what, const char *value)
{
    fprintf(stderr, "origin: %s %s\n", what, value);
    exit(1);
}

static void signals_watch(int epoll_fd)
{
    static struct serve_handle handle = { signal_ready };
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    struct epoll_event event = { EPOLLIN, { .ptr = &handle } };
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, signalfd(-1, &set, SFD_CLOEXEC), &event) != 0)
        fail("cannot watch", "signals");
}

static void listen_on(struct serve *s, const char *argument, const char *name)
{
    struct bytes rest = bytes_from(argument), text, own_name = bytes_from(name);
    struct addr address, bound;
    bytes_split(&rest, '=', &text);
    if (rest.len)
        own_name = rest;
    if (addr_parse(text, &address))
        fail("not an address:", argument);
    if (serve_listen(s, &address, own_name, &bound))
        fail("cannot listen on", argument);
    if (bound.sock.any.sa_family == AF_UNIX)
        printf(" %.*s", BYTES_ARG(text));
    else
        printf(" %u", ntohs(bound.sock.any.sa_family == AF_INET6 ? bound.sock.v6.sin6_port
                                                                 : bound.sock.v4.sin_port));
}

static void run(struct serve *s, int epoll_fd)
{
    struct epoll_event events[EVENTS_A_TURN_MAX];
    while (!stopping) {
        int n = epoll_wait(epoll_fd, events, EVENTS_A_TURN_MAX, serve_wait_ms(s));
        for (int i = 0; i < n; i++) {
            struct serve_handle *h = events[i].data.ptr;
            h->ready(h, events[i].events);
        }
        serve_turn(s);
    }
}

int main(int argc, char **argv)
{
    struct serve_options options = { .body_bytes = 100 };
    const char *name = NULL;
    int at = 1;
    for (; at + 1 < argc && strncmp(argv[at], "--", 2) == 0; at += 2) {
        uint64_t bytes = 0;
        if (strcmp(argv[at], "--body") == 0 && bytes_to_u64(bytes_from(argv[at + 1]), &bytes))
            options.body_bytes = bytes;
        else if (strcmp(argv[at], "--name") == 0)
            name = argv[at + 1];
        else if (strcmp(argv[at], "--congestion") == 0)
            options.congestion = argv[at + 1];
        else
            fail("unknown option", argv[at]);
    }
    if (at == argc)
        fail("usage:", "origin [--body N] [--name TEXT] [--congestion NAME] ADDRESS[=NAME]...");

    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);

    struct serve *s;
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (serve_open(epoll_fd, &options, &s))
        fail("no", "memory");
    signals_watch(epoll_fd);
    printf("ready");
    for (; at < argc; at++)
        listen_on(s, argv[at], name);
    printf("\n");
    fflush(stdout);
    run(s, epoll_fd);
    serve_close(s);
    return 0;
}

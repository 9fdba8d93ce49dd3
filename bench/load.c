/* load: the clients and the origin servers of the bench in one lean process on one core, so that the proxy
 * between them is what is saturated.
 *
 *      load [--servers N] [--body N] [--connections N] [--pipeline N] [--close] [--seconds S] [--warmup S]
 *           [--congestion NAME] [--tls full|resume]
 *
 * Prints "ready PORT..." when its servers listen on 127.0.0.1, then takes commands, one a line, and answers
 * each with one line of JSON, and ends with its input:
 *
 *      go ADDRESS PID...   drives load through ADDRESS for --seconds after --warmup; the processes' CPU time
 * is read at both ends of that window. Again: goes on with the same connections. hold ADDRESS N      opens
 * connections until N are held idle, each after one answered request */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/list.h"
#include "bench/client.h"
#include "bench/client_tls.h"

#define EVENTS_A_TURN_MAX 512
#define PIDS_MAX 64
#define TURN_MS_MAX 10
#define HOLD_SECONDS_MAX 120.0
#define REST_SECONDS_MAX 10.0

struct load {
    int epoll_fd;
    struct serve *serve;
    struct clients *clients;
    struct client_options options;
    double seconds, warmup_seconds;
    struct serve_handle input;
    bool input_ready;
    double idle_seconds;
};

static _Noreturn void fail(const char *what, const char *value)
{
    fprintf(stderr, "load: %s %s\n", what, value);
    exit(1);
}

static double clock_seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double own_cpu_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* User and system time of all its threads, in nanoseconds: the first field of schedstat. Those that have
 * ended are not in it. */
static double process_cpu_seconds(const char *pid)
{
    char path[300];
    snprintf(path, sizeof path, "/proc/%s/task", pid);
    DIR *threads = opendir(path);
    if (!threads)
        fail("no process", pid);
    double sum = 0;
    for (struct dirent *d; (d = readdir(threads));) {
        unsigned long long ns;
        if (d->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "/proc/%s/task/%.32s/schedstat", pid, d->d_name);
        FILE *f = fopen(path, "r");
        if (!f || fscanf(f, "%llu", &ns) != 1)
            fail("cannot read", path);
        fclose(f);
        sum += (double)ns / 1e9;
    }
    closedir(threads);
    return sum;
}

static double all_cpu_seconds(char *const *pids, unsigned count)
{
    double sum = 0;
    for (unsigned i = 0; i < count; i++)
        sum += process_cpu_seconds(pids[i]);
    return sum;
}

static int turn(struct load *l, int wait_ms)
{
    struct epoll_event events[EVENTS_A_TURN_MAX];
    int serve_ms = serve_wait_ms(l->serve);
    if (serve_ms >= 0 && (wait_ms < 0 || serve_ms < wait_ms))
        wait_ms = serve_ms;
    int n = epoll_wait(l->epoll_fd, events, EVENTS_A_TURN_MAX, wait_ms);
    for (int i = 0; i < n; i++) {
        struct serve_handle *h = events[i].data.ptr;
        h->ready(h, events[i].events);
    }
    serve_turn(l->serve);
    return n;
}

/* Never sleeps, or waking this core would be paid by the proxy at each of its sends. The CPU time of turns
 * that found nothing is kept apart, so that the load's own work can be told (nobody else runs on its core, so
 * the wall's clock will do): a run of them ends where the next one that finds something begins. */
static void run_until(struct load *l, double end)
{
    double idle_since = 0;
    for (double now = clock_seconds(CLOCK_MONOTONIC); now < end;) {
        bool empty = turn(l, 0) == 0;
        if (idle_since > 0 && !empty)
            l->idle_seconds += now - idle_since;
        idle_since = !empty ? 0 : idle_since > 0 ? idle_since : now;
        now = clock_seconds(CLOCK_MONOTONIC);
        if (now >= end && idle_since > 0)
            l->idle_seconds += now - idle_since;
    }
}

static void print_results(const struct load *l, double seconds, double proxy_cpu, double own_cpu, double idle)
{
    const struct client_results *r = clients_results(l->clients);
    uint64_t served, malformed, accepted;
    serve_totals(l->serve, &served, &malformed, &accepted);
    printf("{\"answers\": %llu, \"failures\": %llu, \"failure\": \"%s\", \"reconnects\": %llu, \"seconds\": "
           "%.6f, "
           "\"proxy_cpu_seconds\": %.6f, \"load_cpu_seconds\": %.6f, \"load_idle_seconds\": %.6f, "
           "\"p50_us\": %.1f, \"p99_us\": %.1f, "
           "\"p999_us\": %.1f, \"max_us\": %.1f, \"malformed\": %llu, \"upstream_connections\": %llu}\n",
           (unsigned long long)r->answers, (unsigned long long)r->failures, r->failure ? r->failure : "",
           (unsigned long long)r->reconnects, seconds, proxy_cpu, own_cpu, idle,
           (double)histogram_quantile_ns(&r->latency, 0.5) / 1e3,
           (double)histogram_quantile_ns(&r->latency, 0.99) / 1e3,
           (double)histogram_quantile_ns(&r->latency, 0.999) / 1e3, (double)r->latency.max_ns / 1e3,
           (unsigned long long)malformed, (unsigned long long)accepted);
    fflush(stdout);
}

static void command_go(struct load *l, char *const *pids, unsigned pids_count)
{
    clients_start(l->clients);
    run_until(l, clock_seconds(CLOCK_MONOTONIC) + l->warmup_seconds);
    /* a failure while warming up is a failure too, but goes out with its own line */
    const struct client_results *r = clients_results(l->clients);
    if (r->failures)
        fprintf(stderr, "load: %llu failures while warming up: %s\n", (unsigned long long)r->failures,
                r->failure);
    clients_reset(l->clients);
    double start = clock_seconds(CLOCK_MONOTONIC), proxy = all_cpu_seconds(pids, pids_count),
           own = own_cpu_seconds();
    l->idle_seconds = 0;
    run_until(l, start + l->seconds);
    double end = clock_seconds(CLOCK_MONOTONIC), proxy_used = all_cpu_seconds(pids, pids_count) - proxy;
    double own_used = own_cpu_seconds() - own - l->idle_seconds;
    clients_rest(l->clients);
    for (double late = end + REST_SECONDS_MAX; !clients_are_resting(l->clients);) {
        if (clock_seconds(CLOCK_MONOTONIC) > late)
            fail("requests are not answered by", "the proxy");
        turn(l, TURN_MS_MAX);
    }
    print_results(l, end - start, proxy_used, own_used, l->idle_seconds);
}

static void command_hold(struct load *l, unsigned count)
{
    double end = clock_seconds(CLOCK_MONOTONIC) + HOLD_SECONDS_MAX;
    clients_hold(l->clients, count);
    while (clients_held(l->clients) < count && clock_seconds(CLOCK_MONOTONIC) < end)
        turn(l, TURN_MS_MAX);
    const struct client_results *r = clients_results(l->clients);
    printf("{\"held\": %u, \"failures\": %llu, \"failure\": \"%s\"}\n", clients_held(l->clients),
           (unsigned long long)r->failures, r->failure ? r->failure : "");
    fflush(stdout);
}

/* false: the input has ended. */
static bool command(struct load *l)
{
    char line[1024], *words[PIDS_MAX + 2];
    unsigned count = 0;
    ssize_t n = read(STDIN_FILENO, line, sizeof line - 1);
    if (n <= 0)
        return false;
    line[n] = 0;
    for (char *at = line; *(at += strspn(at, " \n")) && count < PIDS_MAX + 2;) {
        words[count++] = at;
        at += strcspn(at, " \n");
        if (*at)
            *at++ = 0;
    }
    if (count < 2 || addr_parse(bytes_from(words[1]), &l->options.target))
        fail("unknown command", line);
    if (!l->clients)
        l->clients = clients_open(l->epoll_fd, &l->options);
    uint64_t hold = 0;
    if (strcmp(words[0], "go") == 0)
        command_go(l, words + 2, count - 2);
    else if (strcmp(words[0], "hold") == 0 && count == 3 && bytes_to_u64(bytes_from(words[2]), &hold))
        command_hold(l, (unsigned)hold);
    else
        fail("unknown command", words[0]);
    return true;
}

static void input_ready(struct serve_handle *h, uint32_t events)
{
    (void)events;
    container_of(h, struct load, input)->input_ready = true;
}

static void servers_open(struct load *l, uint64_t count, uint64_t body_bytes)
{
    struct serve_options options = { .body_bytes = body_bytes, .congestion = l->options.congestion };
    struct addr any, bound;
    if (addr_parse(BYTES("127.0.0.1:0"), &any) || serve_open(l->epoll_fd, &options, &l->serve))
        fail("no", "memory");
    printf("ready");
    for (uint64_t i = 0; i < count; i++) {
        if (serve_listen(l->serve, &any, BYTES_NONE, &bound))
            fail("cannot", "listen");
        printf(" %u", ntohs(bound.sock.v4.sin_port));
    }
    printf("\n");
    fflush(stdout);
}

static uint64_t number_of(const char *option, const char *value)
{
    uint64_t number = 0;
    if (!value || !bytes_to_u64(bytes_from(value), &number))
        fail("a number must follow", option);
    return number;
}

int main(int argc, char **argv)
{
    struct load l = { .options = { .connections = 64, .pipeline = 1, .body_bytes = 100 },
                      .seconds = 2,
                      .warmup_seconds = 1,
                      .input = { input_ready } };
    uint64_t servers = 3;
    for (int i = 1; i < argc; i++) {
        const char *option = argv[i], *value = argv[i + 1];
        if (strcmp(option, "--close") == 0) {
            l.options.close = true;
            continue;
        }
        if (strcmp(option, "--tls") == 0 && value) {
            l.options.tls = client_tls_open(strcmp(value, "resume") == 0);
            if (!l.options.tls)
                fail("no TLS", value);
        } else if (strcmp(option, "--servers") == 0)
            servers = number_of(option, value);
        else if (strcmp(option, "--body") == 0)
            l.options.body_bytes = number_of(option, value);
        else if (strcmp(option, "--connections") == 0)
            l.options.connections = (unsigned)number_of(option, value);
        else if (strcmp(option, "--pipeline") == 0)
            l.options.pipeline = (unsigned)number_of(option, value);
        else if (strcmp(option, "--seconds") == 0)
            l.seconds = value ? strtod(value, NULL) : 0;
        else if (strcmp(option, "--warmup") == 0)
            l.warmup_seconds = value ? strtod(value, NULL) : 0;
        else if (strcmp(option, "--congestion") == 0)
            l.options.congestion = value;
        else
            fail("unknown option", option);
        i++;
    }
    signal(SIGPIPE, SIG_IGN);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);

    l.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    servers_open(&l, servers, l.options.body_bytes);
    struct epoll_event event = { EPOLLIN, { .ptr = &l.input } };
    epoll_ctl(l.epoll_fd, EPOLL_CTL_ADD, STDIN_FILENO, &event);
    do {
        l.input_ready = false;
        while (!l.input_ready)
            turn(&l, -1);
    } while (command(&l));
    return 0;
}

#include "gate/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"
#include "core/io.h"
#include "core/log.h"
#include "core/metrics.h"
#include "gate/access_log.h"
#include "gate/call.h"
#include "gate/cpus.h"
#include "gate/gate_metrics.h"
#include "gate/http1_server.h"
#include "gate/l4.h"
#include "gate/listeners.h"
#include "gate/registry.h"
#include "gate/upstream.h"
#include "net/tcp.h"

#define FILE_BYTES_MAX CONF_FILE_BYTES_MAX
#define FILE_BYTES_FIRST (64 * 1024)
#define IDLE_GRACE_MS 300 /* draining: an idle client may be about to send; its answer then closes */
#define DRAIN_LOOK_MS 20

struct module_run {
    struct bytes service;
    const struct service_module *module;
    void *state;
};

static struct {
    const struct process_options *opts;
    struct worker *workers[CPUS_MAX + 1]; /* the control worker behind the others */
    unsigned count;                       /* without it */
    struct generation *generation;
    struct module_run *modules;
    size_t modules_count;
    struct http1_server admin;
    struct io_listener *admin_listener;
    struct addr admin_addr;
    uint64_t reloads, reloads_failed;
    int signals;
    int exit_code;
} self;

static _Thread_local struct http1_server http1;

struct http1_server *process_http1_server(void)
{
    return &http1;
}

unsigned process_workers(struct worker *const **ret_workers)
{
    *ret_workers = self.workers;
    return self.count + 1;
}

const struct generation *process_generation(void)
{
    return self.generation;
}

uint64_t process_reloads(bool failed)
{
    return failed ? self.reloads_failed : self.reloads;
}

/* ---- the file ---- */

/* In a buffer that grows: most files are small, and what was once taken large stays resident. */
static err read_all(int fd, struct arena *a, struct bytes *ret_text, int *ret_errno)
{
    size_t size = FILE_BYTES_FIRST;
    size_t len = 0;
    char *text = arena_get(a, size);
    while (text && len <= FILE_BYTES_MAX) {
        ssize_t n = read(fd, text + len, size - len);
        *ret_errno = errno;
        if (n < 0)
            return ERR_CONF;
        len += (size_t)n;
        if (n == 0)
            break;
        if (len < size)
            continue;
        char *larger = arena_get(a, size * 2);
        if (larger)
            memcpy(larger, text, len);
        text = larger;
        size *= 2;
    }
    *ret_errno = ENOMEM;
    *ret_text = (struct bytes){ text, len };
    return text ? OK : ERR_MEMORY;
}

err process_read_file(const char *path, struct arena *a, struct bytes *ret_text, struct diag *reterr)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int why = errno;
    err e = fd < 0 ? ERR_CONF : read_all(fd, a, ret_text, &why);
    if (fd >= 0)
        close(fd);
    if (e)
        diag_set(reterr, "cannot read %s: %s", path, strerror(why));
    return e;
}

static err load(struct generation **ret_generation, struct diag *reterr)
{
    struct arena a;
    struct bytes text;
    arena_open(&a, &arena_heap, FILE_ARENA_BYTES_MAX, NULL, 0);
    err e = process_read_file(self.opts->conf_path, &a, &text, reterr);
    if (!e)
        e = generation_load(text, self.opts->conf_path, NULL, ret_generation, reterr);
    arena_close(&a);
    return e;
}

/* ---- generations ---- */

struct opening {
    struct generation *generation;
    struct gate *gate;
    struct diag *diag;
    err failed;
};

static void open_here(void *arg)
{
    struct opening *o = arg;
    o->failed = gate_open(o->generation, &o->gate, o->diag);
}

static void use_here(void *arg)
{
    gate_use(arg);
}

static void drop_here(void *arg)
{
    gate_drop(arg);
}

/* The control worker first: what is made once for all of them (gate/once.h) is made where no request waits.
 */
static err open_everywhere(struct generation *g, struct gate **gates, struct diag *reterr)
{
    for (unsigned i = self.count + 1; i-- > 0;) {
        struct opening o = { .generation = g, .diag = reterr };
        call_worker(self.workers[i], open_here, &o);
        if (o.failed) {
            while (++i <= self.count)
                call_worker(self.workers[i], drop_here, gates[i]);
            return o.failed;
        }
        gates[i] = o.gate;
    }
    return OK;
}

static void stop_modules(void)
{
    for (size_t i = 0; i < self.modules_count; i++)
        self.modules[i].module->stop(self.modules[i].state);
    mem_free(self.modules);
    self.modules = NULL;
    self.modules_count = 0;
}

static void start_module(const struct service *s, const struct conf_module *m)
{
    const struct service_module *module = service_module_registry[m->index];
    struct server_shared **shared = mem_must_get(s->servers_count * sizeof(void *));
    struct addr *addrs = mem_must_get(s->servers_count * sizeof *addrs);
    struct diag d = DIAG_NONE;
    void *state;
    for (uint32_t i = 0; i < s->servers_count; i++) {
        shared[i] = s->servers[i].shared;
        addrs[i] = s->servers[i].addr;
    }
    err e = module->start(m->conf, s->name, shared, addrs, s->servers_count, &state, &d);
    if (e)
        log_error(module->conf.name, "cannot start for service %.*s: %s %s", BYTES_ARG(s->name), err_text(e),
                  d.text);
    else
        self.modules[self.modules_count++] = (struct module_run){ s->name, module, state };
    mem_free(shared);
    mem_free(addrs);
}

static void start_modules(void)
{
    struct gate *g = gate_current();
    size_t count = 0;
    for (unsigned i = 0; i < g->services_count; i++)
        count += g->services[i].conf->modules.count;
    self.modules = mem_must_get((count + 1) * sizeof *self.modules);
    for (unsigned i = 0; i < g->services_count; i++) {
        const struct conf_list *list = &g->services[i].conf->modules;
        for (size_t j = 0; j < list->count; j++)
            start_module(&g->services[i], (const struct conf_module *)list->items + j);
    }
}

void process_report_modules(struct bytes service, struct text *json)
{
    for (size_t i = 0; i < self.modules_count; i++) {
        const struct module_run *m = &self.modules[i];
        if (!bytes_eq(m->service, service))
            continue;
        json_begin(json, m->module->conf.name, '{');
        if (m->module->report)
            m->module->report(m->state, json);
        json_end(json, '}');
    }
}

static void on_admin_accept(void *owner, struct io *io)
{
    http1_server_accept(owner, io);
}

/* *ret_fd -1: nothing new to listen on. */
static err open_admin(const struct gate_conf *conf, int *ret_fd, struct diag *reterr)
{
    static const struct tcp_options opts = { .nodelay = true };
    *ret_fd = -1;
    if (!conf->admin.len || addr_eq(&conf->admin, &self.admin_addr))
        return OK;
    return tcp_listen(&conf->admin, &opts, false, ret_fd, reterr);
}

/* Nobody is accepted before the configuration is in use: it says how long a client may idle. */
static void use_admin(const struct gate_conf *conf, int fd)
{
    if (self.admin_listener && !addr_eq(&conf->admin, &self.admin_addr)) {
        io_listener_close(self.admin_listener, true);
        self.admin_listener = NULL;
    }
    self.admin_addr = conf->admin;
    err e = fd >= 0 ? io_listen(fd, on_admin_accept, &self.admin, &self.admin_listener) : OK;
    if (e) {
        log_error("admin", "cannot accept: %s", err_text(e));
        close(fd);
    }
}

/* All that can fail comes before anything changes. */
static err apply(struct generation *g, struct diag *reterr)
{
    struct gate *gates[CPUS_MAX + 1];
    int admin;
    g->workers = self.count;
    err e = open_everywhere(g, gates, reterr);
    if (e) {
        if (reterr->line && !reterr->file)
            reterr->file = self.opts->conf_path;
        return e;
    }
    e = listeners_open(&g->conf->listen, self.count, reterr);
    if (!e) {
        e = open_admin(g->conf, &admin, reterr);
        if (!e) {
            e = access_log_open(g->conf->access_log, &g->access_log, reterr);
            if (e && admin >= 0)
                close(admin);
        }
        if (e)
            listeners_undo();
    }
    if (e) {
        for (unsigned i = 0; i <= self.count; i++)
            call_worker(self.workers[i], drop_here, gates[i]);
        return e;
    }
    for (unsigned i = 0; i <= self.count; i++)
        call_worker(self.workers[i], use_here, gates[i]);
    struct generation *before = self.generation;
    self.generation = g;
    use_admin(g->conf, admin);
    listeners_use(self.workers, self.count);
    stop_modules();
    start_modules();
    if (before)
        generation_drop(before);
    return OK;
}

static void log_failure(const char *what, err e, const struct diag *d)
{
    char text[sizeof d->text + 256];
    log_error("conf", "%s: %s", what, d->set ? diag_print(d, text, sizeof text) : err_text(e));
}

static void reload(void)
{
    struct generation *g;
    struct diag d = DIAG_NONE;
    err e = load(&g, &d);
    if (!e) {
        e = apply(g, &d);
        if (e)
            generation_drop(g);
    }
    if (e) {
        self.reloads_failed++;
        log_failure("reload refused, going on as before", e, &d);
        return;
    }
    self.reloads++;
    if (g->conf->workers != WORKERS_AUTO && (unsigned)g->conf->workers != self.count)
        log_warn("conf", "workers: a change takes effect at the next start");
    log_info("conf", "reloaded generation=%llu", (unsigned long long)g->number);
}

/* ---- stopping ---- */

static void drain_here(void *arg)
{
    (void)arg;
    http1_server_drain(&http1);
}

static void close_idle_here(void *arg)
{
    (void)arg;
    http1_server_close_idle(&http1);
}

static void abort_here(void *arg)
{
    (void)arg;
    http1_server_abort(&http1);
    l4_tcp_abort();
    l4_udp_abort();
    fiber_cancel_all(); /* those that wait for a server do not look at their client */
}

static void count_here(void *arg)
{
    *(uint64_t *)arg += http1.conns_count + l4_tcp_count() + l4_udp_count();
}

static void end_here(void *arg)
{
    (void)arg;
    l4_udp_abort();
    fiber_cancel_all(); /* copies of requests that nobody waits for, and the like */
    gate_use(NULL);
    upstream_close_idle();
    access_log_flush();
}

static void everywhere(void (*fn)(void *arg), void *arg)
{
    for (unsigned i = 0; i < self.count; i++)
        call_worker(self.workers[i], fn, arg);
}

static uint64_t count_open(void)
{
    uint64_t open = 0;
    everywhere(count_here, &open);
    return open;
}

/* What is cut unwinds by itself, and still writes its line into the access log. */
static void cut_all(void)
{
    everywhere(abort_here, NULL);
    while (count_open() && fiber_sleep_us(DRAIN_LOOK_MS * 1000) == OK) {
    }
}

static bool another_stop(void)
{
    struct signalfd_siginfo info;
    while (read(self.signals, &info, sizeof info) == sizeof info) {
        if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT)
            return true;
    }
    return false;
}

static void drain(void)
{
    uint64_t start_us = worker_now_us();
    uint64_t end_us = start_us + self.generation->conf->drain_timeout_ms * 1000;
    uint64_t open;
    log_info("process", "draining");
    listeners_close(self.workers, self.count);
    everywhere(drain_here, NULL);
    while ((open = count_open())) {
        if (worker_now_us() >= end_us || another_stop()) {
            log_warn("process", "%llu connections are cut", (unsigned long long)open);
            cut_all();
            break;
        }
        if (worker_now_us() >= start_us + IDLE_GRACE_MS * 1000)
            everywhere(close_idle_here, NULL);
        if (fiber_sleep_us(DRAIN_LOOK_MS * 1000) != OK)
            break;
    }
}

static void stop_all(void)
{
    stop_modules();
    if (self.admin_listener)
        io_listener_close(self.admin_listener, true);
    http1_server_abort(&self.admin);
    everywhere(end_here, NULL);
    end_here(NULL);
    for (unsigned i = 0; i < self.count; i++) {
        worker_stop(self.workers[i]);
        worker_join(self.workers[i]);
    }
    access_log_close();
    if (self.generation)
        generation_drop(self.generation);
    log_info("process", "stopped");
    worker_stop(worker_self());
}

/* ---- control ---- */

static void dump_here(void *arg)
{
    (void)arg;
    fiber_dump_all(worker_self());
}

static bool handle_signal(int number)
{
    switch (number) {
    case SIGHUP:
        reload();
        return true;
    case SIGUSR1:
        access_log_reopen();
        return true;
    case SIGUSR2: /* kept for the binary upgrade: must not kill meanwhile */
        log_warn("process", "SIGUSR2: this weir has no binary upgrade yet");
        return true;
    case SIGQUIT:
        everywhere(dump_here, NULL);
        dump_here(NULL);
        return true;
    default:
        return false;
    }
}

static void wait_for_signals(void)
{
    for (;;) {
        struct signalfd_siginfo info;
        if (io_wait_fd(self.signals, POLLIN, DEADLINE_NONE) != OK)
            return;
        while (read(self.signals, &info, sizeof info) == sizeof info) {
            if (!handle_signal((int)info.ssi_signo))
                return;
        }
    }
}

static void control(void *arg)
{
    struct generation *first = arg;
    struct diag d = DIAG_NONE;
    self.workers[self.count] = worker_self();
    http1_server_init(&self.admin, self.opts->admin_serve, NULL);
    err e = apply(first, &d);
    if (e) {
        log_failure("cannot start", e, &d);
        generation_drop(first);
        self.exit_code = 1;
    } else {
        log_info("process", "ready workers=%u", self.count);
        wait_for_signals();
        drain();
    }
    stop_all();
}

static void worker_begin(void *arg)
{
    (void)arg;
    http1_server_init(&http1, gate_serve, gate_done);
    http1.on_full = listeners_full_here;
}

static err start_workers(enum loop_kind loop, struct diag *reterr)
{
    int cpus[CPUS_MAX];
    unsigned cpus_count = cpus_allowed(cpus);
    for (unsigned i = 0; i < self.count; i++) {
        char name[16];
        snprintf(name, sizeof name, "weir-%u", i);
        struct worker_opts opts = {
            .index = i, .loop = loop, .cpu = self.count <= cpus_count ? cpus[i] : -1, .name = name
        };
        err e = worker_start(&opts, worker_begin, NULL, &self.workers[i], reterr);
        if (e)
            return e;
    }
    return OK;
}

static void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)!setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static void block_signals(void)
{
    static const int taken[] = { SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGQUIT };
    sigset_t set;
    sigemptyset(&set);
    for (unsigned i = 0; i < sizeof taken / sizeof *taken; i++)
        sigaddset(&set, taken[i]);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    self.signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    must(self.signals >= 0);
}

int process_run(const struct process_options *opts)
{
    struct generation *g;
    struct diag d = DIAG_NONE;
    char text[1024];
    self.opts = opts;
    err e = load(&g, &d);
    if (e) {
        fprintf(stderr, "weir: %s\n", d.set ? diag_print(&d, text, sizeof text) : err_text(e));
        return 1;
    }
    enum loop_kind loop = loop_choose(opts->loop, text, sizeof text);
    log_info("process", "loop=%s (%s)", loop_name(loop), text);
    self.count = g->conf->workers == WORKERS_AUTO ? cpus_auto() : (unsigned)g->conf->workers;
    raise_file_limit();
    block_signals();
    metrics_init(self.count);
    e = start_workers(loop, &d);
    if (!e)
        e = worker_run(&(struct worker_opts){ .index = self.count, .loop = loop, .cpu = -1, .name = "weir" },
                       control, g, &d);
    if (e) {
        log_failure("cannot start", e, &d);
        return 1;
    }
    metrics_close();
    close(self.signals);
    return self.exit_code;
}

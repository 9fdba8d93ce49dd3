#include "gate/process.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/must.h"
#include "core/io.h"
#include "core/log.h"
#include "core/metrics.h"
#include "gate/access_log.h"
#include "gate/call.h"
#include "gate/history.h"
#include "gate/listeners.h"
#include "gate/notify.h"
#include "gate/pid_file.h"
#include "gate/process_internal.h"
#include "gate/resp.h"
#include "gate/stock_watch.h"
#include "gate/topic_watch.h"
#include "gate/upgrade.h"
#include "ledger/ledger_conf.h"

struct process process_self;

static _Thread_local struct clients clients;

struct clients *process_clients(void)
{
    return &clients;
}

unsigned process_workers(struct worker *const **ret_workers)
{
    *ret_workers = process_self.workers;
    return process_self.count + 1;
}

const struct generation *process_generation(void)
{
    return process_self.generation;
}

uint64_t process_reloads(bool failed)
{
    return failed ? process_self.reloads_failed : process_self.reloads;
}

const struct generation_origin *process_origin(void)
{
    return &process_self.origin;
}

enum process_state process_state(void)
{
    if (!process_self.draining)
        return PROCESS_SERVING;
    return process_self.successor ? PROCESS_UPGRADED : PROCESS_DRAINING;
}

const char *process_conf_path(void)
{
    return process_self.opts->conf_path;
}

uint64_t process_started_us(void)
{
    return process_self.started_us;
}

void process_everywhere(void (*fn)(void *arg), void *arg)
{
    for (unsigned i = 0; i < process_self.count; i++)
        call_worker(process_self.workers[i], fn, arg);
}

void process_log_failure(const char *what, err e, const struct diag *d)
{
    char text[sizeof d->text + 256];
    log_error("conf", "%s: %s", what, d->set ? diag_print(d, text, sizeof text) : err_text(e));
}

/* ---- orders: what changes the process, on the control fiber, one after the other ---- */

static struct order *orders, **orders_last = &orders;
static bool orders_closed;

/* Wakes the control fiber, as a signal does. */
#define SIGNAL_ORDERS SIGRTMIN

err process_order(struct order *o)
{
    if (orders_closed)
        return ERR_UNAVAILABLE;
    o->next = NULL;
    o->waiting = fiber_self();
    o->failed = ERR_AGAIN;
    *orders_last = o;
    orders_last = &o->next;
    kill(getpid(), SIGNAL_ORDERS);
    while (o->waiting) { /* the order stands on this fiber's stack: a cancelled one has to stay too */
        if (fiber_wait(DEADLINE_NONE) != OK && o->waiting)
            fiber_yield();
    }
    return o->failed;
}

static err take_over(struct generation *g, const struct order *o, const char *reason, uint64_t back_to,
                     struct diag *reterr)
{
    struct generation_origin origin = { .rolled_back_to = back_to };
    snprintf(origin.author, sizeof origin.author, "%s", o->author);
    snprintf(origin.reason, sizeof origin.reason, "%s", reason);
    err e = reload_apply(g, &origin, reterr);
    if (e)
        generation_drop(g);
    return e;
}

static err reload(const struct order *o, struct diag *reterr)
{
    struct generation *g;
    notify_reloading();
    err e = reload_load(NULL, &g, reterr);
    return e ? e : take_over(g, o, "reload", 0, reterr);
}

/* The rollback is in force by now: a file that cannot be written takes nothing of that back. */
static void write_file(struct bytes text)
{
    struct diag d = DIAG_NONE;
    err e = history_write_conf(process_conf_path(), text, &d);
    if (e)
        log_error("history", "the rollback is in force, but not in the file: %s", d.text);
    else
        process_self.origin.rolled_back_to = 0; /* the file is what runs */
}

static err rollback(const struct order *o, struct diag *reterr)
{
    struct arena a;
    struct bytes text;
    struct generation *g;
    char reason[64];
    arena_open(&a, &arena_heap, FILE_ARENA_BYTES_MAX, NULL, 0);
    err e = history_text(o->number, &a, &text);
    if (e)
        diag_set(reterr, "generation %llu is not kept%s", (unsigned long long)o->number,
                 *history_folder() ? "" : ": there is no state_dir");
    if (!e)
        e = reload_load(&text, &g, reterr);
    snprintf(reason, sizeof reason, "rollback to %llu", (unsigned long long)o->number);
    if (!e)
        e = take_over(g, o, reason, o->number, reterr);
    if (!e && o->write)
        write_file(text);
    arena_close(&a);
    return e;
}

/* The same number, author and time: nobody changed the configuration. */
static err reopen(struct diag *reterr)
{
    struct generation *g;
    const struct generation *now = process_self.generation;
    const struct generation_origin origin = process_self.origin;
    err e = reload_load(&now->text, &g, reterr);
    if (e)
        return e;
    generation_renumber(g, now->number);
    e = reload_apply(g, &origin, reterr);
    if (e)
        generation_drop(g);
    process_self.origin.time_s = origin.time_s;
    return e;
}

static err change(const struct order *o, struct diag *reterr)
{
    err e = o->kind == ORDER_RELOAD ? reload(o, reterr) : rollback(o, reterr);
    notify_send("READY=1");
    if (e) {
        process_self.reloads_failed++;
        process_log_failure("reload refused, going on as before", e, reterr);
        return e;
    }
    const struct generation *g = process_self.generation;
    process_self.reloads++;
    if (g->conf->workers != WORKERS_AUTO && (unsigned)g->conf->workers != process_self.count)
        log_warn("conf", "workers: a change takes effect at the next start");
    log_info("conf", "reloaded generation=%llu (%s, by %s)", (unsigned long long)g->number,
             process_self.origin.reason, process_self.origin.author);
    return OK;
}

static err upgrade(const struct order *o, struct diag *reterr)
{
    pid_t pid;
    log_info("upgrade", "asked for by %s", o->author);
    err e = upgrade_run(&pid, reterr);
    if (e) {
        log_error("upgrade", "refused, going on as before: %s", reterr->set ? reterr->text : err_text(e));
        return e;
    }
    char text[64];
    process_self.successor = pid;
    snprintf(text, sizeof text, "MAINPID=%d", (int)pid);
    notify_send(text);
    return OK;
}

static void follow(struct order *o)
{
    struct diag d = DIAG_NONE;
    struct diag *reterr = o->diag ? o->diag : &d;
    if (o->kind == ORDER_REOPEN)
        o->failed = reopen(reterr);
    else
        o->failed = o->kind == ORDER_UPGRADE ? upgrade(o, reterr) : change(o, reterr);
    o->ret_number =
        o->kind == ORDER_UPGRADE ? (uint64_t)process_self.successor : process_self.generation->number;
}

static void answer_order(struct order *o)
{
    struct fiber *waiting = o->waiting;
    o->waiting = NULL;
    if (waiting)
        fiber_wake(waiting);
}

static void follow_all(void)
{
    struct order *o;
    while ((o = orders)) {
        orders = o->next;
        if (!orders)
            orders_last = &orders;
        if (process_self.successor || orders_closed)
            o->failed = ERR_UNAVAILABLE;
        else
            follow(o);
        answer_order(o);
    }
}

/* ---- control ---- */

static void dump_here(void *arg)
{
    (void)arg;
    fiber_dump_all(worker_self());
}

static void follow_signal(const struct signalfd_siginfo *info, enum order_kind kind)
{
    struct order o = { .kind = kind };
    snprintf(o.author, sizeof o.author, "uid %u (pid %u)", info->ssi_uid, info->ssi_pid);
    follow(&o);
}

/* False: the process shall end. */
static bool handle_signal(const struct signalfd_siginfo *info)
{
    int number = (int)info->ssi_signo;
    if (number == SIGHUP) {
        follow_signal(info, ORDER_RELOAD);
    } else if (number == SIGUSR1) {
        access_log_reopen();
    } else if (number == SIGUSR2) {
        follow_signal(info, ORDER_UPGRADE);
    } else if (number == SIGQUIT) {
        process_everywhere(dump_here, NULL);
        dump_here(NULL);
    } else if (number == SIGNAL_ORDERS) {
        follow_all();
    } else {
        return false;
    }
    return process_self.successor == 0;
}

static void wait_for_signals(void)
{
    for (;;) {
        struct signalfd_siginfo info;
        if (io_wait_fd(process_self.signals, POLLIN, DEADLINE_NONE) != OK)
            return;
        while (read(process_self.signals, &info, sizeof info) == sizeof info) {
            if (!handle_signal(&info))
                return;
        }
    }
}

static void serve_before(void *arg)
{
    ledger_serve_before((int)(intptr_t)arg);
}

/* Before the doors are open. In an upgrade they are, and the ledger is still the other process'. */
static void fill_ledger(const struct ledger_conf *c)
{
    topic_watch_make(c);
    if (c->stock_file.len)
        stock_watch_load(c->stock_file);
}

static err start(struct generation *first, struct diag *reterr)
{
    struct generation_origin origin = { .author = "file", .reason = "start" };
    if (upgrade_active())
        snprintf(origin.reason, sizeof origin.reason, "upgrade");
    (void)upgrade_conf(&origin.rolled_back_to);
    err e = ledger_start(first->conf->ledger, upgrade_active(), reterr);
    if (!e && first->conf->ledger && !upgrade_active())
        fill_ledger(first->conf->ledger);
    if (!e)
        e = reload_apply(first, &origin, reterr);
    if (e)
        return e;
    e = pid_file_write(first->conf->pid_file, reterr);
    if (e && !upgrade_active())
        return e;
    if (e) /* there are clients already */
        log_error("process", "%s", reterr->text);
    if (first->conf->ledger) {
        stock_watch_start(upgrade_active() ? first->conf->ledger->stock_file : BYTES_NONE);
        topic_watch_start();
    }
    log_info("process", "ready workers=%u", process_self.count);
    const int entries = upgrade_take_entries();
    if (entries >= 0)
        fiber_spawn(serve_before, (void *)(intptr_t)entries);
    upgrade_ready();
    char text[64];
    snprintf(text, sizeof text, "READY=1\nMAINPID=%d", (int)getpid());
    notify_send(text);
    return OK;
}

static void tell_failure(err e, const struct diag *d)
{
    char text[600];
    process_log_failure("cannot start", e, d);
    upgrade_failed(d->set ? diag_print(d, text, sizeof text) : err_text(e));
}

static void control(void *arg)
{
    struct generation *first = arg;
    struct diag d = DIAG_NONE;
    process_self.workers[process_self.count] = worker_self();
    process_self.started_us = worker_now_us();
    clients_init(&process_self.control[CONTROL_ADMIN], process_self.opts->admin_serve, NULL);
    clients_init(&process_self.control[CONTROL_LEDGER], process_self.opts->ledger_serve, NULL);
    err e = start(first, &d);
    if (e) {
        tell_failure(e, &d);
        if (process_self.generation != first)
            generation_drop(first);
        process_self.exit_code = 1;
    } else {
        wait_for_signals();
        orders_closed = true;
        follow_all();
        drain_clients();
    }
    drain_stop();
}

static void worker_begin(void *arg)
{
    (void)arg;
    clients_init(&clients, gate_serve, gate_done);
    clients.on_full = listeners_full_here;
}

static err start_workers(enum loop_kind loop, struct diag *reterr)
{
    int cpus[CPUS_MAX];
    unsigned cpus_count = cpus_allowed(cpus);
    for (unsigned i = 0; i < process_self.count; i++) {
        char name[16];
        snprintf(name, sizeof name, "weir-%u", i);
        struct worker_opts opts = {
            .index = i, .loop = loop, .cpu = process_self.count <= cpus_count ? cpus[i] : -1, .name = name
        };
        err e = worker_start(&opts, worker_begin, NULL, &process_self.workers[i], reterr);
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
    const int taken[] = { SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGQUIT, SIGNAL_ORDERS };
    sigset_t set;
    sigemptyset(&set);
    for (unsigned i = 0; i < sizeof taken / sizeof *taken; i++)
        sigaddset(&set, taken[i]);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* what cannot be written any more says so: EFBIG, as a full disk does */
    process_self.signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    must(process_self.signals >= 0);
}

static int refuse_start(err e, const struct diag *d)
{
    char text[1024];
    const char *why = d->set ? diag_print(d, text, sizeof text) : err_text(e);
    fprintf(stderr, "weir: %s\n", why);
    upgrade_failed(why);
    return 1;
}

int process_run(const struct process_options *opts)
{
    struct generation *g;
    struct diag d = DIAG_NONE;
    char text[1024];
    uint64_t number;
    process_self.opts = opts;
    err e = upgrade_receive(&d);
    if (!e)
        e = reload_load(upgrade_conf(&number), &g, &d);
    if (e)
        return refuse_start(e, &d);
    enum loop_kind loop = loop_choose(opts->loop, text, sizeof text);
    log_info("process", "loop=%s (%s)", loop_name(loop), text);
    process_self.count = g->conf->workers == WORKERS_AUTO ? cpus_auto() : (unsigned)g->conf->workers;
    raise_file_limit();
    block_signals();
    metrics_init(process_self.count);
    e = start_workers(loop, &d);
    if (!e)
        e = worker_run(
            &(struct worker_opts){ .index = process_self.count, .loop = loop, .cpu = -1, .name = "weir" },
            control, g, &d);
    if (e) {
        tell_failure(e, &d);
        return 1;
    }
    metrics_close();
    close(process_self.signals);
    return process_self.exit_code;
}

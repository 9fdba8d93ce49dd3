/* How weir stops: clients are let go of one by one, then workers and all. */
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "core/log.h"
#include "gate/access_log.h"
#include "gate/call.h"
#include "gate/control_listener.h"
#include "gate/l4.h"
#include "gate/listeners.h"
#include "gate/notify.h"
#include "gate/pid_file.h"
#include "gate/process_internal.h"
#include "gate/tap.h"
#include "gate/upgraded.h"
#include "gate/upstream.h"
#include "ledger/ledger_conf.h"
#include "net/quic.h"

/* An idle client may be about to send; its answer then closes. One that has its successor to go to has more
 * time: a request that is on its way while we close is lost to its sender. */
#define IDLE_GRACE_MS 300
#define IDLE_GRACE_UPGRADED_MS 5000
#define DRAIN_LOOK_MS 20
/* Requests that were under way when the next process took over find the ledger still here. */
#define LEDGER_GRACE_MS 100
#define ADMIN_GRACE_MS 5000
/* WebSockets stay with a process that has its successor as long as they can; then they are told, and have so
 * long to say goodbye. */
#define WEBSOCKET_GRACE_MS 5000

static void drain_here(void *arg)
{
    (void)arg;
    clients_drain(process_clients());
}

static void close_idle_here(void *arg)
{
    clients_close_idle(process_clients(), *(const bool *)arg);
}

static void abort_here(void *arg)
{
    (void)arg;
    clients_abort(process_clients());
    l4_tcp_abort();
    l4_udp_abort();
    upgraded_abort();
    fiber_cancel_all(); /* those that wait for a server do not look at their client */
}

static void close_websockets_here(void *arg)
{
    (void)arg;
    websocket_drain();
}

static void count_here(void *arg)
{
    *(uint64_t *)arg += process_clients()->conns_count + l4_tcp_count() + l4_udp_count();
}

static void end_here(void *arg)
{
    (void)arg;
    l4_udp_abort();
#if WEIR_HAVE_NGTCP2
    quic_abort();
#endif
    fiber_cancel_all(); /* copies of requests that nobody waits for, and the like */
    gate_use(NULL);
    upstream_close_idle();
    access_log_flush();
}

static uint64_t count_open(void)
{
    uint64_t open = 0;
    process_everywhere(count_here, &open);
    return open;
}

/* What is cut unwinds by itself, and still writes its line into the access log. */
static void cut_all(void)
{
    process_everywhere(abort_here, NULL);
    while (count_open() && fiber_sleep_us(DRAIN_LOOK_MS * 1000) == OK) {
    }
}

static bool another_stop(void)
{
    struct signalfd_siginfo info;
    while (read(process_self.signals, &info, sizeof info) == sizeof info) {
        if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT)
            return true;
    }
    return false;
}

/* Metrics and status can be asked for until the end, unless the next process answers them. */
static uint64_t begin(uint64_t start_us)
{
    const struct gate_conf *conf = process_self.generation->conf;
    bool upgraded = process_self.successor != 0;
    process_self.draining = true;
    if (upgraded)
        log_info("process", "draining: process %d has taken over", (int)process_self.successor);
    else
        log_info("process", "draining");
    if (!upgraded)
        notify_send("STOPPING=1");
    listeners_close(process_self.workers, process_self.count);
    if (upgraded) {
        reload_stop_modules(); /* its health checks are under way */
        control_listeners_stop();
        for (unsigned i = 0; i < CONTROL_LISTENERS; i++)
            clients_drain(&process_self.control[i]);
        tap_end_all();
    }
    process_everywhere(drain_here, NULL);
    return start_us + (upgraded ? conf->upgrade->drain_timeout_ms : conf->drain_timeout_ms) * 1000;
}

/* An answer of the admin API that is on its way: to who asked for the upgrade, above all. */
static void settle_admin(void)
{
    uint64_t end_us = deadline_in_ms(ADMIN_GRACE_MS);
    const struct clients *s = &process_self.control[CONTROL_ADMIN];
    tap_end_all();
    while (s->conns_count > s->parked_count && worker_now_us() < end_us) {
        if (fiber_sleep_us(DRAIN_LOOK_MS * 1000) != OK)
            return;
    }
}

static uint64_t websockets_end_us(uint64_t start_us, uint64_t end_us)
{
    const uint64_t half_us = (end_us - start_us) / 2;
    return end_us - (half_us < WEBSOCKET_GRACE_MS * 1000 ? half_us : WEBSOCKET_GRACE_MS * 1000);
}

/* Whose connection to the ledger's own address rests has it closed now, not refused with the next request: a
 * client that finds it closed comes again, to the next process. */
static void hand_over_ledger(void)
{
    clients_close_idle(&process_self.control[CONTROL_LEDGER], true);
    ledger_hand_over();
}

void drain_clients(void)
{
    uint64_t start_us = worker_now_us();
    uint64_t end_us = begin(start_us);
    bool upgraded = process_self.successor != 0;
    uint64_t grace_ms = upgraded ? IDLE_GRACE_UPGRADED_MS : IDLE_GRACE_MS;
    uint64_t websockets_us = upgraded ? websockets_end_us(start_us, end_us) : start_us;
    uint64_t open;
    if (upgraded && fiber_sleep_us(LEDGER_GRACE_MS * 1000) == OK)
        hand_over_ledger();
    while ((open = count_open())) {
        if (worker_now_us() >= end_us || another_stop()) {
            log_warn("process", "%llu connections are cut", (unsigned long long)open);
            cut_all();
            break;
        }
        if (worker_now_us() >= websockets_us) {
            process_everywhere(close_websockets_here, NULL);
            websockets_us = UINT64_MAX;
        }
        if (worker_now_us() >= start_us + grace_ms * 1000)
            process_everywhere(close_idle_here, &upgraded);
        if (fiber_sleep_us(DRAIN_LOOK_MS * 1000) != OK)
            break;
    }
}

void drain_stop(void)
{
    settle_admin();
    reload_stop_modules();
    control_listeners_stop();
    for (unsigned i = 0; i < CONTROL_LISTENERS; i++)
        clients_abort(&process_self.control[i]);
    process_everywhere(end_here, NULL);
    end_here(NULL);
    for (unsigned i = 0; i < process_self.count; i++) {
        worker_stop(process_self.workers[i]);
        worker_join(process_self.workers[i]);
    }
    ledger_stop();
    access_log_close();
    if (process_self.generation)
        pid_file_remove(process_self.generation->conf->pid_file);
    if (process_self.generation)
        generation_drop(process_self.generation);
    log_info("process", "stopped");
    worker_stop(worker_self());
}

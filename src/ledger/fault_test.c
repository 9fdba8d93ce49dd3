/* A disk that fills up, writes and syncs that fail, a clock that is set back: the writer stops and says why,
 * nothing is answered that is not safe, and what was answered is found again.
 *
 * The system calls below take the place of the C library's in this program, and in liblmdb. */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>

#include "ledger/clients_test.h"
#include "ledger/folder_test.h"

/* ---- the faults ---- */

static struct {
    _Atomic int64_t bytes_left;                     /* the disk is full behind them */
    _Atomic int64_t syncs_left;                     /* then one fails, and writes too */
    _Atomic int64_t writes_left;                    /* then one fails */
    _Atomic int64_t clock_ms;                       /* added to the wall clock */
    _Atomic int64_t log_syncs_left;                 /* the same for files of the log alone */
    _Atomic int64_t log_unsynced;                   /* writes to them that no sync has followed */
    _Atomic int64_t checkpoints, checkpoints_ahead; /* syncs of the checkpoint; those in spite of that */
    _Atomic bool failed;
    const char *watched; /* a file of this name, NULL: none; how often it was synced */
    _Atomic int64_t watched_syncs;
} fault;

static void no_faults(void)
{
    fault.bytes_left = fault.syncs_left = fault.writes_left = fault.log_syncs_left = INT64_MAX / 2;
    fault.log_unsynced = fault.checkpoints = fault.checkpoints_ahead = fault.watched_syncs = 0;
    fault.clock_ms = 0;
    fault.watched = NULL;
    fault.failed = false;
}

static bool runs_out(_Atomic int64_t *left, int64_t n)
{
    return atomic_fetch_sub(left, n) < n;
}

/* With 64-bit offsets the names above stand for pwrite64 and so on; liblmdb may ask for these. */
ssize_t plain_pwrite(int fd, const void *data, size_t n, off_t at) __asm__("pwrite");
ssize_t plain_pwritev(int fd, const struct iovec *v, int count, off_t at) __asm__("pwritev");
int plain_posix_fallocate(int fd, off_t at, off_t n) __asm__("posix_fallocate");

static ssize_t fail_with(int number)
{
    fault.failed = true;
    errno = number;
    return -1;
}

static bool is_named(int fd, const char *name)
{
    char link[64], path[256];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    path[n > 0 ? n : 0] = 0;
    return strstr(path, name) != NULL;
}

static bool is_log(int fd)
{
    return is_named(fd, "/log-");
}

/* In every answer's time the log must be synced: by the descriptor, or by a call since. */
static void note_write(int fd)
{
    if (is_log(fd) && !(fcntl(fd, F_GETFL) & O_DSYNC))
        fault.log_unsynced++;
}

static bool sync_fails(int fd)
{
    if (runs_out(&fault.syncs_left, 1) || (is_log(fd) && runs_out(&fault.log_syncs_left, 1)))
        return true;
    if (is_log(fd))
        fault.log_unsynced = 0;
    if (fault.watched && is_named(fd, fault.watched))
        fault.watched_syncs++;
    if (is_named(fd, "/checkpoint/data.mdb")) {
        fault.checkpoints++;
        fault.checkpoints_ahead += fault.log_unsynced > 0;
    }
    return false;
}

static bool write_fails(size_t n, int *ret_number)
{
    *ret_number = ENOSPC;
    if (runs_out(&fault.bytes_left, (int64_t)n))
        return true;
    *ret_number = EIO;
    return runs_out(&fault.writes_left, 1);
}

ssize_t pwrite(int fd, const void *data, size_t n, off_t at)
{
    int number;
    note_write(fd);
    return write_fails(n, &number) ? fail_with(number) : syscall(SYS_pwrite64, fd, data, n, at);
}

ssize_t plain_pwrite(int fd, const void *data, size_t n, off_t at)
{
    return pwrite(fd, data, n, at);
}

ssize_t pwritev(int fd, const struct iovec *v, int count, off_t at)
{
    size_t n = 0;
    int number;
    for (int i = 0; i < count; i++)
        n += v[i].iov_len;
    return write_fails(n, &number) ? fail_with(number) : syscall(SYS_pwritev, fd, v, (long)count, at, 0L);
}

ssize_t plain_pwritev(int fd, const struct iovec *v, int count, off_t at)
{
    return pwritev(fd, v, count, at);
}

int fdatasync(int fd)
{
    return sync_fails(fd) ? (int)fail_with(EIO) : (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd)
{
    return sync_fails(fd) ? (int)fail_with(EIO) : (int)syscall(SYS_fsync, fd);
}

int posix_fallocate(int fd, off_t at, off_t n)
{
    int number;
    if (fault.bytes_left < n)
        return ENOSPC;
    number = (int)syscall(SYS_fallocate, fd, 0, at, n);
    return number < 0 ? errno : 0;
}

int plain_posix_fallocate(int fd, off_t at, off_t n)
{
    return posix_fallocate(fd, at, n);
}

int clock_gettime(clockid_t clock, struct timespec *t)
{
    int result = (int)syscall(SYS_clock_gettime, clock, t);
    if (clock == CLOCK_REALTIME)
        t->tv_sec += fault.clock_ms / 1000;
    return result;
}

/* ---- the ledger under them ---- */

static struct told_list told;
static char wrong[256];
static uint64_t runs;
static enum ledger_durability durability;

static struct ledger_opts options(void)
{
    struct ledger_opts o = LEDGER_OPTS_DEFAULT;
    o.path = folder;
    o.rules = counter_registry;
    o.segment_bytes = 1u << 20;
    o.checkpoint_interval_ms = 15;
    o.durability = durability;
    o.interval_ms = 5;
    return o;
}

static int set_up(void **state)
{
    log_set_level(LOG_ERROR + 1);
    no_faults();
    durability = LEDGER_COMMIT;
    runs = 0;
    told.count = 0;
    wrong[0] = 0;
    return folder_make(state);
}

static void check(void *arg)
{
    (void)arg;
    told_check(&told, runs * CLIENTS, wrong);
    if (!wrong[0])
        told_ask_again(&told, 7, wrong);
    worker_stop(worker_self());
}

/* The faults are over; all that was answered is there. */
static void look(void)
{
    struct ledger_opts o = options();
    no_faults();
    clients.ledger = folder_open(&o);
    on_worker(check, NULL);
    ledger_close(clients.ledger);
    assert_string_equal(wrong, "");
}

static void ask_when_stopped(void *arg)
{
    struct told t;
    const struct counter_op o = { .what = COUNTER_GET };
    *(err *)arg = client_ask(&o, &t);
    worker_stop(worker_self());
}

static void ask_once(void *arg)
{
    (void)arg;
    static err e;
    ask_when_stopped(&e);
    if (e != ERR_UNAVAILABLE)
        snprintf(wrong, sizeof wrong, "a stopped writer answered: %s", err_name(e));
}

static _Atomic int64_t *fault_at;
static int64_t fault_value;
static unsigned clients_of_round;

/* Sets the fault in the middle of the load; the clients end by themselves when the writer has stopped. */
static void load_with_fault(void *arg)
{
    clients_begin(arg);
    clients_of_round = clients.living;
    if (fiber_sleep_us(1000 * (5 + random_below(30))) == OK)
        atomic_store(fault_at, fault_value);
}

/* Answers go into a file: nobody reads at the same time. */
static void run_into(_Atomic int64_t *at, int64_t value, const char *expected)
{
    struct ledger_opts o = options();
    char path[128];
    no_faults();
    snprintf(path, sizeof path, "%s.told", folder);
    clients.out = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    unlink(path);
    clients.run = ++runs;
    fault_at = at;
    fault_value = value;
    clients.ledger = folder_open(&o);
    on_worker(load_with_fault, NULL);
    const char *why = ledger_stopped(clients.ledger);
    assert_non_null(why);
    if (!strstr(why, expected))
        print_error("stopped: %s\n", why);
    assert_non_null(strstr(why, expected));
    on_worker(ask_once, NULL);
    ledger_close(clients.ledger);
    assert_int_equal(lseek(clients.out, 0, SEEK_SET), 0);
    told_read(&told, clients.out);
    close(clients.out);
}

static void a_full_disk_stops_the_writer(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        run_into(&fault.bytes_left, random_below(600000), "No space left on device");
        look();
    }
}

static void a_failed_write_stops_the_writer(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        run_into(&fault.writes_left, random_below(20), "Input/output error");
        look();
    }
}

/* In `interval` the log is synced apart from its writes. A second sync would succeed: nobody may try. */
static void a_failed_sync_is_final(void **state)
{
    (void)state;
    durability = LEDGER_INTERVAL;
    for (unsigned i = 0; i < 4; i++) {
        run_into(&fault.log_syncs_left, random_below(4), "Input/output error");
        assert_true(fault.failed);
    }
    durability = LEDGER_COMMIT;
    for (unsigned i = 0; i < 2; i++) {
        run_into(&fault.syncs_left, random_below(4), "Input/output error");
        look();
    }
}

static void answers_and_syncs(void *arg)
{
    uint64_t *unsynced = arg;
    *unsynced = 0;
    for (uint64_t i = 1; i <= 50; i++) {
        struct told t;
        const struct counter_op o = {
            .what = COUNTER_ADD, .name = 1, .n = 1, .token = 1000 * (uint64_t)durability + i
        };
        if (client_ask(&o, &t) != OK)
            snprintf(wrong, sizeof wrong, "not taken");
        *unsynced += (uint64_t)fault.log_unsynced > 0;
    }
    worker_stop(worker_self());
}

static uint64_t unsynced_answers(void)
{
    static uint64_t unsynced;
    struct ledger_opts o = options();
    o.checkpoint_interval_ms = 3600000;
    o.interval_ms = 3600000;
    clients.ledger = folder_open(&o);
    on_worker(answers_and_syncs, &unsynced);
    ledger_close(clients.ledger);
    assert_string_equal(wrong, "");
    return unsynced;
}

static void a_commit_is_synced_before_it_is_answered(void **state)
{
    (void)state;
    assert_int_equal(unsynced_answers(), 0);
    durability = LEDGER_MEMORY; /* that this test can see the difference */
    assert_int_not_equal(unsynced_answers(), 0);
}

static void watch_last_segment(void)
{
    static char path[512];
    folder_last_segment(folder, path);
    fault.watched = strrchr(path, '/');
}

static void answered_and_synced_soon(void *arg)
{
    (void)arg;
    struct told t;
    const struct counter_op o = { .what = COUNTER_ADD, .name = 1, .n = 1, .token = 1 };
    const uint64_t end_us = worker_now_us() + 20000000;
    if (client_ask(&o, &t) != OK)
        snprintf(wrong, sizeof wrong, "not taken");
    while (!fault.watched_syncs && !wrong[0]) {
        if (fiber_sleep_us(2000) != OK || worker_now_us() > end_us)
            snprintf(wrong, sizeof wrong, "not synced");
    }
    worker_stop(worker_self());
}

static void an_interval_is_synced_by_itself(void **state)
{
    (void)state;
    durability = LEDGER_INTERVAL;
    struct ledger_opts o = options();
    o.checkpoint_interval_ms = 3600000;
    clients.ledger = folder_open(&o);
    watch_last_segment();
    on_worker(answered_and_synced_soon, NULL);
    fault.watched = NULL;
    ledger_close(clients.ledger);
    assert_string_equal(wrong, "");
}

/* What a process that died has left to the kernel is on disk before anything stands on it. */
static void what_is_found_in_the_log_is_synced(void **state)
{
    (void)state;
    uint64_t unsynced;
    durability = LEDGER_MEMORY;
    struct ledger_opts o = options();
    o.checkpoint_interval_ms = 3600000;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct diag d = DIAG_NONE;
        struct worker_opts w = { .loop = LOOP_EPOLL, .cpu = -1 };
        const bool opened = ledger_open(&o, &clients.ledger, &d) == OK;
        _exit(opened && worker_run(&w, answers_and_syncs, &unsynced, &d) == OK ? 0 : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    watch_last_segment();
    clients.ledger = folder_open(&o);
    fault.watched = NULL;
    assert_true(fault.watched_syncs > 0);
    ledger_close(clients.ledger);
}

/* Nothing is written from an answer on until the checkpoint has it: whatever the log has not synced then is
 * what the checkpoint stands on. */
static void checkpoints_one_by_one(void *arg)
{
    (void)arg;
    const uint64_t end_us = worker_now_us() + 20000000;
    for (uint64_t i = 1; i <= 5 && !wrong[0]; i++) {
        struct told t;
        const struct counter_op add = { .what = COUNTER_ADD, .name = 1, .n = 1, .token = i };
        const struct counter_op get = { .what = COUNTER_GET, .name = 1 };
        const int64_t before = fault.checkpoints;
        if (client_ask(&add, &t) != OK)
            snprintf(wrong, sizeof wrong, "not taken");
        /* asked without end: the writer tells how far it is after a batch */
        while (!wrong[0] && ledger_status(clients.ledger).checkpoint_seq < i) {
            if (client_ask(&get, &t) != OK || fiber_sleep_us(2000) != OK || worker_now_us() > end_us)
                snprintf(wrong, sizeof wrong, "no checkpoint");
        }
        if (fault.checkpoints == before)
            snprintf(wrong, sizeof wrong, "a checkpoint that is not synced");
    }
    worker_stop(worker_self());
}

static void a_checkpoint_is_never_ahead_of_the_log(void **state)
{
    (void)state;
    for (durability = LEDGER_COMMIT; durability <= LEDGER_MEMORY; durability++) {
        struct ledger_opts o = options();
        char path[96];
        snprintf(path, sizeof path, "%s.%u", folder, durability);
        o.path = path;
        o.interval_ms = 3600000;
        no_faults();
        clients.ledger = folder_open(&o);
        fault.checkpoints = 0;
        on_worker(checkpoints_one_by_one, NULL);
        ledger_close(clients.ledger);
        assert_string_equal(wrong, "");
        assert_int_equal(fault.checkpoints_ahead, 0);
    }
}

/* ---- the clock ---- */

static uint64_t time_before;

static err hold(uint64_t token, uint64_t hold_ms, uint64_t *ret_time_ms)
{
    const struct counter_op o = {
        .what = COUNTER_HOLD, .name = 1, .n = 1, .token = token, .hold_ms = hold_ms
    };
    struct ledger_op op = { .rules = COUNTER_RULES, .body = { (const char *)&o, sizeof o } };
    struct ledger_call c = { .ops = &op, .ops_count = 1 };
    err e = ledger_submit(clients.ledger, &c);
    *ret_time_ms = c.ret_time_ms;
    return e ? e : c.ret_refused;
}

/* What is held runs out although the wall clock is an hour behind. */
static void hold_while_set_back(void *arg)
{
    (void)arg;
    uint64_t now_ms, end_us = worker_now_us() + 20000000;
    if (hold(1, 50, &time_before) != OK)
        snprintf(wrong, sizeof wrong, "the first hold");
    fault.clock_ms = -3600000;
    if (hold(2, 50, &now_ms) != OK || now_ms < time_before)
        snprintf(wrong, sizeof wrong, "time went back by %lld ms", (long long)(time_before - now_ms));
    while (worker_now_us() < end_us) {
        struct told t = { .value = -1 };
        const struct counter_op o = { .what = COUNTER_GET, .name = 1 };
        if (client_ask(&o, &t) == OK && t.value == 0)
            break;
        if (fiber_sleep_us(5000) != OK)
            break;
    }
    if (worker_now_us() >= end_us)
        snprintf(wrong, sizeof wrong, "nothing ran out");
    worker_stop(worker_self());
}

static void time_goes_on(void *arg)
{
    (void)arg;
    uint64_t now_ms = 0;
    if (hold(3, 50, &now_ms) != OK || now_ms < time_before)
        snprintf(wrong, sizeof wrong, "time went back over a restart");
    worker_stop(worker_self());
}

static void a_clock_that_is_set_back(void **state)
{
    (void)state;
    struct ledger_opts o = options();
    clients.ledger = folder_open(&o);
    on_worker(hold_while_set_back, NULL);
    ledger_close(clients.ledger);
    assert_string_equal(wrong, "");
    clients.ledger = folder_open(&o);
    on_worker(time_goes_on, NULL);
    ledger_close(clients.ledger);
    assert_string_equal(wrong, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_full_disk_stops_the_writer, set_up, folder_remove),
        cmocka_unit_test_setup_teardown(a_failed_write_stops_the_writer, set_up, folder_remove),
        cmocka_unit_test_setup_teardown(a_failed_sync_is_final, set_up, folder_remove),
        cmocka_unit_test_setup_teardown(a_commit_is_synced_before_it_is_answered, set_up, folder_remove),
        cmocka_unit_test_setup_teardown(an_interval_is_synced_by_itself, set_up, folder_remove),
        cmocka_unit_test_setup_teardown(what_is_found_in_the_log_is_synced, set_up, folder_remove),
        cmocka_unit_test_setup_teardown(a_checkpoint_is_never_ahead_of_the_log, set_up, folder_remove),
        cmocka_unit_test_setup_teardown(a_clock_that_is_set_back, set_up, folder_remove),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

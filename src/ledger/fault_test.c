/* A disk that fills up, writes and syncs that fail, a clock that is set back: the writer stops and says why,
 * nothing is answered that is not safe, and what was answered is found again. */
#include "ledger/clients_test.h"
#include "ledger/faults_test.h"
#include "ledger/folder_test.h"

static struct told_list told;
static char wrong[256];
static uint64_t runs;
static enum ledger_durability durability;
/* What workers saw of the counters, which only grow, when the writer had stopped. */
static uint64_t shown[CLIENT_COUNTERS];

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
    memset(shown, 0, sizeof shown);
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

static uint64_t shown_of(uint32_t name)
{
    struct counter_key k;
    uint64_t value = 0;
    return ledger_look(clients.ledger, COUNTER_RULES, counter_key(&k, 'c', name), &value) ? value : 0;
}

static void note_shown(void)
{
    for (uint32_t i = 0; i < CLIENT_COUNTERS; i++)
        shown[i] = shown_of(i);
}

/* The faults are over; all that was answered is there, and all that was shown. */
static void look(void)
{
    struct ledger_opts o = options();
    no_faults();
    clients.ledger = folder_open(&o);
    for (uint32_t i = 0; i < CLIENT_COUNTERS; i++)
        assert_true(shown_of(i) >= shown[i]);
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

static void is_not_copied(void)
{
    struct diag d = DIAG_NONE;
    char path[96];
    snprintf(path, sizeof path, "%s.copy", folder);
    assert_int_equal(ledger_backup(clients.ledger, path, &d), ERR_UNAVAILABLE);
    assert_non_null(strstr(d.text, "has stopped"));
    assert_true(access(path, F_OK) < 0);
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
    is_not_copied();
    note_shown();
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

#define BATCHES_OF_SEGMENTS 800 /* one block each: some three segments */

static void fill_segments(void *arg)
{
    const struct counter_op add = { .what = COUNTER_ADD, .name = 1, .n = 1 },
                            get = { .what = COUNTER_GET, .name = 1 };
    struct told t = { 0 };
    for (unsigned i = 0; !arg && i < BATCHES_OF_SEGMENTS; i++) {
        if (client_ask(&add, &t) != OK)
            snprintf(wrong, sizeof wrong, "not taken");
    }
    if (client_ask(&get, &t) != OK || t.value != BATCHES_OF_SEGMENTS)
        snprintf(wrong, sizeof wrong, "%lld are there", (long long)t.value);
    worker_stop(worker_self());
}

/* Segments go when the checkpoint has them, and not before. */
static void a_failed_checkpoint_drops_nothing(void **state)
{
    (void)state;
    durability = LEDGER_MEMORY;
    struct ledger_opts o = options();
    o.checkpoint_interval_ms = 3600000;
    clients.ledger = folder_open(&o);
    on_worker(fill_segments, NULL);
    fault.checkpoint_syncs_left = 0;
    ledger_close(clients.ledger); /* its last checkpoint fails */
    assert_true(fault.failed);
    no_faults();
    clients.ledger = folder_open(&o);
    on_worker(fill_segments, wrong);
    ledger_close(clients.ledger);
    assert_string_equal(wrong, "");
}

/* And not only at the end: what it was to have is not taken for stored. */
static void a_failed_checkpoint_stops_the_writer(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        run_into(&fault.checkpoint_syncs_left, random_below(3), "Input/output error");
        look();
    }
}

static unsigned segments_after(uint64_t keep_bytes)
{
    char path[96];
    unsigned count = 0;
    uint64_t first;
    struct ledger_opts o = options();
    snprintf(path, sizeof path, "%s.%llu", folder, (unsigned long long)keep_bytes);
    o.path = path;
    o.checkpoint_interval_ms = 3600000;
    o.log_keep_bytes = keep_bytes;
    clients.ledger = folder_open(&o);
    on_worker(fill_segments, NULL);
    ledger_close(clients.ledger);
    assert_string_equal(wrong, "");
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir));)
        count += segment_parse_name(e->d_name, &first);
    closedir(dir);
    return count;
}

/* The checkpoint has all of it: none is needed, but so many bytes are wanted. */
static void as_much_of_the_log_stays_as_is_wanted(void **state)
{
    (void)state;
    durability = LEDGER_MEMORY;
    assert_int_equal(segments_after(0), 1);
    assert_int_equal(segments_after(2u << 20), 2);
    assert_in_range(segments_after(64u << 20), 4, 8);
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
        cmocka_unit_test_setup_teardown(a_failed_checkpoint_drops_nothing, set_up, folder_remove),
        cmocka_unit_test_setup_teardown(a_failed_checkpoint_stops_the_writer, set_up, folder_remove),
        cmocka_unit_test_setup_teardown(as_much_of_the_log_stays_as_is_wanted, set_up, folder_remove),
        cmocka_unit_test_setup_teardown(a_clock_that_is_set_back, set_up, folder_remove),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Killed at random moments under load, again and again: what was answered is there, once, and nothing else;
 * of counters, and of a topic.
 *
 * WEIR_LEDGER_KILLS: how often (20); WEIR_LEDGER_SEED: of the moments, which a failure prints. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "ledger/clients_test.h"
#include "ledger/folder_test.h"
#include "ledger/queue_clients_test.h"

static struct told_list told;
static uint64_t kills;

static const struct ledger_rules *const both_rules[] = { &counter_rules, &queue_rules, NULL };
static int topic_out; /* what the child is told of the topic; clients.out: of counters */

static struct ledger_opts options(void)
{
    struct ledger_opts o = LEDGER_OPTS_DEFAULT;
    o.path = folder;
    o.rules = both_rules;
    o.segment_bytes = 1u << 20;
    o.checkpoint_interval_ms = 20; /* so that kills fall into checkpoints and dropped segments too */
    o.memory_bytes = 32u << 20;
    return o;
}

static void tell_parent(const struct queue_told *t)
{
    must(write(topic_out, t, sizeof *t) == sizeof *t);
}

static void begin(void *arg)
{
    clients_begin(arg);
    queue_clients_begin();
}

/* Serves until it is killed. */
static _Noreturn void be_killed(void)
{
    struct diag d = DIAG_NONE;
    struct ledger_opts o = options();
    struct worker_opts w = { .loop = LOOP_EPOLL, .cpu = -1 };
    log_set_level(LOG_WARN);
    clients.run = kills;
    queue_clients.tell = tell_parent;
    if (ledger_open(&o, &clients.ledger, &d) != OK) {
        print_error("cannot open: %s\n", d.text);
        _exit(1);
    }
    queue_clients.ledger = clients.ledger;
    (void)!worker_run(&w, begin, NULL, &d);
    _exit(2);
}

/* A file without a name: what was written to it stays when its writer is killed. */
static int open_told(void)
{
    char path[128];
    snprintf(path, sizeof path, "%s.told", folder);
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_APPEND, 0600);
    assert_true(fd >= 0 && unlink(path) == 0);
    return fd;
}

/* It must have begun, somehow; then it is a matter of luck how far it gets. */
static void wait_until_begun(void)
{
    struct stat st = { 0 };
    for (unsigned i = 0; i < 100000 && st.st_size == 0; i++) {
        usleep(200);
        assert_int_equal(fstat(clients.out, &st), 0);
    }
    assert_true(st.st_size > 0);
}

static void read_told(void)
{
    struct queue_told t;
    const size_t before = told.count;
    assert_true(lseek(clients.out, 0, SEEK_SET) == 0 && lseek(topic_out, 0, SEEK_SET) == 0);
    told_read(&told, clients.out);
    while (read(topic_out, &t, sizeof t) == (ssize_t)sizeof t)
        queue_history_add(&t);
    close(clients.out);
    close(topic_out);
    assert_true(told.count > before);
    assert_string_equal(queue_wrong, "");
}

static void run_and_kill(uint64_t after_us)
{
    int status;
    clients.out = open_told();
    topic_out = open_told();
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        be_killed();
    wait_until_begun();
    usleep((useconds_t)after_us);
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    read_told();
}

static char wrong[256];

static void check(void *arg)
{
    (void)arg;
    told_check(&told, kills * CLIENTS, wrong);
    if (!wrong[0])
        told_ask_again(&told, told.count / 2000 + 1, wrong);
    queue_clients_check();
    worker_stop(worker_self());
}

static void look(void)
{
    struct ledger_opts o = options();
    clients.ledger = queue_clients.ledger = folder_open(&o);
    on_worker(check, NULL);
    ledger_close(clients.ledger);
    assert_string_equal(wrong, "");
    assert_string_equal(queue_wrong, "");
}

static void killed_again_and_again(void **state)
{
    (void)state;
    const uint64_t wanted = test_setting("WEIR_LEDGER_KILLS", 20),
                   seed = test_setting("WEIR_LEDGER_SEED", random_u64());
    print_message("seed %llu\n", (unsigned long long)seed);
    random_seed(seed);
    while (kills < wanted) {
        run_and_kill(random_below(60000));
        kills++;
        if (kills % 5 == 0 || kills == wanted)
            look();
    }
    print_message("%zu answers, %llu messages, %llu of them acked, %llu kills\n", told.count,
                  (unsigned long long)queue_clients.told, (unsigned long long)queue_clients.acked,
                  (unsigned long long)kills);
    assert_true(queue_clients.acked > 0);
    free(told.at);
}

int main(void)
{
    log_set_level(LOG_WARN);
    const struct CMUnitTest tests[] = { cmocka_unit_test_setup_teardown(killed_again_and_again, folder_make,
                                                                        folder_remove) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

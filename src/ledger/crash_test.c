/* Killed at random moments under load, again and again: what was answered is there, once, and nothing else.
 *
 * WEIR_LEDGER_KILLS: how often (20); WEIR_LEDGER_SEED: of the moments, which a failure prints. */
#include <stdio.h>

#include "ledger/clients_test.h"
#include "ledger/folder_test.h"

static struct told_list told;
static uint64_t kills;

static struct ledger_opts options(void)
{
    struct ledger_opts o = LEDGER_OPTS_DEFAULT;
    o.path = folder;
    o.rules = counter_registry;
    o.segment_bytes = 1u << 20;
    o.checkpoint_interval_ms = 20; /* so that kills fall into checkpoints and dropped segments too */
    o.memory_bytes = 32u << 20;
    return o;
}

/* Serves until it is killed. */
static _Noreturn void be_killed(int out)
{
    struct diag d = DIAG_NONE;
    struct ledger_opts o = options();
    struct worker_opts w = { .loop = LOOP_EPOLL, .cpu = -1 };
    log_set_level(LOG_WARN);
    clients.out = out;
    clients.run = kills;
    if (ledger_open(&o, &clients.ledger, &d) != OK) {
        print_error("cannot open: %s\n", d.text);
        _exit(1);
    }
    (void)!worker_run(&w, clients_begin, NULL, &d);
    _exit(2);
}

static void run_and_kill(uint64_t after_us)
{
    int ends[2], status;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        be_killed(ends[1]);
    close(ends[1]);
    /* it must have begun; then it is a matter of luck how far it gets */
    struct told first;
    size_t before = told.count;
    if (read(ends[0], &first, sizeof first) == (ssize_t)sizeof first)
        told_add(&told, &first);
    usleep((useconds_t)after_us);
    kill(child, SIGKILL);
    told_read(&told, ends[0]);
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_true(told.count > before);
}

static char wrong[256];

static void check(void *arg)
{
    (void)arg;
    told_check(&told, kills * CLIENTS, wrong);
    if (!wrong[0])
        told_ask_again(&told, told.count / 2000 + 1, wrong);
    worker_stop(worker_self());
}

static void look(void)
{
    struct ledger_opts o = options();
    clients.ledger = folder_open(&o);
    on_worker(check, NULL);
    ledger_close(clients.ledger);
    assert_string_equal(wrong, "");
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
    print_message("%zu answers, %llu kills\n", told.count, (unsigned long long)kills);
    free(told.at);
}

int main(void)
{
    log_set_level(LOG_WARN);
    const struct CMUnitTest tests[] = { cmocka_unit_test_setup_teardown(killed_again_and_again, folder_make,
                                                                        folder_remove) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

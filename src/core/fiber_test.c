/* Fibers, wait queues, mail and turns: no sockets. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "core/fiber_internal.h"
#include "core/io_test.h"
#include "core/timer.h"

/* ---- order ---- */

static char trail[64];
static size_t trail_len;

static void step(char c)
{
    must(trail_len < sizeof trail - 1);
    trail[trail_len++] = c;
    trail[trail_len] = 0;
}

static void letter(void *arg)
{
    const char *c = arg;
    step(c[0]);
    fiber_yield();
    step(c[1]);
}

static void spawn_order(void)
{
    trail_len = 0;
    fiber_spawn(letter, "ad");
    fiber_spawn(letter, "be");
    fiber_spawn(letter, "cf");
    while (trail_len < 6)
        fiber_yield();
    must(strcmp(trail, "abcdef") == 0);
}
TEST(spawn_order)

/* ---- waiting ---- */

static struct fiber *sleeper;
static err sleeper_result;
static int sleeper_done;

static void wait_once(void *arg)
{
    sleeper = fiber_self();
    sleeper_result = fiber_wait(*(uint64_t *)arg);
    sleeper_done++;
}

static void wake_timeout_cancel(void)
{
    uint64_t never = DEADLINE_NONE, soon = worker_now_us() + 3000;
    sleeper_done = 0;
    fiber_spawn(wait_once, &never);
    fiber_yield();
    fiber_wake(sleeper);
    fiber_wake(sleeper);
    fiber_yield();
    must(sleeper_done == 1 && sleeper_result == OK);

    fiber_spawn(wait_once, &soon);
    must(fiber_sleep_us(10000) == OK);
    must(sleeper_done == 2 && sleeper_result == ERR_TIMEOUT);

    fiber_spawn(wait_once, &never);
    fiber_yield();
    fiber_cancel(sleeper);
    fiber_yield();
    must(sleeper_done == 3 && sleeper_result == ERR_CANCELLED);
}
TEST(wake_timeout_cancel)

static void wake_before_wait(void)
{
    fiber_wake(fiber_self());
    fiber_wake(fiber_self());
    must(fiber_wait(DEADLINE_NONE) == OK);
    must(fiber_wait(worker_now_us() + 2000) == ERR_TIMEOUT); /* twice is once */
    /* a sleep is not ended by it, and it is not lost */
    fiber_wake(fiber_self());
    uint64_t before_us = worker_now_us();
    must(fiber_sleep_us(5000) == OK && worker_now_us() >= before_us + 5000);
    must(fiber_wait(DEADLINE_NONE) == OK);
}
TEST(wake_before_wait)

static void cancelled_for_ever(void *arg)
{
    struct wait_queue q;
    wait_queue_init(&q);
    must(fiber_sleep_us(1000000000) == ERR_CANCELLED);
    must(fiber_sleep_us(1) == ERR_CANCELLED);
    must(fiber_wait(DEADLINE_NONE) == ERR_CANCELLED);
    must(wait_queue_wait(&q, DEADLINE_NONE) == ERR_CANCELLED && q.count == 0);
    *(bool *)arg = true;
}

static struct fiber *spawned;
static void remember_self(void *arg)
{
    spawned = fiber_self();
    cancelled_for_ever(arg);
}

static void cancel_stays(void)
{
    bool done = false;
    fiber_spawn(remember_self, &done);
    fiber_yield();
    fiber_cancel(spawned);
    fiber_yield();
    must(done);
}
TEST(cancel_stays)

/* ---- wait queues ---- */

static struct wait_queue line;

static void stand_in_line(void *arg)
{
    const char *c = arg;
    if (wait_queue_wait(&line, c[1] ? worker_now_us() + 500000 : DEADLINE_NONE) == OK)
        step(c[0]);
    else
        step((char)(c[0] - 'a' + 'A'));
}

static void queue_order(void)
{
    trail_len = 0;
    wait_queue_init(&line);
    must(!wait_queue_wake_one(&line));
    fiber_spawn(stand_in_line, "a");
    fiber_spawn(stand_in_line, "b!"); /* has a deadline */
    fiber_spawn(stand_in_line, "c");
    fiber_spawn(stand_in_line, "d");
    fiber_yield();
    must(line.count == 4);
    must(wait_queue_wake_one(&line));
    fiber_yield();
    must(strcmp(trail, "a") == 0);
    must(fiber_sleep_us(510000) == OK);
    must(strcmp(trail, "aB") == 0 && line.count == 2);
    wait_queue_wake_all(&line);
    fiber_yield();
    must(strcmp(trail, "aBcd") == 0 && line.count == 0);
}
TEST(queue_order)

/* ---- many ---- */

#define MANY 20000
static unsigned many_done;

static void many_wait(void *arg)
{
    char on_stack[64];
    memset(on_stack, (int)(uintptr_t)arg, sizeof on_stack);
    must(wait_queue_wait(&line, DEADLINE_NONE) == OK);
    for (size_t i = 0; i < sizeof on_stack; i++)
        must(on_stack[i] == (char)(uintptr_t)arg);
    many_done++;
}

static void many_at_once(void)
{
    wait_queue_init(&line);
    many_done = 0;
    for (uintptr_t i = 0; i < MANY; i++)
        fiber_spawn(many_wait, (void *)i);
    while (line.count < MANY)
        fiber_yield();
    must(fiber_stats(worker_self()).live == MANY + 1);
    uint64_t woken_us = worker_now_us();
    wait_queue_wake_all(&line);
    while (many_done < MANY)
        fiber_yield();
    struct fiber_stats s = fiber_stats(worker_self());
    must(s.live == 1 && s.spawned == MANY + 1 && s.stack_high_water_bytes >= 4096);
    /* All of them, unless it took so long that the first go back already. */
    must(s.pooled >= MANY || worker_now_us() - woken_us >= FIBER_TRIM_US);
    while (fiber_stats(worker_self()).pooled >= 100) /* the burst is over: their stacks go back */
        must(fiber_sleep_us(200 * 1000) == OK);
}
TEST(many_at_once)

static void nothing(void *arg)
{
    ++*(unsigned *)arg;
}

static void short_ones_share_a_stack(void)
{
    unsigned ran = 0;
    for (int i = 0; i < 1000; i++)
        fiber_spawn(nothing, &ran);
    fiber_yield();
    must(ran == 1000);
    must(fiber_stats(worker_self()).pooled <= 1);
}
TEST(short_ones_share_a_stack)

/* ---- the guard page ---- */

static void overflow_stack(void *arg)
{
    char *at = (char *)__builtin_frame_address(0);
    for (size_t n = 0; n < FIBER_STACK_BYTES + 2048; n += 512)
        *(volatile char *)(at - n) = (char)(uintptr_t)arg;
}

static void run_overflow(void)
{
    fiber_spawn(overflow_stack, NULL);
}

static void test_guard_page(void **state)
{
    (void)state;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        signal(SIGBUS, SIG_DFL);
        int quiet = open("/dev/null", O_WRONLY);
        dup2(quiet, STDERR_FILENO);
        on_worker(run_overflow);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGSEGV);
}

/* ---- mail ---- */

#define SENDERS 4
#define MAILS_EACH 250000

struct numbered {
    struct mail mail;
    unsigned sender, number;
};

static unsigned mails_next[SENDERS];
static unsigned mails_seen;
static struct fiber *mail_waiter;
static struct worker *mail_worker;

static void mail_arrives(struct mail *m)
{
    struct numbered *n = (struct numbered *)(void *)m;
    must(fiber_self() == NULL);
    must(n->number == mails_next[n->sender]++); /* in order from one sender */
    if (++mails_seen == SENDERS * MAILS_EACH)
        fiber_wake(mail_waiter);
}

static void *mail_sender(void *arg)
{
    struct numbered *all = arg;
    for (unsigned i = 0; i < MAILS_EACH; i++) {
        worker_post(mail_worker, &all[i].mail);
        if (i % 64 == 0)
            sched_yield(); /* lets the receiver fall asleep now and then */
    }
    return NULL;
}

static void mail_from_threads(void)
{
    static struct numbered mails[SENDERS][MAILS_EACH];
    pthread_t threads[SENDERS];
    mail_waiter = fiber_self();
    mail_worker = worker_self();
    mails_seen = 0;
    for (unsigned s = 0; s < SENDERS; s++) {
        mails_next[s] = 0;
        for (unsigned i = 0; i < MAILS_EACH; i++)
            mails[s][i] = (struct numbered){ .mail.run = mail_arrives, .sender = s, .number = i };
        must(pthread_create(&threads[s], NULL, mail_sender, mails[s]) == 0);
    }
    must(fiber_wait(DEADLINE_NONE) == OK);
    for (unsigned s = 0; s < SENDERS; s++)
        pthread_join(threads[s], NULL);
}
TEST(mail_from_threads)

/* A lost wake-up would leave the two workers waiting for each other for ever. */
struct ping {
    struct mail mail;
    struct worker *here, *there;
    struct mail *back;
    unsigned left;
};

static void ping_arrives(struct mail *m)
{
    struct ping *p = (struct ping *)(void *)m;
    if (p->left-- == 0) {
        worker_stop(p->here);
        worker_stop(p->there);
        return;
    }
    worker_post(p->there, p->back);
}

static void idle_start(void *arg)
{
    (void)arg;
}

static void test_ping_pong(void **state)
{
    (void)state;
    struct worker *w[2];
    struct worker_opts opts = { .loop = test_loop, .cpu = -1, .name = "ping" };
    struct ping p[2];
    struct diag d = DIAG_NONE;
    for (unsigned i = 0; i < 2; i++) {
        opts.index = i;
        assert_int_equal(worker_start(&opts, idle_start, NULL, &w[i], &d), OK);
    }
    for (unsigned i = 0; i < 2; i++)
        p[i] = (struct ping){ { NULL, ping_arrives }, w[i], w[1 - i], &p[1 - i].mail, 100000 };
    worker_post(w[0], &p[0].mail);
    worker_join(w[0]);
    worker_join(w[1]);
}

/* ---- stopping ---- */

static uint64_t turns_while_stopping;

static void outlives_stop(void *arg)
{
    (void)arg;
    uint64_t turns = worker_stats(worker_self()).turns;
    must(fiber_sleep_us(50000) == OK);
    turns_while_stopping = worker_stats(worker_self()).turns - turns;
}

static void stop_while_waiting(void)
{
    fiber_spawn(outlives_stop, NULL);
    worker_stop(worker_self());
}

static void test_stop_waits_for_fibers(void **state)
{
    (void)state;
    turns_while_stopping = 0;
    on_worker(stop_while_waiting);
    assert_true(turns_while_stopping > 0 && turns_while_stopping < 20); /* asleep, not spinning */
}

/* ---- turns ---- */

static void hook_runs(struct turn_hook *h)
{
    (void)h;
    must(fiber_self() == NULL);
    step('h');
}

static void other_step(void *arg)
{
    (void)arg;
    step('f');
}

static void hooks(void)
{
    struct turn_hook h = { NULL, hook_runs }, h2 = { NULL, hook_runs };
    trail_len = 0;
    worker_end_of_turn(&h);
    worker_end_of_turn(&h2);
    worker_end_of_turn(&h);
    worker_end_of_turn(&h2);
    fiber_spawn(other_step, NULL);
    fiber_yield(); /* until the next turn */
    must(strcmp(trail, "fhh") == 0);
    worker_end_of_turn(&h);
    fiber_yield();
    must(strcmp(trail, "fhhh") == 0);
}
TEST(hooks)

static void timer_wakes(struct timer *t)
{
    must(fiber_self() == NULL);
    t->due_us = 0;
    fiber_wake(sleeper);
}

static void timers_on_worker(void)
{
    struct timer t;
    timer_init(&t, timer_wakes);
    sleeper = fiber_self();
    timer_set(&t, worker_now_us() + 5000);
    must(fiber_wait(DEADLINE_NONE) == OK);
    must(t.due_us == 0 && !timer_is_set(&t));
}
TEST(timers_on_worker)

static void arenas(void)
{
    struct arena a;
    arena_open(&a, &arena_worker, 1 << 20, NULL, 0);
    for (int i = 0; i < 100; i++)
        must(arena_get(&a, 1000) != NULL);
    must(arena_get(&a, 100000) != NULL);
    arena_close(&a);
    must(worker_wall_us() > 1600000000ULL * 1000000);
    *worker_slot(worker_self(), 3) = &a;
    must(*worker_slot(worker_self(), 3) == &a && *worker_slot(worker_self(), 4) == NULL);
}
TEST(arenas)

static void dump_waits(void *arg)
{
    must(fiber_wait(DEADLINE_NONE) == OK);
    *(bool *)arg = true;
}

static struct fiber *dumped;
static void dump_waits_known(void *arg)
{
    dumped = fiber_self();
    dump_waits(arg);
}

static void dump_and_go_on(void)
{
    bool done = false;
    fiber_spawn(dump_waits_known, &done);
    fiber_yield();
    int saved = dup(STDERR_FILENO), quiet = open("/dev/null", O_WRONLY);
    dup2(quiet, STDERR_FILENO);
    fiber_dump_all(worker_self());
    fiber_dump_all(worker_self());
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(quiet);
    fiber_wake(dumped);
    fiber_yield();
    must(done);
}
TEST(dump_and_go_on)

static void dump_text(void)
{
    bool done = false;
    int saved = dup(STDERR_FILENO), ends[2];
    must(pipe(ends) == 0);
    fiber_spawn(dump_waits_known, &done);
    fiber_yield();
    dup2(ends[1], STDERR_FILENO);
    fiber_dump_all(worker_self());
    dup2(saved, STDERR_FILENO);
    static char text[65536];
    ssize_t n = read(ends[0], text, sizeof text - 1);
    must(n > 0);
    must(strstr(text, "waiting") && strstr(text, "running") && strstr(text, "fiber_test("));
    close(saved);
    close(ends[0]);
    close(ends[1]);
    fiber_wake(dumped);
    fiber_yield();
    must(done);
}
TEST(dump_text)

static void test_unsupported_loop(void **state)
{
    (void)state;
    char reason[128];
    assert_int_equal(loop_choose(LOOP_EPOLL, reason, sizeof reason), LOOP_EPOLL);
    assert_string_equal(loop_name(LOOP_EPOLL), "epoll");
    assert_null(worker_self());
    assert_null(fiber_self());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spawn_order),           cmocka_unit_test(test_wake_timeout_cancel),
        cmocka_unit_test(test_wake_before_wait),      cmocka_unit_test(test_cancel_stays),
        cmocka_unit_test(test_queue_order),           cmocka_unit_test(test_short_ones_share_a_stack),
        cmocka_unit_test(test_many_at_once),          cmocka_unit_test(test_guard_page),
        cmocka_unit_test(test_mail_from_threads),     cmocka_unit_test(test_ping_pong),
        cmocka_unit_test(test_stop_waits_for_fibers), cmocka_unit_test(test_hooks),
        cmocka_unit_test(test_timers_on_worker),      cmocka_unit_test(test_arenas),
        cmocka_unit_test(test_dump_and_go_on),        cmocka_unit_test(test_dump_text),
        cmocka_unit_test(test_unsupported_loop),
    };
    return run_both(tests, sizeof tests / sizeof *tests);
}

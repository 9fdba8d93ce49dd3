/* What the ledger costs by itself: fibers of one worker that ask again as soon as they are answered.
 *
 *      bench_ledger entries [commit|interval|memory]     entries a second and CPU per entry, by fibers at a
 * time bench_ledger recovery [N]                         N open orders: the start after a crash in the middle
 * of a checkpoint's time, and after a clean stop bench_ledger checkpoint                           what a
 * checkpoint costs, by how many keys are touched
 *
 * In a folder of the current one; on another disk: cd there. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/mem.h"
#include "core/log.h"
#include "ledger/counter_test.h"
#include "ledger/ledger_open.h"
#include "ledger/stock.h"

#define FOLDER "ledger_bench.data"
#define SECONDS 2

static struct ledger_opts opts;
static struct ledger *ledger;
static unsigned fibers, living;
static uint64_t keys, done, end_us, next_token;

static double seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void must_open(void)
{
    struct diag d = DIAG_NONE;
    if (ledger_open(&opts, &ledger, &d) == OK)
        return;
    fprintf(stderr, "bench_ledger: %s\n", d.text);
    exit(1);
}

static void on_worker(void (*fn)(void *arg))
{
    struct diag d = DIAG_NONE;
    must(worker_run(&(struct worker_opts){ .cpu = -1, .name = "bench" }, fn, NULL, &d) == OK);
}

static void empty_folder(void)
{
    must(system("rm -rf " FOLDER) == 0);
}

/* One counter, and a new record for each entry unless keys says how many there are. */
static void ask_again_and_again(void *arg)
{
    (void)arg;
    struct counter_op o = { .what = COUNTER_ADD, .n = 0 };
    int64_t value;
    struct ledger_op op = { .rules = COUNTER_RULES,
                            .body = { (const char *)&o, sizeof o },
                            .answer = (char *)&value,
                            .answer_size = sizeof value };
    struct ledger_call c = { .ops = &op, .ops_count = 1 };
    while (worker_now_us() < end_us) {
        o.name = keys ? (uint32_t)(random_u64() % keys) : 0;
        o.token = keys ? 0 : ++next_token;
        must(ledger_submit(ledger, &c) == OK && c.ret_refused == OK);
        done++;
    }
    if (--living == 0)
        worker_stop(worker_self());
}

static void begin(void *arg)
{
    (void)arg;
    done = 0;
    living = fibers;
    end_us = worker_now_us() + SECONDS * 1000000;
    for (unsigned i = 0; i < fibers; i++)
        fiber_spawn(ask_again_and_again, NULL);
}

static void measure(const char *name)
{
    empty_folder();
    must_open();
    double cpu = seconds(CLOCK_PROCESS_CPUTIME_ID), wall = seconds(CLOCK_MONOTONIC);
    on_worker(begin);
    cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    wall = seconds(CLOCK_MONOTONIC) - wall;
    uint64_t batches = ledger_status(ledger).seq;
    printf("%-28s %6u at a time: %9.0f entries/s, %6.2f us CPU each, %6.1f a batch\n", name, fibers,
           (double)done / wall, cpu * 1e6 / (double)done, (double)done / (double)(batches ? batches : 1));
    fflush(stdout);
    ledger_close(ledger);
}

static int entries(const char *durability)
{
    static const unsigned sizes[] = { 1, 64, 256, 1000 };
    for (unsigned i = 0; ledger_durability_words[i]; i++) {
        if (strcmp(durability, ledger_durability_words[i]) == 0)
            opts.durability = (enum ledger_durability)i;
    }
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        fibers = sizes[i];
        keys = 1;
        measure("one key");
        keys = 0;
        measure("a new record each");
    }
    return 0;
}

static int checkpoints(void)
{
    opts.checkpoint_interval_ms = 100;
    fibers = 1000;
    for (keys = 1; keys <= 10000000; keys *= 10) {
        char name[32];
        snprintf(name, sizeof name, "%llu keys", (unsigned long long)keys);
        measure(name);
    }
    return 0;
}

/* ---- recovery ---- */

static uint64_t wanted;

static void must_do(struct stock_op *op)
{
    struct ledger_op o = { .rules = stock_rules.id, .body = stock_op_bytes(op) };
    struct ledger_call c = { .ops = &o, .ops_count = 1 };
    must(ledger_submit(ledger, &c) == OK && c.ret_refused == OK);
}

static void order(void *arg)
{
    struct stock_op op;
    char id[24], user[24];
    (void)arg;
    while (next_token < wanted) {
        const uint64_t number = ++next_token;
        struct stock_reserve r = { .hold_ms = 1000000000, .count = 1, .lines[0] = { BYTES("radio"), 1 } };
        r.order = (struct bytes){ id, (size_t)snprintf(id, sizeof id, "order-%012llu",
                                                       (unsigned long long)number) };
        r.user = (struct bytes){ user, (size_t)snprintf(user, sizeof user, "u%llu",
                                                        (unsigned long long)number / 2) };
        stock_write_reserve(&op, &r);
        must_do(&op);
    }
    if (--living == 0)
        worker_stop(worker_self());
}

static void begin_orders(void *arg)
{
    struct stock_op op;
    const struct stock_item_change c = { .item = BYTES("radio"), .set = STOCK_SET_TOTAL, .total = wanted };
    (void)arg;
    stock_write_item(&op, &c);
    must_do(&op);
    living = fibers;
    for (unsigned i = 0; i < fibers; i++)
        fiber_spawn(order, NULL);
}

/* In a process that ends without a word. */
static void take_orders(void)
{
    const double begun = seconds(CLOCK_MONOTONIC);
    int status = -1;
    pid_t child = fork();
    if (child == 0) {
        must_open();
        on_worker(begin_orders);
        const struct ledger_status s = ledger_status(ledger);
        printf("%llu orders taken in %.2f s; the checkpoint is %llu batches behind\n",
               (unsigned long long)wanted, seconds(CLOCK_MONOTONIC) - begun,
               (unsigned long long)(s.seq - s.checkpoint_seq));
        fflush(stdout);
        _exit(0);
    }
    must(child > 0 && waitpid(child, &status, 0) == child && status == 0);
}

static void start(const char *after)
{
    const double begun = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    must_open();
    const double ended = seconds(CLOCK_MONOTONIC), cpu_ended = seconds(CLOCK_PROCESS_CPUTIME_ID);
    const struct ledger_status s = ledger_status(ledger);
    printf("open after %s: %.2f s, %.2f s of CPU; %llu records, %.0f bytes of memory each\n", after,
           ended - begun, cpu_ended - cpu, (unsigned long long)s.records,
           (double)s.record_bytes / (double)s.records);
    ledger_close(ledger);
}

static int recovery(uint64_t count)
{
    fibers = 4000;
    wanted = count;
    opts.rules = ledger_rules_registry;
    opts.memory_bytes = UINT64_C(16) << 30;
    opts.durability = LEDGER_MEMORY;
    log_set_level(LOG_INFO);
    empty_folder();
    take_orders();
    start("a crash");
    start("a clean stop");
    return system("du -sh " FOLDER "/checkpoint | cut -f1");
}

int main(int argc, char **argv)
{
    uint64_t count = 10000000;
    int result = 2;
    opts = LEDGER_OPTS_DEFAULT;
    opts.path = FOLDER;
    opts.rules = counter_registry;
    opts.memory_bytes = UINT64_C(4) << 30;
    log_set_level(LOG_WARN);
    if (argc > 1 && strcmp(argv[1], "entries") == 0)
        result = entries(argc > 2 ? argv[2] : "commit");
    else if (argc > 1 && strcmp(argv[1], "checkpoint") == 0)
        result = checkpoints();
    else if (argc > 1 && strcmp(argv[1], "recovery") == 0 &&
             (argc == 2 || bytes_to_u64(bytes_from(argv[2]), &count)))
        result = recovery(count);
    else
        fprintf(stderr, "usage: bench_ledger entries [commit|interval|memory] | recovery [N] | checkpoint\n");
    empty_folder();
    return result;
}

/* A ledger in a folder of its own, with fibers that submit: answers, all or none, what a restart finds. */
#include "ledger/ledger.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/io.h"
#include "ledger/counter_test.h"
#include "ledger/folder_test.h"
#include "ledger/ledger_log.h"
#include "ledger/queue.h"

static struct ledger *ledger;
static uint64_t small_memory; /* 0: as usual */
static uint32_t batch_max;    /* likewise */
static bool nothing_else;     /* that the writer would do by itself: no checkpoints */
static const struct ledger_rules *const both_rules[] = { &counter_rules, &queue_rules, NULL };

static struct ledger_opts options(void)
{
    struct ledger_opts o = LEDGER_OPTS_DEFAULT;
    o.path = folder;
    o.rules = both_rules;
    o.segment_bytes = 1u << 20;
    if (nothing_else)
        o.checkpoint_interval_ms = 3600000;
    if (batch_max) {
        o.batch_entries_max = batch_max;
        o.segment_bytes = 16u << 20;
    }
    if (small_memory) {
        o.memory_bytes = small_memory;
        o.checkpoint_interval_ms = 20;
        o.durability = LEDGER_MEMORY;
    }
    return o;
}

/* fn runs on a fiber of a worker, with the ledger open. */
static void with_ledger(void (*fn)(void))
{
    struct ledger_opts o = options();
    ledger = folder_open(&o);
    on_worker((void (*)(void *))(void *)fn, NULL);
    ledger_close(ledger);
}

/* The same in a process that ends without a word: nothing is in the checkpoint. */
static void with_crash(void (*fn)(void))
{
    int status = -1;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct diag d = DIAG_NONE;
        struct ledger_opts o = options();
        o.checkpoint_interval_ms = 3600000;
        struct worker_opts w = { .loop = LOOP_EPOLL, .cpu = -1 };
        if (ledger_open(&o, &ledger, &d) != OK ||
            worker_run(&w, (void (*)(void *))(void *)fn, NULL, &d) != OK)
            _exit(1);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static err ask(const struct counter_op *ops, unsigned count, int64_t *ret_value, struct ledger_call *ret_call)
{
    struct ledger_op list[8];
    int64_t value = -1;
    for (unsigned i = 0; i < count; i++)
        list[i] =
            (struct ledger_op){ .rules = COUNTER_RULES, .body = { (const char *)&ops[i], sizeof *ops } };
    list[count - 1].answer = (char *)&value;
    list[count - 1].answer_size = sizeof value;
    struct ledger_call c = { .ops = list, .ops_count = count };
    assert_int_equal(ledger_submit(ledger, &c), OK);
    if (ret_value)
        *ret_value = value;
    if (ret_call)
        *ret_call = c;
    return c.ret_refused;
}

static int64_t get(uint32_t name)
{
    int64_t value = -1;
    const struct counter_op o = { .what = COUNTER_GET, .name = name };
    err e = ask(&o, 1, &value, NULL);
    return e == ERR_NOT_FOUND ? -1 : value;
}

static void add_a_few(void)
{
    struct ledger_call c;
    uint64_t last = 0;
    for (int64_t i = 1; i <= 10; i++) {
        int64_t value;
        const struct counter_op o = { .what = COUNTER_ADD, .name = 7, .n = i, .token = (uint64_t)i };
        assert_int_equal(ask(&o, 1, &value, &c), OK);
        assert_int_equal(value, i * (i + 1) / 2);
        assert_int_equal(c.ret_durability, LEDGER_COMMIT);
        assert_true(c.ret_id > last);
        last = c.ret_id;
    }
    uint64_t shown = 0;
    struct counter_key k;
    assert_true(ledger_look(ledger, COUNTER_RULES, counter_key(&k, 'c', 7), &shown));
    assert_int_equal(shown, 55);
    assert_false(ledger_look(ledger, COUNTER_RULES, counter_key(&k, 'c', 8), &shown));
    worker_stop(worker_self());
}

static void find_a_few(void)
{
    int64_t value;
    uint64_t shown;
    struct counter_key k;
    assert_int_equal(get(7), 55);
    assert_true(ledger_look(ledger, COUNTER_RULES, counter_key(&k, 'c', 7), &shown));
    assert_int_equal(shown, 55);
    const struct counter_op again = { .what = COUNTER_ADD, .name = 7, .n = 4, .token = 4 };
    assert_int_equal(ask(&again, 1, &value, NULL), OK);
    assert_int_equal(value, 10); /* what it was then */
    assert_int_equal(get(7), 55);
    worker_stop(worker_self());
}

static void what_was_answered_is_found_again(void **state)
{
    (void)state;
    with_ledger(add_a_few);
    with_ledger(find_a_few);
    with_ledger(find_a_few);
}

static void refuse_one_of_three(void)
{
    struct ledger_call c;
    const struct counter_op ops[] = {
        { .what = COUNTER_ADD, .name = 1, .n = 5, .token = 1 },
        { .what = COUNTER_HOLD, .name = 2, .n = 6, .token = 2, .hold_ms = 1000000 },
        { .what = COUNTER_ADD, .name = 3, .n = COUNTER_LIMIT + 1, .token = 3 },
    };
    assert_int_equal(ask(ops, 3, NULL, &c), ERR_DENIED);
    assert_int_equal(c.ret_op, 2);
    assert_int_equal(get(1), -1);
    assert_int_equal(get(2), -1);
    assert_int_equal(ask(ops, 2, NULL, &c), OK);
    assert_int_equal(get(1), 5);
    assert_int_equal(get(2), 6);
    struct ledger_op unknown = { .rules = 99 }, bad = { .rules = COUNTER_RULES, .body = BYTES("x") };
    c = (struct ledger_call){ .ops = &unknown, .ops_count = 1 };
    assert_int_equal(ledger_submit(ledger, &c), OK);
    assert_int_equal(c.ret_refused, ERR_UNSUPPORTED);
    c = (struct ledger_call){ .ops = &bad, .ops_count = 1 };
    assert_int_equal(ledger_submit(ledger, &c), OK);
    assert_int_equal(c.ret_refused, ERR_SYNTAX);
    c = (struct ledger_call){ .ops = &bad, .ops_count = 0 };
    assert_int_equal(ledger_submit(ledger, &c), ERR_LIMIT);
    worker_stop(worker_self());
}

static void find_two(void)
{
    assert_int_equal(get(1), 5);
    assert_int_equal(get(2), 6);
    assert_int_equal(get(3), -1);
    worker_stop(worker_self());
}

static void all_of_an_entry_or_nothing(void **state)
{
    (void)state;
    with_ledger(refuse_one_of_three);
    with_ledger(find_two);
}

#define FIBERS 200
#define ROUNDS 50
static unsigned left;

static void adder(void *arg)
{
    uint64_t me = (uint64_t)(uintptr_t)arg;
    for (uint64_t i = 0; i < ROUNDS; i++) {
        const struct counter_op o = { .what = COUNTER_ADD, .name = 1, .n = 1, .token = me * 1000 + i };
        assert_int_equal(ask(&o, 1, NULL, NULL), OK);
    }
    if (--left == 0)
        worker_stop(worker_self());
}

static void many_fibers(void)
{
    left = FIBERS;
    for (uintptr_t i = 1; i <= FIBERS; i++)
        fiber_spawn(adder, (void *)i);
}

static void find_all(void)
{
    assert_int_equal(get(1), FIBERS * ROUNDS);
    worker_stop(worker_self());
}

static void many_fibers_share_batches(void **state)
{
    (void)state;
    with_ledger(many_fibers);
    with_ledger(find_all);
}

static void hold_for_a_moment(void)
{
    const struct counter_op o = { .what = COUNTER_HOLD, .name = 1, .n = 5, .token = 2, .hold_ms = 30 };
    assert_int_equal(ask(&o, 1, NULL, NULL), OK);
    uint64_t end_us = worker_now_us() + 20000000, shown = 1;
    struct counter_key k;
    while (ledger_look(ledger, COUNTER_RULES, counter_key(&k, 'c', 1), &shown) && shown != 0 &&
           worker_now_us() < end_us)
        assert_int_equal(fiber_sleep_us(5000), OK);
    assert_int_equal(shown, 0);
    worker_stop(worker_self());
}

static void find_nothing_held(void)
{
    const struct counter_op o = { .what = COUNTER_DROP, .token = 2 };
    assert_int_equal(get(1), 0);
    assert_int_equal(ask(&o, 1, NULL, NULL), ERR_NOT_FOUND);
    worker_stop(worker_self());
}

static void what_is_due_happens_by_itself(void **state)
{
    (void)state;
    nothing_else = true;
    with_ledger(hold_for_a_moment);
    nothing_else = false;
    with_ledger(find_nothing_held);
}

/* ---- memory */

#define MEMORY_FIBERS 250
#define MEMORY_ROUNDS 400

static void fill_with_finished(void *arg)
{
    uint64_t me = (uint64_t)(uintptr_t)arg;
    for (uint64_t i = 0; i < MEMORY_ROUNDS; i++) {
        const struct counter_op o = { .what = COUNTER_ADD, .name = 1, .n = 1, .token = me << 32 | i };
        assert_int_equal(ask(&o, 1, NULL, NULL), OK);
    }
    if (--left)
        return;
    /* until the checkpoint has them, and they are gone */
    uint64_t end_us = worker_now_us() + 20000000;
    const struct counter_op first = { .what = COUNTER_ADD, .name = 1, .n = 1, .token = UINT64_C(1) << 32 };
    while (ledger_status(ledger).evicted < 1000 && worker_now_us() < end_us) {
        assert_int_equal(ask(&first, 1, NULL, NULL), OK); /* told before, whether it is in memory or not */
        assert_int_equal(fiber_sleep_us(10000), OK);
    }
    assert_true(ledger_status(ledger).evicted >= 1000);
    assert_int_equal(get(1), MEMORY_FIBERS * MEMORY_ROUNDS);
    for (uint64_t k = 1; k <= MEMORY_FIBERS; k++) {
        const struct counter_op o = { .what = COUNTER_ADD, .name = 1, .n = 1, .token = k << 32 | k };
        assert_int_equal(ask(&o, 1, NULL, NULL), OK);
    }
    assert_int_equal(get(1), MEMORY_FIBERS * MEMORY_ROUNDS);
    worker_stop(worker_self());
}

static void finished_ones(void)
{
    left = MEMORY_FIBERS;
    for (uintptr_t i = 1; i <= MEMORY_FIBERS; i++)
        fiber_spawn(fill_with_finished, (void *)i);
}

static void what_is_finished_leaves_memory(void **state)
{
    (void)state;
    small_memory = 8u << 20;
    with_ledger(finished_ones);
    small_memory = 0;
}

static void hold_until_refused(void)
{
    err e = OK;
    uint64_t i = 0;
    while (!e) { /* an entry of eight */
        struct counter_op ops[8];
        for (unsigned k = 0; k < 8; k++)
            ops[k] = (struct counter_op){ .what = COUNTER_HOLD, .name = 1, .token = ++i, .hold_ms = 1000000 };
        e = ask(ops, 8, NULL, NULL);
        assert_true(i < 1000000);
    }
    assert_int_equal(e, ERR_LIMIT);
    const struct counter_op drop = { .what = COUNTER_DROP, .token = 1 };
    assert_int_equal(ask(&drop, 1, NULL, NULL), OK);
    assert_int_equal(get(1), 0);
    assert_null(ledger_stopped(ledger));
    worker_stop(worker_self());
}

static void what_is_open_fills_memory_and_no_more(void **state)
{
    (void)state;
    small_memory = 2u << 20;
    with_ledger(hold_until_refused);
    small_memory = 0;
}

static void find_all_held(void)
{
    const struct counter_op again = { .what = COUNTER_HOLD, .name = 1, .token = 2, .hold_ms = 1 };
    assert_int_equal(ask(&again, 1, NULL, NULL), ERR_EXISTS);
    worker_stop(worker_self());
}

/* What was answered is there, also where memory_bytes_max is less than it was. */
static void what_is_in_the_log_has_room(void **state)
{
    (void)state;
    small_memory = 2u << 20;
    with_crash(hold_until_refused);
    small_memory = 1u << 20;
    with_ledger(find_all_held);
    small_memory = 0;
}

static void one_process_only(void **state)
{
    (void)state;
    struct diag d = DIAG_NONE;
    struct ledger_opts o = options();
    struct ledger *first, *second;
    assert_int_equal(ledger_open(&o, &first, &d), OK);
    assert_int_equal(ledger_open(&o, &second, &d), ERR_IN_USE);
    assert_non_null(strstr(d.text, "another process"));
    ledger_close(first);
    assert_int_equal(ledger_open(&o, &second, &d), OK);
    ledger_close(second);
}

/* ---- damage */

/* A byte in the middle of the n-th batch (each is a block in these tests). */
static char segment[512]; /* that is looked at */

static void damage(unsigned batch)
{
    char byte;
    int fd = open(segment, O_RDWR);
    off_t at = (off_t)batch * DISK_BLOCK_BYTES + 80;
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

static void find_nine(void)
{
    assert_int_equal(get(7), 45);
    worker_stop(worker_self());
}

static err verify(struct ledger_report *ret_report)
{
    return ledger_verify(both_rules, folder, BYTES_NONE, ret_report, &DIAG_NONE);
}

static void a_torn_end_is_cut(void **state)
{
    (void)state;
    struct stat st = { 0 };
    struct ledger_report r;
    with_crash(add_a_few);
    folder_last_segment(folder, segment);
    damage(10);
    assert_int_equal(verify(&r), OK);
    assert_true(r.last_seq == 9 && r.torn_bytes > 0);
    assert_true(stat(segment, &st) == 0 && st.st_size == 1u << 20); /* as it was */
    with_crash(find_nine);                                          /* which leaves the segment where it is */
    assert_true(stat(segment, &st) == 0 && st.st_size == 10 * DISK_BLOCK_BYTES);
    with_ledger(find_nine);
}

static void is_refused(const char *expected)
{
    struct diag d = DIAG_NONE;
    struct ledger_opts o = options();
    assert_int_equal(ledger_open(&o, &ledger, &d), ERR_SYNTAX);
    if (!strstr(d.text, expected))
        fail_msg("%s, and no %s", d.text, expected);
}

static void a_hole_is_refused(void **state)
{
    struct ledger_report r;
    (void)state;
    with_crash(add_a_few);
    folder_last_segment(folder, segment);
    damage(4);
    is_refused("batch 4 is damaged or missing");
    assert_int_equal(verify(&r), ERR_SYNTAX);
    damage(4); /* as it was */
    assert_int_equal(verify(&r), OK);
    assert_int_equal(r.last_seq, 10);
    with_ledger(find_a_few);
}

static void do_nothing(void)
{
    worker_stop(worker_self());
}

/* The next segment was begun when the last batch of this one was safe: empty, and with batches. */
static void a_hole_before_the_next_is_refused(void **state)
{
    (void)state;
    with_crash(add_a_few);
    folder_last_segment(folder, segment);
    with_crash(do_nothing);
    damage(10);
    is_refused("batch 10 is damaged or missing");
    damage(10);
    with_crash(many_fibers);
    damage(10);
    is_refused("batch 10 is damaged or missing");
    damage(10);
    with_ledger(find_a_few);
}

static void a_log_that_ends_before_the_checkpoint_is_refused(void **state)
{
    (void)state;
    with_ledger(add_a_few);
    folder_last_segment(folder, segment);
    damage(10);
    is_refused("batch 10 is damaged or missing");
    damage(10);
    with_ledger(find_a_few);
}

static void a_missing_segment_is_refused(void **state)
{
    (void)state;
    with_crash(add_a_few);
    folder_last_segment(folder, segment);
    with_crash(many_fibers);
    assert_int_equal(unlink(segment), 0);
    is_refused("files are missing");
}

/* The same rules, which answer a byte more. */
static err answer_more(struct ledger_apply *a, struct bytes op)
{
    err e = counter_apply(a, op);
    ledger_answer(a, "x", 1);
    return e;
}

static void another_outcome_is_refused(void **state)
{
    (void)state;
    struct diag d = DIAG_NONE;
    struct ledger_opts o = options();
    struct ledger_rules other = counter_rules;
    const struct ledger_rules *const registry[] = { &other, NULL };
    other.apply = answer_more;
    with_crash(add_a_few);
    o.rules = registry;
    assert_int_equal(ledger_open(&o, &ledger, &d), ERR_SYNTAX);
    assert_non_null(strstr(d.text, "does not come out as it was answered"));
    with_ledger(find_a_few);
}

/* The records are not what the rules promise: nothing is built on them. */
static bool says_no(struct records *rs, struct diag *reterr)
{
    (void)rs;
    diag_set(reterr, "one is missing");
    return false;
}

static void a_contradiction_is_refused(void **state)
{
    (void)state;
    struct diag d = DIAG_NONE;
    struct ledger_opts o = options();
    struct ledger_rules other = counter_rules;
    const struct ledger_rules *const registry[] = { &other, NULL };
    other.check = says_no;
    with_ledger(add_a_few);
    o.rules = registry;
    assert_int_equal(ledger_open(&o, &ledger, &d), ERR_SYNTAX);
    assert_non_null(strstr(d.text, "contradict themselves: one is missing"));
    with_ledger(find_a_few);
}

#define AT_ONCE 24

/* In one turn: they reach the writer together, and stay in order. */
static void send_at_once(struct ledger_op ops[AT_ONCE])
{
    struct ledger_call calls[AT_ONCE];
    for (unsigned i = 0; i < AT_ONCE; i++) {
        calls[i] = (struct ledger_call){ .ops = &ops[i], .ops_count = 1 };
        ledger_send(ledger, &calls[i]);
    }
    for (unsigned i = 0; i < AT_ONCE; i++) {
        assert_int_equal(ledger_wait(&calls[i]), OK);
        assert_int_equal(calls[i].ret_refused, OK);
        assert_true(i == 0 || calls[i].ret_id == calls[i - 1].ret_id + 1);
    }
}

static void many_at_once(void)
{
    struct ledger_op ops[AT_ONCE];
    const struct counter_op add = { .what = COUNTER_ADD, .name = 1, .n = 1 };
    for (unsigned i = 0; i < AT_ONCE; i++)
        ops[i] = (struct ledger_op){ .rules = COUNTER_RULES, .body = { (const char *)&add, sizeof add } };
    send_at_once(ops);
    worker_stop(worker_self());
}

static void much_at_once(void)
{
    static char body[QUEUE_MESSAGE_BYTES_MAX - 1024], packed[sizeof body + 1024];
    struct ledger_op ops[AT_ONCE];
    const struct queue_field f = { QUEUE_BODY, { body, sizeof body } };
    const struct queue_op op = { .what = QUEUE_PUBLISH,
                                 .topic = BYTES("t"),
                                 .flags = QUEUE_MAKE,
                                 .room = 1024,
                                 .fields = &f,
                                 .fields_count = 1 };
    assert_true(queue_op_bytes(&op) <= sizeof packed);
    queue_write(&op, packed);
    for (unsigned i = 0; i < AT_ONCE; i++)
        ops[i] = (struct ledger_op){ .rules = QUEUE_RULES_ID, .body = { packed, queue_op_bytes(&op) } };
    send_at_once(ops);
    worker_stop(worker_self());
}

static uint64_t batches_written(void)
{
    struct ledger_opts o = options();
    ledger = folder_open(&o);
    const uint64_t seq = ledger_status(ledger).seq;
    ledger_close(ledger);
    return seq;
}

static void batches_are_bounded(void **state)
{
    (void)state;
    batch_max = 4;
    with_ledger(many_at_once);
    const uint64_t before = batches_written();
    assert_in_range(before, AT_ONCE / 4, AT_ONCE);
    batch_max = 4096;
    with_crash(much_at_once);
    const uint64_t large = batches_written() - before; /* and read again */
    batch_max = 0;
    assert_in_range(large, AT_ONCE * (uint64_t)QUEUE_MESSAGE_BYTES_MAX / LEDGER_BATCH_BYTES_MAX, AT_ONCE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_answered_is_found_again, folder_make, folder_remove),
        cmocka_unit_test_setup_teardown(all_of_an_entry_or_nothing, folder_make, folder_remove),
        cmocka_unit_test_setup_teardown(many_fibers_share_batches, folder_make, folder_remove),
        cmocka_unit_test_setup_teardown(what_is_due_happens_by_itself, folder_make, folder_remove),
        cmocka_unit_test_setup_teardown(what_is_finished_leaves_memory, folder_make, folder_remove),
        cmocka_unit_test_setup_teardown(what_is_open_fills_memory_and_no_more, folder_make, folder_remove),
        cmocka_unit_test_setup_teardown(what_is_in_the_log_has_room, folder_make, folder_remove),
        cmocka_unit_test_setup_teardown(one_process_only, folder_make, folder_remove),
        cmocka_unit_test_setup_teardown(a_torn_end_is_cut, folder_make, folder_remove),
        cmocka_unit_test_setup_teardown(a_hole_is_refused, folder_make, folder_remove),
        cmocka_unit_test_setup_teardown(a_hole_before_the_next_is_refused, folder_make, folder_remove),
        cmocka_unit_test_setup_teardown(a_log_that_ends_before_the_checkpoint_is_refused, folder_make,
                                        folder_remove),
        cmocka_unit_test_setup_teardown(another_outcome_is_refused, folder_make, folder_remove),
        cmocka_unit_test_setup_teardown(a_contradiction_is_refused, folder_make, folder_remove),
        cmocka_unit_test_setup_teardown(batches_are_bounded, folder_make, folder_remove),
        cmocka_unit_test_setup_teardown(a_missing_segment_is_refused, folder_make, folder_remove),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

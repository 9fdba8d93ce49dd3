/* What only looks: done at once while the writer rests, and never out of order. */
#include <semaphore.h>

#include "core/io.h"
#include "ledger/counter_test.h"
#include "ledger/folder_test.h"
#include "ledger/ledger_internal.h"

#define DEADLINE_US (20 * 1000000)
#define CHECKPOINT_INTERVAL_MS 2

static uint64_t interval_ms; /* of checkpoints; 0: as usual */
static struct ledger *ledger;
static struct ledger_rules rules; /* the counters', and they say that all of them only look */
static const struct ledger_rules *const registry[] = { &rules, NULL };

/* 1: that token has been used. */
#define FIND_TOKEN 99

static err apply(struct ledger_apply *a, struct bytes op)
{
    struct counter_op o;
    struct counter_key k;
    if (op.len < sizeof o)
        return ERR_SYNTAX;
    memcpy(&o, op.ptr, sizeof o);
    if (o.what != FIND_TOKEN)
        return counter_apply(a, op);
    const int64_t found = record_find(a->records, COUNTER_RULES, counter_key(&k, 't', o.token)) != NULL;
    ledger_answer(a, &found, sizeof found);
    return OK;
}

static bool all_look(struct bytes op)
{
    return op.len > 0;
}

static void with_ledger(void (*fn)(void), enum ledger_durability durability)
{
    struct ledger_opts o = LEDGER_OPTS_DEFAULT;
    if (interval_ms)
        o.checkpoint_interval_ms = interval_ms;
    o.path = folder;
    rules = counter_rules;
    rules.apply = apply;
    rules.looks = all_look;
    o.rules = registry;
    o.segment_bytes = 1u << 20;
    o.durability = durability;
    ledger = folder_open(&o);
    on_worker((void (*)(void *))(void *)fn, NULL);
    ledger_close(ledger);
}

struct asked {
    struct counter_op body;
    int64_t value;
    struct ledger_op op;
    struct ledger_call call;
};

static void send_one(struct asked *q, struct counter_op body)
{
    *q = (struct asked){ .body = body };
    q->op = (struct ledger_op){ .rules = COUNTER_RULES,
                                .body = { (const char *)&q->body, sizeof q->body },
                                .answer = (char *)&q->value,
                                .answer_size = sizeof q->value };
    q->call.ops = &q->op;
    q->call.ops_count = 1;
    ledger_send(ledger, &q->call);
}

static int64_t wait_for(struct asked *q)
{
    assert_int_equal(ledger_wait(&q->call), OK);
    assert_int_equal(q->call.ret_refused, OK);
    return q->value;
}

static int64_t ask(struct counter_op body)
{
    struct asked q;
    send_one(&q, body);
    return wait_for(&q);
}

/* The writer may be at something of its own, and is asked then. */
static bool is_done_at_once(struct counter_op body, int64_t expected)
{
    const uint64_t end_us = worker_clock_us() + DEADLINE_US;
    bool at_once = false;
    while (!at_once && worker_clock_us() < end_us) {
        struct asked q;
        send_one(&q, body);
        at_once = q.call.answered;
        assert_int_equal(wait_for(&q), expected);
        assert_int_equal(q.call.ret_durability, LEDGER_COMMIT);
    }
    return at_once;
}

static void look(void)
{
    assert_int_equal(ask((struct counter_op){ .what = COUNTER_ADD, .name = 1, .n = 5, .token = 9 }), 5);
    assert_true(is_done_at_once((struct counter_op){ .what = COUNTER_GET, .name = 1 }, 5));
    /* the same once more changes nothing */
    assert_true(
        is_done_at_once((struct counter_op){ .what = COUNTER_ADD, .name = 1, .n = 5, .token = 9 }, 5));
    worker_stop(worker_self());
}

static void a_look_is_done_at_once(void **state)
{
    (void)state;
    with_ledger(look, LEDGER_COMMIT);
}

static void follow(void)
{
    for (int64_t i = 1; i <= 100; i++) {
        struct asked add, get;
        send_one(&add, (struct counter_op){ .what = COUNTER_ADD, .name = 1, .n = 1 });
        send_one(&get, (struct counter_op){ .what = COUNTER_GET, .name = 1 });
        assert_false(get.call.answered);
        assert_int_equal(wait_for(&add), i);
        assert_int_equal(wait_for(&get), i);
    }
    worker_stop(worker_self());
}

static void a_look_overtakes_nothing(void **state)
{
    (void)state;
    with_ledger(follow, LEDGER_COMMIT);
}

static sem_t begun, go_on;
static const struct checkpoint_ops *quick;

static err commit_slowly(struct checkpoint_store *s, const struct frozen *f, struct diag *reterr)
{
    sem_post(&begun);
    sem_wait(&go_on);
    return quick->commit(s, f, reterr);
}

/* More than the interval passes, and more has changed: the writer sleeps nevertheless, or nothing would be
 * done at once. */
static void look_beside(void)
{
    quick = ledger->store->ops;
    struct checkpoint_ops slow = *quick;
    slow.commit = commit_slowly;
    ledger->store->ops = &slow;
    assert_int_equal(ask((struct counter_op){ .what = COUNTER_ADD, .name = 1, .n = 5 }), 5);
    sem_wait(&begun);
    assert_int_equal(ask((struct counter_op){ .what = COUNTER_ADD, .name = 1, .n = 5 }), 10);
    assert_int_equal(fiber_sleep_us(3 * CHECKPOINT_INTERVAL_MS * 1000), OK);
    assert_true(is_done_at_once((struct counter_op){ .what = COUNTER_GET, .name = 1 }, 10));
    ledger->store->ops = quick;
    sem_post(&go_on);
    worker_stop(worker_self());
}

static void a_writer_rests_beside_a_checkpoint(void **state)
{
    (void)state;
    sem_init(&begun, 0, 0);
    sem_init(&go_on, 0, 0);
    interval_ms = CHECKPOINT_INTERVAL_MS;
    with_ledger(look_beside, LEDGER_COMMIT);
    interval_ms = 0;
}

/* It said that it only looks: it is undone, and done by the writer, once. */
static void change(void)
{
    for (int64_t i = 1; i <= 100; i++) {
        struct asked q;
        send_one(&q, (struct counter_op){ .what = COUNTER_ADD, .name = 1, .n = 1, .token = (uint64_t)i });
        assert_false(q.call.answered);
        assert_int_equal(wait_for(&q), i);
    }
    worker_stop(worker_self());
}

/* Tokens have been left on disk: no worker reads there. */
static void find(void)
{
    for (uint64_t i = 1; i <= 99; i++)
        assert_int_equal(ask((struct counter_op){ .what = FIND_TOKEN, .token = i }), 1);
    assert_int_equal(ask((struct counter_op){ .what = COUNTER_ADD, .name = 1, .n = 1, .token = 100 }), 100);
    assert_int_equal(ask((struct counter_op){ .what = COUNTER_GET, .name = 1 }), 100);
    worker_stop(worker_self());
}

static void what_changes_all_the_same_goes_to_the_writer(void **state)
{
    (void)state;
    with_ledger(change, LEDGER_COMMIT);
    with_ledger(find, LEDGER_COMMIT);
}

/* The writer has it while what it did is not durable yet. */
static void look_in_between(void)
{
    struct asked q;
    assert_int_equal(ask((struct counter_op){ .what = COUNTER_ADD, .name = 1, .n = 5 }), 5);
    pthread_mutex_lock(&ledger->resting);
    send_one(&q, (struct counter_op){ .what = COUNTER_GET, .name = 1 });
    assert_false(q.call.answered);
    pthread_mutex_unlock(&ledger->resting);
    assert_int_equal(wait_for(&q), 5);
    worker_stop(worker_self());
}

static void a_look_does_not_see_a_batch_at_hand(void **state)
{
    (void)state;
    with_ledger(look_in_between, LEDGER_COMMIT);
}

/* What was mailed is counted off when it is taken: else the writer would never sleep again. */
static void take_turns(void)
{
    for (int64_t i = 0; i < 20; i++) {
        struct asked q[8];
        for (unsigned k = 0; k < 8; k++)
            send_one(&q[k], (struct counter_op){ .what = COUNTER_ADD, .name = 1, .n = 1 });
        for (unsigned k = 0; k < 8; k++)
            assert_int_equal(wait_for(&q[k]), i * 8 + k + 1);
        assert_int_equal(atomic_load(&ledger->mailed), 0);
    }
    worker_stop(worker_self());
}

static void what_was_taken_is_no_mail_any_more(void **state)
{
    (void)state;
    with_ledger(take_turns, LEDGER_COMMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_look_is_done_at_once, folder_make, folder_remove),
        cmocka_unit_test_setup_teardown(a_look_overtakes_nothing, folder_make, folder_remove),
        cmocka_unit_test_setup_teardown(what_changes_all_the_same_goes_to_the_writer, folder_make,
                                        folder_remove),
        cmocka_unit_test_setup_teardown(a_look_does_not_see_a_batch_at_hand, folder_make, folder_remove),
        cmocka_unit_test_setup_teardown(what_was_taken_is_no_mail_any_more, folder_make, folder_remove),
        cmocka_unit_test_setup_teardown(a_writer_rests_beside_a_checkpoint, folder_make, folder_remove),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Operations of the queue among commands of kv: one entry, each with its answer. */
#include "ledger/kv_test.h"
#include "ledger/queue.h"

static const struct ledger_rules *const both_rules[] = { &kv_rules, &queue_rules, NULL };
static struct kv_value values[64];
static unsigned values_count;

static int setup(void **state)
{
    (void)state;
    must(machine_open(&kt.machine, both_rules, 64 << 20) == OK);
    kt.now_ms = 1000;
    return 0;
}

static int teardown(void **state)
{
    struct diag d = DIAG_NONE;
    (void)state;
    machine_close(&kt.machine);
    must(machine_open(&kt.machine, both_rules, 64 << 20) == OK);
    for (unsigned i = 0; i < kt.log_count; i++) {
        struct batch_head head;
        memcpy(&head, kt.log[i].ptr, sizeof head);
        if (machine_replay(&kt.machine, &head, bytes_skip(kt.log[i], sizeof head), &d) != OK)
            fail_msg("batch %u: %s", i, d.text);
    }
    kv_test_close();
    return 0;
}

static void add_topic(unsigned flags, const struct queue_op *ops, unsigned count)
{
    struct bytes args[8];
    char packed[4][1024];
    for (unsigned i = 0; i < count; i++) {
        struct queue_op op = ops[i];
        op.room = 4096;
        must(queue_op_bytes(&op) <= sizeof packed[i]);
        queue_write(&op, packed[i]);
        args[2 * i] = op.topic;
        args[2 * i + 1] = (struct bytes){ packed[i], queue_op_bytes(&op) };
    }
    kt.op_bytes = (size_t)(kv_op_add(kt.op + kt.op_bytes, KV_TOPIC, flags, 0, args, 2 * count) - kt.op);
}
#define ADD(flags, ...)                                     \
    do {                                                    \
        const struct queue_op ops_[] = { __VA_ARGS__ };     \
        add_topic(flags, ops_, sizeof ops_ / sizeof *ops_); \
    } while (0)

static err run(void)
{
    struct ledger_op op = { .rules = KV_RULES_ID,
                            .body = { kt.op, kt.op_bytes },
                            .answer = kt.answer,
                            .answer_size = sizeof kt.answer };
    struct ledger_call c = { .ops = &op, .ops_count = 1 };
    machine_begin(&kt.machine, kt.now_ms);
    machine_entry(&kt.machine, &c, NULL);
    kv_test_keep_batch();
    struct bytes rest = { kt.answer, op.ret_answer_bytes };
    for (values_count = 0; !c.ret_refused && kv_read(&rest, &values[values_count]);)
        values_count++;
    return c.ret_refused;
}

static struct queue_answer answer(unsigned i)
{
    struct queue_answer a = { .result = QUEUE_RESULTS };
    struct bytes rest;
    if (i >= values_count || values[i].type != KV_TEXT || !queue_read_answer(values[i].text, &a, &rest))
        fail_msg("value %u of %u is no answer", i, values_count);
    return a;
}

#define S .topic = BYTES("s")
#define ADDED                                         \
    {                                                 \
        .what = QUEUE_PUBLISH, S, .flags = QUEUE_MAKE \
    }

static void they_happen_together(void **state)
{
    (void)state;
    kv_test_begin();
    kv_test_add(KV_SET, 0, 0, (const char *const[]){ "k", "v", NULL });
    ADD(0, ADDED);
    ADD(0, { .what = QUEUE_LOOK_TOPIC, S });
    kv_test_add(KV_EXISTS, 0, 0, (const char *const[]){ "k", "s", NULL });
    assert_int_equal(run(), OK);
    assert_int_equal(values_count, 6);
    assert_int_equal(values[1].type, KV_ARRAY);
    assert_int_equal(answer(2).id.ms, 1000);
    assert_int_equal(answer(4).result, QUEUE_DONE);
    assert_int_equal(values[5].number, 2);
}

static void what_is_refused_stops_nothing_else(void **state)
{
    (void)state;
    kv_test_begin();
    kv_test_add(KV_SET, 0, 0, (const char *const[]){ "s", "v", NULL });
    ADD(0, ADDED, { .what = QUEUE_TRIM, S });
    kv_test_add(KV_DEL, 0, 0, (const char *const[]){ "s", NULL });
    ADD(0, { .what = QUEUE_PUBLISH, S }, ADDED, { .what = QUEUE_PULL, S, .group = BYTES("g") });
    ADD(0, { .what = QUEUE_GROUP, .topic = BYTES("none"), .flags = QUEUE_MAKE });
    kv_test_add(KV_EXISTS, 0, 0, (const char *const[]){ "s", "none", NULL });
    assert_int_equal(run(), OK);
    assert_int_equal(values[2].type, KV_ERROR);
    assert_int_equal(values[3].type, KV_ERROR);
    assert_int_equal(answer(6).result, QUEUE_UNKNOWN_TOPIC);
    assert_int_equal(answer(7).result, QUEUE_DONE);
    assert_int_equal(answer(8).result, QUEUE_UNKNOWN_GROUP);
    assert_int_equal(answer(10).result, QUEUE_MALFORMED);
    assert_int_equal(values[11].number, 1); /* what is malformed makes no topic */
}

static void all_stops_at_the_first(void **state)
{
    (void)state;
    kv_test_begin();
    ADD(KV_ALL, { .what = QUEUE_PUBLISH, S }, ADDED, ADDED);
    ADD(KV_ALL, ADDED, { .what = QUEUE_LOOK_TOPIC, S });
    assert_int_equal(run(), OK);
    assert_int_equal(answer(1).result, QUEUE_UNKNOWN_TOPIC);
    assert_int_equal(values[2].type, KV_NIL);
    assert_int_equal(values[3].type, KV_NIL);
    assert_int_equal(answer(5).result, QUEUE_DONE);
    assert_int_equal(answer(6).result, QUEUE_DONE);
}

static void each_has_its_own_room(void **state)
{
    (void)state;
    char large[600];
    memset(large, 'x', sizeof large);
    const struct queue_field field = { QUEUE_BODY, { large, sizeof large } };
    const struct queue_op range = { .what = QUEUE_RANGE, S, .end = QUEUE_ID_LAST };
    kv_test_begin();
    ADD(0, { .what = QUEUE_PUBLISH, S, .flags = QUEUE_MAKE, .fields = &field, .fields_count = 1 });
    for (unsigned i = 0; i < 10; i++)
        ADD(0, range);
    assert_int_equal(run(), OK);
    for (unsigned i = 1; i <= 10; i++)
        assert_int_equal(answer(2 * i + 1).count, 1);
}

static void what_is_refused_is_not_known(void **state)
{
    (void)state;
    const struct queue_op refused = {
        .what = QUEUE_PUBLISH, S, .own_id = BYTES("x"), .id = { 1, 0 }, .flags = QUEUE_ID_GIVEN
    };
    kv_test_begin();
    ADD(0, ADDED);
    ADD(0, refused);
    ADD(0, { .what = QUEUE_PUBLISH, S, .own_id = BYTES("x") });
    assert_int_equal(run(), OK);
    assert_int_equal(answer(3).result, QUEUE_ID_TOO_SMALL);
    assert_int_equal(answer(5).result, QUEUE_DONE);
    assert_int_equal(answer(5).end.seq, 0);
}

static int64_t version(void)
{
    kv_test_begin();
    kv_test_add(KV_VERSION, 0, 0, (const char *const[]){ "s", NULL });
    assert_int_equal(run(), OK);
    return values[0].number;
}

static void do_one(struct queue_op op)
{
    kv_test_begin();
    add_topic(0, &op, 1);
    assert_int_equal(run(), OK);
    assert_int_equal(answer(1).result, QUEUE_DONE);
}

static void a_topic_has_a_version(void **state)
{
    (void)state;
    assert_int_equal(version(), 0);
    do_one((struct queue_op)ADDED);
    const int64_t first = version();
    assert_int_not_equal(first, 0);
    do_one((struct queue_op){ .what = QUEUE_LOOK_TOPIC, S });
    do_one((struct queue_op){ .what = QUEUE_GROUP, S, .group = BYTES("g") });
    assert_int_equal(version(), first);
    do_one((struct queue_op)ADDED);
    const int64_t second = version();
    assert_int_not_equal(second, first);
    const struct queue_id id = { 1000, 1 };
    do_one((struct queue_op){ .what = QUEUE_DELETE, S, .ids = &id, .ids_count = 1 });
    const int64_t third = version();
    assert_int_not_equal(third, second);
    assert_int_not_equal(third, first);
    do_one((struct queue_op){ .what = QUEUE_TRIM, S });
    assert_int_not_equal(version(), third);
    kv_test_begin();
    kv_test_add(KV_UNLESS, 0, first, (const char *const[]){ "s", NULL });
    ADD(0, ADDED);
    assert_int_equal(run(), OK);
    assert_int_equal(values[0].type, KV_CHANGED);
    assert_int_equal(values_count, 1);
}

static void what_does_not_fit_undoes_all(void **state)
{
    (void)state;
    char large[1000];
    memset(large, 'x', sizeof large);
    const struct queue_field field = { QUEUE_BODY, { large, 600 } };
    do_one((struct queue_op){
        .what = QUEUE_PUBLISH, S, .flags = QUEUE_MAKE, .fields = &field, .fields_count = 1 });
    struct queue_op range = { .what = QUEUE_RANGE, S, .end = QUEUE_ID_LAST, .room = 100 };
    char packed[256];
    queue_write(&range, packed);
    const struct bytes args[] = { BYTES("s"), { packed, queue_op_bytes(&range) } };
    kv_test_begin();
    kv_test_add(KV_SET, 0, 0, (const char *const[]){ "k", "v", NULL });
    kt.op_bytes = (size_t)(kv_op_add(kt.op + kt.op_bytes, KV_TOPIC, 0, 0, args, 2) - kt.op);
    assert_int_equal(run(), ERR_AGAIN);
    kv_test_begin();
    kv_test_add(KV_EXISTS, 0, 0, (const char *const[]){ "k", NULL });
    assert_int_equal(run(), OK);
    assert_int_equal(values[0].number, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(they_happen_together),         TEST(what_is_refused_stops_nothing_else),
        TEST(all_stops_at_the_first),       TEST(each_has_its_own_room),
        TEST(what_is_refused_is_not_known), TEST(a_topic_has_a_version),
        TEST(what_does_not_fit_undoes_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

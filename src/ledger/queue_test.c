/* The queue's rules, one promise after the other. */
#include "ledger/queue_test.h"

static int setup(void **state)
{
    (void)state;
    queue_test_open();
    ASK_DONE(.what = QUEUE_TOPIC, T);
    ASK_DONE(.what = QUEUE_GROUP, G, .lease_ms = 1000, .attempts = 3, .back_off_ms = 100,
             .back_off_ms_max = 150);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    queue_test_crash();
    queue_test_close();
    return 0;
}

static void ids_only_grow(void **state)
{
    (void)state;
    const struct queue_id a = PUBLISH("a"), b = PUBLISH("b");
    assert_int_equal(a.ms, 1000);
    assert_int_equal(b.ms, 1000);
    assert_int_equal(b.seq, a.seq + 1);
    const struct queue_id c = PUBLISH("c", .id = { 5000, 7 }, .flags = QUEUE_ID_GIVEN);
    assert_int_equal(c.seq, 7);
    assert_int_equal(PUBLISH("d").seq, 8); /* the clock is behind the last id */
    assert_int_equal(PUBLISH("e", .id = { 5000, 0 }, .flags = QUEUE_ID_GIVEN | QUEUE_ANY_SEQ).seq, 9);
    assert_int_equal(ASK(.what = QUEUE_PUBLISH, T, .id = { 5000, 9 }, .flags = QUEUE_ID_GIVEN),
                     QUEUE_ID_TOO_SMALL);
    assert_int_equal(ASK(.what = QUEUE_PUBLISH, .topic = BYTES("none")), QUEUE_UNKNOWN_TOPIC);
    assert_int_equal(PUBLISH("m", .topic = BYTES("none"), .flags = QUEUE_MAKE).ms, 1000);
    ASK_GETS("a:0 b:0 c:0 d:0 e:0", .what = QUEUE_RANGE, T, .end = QUEUE_ID_LAST);
    ASK_GETS("e:0 d:0", .what = QUEUE_RANGE, T, .end = QUEUE_ID_LAST, .count = 2, .flags = QUEUE_IS_REVERSE);
    ASK_GETS("b:0 c:0", .what = QUEUE_RANGE, T, .id = b, .end = c);
}

static void acked_is_done(void **state)
{
    (void)state;
    const struct queue_id a = PUBLISH("a"), b = PUBLISH("b");
    PUBLISH("c");
    ASK_GETS("a:1 b:1", .what = QUEUE_PULL, C, .count = 2);
    ASK_GETS("c:1", .what = QUEUE_PULL, C);
    ASK_GETS("", .what = QUEUE_PULL, C);
    ASK_NUMBER(1, .what = QUEUE_ACK, G, .ids = &a, .ids_count = 1);
    ASK_NUMBER(0, .what = QUEUE_ACK, G, .ids = &a, .ids_count = 1);
    ASK_GETS("b:1 c:1", .what = QUEUE_HISTORY, C);
    queue_test_crash();
    queue_test_pass(1000); /* the lease ends */
    ASK_GETS("", .what = QUEUE_PULL, C);
    queue_test_pass(99);
    ASK_GETS("", .what = QUEUE_PULL, C);
    queue_test_pass(1); /* the back-off is over */
    ASK_GETS("b:2", .what = QUEUE_PULL, C, .count = 1);
    ASK_NUMBER(1, .what = QUEUE_ACK, G, .ids = &b, .ids_count = 1);
    ASK_GETS("c:2", .what = QUEUE_PULL, C);
}

static void a_pull_says_its_own_lease(void **state)
{
    (void)state;
    PUBLISH("a");
    ASK_GETS("a:1", .what = QUEUE_PULL, C, .lease_ms = 3000);
    queue_test_pass(2999);
    ASK_NUMBER(1, .what = QUEUE_PENDING_SUM, G);
    queue_test_pass(1);
    ASK_NUMBER(0, .what = QUEUE_PENDING_SUM, G);
    queue_test_pass(100); /* the back-off */
    ASK_GETS("a:2", .what = QUEUE_PULL, C, .lease_ms = 10);
    queue_test_pass(10);
    queue_test_pass(150);
    ASK_GETS("a:3", .what = QUEUE_PULL, C);
    queue_test_pass(999);
    ASK_GETS("", .what = QUEUE_PULL, C);
}

static void back_off_grows(void **state)
{
    (void)state;
    static const uint64_t waits[] = { 10, 20, 40, 50, 50 };
    ASK_DONE(.what = QUEUE_GROUP, G, .lease_ms = 1000, .back_off_ms = 10, .back_off_ms_max = 50);
    const struct queue_id a = PUBLISH("a");
    ASK_DONE(.what = QUEUE_PULL, C);
    for (unsigned i = 0; i < 5; i++) {
        ASK_NUMBER(1, .what = QUEUE_NACK, G, .ids = &a, .ids_count = 1, .flags = QUEUE_BACK_OFF);
        queue_test_pass(waits[i] - 1);
        ASK_GETS("", .what = QUEUE_PULL, C);
        queue_test_pass(1);
        ASK_DONE(.what = QUEUE_PULL, C);
        assert_int_equal(qt.head.count, 1);
    }
}

static void slower_counts_no_attempt(void **state)
{
    (void)state;
    const struct queue_id a = PUBLISH("a");
    for (unsigned i = 0; i < 10; i++) {
        ASK_GETS("a:1", .what = QUEUE_PULL, C);
        ASK_NUMBER(1, .what = QUEUE_NACK, G, .ids = &a, .ids_count = 1, .flags = QUEUE_NOT_TRIED);
    }
}

static void each_sees_its_own(void **state)
{
    (void)state;
    struct queue_group_shown g;
    const struct queue_id a = PUBLISH("a"), b = PUBLISH("b");
    const struct queue_id both[] = { a, b };
    ASK_GETS("a:1", .what = QUEUE_PULL, C, .count = 1);
    ASK_GETS("b:1", .what = QUEUE_PULL, G, .consumer = BYTES("two"), .count = 1);
    ASK_GETS("a:1", .what = QUEUE_HISTORY, C);
    ASK_GETS("b:1", .what = QUEUE_HISTORY, G, .consumer = BYTES("two"));
    ASK_NUMBER(2, .what = QUEUE_ACK, G, .ids = both, .ids_count = 2);
    ASK_DONE(.what = QUEUE_GROUPS, T);
    must(queue_read_group(&qt.rest, &g));
    assert_int_equal(g.acked, 2);
    assert_int_equal(g.delivered, 2);
}

/* In order, backwards, twice in one go, ids that nobody has and those of what is not delivered yet. */
static void any_order_of_acks_will_do(void **state)
{
    (void)state;
    struct queue_id ids[8], mixed[9];
    for (unsigned i = 0; i < 8; i++) {
        const char text[] = { (char)('a' + i), 0 };
        ids[i] = PUBLISH(text);
    }
    ASK_GETS("a:1 b:1 c:1 d:1 e:1 f:1 g:1", .what = QUEUE_PULL, C, .count = 7);
    mixed[0] = ids[1], mixed[1] = ids[2], mixed[2] = ids[0], mixed[3] = (struct queue_id){ 1, 1 };
    mixed[4] = ids[7], mixed[5] = ids[6], mixed[6] = ids[4], mixed[7] = ids[4], mixed[8] = ids[2];
    ASK_NUMBER(5, .what = QUEUE_ACK, G, .ids = mixed, .ids_count = 9);
    ASK_GETS("d:1 f:1", .what = QUEUE_HISTORY, C);
    queue_test_crash();
    ASK_NUMBER(2, .what = QUEUE_ACK, G, .ids = ids, .ids_count = 8);
    ASK_GETS("", .what = QUEUE_HISTORY, C);
    ASK_GETS("h:1", .what = QUEUE_PULL, C);
}

static void too_many_attempts_end_in_the_dead_letters(void **state)
{
    (void)state;
    struct queue_message m;
    struct queue_field f;
    ASK_DONE(.what = QUEUE_TOPIC, .topic = BYTES("dead"));
    ASK_DONE(.what = QUEUE_TOPIC, T, .other = BYTES("dead"));
    const struct queue_id a = PUBLISH_KEY("a", "k");
    for (unsigned i = 1; i <= 3; i++) {
        ASK_DONE(.what = QUEUE_PULL, C);
        assert_int_equal(qt.head.count, 1);
        ASK_GETS("", .what = QUEUE_RANGE, .topic = BYTES("dead"), .end = QUEUE_ID_LAST);
        ASK_NUMBER(1, .what = QUEUE_NACK, G, .ids = &a, .ids_count = 1, .flags = QUEUE_BACK_OFF);
        queue_test_pass(150); /* the largest back-off */
    }
    ASK_GETS("", .what = QUEUE_PULL, C);
    ASK_DONE(.what = QUEUE_RANGE, .topic = BYTES("dead"), .end = QUEUE_ID_LAST);
    must(queue_read_message(&qt.rest, &m));
    assert_memory_equal(m.key.ptr, "k", 1);
    assert_int_equal(m.fields_count, 5);
    for (unsigned i = 0; i < 5; i++)
        must(queue_read_field(&m.fields, &f));
    assert_memory_equal(f.name.ptr, "weir-attempts", f.name.len);
    assert_memory_equal(f.value.ptr, "3", f.value.len);
}

static void a_key_keeps_its_order(void **state)
{
    (void)state;
    ASK_DONE(.what = QUEUE_TOPIC, T, .flags = QUEUE_IS_ORDERED);
    const struct queue_id a = PUBLISH_KEY("a1", "a");
    PUBLISH_KEY("a2", "a");
    PUBLISH_KEY("b1", "b");
    PUBLISH_KEY("a3", "a");
    PUBLISH("none");
    ASK_GETS("a1:1 b1:1 none:1", .what = QUEUE_PULL, C);
    ASK_NUMBER(1, .what = QUEUE_NACK, G, .ids = &a, .ids_count = 1, .delay_ms = 50);
    ASK_GETS("", .what = QUEUE_PULL, C);
    queue_test_pass(50);
    ASK_GETS("a1:2", .what = QUEUE_PULL, C);
    ASK_NUMBER(1, .what = QUEUE_ACK, G, .ids = &a, .ids_count = 1);
    ASK_GETS("a2:1", .what = QUEUE_PULL, C);
    queue_test_crash();
    ASK_GETS("", .what = QUEUE_PULL, C);
    assert_int_equal(ASK(.what = QUEUE_PUBLISH, T, .priority = 1), QUEUE_NO_PRIORITY);
}

static void priorities_go_first(void **state)
{
    (void)state;
    PUBLISH("low");
    const struct queue_id high = PUBLISH("high", .priority = 9);
    PUBLISH("middle", .priority = 4);
    PUBLISH("high2", .priority = 9);
    ASK_GETS("high:1 high2:1", .what = QUEUE_PULL, C, .count = 2);
    ASK_NUMBER(1, .what = QUEUE_NACK, G, .ids = &high, .ids_count = 1);
    ASK_GETS("high:2 middle:1 low:1", .what = QUEUE_PULL, C);
    /* another group, that begins in the middle */
    ASK_DONE(.what = QUEUE_GROUP, T, .group = BYTES("mail"), .id = high);
    ASK_GETS("high2:1 middle:1", .what = QUEUE_PULL, T, .group = BYTES("mail"), .consumer = BYTES("x"));
}

static void delayed_ones_come_later(void **state)
{
    (void)state;
    PUBLISH("later", .delay_ms = 500);
    assert_true(qt.head.number > 0);
    PUBLISH("never", .delay_ms = 600);
    const uint64_t handle = qt.head.number;
    PUBLISH("now");
    ASK_GETS("now:1", .what = QUEUE_PULL, C);
    ASK_DONE(.what = QUEUE_ROLL_BACK, T, .number = handle);
    queue_test_pass(499);
    ASK_GETS("", .what = QUEUE_PULL, C);
    queue_test_pass(1);
    ASK_GETS("later:1", .what = QUEUE_PULL, C);
    queue_test_pass(600);
    ASK_GETS("now:0 later:0", .what = QUEUE_RANGE, T, .end = QUEUE_ID_LAST);
}

static void a_half_is_committed_or_not(void **state)
{
    (void)state;
    PUBLISH("half", .flags = QUEUE_IS_HALF);
    const uint64_t handle = qt.head.number;
    PUBLISH("other", .flags = QUEUE_IS_HALF);
    const uint64_t other = qt.head.number;
    ASK_GETS("", .what = QUEUE_PULL, C);
    ASK_DONE(.what = QUEUE_LOOK_KEPT, T, .number = handle);
    assert_int_equal(qt.head.number, 1);
    ASK_DONE(.what = QUEUE_COMMIT, T, .number = handle);
    const struct queue_id id = qt.head.id;
    ASK_DONE(.what = QUEUE_COMMIT, T, .number = handle);
    assert_int_equal(queue_id_compare(id, qt.head.id), 0);
    assert_int_equal(ASK(.what = QUEUE_ROLL_BACK, T, .number = handle), QUEUE_ENDED);
    ASK_DONE(.what = QUEUE_ROLL_BACK, T, .number = other);
    assert_int_equal(ASK(.what = QUEUE_COMMIT, T, .number = other), QUEUE_ENDED);
    assert_int_equal(ASK(.what = QUEUE_COMMIT, T, .number = 77), QUEUE_UNKNOWN_HANDLE);
    ASK_GETS("half:1", .what = QUEUE_PULL, C);
    queue_test_pass(QUEUE_HALF_KNOWN_MS - 1);
    ASK_DONE(.what = QUEUE_COMMIT, T, .number = handle);
    queue_test_pass(1);
    assert_int_equal(ASK(.what = QUEUE_COMMIT, T, .number = handle), QUEUE_UNKNOWN_HANDLE);
}

static void a_silent_publisher_is_asked(void **state)
{
    (void)state;
    struct queue_message m;
    struct queue_field f[3];
    ASK_DONE(.what = QUEUE_TOPIC, T, .check_ms = 100, .attempts = 2);
    PUBLISH("half", .flags = QUEUE_IS_HALF);
    queue_test_pass(99);
    assert_int_equal(ASK(.what = QUEUE_LOOK_TOPIC, .topic = BYTES("orders.check")), QUEUE_UNKNOWN_TOPIC);
    queue_test_pass(1);
    ASK_DONE(.what = QUEUE_RANGE, .topic = BYTES("orders.check"), .end = QUEUE_ID_LAST);
    must(queue_read_message(&qt.rest, &m) && m.fields_count == 3);
    for (unsigned i = 0; i < 3; i++)
        must(queue_read_field(&m.fields, &f[i]));
    assert_memory_equal(f[1].value.ptr, "orders", 6);
    assert_memory_equal(f[2].value.ptr, "1", 1);
    queue_test_pass(100);
    ASK_GETS("half:0 half:0", .what = QUEUE_RANGE, .topic = BYTES("orders.check"), .end = QUEUE_ID_LAST);
    queue_test_pass(100);
    assert_int_equal(ASK(.what = QUEUE_COMMIT, T, .number = 1), QUEUE_ENDED);
}

/* Its publisher is not asked again while it has not answered; each time counts all the same. */
static void one_check_of_a_half_waits_at_a_time(void **state)
{
    (void)state;
    const struct bytes checks = BYTES("orders.check"), push = BYTES("push");
    ASK_DONE(.what = QUEUE_TOPIC, T, .check_ms = 100, .attempts = 8);
    ASK_DONE(.what = QUEUE_TOPIC, .topic = checks, .keep_ms = QUEUE_CHECK_KEEP_MS);
    ASK_DONE(.what = QUEUE_GROUP, .topic = checks, .group = push, .lease_ms = 10000, .attempts = 100);
    PUBLISH("half", .flags = QUEUE_IS_HALF);
    PUBLISH("other", .flags = QUEUE_IS_HALF);
    queue_test_pass(100);
    queue_test_pass(100); /* nobody has had it */
    ASK_GETS("half:0 other:0", .what = QUEUE_RANGE, .topic = checks, .end = QUEUE_ID_LAST);
    ASK_GETS("half:1", .what = QUEUE_PULL, .topic = checks, .group = push, .consumer = push, .count = 1);
    queue_test_pass(100); /* in hand */
    queue_test_crash();
    struct queue_id id = { 0 };
    ASK_DONE(.what = QUEUE_RANGE, .topic = checks, .end = QUEUE_ID_LAST);
    struct queue_message m;
    must(queue_read_message(&qt.rest, &m));
    id = m.id;
    ASK_NUMBER(1, .what = QUEUE_NACK, .topic = checks, .group = push, .ids = &id, .ids_count = 1,
               .delay_ms = 150);
    queue_test_pass(100); /* put off */
    ASK_GETS("half:0 other:0", .what = QUEUE_RANGE, .topic = checks, .end = QUEUE_ID_LAST);
    queue_test_pass(50);
    ASK_GETS("half:2 other:1", .what = QUEUE_PULL, .topic = checks, .group = push, .consumer = push);
    ASK_NUMBER(1, .what = QUEUE_ACK, .topic = checks, .group = push, .ids = &id, .ids_count = 1);
    queue_test_pass(50); /* answered, and nothing said: the one that has its answer is asked again */
    ASK_GETS("half:0 other:0 half:0", .what = QUEUE_RANGE, .topic = checks, .end = QUEUE_ID_LAST);
    ASK_DONE(.what = QUEUE_ROLL_BACK, T, .number = 1);
    assert_int_equal(qt.head.id.ms, 0);
    for (unsigned i = 0; i < 3; i++)
        queue_test_pass(100);
    queue_test_pass(99);
    ASK_DONE(.what = QUEUE_LOOK_KEPT, T, .number = 2);
    queue_test_pass(1); /* eight times */
    assert_int_equal(ASK(.what = QUEUE_COMMIT, T, .number = 2), QUEUE_ENDED);
}

static void what_is_too_old_or_too_much_goes(void **state)
{
    (void)state;
    ASK_DONE(.what = QUEUE_TOPIC, T, .keep_ms = 1000);
    PUBLISH("a");
    queue_test_pass(500);
    PUBLISH("b");
    queue_test_pass(499);
    ASK_GETS("a:0 b:0", .what = QUEUE_RANGE, T, .end = QUEUE_ID_LAST);
    queue_test_pass(1);
    ASK_GETS("b:0", .what = QUEUE_RANGE, T, .end = QUEUE_ID_LAST);
    ASK_DONE(.what = QUEUE_TOPIC, T, .keep_bytes = 3 * (8 + 4 + 2));
    PUBLISH("cc");
    PUBLISH("dd");
    PUBLISH("ee");
    queue_test_pass(1);
    ASK_GETS("cc:0 dd:0 ee:0", .what = QUEUE_RANGE, T, .end = QUEUE_ID_LAST);
    ASK_DONE(.what = QUEUE_TOPIC, T, .keep_count = 1);
    queue_test_pass(1);
    ASK_GETS("ee:1", .what = QUEUE_PULL, C);
    PUBLISH("f"); /* what was in hand is gone, and is not given again */
    queue_test_pass(1000);
    queue_test_pass(100);
    ASK_GETS("f:1", .what = QUEUE_PULL, C);
    ASK_DONE(.what = QUEUE_GROUPS, T);
    struct queue_group_shown g;
    must(queue_read_group(&qt.rest, &g));
    assert_int_equal(g.dropped, 1);
}

static void a_group_goes_back_in_time(void **state)
{
    (void)state;
    PUBLISH("a");
    queue_test_pass(10);
    const struct queue_id b = PUBLISH("b");
    queue_test_pass(10);
    PUBLISH("c");
    for (unsigned i = 0; i < 2; i++) {
        ASK_DONE(.what = QUEUE_PULL, C, .flags = QUEUE_NO_ACK);
        assert_string_equal(queue_test_messages(), i ? "b:1 c:1" : "a:1 b:1 c:1");
        ASK_GETS("", .what = QUEUE_PULL, C);
        ASK_DONE(.what = QUEUE_SET_ID, G, .id = { b.ms, 0 }, .flags = QUEUE_BY_TIME);
    }
    ASK_DONE(.what = QUEUE_SET_ID, G, .flags = QUEUE_FROM_END);
    ASK_GETS("", .what = QUEUE_PULL, C);
    ASK_DONE(.what = QUEUE_SET_ID, G);
    ASK_GETS("a:1 b:1 c:1", .what = QUEUE_PULL, C);
    ASK_DONE(.what = QUEUE_SET_ID, G);
    ASK_GETS("", .what = QUEUE_PULL, C); /* still pending: they come when their lease ends */
}

static void what_is_pending_is_listed_and_claimed(void **state)
{
    (void)state;
    struct queue_pending p;
    const struct queue_id a = PUBLISH("a"), b = PUBLISH("b");
    const struct queue_id both[] = { a, b };
    PUBLISH("c");
    ASK_DONE(.what = QUEUE_GROUP, G); /* no lease: as Redis has it */
    ASK_GETS("a:1 b:1 c:1", .what = QUEUE_PULL, C);
    queue_test_pass(5000);
    ASK_GETS("", .what = QUEUE_PULL, C);
    ASK_DONE(.what = QUEUE_PENDING, G, .end = QUEUE_ID_LAST, .idle_ms = 5000);
    assert_int_equal(qt.head.count, 3);
    must(queue_read_pending(&qt.rest, &p));
    assert_memory_equal(p.consumer.ptr, "one", 3);
    assert_int_equal(p.delivered_ms, 1000);
    ASK_DONE(.what = QUEUE_PENDING, G, .end = QUEUE_ID_LAST, .idle_ms = 5001);
    assert_int_equal(qt.head.count, 0);
    ASK_GETS("a:2 b:2", .what = QUEUE_CLAIM, G, .consumer = BYTES("two"), .ids = both, .ids_count = 2,
             .idle_ms = 5000);
    ASK_GETS("", .what = QUEUE_CLAIM, C, .ids = both, .ids_count = 2, .idle_ms = 5000);
    ASK_GETS("c:2", .what = QUEUE_AUTO_CLAIM, G, .consumer = BYTES("two"), .count = 10, .idle_ms = 5000);
    ASK_NUMBER(3, .what = QUEUE_PENDING_SUM, G);
    assert_int_equal(qt.head.count, 1);
    assert_int_equal(queue_id_compare(qt.head.id, a), 0);
    assert_int_equal(qt.head.end.seq, b.seq + 1);
    ASK_NUMBER(1, .what = QUEUE_DELETE, T, .ids = &b, .ids_count = 1);
    ASK_GETS("a:3 ~:2 c:3", .what = QUEUE_HISTORY, G, .consumer = BYTES("two"));
    ASK_DONE(.what = QUEUE_SET_ID, G);
    ASK_GETS("a:4 c:4", .what = QUEUE_PULL, G, .consumer = BYTES("one"), .flags = QUEUE_NO_ACK);
    ASK_GETS("a:4 ~:2 c:4", .what = QUEUE_HISTORY, G, .consumer = BYTES("two"));
    ASK_NUMBER(3, .what = QUEUE_DELETE_CONSUMER, G, .consumer = BYTES("two"));
    ASK_NUMBER(0, .what = QUEUE_PENDING_SUM, G);
    ASK_DONE(.what = QUEUE_CONSUMERS, G);
    assert_int_equal(qt.head.count, 1);
    ASK_GETS("c:1", .what = QUEUE_CLAIM, C, .ids = (const struct queue_id[]){ { b.ms, b.seq + 1 } },
             .ids_count = 1, .flags = QUEUE_FORCE);
}

static void what_is_deleted_is_swept(void **state)
{
    (void)state;
    char name[8];
    for (unsigned i = 0; i < 3000; i++) {
        snprintf(name, sizeof name, "%u", i);
        PUBLISH_KEY(name, name, .priority = i % 3);
    }
    PUBLISH("h", .flags = QUEUE_IS_HALF);
    ASK_DONE(.what = QUEUE_PULL, C, .count = 1500);
    const uint64_t before = records_stats(qt.machine.records).count;
    ASK_DONE(.what = QUEUE_DELETE_TOPIC, T);
    assert_int_equal(ASK(.what = QUEUE_PULL, C), QUEUE_UNKNOWN_TOPIC);
    ASK_DONE(.what = QUEUE_TOPIC, T); /* its name is free at once */
    ASK_GETS("", .what = QUEUE_RANGE, T, .end = QUEUE_ID_LAST);
    for (unsigned i = 0; i < 20; i++)
        queue_test_pass(1);
    queue_test_pass(2000);
    assert_true(before > 4500);
    assert_int_equal(records_stats(qt.machine.records).count, 3); /* sums, topic, its name */
    ASK_DONE(.what = QUEUE_GROUP, G, .lease_ms = 1000);
}

static void room_and_bounds_are_kept(void **state)
{
    (void)state;
    char name[QUEUE_NAME_BYTES_MAX + 2];
    memset(name, 'n', sizeof name);
    PUBLISH("12345678901234567890");
    PUBLISH("b");
    assert_int_equal(ASK(.what = QUEUE_PULL, C, .room = 60), QUEUE_TOO_SMALL);
    ASK_GETS("12345678901234567890:1", .what = QUEUE_PULL, C, .room = 60 + 32 + 4 + 20 + 64);
    assert_true(qt.answer_bytes <= 60 + 32 + 4 + 20 + 64);
    ASK_GETS("b:1", .what = QUEUE_PULL, C);
    assert_int_equal(ASK(.what = QUEUE_TOPIC, .topic = { name, QUEUE_NAME_BYTES_MAX + 1 }), QUEUE_MALFORMED);
    assert_int_equal(ASK(.what = QUEUE_TOPIC, .topic = { name, 300 - 170 }), QUEUE_MALFORMED);
    assert_int_equal(ASK(.what = QUEUE_PUBLISH, T, .priority = QUEUE_PRIORITIES), QUEUE_MALFORMED);
    assert_int_equal(ASK(.what = QUEUE_PUBLISH, T, .delay_ms = QUEUE_DELAY_MS_MAX + 1), QUEUE_MALFORMED);
    assert_int_equal(ASK(.what = QUEUE_WHATS), QUEUE_MALFORMED);
    assert_int_equal(ASK(.what = QUEUE_PULL, T, .group = BYTES("none"), .consumer = BYTES("c")),
                     QUEUE_UNKNOWN_GROUP);
    /* any bytes are an operation or none */
    for (unsigned i = 0; i < 20000; i++) {
        char bytes[64];
        for (unsigned b = 0; b < sizeof bytes; b++)
            bytes[b] = (char)(i * 2654435761u >> (b % 24)) ^ (char)(b * i);
        bytes[0] = (char)(i % (QUEUE_WHATS + 1));
        struct ledger_op o = { .rules = QUEUE_RULES_ID, .body = { bytes, i % 64 } };
        struct ledger_call call = { .ops = &o, .ops_count = 1 };
        machine_begin(&qt.machine, qt.now_ms);
        machine_entry(&qt.machine, &call, NULL);
        queue_test_end_batch();
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(ids_only_grow),
        TEST(acked_is_done),
        TEST(a_pull_says_its_own_lease),
        TEST(back_off_grows),
        TEST(slower_counts_no_attempt),
        TEST(each_sees_its_own),
        TEST(any_order_of_acks_will_do),
        TEST(too_many_attempts_end_in_the_dead_letters),
        TEST(a_key_keeps_its_order),
        TEST(priorities_go_first),
        TEST(delayed_ones_come_later),
        TEST(a_half_is_committed_or_not),
        TEST(a_silent_publisher_is_asked),
        TEST(one_check_of_a_half_waits_at_a_time),
        TEST(what_is_too_old_or_too_much_goes),
        TEST(a_group_goes_back_in_time),
        TEST(what_is_pending_is_listed_and_claimed),
    };
    const struct CMUnitTest of_many_steps[] = {
        TEST(what_is_deleted_is_swept),
        TEST(room_and_bounds_are_kept),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    failed += cmocka_run_group_tests(of_many_steps, NULL, NULL);
    /* once more, and memory is lost behind every step: that would take too long with many */
    queue_test_restarts = true;
    return failed + cmocka_run_group_tests(tests, NULL, NULL);
}

/* Publishers' own ids; and leases that are lengthened. */
#include "ledger/queue_test.h"

static int setup(void **state)
{
    (void)state;
    queue_test_open();
    ASK_DONE(.what = QUEUE_TOPIC, T, .duplicate_ms = 1000);
    ASK_DONE(.what = QUEUE_GROUP, G, .lease_ms = 1000, .back_off_ms = 1);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    queue_test_crash();
    queue_test_close();
    return 0;
}

#define OWN(id) .own_id = BYTES(id)
#define IS_DUPLICATE(yes) assert_int_equal(qt.head.end.seq, yes)

static void the_same_id_is_the_same_message(void **state)
{
    (void)state;
    const struct queue_id a = PUBLISH("a", OWN("x"));
    IS_DUPLICATE(0);
    queue_test_pass(999);
    queue_test_crash();
    const struct queue_id again = PUBLISH("whatever", OWN("x"), .priority = 3);
    IS_DUPLICATE(1);
    assert_int_equal(queue_id_compare(a, again), 0);
    PUBLISH("b", OWN("y"));
    IS_DUPLICATE(0);
    PUBLISH("c");
    PUBLISH("c");
    ASK_GETS("a:1 b:1 c:1 c:1", .what = QUEUE_PULL, C);
}

static void an_id_is_forgotten_when_its_window_is_over(void **state)
{
    (void)state;
    const struct queue_id a = PUBLISH("a", OWN("x"));
    queue_test_pass(1000);
    const struct queue_id later = PUBLISH("b", OWN("x"));
    IS_DUPLICATE(0);
    assert_true(queue_id_compare(later, a) > 0);
    /* the window begins when it was accepted, not when it was asked last */
    queue_test_pass(600);
    PUBLISH("b", OWN("x"));
    IS_DUPLICATE(1);
    queue_test_pass(400);
    PUBLISH("c", OWN("x"));
    IS_DUPLICATE(0);
    ASK_GETS("a:1 b:1 c:1", .what = QUEUE_PULL, C);
}

static void a_topic_says_how_long(void **state)
{
    (void)state;
    struct queue_topic_shown t;
    ASK_DONE(.what = QUEUE_LOOK_TOPIC, T);
    must(queue_read_topic(&qt.rest, &t));
    assert_int_equal(t.duplicate_ms, 1000);
    ASK_DONE(.what = QUEUE_TOPIC, T);
    ASK_DONE(.what = QUEUE_LOOK_TOPIC, T);
    must(queue_read_topic(&qt.rest, &t));
    assert_int_equal(t.duplicate_ms, QUEUE_DUPLICATE_WINDOW_MS);
    PUBLISH("a", OWN("x"));
    queue_test_pass(QUEUE_DUPLICATE_WINDOW_MS - 1);
    PUBLISH("a", OWN("x"));
    IS_DUPLICATE(1);
    queue_test_pass(1);
    PUBLISH("a", OWN("x"));
    IS_DUPLICATE(0);
    assert_int_equal(ASK(.what = QUEUE_TOPIC, T, .duplicate_ms = QUEUE_DUPLICATE_WINDOW_MS_MAX + 1),
                     QUEUE_MALFORMED);
}

static void each_topic_has_its_own(void **state)
{
    (void)state;
    ASK_DONE(.what = QUEUE_TOPIC, .topic = BYTES("other"));
    PUBLISH("a", OWN("x"));
    PUBLISH("b", OWN("x"), .topic = BYTES("other"));
    IS_DUPLICATE(0);
    ASK_DONE(.what = QUEUE_DELETE_TOPIC, T);
    ASK_DONE(.what = QUEUE_TOPIC, T);
    PUBLISH("a", OWN("x"));
    IS_DUPLICATE(0);
    queue_test_pass(QUEUE_DUPLICATE_WINDOW_MS); /* those of the deleted one go as well */
    queue_test_pass(1);
}

static void what_is_kept_aside_has_one_handle(void **state)
{
    (void)state;
    PUBLISH("half", OWN("h"), .flags = QUEUE_IS_HALF);
    const uint64_t half = qt.head.number;
    PUBLISH("half", OWN("h"), .flags = QUEUE_IS_HALF);
    IS_DUPLICATE(1);
    assert_int_equal(qt.head.number, half);
    ASK_DONE(.what = QUEUE_COMMIT, T, .number = half);
    PUBLISH("half", OWN("h"), .flags = QUEUE_IS_HALF); /* its publisher did not hear of it */
    assert_int_equal(qt.head.number, half);
    ASK_DONE(.what = QUEUE_COMMIT, T, .number = half);
    PUBLISH("later", OWN("d"), .delay_ms = 100);
    const uint64_t delayed = qt.head.number;
    queue_test_pass(100);
    PUBLISH("later", OWN("d"), .delay_ms = 100);
    assert_int_equal(qt.head.number, delayed);
    queue_test_pass(100);
    ASK_GETS("half:1 later:1", .what = QUEUE_PULL, C);
}

static void what_is_refused_is_not_known(void **state)
{
    (void)state;
    const struct queue_id a = PUBLISH("a");
    assert_int_equal(ASK(.what = QUEUE_PUBLISH, T, OWN("x"), .id = a, .flags = QUEUE_ID_GIVEN),
                     QUEUE_ID_TOO_SMALL);
    PUBLISH("b", OWN("x"));
    IS_DUPLICATE(0);
}

static void a_lease_is_lengthened(void **state)
{
    (void)state;
    const struct queue_id a = PUBLISH("a"), b = PUBLISH("b");
    const struct queue_id both[] = { a, b };
    ASK_GETS("a:1 b:1", .what = QUEUE_PULL, C);
    queue_test_pass(900);
    ASK_NUMBER(1, .what = QUEUE_EXTEND, C, .ids = &a, .ids_count = 1, .lease_ms = 5000);
    ASK_NUMBER(0, .what = QUEUE_EXTEND, G, .consumer = BYTES("two"), .ids = both, .ids_count = 2);
    queue_test_pass(101);
    queue_test_pass(1);
    ASK_GETS("b:2", .what = QUEUE_PULL, G, .consumer = BYTES("two"));
    /* who had it before cannot hold it for the one who has it now */
    ASK_NUMBER(0, .what = QUEUE_EXTEND, C, .ids = &b, .ids_count = 1);
    ASK_NUMBER(1, .what = QUEUE_EXTEND, G, .ids = &b, .ids_count = 1); /* the group's, whoever has it */
    queue_test_pass(3900);
    ASK_NUMBER(1, .what = QUEUE_ACK, G, .ids = &b, .ids_count = 1);
    ASK_GETS("", .what = QUEUE_PULL, C);
    queue_test_pass(1000);
    queue_test_pass(1);
    ASK_GETS("a:2", .what = QUEUE_PULL, C);
    ASK_NUMBER(1, .what = QUEUE_ACK, G, .ids = &a, .ids_count = 1);
    ASK_NUMBER(0, .what = QUEUE_EXTEND, G, .ids = both, .ids_count = 2);
}

static void a_look_at_the_whole(void **state)
{
    (void)state;
    struct queue_topic_shown t;
    struct queue_group_shown g;
    struct queue_pending p;
    struct queue_consumer_shown c;
    struct queue_message m;
    PUBLISH("a");
    PUBLISH("b");
    ASK_DONE(.what = QUEUE_PULL, C, .count = 1);
    ASK_DONE(.what = QUEUE_LOOK_WHOLE, T, .count = 1);
    must(queue_read_topic(&qt.rest, &t) && queue_read_message(&qt.rest, &m) &&
         queue_read_group(&qt.rest, &g));
    assert_int_equal(t.count, 2);
    assert_int_equal(g.pending, 1);
    must(queue_read_pending(&qt.rest, &p) && queue_read_consumer(&qt.rest, &c));
    assert_int_equal(queue_id_compare(p.id, m.id), 0);
    assert_bytes_equal(p.consumer, c.name);
    assert_int_equal(qt.rest.len, 0);
    assert_int_equal(ASK(.what = QUEUE_LOOK_WHOLE, T, .room = 1000), QUEUE_TOO_SMALL);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_same_id_is_the_same_message),
        TEST(an_id_is_forgotten_when_its_window_is_over),
        TEST(a_topic_says_how_long),
        TEST(each_topic_has_its_own),
        TEST(what_is_kept_aside_has_one_handle),
        TEST(what_is_refused_is_not_known),
        TEST(a_lease_is_lengthened),
        TEST(a_look_at_the_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Arguments of QUEUE.*, and the settings in words that PUT and QUEUE.TOPIC share. */
#include <stdio.h>

#include "base/test.h"
#include "gate/resp_queue.h"
#include "gate/topic_settings.h"

static struct arena arena;
static char text[4096];
static struct resp_command command;

/* Words, with a space between. */
static const struct resp_command *said(const char *words)
{
    static const struct resp_limits limits = { RESP_ARGS_MAX, RESP_ARG_BYTES_MAX };
    const int n = snprintf(text, sizeof text, "%s\r\n", words);
    command = (struct resp_command){ 0 };
    assert_int_equal(resp_parse(&command, (struct bytes){ text, (size_t)n }, &limits, &arena), OK);
    return &command;
}

static int setup(void **state)
{
    (void)state;
    arena_open(&arena, &arena_heap, 1 << 20, NULL, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_close(&arena);
    return 0;
}

static struct topic_publish message;
static struct queue_op op;

static const char *publish(const char *words, bool half)
{
    message = (struct topic_publish){ 0 };
    op = (struct queue_op){ 0 };
    return queue_read_publish(said(words), half, &message, &op);
}

static void a_message_in_words(void **state)
{
    (void)state;
    assert_null(publish("QUEUE.PUBLISH orders hello", false));
    assert_int_equal(op.what, QUEUE_PUBLISH);
    assert_bytes_equal(op.topic, BYTES("orders"));
    assert_int_equal(op.fields_count, 1);
    assert_bytes_equal(op.fields[0].name, QUEUE_BODY);
    assert_bytes_equal(op.fields[0].value, BYTES("hello"));
    assert_null(publish(
        "QUEUE.PUBLISH orders b key ann PRIORITY 9 DELAY 5 ID i-1 HEADER colour red header size 1", false));
    assert_bytes_equal(op.key, BYTES("ann"));
    assert_bytes_equal(op.own_id, BYTES("i-1"));
    assert_int_equal(op.priority, 9);
    assert_int_equal(op.delay_ms, 5);
    assert_int_equal(op.fields_count, 3);
    assert_bytes_equal(op.fields[1].name, BYTES("size"));
    assert_null(publish("QUEUE.PREPARE orders b", true));
    assert_int_equal(op.flags, QUEUE_IS_HALF);
}

static void what_is_wrong_with_a_message(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "KEY",      "PRIORITY 10",   "PRIORITY x", "DELAY -1", "DELAY 99999999999999",
        "HEADER a", "HEADER body x", "FOO 1",
    };
    char words[256];
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        snprintf(words, sizeof words, "QUEUE.PUBLISH t b %s", wrong[i]);
        if (!publish(words, false))
            fail_msg("%s is taken", wrong[i]);
    }
    assert_non_null(publish("QUEUE.PREPARE t b DELAY 5", true));
    snprintf(words, sizeof words, "QUEUE.PUBLISH t b KEY %0129d", 0);
    assert_non_null(publish(words, false));
    snprintf(words, sizeof words, "QUEUE.PUBLISH t b ID %0129d", 0);
    assert_non_null(publish(words, false));
    snprintf(words, sizeof words, "QUEUE.PUBLISH t b ID %0128d", 0);
    assert_null(publish(words, false));
    for (unsigned i = 0; i <= TOPIC_HEADERS_MAX; i++) {
        message.fields_count = i;
        assert_true(!topic_publish_header(&message, BYTES("a"), BYTES("b")) == (i < TOPIC_HEADERS_MAX));
    }
}

static void a_pull_in_words(void **state)
{
    (void)state;
    uint64_t block_ms;
    assert_null(queue_read_pull(said("QUEUE.PULL t g c"), &op, &block_ms));
    assert_int_equal(op.count, 1);
    assert_int_equal(op.lease_ms, 0);
    assert_true(block_ms == QUEUE_BLOCK_NONE);
    assert_null(queue_read_pull(said("QUEUE.PULL t g c count 7 BLOCK 20 LEASE 500"), &op, &block_ms));
    assert_int_equal(op.count, 7);
    assert_int_equal(op.lease_ms, 500);
    assert_int_equal(block_ms, 20);
    assert_bytes_equal(op.group, BYTES("g"));
    assert_bytes_equal(op.consumer, BYTES("c"));
    assert_null(queue_read_pull(said("QUEUE.PULL t g c BLOCK 0"), &op, &block_ms));
    assert_true(block_ms > 3600000 && block_ms != QUEUE_BLOCK_NONE);
    static const char *const wrong[] = { "COUNT 0",        "COUNT 10001", "COUNT x", "BLOCK -1",
                                         "LEASE 86400001", "FOO 1",       "COUNT" };
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char words[64];
        snprintf(words, sizeof words, "QUEUE.PULL t g c %s", wrong[i]);
        if (!queue_read_pull(said(words), &op, &block_ms))
            fail_msg("%s is taken", wrong[i]);
    }
}

static err settings(const struct conf_struct *s, const char *words, struct diag *d)
{
    char out[512];
    struct bytes list[16];
    assert_true(s->size <= sizeof out);
    const struct resp_command *c = said(words);
    for (uint32_t i = 1; i < c->count; i++)
        list[i - 1] = resp_arg(c, i);
    *d = DIAG_NONE;
    const err e = topic_settings_read(s, list, c->count - 1, &arena, out, d);
    op = (struct queue_op){ 0 };
    if (e)
        return e;
    if (s == &topic_body)
        topic_settings_topic(out, &op);
    else if (!topic_settings_group(out, &op))
        return ERR_SYNTAX;
    return OK;
}

static void settings_in_words(void **state)
{
    (void)state;
    struct diag d;
    assert_int_equal(settings(&topic_body, "QUEUE.TOPIC", &d), OK);
    assert_int_equal(op.keep_ms, 7 * 24 * 3600 * 1000);
    assert_int_equal(op.duplicate_ms, QUEUE_DUPLICATE_WINDOW_MS);
    assert_int_equal(settings(&topic_body,
                              "T keep off KEEP_BYTES 2k ORDER_BY_KEY on DUPLICATE_WINDOW 1h dead_letter x",
                              &d),
                     OK);
    assert_int_equal(op.keep_ms, 0);
    assert_int_equal(op.keep_bytes, 2048);
    assert_int_equal(op.flags, QUEUE_IS_ORDERED);
    assert_int_equal(op.duplicate_ms, 3600000);
    assert_bytes_equal(op.other, BYTES("x"));
    assert_int_equal(settings(&topic_group_body, "G LEASE 5s ATTEMPTS 3 BACK_OFF 2ms FROM end", &d), OK);
    assert_int_equal(op.lease_ms, 5000);
    assert_int_equal(op.attempts, 3);
    assert_int_equal(op.flags, QUEUE_FROM_END);
    static const char *const wrong[] = { "T KEEP",
                                         "T KEEP 1ms",
                                         "T FOO 1",
                                         "T ORDER_BY_KEY x",
                                         "T DUPLICATE_WINDOW 8d",
                                         "T DUPLICATE_WINDOW 0s" };
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_not_equal(settings(&topic_body, wrong[i], &d), OK);
        assert_true(d.text[0] != 0);
    }
    assert_int_not_equal(settings(&topic_group_body, "G FROM x", &d), OK);
}

static void places(void **state)
{
    (void)state;
    op = (struct queue_op){ 0 };
    assert_true(topic_args_from(BYTES("begin"), &op) && op.flags == 0);
    assert_true(topic_args_from(BYTES("17-3"), &op) && op.id.seq == 3 && op.flags == 0);
    assert_true(topic_args_from(BYTES("17"), &op) && op.flags == QUEUE_BY_TIME);
    op.flags = 0;
    assert_true(topic_args_from(BYTES("END"), &op) && op.flags == QUEUE_FROM_END);
    assert_false(topic_args_from(BYTES(""), &op));
    assert_false(topic_args_from(BYTES("now"), &op));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_message_in_words),
        TEST(what_is_wrong_with_a_message),
        TEST(a_pull_in_words),
        TEST(settings_in_words),
        TEST(places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

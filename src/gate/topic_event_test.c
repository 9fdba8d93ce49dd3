/* What a message becomes on its way out and in: CloudEvents, JSON, and what a push makes of an answer. */
#include "gate/topic_event.h"

#include <stdlib.h>

#include "base/test.h"
#include "gate/topic_json.h"
#include "gate/topic_push.h"
#include "ledger/pack.h"

static struct arena arena;
static char packed[4096];

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

/* As the ledger packs them. */
static struct bytes pack_fields(const struct queue_field *fields, uint32_t count)
{
    struct pack p = { .at = packed, .end = packed + sizeof packed };
    for (uint32_t i = 0; i < count; i++) {
        pack_u32(&p, (uint32_t)fields[i].name.len);
        pack_u32(&p, (uint32_t)fields[i].value.len);
        pack_raw(&p, fields[i].name);
        pack_raw(&p, fields[i].value);
    }
    return (struct bytes){ packed, (size_t)(p.at - packed) };
}

static struct bytes value_of(const struct http_fields *fields, const char *name)
{
    const struct http_field *f = http_fields_find(fields, bytes_from(name));
    return f ? http_field_value(f) : BYTES("(none)");
}

#define HAS(fields, name, value)                        \
    do {                                                \
        const struct bytes v_ = value_of(fields, name); \
        if (!bytes_eq(v_, bytes_from(value)))           \
            fail_msg("%s: %.*s", name, BYTES_ARG(v_));  \
    } while (0)

static void a_message_is_a_cloud_event(void **state)
{
    (void)state;
    const struct queue_field list[] = { { BYTES("ce-type"), BYTES("shop.paid") },
                                        { BYTES("Content-Type"), BYTES("text/plain") },
                                        { BYTES("colour"), BYTES("red") },
                                        { BYTES("Content-Length"), BYTES("7") },
                                        { BYTES("host"), BYTES("evil") },
                                        { BYTES("split"), BYTES("a\r\nb: c") },
                                        { BYTES("no token"), BYTES("x") },
                                        { BYTES("ce-id"), BYTES("mine") },
                                        { QUEUE_BODY, BYTES("hello") } };
    const struct topic_event e = { BYTES("orders"),
                                   { .id = { 1700000000123, 4 },
                                     .key = BYTES("J\xc3\xbcrgen \"x\"%"),
                                     .fields = pack_fields(list, 9),
                                     .fields_count = 9,
                                     .attempts = 2,
                                     .published_ms = 1700000000123 } };
    struct http_fields fields = { 0 };
    struct bytes body;
    assert_int_equal(topic_event_write(&e, &arena, &fields, &body), OK);
    assert_int_equal(body.len, 5);
    HAS(&fields, "ce-specversion", "1.0");
    HAS(&fields, "ce-id", "1700000000123-4");
    HAS(&fields, "ce-source", "/topics/orders");
    HAS(&fields, "ce-type", "shop.paid");
    HAS(&fields, "ce-time", "2023-11-14T22:13:20.123Z");
    HAS(&fields, "ce-subject", "J%C3%BCrgen%20%22x%22%25");
    HAS(&fields, "weir-attempt", "2");
    HAS(&fields, "content-type", "text/plain");
    HAS(&fields, "colour", "red");
    HAS(&fields, "content-length", "(none)");
    HAS(&fields, "host", "(none)");
    HAS(&fields, "split", "(none)");
    assert_int_equal(fields.count, 9);
}

static void fields_without_a_body_are_json(void **state)
{
    (void)state;
    const struct queue_field list[] = { { BYTES("item"), BYTES("radio \"x\"") },
                                        { BYTES("bad\"name"), BYTES("x") },
                                        { BYTES("n"), BYTES("2") } };
    const struct topic_event e = { BYTES("orders"), { .fields = pack_fields(list, 3), .fields_count = 3 } };
    struct http_fields fields = { 0 };
    struct bytes body;
    assert_int_equal(topic_event_write(&e, &arena, &fields, &body), OK);
    if (!bytes_eq(body, BYTES("{\"item\":\"radio \\\"x\\\"\",\"n\":\"2\"}")))
        fail_msg("%.*s", BYTES_ARG(body));
    HAS(&fields, "content-type", "application/json");
    HAS(&fields, "item", "(none)");
}

static void an_answer_decides(void **state)
{
    (void)state;
    assert_int_equal(topic_push_decide(200, 0), PUSH_DONE);
    assert_int_equal(topic_push_decide(299, 1000), PUSH_DONE);
    assert_int_equal(topic_push_decide(429, 0), PUSH_SLOWER);
    assert_int_equal(topic_push_decide(503, 1000), PUSH_SLOWER);
    assert_int_equal(topic_push_decide(503, 0), PUSH_AGAIN);
    assert_int_equal(topic_push_decide(302, 0), PUSH_AGAIN);
    assert_int_equal(topic_push_decide(500, 1000), PUSH_AGAIN);
    assert_int_equal(topic_push_decide(0, 0), PUSH_AGAIN);
}

static const char *publish(const char *text, struct queue_op *op)
{
    struct json *j;
    *op = (struct queue_op){ 0 };
    assert_int_equal(json_read(bytes_from(text), &arena, &j), OK);
    return topic_json_publish(j, &arena, op);
}

static void a_message_comes_as_json(void **state)
{
    (void)state;
    struct queue_op op;
    assert_null(publish(
        "{\"key\":\"k\",\"headers\":{\"a\":\"b\"},\"body_base64\":\"AAEC\",\"priority\":9,\"id\":\"7-1\"}",
        &op));
    assert_int_equal(op.fields_count, 2);
    assert_int_equal(op.fields[1].value.len, 3);
    assert_memory_equal(op.fields[1].value.ptr, "\0\1\2", 3);
    assert_int_equal(op.priority, 9);
    assert_int_equal(op.id.seq, 1);
    assert_true(op.flags & QUEUE_ID_GIVEN);
    assert_null(publish("{}", &op));
    assert_int_equal(op.fields_count, 1);
    static const char *const wrong[] = { "[]",
                                         "{\"body\":1}",
                                         "{\"headers\":[]}",
                                         "{\"headers\":{\"body\":\"x\"}}",
                                         "{\"priority\":10}",
                                         "{\"priority\":-1}",
                                         "{\"delay_ms\":1.5}",
                                         "{\"half\":1}",
                                         "{\"half\":true,\"delay_ms\":1}",
                                         "{\"id\":\"1-x\"}",
                                         "{\"body_base64\":\"*\"}" };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        if (!publish(wrong[i], &op))
            fail_msg("%s is taken", wrong[i]);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_message_is_a_cloud_event),
        TEST(fields_without_a_body_are_json),
        TEST(an_answer_decides),
        TEST(a_message_comes_as_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "base/json_read.h"

#include "base/json.h"
#include "base/test.h"

static struct arena arena;

static int setup(void **state)
{
    (void)state;
    arena_open(&arena, &arena_heap, 1u << 20, NULL, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_close(&arena);
    return 0;
}

static void a_tree_is_read(void **state)
{
    struct json *j;
    (void)state;
    assert_int_equal(
        json_read(BYTES(" {\"a\": [1, -2.5e3, {}, []], \"b\" : \"x\", \"c\": true, \"d\": null} "), &arena,
                  &j),
        OK);
    const struct json *a = json_member(j, "a");
    assert_int_equal(a->count, 4);
    assert_true(json_at(a, 0)->number == 1 && json_at(a, 1)->number == -2500);
    assert_int_equal(json_at(a, 2)->kind, JSON_OBJECT);
    assert_null(json_at(a, 4));
    assert_bytes_equal(json_member_text(j, "b"), BYTES("x"));
    assert_true(json_member_number(j, "c") == 1);
    assert_int_equal(json_member(j, "d")->kind, JSON_NULL);
    assert_null(json_member(j, "e"));
    assert_int_equal(json_member_text(NULL, "e").len, 0);
}

static void escapes_are_undone(void **state)
{
    struct json *j;
    (void)state;
    assert_int_equal(
        json_read(BYTES("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\u5830\\ud83c\\udf0a\\ud83c\\udc00x\""), &arena,
                  &j),
        OK);
    assert_int_equal(json_read(BYTES("\"\\u00e9\\u5830\\ud83c\\udf0a\\udf0a\\ud83cx\""), &arena, &j), OK);
    assert_bytes_equal(j->text, BYTES("\xc3\xa9\xe5\xa0\xb0\xf0\x9f\x8c\x8a\xef\xbf\xbd\xef\xbf\xbdx"));
}

static void what_is_wrong_is_refused(void **state)
{
    static const char *const wrong[] = { "",          " ",     "{",          "[1,]", "{\"a\"}",
                                         "{\"a\":}",  "{a:1}", "\"x",        "\"\\", "\"\\x\"",
                                         "\"\\u12\"", "tru",   "1 2",        "+",    "1.2.3",
                                         "\"\n\"",    "[1 2]", "{\"a\":1,}", "nul",  "]" };
    struct json *j;
    (void)state;
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_not_equal(json_read(bytes_from(wrong[i]), &arena, &j), OK);
}

static void depth_is_bounded(void **state)
{
    char text[2 * (JSON_DEPTH_MAX + 1)];
    struct json *j;
    (void)state;
    memset(text, '[', JSON_DEPTH_MAX + 1);
    memset(text + JSON_DEPTH_MAX + 1, ']', JSON_DEPTH_MAX + 1);
    assert_int_equal(json_read((struct bytes){ text, sizeof text }, &arena, &j), ERR_LIMIT);
    assert_int_equal(json_read((struct bytes){ text + 1, sizeof text - 2 }, &arena, &j), OK);
}

static void what_was_written_is_read(void **state)
{
    struct text t = { 0 };
    struct json *j;
    char all[256];
    (void)state;
    for (unsigned i = 0; i < 128; i++)
        all[i] = (char)i;
    json_text(&t, NULL, (struct bytes){ all, 128 });
    assert_int_equal(json_read((struct bytes){ t.at, t.len }, &arena, &j), OK);
    assert_bytes_equal(j->text, ((struct bytes){ all, 128 }));
    text_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_tree_is_read, setup, teardown),
        cmocka_unit_test_setup_teardown(escapes_are_undone, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_wrong_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(depth_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_written_is_read, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

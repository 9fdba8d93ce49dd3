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

/* the examples of RFC 6901 5, and what is none */
static void a_pointer_leads_to_a_part(void **state)
{
    struct json *j;
    (void)state;
    assert_int_equal(
        json_read(BYTES("{\"foo\":[\"bar\",\"baz\"],\"\":0,\"a/b\":1,\"c%d\":2,\"m~n\":8}"), &arena, &j), OK);
    assert_ptr_equal(json_pointer(j, BYTES("")), j);
    assert_int_equal(json_pointer(j, BYTES("/foo"))->count, 2);
    assert_bytes_equal(json_pointer(j, BYTES("/foo/1"))->text, BYTES("baz"));
    assert_bytes_equal(json_pointer(j, BYTES("/"))->text, BYTES("0"));
    assert_bytes_equal(json_pointer(j, BYTES("/a~1b"))->text, BYTES("1"));
    assert_bytes_equal(json_pointer(j, BYTES("/m~0n"))->text, BYTES("8"));
    static const char *const none[] = { "foo",      "/foo/2", "/foo/01", "/foo/-", "/foo/x",
                                        "/foo/0/x", "/m~",    "/m~2n",   "/fo",    "/fooo" };
    for (unsigned i = 0; i < sizeof none / sizeof *none; i++)
        assert_null(json_pointer(j, bytes_from(none[i])));
    assert_null(json_pointer(NULL, BYTES("/a")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_tree_is_read, setup, teardown),
        cmocka_unit_test_setup_teardown(escapes_are_undone, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_wrong_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(depth_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_written_is_read, setup, teardown),
        cmocka_unit_test_setup_teardown(a_pointer_leads_to_a_part, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

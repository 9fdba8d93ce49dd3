#include "proto/http_cookie.h"

#include "base/test.h"

static struct arena arena;

static struct http_fields fields_of(const char *first, const char *second)
{
    struct http_fields f = { 0 };
    arena_open(&arena, &arena_heap, 1 << 16, NULL, 0);
    assert_int_equal(http_fields_add(&f, &arena, BYTES("Host"), BYTES("a=host")), OK);
    assert_int_equal(http_fields_add(&f, &arena, BYTES("Cookie"), bytes_from(first)), OK);
    if (second)
        assert_int_equal(http_fields_add(&f, &arena, BYTES("cookie"), bytes_from(second)), OK);
    return f;
}

/* value NULL: there must be none */
static void found(const char *first, const char *second, const char *name, const char *value)
{
    struct http_fields f = fields_of(first, second);
    struct bytes got = BYTES_NONE;
    assert_int_equal(http_cookie_find(&f, bytes_from(name), &got), value != NULL);
    if (value)
        assert_bytes_equal(got, bytes_from(value));
    arena_close(&arena);
}

static void one_of_several_pairs(void **state)
{
    (void)state;
    found("SID=31d4d96e; lang=en-US", NULL, "SID", "31d4d96e");
    found("SID=31d4d96e; lang=en-US", NULL, "lang", "en-US");
    found("SID=31d4d96e;lang=en-US ;x=1", NULL, "lang", "en-US");
    found("a=1; a=2", NULL, "a", "1");
    found("token=a=b==; x=1", NULL, "token", "a=b==");
}

static void names_are_compared_whole_and_by_case(void **state)
{
    (void)state;
    found("SID2=1; XSID=2; sid=3", NULL, "SID", NULL);
    found("a=SID=1", NULL, "SID", NULL);
    found("", NULL, "SID", NULL);
}

static void quotes_are_taken_off(void **state)
{
    (void)state;
    found("lang=\"en-US\"; x=1", NULL, "lang", "en-US");
    found("lang=\"\"", NULL, "lang", "");
    found("lang=\"", NULL, "lang", "\"");
    found("lang=\"a;b\"; x=1", NULL, "lang", "\"a");
    found("lang=\"a;b\"; x=1", NULL, "x", "1");
}

static void an_empty_value_is_a_value(void **state)
{
    (void)state;
    found("a=; b=2", NULL, "a", "");
    found("a; b=2", NULL, "a", NULL);
    found(";;; b=2;", NULL, "b", "2");
}

static void several_fields_in_order(void **state)
{
    (void)state;
    found("a=1", "b=2", "b", "2");
    found("a=1", "a=2", "a", "1");
}

static void a_removed_field_is_not_there(void **state)
{
    (void)state;
    struct http_fields f = fields_of("a=1", "b=2");
    http_fields_remove(&f, BYTES("Cookie"));
    struct bytes got;
    assert_false(http_cookie_find(&f, BYTES("a"), &got));
    arena_close(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_of_several_pairs),    cmocka_unit_test(names_are_compared_whole_and_by_case),
        cmocka_unit_test(quotes_are_taken_off),    cmocka_unit_test(an_empty_value_is_a_value),
        cmocka_unit_test(several_fields_in_order), cmocka_unit_test(a_removed_field_is_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

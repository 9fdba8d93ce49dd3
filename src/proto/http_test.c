#include "proto/http.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "proto/http_char.h"

static void test_methods(void **state)
{
    (void)state;
#define X(id, text, safe, idempotent)                                \
    assert_int_equal(http_method_of(BYTES(text)), HTTP_##id);        \
    assert_true(bytes_eq(http_method_text(HTTP_##id), BYTES(text))); \
    assert_int_equal(http_method_is_safe(HTTP_##id), safe);          \
    assert_int_equal(http_method_is_idempotent(HTTP_##id), idempotent);
    HTTP_METHOD_LIST(X)
#undef X
    assert_int_equal(http_method_of(BYTES("get")), HTTP_OTHER);
    assert_int_equal(http_method_of(BYTES("GETS")), HTTP_OTHER);
    assert_int_equal(http_method_of(BYTES("GE")), HTTP_OTHER);
}

/* One byte changed, added or dropped anywhere: another name, or at least not this one. */
static void check_near_misses(struct bytes name, enum http_field_id id)
{
    char text[64];
    for (size_t i = 0; i < name.len; i++) {
        for (unsigned c = 0; c < 256; c++) {
            memcpy(text, name.ptr, name.len);
            text[i] = (char)c;
            bool same = ascii_lower((char)c) == name.ptr[i];
            assert_int_equal(http_field_id_of((struct bytes){ text, name.len }) == id, same);
        }
        memcpy(text, name.ptr, i);
        memcpy(text + i, name.ptr + i + 1, name.len - i - 1);
        assert_int_not_equal(http_field_id_of((struct bytes){ text, name.len - 1 }), id);
    }
    memcpy(text, name.ptr, name.len);
    text[name.len] = 's';
    assert_int_not_equal(http_field_id_of((struct bytes){ text, name.len + 1 }), id);
}

static void test_field_ids(void **state)
{
    (void)state;
    for (unsigned id = FIELD_OTHER + 1; id < FIELD_COUNT; id++) {
        struct bytes name = http_field_id_name((enum http_field_id)id);
        char upper[64];
        for (size_t i = 0; i < name.len; i++)
            upper[i] = (char)(name.ptr[i] >= 'a' && name.ptr[i] <= 'z' ? name.ptr[i] - 32 : name.ptr[i]);
        assert_int_equal(http_field_id_of(name), id);
        assert_int_equal(http_field_id_of((struct bytes){ upper, name.len }), id);
        check_near_misses(name, (enum http_field_id)id);
    }
    assert_int_equal(http_field_id_of(BYTES("")), FIELD_OTHER);
    assert_int_equal(http_field_id_of(BYTES_NONE), FIELD_OTHER);
    assert_int_equal(http_field_id_of(BYTES("x")), FIELD_OTHER);
    assert_int_equal(http_field_id_of(BYTES("a-name-that-is-longer-than-all-that-are-listed")), FIELD_OTHER);
}

static void test_reasons(void **state)
{
    (void)state;
    assert_true(bytes_eq(http_reason(200), BYTES("OK")));
    assert_true(bytes_eq(http_reason(431), BYTES("Request Header Fields Too Large")));
    assert_int_equal(http_reason(299).len, 0);
    assert_int_equal(http_reason(0).len, 0);
}

static void test_fields(void **state)
{
    (void)state;
    struct arena a;
    struct http_fields f = { 0 };
    arena_open(&a, &arena_heap, 1 << 16, NULL, 0);
    assert_int_equal(http_fields_add(&f, &a, BYTES("Set-Cookie"), BYTES("a")), OK);
    assert_int_equal(http_fields_add(&f, &a, BYTES("X-Foo"), BYTES("1")), OK);
    assert_int_equal(http_fields_add(&f, &a, BYTES("set-cookie"), BYTES("b")), OK);
    assert_int_equal(http_fields_add(&f, &a, BYTES("X-Bar"), BYTES("2")), OK);
    assert_true(bytes_eq(http_field_value(http_fields_get(&f, FIELD_SET_COOKIE)), BYTES("a")));
    assert_true(bytes_eq(http_field_value(http_fields_find(&f, BYTES("x-bar"))), BYTES("2")));
    assert_null(http_fields_get(&f, FIELD_HOST));
    assert_null(http_fields_find(&f, BYTES("X-Ba")));

    assert_int_equal(http_fields_set(&f, &a, BYTES("X-FOO"), BYTES("3")), OK);
    assert_true(bytes_eq(http_field_value(http_fields_find(&f, BYTES("x-foo"))), BYTES("3")));
    assert_int_equal(http_fields_remove(&f, BYTES("x-foo")), 1);
    assert_int_equal(http_fields_remove(&f, BYTES("x-foo")), 0);
    assert_null(http_fields_find(&f, BYTES("x-foo")));
    assert_int_equal(http_fields_remove_id(&f, FIELD_SET_COOKIE), 2);
    assert_null(http_fields_get(&f, FIELD_SET_COOKIE));
    assert_int_equal(http_fields_remove_id(&f, FIELD_OTHER), 0);
    assert_non_null(http_fields_find(&f, BYTES("x-bar")));
    arena_close(&a);
}

static void test_fields_grow_to_the_cap(void **state)
{
    (void)state;
    struct arena a;
    struct http_field first[2];
    struct http_fields f = { first, 0, 2 };
    unsigned added = 0;
    arena_open(&a, &arena_heap, 4096, NULL, 0);
    while (http_fields_add(&f, &a, BYTES("X-Foo"), BYTES("1")) == OK)
        assert_true(++added < 1000);
    assert_true(added > 20);
    assert_int_equal(f.count, added);
    assert_int_equal(http_fields_remove(&f, BYTES("x-foo")), added);
    assert_int_equal(http_fields_set(&f, &a, BYTES("X-Foo"), BYTES("1")), ERR_LIMIT);
    arena_close(&a);

    static char long_name[UINT16_MAX + 1];
    struct http_fields one = { first, 0, 2 };
    assert_int_equal(http_fields_add(&one, &a, (struct bytes){ long_name, sizeof long_name }, BYTES("")),
                     ERR_LIMIT);
}

static void test_text_checks(void **state)
{
    (void)state;
    assert_true(http_is_token(BYTES("X-Foo_1")));
    assert_false(http_is_token(BYTES("")));
    assert_false(http_is_token(BYTES("a b")));
    assert_false(http_is_token(BYTES("a:")));
    assert_false(http_is_token(BYTES("\xc3\xa4")));
    assert_true(http_is_field_value(BYTES("")));
    assert_true(http_is_field_value(BYTES("a \t\xff")));
    assert_false(http_is_field_value(BYTES("a\r")));
    assert_false(http_is_field_value(BYTES("a\0b")));
    assert_false(http_is_field_value(BYTES("\x7f")));
    for (unsigned c = 0; c < 256; c++) {
        char byte = (char)c;
        bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        bool tchar = alnum || (c && strchr("!#$%&'*+-.^_`|~", (int)c));
        assert_int_equal(http_is_token((struct bytes){ &byte, 1 }), tchar);
        assert_int_equal(http_is_field_value((struct bytes){ &byte, 1 }),
                         c == '\t' || (c >= ' ' && c != 0x7f));
        assert_int_equal(http_char_is(byte, HTTP_CHAR_TARGET), c > ' ' && c < 0x7f && c != '#');
        bool reg_name = alnum || (c && strchr("-._~!$&'()*+,;=", (int)c));
        assert_int_equal(http_char_is(byte, HTTP_CHAR_REG_NAME), reg_name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_methods),
        cmocka_unit_test(test_field_ids),
        cmocka_unit_test(test_reasons),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_fields_grow_to_the_cap),
        cmocka_unit_test(test_text_checks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "base/text.h"

#include "base/test.h"

static void grows(void **state)
{
    (void)state;
    struct text t = { 0 };
    char piece[100];
    text_add(&t, BYTES_NONE);
    assert_int_equal(t.len, 0);
    for (unsigned i = 0; i < 1000; i++) {
        memset(piece, (int)('a' + i % 26), sizeof piece);
        text_add(&t, (struct bytes){ piece, i % 100 });
    }
    size_t at = 0;
    for (unsigned i = 0; i < 1000; i++) {
        for (unsigned j = 0; j < i % 100; j++, at++)
            assert_int_equal(t.at[at], 'a' + i % 26);
    }
    assert_int_equal(t.len, at);
    text_free(&t);
    assert_null(t.at);
    text_print(&t, "%s=%d\n", "x", 42); /* usable again */
    assert_bytes_equal(((struct bytes){ t.at, t.len }), BYTES("x=42\n"));
    text_free(&t);
}

static void a_long_line_is_cut(void **state)
{
    (void)state;
    struct text t = { 0 };
    text_print(&t, "%3000d", 1);
    assert_int_equal(t.len, 1023);
    text_free(&t);
}

static void what_does_not_fit_fixed_memory_is_cut(void **state)
{
    (void)state;
    char memory[8];
    struct text t = text_within(memory, sizeof memory);
    text_add(&t, BYTES("12345678"));
    assert_false(t.cut);
    text_add(&t, BYTES("9"));
    assert_true(t.cut);
    assert_bytes_equal(text_bytes(&t), BYTES("12345678"));
    t = text_within(NULL, 100);
    text_print(&t, "x");
    assert_true(t.cut);
    text_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows),
        cmocka_unit_test(a_long_line_is_cut),
        cmocka_unit_test(what_does_not_fit_fixed_memory_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "base/bytes.h"

#include "base/test.h"

static void eq_compares_length_and_content(void **state)
{
    (void)state;
    assert_true(bytes_eq(BYTES("abc"), BYTES("abc")));
    assert_false(bytes_eq(BYTES("abc"), BYTES("abd")));
    assert_false(bytes_eq(BYTES("abc"), BYTES("ab")));
    assert_true(bytes_eq(BYTES(""), BYTES_NONE));
    assert_true(bytes_eq(BYTES("a\0b"), BYTES("a\0b")));
    assert_false(bytes_eq(BYTES("a\0b"), BYTES("a\0c")));
}

static void eq_nocase_folds_ascii_letters_only(void **state)
{
    (void)state;
    assert_true(bytes_eq_nocase(BYTES("Content-Length"), BYTES("cONTENT-lENGTH")));
    assert_false(bytes_eq_nocase(BYTES("a"), BYTES("ab")));
    assert_false(bytes_eq_nocase(BYTES("@"), BYTES("`")));
    assert_false(bytes_eq_nocase(BYTES("["), BYTES("{")));
    assert_false(bytes_eq_nocase(BYTES("\xc0"), BYTES("\xe0")));
    assert_true(bytes_eq_nocase(BYTES_NONE, BYTES("")));
}

static void starts_takes_the_empty_prefix(void **state)
{
    (void)state;
    assert_true(bytes_starts(BYTES("/api/x"), BYTES("/api/")));
    assert_true(bytes_starts(BYTES("/api/"), BYTES("/api/")));
    assert_false(bytes_starts(BYTES("/api"), BYTES("/api/")));
    assert_true(bytes_starts(BYTES_NONE, BYTES_NONE));
    assert_true(bytes_starts(BYTES("x"), BYTES_NONE));
}

static void from_takes_null(void **state)
{
    (void)state;
    assert_int_equal(bytes_from(NULL).len, 0);
    assert_bytes_equal(bytes_from("ab"), BYTES("ab"));
}

static void skip_takes_nothing_off_nothing(void **state)
{
    (void)state;
    assert_null(bytes_skip(BYTES_NONE, 0).ptr);
    assert_bytes_equal(bytes_skip(BYTES("abc"), 2), BYTES("c"));
    assert_bytes_equal(bytes_skip(BYTES("abc"), 3), BYTES(""));
}

static void index_is_length_when_missing(void **state)
{
    (void)state;
    assert_int_equal(bytes_index(BYTES("a:b:c"), ':'), 1);
    assert_int_equal(bytes_index(BYTES("abc"), ':'), 3);
    assert_int_equal(bytes_index(BYTES_NONE, ':'), 0);
}

static void trim_takes_spaces_and_tabs_off_both_ends(void **state)
{
    (void)state;
    assert_bytes_equal(bytes_trim(BYTES(" \t a b\t ")), BYTES("a b"));
    assert_bytes_equal(bytes_trim(BYTES(" \t ")), BYTES(""));
    assert_bytes_equal(bytes_trim(BYTES("\r\nx\r\n")), BYTES("\r\nx\r\n"));
    assert_bytes_equal(bytes_trim(BYTES_NONE), BYTES(""));
}

static void split_gives_empty_parts_and_ends_once(void **state)
{
    (void)state;
    static const char *const parts[] = { "a", "", "bc", "" };
    struct bytes rest = BYTES("a,,bc,");
    struct bytes part;
    for (size_t i = 0; i < 4; i++) {
        assert_true(bytes_split(&rest, ',', &part));
        assert_bytes_equal(part, bytes_from(parts[i]));
    }
    assert_false(bytes_split(&rest, ',', &part));
    assert_false(bytes_split(&rest, ',', &part));

    rest = BYTES("");
    assert_true(bytes_split(&rest, ',', &part));
    assert_int_equal(part.len, 0);
    assert_false(bytes_split(&rest, ',', &part));

    rest = BYTES_NONE;
    assert_false(bytes_split(&rest, ',', &part));
}

static void to_u64_takes_digits_only(void **state)
{
    (void)state;
    uint64_t value = 77;
    assert_true(bytes_to_u64(BYTES("0"), &value));
    assert_int_equal(value, 0);
    assert_true(bytes_to_u64(BYTES("00123"), &value));
    assert_int_equal(value, 123);
    assert_true(bytes_to_u64(BYTES("18446744073709551615"), &value));
    assert_true(value == UINT64_MAX);

    static const char *const wrong[] = { "",   "-1", "+1",  " 1",
                                         "1 ", "1a", "0x1", "18446744073709551616",
                                         "/",  ":",  "1.0", "99999999999999999999" };
    value = 77;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        if (bytes_to_u64(bytes_from(wrong[i]), &value))
            fail_msg("took \"%s\"", wrong[i]);
        assert_int_equal(value, 77);
    }
}

static void u64_to_text_writes_what_to_u64_reads(void **state)
{
    (void)state;
    static const uint64_t values[] = { 0, 7, 10, 99, 100, 1234567890, UINT64_MAX - 1, UINT64_MAX };
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        char text[21];
        memset(text, '#', sizeof text);
        size_t len = u64_to_text(values[i], text);
        uint64_t back = 0;
        assert_int_equal(text[len], '#');
        assert_true(bytes_to_u64((struct bytes){ text, len }, &back));
        assert_true(back == values[i]);
        assert_true(len == 1 || text[0] != '0');
    }
}

static void signed_numbers_have_one_spelling(void **state)
{
    (void)state;
    int64_t n;
    assert_true(bytes_to_i64(BYTES("0"), &n) && n == 0);
    assert_true(bytes_to_i64(BYTES("-1"), &n) && n == -1);
    assert_true(bytes_to_i64(BYTES("9223372036854775807"), &n) && n == INT64_MAX);
    assert_true(bytes_to_i64(BYTES("-9223372036854775808"), &n) && n == INT64_MIN);
    static const char *const none[] = { "",   "-",  "+1", "01", "-0", " 1", "1 ", "9223372036854775808",
                                        "1x", "--1" };
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        assert_false(bytes_to_i64(bytes_from(none[i]), &n));
    char text[24];
    assert_int_equal(i64_to_text(INT64_MIN, text), 20);
    assert_memory_equal(text, "-9223372036854775808", 20);
    assert_int_equal(i64_to_text(7, text), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signed_numbers_have_one_spelling),
        cmocka_unit_test(eq_compares_length_and_content),
        cmocka_unit_test(eq_nocase_folds_ascii_letters_only),
        cmocka_unit_test(starts_takes_the_empty_prefix),
        cmocka_unit_test(from_takes_null),
        cmocka_unit_test(skip_takes_nothing_off_nothing),
        cmocka_unit_test(index_is_length_when_missing),
        cmocka_unit_test(trim_takes_spaces_and_tabs_off_both_ends),
        cmocka_unit_test(split_gives_empty_parts_and_ends_once),
        cmocka_unit_test(to_u64_takes_digits_only),
        cmocka_unit_test(u64_to_text_writes_what_to_u64_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

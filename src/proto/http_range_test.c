#include "proto/http_range.h"

#include <stdio.h>

#include "base/test.h"

/* "206 0-99 500-999", "416", "200" */
static const char *parsed(const char *value, uint64_t length)
{
    static char text[400];
    struct http_range ranges[HTTP_RANGES_MAX];
    unsigned count;
    enum http_ranges r = http_range_parse(bytes_from(value), length, ranges, &count);
    int len = snprintf(text, sizeof text, "%s",
                       r == HTTP_RANGES_IGNORE ? "200"
                       : r == HTTP_RANGES_SOME ? "206"
                                               : "416");
    for (unsigned i = 0; r == HTTP_RANGES_SOME && i < count; i++)
        len += snprintf(text + len, sizeof text - (size_t)len, " %llu-%llu",
                        (unsigned long long)ranges[i].first, (unsigned long long)ranges[i].last);
    return text;
}

static void one_range(void **unused)
{
    (void)unused;
    assert_string_equal(parsed("bytes=0-99", 1000), "206 0-99");
    assert_string_equal(parsed("bytes=0-0", 1), "206 0-0");
    assert_string_equal(parsed("bytes=500-", 1000), "206 500-999");
    assert_string_equal(parsed("bytes=-20", 1000), "206 980-999");
    assert_string_equal(parsed("bytes=-2000", 1000), "206 0-999");
    assert_string_equal(parsed("bytes=900-5000", 1000), "206 900-999");
    assert_string_equal(parsed("BYTES = 1-2", 1000), "206 1-2");
    assert_string_equal(parsed("bytes=0-18446744073709551615", 10), "206 0-9");
}

static void several(void **unused)
{
    (void)unused;
    assert_string_equal(parsed("bytes=0-0,-1", 1000), "206 0-0 999-999");
    assert_string_equal(parsed("bytes= 900- , ,5-9", 1000), "206 900-999 5-9");
    assert_string_equal(parsed("bytes=5-9, 2000-", 1000), "206 5-9");
    assert_string_equal(parsed("bytes=0-9, 5-20", 1000), "200");
    assert_string_equal(parsed("bytes=0-,0-,0-,0-", 1000), "200");
    char many[200] = "bytes=";
    for (int i = 0; i < 16; i++)
        snprintf(many + strlen(many), sizeof many - strlen(many), "%d-%d,", 2 * i, 2 * i);
    assert_true(bytes_starts(bytes_from(parsed(many, 1000)), BYTES("206 0-0 2-2 4-4")));
    snprintf(many + strlen(many), sizeof many - strlen(many), "99-99");
    assert_string_equal(parsed(many, 1000), "200");
}

static void none_lies_in_it(void **unused)
{
    (void)unused;
    assert_string_equal(parsed("bytes=1000-", 1000), "416");
    assert_string_equal(parsed("bytes=1000-1001, 5000-", 1000), "416");
    assert_string_equal(parsed("bytes=-0", 1000), "416");
    assert_string_equal(parsed("bytes=0-", 0), "416");
    assert_string_equal(parsed("bytes=-5", 0), "416");
}

static void nonsense_is_ignored(void **unused)
{
    (void)unused;
    static const char *const bad[] = { "",
                                       "bytes",
                                       "bytes=",
                                       "bytes=,",
                                       "items=0-5",
                                       "bytes=5",
                                       "bytes=5-4",
                                       "bytes=a-b",
                                       "bytes=--5",
                                       "bytes=1-2-3",
                                       "bytes=0x1-5",
                                       "bytes=+1-5",
                                       "bytes=-",
                                       "bytes=1 -2",
                                       "bytes=0-99999999999999999999999",
                                       "bytes=0-5,x" };
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_string_equal(parsed(bad[i], 1000), "200");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_range),
        cmocka_unit_test(several),
        cmocka_unit_test(none_lies_in_it),
        cmocka_unit_test(nonsense_is_ignored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

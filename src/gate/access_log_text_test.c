#include "gate/access_log_text.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/test.h"

/* Byte by byte, as it was written at first. */
static size_t plain(char *out, struct bytes text, enum access_log_escape escape)
{
    char *at = out;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\')
            *at++ = (char)c;
        else if (escape == ACCESS_LOG_HEX)
            at += snprintf(at, 8, "\\x%02x", c);
        else
            at += c == '"' || c == '\\' ? snprintf(at, 8, "\\%c", c) : snprintf(at, 8, "\\u%04x", c);
    }
    return (size_t)(at - out);
}

static void check(struct bytes text, enum access_log_escape escape)
{
    char wanted[2048];
    char got[2048];
    /* of its very size, so that a sanitizer sees a load behind it */
    char *copy = malloc(text.len + !text.len);
    assert_non_null(copy);
    if (text.len)
        memcpy(copy, text.ptr, text.len);
    size_t len = plain(wanted, text, escape);
    char *end = access_log_put_text(got, (struct bytes){ copy, text.len }, escape);
    assert_int_equal(end - got, len);
    assert_memory_equal(got, wanted, len);
    free(copy);
}

static void texts_are_escaped_wherever_it_is_needed(void **state)
{
    (void)state;
    char text[70];
    unsigned seed = 3;
    for (size_t len = 0; len <= sizeof text; len++) {
        for (size_t bad = 0; bad <= len; bad++) {
            memset(text, 'a', sizeof text);
            for (unsigned c = 0; c < 256; c++) {
                if (bad < len)
                    text[bad] = (char)c;
                check((struct bytes){ text, len }, c % 2 ? ACCESS_LOG_JSON : ACCESS_LOG_HEX);
                if (bad == len)
                    break;
            }
        }
    }
    for (unsigned i = 0; i < 20000; i++) {
        size_t len = (size_t)rand_r(&seed) % sizeof text;
        for (size_t j = 0; j < len; j++)
            text[j] = (char)(rand_r(&seed) % 8 ? 'a' + rand_r(&seed) % 26 : rand_r(&seed));
        check((struct bytes){ text, len }, ACCESS_LOG_JSON);
        check((struct bytes){ text, len }, ACCESS_LOG_HEX);
    }
}

static void numbers_are_written(void **state)
{
    (void)state;
    uint64_t value = 1;
    char got[32];
    char wanted[32];
    for (unsigned i = 0; i < 20; i++, value *= 10) {
        for (int d = -1; d <= 1; d++) {
            uint64_t v = value + (uint64_t)d;
            *access_log_put_number(got, v) = 0;
            snprintf(wanted, sizeof wanted, "%llu", (unsigned long long)v);
            assert_string_equal(got, wanted);
        }
    }
    *access_log_put_number(got, UINT64_MAX) = 0;
    assert_string_equal(got, "18446744073709551615");
    *access_log_put_seconds(got, 1234567) = 0;
    assert_string_equal(got, "1.234567");
    *access_log_put_seconds(got, 42) = 0;
    assert_string_equal(got, "0.000042");
}

static void times_are_written(void **state)
{
    (void)state;
    char got[40];
    *access_log_put_time(got, UINT64_C(1767323045678901)) = 0;
    assert_string_equal(got, "2026-01-02T03:04:05.678901Z");
    *access_log_put_time(got, UINT64_C(1767323045000009)) = 0;
    assert_string_equal(got, "2026-01-02T03:04:05.000009Z");
    *access_log_put_time_clf(got, UINT64_C(1767323045678901)) = 0;
    assert_string_equal(got, "02/Jan/2026:03:04:05 +0000");
    *access_log_put_time_clf(got, UINT64_C(1798761599000000)) = 0;
    assert_string_equal(got, "31/Dec/2026:23:59:59 +0000");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_escaped_wherever_it_is_needed),
        cmocka_unit_test(numbers_are_written),
        cmocka_unit_test(times_are_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

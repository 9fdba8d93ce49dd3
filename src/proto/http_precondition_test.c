#include "proto/http_precondition.h"

#include "base/test.h"

/* ---- dates ---- */

static int64_t parsed(const char *text)
{
    int64_t seconds;
    return http_date_parse(bytes_from(text), &seconds) ? seconds : -1;
}

static void the_three_forms_of_a_date(void **unused)
{
    (void)unused;
    assert_int_equal(parsed("Sun, 06 Nov 1994 08:49:37 GMT"), 784111777);
    assert_int_equal(parsed("Sunday, 06-Nov-94 08:49:37 GMT"), 784111777);
    assert_int_equal(parsed("Sun Nov  6 08:49:37 1994"), 784111777);
    assert_int_equal(parsed("Thu, 01 Jan 1970 00:00:00 GMT"), 0);
    assert_int_equal(parsed("Thu, 29 Feb 2024 12:00:00 GMT"), 1709208000);
    assert_int_equal(parsed("Fri, 31 Dec 9999 23:59:59 GMT"), 253402300799);
}

static void what_is_no_date(void **unused)
{
    (void)unused;
    static const char *const bad[] = { "",
                                       "Sun",
                                       "Sun, ",
                                       "Sun, 06 Nov 1994 08:49:37",
                                       "Sun, 06 Nov 1994 08:49:37 GMT ",
                                       "Sun, 6 Nov 1994 08:49:37 GMT",
                                       "Sun, 06 Nov 1994 24:49:37 GMT",
                                       "Sun, 06 Nov 1994 08:60:37 GMT",
                                       "Sun, 00 Nov 1994 08:49:37 GMT",
                                       "Sun, 06 Now 1994 08:49:37 GMT",
                                       "Sun, 06 Nov 1969 08:49:37 GMT",
                                       "Sun, 06 Nov 199x 08:49:37 GMT",
                                       "784111777" };
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(parsed(bad[i]), -1);
}

static void every_date_is_read_as_it_was_printed(void **unused)
{
    (void)unused;
    char text[HTTP_DATE_BYTES + 1];
    http_date_print(784111777, text);
    assert_string_equal(text, "Sun, 06 Nov 1994 08:49:37 GMT");
    for (int64_t s = 0; s < 8000000000; s += 86399 * 11 + 1) {
        http_date_print(s, text);
        assert_int_equal(parsed(text), s);
    }
}

/* ---- tags ---- */

static void lists_of_tags(void **unused)
{
    (void)unused;
    const struct bytes strong = BYTES("\"a,b\"");
    const struct bytes weak = BYTES("W/\"a,b\"");
    assert_true(http_etag_listed(BYTES("\"x\", \"a,b\""), strong, false));
    assert_true(http_etag_listed(BYTES(" , W/\"x\" ,\"a,b\",\"y\""), strong, false));
    assert_false(http_etag_listed(BYTES("W/\"a,b\""), strong, false));
    assert_true(http_etag_listed(BYTES("W/\"a,b\""), strong, true));
    assert_true(http_etag_listed(BYTES("\"a,b\""), weak, true));
    assert_false(http_etag_listed(BYTES("\"a,b\", W/\"a,b\""), weak, false));
    assert_true(http_etag_listed(BYTES(" * "), strong, false));
    assert_false(http_etag_listed(BYTES("\"*\""), strong, true));
    static const char *const bad[] = { "", "a,b", "\"a,b", "w/\"a,b\"", "W/", "W/\"", "\"", "x, \"a,b\"" };
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(http_etag_listed(bytes_from(bad[i]), strong, true));
    assert_false(http_etag_listed(BYTES("\"\""), BYTES_NONE, true));
}

/* ---- preconditions ---- */

static const struct http_validators file = { { "\"1\"", 3 }, 784111777 };
#define BEFORE "Sun, 06 Nov 1994 08:49:36 GMT"
#define EXACT "Sun, 06 Nov 1994 08:49:37 GMT"
#define LATER "Sun, 06 Nov 1994 08:49:38 GMT"

static struct arena arena;

static struct http_fields request(const char *const *lines)
{
    struct http_fields f = { 0 };
    for (; *lines; lines += 2)
        assert_int_equal(http_fields_add(&f, &arena, bytes_from(lines[0]), bytes_from(lines[1])), OK);
    return f;
}

#define OF(...) ((const char *const[]){ __VA_ARGS__, NULL })

static unsigned status(enum http_method method, const char *const *lines)
{
    arena_open(&arena, &arena_heap, 1 << 20, NULL, 0);
    struct http_fields f = request(lines);
    unsigned s = http_precondition(&f, method, &file);
    arena_close(&arena);
    return s;
}

static void each_condition(void **unused)
{
    (void)unused;
    assert_int_equal(status(HTTP_GET, OF("Accept", "x")), 0);
    assert_int_equal(status(HTTP_GET, OF("If-None-Match", "W/\"1\"")), 304);
    assert_int_equal(status(HTTP_PUT, OF("If-None-Match", "\"1\"")), 412);
    assert_int_equal(status(HTTP_GET, OF("If-None-Match", "\"2\"")), 0);
    assert_int_equal(status(HTTP_GET, OF("If-None-Match", "\"2\"", "If-None-Match", "\"1\"")), 304);
    assert_int_equal(status(HTTP_GET, OF("If-Modified-Since", EXACT)), 304);
    assert_int_equal(status(HTTP_HEAD, OF("If-Modified-Since", LATER)), 304);
    assert_int_equal(status(HTTP_GET, OF("If-Modified-Since", BEFORE)), 0);
    assert_int_equal(status(HTTP_GET, OF("If-Modified-Since", "yesterday")), 0);
    assert_int_equal(status(HTTP_PUT, OF("If-Modified-Since", EXACT)), 0);
    assert_int_equal(status(HTTP_GET, OF("If-Match", "\"1\"")), 0);
    assert_int_equal(status(HTTP_GET, OF("If-Match", "W/\"1\"")), 412);
    assert_int_equal(status(HTTP_GET, OF("if-match", "\"2\"")), 412);
    assert_int_equal(status(HTTP_GET, OF("If-Unmodified-Since", EXACT)), 0);
    assert_int_equal(status(HTTP_GET, OF("If-Unmodified-Since", BEFORE)), 412);
    assert_int_equal(status(HTTP_GET, OF("If-Unmodified-Since", "x")), 0);
}

/* RFC 9110 13.2.2 */
static void tags_go_before_dates(void **unused)
{
    (void)unused;
    assert_int_equal(status(HTTP_GET, OF("If-None-Match", "\"2\"", "If-Modified-Since", LATER)), 0);
    assert_int_equal(status(HTTP_GET, OF("If-Match", "\"1\"", "If-Unmodified-Since", BEFORE)), 0);
    assert_int_equal(status(HTTP_GET, OF("If-Match", "\"2\"", "If-None-Match", "\"1\"")), 412);
    assert_int_equal(status(HTTP_GET, OF("If-Match", "\"1\"", "If-None-Match", "\"1\"")), 304);
}

static bool range(const char *value)
{
    arena_open(&arena, &arena_heap, 1 << 20, NULL, 0);
    struct http_fields f = request(value ? OF("If-Range", value) : OF("X", "x"));
    bool counts = http_if_range(&f, &file);
    arena_close(&arena);
    return counts;
}

static void if_range_wants_the_same_thing(void **unused)
{
    (void)unused;
    assert_true(range(NULL));
    assert_true(range("\"1\""));
    assert_false(range("W/\"1\""));
    assert_false(range("\"2\""));
    assert_true(range(EXACT));
    assert_false(range(LATER));
    assert_false(range(BEFORE));
    assert_false(range(""));
    assert_false(range("*"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_three_forms_of_a_date),
        cmocka_unit_test(what_is_no_date),
        cmocka_unit_test(every_date_is_read_as_it_was_printed),
        cmocka_unit_test(lists_of_tags),
        cmocka_unit_test(each_condition),
        cmocka_unit_test(tags_go_before_dates),
        cmocka_unit_test(if_range_wants_the_same_thing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

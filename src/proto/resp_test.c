#include "proto/resp.h"

#include <stdio.h>

#include "base/must.h"
#include "base/test.h"

static struct arena arena;

static int set_up(void **state)
{
    (void)state;
    arena_open(&arena, &arena_heap, 1 << 20, NULL, 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_close(&arena);
    return 0;
}

static err parse(struct resp_command *c, struct bytes data)
{
    *c = (struct resp_command){ 0 };
    return resp_parse(c, data, &RESP_LIMITS, &arena);
}

/* As "GET|k", all of the input used. */
static void reads_as(struct bytes data, const char *wanted)
{
    struct resp_command c;
    char text[256] = "";
    size_t len = 0;
    assert_int_equal(parse(&c, data), OK);
    assert_int_equal(c.bytes, data.len);
    for (uint32_t i = 0; i < c.count; i++) {
        struct bytes arg = resp_arg(&c, i);
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%.*s", i ? "|" : "", BYTES_ARG(arg));
    }
    assert_string_equal(text, wanted);
}

static void is_refused(struct bytes data, const char *words)
{
    struct resp_command c;
    assert_int_equal(parse(&c, data), ERR_SYNTAX);
    assert_string_equal(c.mistake, words);
}

static void commands_are_read(void **state)
{
    (void)state;
    reads_as(BYTES("*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"), "GET|k");
    reads_as(BYTES("*3\r\n$3\r\nSET\r\n$0\r\n\r\n$12\r\nhello\r\nworld\r\n"), "SET||hello\r\nworld");
    reads_as(
        BYTES("*1\r\n$100\r\n"
              "1234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234"
              "567890\r\n"),
        "1234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234"
        "567890");
    reads_as(BYTES("*0\r\n"), "");
    reads_as(BYTES("*-1\r\n"), "");
    reads_as(BYTES("PING\r\n"), "PING");
    reads_as(BYTES("  SET\tk  v \n"), "SET|k|v");
    reads_as(BYTES("\r\n"), "");
    reads_as(BYTES("SET k \"a b\\x41\\n\\\"\"\r\n"), "SET|k|a bA\n\"");
    reads_as(BYTES("SET k 'it\\'s' x\"y z\"\r\n"), "SET|k|it's|xy z");
}

static void mistakes_have_the_words_of_redis(void **state)
{
    (void)state;
    is_refused(BYTES("*x\r\n"), "Protocol error: invalid multibulk length");
    is_refused(BYTES("*4097\r\n"), "Protocol error: invalid multibulk length");
    is_refused(BYTES("*99999999999999999999999999999999\r\n"), "Protocol error: invalid multibulk length");
    is_refused(BYTES("*1\r\nGET\r\n"), "Protocol error: expected '$', got 'G'");
    is_refused(BYTES("*1\r\n$-1\r\n"), "Protocol error: invalid bulk length");
    is_refused(BYTES("*1\r\n$1048577\r\n"), "Protocol error: invalid bulk length");
    is_refused(BYTES("*1\r\n$03\r\nGET\r\n"), "Protocol error: invalid bulk length");
    is_refused(BYTES("*1\r\n$3\r\nGETTY\r\n"), "Protocol error: a string does not end where its length says");
    is_refused(BYTES("GET \"k\r\n"), "Protocol error: unbalanced quotes in request");
    is_refused(BYTES("GET \"k\"x\r\n"), "Protocol error: unbalanced quotes in request");
    is_refused(BYTES("GET 'k\r\n"), "Protocol error: unbalanced quotes in request");
}

static void bounds_hold(void **state)
{
    (void)state;
    static char line[RESP_INLINE_BYTES_MAX + 2];
    struct resp_command c = { 0 };
    memset(line, 'a', sizeof line);
    is_refused((struct bytes){ line, sizeof line }, "Protocol error: too big inline request");
    assert_int_equal(resp_parse(&c, BYTES("*11\r\n"), &RESP_STRANGER_LIMITS, &arena), ERR_SYNTAX);
    assert_string_equal(c.mistake, "Protocol error: unauthenticated multibulk length");
    c = (struct resp_command){ 0 };
    assert_int_equal(resp_parse(&c, BYTES("*1\r\n$16385\r\n"), &RESP_STRANGER_LIMITS, &arena), ERR_SYNTAX);
    assert_string_equal(c.mistake, "Protocol error: unauthenticated bulk length");
    c = (struct resp_command){ 0 };
    assert_int_equal(resp_parse(&c, BYTES("1 2 3 4 5 6 7 8 9 10 11\r\n"), &RESP_STRANGER_LIMITS, &arena),
                     ERR_SYNTAX);
    assert_string_equal(c.mistake, "Protocol error: too many arguments");

    struct arena small;
    arena_open(&small, &arena_heap, 0, NULL, 0);
    c = (struct resp_command){ 0 };
    assert_int_equal(resp_parse(&c, BYTES("*1\r\n$1\r\na\r\n"), &RESP_LIMITS, &small), ERR_LIMIT);
    arena_close(&small);
}

/* Several strings of a megabyte are more than a command may have. */
static void a_command_is_bounded_as_a_whole(void **state)
{
    (void)state;
    const size_t size = RESP_COMMAND_BYTES_MAX + 64;
    char *data = test_malloc(size);
    memset(data, 'a', size);
    int len = snprintf(data, 64, "*2\r\n$%u\r\n", RESP_ARG_BYTES_MAX);
    data[len] = 'a';
    char *second = data + len + RESP_ARG_BYTES_MAX;
    len = snprintf(second, 64, "\r\n$%u\r\n", RESP_ARG_BYTES_MAX);
    second[len] = 'a';
    is_refused((struct bytes){ data, size }, "Protocol error: too big mbulk count string");
    test_free(data);
}

/* Cut at every place, in memory that moves, it reads the same; and what is wanted is never too much. */
static void any_cut_reads_the_same(void **state)
{
    (void)state;
    static const char *const inputs[] = {
        "*3\r\n$3\r\nSET\r\n$10\r\n0123456789\r\n$2\r\n\r\n\r\n", "SET 'a b' \"c\\x64\" e\r\n", "*0\r\n",
        "*2\r\n$4\r\nECHO\r\n$130\r\n0123456789012345678901234567890123456789"
        "012345678901234567890123456789012345678901234567890123456789"
        "012345678901234567890123456789\r\n"
    };
    for (size_t n = 0; n < sizeof inputs / sizeof *inputs; n++) {
        const struct bytes in = bytes_from(inputs[n]);
        struct resp_command whole;
        assert_int_equal(parse(&whole, in), OK);
        for (size_t step = 1; step < in.len; step++) {
            struct resp_command c = { 0 };
            err e = ERR_AGAIN;
            char *data = NULL;
            for (size_t len = 0; e == ERR_AGAIN; len = len + step < in.len ? len + step : in.len) {
                if (data)
                    test_free(data);
                data = test_malloc(len + 1);
                memcpy(data, in.ptr, len);
                e = resp_parse(&c, (struct bytes){ data, len }, &RESP_LIMITS, &arena);
                assert_true(e == OK || (e == ERR_AGAIN && len < in.len && c.need > len && c.need <= in.len));
            }
            assert_int_equal(e, OK);
            assert_int_equal(c.bytes, in.len);
            assert_int_equal(c.count, whole.count);
            for (uint32_t i = 0; i < c.count; i++)
                assert_bytes_equal(resp_arg(&c, i), resp_arg(&whole, i));
            test_free(data);
        }
    }
}

static void wrote(char *begin, char *end, const char *wanted)
{
    struct bytes got = { begin, (size_t)(end - begin) };
    assert_bytes_equal(got, bytes_from(wanted));
}

static void replies_are_written(void **state)
{
    (void)state;
    char out[64];
    wrote(out, resp_head(out, '$', 5), "$5\r\n");
    wrote(out, resp_head(out, '*', UINT64_MAX), "*18446744073709551615\r\n");
    wrote(out, resp_int(out, INT64_MIN), ":-9223372036854775808\r\n");
    wrote(out, resp_int(out, 7), ":7\r\n");
    wrote(out, resp_map(out, RESP_2, 2), "*4\r\n");
    wrote(out, resp_map(out, RESP_3, 2), "%2\r\n");
    wrote(out, resp_null(out, RESP_2), "$-1\r\n");
    wrote(out, resp_null(out, RESP_3), "_\r\n");
    wrote(out, resp_null_array(out, RESP_2), "*-1\r\n");
    wrote(out, resp_null_array(out, RESP_3), "_\r\n");
    wrote(out, resp_line(out, '-', BYTES("ERR a\r\n+OK")), "-ERR a  +OK\r\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(commands_are_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(mistakes_have_the_words_of_redis, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bounds_hold, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_command_is_bounded_as_a_whole, set_up, tear_down),
        cmocka_unit_test_setup_teardown(any_cut_reads_the_same, set_up, tear_down),
        cmocka_unit_test(replies_are_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "proto/grpc.h"

#include "base/test.h"

static void test_timeouts(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t us;
    } good[] = { { "1n", 1 },          { "1000n", 1 },
                 { "1001n", 2 },       { "0n", 0 },
                 { "7u", 7 },          { "250m", 250000 },
                 { "3S", 3000000 },    { "2M", 120000000 },
                 { "1H", 3600000000 }, { "99999999H", UINT64_C(99999999) * 3600000000 } };
    for (unsigned i = 0; i < sizeof good / sizeof *good; i++) {
        uint64_t us;
        assert_int_equal(grpc_timeout_read(bytes_from(good[i].text), &us), OK);
        assert_true(us == good[i].us);
    }
    static const char *const bad[] = {
        "", "1", "S", "1s", "-1S", "1.5S", " 1S", "123456789S", "1SS", "0x1S"
    };
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint64_t us;
        assert_int_equal(grpc_timeout_read(bytes_from(bad[i]), &us), ERR_SYNTAX);
    }
}

static void test_a_timeout_is_written_as_exactly_as_it_fits(void **state)
{
    (void)state;
    static const struct {
        uint64_t us;
        const char *text;
    } cases[] = { { 0, "1n" },
                  { 1, "1u" },
                  { 99999999, "99999999u" },
                  { 100000000, "100000m" },
                  { 100000999, "100000m" },
                  { UINT64_C(99999999999), "99999999m" },
                  { UINT64_C(100000000000), "100000S" },
                  { UINT64_C(99999999) * 1000000 + 1000000, "1666666M" },
                  { UINT64_MAX, "99999999H" } };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        char out[32];
        uint64_t us;
        size_t len = grpc_timeout_put(out, cases[i].us);
        assert_true(len <= GRPC_TIMEOUT_BYTES_MAX || cases[i].us == UINT64_MAX);
        if (cases[i].us != UINT64_MAX) {
            assert_bytes_equal(((struct bytes){ out, len }), bytes_from(cases[i].text));
            assert_int_equal(grpc_timeout_read((struct bytes){ out, len }, &us), OK);
            assert_true(us <= cases[i].us || cases[i].us == 0);
        }
    }
}

static void test_statuses(void **state)
{
    (void)state;
    assert_int_equal(grpc_status_read(BYTES("14")), GRPC_UNAVAILABLE);
    assert_int_equal(grpc_status_read(BYTES("0")), GRPC_OK);
    assert_int_equal(grpc_status_read(BYTES("17")), GRPC_UNKNOWN);
    assert_int_equal(grpc_status_read(BYTES("")), GRPC_UNKNOWN);
    assert_int_equal(grpc_status_of_name(BYTES("resource_exhausted")), GRPC_RESOURCE_EXHAUSTED);
    assert_int_equal(grpc_status_of_name(BYTES("nothing")), -1);
    assert_string_equal(grpc_status_name(4), "deadline_exceeded");
    assert_string_equal(grpc_status_name(99), "unknown");
    static const unsigned http[][2] = { { 400, GRPC_INTERNAL },
                                        { 401, GRPC_UNAUTHENTICATED },
                                        { 403, GRPC_PERMISSION_DENIED },
                                        { 404, GRPC_UNIMPLEMENTED },
                                        { 429, GRPC_RESOURCE_EXHAUSTED },
                                        { 413, GRPC_RESOURCE_EXHAUSTED },
                                        { 502, GRPC_UNAVAILABLE },
                                        { 503, GRPC_UNAVAILABLE },
                                        { 504, GRPC_DEADLINE_EXCEEDED },
                                        { 500, GRPC_INTERNAL },
                                        { 418, GRPC_UNKNOWN } };
    for (unsigned i = 0; i < sizeof http / sizeof *http; i++)
        assert_int_equal(grpc_status_of_http(http[i][0]), http[i][1]);
    assert_int_equal(grpc_status_to_http(GRPC_UNAVAILABLE), 503);
    assert_int_equal(grpc_status_to_http(77), 500);
}

static void test_types(void **state)
{
    (void)state;
    static const char *const good[] = { "application/grpc", "application/grpc+proto",
                                        "Application/gRPC;x=y" };
    static const char *const bad[] = { "", "application/grp", "application/grpc-web", "application/grpcx",
                                       "text/plain" };
    for (unsigned i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(grpc_is_type(bytes_from(good[i])));
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(grpc_is_type(bytes_from(bad[i])));
}

static void test_messages(void **state)
{
    (void)state;
    struct arena a;
    arena_open(&a, &arena_heap, 1 << 16, NULL, 0);
    assert_bytes_equal(grpc_message_encode(&a, BYTES("no server: 100%\n\xc3\xa9")),
                       BYTES("no server: 100%25%0A%C3%A9"));
    assert_bytes_equal(grpc_message_encode(&a, BYTES("")), BYTES(""));
    arena_close(&a);
}

static void test_prefixes(void **state)
{
    (void)state;
    char prefix[GRPC_PREFIX_BYTES];
    grpc_prefix_put(prefix, GRPC_WEB_TRAILERS, 0x01020304);
    assert_memory_equal(prefix, "\x80\1\2\3\4", 5);
    assert_int_equal(grpc_prefix_length(prefix), 0x01020304);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_timeouts), cmocka_unit_test(test_a_timeout_is_written_as_exactly_as_it_fits),
        cmocka_unit_test(test_statuses), cmocka_unit_test(test_types),
        cmocka_unit_test(test_messages), cmocka_unit_test(test_prefixes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "gate/health_grpc.h"

#include "base/test.h"

static void test_requests(void **state)
{
    (void)state;
    char out[HEALTH_REQUEST_BYTES_MAX];
    char name[HEALTH_SERVICE_BYTES_MAX];
    assert_bytes_equal(((struct bytes){ out, health_grpc_request(out, BYTES("")) }), BYTES("\0\0\0\0\0"));
    assert_bytes_equal(((struct bytes){ out, health_grpc_request(out, BYTES("a.B")) }),
                       BYTES("\0\0\0\0\5\x0a\3"
                             "a.B"));
    memset(name, 'x', sizeof name);
    size_t len = health_grpc_request(out, (struct bytes){ name, 300 });
    assert_int_equal(len, 5 + 3 + 300);
    assert_memory_equal(out + 3, "\1\x2f\x0a\xac\2xxx", 8);
    assert_int_equal(health_grpc_request(out, (struct bytes){ name, sizeof name }), sizeof out);
}

static void test_answers(void **state)
{
    (void)state;
    static const struct {
        struct bytes text;
        bool well;
    } cases[] = {
        { BYTES("\0\0\0\0\2\x08\1"), true },
        { BYTES("\0\0\0\0\2\x08\2"), false },       /* NOT_SERVING */
        { BYTES("\0\0\0\0\0"), false },             /* UNKNOWN, which proto3 leaves out */
        { BYTES("\0\0\0\0\5\x12\1x\x08\1"), true }, /* a field of later versions before it */
        { BYTES("\0\0\0\0\4\x08\2\x08\1"), true },  /* the last one counts */
        { BYTES("\0\0\0\0\7\x1d\1\2\3\4\x08\1"), true },
        { BYTES("\0\0\0\0\2\x08"), false },
        { BYTES("\0\0\0\0\1\x08"), false },
        { BYTES("\1\0\0\0\2\x08\1"), false },
        { BYTES("\0\0\0\0\3\x12\5x"), false },
        { BYTES("\0\0\0\0\3\x0b\x08\1"), false },
        { BYTES("\0\0\0"), false },
        { BYTES(""), false },
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_true(!health_grpc_lacks(cases[i].text) == cases[i].well);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

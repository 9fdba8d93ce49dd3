#include "base/test.h"
#include "gate/tls_counts.h"

#if WEIR_HAVE_OPENSSL

static void test_reasons(void **state)
{
    (void)state;
    static const struct {
        err e;
        const char *why, *reason;
    } cases[] = {
        { ERR_TIMEOUT, "the handshake took too long", "timeout" },
        { ERR_RESET, "the peer closed the connection", "closed" },
        { ERR_CLOSED, "", "closed" },
        { ERR_CANCELLED, "given up", "given_up" },
        { ERR_PROTOCOL, "plain HTTP", "plain_http" },
        { ERR_PROTOCOL, "no shared cipher", "cipher" },
        { ERR_PROTOCOL, "unsupported protocol", "version" },
        { ERR_PROTOCOL, "tlsv1 alert protocol version", "version" },
        { ERR_PROTOCOL, "no application protocol", "alpn" },
        { ERR_PROTOCOL, "peer did not return a certificate", "certificate" },
        { ERR_PROTOCOL, "tlsv1 alert unknown ca", "certificate" },
        { ERR_PROTOCOL, "hostname mismatch", "certificate" },
        { ERR_PROTOCOL, "bad record", "protocol" },
        { ERR_PROTOCOL, "", "protocol" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(tls_failure_reason(tls_failure_of(cases[i].e, cases[i].why)), cases[i].reason);
}

#else

static void test_reasons(void **state)
{
    (void)state;
    skip();
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_reasons) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

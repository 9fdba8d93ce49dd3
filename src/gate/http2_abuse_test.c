#include "gate/http2_abuse.h"

#include "base/test.h"

static void each_kind_has_its_bound(void **unused)
{
    (void)unused;
    static const uint32_t bounds[] = {
#define X(id, word, bound) bound,
        HTTP2_ABUSE_LIST(X)
#undef X
    };
    for (unsigned k = 0; k < HTTP2_ABUSE_KINDS; k++) {
        struct http2_abuse a = { .since_ms = 1000 };
        for (uint32_t n = 0; n < 2 * bounds[k]; n++)
            assert_false(http2_abuse_note(&a, (enum http2_abuse_kind)k, 1000 + n % HTTP2_ABUSE_OVER_MS, 2));
        assert_true(http2_abuse_note(&a, (enum http2_abuse_kind)k, 1000 + HTTP2_ABUSE_OVER_MS - 1, 2));
    }
}

static void it_is_forgotten_after_a_while(void **unused)
{
    (void)unused;
    struct http2_abuse a = { .since_ms = 1000 };
    for (uint32_t n = 0; n < 100; n++)
        assert_false(http2_abuse_note(&a, HTTP2_ABUSE_SETTINGS, 1000, 1));
    assert_true(http2_abuse_note(&a, HTTP2_ABUSE_SETTINGS, 1001, 1));
    assert_false(http2_abuse_note(&a, HTTP2_ABUSE_SETTINGS, 1000 + HTTP2_ABUSE_OVER_MS, 1));
}

static void what_is_explained_does_not_count(void **unused)
{
    (void)unused;
    struct http2_abuse a = { .since_ms = 0 };
    for (unsigned n = 0; n < 100000; n++) {
        http2_abuse_forgive(&a, HTTP2_ABUSE_WINDOWS);
        assert_false(http2_abuse_note(&a, HTTP2_ABUSE_WINDOWS, 1, 1));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kind_has_its_bound),
        cmocka_unit_test(it_is_forgotten_after_a_while),
        cmocka_unit_test(what_is_explained_does_not_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

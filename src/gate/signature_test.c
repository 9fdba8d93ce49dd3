#include "gate/signature.h"

#include "base/test.h"

#if WEIR_HAVE_OPENSSL
/* RFC 4231 4.3, test case 2 */
static void it_is_what_the_rfc_says(void **unused)
{
    (void)unused;
    char text[SIGNATURE_BYTES];
    const struct bytes parts[] = { BYTES("what do ya want "), BYTES_NONE, BYTES("for nothing?") };
    signature_write(BYTES("Jefe"), parts, 3, text);
    assert_bytes_equal(((struct bytes){ text, sizeof text }), BYTES("5bdcc146bf60754e6a042426089575c7"));
    assert_true(signature_is(BYTES("Jefe"), parts, 3, (struct bytes){ text, sizeof text }));
}

static void no_other_text_is_it(void **unused)
{
    (void)unused;
    char text[SIGNATURE_BYTES + 1] = { 0 };
    const struct bytes part = BYTES("4711"), other = BYTES("4712");
    signature_write(BYTES("key"), &part, 1, text);
    for (unsigned i = 0; i < SIGNATURE_BYTES; i++) {
        const char was = text[i];
        text[i] = was == '0' ? '1' : '0';
        assert_false(signature_is(BYTES("key"), &part, 1, (struct bytes){ text, SIGNATURE_BYTES }));
        text[i] = was;
    }
    assert_true(signature_is(BYTES("key"), &part, 1, (struct bytes){ text, SIGNATURE_BYTES }));
    assert_false(signature_is(BYTES("key"), &part, 1, (struct bytes){ text, SIGNATURE_BYTES - 1 }));
    assert_false(signature_is(BYTES("key"), &part, 1, (struct bytes){ text, SIGNATURE_BYTES + 1 }));
    assert_false(signature_is(BYTES("key"), &part, 1, BYTES_NONE));
    assert_false(signature_is(BYTES("key"), &other, 1, (struct bytes){ text, SIGNATURE_BYTES }));
    assert_false(signature_is(BYTES("kez"), &part, 1, (struct bytes){ text, SIGNATURE_BYTES }));
}

/* What is too long is cut, and nothing is written behind the end. */
static void what_is_signed_has_a_bound(void **unused)
{
    (void)unused;
    static char long_text[SIGNATURE_SIGNED_BYTES_MAX + 10];
    char text[SIGNATURE_BYTES];
    const struct bytes cut = { long_text, SIGNATURE_SIGNED_BYTES_MAX };
    const struct bytes parts[] = { { long_text, sizeof long_text }, BYTES("more") };
    signature_write(BYTES("key"), &cut, 1, text);
    assert_true(signature_is(BYTES("key"), parts, 2, (struct bytes){ text, sizeof text }));
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
#if WEIR_HAVE_OPENSSL
        cmocka_unit_test(it_is_what_the_rfc_says),
        cmocka_unit_test(no_other_text_is_it),
        cmocka_unit_test(what_is_signed_has_a_bound),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

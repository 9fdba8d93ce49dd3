#include "base/base64.h"

#include <stdlib.h>

#include "base/test.h"

static void check(enum base64_kind kind, const char *text, struct bytes wanted)
{
    char out[64];
    size_t len;
    assert_int_equal(base64_decode(kind, bytes_from(text), out, &len), OK);
    assert_bytes_equal(((struct bytes){ out, len }), wanted);
}

static void what_rfc_4648_shows(void **state)
{
    (void)state;
    check(BASE64_STANDARD, "", BYTES(""));
    check(BASE64_STANDARD, "Zg==", BYTES("f"));
    check(BASE64_STANDARD, "Zm8=", BYTES("fo"));
    check(BASE64_STANDARD, "Zm9v", BYTES("foo"));
    check(BASE64_STANDARD, "Zm9vYg==", BYTES("foob"));
    check(BASE64_STANDARD, "Zm9vYmFy", BYTES("foobar"));
    check(BASE64_STANDARD, "+/+/", BYTES("\xfb\xff\xbf"));
    check(BASE64_URL, "Zg", BYTES("f"));
    check(BASE64_URL, "Zm8", BYTES("fo"));
    check(BASE64_URL, "-_-_", BYTES("\xfb\xff\xbf"));
    check(BASE64_URL, "AAECAw", BYTES("\0\1\2\3"));
}

static void nothing_else_is_taken(void **state)
{
    (void)state;
    static const struct {
        enum base64_kind kind;
        const char *text;
    } wrong[] = {
        { BASE64_STANDARD, "Zg" },
        { BASE64_STANDARD, "Zg=" },
        { BASE64_STANDARD, "Z===" },
        { BASE64_STANDARD, "====" },
        { BASE64_STANDARD, "Zh==" },
        { BASE64_STANDARD, "Zm9=" },
        { BASE64_STANDARD, "Zm9v\n" },
        { BASE64_STANDARD, "Zm 9" },
        { BASE64_STANDARD, "-_-_" },
        { BASE64_STANDARD, "Zg==Zg==" },
        { BASE64_URL, "Zg==" },
        { BASE64_URL, "Z" },
        { BASE64_URL, "Zh" },
        { BASE64_URL, "Zm9"
                      "9Z" },
        { BASE64_URL, "+/+/" },
        { BASE64_URL, "Zm9v\xff"
                      "abc" },
    };
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char out[64];
        size_t len;
        if (base64_decode(wrong[i].kind, bytes_from(wrong[i].text), out, &len) != ERR_SYNTAX)
            fail_msg("%s", wrong[i].text);
    }
}

static void written_text_is_read_again(void **state)
{
    (void)state;
    static const char *const texts[] = { "",         "Zg==",     "Zm8=",     "Zm9v",
                                         "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy", "/+8A" };
    for (unsigned i = 0; i < sizeof texts / sizeof *texts; i++) {
        char data[16], text[16];
        size_t len;
        assert_int_equal(base64_decode(BASE64_STANDARD, bytes_from(texts[i]), data, &len), OK);
        size_t written = base64_encode((struct bytes){ data, len }, text);
        assert_int_equal(written, base64_text_bytes(len));
        assert_bytes_equal(((struct bytes){ text, written }), bytes_from(texts[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_rfc_4648_shows),
        cmocka_unit_test(nothing_else_is_taken),
        cmocka_unit_test(written_text_is_read_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

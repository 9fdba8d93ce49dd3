#include "gate/password.h"

#include <stdio.h>

#include "base/test.h"

/* Made by `openssl passwd`, `htpasswd -B` and crypt(3). */
static const struct {
    const char *hash, *password;
    bool built;
} known[] = {
    { "$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/", "secret", WEIR_HAVE_OPENSSL },
    { "$apr1$xy$43..WIhbfuznGvwoCyUek/", "", WEIR_HAVE_OPENSSL },
    { "$apr1$abcdefgh$EJvhw845MtIPi.xyhIm.Y/", "a password of more than sixteen bytes", WEIR_HAVE_OPENSSL },
    { "$6$abcdefgh$ltjgWl6579NluT/Vi1nwEvcil.G5Nbc4NiXZaNGStk8PSwGfQv72N2CKPPrVACtLtip/cZ/1GM/O6IND4WQhG.",
      "secret", WEIR_HAVE_CRYPT },
    { "$5$abcdefgh$gruCpC7VkOTspMQTTSAR8mtlO9Upms.fwqE5y16JVM.", "secret", WEIR_HAVE_CRYPT },
    { "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW", "secret", WEIR_HAVE_CRYPT },
    { "$y$j75$abcdefgh$uMUXG79B2cFpoAYyDccUnsaH/aGTyBYMlnQidzyag01", "secret", WEIR_HAVE_CRYPT },
};

static void known_hashes_fit_their_passwords(void **state)
{
    (void)state;
    for (unsigned i = 0; i < sizeof known / sizeof *known; i++) {
        struct diag d = DIAG_NONE;
        err e = password_hash_check(bytes_from(known[i].hash), &d);
        assert_int_equal(e, known[i].built ? OK : ERR_UNSUPPORTED);
        if (!known[i].built) {
            assert_non_null(strstr(d.text, "was built without"));
            continue;
        }
        assert_true(password_fits(bytes_from(known[i].password), known[i].hash));
        assert_false(password_fits(BYTES("Secret"), known[i].hash));
        assert_false(password_fits(BYTES("secret "), known[i].hash));
        assert_false(password_fits((struct bytes){ "secret\0", 7 }, known[i].hash));
    }
}

static void a_password_that_is_too_long_fits_nothing(void **state)
{
    (void)state;
    static char longest[PASSWORD_BYTES_MAX + 1];
    memset(longest, 'a', sizeof longest);
    for (unsigned i = 0; i < sizeof known / sizeof *known; i++)
        assert_false(known[i].built &&
                     password_fits((struct bytes){ longest, sizeof longest }, known[i].hash));
}

static void others_are_refused_with_words(void **state)
{
    (void)state;
    static const struct {
        const char *hash, *words;
    } wrong[] = {
        { "", "no hash that is known" },
        { "secret", "no hash that is known" },
        { "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "no hash that is known" },
        { "$1$abcdefgh$0Ac2kIgz7S7cpMfvHFzXM/", "no hash that is known" },
        { "rqXexS6ZhobKA", "no hash that is known" },
#if WEIR_HAVE_CRYPT
        { "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIr", "cut" },
        { "$2b$31$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW", "too slow" },
        { "$5$rounds=999999999$abcdefgh$gruCpC7VkOTspMQTTSAR8mtlO9Upms.fwqE5y16JVM.", "too slow" },
        { "$6$abcdefgh$", "cut" },
#endif
#if WEIR_HAVE_OPENSSL
        { "$apr1$abcdefghi$h9FWgUz3n9YxylKLlR5SQ/", "cut" },
        { "$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ", "cut" },
#endif
    };
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct diag d = DIAG_NONE;
        assert_int_equal(password_hash_check(bytes_from(wrong[i].hash), &d), ERR_CONF);
        if (!strstr(d.text, wrong[i].words))
            fail_msg("%s: %s", wrong[i].hash, d.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_hashes_fit_their_passwords),
        cmocka_unit_test(a_password_that_is_too_long_fits_nothing),
        cmocka_unit_test(others_are_refused_with_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

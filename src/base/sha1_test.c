#include "base/sha1.h"

#include <stdio.h>

#include "base/test.h"

static void check(struct bytes text, const char *expected)
{
    unsigned char digest[SHA1_BYTES];
    char hex[2 * SHA1_BYTES + 1];
    sha1(text, digest);
    for (int i = 0; i < SHA1_BYTES; i++)
        snprintf(hex + 2 * (size_t)i, 3, "%02x", digest[i]);
    assert_string_equal(hex, expected);
}

/* FIPS 180-4's own examples (NIST, SHA1.pdf), and each length around a block's end. */
static void test_vectors(void **state)
{
    (void)state;
    static char million[1000000];
    check(BYTES_NONE, "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    check(BYTES("abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
    check(BYTES("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
          "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
    memset(million, 'a', sizeof million);
    check((struct bytes){ million, sizeof million }, "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
    check((struct bytes){ million, 55 }, "c1c8bbdc22796e28c0e15163d20899b65621d65a");
    check((struct bytes){ million, 56 }, "c2db330f6083854c99d4b5bfb6e8f29f201be699");
    check((struct bytes){ million, 63 }, "03f09f5b158a7a8cdad920bddc29b81c18a551f5");
    check((struct bytes){ million, 64 }, "0098ba824b5c16427bd7a1122a5a442a25ec644d");
    check((struct bytes){ million, 65 }, "11655326c708d70319be2610e8a57d9a5b959d3b");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

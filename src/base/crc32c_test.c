#include "base/crc32c.h"

#include <string.h>

#include "base/test.h"

/* RFC 3720 appendix B.4 */
static void the_vectors_of_the_rfc(void **state)
{
    (void)state;
    unsigned char data[32];
    memset(data, 0, sizeof data);
    assert_int_equal(crc32c(0, data, sizeof data), 0x8a9136aa);
    memset(data, 0xff, sizeof data);
    assert_int_equal(crc32c(0, data, sizeof data), 0x62a8ab43);
    for (unsigned i = 0; i < sizeof data; i++)
        data[i] = (unsigned char)i;
    assert_int_equal(crc32c(0, data, sizeof data), 0x46dd794e);
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
}

/* Bit by bit, as the polynomial says. */
static uint32_t plain(const unsigned char *at, size_t len)
{
    uint32_t crc = 0xffffffff;
    for (; len; len--) {
        crc ^= *at++;
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ 0x82f63b78u : crc >> 1;
    }
    return ~crc;
}

static void any_length_in_any_pieces(void **state)
{
    (void)state;
    unsigned char data[200];
    for (unsigned i = 0; i < sizeof data; i++)
        data[i] = (unsigned char)(i * 37 + 11);
    for (size_t len = 0; len < sizeof data; len++) {
        assert_int_equal(crc32c(0, data, len), plain(data, len));
        for (size_t cut = 0; cut <= len; cut += 7)
            assert_int_equal(crc32c(crc32c(0, data, cut), data + cut, len - cut), plain(data, len));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_vectors_of_the_rfc),
        cmocka_unit_test(any_length_in_any_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

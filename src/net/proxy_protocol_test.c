#include "net/proxy_protocol.h"

#include "base/test.h"

static struct addr at(const char *text)
{
    struct addr a;
    assert_int_equal(addr_parse(bytes_from(text), &a), OK);
    return a;
}

static void assert_addr(const struct addr *a, const char *text)
{
    char out[ADDR_TEXT_BYTES_MAX];
    addr_print(a, out);
    assert_string_equal(out, text);
}

static struct proxy_protocol taken(struct bytes in)
{
    struct proxy_protocol p;
    size_t used = 0;
    for (size_t len = 0; len < in.len; len++) { /* each beginning says that there is more to come */
        err e = proxy_protocol_parse((struct bytes){ in.ptr, len }, &p, &used);
        if (e != ERR_AGAIN)
            fail_msg("%zu of %zu bytes: %s", len, in.len, err_text(e));
    }
    char more[PROXY_PROTOCOL_V2_BYTES_MAX + 16];
    memcpy(more, in.ptr, in.len);
    memcpy(more + in.len, "GET / ", 6);
    assert_int_equal(proxy_protocol_parse((struct bytes){ more, in.len + 6 }, &p, &used), OK);
    assert_int_equal(used, in.len);
    return p;
}

static void takes_version_1(void **state)
{
    (void)state;
    struct proxy_protocol p = taken(BYTES("PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n"));
    assert_false(p.local);
    assert_addr(&p.source, "192.0.2.1:56324");
    assert_addr(&p.destination, "198.51.100.7:443");
    p = taken(BYTES("PROXY TCP6 2001:db8::1 ::1 1 65535\r\n"));
    assert_addr(&p.source, "[2001:db8::1]:1");
    assert_addr(&p.destination, "[::1]:65535");
    assert_true(taken(BYTES("PROXY UNKNOWN\r\n")).local);
    assert_true(taken(BYTES("PROXY UNKNOWN ffff::1 whatever 1 2\r\n")).local);
    /* the longest that the protocol knows */
    p = taken(
        BYTES("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff0 ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff1 "
              "65535 65534\r\n"));
    assert_addr(&p.source, "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff0]:65535");
}

static void refuses_what_is_not_version_1(void **state)
{
    (void)state;
    static const struct bytes wrong[] = {
        BYTES("GET / HTTP/1.1\r\n"),
        BYTES("PROXYTCP4 1.2.3.4 1.2.3.4 1 2\r\n"),
        BYTES("PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n"),
        BYTES("PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n"),
        BYTES("PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n"),
        BYTES("PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n"),
        BYTES("PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n"),
        BYTES("PROXY TCP4 1.2.3.4 1.2.3.256 1 2\r\n"),
        BYTES("PROXY TCP4 ::1 ::1 1 2\r\n"),
        BYTES("PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n"),
        BYTES("PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n"),
        BYTES("PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n"),
        BYTES("PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n"),
        BYTES("PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n"),
        BYTES("PROXY UNKNOWNX\r\n"),
        BYTES("PROXY \r\n"),
        BYTES("PROXY TCP4 1.2.3\0.4 1.2.3.4 1 2\r\n"),
        BYTES("PROXY UNKNOWN "
              "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234"
              "56789012345678\r\n"),
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct proxy_protocol p;
        size_t used;
        if (proxy_protocol_parse(wrong[i], &p, &used) != ERR_SYNTAX)
            fail_msg("took \"%.*s\"", BYTES_ARG(wrong[i]));
    }
}

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define V4 "\xc0\0\x02\x01\xc6\x33\x64\x07\xdc\x04\x01\xbb"

static void takes_version_2(void **state)
{
    (void)state;
    struct proxy_protocol p = taken(BYTES(SIGNATURE "\x21\x11\0\x0c" V4));
    assert_false(p.local);
    assert_addr(&p.source, "192.0.2.1:56324");
    assert_addr(&p.destination, "198.51.100.7:443");
    p = taken(BYTES(SIGNATURE "\x21\x12\0\x0c" V4)); /* DGRAM */
    assert_addr(&p.source, "192.0.2.1:56324");
    p = taken(BYTES(SIGNATURE "\x21\x21\0\x24\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"
                              "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\x50\0\x51"));
    assert_addr(&p.source, "[2001:db8::1]:80");
    assert_addr(&p.destination, "[::1]:81");
    /* TLVs: ALPN "h2", NOOP of nothing */
    p = taken(BYTES(SIGNATURE "\x21\x11\0\x14" V4 "\x01\0\x02h2\x04\0\0"));
    assert_addr(&p.source, "192.0.2.1:56324");
    assert_true(taken(BYTES(SIGNATURE "\x20\0\0\0")).local);
    assert_true(taken(BYTES(SIGNATURE "\x20\x11\0\x0c" V4)).local);
    assert_true(taken(BYTES(SIGNATURE "\x21\0\0\x05junk!")).local);
}

static void takes_unix_addresses(void **state)
{
    (void)state;
    char in[16 + 216] = SIGNATURE "\x21\x31\0\xd8";
    memcpy(in + 16, "/run/a.sock", 11);
    memset(in + 16 + 108, 'p', 108);
    struct proxy_protocol p = taken((struct bytes){ in, sizeof in });
    assert_false(p.local);
    assert_string_equal(p.source.sock.local.sun_path, "/run/a.sock");
    assert_int_equal(strlen(p.destination.sock.local.sun_path), 107);
    memset(in + 16, 0, 216);
    p = taken((struct bytes){ in, sizeof in });
    assert_false(p.local);
    assert_int_equal(p.source.len, sizeof p.source.sock.any.sa_family);
}

static void refuses_what_is_not_version_2(void **state)
{
    (void)state;
    static const struct bytes wrong[] = {
        BYTES(SIGNATURE "\x11\x11\0\x0c" V4), /* version */
        BYTES(SIGNATURE "\x22\x11\0\x0c" V4), /* command */
        BYTES(SIGNATURE "\x21\x41\0\x0c" V4), /* family */
        BYTES(SIGNATURE "\x21\x13\0\x0c" V4), /* transport */
        BYTES(SIGNATURE "\x21\x11\0\x0b" V4), /* too short for its family */
        BYTES(SIGNATURE "\x21\x21\0\x0c" V4),
        BYTES(SIGNATURE "\x21\x11\0\x0e" V4 "\x01\0"), /* half a TLV */
        BYTES(SIGNATURE "\x21\x11\0\x11" V4 "\x01\0\x03h2"),
        BYTES("\r\n\r\nX"),
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct proxy_protocol p;
        size_t used;
        if (proxy_protocol_parse(wrong[i], &p, &used) != ERR_SYNTAX)
            fail_msg("took number %zu", i);
    }
    struct proxy_protocol p;
    size_t used;
    assert_int_equal(proxy_protocol_parse(BYTES(SIGNATURE "\x21\x11\x0f\xf1"), &p, &used), ERR_LIMIT);
    assert_int_equal(proxy_protocol_parse(BYTES(SIGNATURE "\x21\x11\x0f\xf0"), &p, &used), ERR_AGAIN);
}

static void a_checksum_has_to_be_right(void **state)
{
    (void)state;
    /* worked out apart from this program (RFC 3720 B.4's polynomial) */
    char in[] = SIGNATURE "\x21\x11\0\x13" V4 "\x03\0\x04\xd4\x5a\x11\xb9";
    struct proxy_protocol p = taken((struct bytes){ in, sizeof in - 1 });
    assert_addr(&p.source, "192.0.2.1:56324");
    size_t used;
    in[16]++;
    assert_int_equal(proxy_protocol_parse((struct bytes){ in, sizeof in - 1 }, &p, &used), ERR_SYNTAX);
}

static void reads_what_it_writes(void **state)
{
    (void)state;
    static const char *const pairs[][2] = { { "192.0.2.1:1", "10.0.0.1:80" },
                                            { "[2001:db8::1]:1", "[::1]:80" },
                                            { "unix:/run/a", "unix:/run/b" } };
    char out[PROXY_PROTOCOL_WRITTEN_BYTES_MAX];
    for (int version = PROXY_PROTOCOL_V1; version <= PROXY_PROTOCOL_V2; version++) {
        for (size_t i = 0; i < 3; i++) {
            struct addr s = at(pairs[i][0]);
            struct addr d = at(pairs[i][1]);
            size_t len = proxy_protocol_write(out, (enum proxy_protocol_version)version, &s, &d);
            struct proxy_protocol p = taken((struct bytes){ out, len });
            if (i == 2 && version == PROXY_PROTOCOL_V1) {
                assert_true(p.local);
                continue;
            }
            assert_addr(&p.source, pairs[i][0]);
            assert_addr(&p.destination, pairs[i][1]);
        }
    }
}

static void says_what_it_can(void **state)
{
    (void)state;
    char out[PROXY_PROTOCOL_WRITTEN_BYTES_MAX];
    struct addr mapped = at("[::ffff:192.0.2.1]:1");
    struct addr v4 = at("10.0.0.1:80");
    struct addr v6 = at("[::1]:80");
    size_t len = proxy_protocol_write(out, PROXY_PROTOCOL_V1, &mapped, &v4);
    assert_bytes_equal(((struct bytes){ out, len }), BYTES("PROXY TCP4 192.0.2.1 10.0.0.1 1 80\r\n"));
    len = proxy_protocol_write(out, PROXY_PROTOCOL_V1, &v6, NULL);
    assert_bytes_equal(((struct bytes){ out, len }), BYTES("PROXY TCP6 ::1 :: 80 0\r\n"));
    len = proxy_protocol_write(out, PROXY_PROTOCOL_V1, &v6, &v4);
    assert_bytes_equal(((struct bytes){ out, len }), BYTES("PROXY UNKNOWN\r\n"));
    len = proxy_protocol_write(out, PROXY_PROTOCOL_V2, NULL, NULL);
    assert_bytes_equal(((struct bytes){ out, len }), BYTES(SIGNATURE "\x20\0\0\0"));
    len = proxy_protocol_write(out, PROXY_PROTOCOL_V2, &v4, NULL);
    assert_false(taken((struct bytes){ out, len }).local);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_version_1),
        cmocka_unit_test(refuses_what_is_not_version_1),
        cmocka_unit_test(takes_version_2),
        cmocka_unit_test(takes_unix_addresses),
        cmocka_unit_test(refuses_what_is_not_version_2),
        cmocka_unit_test(a_checksum_has_to_be_right),
        cmocka_unit_test(reads_what_it_writes),
        cmocka_unit_test(says_what_it_can),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "base/addr.h"

#include "base/test.h"

static struct addr parsed(const char *text)
{
    struct addr a;
    if (addr_parse(bytes_from(text), &a))
        fail_msg("refused \"%s\"", text);
    return a;
}

static void prints_what_it_parsed(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        { "10.0.0.1:80", "10.0.0.1:80" },
        { "0.0.0.0:0", "0.0.0.0:0" },
        { "[::1]:8080", "[::1]:8080" },
        { "[2001:DB8::0:1]:65535", "[2001:db8::1]:65535" },
        { ":8080", "[::]:8080" },
        { "unix:/run/shop.sock", "unix:/run/shop.sock" },
        { "127.0.0.1:00080", "127.0.0.1:80" },
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        char text[ADDR_TEXT_BYTES_MAX];
        struct addr a = parsed(pairs[i][0]);
        assert_int_equal(addr_print(&a, text), strlen(pairs[i][1]));
        assert_string_equal(text, pairs[i][1]);
    }
}

static void refuses_what_is_no_address(void **state)
{
    (void)state;
    static const struct bytes wrong[] = {
        BYTES(""),
        BYTES("80"),
        BYTES("10.0.0.1"),
        BYTES("10.0.0.1:"),
        BYTES("10.0.0:80"),
        BYTES("10.0.0.256:80"),
        BYTES("10.0.0.1:65536"),
        BYTES("10.0.0.1:-1"),
        BYTES("10.0.0.1: 80"),
        BYTES(" 10.0.0.1:80"),
        BYTES("::1:80"),
        BYTES("[::1]"),
        BYTES("[]:80"),
        BYTES("[10.0.0.1]:80"),
        BYTES("[::1:80"),
        BYTES("shop:80"),
        BYTES("unix:"),
        BYTES("unix:a\0b"),
        BYTES("10.0.0.1\0x:80"),
        BYTES("\0:80"),
        BYTES("[::1\0]:80"),
        BYTES("1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:80"),
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct addr a = { .len = 77 };
        if (addr_parse(wrong[i], &a) != ERR_SYNTAX)
            fail_msg("took \"%.*s\"", BYTES_ARG(wrong[i]));
        assert_int_equal(a.len, 77);
    }
}

static void takes_a_unix_path_up_to_the_kernels_limit(void **state)
{
    (void)state;
    char text[200] = "unix:";
    struct addr a;
    size_t path_max = sizeof a.sock.local.sun_path - 1;
    memset(text + 5, 'p', sizeof text - 5);
    assert_int_equal(addr_parse((struct bytes){ text, 5 + path_max }, &a), OK);
    assert_int_equal(a.sock.any.sa_family, AF_UNIX);
    assert_int_equal(strlen(a.sock.local.sun_path), path_max);
    char out[ADDR_TEXT_BYTES_MAX];
    assert_int_equal(addr_print(&a, out), 5 + path_max);
    assert_int_equal(addr_parse((struct bytes){ text, 6 + path_max }, &a), ERR_SYNTAX);
}

static void fills_what_the_kernel_takes(void **state)
{
    (void)state;
    struct addr a = parsed("10.0.0.1:80");
    assert_int_equal(a.len, sizeof(struct sockaddr_in));
    assert_int_equal(a.sock.v4.sin_family, AF_INET);
    assert_int_equal(a.sock.v4.sin_port, htons(80));
    assert_int_equal(a.sock.v4.sin_addr.s_addr, htonl(0x0a000001));
    a = parsed("[::1]:80");
    assert_int_equal(a.len, sizeof(struct sockaddr_in6));
    assert_int_equal(a.sock.v6.sin6_family, AF_INET6);
    assert_memory_equal(&a.sock.v6.sin6_addr, &in6addr_loopback, 16);
}

static void print_ip_leaves_port_and_brackets_out(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        { "10.0.0.1:80", "10.0.0.1" },
        { "[::1]:80", "::1" },
        { "[::ffff:10.0.0.1]:80", "10.0.0.1" },
        { "unix:/x", "unix:" },
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        char text[ADDR_TEXT_BYTES_MAX];
        struct addr a = parsed(pairs[i][0]);
        assert_int_equal(addr_print_ip(&a, text), strlen(pairs[i][1]));
        assert_string_equal(text, pairs[i][1]);
    }
}

static void prints_mapped_ipv4_as_ipv4(void **state)
{
    (void)state;
    char text[ADDR_TEXT_BYTES_MAX];
    struct addr a = parsed("[::ffff:10.0.0.1]:80");
    addr_print(&a, text);
    assert_string_equal(text, "10.0.0.1:80");
    a = (struct addr){ 0 };
    addr_print(&a, text);
    assert_string_equal(text, "none");
}

static void eq_sees_every_part(void **state)
{
    (void)state;
    static const char *const all[] = { "10.0.0.1:80", "10.0.0.2:80", "10.0.0.1:81",
                                       "[::1]:80",    "unix:/a",     "unix:/b" };
    for (size_t i = 0; i < 6; i++) {
        for (size_t k = 0; k < 6; k++) {
            struct addr a = parsed(all[i]);
            struct addr b = parsed(all[k]);
            assert_int_equal(addr_eq(&a, &b), i == k);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prints_what_it_parsed),
        cmocka_unit_test(refuses_what_is_no_address),
        cmocka_unit_test(takes_a_unix_path_up_to_the_kernels_limit),
        cmocka_unit_test(fills_what_the_kernel_takes),
        cmocka_unit_test(print_ip_leaves_port_and_brackets_out),
        cmocka_unit_test(prints_mapped_ipv4_as_ipv4),
        cmocka_unit_test(eq_sees_every_part),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

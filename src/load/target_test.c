#include "load/target.h"

#include "base/test.h"

static struct arena arena;

static void what_a_url_says(void **state)
{
    (void)state;
    static const struct {
        const char *url, *host, *name, *path;
        unsigned port;
        bool tls;
    } good[] = {
        { "http://shop.example:8080/a?b=c", "shop.example:8080", "shop.example", "/a?b=c", 8080, false },
        { "http://shop.example", "shop.example", "shop.example", "/", 80, false },
        { "https://shop.example?x", "shop.example", "shop.example", "/?x", 443, true },
        { "127.0.0.1:9/x", "127.0.0.1:9", "127.0.0.1", "/x", 9, false },
        { "http://[::1]:81/", "[::1]:81", "::1", "/", 81, false },
        { "http://[::1]", "[::1]", "::1", "/", 80, false },
    };
    for (unsigned i = 0; i < sizeof good / sizeof *good; i++) {
        struct target t;
        assert_int_equal(target_parse(bytes_from(good[i].url), &arena, &t, NULL), OK);
        assert_bytes_equal(t.host, bytes_from(good[i].host));
        assert_bytes_equal(t.name, bytes_from(good[i].name));
        assert_bytes_equal(t.path, bytes_from(good[i].path));
        assert_int_equal(t.port, good[i].port);
        assert_int_equal(t.tls, good[i].tls);
    }
}

static void what_is_none(void **state)
{
    (void)state;
    static const char *const wrong[] = { "",
                                         "ftp://a/",
                                         "http://",
                                         "http:///x",
                                         "http://a:0/",
                                         "http://a:x",
                                         "http://a:99999",
                                         "http://[::1",
                                         "http://[::1]x",
                                         "http://u@a/",
                                         "http://a/ b",
                                         "http://a/#b",
                                         "http://a/\n" };
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct target t;
        struct diag d = DIAG_NONE;
        if (target_parse(bytes_from(wrong[i]), &arena, &t, &d) != ERR_SYNTAX || !d.set)
            fail_msg("%s", wrong[i]);
    }
}

static void names_are_resolved(void **state)
{
    (void)state;
    struct target t;
    struct diag d = DIAG_NONE;
    char text[ADDR_TEXT_BYTES_MAX];
    assert_int_equal(target_parse(BYTES("http://127.0.0.1:1234/"), &arena, &t, &d), OK);
    assert_int_equal(target_resolve(&t, &d), OK);
    addr_print(&t.addr, text);
    assert_string_equal(text, "127.0.0.1:1234");
    assert_int_equal(
        target_parse(BYTES("http://0123456789012345678901234567890123456789012345678901234567890123456789/"),
                     &arena, &t, &d),
        OK);
    assert_int_equal(target_resolve(&t, &d), ERR_NOT_FOUND);
    assert_true(d.set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_url_says),
        cmocka_unit_test(what_is_none),
        cmocka_unit_test(names_are_resolved),
    };
    arena_open(&arena, &arena_heap, 1 << 20, NULL, 0);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_close(&arena);
    return failed;
}

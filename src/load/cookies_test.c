#include "load/cookies.h"

#include <stdio.h>

#include "base/test.h"

static void they_are_kept_and_replaced(void **state)
{
    (void)state;
    static const struct {
        const char *set, *field;
    } steps[] = {
        { "a=1; Path=/; HttpOnly", "a=1" },
        { "bb=2", "a=1; bb=2" },
        { "b=3", "a=1; bb=2; b=3" },
        { "a=4", "bb=2; b=3; a=4" },
        { "nonsense", "bb=2; b=3; a=4" },
        { "=x", "bb=2; b=3; a=4" },
        { "b=; Max-Age=0", "bb=2; a=4" },
        { "a=x; expires=Thu, 01 Jan 1970 00:00:00 GMT", "bb=2" },
        { "bb=5; Max-Age=60", "bb=5" },
        { "bb=; max-age=-1", "" },
        { "c = d e ", "c=d e" },
    };
    struct cookies c = { 0 };
    for (unsigned i = 0; i < sizeof steps / sizeof *steps; i++) {
        cookies_take(&c, bytes_from(steps[i].set));
        assert_bytes_equal(((struct bytes){ c.field.at, c.field.len }), bytes_from(steps[i].field));
    }
    assert_bytes_equal(cookies_find(&c, BYTES("c")), BYTES("d e"));
    assert_null(cookies_find(&c, BYTES("d")).ptr);
    cookies_close(&c);
}

static void they_have_a_bound(void **state)
{
    (void)state;
    struct cookies c = { 0 };
    char set[64];
    for (unsigned i = 0; i < 2000; i++) {
        snprintf(set, sizeof set, "name-%u=0123456789", i);
        cookies_take(&c, bytes_from(set));
    }
    assert_true(c.field.len <= COOKIES_BYTES_MAX && c.field.len > COOKIES_BYTES_MAX - 64);
    cookies_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(they_are_kept_and_replaced),
        cmocka_unit_test(they_have_a_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "base/glob.h"

#include "base/test.h"

static bool matches(const char *pattern, const char *name)
{
    return glob_match(bytes_from(pattern), bytes_from(name));
}

static void patterns_match_as_in_redis(void **state)
{
    (void)state;
    assert_true(matches("*", "") && matches("*", "anything") && matches("", ""));
    assert_false(matches("", "a") || matches("?", "") || matches("a", ""));
    assert_true(matches("h?llo", "hello") && matches("h*llo", "heeeello") && matches("h*llo", "hllo"));
    assert_true(matches("h[ae]llo", "hallo") && !matches("h[ae]llo", "hillo"));
    assert_true(matches("h[^e]llo", "hallo") && !matches("h[^e]llo", "hello"));
    assert_true(matches("h[a-b]llo", "hbllo") && matches("h[b-a]llo", "hallo") &&
                !matches("h[a-b]llo", "hcllo"));
    assert_true(matches("h\\*llo", "h*llo") && !matches("h\\*llo", "hello"));
    assert_true(matches("a[\\]]b", "a]b") && matches("a[x", "ax") && matches("a\\", "a\\"));
    assert_true(matches("session:*:cart", "session:12:34:cart") &&
                !matches("session:*:cart", "session:12:carts"));
    assert_true(matches("*a*b*", "xxaxxbxx") && !matches("*a*b*", "xxbxxaxx"));
}

/* What takes a naive matcher years. */
static void a_pattern_of_many_stars_ends_soon(void **state)
{
    (void)state;
    static char name[254], pattern[201];
    memset(name, 'a', sizeof name);
    for (unsigned i = 0; i < 200; i += 2)
        memcpy(pattern + i, "a*", 2);
    pattern[200] = 'b';
    assert_false(glob_match((struct bytes){ pattern, 201 }, (struct bytes){ name, sizeof name }));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns_match_as_in_redis),
        cmocka_unit_test(a_pattern_of_many_stars_ends_soon),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

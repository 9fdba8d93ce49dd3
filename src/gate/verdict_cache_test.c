#include "gate/verdict_cache.h"

#include <stdio.h>

#include "base/mem.h"
#include "base/test.h"

static struct verdict_key key_of(const struct verdict_cache *c, const char *text)
{
    struct bytes part = bytes_from(text);
    return verdict_cache_key(c, &part, 1);
}

static void it_remembers_for_a_while(void **state)
{
    (void)state;
    struct verdict_cache *c = verdict_cache_open(16, 8);
    struct bytes value;
    assert_false(verdict_cache_find(c, key_of(c, "a"), 1, &value));
    verdict_cache_put(c, key_of(c, "a"), 1, 100, BYTES("alice"));
    verdict_cache_put(c, key_of(c, "b"), 1, 50, BYTES(""));
    assert_true(verdict_cache_find(c, key_of(c, "a"), 99, &value));
    assert_bytes_equal(value, BYTES("alice"));
    assert_false(verdict_cache_find(c, key_of(c, "a"), 100, &value));
    assert_true(verdict_cache_find(c, key_of(c, "b"), 49, &value));
    assert_int_equal(value.len, 0);
    verdict_cache_put(c, key_of(c, "a"), 1, 200, BYTES("bob"));
    assert_true(verdict_cache_find(c, key_of(c, "a"), 150, &value));
    assert_bytes_equal(value, BYTES("bob"));
    verdict_cache_put(c, key_of(c, "long"), 1, 100, BYTES("123456789"));
    assert_false(verdict_cache_find(c, key_of(c, "long"), 2, &value));
    verdict_cache_put(c, key_of(c, "past"), 5, 5, BYTES("x"));
    assert_false(verdict_cache_find(c, key_of(c, "past"), 1, &value));
    verdict_cache_close(c);
}

static void parts_stay_apart(void **state)
{
    (void)state;
    struct verdict_cache *c = verdict_cache_open(1, 0);
    struct verdict_cache *other = verdict_cache_open(1, 0);
    const struct bytes first[] = { BYTES("ab"), BYTES("c") };
    const struct bytes second[] = { BYTES("a"), BYTES("bc") };
    const struct bytes third[] = { BYTES("ab"), BYTES("c"), BYTES("") };
    struct verdict_key a = verdict_cache_key(c, first, 2);
    struct verdict_key b = verdict_cache_key(c, second, 2);
    struct verdict_key d = verdict_cache_key(c, third, 3);
    struct verdict_key again = verdict_cache_key(c, first, 2);
    struct verdict_key elsewhere = verdict_cache_key(other, first, 2);
    assert_true(a.a == again.a && a.b == again.b);
    assert_true(a.a != b.a && a.b != b.b && a.a != d.a && a.a != a.b);
    assert_true(a.a != elsewhere.a);
    verdict_cache_close(c);
    verdict_cache_close(other);
}

static void what_ends_first_gives_way(void **state)
{
    (void)state;
    struct verdict_cache *c = verdict_cache_open(4, 4); /* one set */
    struct bytes value;
    for (unsigned i = 0; i < 100; i++) {
        char text[8];
        snprintf(text, sizeof text, "%u", i);
        verdict_cache_put(c, key_of(c, text), 1, 1000 + i, BYTES("x"));
    }
    for (unsigned i = 0; i < 100; i++) {
        char text[8];
        snprintf(text, sizeof text, "%u", i);
        assert_int_equal(verdict_cache_find(c, key_of(c, text), 2, &value), i >= 96);
    }
    verdict_cache_close(c);
}

static void no_memory_is_said(void **state)
{
    (void)state;
    for (uint64_t n = 1; n <= 2; n++) {
        mem_fail_at(n);
        assert_null(verdict_cache_open(16, 16));
        mem_fail_at(0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_remembers_for_a_while),
        cmocka_unit_test(parts_stay_apart),
        cmocka_unit_test(what_ends_first_gives_way),
        cmocka_unit_test(no_memory_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "base/map.h"

#include <stdio.h>

#include "base/mem.h"
#include "base/test.h"

static int values[1000];

static struct bytes key_of(int i, char out[16])
{
    return (struct bytes){ out, (size_t)snprintf(out, 16, "key-%d", i) };
}

static void fill(struct map *m, int count)
{
    char text[16];
    for (int i = 0; i < count; i++)
        assert_int_equal(map_set(m, key_of(i, text), &values[i]), OK);
}

static void an_empty_one_finds_nothing(void **state)
{
    (void)state;
    struct map m;
    size_t at = 0;
    struct bytes key;
    void *value;
    map_init(&m);
    assert_null(map_get(&m, BYTES("x")));
    assert_null(map_remove(&m, BYTES("x")));
    assert_false(map_next(&m, &at, &key, &value));
    map_close(&m);
}

static void finds_what_was_set_and_copies_keys(void **state)
{
    (void)state;
    struct map m;
    char text[16];
    map_init(&m);
    fill(&m, 1000);
    assert_int_equal(m.count, 1000);
    for (int i = 0; i < 1000; i++)
        assert_ptr_equal(map_get(&m, key_of(i, text)), &values[i]);
    assert_null(map_get(&m, BYTES("key-1000")));
    assert_null(map_get(&m, BYTES("key-")));
    map_close(&m);
    assert_null(map_get(&m, BYTES("key-1")));
}

static void set_replaces(void **state)
{
    (void)state;
    struct map m;
    map_init(&m);
    fill(&m, 2);
    assert_int_equal(map_set(&m, BYTES("key-0"), &values[9]), OK);
    assert_ptr_equal(map_get(&m, BYTES("key-0")), &values[9]);
    assert_ptr_equal(map_get(&m, BYTES("key-1")), &values[1]);
    assert_int_equal(m.count, 2);
    map_close(&m);
}

static void keys_are_any_bytes(void **state)
{
    (void)state;
    struct map m;
    map_init(&m);
    assert_int_equal(map_set(&m, BYTES_NONE, &values[0]), OK);
    assert_int_equal(map_set(&m, BYTES("a\0b"), &values[1]), OK);
    assert_int_equal(map_set(&m, BYTES("a\0c"), &values[2]), OK);
    assert_ptr_equal(map_get(&m, BYTES("")), &values[0]);
    assert_ptr_equal(map_get(&m, BYTES("a\0b")), &values[1]);
    assert_ptr_equal(map_get(&m, BYTES("a\0c")), &values[2]);
    assert_null(map_get(&m, BYTES("a")));
    map_close(&m);
}

static void removed_keys_do_not_hide_others(void **state)
{
    (void)state;
    struct map m;
    char text[16];
    map_init(&m);
    fill(&m, 500);
    for (int i = 0; i < 500; i += 2)
        assert_ptr_equal(map_remove(&m, key_of(i, text)), &values[i]);
    assert_int_equal(m.count, 250);
    for (int i = 0; i < 500; i++)
        assert_ptr_equal(map_get(&m, key_of(i, text)), i % 2 ? &values[i] : NULL);
    map_close(&m);
}

static void coming_and_going_does_not_grow_it(void **state)
{
    (void)state;
    struct map m;
    char text[16];
    map_init(&m);
    for (int i = 0; i < 10000; i++) {
        assert_int_equal(map_set(&m, key_of(i, text), &values[0]), OK);
        assert_ptr_equal(map_remove(&m, key_of(i, text)), &values[0]);
    }
    assert_int_equal(m.count, 0);
    assert_true(m.slots_count <= 16);
    map_close(&m);
}

static void a_walk_meets_each_once_even_while_removing(void **state)
{
    (void)state;
    struct map m;
    bool met[100] = { false };
    struct bytes key;
    void *value;
    map_init(&m);
    fill(&m, 100);
    for (size_t at = 0; map_next(&m, &at, &key, &value);) {
        ptrdiff_t i = (int *)value - values;
        assert_false(met[i]);
        met[i] = true;
        assert_ptr_equal(map_remove(&m, key), value);
    }
    for (int i = 0; i < 100; i++)
        assert_true(met[i]);
    assert_int_equal(m.count, 0);
    map_close(&m);
}

static void failed_memory_leaves_it_as_it_was(void **state)
{
    (void)state;
    for (uint64_t n = 1;; n++) {
        struct map m;
        char text[16];
        int set = 0;
        map_init(&m);
        mem_fail_at(n);
        while (set < 50 && map_set(&m, key_of(set, text), &values[set]) == OK)
            set++;
        mem_fail_at(0);
        assert_int_equal(m.count, set);
        for (int i = 0; i < 50; i++)
            assert_ptr_equal(map_get(&m, key_of(i, text)), i < set ? &values[i] : NULL);
        map_close(&m);
        if (set == 50)
            return;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_one_finds_nothing),
        cmocka_unit_test(finds_what_was_set_and_copies_keys),
        cmocka_unit_test(set_replaces),
        cmocka_unit_test(keys_are_any_bytes),
        cmocka_unit_test(removed_keys_do_not_hide_others),
        cmocka_unit_test(coming_and_going_does_not_grow_it),
        cmocka_unit_test(a_walk_meets_each_once_even_while_removing),
        cmocka_unit_test(failed_memory_leaves_it_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "base/arena.h"

#include "base/mem.h"
#include "base/test.h"

static int chunks_out;

static void *counted_get(size_t *size)
{
    void *chunk = arena_heap.get(size);
    chunks_out += chunk != NULL;
    return chunk;
}

static void counted_put(void *chunk, size_t size)
{
    chunks_out--;
    arena_heap.put(chunk, size);
}

static const struct arena_source counted = { counted_get, counted_put };

static void aligned_and_apart(void **state)
{
    (void)state;
    struct arena a;
    char *before = NULL;
    arena_open(&a, &counted, 1 << 20, NULL, 0);
    for (size_t size = 1; size < 300; size++) {
        char *memory = arena_get(&a, size);
        assert_non_null(memory);
        assert_int_equal((uintptr_t)memory % 8, 0);
        memset(memory, (int)size & 0xff, size);
        /* the one before is whole still */
        for (size_t i = 0; before && i + 1 < size; i++)
            assert_int_equal((unsigned char)before[i], (size - 1) & 0xff);
        before = memory;
    }
    assert_true(chunks_out > 1);
    arena_close(&a);
    assert_int_equal(chunks_out, 0);
}

static void the_callers_memory_is_used_up_first(void **state)
{
    (void)state;
    struct arena a;
    _Alignas(8) char first[65];
    arena_open(&a, &counted, 1 << 20, first + 1, 64);
    char *memory = arena_get(&a, 40);
    assert_int_equal((uintptr_t)memory % 8, 0);
    assert_in_range(memory, (uintptr_t)first, (uintptr_t)first + 65 - 40);
    assert_int_equal(chunks_out, 0);
    assert_non_null(arena_get(&a, 40));
    assert_int_equal(chunks_out, 1);
    arena_close(&a);
    assert_int_equal(chunks_out, 0);
    arena_open(&a, &counted, 1 << 20, first + 1, 3);
    assert_non_null(arena_get(&a, 1));
    assert_int_equal(chunks_out, 1);
    arena_close(&a);
}

static void the_cap_holds(void **state)
{
    (void)state;
    struct arena a;
    arena_open(&a, &counted, 10000, NULL, 0);
    assert_null(arena_get(&a, 10001));
    assert_int_equal(chunks_out, 0);
    size_t got = 0;
    while (arena_get(&a, 100))
        got += 100;
    assert_in_range(got, 9000, 10000);
    arena_close(&a);
    arena_open(&a, &counted, 10000, NULL, 0);
    assert_non_null(arena_get(&a, 10000));
    assert_null(arena_get(&a, 1));
    arena_close(&a);
    assert_int_equal(chunks_out, 0);
}

static void sizes_that_overflow_are_refused(void **state)
{
    (void)state;
    struct arena a;
    arena_open(&a, &counted, SIZE_MAX, NULL, 0);
    assert_non_null(arena_get(&a, 8));
    for (size_t less = 0; less < 64; less++)
        assert_null(arena_get(&a, SIZE_MAX - less));
    arena_close(&a);
    assert_int_equal(chunks_out, 0);
}

static void a_closed_one_may_be_used_again(void **state)
{
    (void)state;
    struct arena a;
    arena_open(&a, &counted, 5000, NULL, 0);
    assert_non_null(arena_get(&a, 5000));
    arena_close(&a);
    assert_non_null(arena_get(&a, 5000));
    arena_close(&a);
    assert_int_equal(chunks_out, 0);
}

static void copies_and_prints_end_in_nul(void **state)
{
    (void)state;
    struct arena a;
    arena_open(&a, &counted, 100, NULL, 0);
    struct bytes copy = arena_copy(&a, BYTES("shop"));
    assert_bytes_equal(copy, BYTES("shop"));
    assert_int_equal(copy.ptr[4], 0);
    copy = arena_copy(&a, BYTES_NONE);
    assert_non_null(copy.ptr);
    assert_int_equal(copy.len, 0);
    assert_int_equal(copy.ptr[0], 0);
    struct bytes text = arena_print(&a, "%s-%d", "shop", 7);
    assert_string_equal(text.ptr, "shop-7");
    assert_int_equal(text.len, 6);
    assert_null(arena_print(&a, "%200d", 1).ptr);
    char big[200] = { 0 };
    assert_null(arena_copy(&a, (struct bytes){ big, sizeof big }).ptr);
    arena_close(&a);
}

static void get_zero_clears_used_memory(void **state)
{
    (void)state;
    struct arena a;
    _Alignas(8) char first[32];
    static const char zeros[32];
    memset(first, 0xff, sizeof first);
    arena_open(&a, &counted, 32, first, sizeof first);
    assert_memory_equal(arena_get_zero(&a, 32), zeros, 32);
    assert_null(arena_get_zero(&a, 33));
    arena_close(&a);
}

static void no_memory_is_null_and_keeps_what_was_given(void **state)
{
    (void)state;
    struct arena a;
    arena_open(&a, &counted, 1 << 20, NULL, 0);
    struct bytes kept = arena_copy(&a, BYTES("kept"));
    mem_fail_at(1);
    void *none = arena_get(&a, 8192);
    struct bytes fits = arena_copy(&a, BYTES("fits"));
    mem_fail_at(0);
    assert_null(none);
    assert_string_equal(fits.ptr, "fits");
    assert_string_equal(kept.ptr, "kept");
    arena_close(&a);
    assert_int_equal(chunks_out, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(aligned_and_apart),
        cmocka_unit_test(the_callers_memory_is_used_up_first),
        cmocka_unit_test(the_cap_holds),
        cmocka_unit_test(sizes_that_overflow_are_refused),
        cmocka_unit_test(a_closed_one_may_be_used_again),
        cmocka_unit_test(copies_and_prints_end_in_nul),
        cmocka_unit_test(get_zero_clears_used_memory),
        cmocka_unit_test(no_memory_is_null_and_keeps_what_was_given),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

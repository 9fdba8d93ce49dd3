#include "base/mem.h"

#include <pthread.h>

#include "base/test.h"

static void gives_zeroed_memory(void **state)
{
    (void)state;
    for (int round = 0; round < 3; round++) {
        unsigned char *memory = mem_get(100);
        assert_non_null(memory);
        for (int i = 0; i < 100; i++) {
            assert_int_equal(memory[i], 0);
            memory[i] = 0xff;
        }
        mem_free(memory);
    }
    mem_free(NULL);
}

static void aligned_memory_is_aligned_and_zeroed(void **state)
{
    (void)state;
    for (size_t size = 0; size < 200; size += 33) {
        unsigned char *memory = mem_get_aligned(size, 64);
        assert_non_null(memory);
        assert_int_equal((uintptr_t)memory % 64, 0);
        for (size_t i = 0; i < size; i++)
            assert_int_equal(memory[i], 0);
        memset(memory, 0xff, size);
        mem_free(memory);
    }
    assert_null(mem_get_aligned(SIZE_MAX - 10, 64));
    mem_fail_at(1);
    void *none = mem_get_aligned(64, 64);
    mem_fail_at(0);
    assert_null(none);
}

static void nothing_is_something(void **state)
{
    (void)state;
    void *a = mem_get(0);
    void *b = mem_must_get(0);
    assert_non_null(a);
    assert_ptr_not_equal(a, b);
    mem_free(a);
    mem_free(b);
}

static void the_nth_and_all_after_fail(void **state)
{
    (void)state;
    mem_fail_at(2);
    void *first = mem_get(1);
    void *second = mem_get(1);
    void *third = mem_get(1);
    void *never_fails = mem_must_get(1);
    assert_int_equal(mem_count(), 3);
    mem_fail_at(0);
    assert_int_equal(mem_count(), 0);
    assert_non_null(first);
    assert_null(second);
    assert_null(third);
    assert_non_null(never_fails);
    mem_free(first);
    mem_free(never_fails);
}

static void *get_one(void *arg)
{
    (void)arg;
    return mem_get(1);
}

static void other_threads_do_not_fail(void **state)
{
    (void)state;
    pthread_t thread;
    void *memory = NULL;
    mem_fail_at(1);
    int e = pthread_create(&thread, NULL, get_one, NULL);
    mem_fail_at(0);
    assert_int_equal(e, 0);
    assert_int_equal(pthread_join(thread, &memory), 0);
    assert_non_null(memory);
    mem_free(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_zeroed_memory),       cmocka_unit_test(aligned_memory_is_aligned_and_zeroed),
        cmocka_unit_test(nothing_is_something),      cmocka_unit_test(the_nth_and_all_after_fail),
        cmocka_unit_test(other_threads_do_not_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

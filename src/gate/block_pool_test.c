#include "gate/block_pool.h"

#include <string.h>

#include "base/test.h"

static void a_block_is_taken_again(void **unused)
{
    (void)unused;
    struct block_pool m = { .kept_bytes_max = 1 << 20 };
    void *a = block_pool_get(&m, 1000);
    assert_int_equal((uintptr_t)a % 16, 0);
    assert_int_equal(block_pool_size(a), 1024);
    assert_int_equal(m.used_bytes, 1024);
    assert_int_equal(block_pool_put(&m, a), 1024);
    assert_int_equal(m.used_bytes, 0);
    assert_int_equal(m.kept_bytes, 1024);
    assert_ptr_equal(block_pool_get(&m, 1024), a);
    assert_int_equal(m.kept_bytes, 0);
    assert_int_equal(block_pool_put(&m, NULL), 0);
    block_pool_put(&m, a);
    block_pool_close(&m);
}

static void every_size_fits_its_class(void **unused)
{
    (void)unused;
    struct block_pool m = { .kept_bytes_max = 0 };
    for (size_t size = 1; size < 300000; size += size / 7 + 1) {
        char *a = block_pool_get(&m, size);
        size_t got = block_pool_size(a);
        assert_true(got >= size && (got <= size + size / 4 + 1 || got == 256));
        memset(a, 1, got);
        block_pool_put(&m, a);
    }
    static const size_t exact[] = { 256, 320, 384, 448, 512, 640, 65536, 81920, 1 << 20 };
    for (unsigned i = 0; i < sizeof exact / sizeof *exact; i++) {
        void *a = block_pool_get(&m, exact[i]);
        assert_int_equal(block_pool_size(a), exact[i]);
        block_pool_put(&m, a);
        a = block_pool_get(&m, exact[i] + 1);
        assert_true(block_pool_size(a) > exact[i]);
        block_pool_put(&m, a);
    }
    void *largest = block_pool_get(&m, (size_t)1 << BLOCK_SHIFT_MAX);
    assert_non_null(largest);
    block_pool_put(&m, largest);
    assert_null(block_pool_get(&m, ((size_t)1 << BLOCK_SHIFT_MAX) + 1));
    assert_null(block_pool_get(&m, SIZE_MAX));
    assert_int_equal(m.kept_bytes, 0);
    block_pool_close(&m);
}

static void only_so_much_is_kept(void **unused)
{
    (void)unused;
    struct block_pool m = { .kept_bytes_max = 2048 };
    void *a[3];
    for (unsigned i = 0; i < 3; i++)
        a[i] = block_pool_get(&m, 1024);
    for (unsigned i = 0; i < 3; i++)
        block_pool_put(&m, a[i]);
    assert_int_equal(m.kept_bytes, 2048);
    block_pool_close(&m);
    assert_int_equal(m.kept_bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_block_is_taken_again),
        cmocka_unit_test(every_size_fits_its_class),
        cmocka_unit_test(only_so_much_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

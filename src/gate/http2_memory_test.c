#define worker_on_end fake_worker_on_end
#include "gate/http2_memory.c"

#include "base/test.h"

#if WEIR_HAVE_NGHTTP2
void fake_worker_on_end(struct turn_hook *h)
{
    (void)h;
}

static void a_class_fits_and_wastes_little(void **unused)
{
    (void)unused;
    for (size_t bytes = 17; bytes <= 32768; bytes++) {
        const unsigned class = class_of(bytes);
        assert_true(class < CLASSES);
        assert_true(bytes_of(class) >= bytes && bytes_of(class) % 16 == 0);
        assert_true(class == 0 || bytes_of(class - 1) < bytes);
        assert_true(bytes_of(class) <= bytes + bytes / 4 + 16);
    }
}

static void blocks_do_not_overlap_and_come_again(void **unused)
{
    (void)unused;
    nghttp2_mem *m = http2_memory();
    static char *blocks[3000];
    for (size_t i = 0; i < 3000; i++) {
        const size_t size = 1 + i * 13 % 40000;
        blocks[i] = m->malloc(size, NULL);
        assert_int_equal((uintptr_t)blocks[i] % 16, 0);
        memset(blocks[i], (int)(i & 0xff), size);
    }
    for (size_t i = 0; i < 3000; i++) {
        const size_t size = 1 + i * 13 % 40000;
        for (size_t k = 0; k < size; k++)
            assert_int_equal((unsigned char)blocks[i][k], i & 0xff);
        m->free(blocks[i], NULL);
    }
    char *again = m->malloc(100, NULL);
    assert_ptr_equal(m->realloc(again, 90, NULL), again);
    again = m->realloc(again, 5000, NULL);
    char *zeroed = m->calloc(100, 100, NULL);
    for (size_t k = 0; k < 10000; k++)
        assert_int_equal(zeroed[k], 0);
    assert_null(m->calloc(SIZE_MAX / 2, 3, NULL));
    m->free(again, NULL);
    m->free(zeroed, NULL);
    m->free(NULL, NULL);
    end_memory(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_class_fits_and_wastes_little),
        cmocka_unit_test(blocks_do_not_overlap_and_come_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
#else
int main(void)
{
    return 0;
}
#endif

#include "base/pool.h"

#include "base/test.h"

static void objects_are_apart_and_aligned(void **state)
{
    (void)state;
    static char *objects[3000];
    struct pool p;
    pool_init(&p, 40);
    for (unsigned i = 0; i < 3000; i++) {
        objects[i] = pool_take(&p);
        assert_int_equal((uintptr_t)objects[i] % 16, 0);
        memset(objects[i], (int)(i & 0xff), 40);
    }
    assert_int_equal(p.taken, 3000);
    for (unsigned i = 0; i < 3000; i++) {
        assert_int_equal((unsigned char)objects[i][0], i & 0xff);
        assert_int_equal((unsigned char)objects[i][39], i & 0xff);
        pool_give(&p, objects[i]);
    }
    assert_int_equal(p.taken, 0);
    pool_close(&p);
}

static void the_last_given_is_taken_first(void **state)
{
    (void)state;
    struct pool p;
    pool_init(&p, 1);
    void *a = pool_take(&p);
    void *b = pool_take(&p);
    pool_give(&p, a);
    pool_give(&p, b);
    assert_ptr_equal(pool_take(&p), b);
    assert_ptr_equal(pool_take(&p), a);
    pool_close(&p);
}

static void coming_and_going_takes_one_slab(void **state)
{
    (void)state;
    struct pool p;
    pool_init(&p, 8192);
    void *first = pool_take(&p);
    struct pool_slab *slab = p.slabs;
    pool_give(&p, first);
    for (int i = 0; i < 1000; i++)
        pool_give(&p, pool_take(&p));
    assert_ptr_equal(p.slabs, slab);
    pool_close(&p);
}

static void a_closed_one_may_be_used_again(void **state)
{
    (void)state;
    struct pool p;
    pool_init(&p, 64);
    assert_non_null(pool_take(&p));
    pool_close(&p);
    assert_int_equal(p.taken, 0);
    void *object = pool_take(&p);
    pool_give(&p, object);
    assert_int_equal(p.taken, 0);
    pool_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(objects_are_apart_and_aligned),
        cmocka_unit_test(the_last_given_is_taken_first),
        cmocka_unit_test(coming_and_going_takes_one_slab),
        cmocka_unit_test(a_closed_one_may_be_used_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <stdatomic.h>

#include "base/mem.h"
#include "base/test.h"
#include "gate/filter.h"
#include "gate/service.h"

static void same_name_same_memory(void **state)
{
    (void)state;
    uint64_t *a = shared_get(BYTES("limit /api"), 64);
    uint64_t *b = shared_get(BYTES("limit /api"), 64);
    uint64_t *other = shared_get(BYTES("limit /api/"), 64);
    assert_non_null(a);
    assert_ptr_equal(a, b);
    assert_ptr_not_equal(a, other);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(a[i], 0);
    a[7] = 42;
    shared_put(a);
    assert_int_equal(b[7], 42); /* one hold is left */
    assert_ptr_equal(shared_get(BYTES("limit /api"), 64), b);
    shared_put(b);
    shared_put(b);
    a = shared_get(BYTES("limit /api"), 64);
    assert_int_equal(a[7], 0); /* made anew */
    shared_put(a);
    shared_put(other);
    shared_put(NULL);
}

static void another_size_is_refused(void **state)
{
    (void)state;
    void *a = shared_get(BYTES("table"), 4096);
    assert_null(shared_get(BYTES("table"), 8192));
    assert_ptr_equal(shared_get(BYTES("table"), 4096), a); /* the refusal took no hold, nor gave one */
    shared_put(a);
    shared_put(a);
    void *b = shared_get(BYTES("table"), 8192);
    assert_non_null(b);
    shared_put(b);
}

static void names_may_hold_anything(void **state)
{
    (void)state;
    void *a = shared_get(((struct bytes){ "a\0b", 3 }), 8);
    void *b = shared_get(((struct bytes){ "a\0c", 3 }), 8);
    assert_ptr_not_equal(a, b);
    shared_put(a);
    shared_put(b);
}

static void memory_fails(void **state)
{
    (void)state;
    void *a = NULL;
    uint64_t n = 1;
    for (; !a; n++) {
        mem_fail_at(n);
        a = shared_get(BYTES("fails"), 128);
        mem_fail_at(0);
    }
    assert_true(n > 3);
    void *b = shared_get(BYTES("fails"), 128); /* what failed has left nothing behind under that name */
    assert_ptr_equal(a, b);
    shared_put(a);
    shared_put(b);
}

static void servers(void **state)
{
    (void)state;
    struct addr one;
    struct addr two;
    assert_int_equal(addr_parse(BYTES("10.0.0.1:80"), &one), OK);
    assert_int_equal(addr_parse(BYTES("[::1]:80"), &two), OK);
    struct server_shared *a = server_shared_get(BYTES("shop"), &one);
    struct server_shared *b = server_shared_get(BYTES("shop"), &two);
    struct server_shared *c = server_shared_get(BYTES("pay"), &one);
    assert_true(a != b && a != c && b != c);
    assert_string_equal(a->text, "10.0.0.1:80");
    assert_string_equal(b->text, "[::1]:80");
    atomic_store(&a->down, 1);
    server_shared_hold(a);
    server_shared_drop(a);
    struct server_shared *again = server_shared_get(BYTES("shop"), &one); /* over a reload */
    assert_ptr_equal(again, a);
    assert_int_equal(atomic_load(&again->down), 1);
    server_shared_drop(a);
    server_shared_drop(again);
    server_shared_drop(b);
    server_shared_drop(c);
    a = server_shared_get(BYTES("shop"), &one);
    assert_int_equal(atomic_load(&a->down), 0); /* nobody held it any more: forgotten */
    server_shared_drop(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_name_same_memory),
        cmocka_unit_test(another_size_is_refused),
        cmocka_unit_test(names_may_hold_anything),
        cmocka_unit_test(memory_fails),
        cmocka_unit_test(servers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

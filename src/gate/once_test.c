#include "gate/once.h"

#include <stdint.h>

#include "base/mem.h"
#include "base/test.h"

static unsigned made, freed;

static err make(const void *conf, void **ret_made, struct diag *reterr)
{
    if (*(const int *)conf < 0) {
        diag_set(reterr, "negative");
        return ERR_CONF;
    }
    int *copy = mem_get(sizeof *copy);
    if (!copy)
        return ERR_MEMORY;
    *copy = *(const int *)conf;
    made++;
    *ret_made = copy;
    return OK;
}

static void unmake(void *thing)
{
    freed++;
    mem_free(thing);
}

static const struct once_kind kind = { make, unmake }, other = { make, unmake };

static void it_is_made_once_and_freed_with_the_last(void **state)
{
    (void)state;
    const int a = 1, b = 2;
    void *first, *second, *third, *fourth;
    struct diag d = DIAG_NONE;
    made = freed = 0;
    assert_int_equal(once_get(&kind, &a, &first, &d), OK);
    assert_int_equal(once_get(&kind, &a, &second, &d), OK);
    assert_ptr_equal(first, second);
    assert_int_equal(made, 1);
    assert_int_equal(once_get(&kind, &b, &third, &d), OK);
    assert_int_equal(once_get(&other, &a, &fourth, &d), OK);
    assert_int_equal(made, 3);
    assert_int_equal(*(int *)third, 2);
    once_put(first);
    assert_int_equal(freed, 0);
    once_put(second);
    assert_int_equal(freed, 1);
    assert_int_equal(once_get(&kind, &a, &first, &d), OK);
    assert_int_equal(made, 4);
    once_put(fourth);
    once_put(third);
    once_put(first);
    once_put(NULL);
    assert_int_equal(freed, 4);
}

static void what_cannot_be_made_is_not_kept(void **state)
{
    (void)state;
    const int bad = -1, good = 1;
    void *thing;
    struct diag d = DIAG_NONE;
    made = freed = 0;
    assert_int_equal(once_get(&kind, &bad, &thing, &d), ERR_CONF);
    assert_string_equal(d.text, "negative");
    assert_int_equal(once_get(&kind, &bad, &thing, &d), ERR_CONF);
    for (uint64_t n = 1; n <= 2; n++) {
        mem_fail_at(n);
        assert_int_equal(once_get(&kind, &good, &thing, &d), ERR_MEMORY);
        mem_fail_at(0);
    }
    assert_int_equal(made, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_made_once_and_freed_with_the_last),
        cmocka_unit_test(what_cannot_be_made_is_not_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

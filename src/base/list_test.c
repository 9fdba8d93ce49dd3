#include "base/list.h"

#include "base/test.h"

struct item {
    int number;
    struct link link;
};

static int number_of(struct link *l)
{
    return container_of(l, struct item, link)->number;
}

static void order_is(struct link *head, const char *digits)
{
    LIST_EACH (at, head) {
        assert_int_equal(number_of(at), *digits - '0');
        assert_ptr_equal(at->next->prev, at);
        assert_ptr_equal(at->prev->next, at);
        digits++;
    }
    assert_int_equal(*digits, 0);
}

static void pushes_at_both_ends(void **state)
{
    (void)state;
    struct link head;
    struct item items[4] = { { .number = 0 }, { .number = 1 }, { .number = 2 }, { .number = 3 } };
    list_init(&head);
    assert_true(list_empty(&head));
    order_is(&head, "");
    list_push_back(&head, &items[1].link);
    list_push_back(&head, &items[2].link);
    list_push_front(&head, &items[0].link);
    list_insert_after(&items[0].link, &items[3].link);
    assert_false(list_empty(&head));
    order_is(&head, "0312");
}

static void remove_unlinks_and_may_be_repeated(void **state)
{
    (void)state;
    struct link head;
    struct item items[3] = { { .number = 0 }, { .number = 1 }, { .number = 2 } };
    list_init(&head);
    for (int i = 0; i < 3; i++) {
        assert_false(list_linked(&items[i].link));
        list_push_back(&head, &items[i].link);
        assert_true(list_linked(&items[i].link));
    }
    list_remove(&items[1].link);
    order_is(&head, "02");
    assert_false(list_linked(&items[1].link));
    list_remove(&items[1].link);
    order_is(&head, "02");
    list_push_front(&head, &items[1].link);
    order_is(&head, "102");
}

static void pop_front_empties_it(void **state)
{
    (void)state;
    struct link head;
    struct item items[2] = { { .number = 0 }, { .number = 1 } };
    list_init(&head);
    list_push_back(&head, &items[0].link);
    list_push_back(&head, &items[1].link);
    assert_ptr_equal(list_pop_front(&head), &items[0].link);
    assert_ptr_equal(list_pop_front(&head), &items[1].link);
    assert_null(list_pop_front(&head));
    assert_true(list_empty(&head));
    assert_false(list_linked(&items[1].link));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pushes_at_both_ends),
        cmocka_unit_test(remove_unlinks_and_may_be_repeated),
        cmocka_unit_test(pop_front_empties_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

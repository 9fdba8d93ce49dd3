#include "ledger/stock_test.h"

#include <stdio.h>

static void put(struct little *l, const char *item, uint64_t total, uint32_t per_user, uint32_t per_order)
{
    assert_int_equal(set_item(l, &(struct stock_item_change){ .item = bytes_from(item),
                                                              .set = STOCK_SET_TOTAL | STOCK_SET_PRICE |
                                                                     STOCK_SET_PER_USER | STOCK_SET_PER_ORDER,
                                                              .total = total,
                                                              .price = 3900,
                                                              .per_user = per_user,
                                                              .per_order = per_order }),
                     STOCK_DONE);
}

static void check_item(struct little *l, const char *item, uint64_t total, uint64_t held, uint64_t sold)
{
    const struct stock_item i = item_now(l, item);
    assert_int_equal(i.total, total);
    assert_int_equal(i.held, held);
    assert_int_equal(i.sold, sold);
    all_is_well(l);
}

static void an_order_goes_from_held_to_delivered(void **unused)
{
    (void)unused;
    static struct little l;
    little_open(&l);
    put(&l, "radio", 10, 0, 0);
    assert_int_equal(reserve_one(&l, "a", "ann", "radio", 3), STOCK_DONE);
    const struct stock_answer a = little_answer(&l);
    assert_int_equal(a.state, STOCK_HELD);
    assert_int_equal(a.placed_ms, l.now_ms);
    assert_int_equal(a.due_ms, l.now_ms + 1000);
    assert_int_equal(a.amount, 3 * 3900);
    check_item(&l, "radio", 10, 3, 0);
    assert_int_equal(move_to(&l, "a", STOCK_MOVE_CONFIRM), STOCK_DONE);
    check_item(&l, "radio", 10, 0, 3);
    assert_int_equal(move_to(&l, "a", STOCK_MOVE_CONFIRM), STOCK_DONE_BEFORE);
    assert_int_equal(move_to(&l, "a", STOCK_MOVE_RELEASE), STOCK_WRONG_STATE);
    l.now_ms += 5000;
    assert_int_equal(move_to(&l, "a", STOCK_MOVE_DELIVER), STOCK_DONE);
    assert_int_equal(move_to(&l, "a", STOCK_MOVE_CONFIRM), STOCK_DONE_BEFORE);
    struct stock_order_shown o = order_now(&l, "a");
    assert_int_equal(o.state, STOCK_DELIVERED);
    assert_int_equal(o.since_ms, l.now_ms);
    assert_int_equal(o.since_ms - o.placed_ms, 5000);
    assert_bytes_equal(o.user, BYTES("ann"));
    assert_int_equal(o.count, 1);
    assert_bytes_equal(o.lines[0].item, BYTES("radio"));
    assert_int_equal(o.lines[0].quantity, 3);
    assert_int_equal(o.prices[0], 3900);
    assert_int_equal(move_to(&l, "a", STOCK_MOVE_RETURN), STOCK_DONE);
    check_item(&l, "radio", 10, 0, 0);
    const struct stock_sums s = sums_now(&l);
    assert_int_equal(s.sums[STOCK_SUM_RESERVED], 1);
    assert_int_equal(s.sums[STOCK_SUM_PAID], 1);
    assert_int_equal(s.sums[STOCK_SUM_PAID_AMOUNT], 3 * 3900);
    assert_int_equal(s.sums[STOCK_SUM_RETURNED_AMOUNT], 3 * 3900);
    assert_int_equal(s.sums[STOCK_SUM_DELIVERED], 0);
    assert_int_equal(move_to(&l, "none", STOCK_MOVE_CONFIRM), STOCK_UNKNOWN_ORDER);
    assert_int_equal(move_to(&l, "a", STOCK_MOVE_EXPIRE), STOCK_MALFORMED);
    little_close(&l);
}

static void what_is_not_paid_comes_back_by_itself(void **unused)
{
    (void)unused;
    static struct little l;
    little_open(&l);
    put(&l, "radio", 2, 2, 0);
    assert_int_equal(reserve_one(&l, "a", "ann", "radio", 2), STOCK_DONE);
    l.now_ms += 999;
    assert_int_equal(reserve_one(&l, "b", "bob", "radio", 1), STOCK_SOLD_OUT);
    assert_false(little_answer(&l).final);
    l.now_ms += 1;
    assert_int_equal(move_to(&l, "a", STOCK_MOVE_CONFIRM), STOCK_WRONG_STATE);
    assert_int_equal(little_answer(&l).state, STOCK_EXPIRED);
    check_item(&l, "radio", 2, 0, 0);
    /* what it refused binds nothing, what it granted does */
    assert_int_equal(reserve_one(&l, "b", "bob", "radio", 1), STOCK_DONE);
    assert_int_equal(reserve_one(&l, "a", "ann", "radio", 2), STOCK_DONE_BEFORE);
    assert_int_equal(little_answer(&l).state, STOCK_EXPIRED);
    /* and ann may buy again */
    assert_int_equal(reserve_one(&l, "c", "ann", "radio", 2), STOCK_SOLD_OUT);
    assert_int_equal(reserve_one(&l, "c", "ann", "radio", 1), STOCK_DONE);
    assert_int_equal(move_to(&l, "b", STOCK_MOVE_CONFIRM), STOCK_DONE);
    assert_int_equal(move_to(&l, "c", STOCK_MOVE_CONFIRM), STOCK_DONE);
    assert_int_equal(reserve_one(&l, "d", "dan", "radio", 1), STOCK_SOLD_OUT);
    assert_true(little_answer(&l).final);
    little_close(&l);
}

static void several_items_are_held_together_or_not_at_all(void **unused)
{
    (void)unused;
    static struct little l;
    little_open(&l);
    put(&l, "radio", 5, 0, 0);
    put(&l, "case", 1, 0, 0);
    const struct stock_line both[] = { { BYTES("radio"), 2 }, { BYTES("case"), 1 } };
    assert_int_equal(reserve_lines(&l, "a", "ann", 2, both), STOCK_DONE);
    assert_int_equal(reserve_lines(&l, "b", "bob", 2, both), STOCK_SOLD_OUT);
    assert_int_equal(little_answer(&l).line, 1);
    check_item(&l, "radio", 5, 2, 0);
    check_item(&l, "case", 1, 1, 0);
    assert_int_equal(move_to(&l, "a", STOCK_MOVE_RELEASE), STOCK_DONE);
    assert_int_equal(move_to(&l, "a", STOCK_MOVE_RELEASE), STOCK_DONE_BEFORE);
    check_item(&l, "radio", 5, 0, 0);
    check_item(&l, "case", 1, 0, 0);
    const struct stock_line twice[] = { { BYTES("radio"), 1 }, { BYTES("radio"), 1 } };
    assert_int_equal(reserve_lines(&l, "c", "ann", 2, twice), STOCK_MALFORMED);
    const struct stock_line unknown[] = { { BYTES("radio"), 1 }, { BYTES("lamp"), 1 } };
    assert_int_equal(reserve_lines(&l, "c", "ann", 2, unknown), STOCK_UNKNOWN_ITEM);
    little_close(&l);
}

static void limits_of_user_and_order(void **unused)
{
    (void)unused;
    static struct little l;
    little_open(&l);
    put(&l, "radio", 100, 3, 2);
    assert_int_equal(reserve_one(&l, "a", "ann", "radio", 3), STOCK_ITEM_LIMIT);
    assert_int_equal(reserve_one(&l, "a", "ann", "radio", 2), STOCK_DONE);
    assert_int_equal(reserve_one(&l, "b", "ann", "radio", 2), STOCK_USER_LIMIT);
    assert_int_equal(reserve_one(&l, "b", "ann", "radio", 1), STOCK_DONE);
    assert_int_equal(reserve_one(&l, "c", "bob", "radio", 2), STOCK_DONE);
    assert_int_equal(reserve_one(&l, "d", "", "radio", 1), STOCK_MALFORMED);
    assert_int_equal(move_to(&l, "a", STOCK_MOVE_CONFIRM), STOCK_DONE);
    /* bought counts as held does */
    assert_int_equal(reserve_one(&l, "d", "ann", "radio", 1), STOCK_USER_LIMIT);
    assert_int_equal(move_to(&l, "b", STOCK_MOVE_RELEASE), STOCK_DONE);
    assert_int_equal(reserve_one(&l, "d", "ann", "radio", 1), STOCK_DONE);
    assert_int_equal(move_to(&l, "a", STOCK_MOVE_RETURN), STOCK_DONE);
    assert_int_equal(reserve_one(&l, "e", "ann", "radio", 2), STOCK_DONE);
    /* an order that was made without the limit does not count when it is given up under it */
    put(&l, "lamp", 10, 0, 0);
    assert_int_equal(reserve_one(&l, "f", "ann", "lamp", 5), STOCK_DONE);
    put(&l, "lamp", 10, 1, 0);
    assert_int_equal(reserve_one(&l, "g", "ann", "lamp", 1), STOCK_DONE);
    assert_int_equal(move_to(&l, "f", STOCK_MOVE_RELEASE), STOCK_DONE);
    assert_int_equal(reserve_one(&l, "h", "ann", "lamp", 1), STOCK_USER_LIMIT);
    all_is_well(&l);
    little_close(&l);
}

static void the_same_id_has_the_same_answer_for_ever(void **unused)
{
    (void)unused;
    static struct little l;
    little_open(&l);
    put(&l, "radio", 10, 5, 0);
    assert_int_equal(reserve_one(&l, "a", "ann", "radio", 2), STOCK_DONE);
    const struct stock_answer first = little_answer(&l);
    l.now_ms += 10;
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(reserve_one(&l, "a", "ann", "radio", 2), STOCK_DONE_BEFORE);
        const struct stock_answer again = little_answer(&l);
        assert_int_equal(again.placed_ms, first.placed_ms);
        assert_int_equal(again.due_ms, first.due_ms);
        assert_int_equal(again.amount, first.amount);
        assert_int_equal(reserve_one(&l, "a", "ann", "radio", 3), STOCK_OTHER_ORDER);
        assert_int_equal(reserve_one(&l, "a", "bob", "radio", 2), STOCK_OTHER_ORDER);
        check_item(&l, "radio", 10, i ? 0 : 2, i ? 2 : 0);
        if (i == 0)
            assert_int_equal(move_to(&l, "a", STOCK_MOVE_CONFIRM), STOCK_DONE);
        little_checkpoint(&l); /* it leaves memory, and so does what ann has bought */
        if (i == 1)
            little_restart(&l);
    }
    assert_true(records_stats(l.records).loaded_back > 0);
    assert_int_equal(reserve_one(&l, "b", "ann", "radio", 4), STOCK_USER_LIMIT);
    assert_int_equal(reserve_one(&l, "b", "ann", "radio", 3), STOCK_DONE);
    little_close(&l);
}

static void a_sale_can_be_changed_while_it_runs(void **unused)
{
    (void)unused;
    static struct little l;
    little_open(&l);
    put(&l, "radio", 2, 0, 0);
    assert_int_equal(reserve_one(&l, "a", "ann", "radio", 2), STOCK_DONE);
    struct stock_item_change c = {
        .item = BYTES("radio"), .set = STOCK_SET_ADD | STOCK_SET_IF_TOTAL, .add = 5, .if_total = 2
    };
    assert_int_equal(set_item(&l, &c), STOCK_DONE);
    assert_int_equal(set_item(&l, &c), STOCK_OTHER_TOTAL); /* the same request once more */
    check_item(&l, "radio", 7, 2, 0);
    c = (struct stock_item_change){ .item = BYTES("radio"), .set = STOCK_SET_ADD, .add = -6 };
    assert_int_equal(set_item(&l, &c), STOCK_TOO_FEW);
    c.add = -5;
    assert_int_equal(set_item(&l, &c), STOCK_DONE);
    check_item(&l, "radio", 2, 2, 0);
    c = (struct stock_item_change){ .item = BYTES("radio"),
                                    .set = STOCK_SET_TOTAL | STOCK_SET_IF_NEW,
                                    .total = 9 };
    assert_int_equal(set_item(&l, &c), STOCK_DONE_BEFORE);
    c = (struct stock_item_change){ .item = BYTES("lamp"),
                                    .set = STOCK_SET_ADD | STOCK_SET_IF_KNOWN,
                                    .add = 1 };
    assert_int_equal(set_item(&l, &c), STOCK_UNKNOWN_ITEM);
    c = (struct stock_item_change){ .item = BYTES("radio"),
                                    .set = STOCK_SET_TOTAL,
                                    .total = STOCK_TOTAL_MAX };
    assert_int_equal(set_item(&l, &c), STOCK_DONE);
    c = (struct stock_item_change){ .item = BYTES("radio"), .set = STOCK_SET_ADD, .add = 1 };
    assert_int_equal(set_item(&l, &c), STOCK_MALFORMED);
    check_item(&l, "radio", STOCK_TOTAL_MAX, 2, 0);
    assert_int_equal(sums_now(&l).total, STOCK_TOTAL_MAX);
    little_close(&l);
}

static unsigned take(struct little *l, unsigned max, const char *ids)
{
    struct stock_op op;
    struct stock_order_shown o;
    stock_write_take(&op, max, 1000);
    assert_int_equal(ask_stock(l, &op), STOCK_DONE);
    struct bytes rest = little_rest(l);
    for (; stock_read_order(&rest, &o); ids++) {
        assert_int_equal(o.state, STOCK_PREPARING);
        assert_bytes_equal(o.id, ((struct bytes){ ids, 1 }));
    }
    assert_int_equal(*ids, 0);
    return little_answer(l).count;
}

static void paid_orders_are_taken_in_order_and_come_back_when_nobody_delivers(void **unused)
{
    (void)unused;
    static struct little l;
    struct stock_op op;
    little_open(&l);
    put(&l, "radio", 10, 0, 0);
    for (const char *const *id = (const char *const[]){ "a", "b", "c", "d", NULL }; *id; id++)
        assert_int_equal(reserve_one(&l, *id, "ann", "radio", 1), STOCK_DONE);
    assert_int_equal(take(&l, 5, ""), 0);
    for (const char *const *id = (const char *const[]){ "b", "a", "d", "c", NULL }; *id; id++)
        assert_int_equal(move_to(&l, *id, STOCK_MOVE_CONFIRM), STOCK_DONE);
    little_checkpoint(&l);
    little_restart(&l);
    stock_write_look_line(&op, 2);
    assert_int_equal(ask_stock(&l, &op), STOCK_DONE);
    assert_int_equal(little_answer(&l).count, 2);
    assert_int_equal(take(&l, 2, "ba"), 2);
    assert_int_equal(move_to(&l, "a", STOCK_MOVE_DELIVER), STOCK_DONE);
    assert_int_equal(move_to(&l, "d", STOCK_MOVE_DELIVER), STOCK_DONE); /* out of the middle */
    all_is_well(&l);
    l.now_ms += 1000;
    assert_int_equal(take(&l, 9, "cb"), 2);
    assert_int_equal(move_to(&l, "b", STOCK_MOVE_PUT_BACK), STOCK_DONE);
    assert_int_equal(take(&l, 9, "b"), 1);
    assert_int_equal(move_to(&l, "c", STOCK_MOVE_RETURN), STOCK_DONE);
    l.now_ms += 100000;
    assert_int_equal(take(&l, 9, "b"), 1);
    assert_int_equal(take(&l, 9, ""), 0);
    check_item(&l, "radio", 10, 0, 3);
    little_close(&l);
}

static void what_is_malformed_is_refused(void **unused)
{
    (void)unused;
    static struct little l;
    struct stock_op op;
    little_open(&l);
    put(&l, "radio", 10, 0, 0);
    char longer[STOCK_NAME_BYTES_MAX + 2];
    memset(longer, 'x', sizeof longer);
    longer[STOCK_NAME_BYTES_MAX + 1] = 0;
    assert_int_equal(reserve_one(&l, longer, "ann", "radio", 1), STOCK_MALFORMED);
    assert_int_equal(reserve_one(&l, "", "ann", "radio", 1), STOCK_MALFORMED);
    assert_int_equal(reserve_one(&l, "a\n", "ann", "radio", 1), STOCK_MALFORMED);
    assert_int_equal(reserve_one(&l, "a", longer, "radio", 1), STOCK_MALFORMED);
    assert_int_equal(reserve_one(&l, "a", "ann", "radio", 0), STOCK_MALFORMED);
    assert_int_equal(reserve_one(&l, "a", "ann", "radio", STOCK_QUANTITY_MAX + 1), STOCK_MALFORMED);
    longer[STOCK_NAME_BYTES_MAX] = 0;
    assert_int_equal(reserve_one(&l, longer, longer, "radio", 1), STOCK_DONE);
    /* cut anywhere, an operation is none; nothing is read beyond it */
    stock_write_reserve(&op, &(struct stock_reserve){ .order = BYTES("a"),
                                                      .user = BYTES("ann"),
                                                      .hold_ms = 1,
                                                      .count = 1,
                                                      .lines = { { BYTES("radio"), 1 } } });
    for (size_t len = 0; len < op.len; len++) {
        char *exact = mem_must_get(len + !len);
        memcpy(exact, op.at, len);
        assert_int_equal(little_apply(&l, (struct bytes){ exact, len }), ERR_SYNTAX);
        mem_free(exact);
    }
    assert_int_equal(little_apply(&l, BYTES("\xff")), ERR_SYNTAX);
    check_item(&l, "radio", 10, 1, 0);
    little_close(&l);
}

static void no_room_is_an_answer(void **unused)
{
    (void)unused;
    static struct little l;
    char id[20];
    unsigned held = 0;
    little_open(&l);
    records_close(l.records);
    assert_int_equal(records_open(2 << 20, &l.records), OK);
    put(&l, "radio", 1000000, 5, 0);
    for (;; held++) {
        snprintf(id, sizeof id, "%u", held);
        if (reserve_one(&l, id, id, "radio", 1) != STOCK_DONE)
            break;
    }
    assert_int_equal(little_answer(&l).result, STOCK_FULL);
    assert_true(held > 1000);
    check_item(&l, "radio", 1000000, held, 0);
    l.now_ms += 1000; /* and is there again */
    assert_int_equal(reserve_one(&l, "a", "ann", "radio", 1), STOCK_FULL);
    little_checkpoint(&l);
    assert_int_equal(reserve_one(&l, "a", "ann", "radio", 1), STOCK_DONE);
    check_item(&l, "radio", 1000000, 1, 0);
    little_close(&l);
}

static void all_items_can_be_listed(void **unused)
{
    (void)unused;
    static struct little l;
    struct stock_op op;
    struct stock_item_shown s;
    char name[20];
    little_open(&l);
    for (unsigned i = 0; i < 300; i++) {
        snprintf(name, sizeof name, "item %u", i);
        put(&l, name, i, 0, 0);
    }
    unsigned seen = 0;
    for (;;) {
        stock_write_look_items(&op, seen, 128);
        assert_int_equal(ask_stock(&l, &op), STOCK_DONE);
        if (!little_answer(&l).count)
            break;
        for (struct bytes rest = little_rest(&l); stock_read_item(&rest, &s); seen++)
            assert_int_equal(s.item.total, seen);
    }
    assert_int_equal(seen, 300);
    little_close(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_order_goes_from_held_to_delivered),
        cmocka_unit_test(what_is_not_paid_comes_back_by_itself),
        cmocka_unit_test(several_items_are_held_together_or_not_at_all),
        cmocka_unit_test(limits_of_user_and_order),
        cmocka_unit_test(the_same_id_has_the_same_answer_for_ever),
        cmocka_unit_test(a_sale_can_be_changed_while_it_runs),
        cmocka_unit_test(paid_orders_are_taken_in_order_and_come_back_when_nobody_delivers),
        cmocka_unit_test(what_is_malformed_is_refused),
        cmocka_unit_test(no_room_is_an_answer),
        cmocka_unit_test(all_items_can_be_listed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

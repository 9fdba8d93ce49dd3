/* Stock's rules beside a naive model that counts everything anew at each step, with checkpoints, orders that
 * leave memory, and crashes between any two steps. SEED=1 STEPS=1000000 in the environment: another, longer
 * run. */
#include <stdio.h>
#include <stdlib.h>

#include "ledger/stock_test.h"

#define STEPS 60000
#define LIFE_STEPS 800 /* until the ids are used up, about */
#define ORDERS 160
#define USERS 5
#define ITEMS 4
#define LINES 3
#define LOG_MAX 4000

struct model_item {
    bool exists;
    uint64_t total, price;
    uint32_t per_user, per_order;
};

struct model_order {
    bool exists;
    enum stock_state state;
    unsigned user, count;
    unsigned item[LINES];
    uint32_t quantity[LINES];
    bool counted[LINES];
    uint64_t amount, due_ms, put_back_ms;
    uint64_t place; /* of those paid: smaller came first */
};

static struct model_item items[ITEMS];
static struct model_order orders[ORDERS];
static uint64_t places, paid_amount, reserved, expired;

static const char *name_of_number(char out[12], char kind, unsigned number)
{
    snprintf(out, 12, "%c%u", kind, number);
    return out;
}

static bool is_sold(enum stock_state s)
{
    return s == STOCK_PAID || s == STOCK_PREPARING || s == STOCK_DELIVERED;
}

static uint64_t units(unsigned item, bool held, bool sold)
{
    uint64_t n = 0;
    for (const struct model_order *o = orders; o < orders + ORDERS; o++) {
        for (unsigned i = 0; o->exists && i < o->count; i++) {
            if (o->item[i] == item && ((held && o->state == STOCK_HELD) || (sold && is_sold(o->state))))
                n += o->quantity[i];
        }
    }
    return n;
}

static uint64_t of_user(unsigned item, unsigned user)
{
    uint64_t n = 0;
    for (const struct model_order *o = orders; o < orders + ORDERS; o++) {
        for (unsigned i = 0; o->exists && o->user == user && i < o->count; i++) {
            if (o->item[i] == item && o->counted[i] && (o->state == STOCK_HELD || is_sold(o->state)))
                n += o->quantity[i];
        }
    }
    return n;
}

/* Of two that are due at the same time the one whose id comes first. */
static struct model_order *first_due(uint64_t now_ms)
{
    char a[12], b[12];
    struct model_order *first = NULL;
    for (struct model_order *o = orders; o < orders + ORDERS; o++) {
        const uint64_t due = !o->exists ? 0 : o->state == STOCK_HELD ? o->due_ms : o->put_back_ms;
        if (!due || due > now_ms || (o->state != STOCK_HELD && o->state != STOCK_PREPARING))
            continue;
        const uint64_t best = !first ? 0 : first->state == STOCK_HELD ? first->due_ms : first->put_back_ms;
        if (!first || due < best ||
            (due == best && strcmp(name_of_number(a, 'o', (unsigned)(o - orders)),
                                   name_of_number(b, 'o', (unsigned)(first - orders))) < 0))
            first = o;
    }
    return first;
}

static void model_due(uint64_t now_ms)
{
    for (struct model_order *o; (o = first_due(now_ms));) {
        expired += o->state == STOCK_HELD;
        o->put_back_ms = 0;
        if (o->state == STOCK_PREPARING)
            o->place = ++places;
        o->state = o->state == STOCK_HELD ? STOCK_EXPIRED : STOCK_PAID;
    }
}

static enum stock_result model_reserve(struct model_order *o, const struct model_order *wanted)
{
    if (o->exists) {
        bool same = o->user == wanted->user && o->count == wanted->count;
        for (unsigned i = 0; same && i < o->count; i++)
            same = o->item[i] == wanted->item[i] && o->quantity[i] == wanted->quantity[i];
        return same ? STOCK_DONE_BEFORE : STOCK_OTHER_ORDER;
    }
    for (unsigned i = 0; i < wanted->count; i++) {
        const struct model_item *item = &items[wanted->item[i]];
        const uint32_t q = wanted->quantity[i];
        if (!item->exists)
            return STOCK_UNKNOWN_ITEM;
        if (item->per_order && q > item->per_order)
            return STOCK_ITEM_LIMIT;
        if (item->per_user && of_user(wanted->item[i], wanted->user) + q > item->per_user)
            return STOCK_USER_LIMIT;
        if (units(wanted->item[i], true, true) + q > item->total)
            return STOCK_SOLD_OUT;
    }
    *o = *wanted;
    o->exists = true;
    o->state = STOCK_HELD;
    for (unsigned i = 0; i < o->count; i++) {
        o->counted[i] = items[o->item[i]].per_user != 0;
        o->amount += items[o->item[i]].price * o->quantity[i];
    }
    reserved++;
    return STOCK_DONE;
}

static enum stock_result model_move(struct model_order *o, enum stock_move move)
{
    const enum stock_state s = o->state;
    const bool sold = is_sold(s);
    if (!o->exists)
        return STOCK_UNKNOWN_ORDER;
    switch (move) {
    case STOCK_MOVE_CONFIRM:
        if (sold)
            return STOCK_DONE_BEFORE;
        if (s != STOCK_HELD)
            return STOCK_WRONG_STATE;
        o->state = STOCK_PAID;
        o->place = ++places;
        paid_amount += o->amount;
        return STOCK_DONE;
    case STOCK_MOVE_RELEASE:
        o->state = s == STOCK_HELD ? STOCK_RELEASED : s;
        return s == STOCK_RELEASED ? STOCK_DONE_BEFORE : s == STOCK_HELD ? STOCK_DONE : STOCK_WRONG_STATE;
    case STOCK_MOVE_DELIVER:
        if (s == STOCK_DELIVERED)
            return STOCK_DONE_BEFORE;
        o->state = sold ? STOCK_DELIVERED : s;
        return sold ? STOCK_DONE : STOCK_WRONG_STATE;
    case STOCK_MOVE_RETURN:
        o->state = sold ? STOCK_RETURNED : s;
        return s == STOCK_RETURNED ? STOCK_DONE_BEFORE : sold ? STOCK_DONE : STOCK_WRONG_STATE;
    case STOCK_MOVE_PUT_BACK:
        if (s == STOCK_PAID)
            return STOCK_DONE_BEFORE;
        if (s != STOCK_PREPARING)
            return STOCK_WRONG_STATE;
        o->state = STOCK_PAID;
        o->place = ++places;
        return STOCK_DONE;
    default:
        return STOCK_MALFORMED;
    }
}

static struct model_order *first_paid(void)
{
    struct model_order *first = NULL;
    for (struct model_order *o = orders; o < orders + ORDERS; o++) {
        if (o->exists && o->state == STOCK_PAID && (!first || o->place < first->place))
            first = o;
    }
    return first;
}

/* ---- the log, for what comes after a checkpoint ---- */

static struct {
    uint64_t now_ms;
    struct stock_op op;
} log_[LOG_MAX];
static unsigned log_count;
static unsigned seen[STOCK_RESULTS];

static enum stock_result logged(struct little *l, const struct stock_op *op)
{
    log_[log_count].now_ms = l->now_ms;
    log_[log_count++].op = *op;
    model_due(l->now_ms);
    const enum stock_result result = ask_stock(l, op);
    seen[result]++;
    return result;
}

static void crash(struct little *l)
{
    const uint64_t now_ms = l->now_ms;
    little_restart(l);
    for (unsigned i = 0; i < log_count; i++) {
        l->now_ms = log_[i].now_ms;
        ask_stock(l, &log_[i].op);
    }
    l->now_ms = now_ms;
}

/* ---- a step ---- */

static void step_reserve(struct little *l)
{
    char id[12], user[12], names[LINES][12];
    struct stock_op op;
    struct model_order wanted = { .user = random_below(USERS), .count = 1 + random_below(LINES) };
    const unsigned number = random_below(ORDERS);
    if (orders[number].exists && random_below(2)) {
        wanted = orders[number]; /* the same once more */
        wanted.amount = 0;
    }
    struct stock_reserve r = { .order = bytes_from(name_of_number(id, 'o', number)),
                               .user = bytes_from(name_of_number(user, 'u', wanted.user)),
                               .hold_ms = 1 + random_below(300),
                               .count = wanted.count };
    for (unsigned i = 0; i < wanted.count; i++) {
        if (!orders[number].exists || !wanted.exists) {
            wanted.item[i] = (wanted.item[0] + (i ? i : random_below(ITEMS))) % ITEMS;
            wanted.quantity[i] = 1 + random_below(4);
        }
        r.lines[i] = (struct stock_line){ bytes_from(name_of_number(names[i], 'i', wanted.item[i])),
                                          wanted.quantity[i] };
    }
    wanted.due_ms = l->now_ms + r.hold_ms;
    stock_write_reserve(&op, &r);
    const enum stock_result result = logged(l, &op);
    assert_int_equal(result, model_reserve(&orders[number], &wanted));
    const struct stock_answer a = little_answer(l);
    if (result == STOCK_DONE || result == STOCK_DONE_BEFORE) {
        assert_int_equal(a.state, orders[number].state);
        assert_int_equal(a.due_ms, orders[number].due_ms);
        assert_int_equal(a.amount, orders[number].amount);
    }
}

static void step_move(struct little *l)
{
    static const enum stock_move choice[] = { STOCK_MOVE_CONFIRM, STOCK_MOVE_CONFIRM, STOCK_MOVE_RELEASE,
                                              STOCK_MOVE_DELIVER, STOCK_MOVE_RETURN,  STOCK_MOVE_PUT_BACK };
    char id[12];
    struct stock_op op;
    const unsigned number = random_below(ORDERS);
    const enum stock_move move = choice[random_below(6)];
    stock_write_move(&op, bytes_from(name_of_number(id, 'o', number)), move);
    const enum stock_result result = logged(l, &op);
    assert_int_equal(result, model_move(&orders[number], move));
}

static void step_take(struct little *l)
{
    char id[12];
    struct stock_op op;
    struct stock_order_shown o;
    const uint32_t max = 1 + random_below(3);
    const uint64_t hold_ms = 1 + random_below(200);
    stock_write_take(&op, max, hold_ms);
    assert_int_equal(logged(l, &op), STOCK_DONE);
    struct bytes rest = little_rest(l);
    uint32_t count = 0;
    for (; stock_read_order(&rest, &o); count++) {
        struct model_order *first = first_paid();
        assert_non_null(first);
        assert_bytes_equal(o.id, bytes_from(name_of_number(id, 'o', (unsigned)(first - orders))));
        first->state = STOCK_PREPARING;
        first->put_back_ms = l->now_ms + hold_ms;
    }
    assert_true(count == max || !first_paid());
}

static void step_item(struct little *l)
{
    char name[12];
    struct stock_op op;
    const unsigned number = random_below(ITEMS);
    struct model_item *item = &items[number];
    const struct stock_item_change c = { .item = bytes_from(name_of_number(name, 'i', number)),
                                         .set = STOCK_SET_TOTAL | STOCK_SET_PRICE | STOCK_SET_PER_USER |
                                                STOCK_SET_PER_ORDER,
                                         .total = random_below(120),
                                         .price = random_below(1000),
                                         .per_user = random_below(2) ? 3 + random_below(8) : 0,
                                         .per_order = random_below(3) ? 0 : 1 + random_below(4) };
    stock_write_item(&op, &c);
    const enum stock_result result = logged(l, &op);
    const bool fits = units(number, true, true) <= c.total;
    assert_int_equal(result, fits ? STOCK_DONE : STOCK_TOO_FEW);
    if (fits)
        *item = (struct model_item){ true, c.total, c.price, c.per_user, c.per_order };
}

static void compare(struct little *l)
{
    char name[12];
    model_due(l->now_ms);
    const struct stock_sums s = sums_now(l);
    assert_int_equal(s.sums[STOCK_SUM_RESERVED], reserved);
    assert_int_equal(s.sums[STOCK_SUM_EXPIRED], expired);
    assert_int_equal(s.sums[STOCK_SUM_PAID_AMOUNT], paid_amount);
    for (unsigned i = 0; i < ITEMS; i++) {
        if (!items[i].exists)
            continue;
        const struct stock_item item = item_now(l, name_of_number(name, 'i', i));
        assert_int_equal(item.total, items[i].total);
        assert_int_equal(item.held, units(i, true, false));
        assert_int_equal(item.sold, units(i, false, true));
    }
    for (unsigned i = 0; i < ORDERS; i++) {
        if (orders[i].exists)
            assert_int_equal(order_now(l, name_of_number(name, 'o', i)).state, orders[i].state);
    }
    all_is_well(l);
}

/* Ids are used again after a while: the ledger starts anew. */
static void one_life(struct little *l, uint64_t steps)
{
    memset(items, 0, sizeof items);
    memset(orders, 0, sizeof orders);
    places = paid_amount = reserved = expired = 0;
    log_count = 0;
    little_open(l);
    for (unsigned i = 0; i < 3; i++)
        step_item(l);
    for (uint64_t step = 0; step < steps; step++) {
        const uint32_t what = random_below(100);
        l->now_ms += random_below(20);
        if (what < 45)
            step_reserve(l);
        else if (what < 80)
            step_move(l);
        else if (what < 90)
            step_take(l);
        else if (what < 95)
            step_item(l);
        else if (what < 97)
            crash(l);
        else if (what < 98)
            compare(l);
        if (log_count > LOG_MAX - 8 || random_below(40) == 0) {
            little_checkpoint(l);
            log_count = 0;
        }
    }
    compare(l);
    assert_true(records_stats(l->records).loaded_back > 0);
    little_close(l);
}

static void follows_the_naive_model(void **unused)
{
    (void)unused;
    static struct little l;
    const uint64_t seed = test_setting("SEED", 20261130), steps = test_setting("STEPS", STEPS);
    print_message("SEED=%llu STEPS=%llu\n", (unsigned long long)seed, (unsigned long long)steps);
    random_seed(seed);
    for (uint64_t done = 0; done < steps; done += LIFE_STEPS)
        one_life(&l, LIFE_STEPS);
    for (enum stock_result r = STOCK_DONE; r <= STOCK_OTHER_ORDER; r++)
        assert_true(seen[r] > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(follows_the_naive_model) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

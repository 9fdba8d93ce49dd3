#include "ledger/stock.h"

#include "ledger/stock_records.h"

#define STOCK_RULES_VERSION 1

static const struct {
    unsigned from;
    enum stock_state to;
    int held, sold;
} moves[] = {
#define X(id, word, from, to, held, sold) { from, STOCK_##to, held, sold },
    STOCK_MOVE_LIST(X)
#undef X
};

/* To be changed. NULL: there is no room for them, who would be new. */
static struct stock_sums *sums_write(struct ledger_apply *a)
{
    struct record *r = find(a, BYTES("s"));
    if (r)
        record_write(a->records, r);
    else
        r = make(a, BYTES("s"), sizeof(struct stock_sums));
    return r ? record_value(r) : NULL;
}

/* ---- items ---- */

/* An invariant that is checked at every move. */
static void item_move(struct stock_item *i, struct stock_sums *all, int64_t held, int64_t sold)
{
    i->held += (uint64_t)held;
    i->sold += (uint64_t)sold;
    all->held += (uint64_t)held;
    all->sold += (uint64_t)sold;
    must(i->held <= i->total && i->sold <= i->total && i->held + i->sold <= i->total);
    must(all->held <= all->total && all->sold <= all->total);
}

static struct record *item_make(struct ledger_apply *a, struct stock_sums *all, struct bytes name)
{
    struct stock_key k;
    if (all->items == STOCK_ITEMS_MAX)
        return NULL;
    struct record *number = make(a, key_of_number(&k, 'n', all->items), 1 + name.len);
    struct record *item = make(a, key_of_name(&k, 'i', name), sizeof(struct stock_item));
    if (!number || !item)
        return NULL;
    struct pack p = { .at = record_value(number), .end = (char *)record_value(number) + 1 + name.len };
    pack_text(&p, name);
    ((struct stock_item *)record_value(item))->number = (uint32_t)all->items++;
    return item;
}

static enum stock_result item_total(const struct stock_item *i, const struct stock_item_change *c,
                                    uint64_t *ret_total)
{
    if (c->set & STOCK_SET_IF_TOTAL && i->total != c->if_total)
        return STOCK_OTHER_TOTAL;
    const int64_t total =
        (int64_t)(c->set & STOCK_SET_TOTAL ? c->total : i->total) + (c->set & STOCK_SET_ADD ? c->add : 0);
    if (total < (int64_t)(i->held + i->sold))
        return STOCK_TOO_FEW;
    *ret_total = (uint64_t)total;
    return (uint64_t)total > STOCK_TOTAL_MAX ? STOCK_MALFORMED : STOCK_DONE;
}

static err change_item(struct ledger_apply *a, struct unpack *u)
{
    struct stock_item_change c;
    stock_unpack_item(u, &c);
    if (u->bad)
        return answer(a, STOCK_MALFORMED, 0);
    struct stock_sums *all = sums_write(a);
    struct record *r = find_named(a, 'i', c.item);
    if (!r && c.set & STOCK_SET_IF_KNOWN)
        return answer(a, STOCK_UNKNOWN_ITEM, 0);
    if (r && c.set & STOCK_SET_IF_NEW)
        return answer(a, STOCK_DONE_BEFORE, 0);
    if (!r && all)
        r = item_make(a, all, c.item);
    if (!r || !all)
        return answer(a, STOCK_FULL, 0);
    struct stock_item *i = record_value(r);
    uint64_t total;
    const enum stock_result result = item_total(i, &c, &total);
    if (result != STOCK_DONE)
        return answer(a, result, 0);
    record_write(a->records, r);
    all->total += total - i->total;
    i->total = total;
    if (c.set & STOCK_SET_PRICE)
        i->price = c.price;
    if (c.set & STOCK_SET_PER_USER)
        i->per_user = c.per_user;
    if (c.set & STOCK_SET_PER_ORDER)
        i->per_order = c.per_order;
    return answer(a, STOCK_DONE, 0);
}

/* ---- users ---- */

/* What `fetch` says of a reserve: its order, and its user of the first line. */
enum reserve_ahead { AHEAD_ORDER, AHEAD_USER, AHEAD_COUNT };
#define AHEAD_NONE LEDGER_AHEAD_MAX

/* NULL: has none. */
static struct record *user_find(struct ledger_apply *a, struct bytes item, struct bytes user, unsigned ahead)
{
    struct stock_key k;
    const struct bytes key = key_of_user(&k, item, user);
    return record_find_hashed(a->records, STOCK_RULES_ID, key, hash_of(a, ahead, key));
}

static uint64_t user_has(const struct record *r)
{
    return r ? *(const uint64_t *)record_value(r) : 0;
}

/* The first of a user. NULL: there is no room. */
static struct record *user_make(struct ledger_apply *a, struct bytes item, struct bytes user, unsigned ahead)
{
    struct stock_key k;
    const struct bytes key = key_of_user(&k, item, user);
    return record_make_hashed(a->records, STOCK_RULES_ID, key, hash_of(a, ahead, key), sizeof(uint64_t));
}

/* quantity more or less. */
static void user_count(struct ledger_apply *a, struct record *r, int64_t quantity)
{
    record_write(a->records, r);
    uint64_t *count = record_value(r);
    *count += (uint64_t)quantity;
    must((int64_t)*count >= 0);
    if (*count)
        record_set_finished(a->records, r, true);
    else
        record_remove(a->records, r);
}

/* ---- orders ---- */

static struct unpack lines_of(const struct record *order)
{
    const char *value = record_value(order);
    return (struct unpack){ .at = value + sizeof(struct stock_order_value),
                            .end = value + order->value_bytes };
}

static bool is_same(const struct record *order, const struct stock_reserve *r)
{
    const struct stock_order_value *o = record_value(order);
    struct unpack u = lines_of(order);
    bool same = o->count == r->count;
    for (unsigned i = 0; same && i < r->count; i++) {
        const struct stock_order_line l = stock_unpack_line(&u);
        same = l.quantity == r->lines[i].quantity && bytes_eq(l.item, r->lines[i].item);
    }
    return same && bytes_eq((struct bytes){ u.at, o->user_len }, r->user);
}

/* What a line of an order stands on. */
struct shelf {
    struct record *item;
    struct record *user; /* NULL: has none of it yet, or that does not count */
};

/* What an order wants may be had? Finds its shelves. */
static enum stock_result may_reserve(struct ledger_apply *a, const struct stock_reserve *r,
                                     struct shelf shelves[STOCK_LINES_MAX], unsigned *ret_line)
{
    for (unsigned n = 0; n < r->count; n++) {
        const struct stock_line *l = &r->lines[n];
        *ret_line = n;
        shelves[n] = (struct shelf){ .item = find_named(a, 'i', l->item) };
        if (!shelves[n].item)
            return STOCK_UNKNOWN_ITEM;
        const struct stock_item *i = record_value(shelves[n].item);
        if (i->per_order && l->quantity > i->per_order)
            return STOCK_ITEM_LIMIT;
        if (i->per_user && !r->user.len)
            return STOCK_MALFORMED;
        if (i->per_user)
            shelves[n].user = user_find(a, l->item, r->user, n ? AHEAD_NONE : AHEAD_USER);
        if (i->per_user && user_has(shelves[n].user) + l->quantity > i->per_user)
            return STOCK_USER_LIMIT;
        if (stock_free(i) < l->quantity)
            return STOCK_SOLD_OUT;
    }
    return STOCK_DONE;
}

static err refuse(struct ledger_apply *a, enum stock_result result, unsigned line, const struct record *item)
{
    const struct stock_answer s = { .result = (uint8_t)result,
                                    .line = (uint8_t)line,
                                    .final =
                                        item && ((const struct stock_item *)record_value(item))->held == 0 };
    ledger_answer(a, &s, sizeof s);
    return result_errs[result];
}

/* The order with its lines, and what they take from the items. NULL: there is no room. */
static struct record *order_make(struct ledger_apply *a, const struct stock_reserve *r,
                                 struct stock_sums *all, const struct shelf shelves[STOCK_LINES_MAX])
{
    struct stock_key k;
    const struct bytes key = key_of_name(&k, 'o', r->order);
    size_t bytes = sizeof(struct stock_order_value) + r->user.len;
    for (unsigned i = 0; i < r->count; i++)
        bytes += 8 + 4 + 1 + r->lines[i].item.len;
    struct record *order =
        record_make_hashed(a->records, STOCK_RULES_ID, key, hash_of(a, AHEAD_ORDER, key), (uint32_t)bytes);
    if (!order)
        return NULL;
    struct stock_order_value *o = record_value(order);
    struct pack p = { .at = (char *)(o + 1), .end = (char *)o + bytes };
    for (unsigned n = 0; n < r->count; n++) {
        const struct stock_line *l = &r->lines[n];
        struct stock_item *i = record_value(shelves[n].item);
        record_write(a->records, shelves[n].item);
        item_move(i, all, l->quantity, 0);
        i->sums[STOCK_SUM_RESERVED]++;
        o->amount += i->price * l->quantity;
        if (i->per_user) {
            struct record *user = shelves[n].user;
            o->counted |= 1u << n;
            if (!user)
                user = user_make(a, l->item, r->user, n ? AHEAD_NONE : AHEAD_USER);
            if (!user)
                return NULL;
            user_count(a, user, l->quantity);
        }
        stock_pack_line(&p, i->price, l->quantity, l->item);
    }
    pack_raw(&p, r->user);
    o->state = STOCK_HELD;
    o->count = (uint8_t)r->count;
    o->user_len = (uint8_t)r->user.len;
    o->placed_ms = o->since_ms = a->now_ms;
    o->due_ms = a->now_ms + r->hold_ms;
    return order;
}

static err reserve(struct ledger_apply *a, struct unpack *u)
{
    struct stock_reserve r;
    struct shelf shelves[STOCK_LINES_MAX];
    struct stock_key k;
    unsigned line = 0;
    stock_unpack_reserve(u, &r);
    if (u->bad)
        return answer(a, STOCK_MALFORMED, 0);
    const struct bytes key = key_of_name(&k, 'o', r.order);
    struct record *order = record_find_hashed(a->records, STOCK_RULES_ID, key, hash_of(a, AHEAD_ORDER, key));
    if (order)
        return answer_order(a, is_same(order, &r) ? STOCK_DONE_BEFORE : STOCK_OTHER_ORDER,
                            record_value(order));
    const enum stock_result result = may_reserve(a, &r, shelves, &line);
    if (result != STOCK_DONE)
        return refuse(a, result, line, shelves[line].item);
    struct stock_sums *all = sums_write(a);
    order = all ? order_make(a, &r, all, shelves) : NULL;
    if (!order)
        return answer(a, STOCK_FULL, 0);
    all->sums[STOCK_SUM_RESERVED]++;
    const struct stock_order_value *o = record_value(order);
    record_set_due(a->records, order, o->due_ms);
    return answer_order(a, STOCK_DONE, o);
}

/* ---- the line of paid orders ---- */

static bool line_add(struct ledger_apply *a, struct stock_sums *all, struct record *order)
{
    struct stock_key k;
    const struct bytes id = name_of(order);
    struct record *r = make(a, key_of_number(&k, 't', all->line_next), 1 + id.len);
    if (!r)
        return false;
    struct pack p = { .at = record_value(r), .end = (char *)record_value(r) + 1 + id.len };
    pack_text(&p, id);
    record_set_finished(a->records, r, true);
    ((struct stock_order_value *)record_value(order))->place = ++all->line_next;
    return true;
}

static void line_remove(struct ledger_apply *a, struct stock_sums *all, struct stock_order_value *o)
{
    struct record *r = line_at(a, o->place - 1);
    must(r);
    record_remove(a->records, r);
    o->place = 0;
    /* so that a take does not find a thousand gaps when orders are delivered without it */
    for (unsigned skips = 0; skips < 2 && all->line_first < all->line_next && !line_at(a, all->line_first);
         skips++)
        all->line_first++;
}

/* ---- moves ---- */

static void count_move(uint64_t sums[STOCK_SUMS], enum stock_move move, enum stock_state from,
                       uint64_t amount)
{
    switch (move) {
    case STOCK_MOVE_CONFIRM:
        sums[STOCK_SUM_PAID]++;
        sums[STOCK_SUM_PAID_AMOUNT] += amount;
        break;
    case STOCK_MOVE_DELIVER:
        sums[STOCK_SUM_DELIVERED]++;
        break;
    case STOCK_MOVE_RETURN:
        sums[STOCK_SUM_RETURNED]++;
        sums[STOCK_SUM_RETURNED_AMOUNT] += amount;
        sums[STOCK_SUM_DELIVERED] -= from == STOCK_DELIVERED;
        break;
    case STOCK_MOVE_RELEASE:
        sums[STOCK_SUM_RELEASED]++;
        break;
    case STOCK_MOVE_EXPIRE:
        sums[STOCK_SUM_EXPIRED]++;
        break;
    case STOCK_MOVE_TAKE:
    case STOCK_MOVE_PUT_BACK:
    case STOCK_MOVES:
        break;
    }
}

static void move_lines(struct ledger_apply *a, struct record *order, struct stock_sums *all,
                       enum stock_move move)
{
    const struct stock_order_value *o = record_value(order);
    struct unpack u = lines_of(order);
    struct stock_order_line lines[STOCK_LINES_MAX];
    for (unsigned n = 0; n < o->count; n++)
        lines[n] = stock_unpack_line(&u);
    const struct bytes user = { u.at, o->user_len };
    for (unsigned n = 0; n < o->count; n++) {
        const struct stock_order_line *l = &lines[n];
        struct record *r = find_named(a, 'i', l->item);
        must(r);
        record_write(a->records, r);
        struct stock_item *i = record_value(r);
        item_move(i, all, moves[move].held * (int64_t)l->quantity, moves[move].sold * (int64_t)l->quantity);
        count_move(i->sums, move, o->state, l->price * l->quantity);
        if (moves[move].held + moves[move].sold >= 0 || !(o->counted & 1u << n))
            continue;
        struct record *counted = user_find(a, l->item, user, AHEAD_NONE);
        must(counted);
        user_count(a, counted, -(int64_t)l->quantity);
    }
}

/* hold_ms: of TAKE. Whether it may move is checked already; false: there is no room. */
static bool move_order(struct ledger_apply *a, struct record *order, enum stock_move move, uint64_t hold_ms)
{
    struct stock_sums *all = sums_write(a);
    struct stock_order_value *o = record_value(order);
    must(all && moves[move].from & 1u << o->state);
    record_write(a->records, order);
    if (move != STOCK_MOVE_TAKE && move != STOCK_MOVE_PUT_BACK)
        move_lines(a, order, all, move);
    count_move(all->sums, move, o->state, o->amount);
    if (o->place)
        line_remove(a, all, o);
    o->state = (uint8_t)moves[move].to;
    o->since_ms = a->now_ms;
    record_set_due(a->records, order, move == STOCK_MOVE_TAKE ? a->now_ms + hold_ms : 0);
    record_set_finished(a->records, order, o->state != STOCK_PREPARING);
    return o->state != STOCK_PAID || line_add(a, all, order);
}

/* States in which a move has been made already, whatever came after it. */
static bool is_behind(enum stock_move move, enum stock_state state)
{
    return moves[move].to == state ||
           (move == STOCK_MOVE_CONFIRM && (state == STOCK_PREPARING || state == STOCK_DELIVERED));
}

static err move(struct ledger_apply *a, struct unpack *u)
{
    const enum stock_move m = unpack_u8(u);
    const struct bytes id = unpack_text(u);
    if (u->bad || m >= STOCK_MOVES || m == STOCK_MOVE_TAKE || m == STOCK_MOVE_EXPIRE ||
        !stock_name_is_good(id))
        return answer(a, STOCK_MALFORMED, 0);
    struct record *order = find_named(a, 'o', id);
    if (!order)
        return answer(a, STOCK_UNKNOWN_ORDER, 0);
    const struct stock_order_value *o = record_value(order);
    if (is_behind(m, o->state))
        return answer_order(a, STOCK_DONE_BEFORE, o);
    if (!(moves[m].from & 1u << o->state))
        return answer_order(a, STOCK_WRONG_STATE, o);
    if (!move_order(a, order, m, 0))
        return answer(a, STOCK_FULL, 0);
    return answer_order(a, STOCK_DONE, o);
}

static err take(struct ledger_apply *a, struct unpack *u)
{
    struct record *taken[STOCK_TAKE_MAX];
    const uint32_t max = unpack_u32(u);
    const uint64_t hold_ms = unpack_u64(u);
    if (u->bad || !max || max > STOCK_TAKE_MAX || !hold_ms || hold_ms > STOCK_HOLD_MS_MAX)
        return answer(a, STOCK_MALFORMED, 0);
    struct stock_sums *all = sums_write(a);
    uint32_t count = 0;
    for (unsigned skips = 0;
         all && count < max && all->line_first < all->line_next && skips < LINE_SKIPS_MAX;) {
        const struct record *place = line_at(a, all->line_first);
        if (!place) {
            all->line_first++;
            skips++;
            continue;
        }
        taken[count] = line_order(a, place);
        must(move_order(a, taken[count++], STOCK_MOVE_TAKE, hold_ms));
    }
    answer_count(a, count);
    for (uint32_t i = 0; i < count; i++)
        answer_record(a, taken[i]);
    return OK;
}

/* Its time is up: a held order expires, one that a shop's server has taken goes back into the line. (Without
 * room for a place in it, it stays with that server a while longer.) */
static void stock_due(struct ledger_apply *a, struct record *order)
{
    const struct stock_order_value *o = record_value(order);
    if (o->state == STOCK_HELD)
        must(move_order(a, order, STOCK_MOVE_EXPIRE, 0));
    else
        must(o->state == STOCK_PREPARING && move_order(a, order, STOCK_MOVE_PUT_BACK, 0));
}

/* ---- the rules ---- */

static err stock_apply(struct ledger_apply *a, struct bytes op)
{
    struct unpack u = { .at = op.ptr, .end = op.ptr + op.len };
    switch (unpack_u8(&u)) {
    case STOCK_CODE_RESERVE:
        return reserve(a, &u);
    case STOCK_CODE_MOVE:
        return move(a, &u);
    case STOCK_CODE_TAKE:
        return take(a, &u);
    case STOCK_CODE_ITEM:
        return change_item(a, &u);
    case STOCK_CODE_LOOK_ITEM:
        return stock_look_named(a, &u, 'i', STOCK_UNKNOWN_ITEM);
    case STOCK_CODE_LOOK_ITEMS:
        return stock_look_items(a, &u);
    case STOCK_CODE_LOOK_ORDER:
        return stock_look_named(a, &u, 'o', STOCK_UNKNOWN_ORDER);
    case STOCK_CODE_LOOK_SUMS:
        return stock_look_sums(a);
    case STOCK_CODE_LOOK_LINE:
        return stock_look_line(a, &u);
    default:
        return answer(a, STOCK_MALFORMED, 0);
    }
}

/* A new order and its user lie anywhere in the index. */
static void stock_fetch(struct bytes op, struct ledger_ahead *ret_ahead)
{
    struct unpack u = { .at = op.ptr, .end = op.ptr + op.len };
    struct stock_key k;
    if (unpack_u8(&u) != STOCK_CODE_RESERVE)
        return;
    const struct bytes order = unpack_text(&u), user = unpack_text(&u);
    unpack_u64(&u);
    unpack_u8(&u);
    unpack_u32(&u);
    const struct bytes item = unpack_text(&u);
    if (u.bad || order.len > STOCK_NAME_BYTES_MAX || user.len > STOCK_NAME_BYTES_MAX ||
        item.len > STOCK_NAME_BYTES_MAX)
        return;
    ret_ahead->hashes[AHEAD_ORDER] = record_hash(STOCK_RULES_ID, key_of_name(&k, 'o', order));
    ret_ahead->hashes[AHEAD_USER] = record_hash(STOCK_RULES_ID, key_of_user(&k, item, user));
    ret_ahead->count = AHEAD_COUNT;
}

static bool stock_looks(struct bytes op)
{
    return op.len && (op.ptr[0] == STOCK_CODE_LOOK_ITEM || op.ptr[0] == STOCK_CODE_LOOK_ORDER ||
                      op.ptr[0] == STOCK_CODE_LOOK_SUMS);
}

static bool stock_shown(const struct record *r, uint64_t *ret_value)
{
    if (record_key(r).ptr[0] != 'i')
        return false;
    const struct stock_item *i = record_value(r);
    *ret_value = stock_free(i) << 1 | (i->held != 0);
    return true;
}

const struct ledger_rules stock_rules = {
    .name = "stock",
    .id = STOCK_RULES_ID,
    .version = STOCK_RULES_VERSION,
    .apply = stock_apply,
    .fetch = stock_fetch,
    .looks = stock_looks,
    .due = stock_due,
    .shown = stock_shown,
    .check = stock_check,
};

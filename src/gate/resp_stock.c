/* STOCK.*: the ledger's stock (ledger/stock.h) for clients of Redis. Those of one turn go to the writer
 * together, each an entry of its own. Answers are words: what the rules say. */
#include "gate/resp.h"
#include "ledger/rules.h"
#include "ledger/stock.h"

/* What an order or a change came to. */
static void say_result(struct resp_out *o, const struct resp_ask *q)
{
    struct stock_answer a;
    struct bytes rest;
    if (!stock_read_answer((struct bytes){ q->answer, q->op->ret_answer_bytes }, &a, &rest) ||
        a.result >= STOCK_RESULTS) {
        resp_out_failure(o, ERR_SYNTAX);
        return;
    }
    resp_out_line(o, '+', bytes_from(stock_result_words[a.result]));
}

static bool read_whole(const struct resp_ask *q, struct stock_answer *a, struct bytes *rest)
{
    return q->op->ret_answer_bytes <= q->op->answer_size &&
           stock_read_answer((struct bytes){ q->answer, q->op->ret_answer_bytes }, a, rest);
}

static void out_pair(struct resp_out *o, const char *name, uint64_t n)
{
    resp_out_text(o, bytes_from(name));
    o->at = resp_int(resp_out_room(o, RESP_HEAD_BYTES_MAX), (int64_t)n);
}

static void say_item(struct resp_out *o, const struct resp_ask *q)
{
    struct stock_answer a;
    struct stock_item_shown i;
    struct bytes rest;
    if (!read_whole(q, &a, &rest) || !stock_read_item(&rest, &i)) {
        o->at = resp_null(resp_out_room(o, RESP_HEAD_BYTES_MAX), o->protocol);
        return;
    }
    o->at = resp_map(resp_out_room(o, RESP_HEAD_BYTES_MAX), o->protocol, 7);
    out_pair(o, "total", i.item.total);
    out_pair(o, "held", i.item.held);
    out_pair(o, "sold", i.item.sold);
    out_pair(o, "free", stock_free(&i.item));
    out_pair(o, "price", i.item.price);
    out_pair(o, "per_user", i.item.per_user);
    out_pair(o, "per_order", i.item.per_order);
}

static void say_order(struct resp_out *o, const struct resp_ask *q)
{
    struct stock_answer a;
    struct stock_order_shown s;
    struct bytes rest;
    if (!read_whole(q, &a, &rest) || !stock_read_order(&rest, &s)) {
        o->at = resp_null(resp_out_room(o, RESP_HEAD_BYTES_MAX), o->protocol);
        return;
    }
    o->at = resp_map(resp_out_room(o, RESP_HEAD_BYTES_MAX), o->protocol, 5);
    resp_out_text(o, BYTES("state"));
    resp_out_text(o, bytes_from(stock_state_words[s.state]));
    out_pair(o, "placed_ms", s.placed_ms);
    out_pair(o, "due_ms", s.due_ms);
    out_pair(o, "since_ms", s.since_ms);
    out_pair(o, "amount", s.amount);
}

/* ---- commands ---- */

static bool number(struct resp_client *k, struct bytes text, uint64_t max, uint64_t *ret_n)
{
    if (bytes_to_u64(text, ret_n) && *ret_n <= max)
        return true;
    resp_fail(k->batch, "ERR value is not an integer or out of range");
    return false;
}

static void ask(struct resp_client *k, const struct stock_op *op, uint32_t answer_bytes,
                void (*say)(struct resp_out *o, const struct resp_ask *q))
{
    resp_ask(k->batch, stock_rules.id, stock_op_bytes(op), answer_bytes, say);
}

/* order, user, time to pay in ms, item, quantity ... */
void resp_do_stock_reserve(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    (void)d;
    struct stock_op op;
    struct stock_reserve r = { .order = resp_arg(c, 1), .user = resp_arg(c, 2) };
    if (c->count % 2 || (c->count - 4) / 2 > STOCK_LINES_MAX) {
        resp_fail(k->batch, "ERR an order has 1 to %d items, each with a quantity", STOCK_LINES_MAX);
        return;
    }
    if (!number(k, resp_arg(c, 3), STOCK_HOLD_MS_MAX, &r.hold_ms))
        return;
    for (uint32_t i = 4; i < c->count; i += 2) {
        uint64_t quantity;
        if (!number(k, resp_arg(c, i + 1), STOCK_QUANTITY_MAX, &quantity))
            return;
        r.lines[r.count++] = (struct stock_line){ resp_arg(c, i), (uint32_t)quantity };
    }
    stock_write_reserve(&op, &r);
    ask(k, &op, sizeof(struct stock_answer), say_result);
}

/* order; d->number: the move */
void resp_do_stock_move(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    struct stock_op op;
    stock_write_move(&op, resp_arg(c, 1), (enum stock_move)d->number);
    ask(k, &op, sizeof(struct stock_answer), say_result);
}

void resp_do_stock_get(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    (void)d;
    struct stock_op op;
    stock_write_look_item(&op, resp_arg(c, 1));
    ask(k, &op, sizeof(struct stock_answer) + STOCK_ITEM_SHOWN_BYTES_MAX, say_item);
}

void resp_do_stock_order(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    (void)d;
    struct stock_op op;
    stock_write_look_order(&op, resp_arg(c, 1));
    ask(k, &op, sizeof(struct stock_answer) + STOCK_ORDER_SHOWN_BYTES_MAX, say_order);
}

/* item, how many more (or, less than 0, fewer) */
void resp_do_stock_add(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    (void)d;
    struct stock_op op;
    struct stock_item_change change = { .item = resp_arg(c, 1), .set = STOCK_SET_ADD };
    if (!bytes_to_i64(resp_arg(c, 2), &change.add) || change.add > (int64_t)STOCK_TOTAL_MAX ||
        change.add < -(int64_t)STOCK_TOTAL_MAX) {
        resp_fail(k->batch, "ERR value is not an integer or out of range");
        return;
    }
    stock_write_item(&op, &change);
    ask(k, &op, sizeof(struct stock_answer), say_result);
}

static const struct stock_setting {
    const char *word;
    uint8_t set;
    uint64_t max;
} stock_settings[] = { { "TOTAL", STOCK_SET_TOTAL, STOCK_TOTAL_MAX },
                       { "PRICE", STOCK_SET_PRICE, STOCK_PRICE_MAX },
                       { "PER_USER", STOCK_SET_PER_USER, STOCK_QUANTITY_MAX },
                       { "PER_ORDER", STOCK_SET_PER_ORDER, STOCK_QUANTITY_MAX },
                       { 0 } };

static void set_one(struct stock_item_change *change, uint8_t set, uint64_t n)
{
    change->set |= set;
    switch (set) {
    case STOCK_SET_TOTAL:
        change->total = n;
        break;
    case STOCK_SET_PRICE:
        change->price = n;
        break;
    case STOCK_SET_PER_USER:
        change->per_user = (uint32_t)n;
        break;
    default:
        change->per_order = (uint32_t)n;
    }
}

/* item [TOTAL n] [PRICE n] [PER_USER n] [PER_ORDER n] */
void resp_do_stock_set(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    (void)d;
    struct stock_op op;
    struct stock_item_change change = { .item = resp_arg(c, 1) };
    for (uint32_t i = 2; i < c->count; i += 2) {
        const struct stock_setting *s = stock_settings;
        uint64_t n;
        while (s->word && !bytes_eq_nocase(resp_arg(c, i), bytes_from(s->word)))
            s++;
        if (!s->word || i + 1 == c->count) {
            resp_fail(k->batch, "ERR syntax error");
            return;
        }
        if (!number(k, resp_arg(c, i + 1), s->max, &n))
            return;
        set_one(&change, s->set, n);
    }
    stock_write_item(&op, &change);
    ask(k, &op, sizeof(struct stock_answer), say_result);
}

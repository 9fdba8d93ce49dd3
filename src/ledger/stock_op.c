/* Operations of stock as bytes, and its answers. */
#include "ledger/stock_internal.h"

#define X(id, word) word,
const char *const stock_state_words[] = { STOCK_STATE_LIST(X) NULL };
#undef X
#define X(id, word, from, to, held, sold) word,
const char *const stock_move_words[] = { STOCK_MOVE_LIST(X) NULL };
#undef X
#define X(id, word, e, meaning) word,
const char *const stock_result_words[] = { STOCK_RESULT_LIST(X) NULL };
#undef X
#define X(id, word, e, meaning) meaning,
const char *const stock_result_meanings[] = { STOCK_RESULT_LIST(X) NULL };
#undef X
#define X(id, word, meaning) word,
const char *const stock_sum_words[] = { STOCK_SUM_LIST(X) NULL };
#undef X

bool stock_name_is_good(struct bytes name)
{
    return name.len && name.len <= STOCK_NAME_BYTES_MAX && !bytes_have_controls(name);
}

/* ---- writing operations ---- */

static struct pack begin(struct stock_op *op, enum stock_code code)
{
    struct pack p = { .at = op->at, .end = op->at + sizeof op->at };
    pack_u8(&p, (uint8_t)code);
    return p;
}

static void end(struct stock_op *op, const struct pack *p)
{
    op->len = (size_t)(p->at - op->at);
}

/* One that is too long is no good name: cut to a length that still is none. */
static void pack_name(struct pack *p, struct bytes name)
{
    if (name.len > STOCK_NAME_BYTES_MAX)
        name.len = STOCK_NAME_BYTES_MAX + 1;
    pack_text(p, name);
}

void stock_write_reserve(struct stock_op *op, const struct stock_reserve *r)
{
    struct pack p = begin(op, STOCK_CODE_RESERVE);
    must(r->count <= STOCK_LINES_MAX);
    pack_name(&p, r->order);
    pack_name(&p, r->user);
    pack_u64(&p, r->hold_ms);
    pack_u8(&p, (uint8_t)r->count);
    for (unsigned i = 0; i < r->count; i++) {
        pack_u32(&p, r->lines[i].quantity);
        pack_name(&p, r->lines[i].item);
    }
    end(op, &p);
}

void stock_write_move(struct stock_op *op, struct bytes order, enum stock_move move)
{
    struct pack p = begin(op, STOCK_CODE_MOVE);
    pack_u8(&p, (uint8_t)move);
    pack_name(&p, order);
    end(op, &p);
}

void stock_write_take(struct stock_op *op, uint32_t max, uint64_t hold_ms)
{
    struct pack p = begin(op, STOCK_CODE_TAKE);
    pack_u32(&p, max);
    pack_u64(&p, hold_ms);
    end(op, &p);
}

void stock_write_item(struct stock_op *op, const struct stock_item_change *c)
{
    struct pack p = begin(op, STOCK_CODE_ITEM);
    pack_name(&p, c->item);
    pack_u8(&p, c->set);
    pack_u64(&p, c->total);
    pack_u64(&p, c->if_total);
    pack_u64(&p, c->price);
    pack_u64(&p, (uint64_t)c->add);
    pack_u32(&p, c->per_user);
    pack_u32(&p, c->per_order);
    end(op, &p);
}

static void write_look(struct stock_op *op, enum stock_code code, struct bytes name)
{
    struct pack p = begin(op, code);
    pack_name(&p, name);
    end(op, &p);
}

void stock_write_look_item(struct stock_op *op, struct bytes item)
{
    write_look(op, STOCK_CODE_LOOK_ITEM, item);
}

void stock_write_look_order(struct stock_op *op, struct bytes order)
{
    write_look(op, STOCK_CODE_LOOK_ORDER, order);
}

void stock_write_look_items(struct stock_op *op, uint32_t from, uint32_t max)
{
    struct pack p = begin(op, STOCK_CODE_LOOK_ITEMS);
    pack_u32(&p, from);
    pack_u32(&p, max);
    end(op, &p);
}

void stock_write_look_sums(struct stock_op *op)
{
    struct pack p = begin(op, STOCK_CODE_LOOK_SUMS);
    end(op, &p);
}

void stock_write_look_line(struct stock_op *op, uint32_t max)
{
    struct pack p = begin(op, STOCK_CODE_LOOK_LINE);
    pack_u32(&p, max);
    end(op, &p);
}

/* ---- reading operations ---- */

static struct bytes unpack_name(struct unpack *u)
{
    const struct bytes name = unpack_text(u);
    u->bad |= !stock_name_is_good(name);
    return name;
}

void stock_unpack_reserve(struct unpack *u, struct stock_reserve *r)
{
    r->order = unpack_name(u);
    r->user = unpack_text(u);
    r->hold_ms = unpack_u64(u);
    r->count = unpack_u8(u);
    u->bad |= r->user.len && !stock_name_is_good(r->user);
    u->bad |= !r->hold_ms || r->hold_ms > STOCK_HOLD_MS_MAX || !r->count || r->count > STOCK_LINES_MAX;
    for (unsigned i = 0; !u->bad && i < r->count; i++) {
        struct stock_line *l = &r->lines[i];
        l->quantity = unpack_u32(u);
        l->item = unpack_name(u);
        u->bad |= !l->quantity || l->quantity > STOCK_QUANTITY_MAX;
        for (unsigned before = 0; before < i; before++)
            u->bad |= bytes_eq(r->lines[before].item, l->item);
    }
}

void stock_unpack_item(struct unpack *u, struct stock_item_change *c)
{
    c->item = unpack_name(u);
    c->set = unpack_u8(u);
    c->total = unpack_u64(u);
    c->if_total = unpack_u64(u);
    c->price = unpack_u64(u);
    c->add = (int64_t)unpack_u64(u);
    c->per_user = unpack_u32(u);
    c->per_order = unpack_u32(u);
    const int64_t add_max = (int64_t)STOCK_TOTAL_MAX;
    u->bad |=
        c->total > STOCK_TOTAL_MAX || c->price > STOCK_PRICE_MAX || c->add > add_max || c->add < -add_max;
}

/* ---- answers ---- */

bool stock_read_answer(struct bytes answer, struct stock_answer *ret_answer, struct bytes *ret_rest)
{
    if (answer.len < sizeof *ret_answer)
        return false;
    memcpy(ret_answer, answer.ptr, sizeof *ret_answer);
    *ret_rest = bytes_skip(answer, sizeof *ret_answer);
    return true;
}

static void took(struct bytes *rest, const struct unpack *u)
{
    *rest = (struct bytes){ u->at, (size_t)(u->end - u->at) };
}

/* A struct as it is. */
static void unpack_whole(struct unpack *u, void *out, size_t size)
{
    if ((size_t)(u->end - u->at) < size) {
        u->bad = true;
        return;
    }
    memcpy(out, u->at, size);
    u->at += size;
}

bool stock_read_item(struct bytes *rest, struct stock_item_shown *s)
{
    struct unpack u = { .at = rest->ptr, .end = rest->ptr + rest->len };
    s->name = unpack_text(&u);
    unpack_whole(&u, &s->item, sizeof s->item);
    took(rest, &u);
    return !u.bad;
}

bool stock_read_sums(struct bytes *rest, struct stock_sums *ret_sums)
{
    struct unpack u = { .at = rest->ptr, .end = rest->ptr + rest->len };
    unpack_whole(&u, ret_sums, sizeof *ret_sums);
    took(rest, &u);
    return !u.bad;
}

bool stock_read_order(struct bytes *rest, struct stock_order_shown *s)
{
    struct unpack u = { .at = rest->ptr, .end = rest->ptr + rest->len };
    struct stock_order_value v = { 0 };
    s->id = unpack_text(&u);
    unpack_whole(&u, &v, sizeof v);
    if (u.bad || v.count > STOCK_LINES_MAX)
        return false;
    s->state = v.state;
    s->placed_ms = v.placed_ms;
    s->due_ms = v.due_ms;
    s->since_ms = v.since_ms;
    s->amount = v.amount;
    s->count = v.count;
    for (unsigned i = 0; i < v.count; i++) {
        const struct stock_order_line l = stock_unpack_line(&u);
        s->lines[i] = (struct stock_line){ l.item, l.quantity };
        s->prices[i] = l.price;
    }
    s->user = (struct bytes){ u.at, v.user_len };
    if ((size_t)(u.end - u.at) < v.user_len)
        return false;
    u.at += v.user_len;
    took(rest, &u);
    return !u.bad;
}

void stock_item_key(struct stock_key *k, struct bytes name)
{
    struct pack p = { .at = k->at, .end = k->at + sizeof k->at };
    pack_u8(&p, 'i');
    pack_raw(&p, name);
    k->len = (size_t)(p.at - k->at);
}

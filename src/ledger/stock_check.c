/* Do stock's records hold what they promise? All that is in memory is counted anew: what is held is always
 * there, so that must be right to the unit; what is sold may have left. */
#include "base/map.h"
#include "base/mem.h"
#include "ledger/rules.h"
#include "ledger/stock_internal.h"

struct item_count {
    uint64_t held, sold;
    const struct stock_item *item;
};

struct recount {
    struct map items; /* by name -> struct item_count */
    struct stock_sums sums, found;
    const char *wrong;
    struct bytes where;
    bool no_memory;
};

static struct item_count *count_of(struct recount *c, struct bytes name)
{
    struct item_count *i = map_get(&c->items, name);
    if (i)
        return i;
    i = mem_get(sizeof *i);
    if (i && map_set(&c->items, name, i) == OK)
        return i;
    mem_free(i);
    c->no_memory = true;
    return NULL;
}

static void wrong(struct recount *c, const char *what, struct bytes where)
{
    if (!c->wrong) {
        c->wrong = what;
        c->where = where;
    }
}

static void recount_item(struct recount *c, const struct record *r)
{
    const struct bytes name = bytes_skip(record_key(r), 1);
    const struct stock_item *item = record_value(r);
    struct item_count *i = count_of(c, name);
    if (!i)
        return;
    i->item = item;
    c->found.total += item->total;
    c->found.held += item->held;
    c->found.sold += item->sold;
    c->found.items++;
    if (item->held > item->total || item->sold > item->total - item->held)
        wrong(c, "more is held and sold than there is in all", name);
}

static void recount_order(struct recount *c, const struct record *r)
{
    const struct stock_order_value *o = record_value(r);
    const struct bytes id = bytes_skip(record_key(r), 1);
    const bool sold = o->state == STOCK_PAID || o->state == STOCK_PREPARING || o->state == STOCK_DELIVERED;
    struct unpack u = { .at = (const char *)(o + 1), .end = (const char *)o + r->value_bytes };
    if ((o->state == STOCK_PAID) != (o->place != 0))
        wrong(c, "an order is paid and not in the line, or the other way round", id);
    if ((o->state == STOCK_HELD || o->state == STOCK_PREPARING) != (r->due_ms != 0))
        wrong(c, "an order has a time that it should not have, or none", id);
    for (unsigned n = 0; n < o->count; n++) {
        const struct stock_order_line l = stock_unpack_line(&u);
        struct item_count *i = count_of(c, l.item);
        if (!i)
            return;
        i->held += o->state == STOCK_HELD ? l.quantity : 0;
        i->sold += sold ? l.quantity : 0;
    }
    if (u.bad || (size_t)(u.end - u.at) != o->user_len)
        wrong(c, "an order is not as long as it says", id);
}

static void recount_record(void *arg, const struct record *r)
{
    struct recount *c = arg;
    switch (record_key(r).ptr[0]) {
    case 'i':
        recount_item(c, r);
        break;
    case 'o':
        recount_order(c, r);
        break;
    case 's':
        c->sums = *(const struct stock_sums *)record_value(r);
        break;
    default:
        break;
    }
}

static void compare(struct recount *c)
{
    size_t at = 0;
    struct bytes name;
    void *value;
    while (map_next(&c->items, &at, &name, &value)) {
        const struct item_count *i = value;
        if (!i->item)
            wrong(c, "there are orders of an item that does not exist", name);
        else if (i->held != i->item->held)
            wrong(c, "what its orders hold is not what it says is held", name);
        else if (i->sold > i->item->sold)
            wrong(c, "its orders have bought more than it says is sold", name);
    }
    const struct stock_sums *s = &c->sums, *f = &c->found;
    if (s->total != f->total || s->held != f->held || s->sold != f->sold || s->items != f->items)
        wrong(c, "the sums are not those of the items", BYTES("all"));
}

bool stock_check(struct records *rs, struct diag *reterr)
{
    struct recount c = { 0 };
    map_init(&c.items);
    record_each(rs, stock_rules.id, recount_record, &c);
    compare(&c);
    if (c.no_memory)
        diag_set(reterr, "stock: no memory to count it anew");
    else if (c.wrong)
        diag_set(reterr, "stock: \"%.*s\": %s", BYTES_ARG(c.where), c.wrong);
    size_t at = 0;
    struct bytes name;
    void *value;
    while (map_next(&c.items, &at, &name, &value))
        mem_free(value);
    map_close(&c.items);
    return !c.no_memory && !c.wrong;
}

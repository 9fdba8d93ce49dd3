#include "gate/stock_csv.h"

#include "base/mem.h"
#include "ledger/rules.h"

/* ---- reading ---- */

static const struct {
    const char *name;
    uint8_t set;
    uint64_t max;
} columns[] = {
    { "total", STOCK_SET_TOTAL, STOCK_TOTAL_MAX },
    { "price", STOCK_SET_PRICE, STOCK_PRICE_MAX },
    { "per_user", STOCK_SET_PER_USER, STOCK_QUANTITY_MAX },
    { "per_order", STOCK_SET_PER_ORDER, STOCK_QUANTITY_MAX },
};
#define COLUMNS (sizeof columns / sizeof *columns)

/* Takes a field off; in quotes it may have commas (a quote inside is not read). false: there is none. */
static bool take_field(struct bytes *rest, struct bytes *ret_field)
{
    if (!rest->ptr)
        return false;
    if (rest->len && rest->ptr[0] == '"') {
        const size_t end = bytes_index(bytes_skip(*rest, 1), '"') + 1;
        if (end < rest->len && (end + 1 == rest->len || rest->ptr[end + 1] == ',')) {
            *ret_field = (struct bytes){ rest->ptr + 1, end - 1 };
            *rest = end + 1 == rest->len ? BYTES_NONE : bytes_skip(*rest, end + 2);
            return true;
        }
    }
    const bool found = bytes_split(rest, ',', ret_field);
    *ret_field = bytes_trim(*ret_field);
    return found;
}

static err mistake(struct diag *reterr, unsigned line, const char *what, struct bytes field)
{
    diag_set(reterr, "line %u: %s: \"%.*s\"", line, what, (int)(field.len < 80 ? field.len : 80), field.ptr);
    return ERR_CONF;
}

static err read_line(struct bytes line, unsigned number, struct stock_item_change *c, struct diag *reterr)
{
    struct bytes field;
    uint64_t values[COLUMNS] = { 0 };
    *c = (struct stock_item_change){ 0 };
    if (!take_field(&line, &c->item) || !stock_name_is_good(c->item))
        return mistake(reterr, number, "expected an item's name", c->item);
    for (unsigned i = 0; take_field(&line, &field); i++) {
        if (i == COLUMNS)
            return mistake(reterr, number, "nothing is expected behind per_order", field);
        if (!field.len)
            continue;
        if (!bytes_to_u64(field, &values[i]) || values[i] > columns[i].max)
            return mistake(reterr, number, columns[i].name, field);
        c->set |= columns[i].set;
    }
    c->total = values[0];
    c->price = values[1];
    c->per_user = (uint32_t)values[2];
    c->per_order = (uint32_t)values[3];
    return OK;
}

err stock_csv_next(struct bytes *text, unsigned *number, struct stock_item_change *ret_change,
                   bool *ret_found, struct diag *reterr)
{
    struct bytes line;
    *ret_found = false;
    while (text->ptr && bytes_split(text, '\n', &line)) {
        ++*number;
        if (line.len && line.ptr[line.len - 1] == '\r')
            line.len--;
        if (!bytes_trim(line).len || (*number == 1 && bytes_starts(line, BYTES("item,"))))
            continue;
        *ret_found = true;
        return read_line(line, *number, ret_change, reterr);
    }
    return OK;
}

/* ---- sending ---- */

/* On the heap: too much for a fiber's stack. */
struct batch {
    struct stock_op ops[STOCK_CSV_OPS];
    struct ledger_op entry[STOCK_CSV_OPS];
    struct stock_answer answers[STOCK_CSV_OPS];
    unsigned lines[STOCK_CSV_OPS];
    unsigned count;
};

static void add(struct batch *b, const struct stock_item_change *c, unsigned line)
{
    stock_write_item(&b->ops[b->count], c);
    b->entry[b->count] = (struct ledger_op){ .rules = stock_rules.id,
                                             .body = stock_op_bytes(&b->ops[b->count]),
                                             .answer = (char *)&b->answers[b->count],
                                             .answer_size = sizeof(struct stock_answer) };
    b->lines[b->count++] = line;
}

/* An item that is there already refuses its whole entry: it is left out and the others are sent again. */
static err send(struct batch *b, enum ledger_durability *ret_durability, struct diag *reterr)
{
    struct ledger *l = ledger_here();
    while (b->count) {
        struct ledger_call c = { .ops = b->entry, .ops_count = b->count };
        const err e = l ? ledger_submit(l, &c) : ERR_UNAVAILABLE;
        if (e)
            return e;
        *ret_durability = c.ret_durability;
        if (!c.ret_refused)
            break;
        const struct stock_answer *a = &b->answers[c.ret_op];
        if (a->result != STOCK_DONE_BEFORE) {
            diag_set(reterr, "line %u: %s", b->lines[c.ret_op], stock_result_meanings[a->result]);
            return ERR_CONF;
        }
        b->count--;
        for (unsigned i = c.ret_op; i < b->count; i++) {
            b->entry[i] = b->entry[i + 1];
            b->lines[i] = b->lines[i + 1];
        }
        for (unsigned i = 0; i < b->count; i++)
            b->entry[i].answer = (char *)&b->answers[i];
    }
    b->count = 0;
    return OK;
}

static err send_all(struct stock_csv *csv, struct batch *b, struct diag *reterr)
{
    struct bytes rest = csv->text;
    struct stock_item_change c;
    bool found;
    unsigned line = 0;
    for (;;) {
        err e = stock_csv_next(&rest, &line, &c, &found, reterr);
        if (!e && found) {
            c.set |= csv->if_new ? STOCK_SET_IF_NEW : 0;
            add(b, &c, line);
        }
        if (!e && (b->count == STOCK_CSV_OPS || !found))
            e = send(b, &csv->durability, reterr);
        if (e || !found)
            return e;
    }
}

err stock_csv_load(struct stock_csv *csv, struct diag *reterr)
{
    struct bytes rest = csv->text;
    struct stock_item_change c;
    bool found = true;
    unsigned line = 0;
    csv->items = 0;
    for (;;) {
        const err e = stock_csv_next(&rest, &line, &c, &found, reterr);
        if (e)
            return e;
        if (!found)
            break;
        csv->items++;
    }
    struct batch *b = mem_must_get(sizeof *b);
    const err e = send_all(csv, b, reterr);
    mem_free(b);
    return e;
}

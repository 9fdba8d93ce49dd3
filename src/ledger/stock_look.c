/* Operations of stock that only look. */
#include "ledger/stock_records.h"

err stock_look_named(struct ledger_apply *a, struct unpack *u, char kind, enum stock_result unknown)
{
    const struct bytes name = unpack_text(u);
    if (u->bad || !stock_name_is_good(name))
        return answer(a, STOCK_MALFORMED, 0);
    const struct record *r = find_named(a, kind, name);
    if (!r)
        return answer(a, unknown, 0);
    answer_count(a, 1);
    answer_record(a, r);
    return OK;
}

static const struct stock_sums *sums_look(struct ledger_apply *a)
{
    static const struct stock_sums none;
    const struct record *r = find(a, BYTES("s"));
    return r ? record_value(r) : &none;
}

err stock_look_items(struct ledger_apply *a, struct unpack *u)
{
    struct stock_key k;
    const uint32_t from = unpack_u32(u), max = unpack_u32(u);
    const uint64_t items = sums_look(a)->items;
    if (u->bad || max > STOCK_TAKE_MAX)
        return answer(a, STOCK_MALFORMED, 0);
    const uint64_t left = from < items ? items - from : 0;
    const uint32_t count = left < max ? (uint32_t)left : max;
    answer_count(a, count);
    for (uint32_t i = 0; i < count; i++) {
        const struct record *number = find(a, key_of_number(&k, 'n', from + i));
        must(number);
        struct unpack n = { .at = record_value(number),
                            .end = (const char *)record_value(number) + number->value_bytes };
        const struct record *item = find_named(a, 'i', unpack_text(&n));
        must(item);
        answer_record(a, item);
    }
    return OK;
}

err stock_look_sums(struct ledger_apply *a)
{
    answer_count(a, 1);
    ledger_answer(a, sums_look(a), sizeof(struct stock_sums));
    return OK;
}

err stock_look_line(struct ledger_apply *a, struct unpack *u)
{
    const struct record *found[STOCK_TAKE_MAX];
    const uint32_t max = unpack_u32(u);
    if (u->bad || max > STOCK_TAKE_MAX)
        return answer(a, STOCK_MALFORMED, 0);
    const struct stock_sums all = *sums_look(a);
    uint32_t count = 0;
    for (uint64_t at = all.line_first;
         count < max && at < all.line_next && at < all.line_first + LINE_SKIPS_MAX; at++) {
        const struct record *place = line_at(a, at);
        if (place)
            found[count++] = line_order(a, place);
    }
    answer_count(a, count);
    for (uint32_t i = 0; i < count; i++)
        answer_record(a, found[i]);
    return OK;
}

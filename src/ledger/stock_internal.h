/* stock_internal: what stock's files share: how operations and orders stand as bytes. */
#pragma once
#include "ledger/pack.h"
#include "ledger/stock.h"

enum stock_code {
    STOCK_CODE_RESERVE = 1,
    STOCK_CODE_MOVE,
    STOCK_CODE_TAKE,
    STOCK_CODE_ITEM,
    STOCK_CODE_LOOK_ITEM,
    STOCK_CODE_LOOK_ITEMS,
    STOCK_CODE_LOOK_ORDER,
    STOCK_CODE_LOOK_SUMS,
    STOCK_CODE_LOOK_LINE,
    STOCK_CODES
};

/* Behind it the lines (price, quantity, item: as they are packed) and the user. */
struct stock_order_value {
    uint8_t state, count, user_len, unused;
    uint32_t counted; /* a bit a line: the user's count of the item has it */
    uint64_t placed_ms, due_ms, since_ms, amount;
    uint64_t place; /* in the line of paid orders, + 1; 0: it does not stand there */
};

static inline void stock_pack_line(struct pack *p, uint64_t price, uint32_t quantity, struct bytes item)
{
    pack_u64(p, price);
    pack_u32(p, quantity);
    pack_text(p, item);
}

struct stock_order_line {
    uint64_t price;
    uint32_t quantity;
    struct bytes item;
};

static inline struct stock_order_line stock_unpack_line(struct unpack *u)
{
    struct stock_order_line l;
    l.price = unpack_u64(u);
    l.quantity = unpack_u32(u);
    l.item = unpack_text(u);
    return l;
}

/* What the caller said is malformed gives u->bad. */
void stock_unpack_reserve(struct unpack *u, struct stock_reserve *ret_reserve);
void stock_unpack_item(struct unpack *u, struct stock_item_change *ret_change);

/* struct ledger_rules.check. */
struct records;
struct diag;
bool stock_check(struct records *rs, struct diag *reterr);

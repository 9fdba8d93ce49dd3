/* stock: items that many want at once, and the orders that hold them. Rules of the ledger (ledger/rules.h).
 *
 *                         confirm            take               deliver
 *      reserve ──▶ HELD ──────────▶ PAID ──────────▶ PREPARING ──────────▶ DELIVERED
 *                   │ │             │  ▲ its time is up │                     ▲
 *                   │ │             │  └────────────────┘                     │
 *          release  │ │ its time    └──────────── deliver ────────────────────┘
 *                   ▼ ▼ is up            return (from any of the three) ──▶ RETURNED
 *            RELEASED EXPIRED
 *
 *      of each item, always:   free + held + sold = total
 *
 * A two-phase hold, with the client's own order id as idempotency key: a reserve that held something has that
 * answer for ever (an order that has left memory is found in the checkpoint). A refusal binds nothing: the
 * same id may try again, for stock may have come back.
 *
 * Paid orders stand in a line, first paid first; `take` gives the next ones to a shop's server for a while:
 * what is not delivered by then goes back to the end of the line.
 *
 *      record      key                          value
 *      item        'i' name                     struct stock_item
 *      item's name 'n' number, big-endian       the name
 *      order       'o' the client's id          struct stock_order_value, its lines, the user
 *      user        'u' length, item, user       how many of it the user holds or has bought
 *      line        't' place, big-endian        the id of a paid order
 *      sums        's'                          struct stock_sums
 *
 * An operation is made by one of the stock_write_ functions and answered by bytes that the stock_read_ ones
 * take apart: any thread. What happens in between is the writer's. */
#pragma once
#include "base/bytes.h"
#include "base/err.h"

struct ledger_rules;
extern const struct ledger_rules stock_rules;

#define STOCK_NAME_BYTES_MAX 64 /* of an item, a user, an order */
#define STOCK_LINES_MAX 16
#define STOCK_ITEMS_MAX 1000000U
#define STOCK_TOTAL_MAX 1000000000000ULL /* of one item: what is shown of it fits */
#define STOCK_PRICE_MAX 1000000000000ULL /* in the currency's smallest unit */
#define STOCK_QUANTITY_MAX 1000000U      /* in one line */
#define STOCK_HOLD_MS_MAX (90ULL * 24 * 3600 * 1000)
#define STOCK_TAKE_MAX 256 /* orders taken, or listed, at a time */

/*    id         word */
#define STOCK_STATE_LIST(X)   \
    X(HELD, "held")           \
    X(PAID, "paid")           \
    X(PREPARING, "preparing") \
    X(DELIVERED, "delivered") \
    X(RETURNED, "returned")   \
    X(RELEASED, "released")   \
    X(EXPIRED, "expired")

enum stock_state {
#define X(id, word) STOCK_##id,
    STOCK_STATE_LIST(X)
#undef X
        STOCK_STATES
};
extern const char *const stock_state_words[]; /* ends with NULL */

/* What an order may do: from one of the states of a mask to another one, and what each of its units does to
 * the item's held and sold. (free makes up for both: total never changes here.)
 *    id        word       from                                             to         held sold */
#define STOCK_BIT(id) (1u << STOCK_##id)
#define STOCK_MOVE_LIST(X)                                                                              \
    X(CONFIRM, "confirm", STOCK_BIT(HELD), PAID, -1, 1)                                                 \
    X(TAKE, "take", STOCK_BIT(PAID), PREPARING, 0, 0)                                                   \
    X(PUT_BACK, "put_back", STOCK_BIT(PREPARING), PAID, 0, 0)                                           \
    X(DELIVER, "deliver", STOCK_BIT(PAID) | STOCK_BIT(PREPARING), DELIVERED, 0, 0)                      \
    X(RETURN, "return", STOCK_BIT(PAID) | STOCK_BIT(PREPARING) | STOCK_BIT(DELIVERED), RETURNED, 0, -1) \
    X(RELEASE, "release", STOCK_BIT(HELD), RELEASED, -1, 0)                                             \
    X(EXPIRE, "expire", STOCK_BIT(HELD), EXPIRED, -1, 0)

enum stock_move {
#define X(id, word, from, to, held, sold) STOCK_MOVE_##id,
    STOCK_MOVE_LIST(X)
#undef X
        STOCK_MOVES
};
extern const char *const stock_move_words[]; /* ends with NULL */

/* How an operation ended, and with which err of the rules: but for OK nothing of its entry has happened.
 *    id             word            err              what it means */
#define STOCK_RESULT_LIST(X)                                                                           \
    X(DONE, "done", OK, "it is done")                                                                  \
    X(DONE_BEFORE, "done_before", ERR_EXISTS, "the same was done before")                              \
    X(SOLD_OUT, "sold_out", ERR_UNAVAILABLE, "not so many are left")                                   \
    X(USER_LIMIT, "user_limit", ERR_DENIED, "more than one user may have of the item")                 \
    X(ITEM_LIMIT, "item_limit", ERR_DENIED, "more than one order may have of the item")                \
    X(UNKNOWN_ITEM, "unknown_item", ERR_NOT_FOUND, "there is no such item")                            \
    X(UNKNOWN_ORDER, "unknown_order", ERR_NOT_FOUND, "there is no such order")                         \
    X(WRONG_STATE, "wrong_state", ERR_DENIED, "the order's state does not allow it")                   \
    X(OTHER_ORDER, "other_order", ERR_DENIED, "the order's id is taken by an order of something else") \
    X(OTHER_TOTAL, "other_total", ERR_DENIED, "the item's total is not the one that was expected")     \
    X(TOO_FEW, "too_few", ERR_DENIED, "the total would be less than what is held and sold")            \
    X(MALFORMED, "malformed", ERR_SYNTAX, "a name or a number is missing or out of bounds")            \
    X(FULL, "full", ERR_LIMIT, "the ledger's memory, or its number of items, is used up")

enum stock_result {
#define X(id, word, e, meaning) STOCK_##id,
    STOCK_RESULT_LIST(X)
#undef X
        STOCK_RESULTS
};
extern const char *const stock_result_words[], *const stock_result_meanings[]; /* end with NULL */

/* ---- operations */

#define STOCK_OP_BYTES_MAX 2048
struct stock_op {
    size_t len;
    char at[STOCK_OP_BYTES_MAX];
};
static inline struct bytes stock_op_bytes(const struct stock_op *op)
{
    return (struct bytes){ op->at, op->len };
}

/* A name that an item, a user or an order can have: 1 to STOCK_NAME_BYTES_MAX bytes, no control characters.
 */
bool stock_name_is_good(struct bytes name);

struct stock_line {
    struct bytes item;
    uint32_t quantity;
};

/* Names are good ones (user may be empty: items with a user's limit then refuse), numbers within their
 * bounds: what is not is answered by MALFORMED. No item twice. */
struct stock_reserve {
    struct bytes order, user;
    uint64_t hold_ms; /* until it expires */
    unsigned count;
    struct stock_line lines[STOCK_LINES_MAX];
};
void stock_write_reserve(struct stock_op *op, const struct stock_reserve *r);
/* The caller's: CONFIRM, DELIVER, RETURN, RELEASE, PUT_BACK. */
void stock_write_move(struct stock_op *op, struct bytes order, enum stock_move move);
/* Up to max of those that were paid first; for hold_ms. */
void stock_write_take(struct stock_op *op, uint32_t max, uint64_t hold_ms);

/* An item made or changed; what is not set stays as it is (of a new one: 0). */
enum stock_item_set {
    STOCK_SET_TOTAL = 1,
    STOCK_SET_ADD = 2, /* add, which may be less than 0, to the total */
    STOCK_SET_PRICE = 4,
    STOCK_SET_PER_USER = 8,
    STOCK_SET_PER_ORDER = 16,
    STOCK_SET_IF_NEW = 32,   /* an item that exists already is DONE_BEFORE */
    STOCK_SET_IF_TOTAL = 64, /* only if its total is if_total: else OTHER_TOTAL */
    STOCK_SET_IF_KNOWN = 128 /* only if it exists: else UNKNOWN_ITEM */
};
struct stock_item_change {
    struct bytes item;
    uint8_t set;
    uint64_t total, if_total, price;
    int64_t add;
    uint32_t per_user, per_order; /* 0: no limit */
};
void stock_write_item(struct stock_op *op, const struct stock_item_change *c);

/* These only look. */
void stock_write_look_item(struct stock_op *op, struct bytes item);
void stock_write_look_items(struct stock_op *op, uint32_t from, uint32_t max); /* by number, from 0 */
void stock_write_look_order(struct stock_op *op, struct bytes order);
void stock_write_look_sums(struct stock_op *op);
/* Paid orders that nobody has taken, first paid first. */
void stock_write_look_line(struct stock_op *op, uint32_t max);

/* ---- answers */

/* What each answer begins with; of RESERVE, a move and a change it is all. */
struct stock_answer {
    uint8_t result; /* enum stock_result */
    uint8_t
        state; /* enum stock_state of the order; of a reserve that was done before: what has become of it */
    uint8_t line;   /* which one SOLD_OUT, USER_LIMIT, ITEM_LIMIT and UNKNOWN_ITEM speak of */
    uint8_t final;  /* of SOLD_OUT: nothing is held that could come back */
    uint32_t count; /* of what follows */
    uint64_t placed_ms, due_ms, since_ms; /* of the order: reserved, to be paid by, in its state since */
    uint64_t amount;                      /* price times quantity, all lines */
};

/* What has come of orders: of all, or of one item (an order with two items counts once for each). */
#define STOCK_SUM_LIST(X)                                                           \
    X(RESERVED, "reserved", "orders reserved")                                      \
    X(PAID, "paid", "orders paid")                                                  \
    X(DELIVERED, "delivered", "orders delivered")                                   \
    X(RETURNED, "returned", "orders returned")                                      \
    X(RELEASED, "released", "orders given up by the client before payment")         \
    X(EXPIRED, "expired", "orders that were not paid in time")                      \
    X(PAID_AMOUNT, "paid_amount", "what was paid, in the currency's smallest unit") \
    X(RETURNED_AMOUNT, "returned_amount", "what of it was paid back")

enum stock_sum {
#define X(id, word, meaning) STOCK_SUM_##id,
    STOCK_SUM_LIST(X)
#undef X
        STOCK_SUMS
};
extern const char *const stock_sum_words[];

/* On disk as it is here. */
struct stock_item {
    uint64_t total, held, sold, price;
    uint32_t per_user, per_order; /* 0: no limit */
    uint32_t number;              /* from 0, in the order in which items were made */
    uint32_t unused;
    uint64_t sums[STOCK_SUMS];
};
struct stock_sums {
    uint64_t sums[STOCK_SUMS];
    uint64_t total, held, sold; /* of all items */
    uint64_t items;
    uint64_t line_first, line_next; /* places of paid orders: from the first that may be there, up to */
};

static inline uint64_t stock_free(const struct stock_item *i)
{
    return i->total - i->held - i->sold;
}

/* Slices of the answer's bytes. */
struct stock_item_shown {
    struct bytes name;
    struct stock_item item;
};
struct stock_order_shown {
    struct bytes id, user;
    enum stock_state state;
    uint64_t placed_ms, due_ms, since_ms, amount;
    unsigned count;
    struct stock_line lines[STOCK_LINES_MAX];
    uint64_t prices[STOCK_LINES_MAX];
};

/* false: too short to be one (the writer never said it). *rest: what follows. */
bool stock_read_answer(struct bytes answer, struct stock_answer *ret_answer, struct bytes *ret_rest);
/* Each takes one off the rest; false: there is no more. */
bool stock_read_item(struct bytes *rest, struct stock_item_shown *ret_item);
bool stock_read_order(struct bytes *rest, struct stock_order_shown *ret_order);
bool stock_read_sums(struct bytes *rest, struct stock_sums *ret_sums);
#define STOCK_ITEM_SHOWN_BYTES_MAX (1 + STOCK_NAME_BYTES_MAX + sizeof(struct stock_item))
#define STOCK_ORDER_SHOWN_BYTES_MAX 1536

/* ---- what workers know without asking (ledger_look of the item's key) */

#define STOCK_KEY_BYTES_MAX (2 + 2 * STOCK_NAME_BYTES_MAX)
struct stock_key {
    size_t len;
    char at[STOCK_KEY_BYTES_MAX];
};
static inline struct bytes stock_key_bytes(const struct stock_key *k)
{
    return (struct bytes){ k->at, k->len };
}
/* name is good. */
void stock_item_key(struct stock_key *k, struct bytes name);
/* What is shown: how many are free, and whether any is held that may come back. */
static inline uint64_t stock_shown_free(uint64_t shown)
{
    return shown >> 1;
}
static inline bool stock_shown_final(uint64_t shown)
{
    return !(shown & 1);
}

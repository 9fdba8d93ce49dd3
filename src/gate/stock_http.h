/* stock_http: stock's operations and answers as HTTP speaks of them: for the `order` filter and the ledger's
 * own API.
 *
 *      struct stock_ask q;
 *      q.others_count = 0;
 *      stock_write_move(&q.op, id, STOCK_MOVE_CONFIRM);
 *      err e = stock_ask(&q, room, sizeof room);           waits until the ledger has answered
 *      e ? stock_refuse_ledger(...) : q.answer.result ...
 *
 * On the exchange's fiber. */
#pragma once
#include "base/json.h"
#include "gate/exchange.h"
#include "ledger/ledger.h"
#include "ledger/stock.h"

/* Beside an operation of stock an entry may have others, which happen with it or not at all. */
#define STOCK_ASK_OPS_MAX 4

struct stock_ask {
    struct stock_op op;
    struct ledger_op others[STOCK_ASK_OPS_MAX - 1];
    unsigned others_count;
    /* when stock_ask returned OK */
    struct stock_answer answer;
    struct bytes rest; /* what follows it, in room */
    enum ledger_durability durability;
    uint64_t now_ms; /* the ledger's time */
};

/* room: for the answer. OK: the rules have decided, see answer.result. ERR_UNAVAILABLE: there is no ledger,
 * or it has stopped; ERR_LIMIT: too much waits for it, or the answer did not fit. */
err stock_ask(struct stock_ask *q, char *room, size_t room_size) CHECK_RESULT;
/* Those that only asked whether it was done already get it too. */
static inline bool stock_is_done(const struct stock_answer *a)
{
    return a->result == STOCK_DONE || a->result == STOCK_DONE_BEFORE;
}

/* ---- answers */

/* Whatever result is no DONE, as a problem: 400, 404, 409, 410 (sold out, and nothing is held that could come
 * back), 412, 422, 503 with Retry-After; `reason` is the result's word. item: the line's that it speaks of;
 * may be empty. */
err stock_problem(struct exchange *x, const struct stock_answer *a, struct bytes item,
                  struct bytes by) CHECK_RESULT;
/* What stock_ask failed with: 503 with Retry-After. */
err stock_problem_failed(struct exchange *x, err e, struct bytes by) CHECK_RESULT;

/* Members of an object that stands open. */
void stock_json_order(struct text *t, const struct stock_order_shown *o);
void stock_json_item(struct text *t, const struct stock_item_shown *i);
void stock_json_sums(struct text *t, const struct stock_sums *s);
/* Of an answer that speaks of an order. */
void stock_json_state(struct text *t, struct bytes order, const struct stock_answer *a);
#define STOCK_JSON_ORDER_BYTES_MAX 8192
#define STOCK_JSON_ITEM_BYTES_MAX 1024

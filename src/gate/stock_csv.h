/* stock_csv: items from a CSV text (RFC 4180) into the ledger:
 *
 *      item,total,price,per_user,per_order          this line may be missing, and so may the columns behind
 * total radio,1000,3900,2,1 "lamp, green",50
 *
 * What a line does not say stays as it is. All lines are read before the first is sent: a mistake changes
 * nothing. They are sent STOCK_CSV_OPS at a time; loading the same text again changes nothing. From a fiber.
 */
#pragma once
#include "base/diag.h"
#include "ledger/ledger.h"
#include "ledger/stock.h"

#define STOCK_CSV_OPS 32

struct stock_csv {
    struct bytes text;
    bool if_new;                       /* items that exist already stay as they are */
    unsigned items;                    /* lines read, and, after OK, sent */
    enum ledger_durability durability; /* after OK: how safe they are */
};
/* ERR_CONF with words: line, what is wrong (a total that is too small included); ERR_UNAVAILABLE, ERR_LIMIT:
 * the ledger does not take it, some may have been loaded. */
err stock_csv_load(struct stock_csv *csv, struct diag *reterr) CHECK_RESULT;
/* The next line of *text that says something. false: there is none. ERR_CONF with words. Pure. */
err stock_csv_next(struct bytes *text, unsigned *line, struct stock_item_change *ret_change, bool *ret_found,
                   struct diag *reterr) CHECK_RESULT;

/* stock_watch: what the process does about stock by itself: loads the file of items when it starts, and once
 * a second asks the ledger for its sums, for the metrics. Control worker. */
#pragma once
#include "base/bytes.h"

/* Makes the items of the file that are not there yet, and logs it, or why not.
 * From a fiber, before anybody can ask: no buyer is told that an item of the file is unknown. */
void stock_watch_load(struct bytes csv_path);
/* Once, when the ledger runs. csv_path: items that are not there yet are made; may be empty. A fiber that
 * ends when fibers are cancelled. */
void stock_watch_start(struct bytes csv_path);
/* Orders reserved a second, over the last ten. */
double stock_watch_rate(void);

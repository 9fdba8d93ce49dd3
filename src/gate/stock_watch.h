/* stock_watch: what the process does about stock by itself: loads the file of items when it starts, and once
 * a second asks the ledger for its sums, for the metrics. Control worker. */
#pragma once
#include "base/bytes.h"

/* Once, when the ledger runs. csv_path: items that are not there yet are made; may be empty. A fiber that
 * ends when fibers are cancelled. */
void stock_watch_start(struct bytes csv_path);
/* Orders reserved a second, over the last ten. */
double stock_watch_rate(void);

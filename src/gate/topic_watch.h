/* topic_watch: what the process does about topics by itself: makes those that the configuration names as it
 * names them, runs their pushes, shows their metrics. Control worker. */
#pragma once

/* Once, when the ledger runs. A fiber that ends when fibers are cancelled; it follows reloads. */
void topic_watch_start(void);

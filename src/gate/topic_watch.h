/* topic_watch: what the process does about topics by itself: makes those that the configuration names as it
 * names them, runs their pushes, shows their metrics. Control worker. */
#pragma once

struct ledger_conf;

/* At start, when the ledger runs and nobody can ask yet: nobody is told that a topic of the configuration is
 * not there. What the ledger does not take is done later by the fiber below. */
void topic_watch_make(const struct ledger_conf *c);

/* Once, when the ledger runs. A fiber that ends when fibers are cancelled; it follows reloads. */
void topic_watch_start(void);

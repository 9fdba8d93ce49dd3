/* access_log: one JSON line for each exchange.
 *
 *   worker: line ─▶ its own buffer ──full, or flush_interval──▶ log thread: write(2) to the file
 *
 * A request never waits for the disk: when the thread is behind by more than ACCESS_LOG_BYTES_MAX, lines are
 * dropped and counted. */
#pragma once
#include "base/diag.h"
#include "base/err.h"
#include "gate/exchange.h"

struct access_log_conf;

#define ACCESS_LOG_BUFFER_BYTES (64 * 1024)
#define ACCESS_LOG_BYTES_MAX (16 * 1024 * 1024)

/* Control thread. Starts the log thread when there is something to log; a file that cannot be opened is an
 * error and changes nothing. conf NULL: off. */
err access_log_use(const struct access_log_conf *conf, struct diag *reterr) CHECK_RESULT;
/* Opens the file again (after a rotation). */
void access_log_reopen(void);
/* Writes what has been handed over, ends the thread. Workers have flushed before. */
void access_log_close(void);

/* Any worker. One relaxed load when it is off. */
void access_log_exchange(const struct exchange *x);
/* Hands over what this worker has gathered, at a worker's end. */
void access_log_flush(void);
uint64_t access_log_dropped(void);

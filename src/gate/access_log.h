/* access_log: one line for each exchange.
 *
 *   worker: line ─▶ its own buffer ──full, or flush_interval──▶ log thread: write(2) to the file, or syslog
 *
 * A request never waits for the disk or for syslog: when the thread is behind by more than
 * ACCESS_LOG_BYTES_MAX, lines are dropped and counted.
 *
 * A generation has its own log (format, sampling and where it goes); exchanges of an older one still write to
 * the older one's. */
#pragma once
#include "base/diag.h"
#include "base/err.h"
#include "gate/exchange.h"

struct access_log;
struct access_log_conf;

#define ACCESS_LOG_BUFFER_BYTES (64 * 1024)
#define ACCESS_LOG_BYTES_MAX (16 * 1024 * 1024)

/* Control thread. Opens what it shall write to, and starts the log thread when it does not run yet. conf
 * NULL: off, *ret_log is NULL then. ERR_CONF, ERR_MEMORY, ERR_SYSTEM. */
err access_log_open(const struct access_log_conf *conf, struct access_log **ret_log,
                    struct diag *reterr) CHECK_RESULT;
/* No exchange will write to it any more; what is in buffers still comes. Any thread; NULL is allowed. */
void access_log_drop(struct access_log *log);
/* Opens the files again (after a rotation). */
void access_log_reopen(void);
/* Writes what has been handed over, ends the thread. Workers have flushed before. */
void access_log_close(void);

/* Any worker. */
void access_log_exchange(const struct exchange *x);
/* Hands over what this worker has gathered, at a worker's end. */
void access_log_flush(void);
/* Lines that were lost because the thread, the disk or syslog did not follow. */
uint64_t access_log_dropped(void);

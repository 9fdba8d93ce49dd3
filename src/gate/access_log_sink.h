/* access_log_sink: where lines go: a file, stdout, or syslog (RFC 5424 over a unix datagram socket, or over
 * UDP as RFC 5426 says). Opened on the control thread, written to by the log thread. */
#pragma once
#include "base/bytes.h"
#include "base/diag.h"
#include "base/err.h"

/* The words of RFC 5424 6.2.1 whose index is the facility's number; ends with NULL. */
extern const char *const access_log_facility_words[];

/* A message is cut to that: what receivers commonly take. */
#define ACCESS_LOG_SYSLOG_BYTES_MAX 8192

struct access_log_sink;

bool access_log_sink_is_syslog(struct bytes path);
/* Whether path is written right; opens nothing. ERR_CONF. */
err access_log_sink_check(struct bytes path, struct diag *reterr) CHECK_RESULT;

/* A file that cannot be opened is a mistake; a syslog that does not listen (yet) is none. ERR_CONF,
 * ERR_MEMORY. */
err access_log_sink_open(struct bytes path, struct access_log_sink **ret_sink,
                         struct diag *reterr) CHECK_RESULT;
/* After a rotation; goes on with the old file, and says so, when that fails. */
void access_log_sink_reopen(struct access_log_sink *s);
/* NULL is allowed. */
void access_log_sink_close(struct access_log_sink *s);
/* Whole lines; returns how many of them were lost. A file may block; syslog is waited for a moment at most.
 */
uint64_t access_log_sink_write(struct access_log_sink *s, struct bytes lines);

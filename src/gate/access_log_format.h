/* access_log_format: what a line of the access log looks like: JSON with the usual members, or a pattern of
 * literals and ${variables}. Made when a configuration is loaded; immutable; any thread. */
#pragma once
#include "base/diag.h"
#include "base/err.h"
#include "core/conf.h"
#include "gate/exchange.h"

extern const struct conf_struct access_log_struct;

/* A line is cut to what fits, and each text in it to ACCESS_LOG_TEXT_BYTES_MAX. */
#define ACCESS_LOG_LINE_BYTES_MAX (32 * 1024)
#define ACCESS_LOG_TEXT_BYTES_MAX 1024

struct access_log_format;

/* text: "json", "common", "combined", or a pattern. syslog: each line begins with the head of RFC 5424 for
 * that facility (its number). ERR_CONF: with words; ERR_MEMORY. */
#define ACCESS_LOG_NO_SYSLOG (-1)
err access_log_format_open(struct bytes text, int syslog_facility, struct access_log_format **ret_format,
                           struct diag *reterr) CHECK_RESULT;
/* NULL is allowed. */
void access_log_format_close(struct access_log_format *f);

/* A line with its newline at `at`, where ACCESS_LOG_LINE_BYTES_MAX are free; returns its end. */
char *access_log_format_put(const struct access_log_format *f, char *at, const struct exchange *x);

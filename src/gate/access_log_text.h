/* access_log_text: texts, numbers and times as a line of the access log has them. This stands in the path of
 * every request: runs are copied as they are, 16 bytes at a time, and only what needs an escape is looked at
 * byte by byte. Any thread; put functions return the end of what they wrote. */
#pragma once
#include "base/bytes.h"

enum access_log_escape {
    ACCESS_LOG_JSON, /* the inside of a JSON string (RFC 8259 7), ASCII only: \" \\ \u00hh */
    ACCESS_LOG_HEX   /* \xhh, as nginx and Apache do it */
};
#define ACCESS_LOG_ESCAPE_BYTES_MAX 6 /* of one byte */

static inline char *access_log_put(char *at, struct bytes text)
{
    memcpy(at, text.ptr, text.len);
    return at + text.len;
}

/* What is not printable ASCII is escaped, and so are quotes and backslashes: nothing from outside can break a
 * line, a quoted text or an encoding. Up to ACCESS_LOG_ESCAPE_BYTES_MAX * text.len + 16 bytes are written to.
 */
char *access_log_put_text(char *at, struct bytes text, enum access_log_escape escape);

/* In decimal. 20 bytes. */
char *access_log_put_number(char *at, uint64_t value);
/* 2026-01-02T03:04:05.678901Z. 27 bytes. */
char *access_log_put_time(char *at, uint64_t wall_us);
/* 02/Jan/2026:03:04:05 +0000. 26 bytes. */
char *access_log_put_time_clf(char *at, uint64_t wall_us);
/* Microseconds as seconds: 1.234567. 27 bytes. */
char *access_log_put_seconds(char *at, uint64_t us);

/* log: weir's own events, for the operator, on stderr (requests go to the access log, not here).
 *
 *      2026-01-02T03:04:05.678Z info  gate: listening address=[::]:8080
 *      {"time":"2026-01-02T03:04:05.678Z","level":"info","tag":"gate","text":"listening address=[::]:8080"}
 *
 * One line, one write(2): lines of many threads never mix. Control characters and broken UTF-8 are escaped,
 * so that no text from outside can forge a line or reach a terminal. A line that cannot be written at once (a
 * full non-blocking pipe) is dropped. Any thread, no lock, no heap. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"

/*    name       text */
#define LOG_LEVEL_LIST(X) \
    X(LOG_DEBUG, "debug") \
    X(LOG_INFO, "info")   \
    X(LOG_WARN, "warn")   \
    X(LOG_ERROR, "error")

enum log_level {
#define X(name, text) name,
    LOG_LEVEL_LIST(X)
#undef X
        LOG_LEVEL_COUNT
};

#define LOG_LINE_BYTES_MAX 2048 /* a longer text is cut and ends with "..." */

/* The words of LOG_LEVEL_LIST, ends with NULL: for a CONF_WORD whose index is the level. */
extern const char *const log_level_words[];

/* At start and on reload; the first setting is LOG_INFO, plain, stderr. */
void log_set_level(enum log_level least);
void log_set_json(bool json);
void log_set_fd(int fd);
enum log_level log_level(void);
bool log_wants(enum log_level level);

/* tag: the module's name. format: "what happened key=value key=value". */
void log_event(enum log_level level, const char *tag, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define log_debug(tag, ...) log_event(LOG_DEBUG, tag, __VA_ARGS__)
#define log_info(tag, ...) log_event(LOG_INFO, tag, __VA_ARGS__)
#define log_warn(tag, ...) log_event(LOG_WARN, tag, __VA_ARGS__)
#define log_error(tag, ...) log_event(LOG_ERROR, tag, __VA_ARGS__)

/* For what traffic can cause: at most per_second lines a second, then one line "... N more suppressed" before
 * the next that may pass. One for each message, static; shared by all threads (the count is of all of them):
 *     static struct log_limit limit = LOG_LIMIT(5);
 *     log_limited(&limit, LOG_WARN, "http1", "refused a head: %s", why); */
struct log_limit {
    uint32_t per_second;
    uint64_t window; /* second << 32 | lines in it; atomic */
    uint64_t suppressed;
};
#define LOG_LIMIT(lines_per_second)      \
    {                                    \
        .per_second = (lines_per_second) \
    }

void log_limited(struct log_limit *limit, enum log_level level, const char *tag, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* The decision alone, with the time given: whether one line may pass in this second, and how many were held
 * back that nobody was told of yet. */
bool log_limit_take(struct log_limit *limit, uint32_t now_s, uint64_t *ret_suppressed);

/* One line without writing it: at most size bytes, the newline included. Returns the length. time_ms since
 * the epoch. */
size_t log_format(char *out, size_t size, bool json, uint64_t time_ms, enum log_level level, const char *tag,
                  struct bytes text);

#include "core/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/must.h"
#include "base/utf8.h"

const char *const log_level_words[] = {
#define X(name, text) text,
    LOG_LEVEL_LIST(X)
#undef X
        NULL
};

/* Settings are read by every thread and set rarely: relaxed is enough. */
static int least_level = LOG_INFO;
static bool as_json;
static int log_fd = STDERR_FILENO;

void log_set_level(enum log_level least)
{
    __atomic_store_n(&least_level, (int)least, __ATOMIC_RELAXED);
}

void log_set_json(bool json)
{
    __atomic_store_n(&as_json, json, __ATOMIC_RELAXED);
}

void log_set_fd(int fd)
{
    __atomic_store_n(&log_fd, fd, __ATOMIC_RELAXED);
}

enum log_level log_level(void)
{
    return (enum log_level)__atomic_load_n(&least_level, __ATOMIC_RELAXED);
}

bool log_wants(enum log_level level)
{
    return (int)level >= __atomic_load_n(&least_level, __ATOMIC_RELAXED);
}

/* ---- one line */

#define TAIL_BYTES 16 /* kept free for what ends a line */

struct line {
    char *out;
    size_t len;
    size_t size;
    bool cut;
};

static void put(struct line *l, const char *text, size_t len)
{
    if (l->cut || l->len + len + TAIL_BYTES > l->size) {
        l->cut = true;
        return;
    }
    memcpy(l->out + l->len, text, len);
    l->len += len;
}

static void put_end(struct line *l, const char *text)
{
    size_t len = strlen(text);
    must(len <= TAIL_BYTES && l->len + len <= l->size);
    memcpy(l->out + l->len, text, len);
    l->len += len;
}

/* C0 and C1 controls move the cursor, or begin a line of their own; U+2028 and U+2029 are line ends to some.
 */
static bool is_control(uint32_t code)
{
    return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x2028 || code == 0x2029;
}

static void put_escaped(struct line *l, bool json, struct bytes text)
{
    while (text.len && !l->cut) {
        char escape[12];
        uint32_t code = 0;
        size_t len = utf8_take(text, &code);
        int n = 0;
        if (len == 0)
            n = json ? snprintf(escape, sizeof escape, "\\ufffd")
                     : snprintf(escape, sizeof escape, "\\x%02x", (unsigned char)text.ptr[0]);
        else if (is_control(code) && json)
            n = snprintf(escape, sizeof escape, "\\u%04x", code);
        else if (is_control(code))
            n = code == '\n'   ? snprintf(escape, sizeof escape, "\\n")
                : code < 0x100 ? snprintf(escape, sizeof escape, "\\x%02x", code)
                               : snprintf(escape, sizeof escape, "\\u%04x", code);
        else if (code == '\\' || (json && code == '"'))
            n = snprintf(escape, sizeof escape, "\\%c", (char)code);
        if (n > 0)
            put(l, escape, (size_t)n);
        else
            put(l, text.ptr, len);
        text = bytes_skip(text, len ? len : 1);
    }
}

static void put_text(struct line *l, const char *text)
{
    put(l, text, strlen(text));
}

static void put_time(struct line *l, uint64_t time_ms)
{
    time_t seconds = (time_t)(time_ms / 1000);
    struct tm tm;
    char date[32], all[48];
    if (!gmtime_r(&seconds, &tm) || strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &tm) == 0)
        date[0] = 0;
    int n = snprintf(all, sizeof all, "%s.%03uZ", date, (unsigned)(time_ms % 1000));
    put(l, all, (size_t)n);
}

size_t log_format(char *out, size_t size, bool json, uint64_t time_ms, enum log_level level, const char *tag,
                  struct bytes text)
{
    must(size >= 128);
    struct line l = { .out = out, .size = size };
    const char *word = log_level_words[level];
    if (json)
        put_text(&l, "{\"time\":\"");
    put_time(&l, time_ms);
    put_text(&l, json ? "\",\"level\":\"" : " ");
    put_text(&l, word);
    put_text(&l, json ? "\",\"tag\":\"" : strlen(word) < 5 ? "  " : " ");
    put_escaped(&l, json, bytes_from(tag));
    put_text(&l, json ? "\",\"text\":\"" : ": ");
    put_escaped(&l, json, text);
    if (l.cut)
        put_end(&l, "...");
    put_end(&l, json ? "\"}\n" : "\n");
    return l.len;
}

static void write_line(enum log_level level, const char *tag, const char *format, va_list args)
{
    char text[LOG_LINE_BYTES_MAX], line[LOG_LINE_BYTES_MAX];
    int saved = errno; /* a caller may log first and look at errno then */
    struct timespec now;
    int n = vsnprintf(text, sizeof text, format, args);
    size_t len = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    len = log_format(line, sizeof line, __atomic_load_n(&as_json, __ATOMIC_RELAXED), ms, level, tag,
                     (struct bytes){ text, len });
    ssize_t wrote;
    do
        wrote = write(__atomic_load_n(&log_fd, __ATOMIC_RELAXED), line, len);
    while (wrote < 0 && errno == EINTR);
    errno = saved;
}

void log_event(enum log_level level, const char *tag, const char *format, ...)
{
    if (!log_wants(level))
        return;
    va_list args;
    va_start(args, format);
    write_line(level, tag, format, args);
    va_end(args);
}

/* ---- limits */

bool log_limit_take(struct log_limit *limit, uint32_t now_s, uint64_t *ret_suppressed)
{
    uint64_t before = __atomic_load_n(&limit->window, __ATOMIC_RELAXED), after;
    do {
        bool same = before >> 32 == now_s;
        if (same && (uint32_t)before >= limit->per_second) {
            __atomic_fetch_add(&limit->suppressed, 1, __ATOMIC_RELAXED);
            return false;
        }
        after = same ? before + 1 : (uint64_t)now_s << 32 | 1;
    } while (!__atomic_compare_exchange_n(&limit->window, &before, after, true, __ATOMIC_RELAXED,
                                          __ATOMIC_RELAXED));
    *ret_suppressed = __atomic_exchange_n(&limit->suppressed, 0, __ATOMIC_RELAXED);
    return true;
}

void log_limited(struct log_limit *limit, enum log_level level, const char *tag, const char *format, ...)
{
    struct timespec now;
    uint64_t suppressed;
    if (!log_wants(level))
        return;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    if (!log_limit_take(limit, (uint32_t)now.tv_sec, &suppressed))
        return;
    if (suppressed)
        log_event(level, tag, "... %llu more suppressed", (unsigned long long)suppressed);
    va_list args;
    va_start(args, format);
    write_line(level, tag, format, args);
    va_end(args);
}

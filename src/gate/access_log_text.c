#include "gate/access_log_text.h"

#include <time.h>

/* 16 signed bytes; the compiler makes the machine's own vectors of it. */
typedef int8_t vector __attribute__((vector_size(16)));
typedef uint64_t pair __attribute__((vector_size(16)));

/* Signed: what is beyond ASCII is negative, so one comparison finds it and the control characters. */
static bool needs_escape16(vector v)
{
    pair bad = (pair)((v < 0x20) | (v == 0x7f) | (v == '"') | (v == '\\'));
    return (bad[0] | bad[1]) != 0;
}

static bool needs_escape(char c)
{
    return (signed char)c < 0x20 || c == 0x7f || c == '"' || c == '\\';
}

static char *put_escape(char *at, unsigned char c, enum access_log_escape escape)
{
    static const char hex[] = "0123456789abcdef";
    *at++ = '\\';
    if (escape == ACCESS_LOG_HEX) {
        *at++ = 'x';
    } else if (c == '"' || c == '\\') {
        *at++ = (char)c;
        return at;
    } else {
        at = access_log_put(at, BYTES("u00"));
    }
    *at++ = hex[c >> 4];
    *at++ = hex[c & 15];
    return at;
}

static char *put_bytes(char *at, const char *from, size_t len, enum access_log_escape escape)
{
    for (size_t i = 0; i < len; i++) {
        if (needs_escape(from[i]))
            at = put_escape(at, (unsigned char)from[i], escape);
        else
            *at++ = from[i];
    }
    return at;
}

/* Fewer than 16 bytes, by two loads that overlap. */
static vector load_short(const char *from, size_t len)
{
    uint64_t low = 0;
    uint64_t high = 0;
    if (len >= 8) {
        memcpy(&low, from, 8);
        memcpy(&high, from + len - 8, 8);
    } else if (len >= 4) {
        uint32_t first;
        uint32_t last;
        memcpy(&first, from, 4);
        memcpy(&last, from + len - 4, 4);
        low = high = (uint64_t)last << 32 | first;
    } else {
        for (size_t i = 0; i < len; i++)
            low |= (uint64_t)(unsigned char)from[i] << 8 * i;
        low |= len < 8 ? UINT64_C(0x2020202020202020) << 8 * len : 0; /* spaces stand where nothing is */
        high = low;
    }
    return (vector)(pair){ low, high };
}

static char *put_short(char *at, const char *from, size_t len, enum access_log_escape escape)
{
    if (len == 0)
        return at;
    if (needs_escape16(load_short(from, len)))
        return put_bytes(at, from, len, escape);
    if (len >= 8) {
        memcpy(at, from, 8);
        memcpy(at + len - 8, from + len - 8, 8);
    } else if (len >= 4) {
        memcpy(at, from, 4);
        memcpy(at + len - 4, from + len - 4, 4);
    } else {
        at[0] = from[0];
        at[len / 2] = from[len / 2];
        at[len - 1] = from[len - 1];
    }
    return at + len;
}

char *access_log_put_text(char *at, struct bytes text, enum access_log_escape escape)
{
    const char *from = text.ptr;
    size_t left = text.len;
    for (; left >= 16; left -= 16, from += 16) {
        vector v;
        memcpy(&v, from, 16);
        if (needs_escape16(v)) {
            at = put_bytes(at, from, 16, escape);
            continue;
        }
        memcpy(at, &v, 16);
        at += 16;
    }
    if (left && text.len >= 16) { /* what is left and some before it, once more: they are clean both or not */
        vector v;
        memcpy(&v, from + left - 16, 16);
        if (!needs_escape16(v)) {
            memcpy(at + left - 16, &v, 16);
            return at + left;
        }
    }
    return put_short(at, from, left, escape);
}

/* ---- numbers ---- */

static const char two_digits[] =
    "00010203040506070809101112131415161718192021222324252627282930313233343536373839"
    "40414243444546474849505152535455565758596061626364656667686970717273747576777879"
    "8081828384858687888990919293949596979899";

static unsigned digits_of(uint64_t value)
{
    unsigned n = 1;
    for (; value >= 10000; value /= 10000)
        n += 4;
    return n + (value >= 10) + (value >= 100) + (value >= 1000);
}

char *access_log_put_number(char *at, uint64_t value)
{
    char *end = at + digits_of(value);
    char *to = end;
    for (; value >= 100; value /= 100)
        memcpy(to -= 2, &two_digits[value % 100 * 2], 2);
    if (value >= 10)
        memcpy(to - 2, &two_digits[value * 2], 2);
    else
        to[-1] = (char)('0' + value);
    return end;
}

static char *put_micros(char *at, uint32_t us)
{
    memcpy(at, &two_digits[us / 10000 * 2], 2);
    memcpy(at + 2, &two_digits[us / 100 % 100 * 2], 2);
    memcpy(at + 4, &two_digits[us % 100 * 2], 2);
    return at + 6;
}

char *access_log_put_seconds(char *at, uint64_t us)
{
    at = access_log_put_number(at, us / 1000000);
    *at++ = '.';
    return put_micros(at, (uint32_t)(us % 1000000));
}

/* ---- times: the calendar's part is worked out once a second ---- */

struct calendar {
    uint64_t second;
    char iso[20]; /* 2026-01-02T03:04:05. */
    char clf[26]; /* 02/Jan/2026:03:04:05 +0000 */
};

static const struct calendar *calendar_of(uint64_t second)
{
    static _Thread_local struct calendar c = { .second = UINT64_MAX };
    if (c.second == second)
        return &c;
    /* not by strftime's %b, which speaks the locale's language */
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    char text[64];
    const time_t t = (time_t)second;
    struct tm tm;
    gmtime_r(&t, &tm);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S.", &tm);
    memcpy(c.iso, text, sizeof c.iso);
    strftime(text, sizeof text, "%d/xxx/%Y:%H:%M:%S +0000", &tm);
    memcpy(text + 3, months + (size_t)tm.tm_mon * 3, 3);
    memcpy(c.clf, text, sizeof c.clf);
    c.second = second;
    return &c;
}

char *access_log_put_time(char *at, uint64_t wall_us)
{
    const struct calendar *c = calendar_of(wall_us / 1000000);
    memcpy(at, c->iso, sizeof c->iso);
    at = put_micros(at + sizeof c->iso, (uint32_t)(wall_us % 1000000));
    *at++ = 'Z';
    return at;
}

char *access_log_put_time_clf(char *at, uint64_t wall_us)
{
    const struct calendar *c = calendar_of(wall_us / 1000000);
    memcpy(at, c->clf, sizeof c->clf);
    return at + sizeof c->clf;
}

#include "load/replay.h"

#include <stdlib.h>

#include "base/json_read.h"
#include "proto/http.h"

#define LINE_ARENA_BYTES ((size_t)64 << 10)

/* ---- times ---- */

/* Days from 1970-01-01 (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms"). */
static int64_t days_of(int64_t year, int64_t month, int64_t day)
{
    year -= month <= 2;
    int64_t era = year / 400, of_era = year - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static bool digits(struct bytes *rest, size_t count, int64_t *ret)
{
    uint64_t n;
    if (rest->len < count || !bytes_to_u64((struct bytes){ rest->ptr, count }, &n))
        return false;
    *ret = (int64_t)n;
    *rest = bytes_skip(*rest, count);
    return true;
}

static bool literal(struct bytes *rest, char c)
{
    if (!rest->len || rest->ptr[0] != c)
        return false;
    *rest = bytes_skip(*rest, 1);
    return true;
}

static bool clock_time(struct bytes *rest, int64_t *ret_s)
{
    int64_t h, m, s;
    if (!digits(rest, 2, &h) || !literal(rest, ':') || !digits(rest, 2, &m) || !literal(rest, ':') ||
        !digits(rest, 2, &s))
        return false;
    *ret_s = h * 3600 + m * 60 + s;
    return true;
}

/* RFC 3339, UTC, with or without a fraction. */
static bool time_rfc3339(struct bytes text, int64_t *ret_us)
{
    int64_t year, month, day, s, fraction = 0, unit = 1000000;
    if (!digits(&text, 4, &year) || !literal(&text, '-') || !digits(&text, 2, &month) ||
        !literal(&text, '-') || !digits(&text, 2, &day) || !literal(&text, 'T') || !clock_time(&text, &s))
        return false;
    if (literal(&text, '.')) {
        for (int64_t digit; digits(&text, 1, &digit);) {
            unit /= 10;
            fraction += digit * unit;
        }
    }
    *ret_us = (days_of(year, month, day) * 86400 + s) * 1000000 + fraction;
    return month >= 1 && month <= 12;
}

/* 02/Mar/2026:10:15:04 +0000 */
static bool time_clf(struct bytes text, int64_t *ret_us)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    int64_t day, year, s, zone_h, zone_m;
    if (!digits(&text, 2, &day) || !literal(&text, '/') || text.len < 3)
        return false;
    const char *month = memmem(months, sizeof months - 1, text.ptr, 3);
    if (!month || (month - months) % 3)
        return false;
    text = bytes_skip(text, 3);
    if (!literal(&text, '/') || !digits(&text, 4, &year) || !literal(&text, ':') || !clock_time(&text, &s) ||
        !literal(&text, ' '))
        return false;
    bool west = literal(&text, '-');
    if ((!west && !literal(&text, '+')) || !digits(&text, 2, &zone_h) || !digits(&text, 2, &zone_m))
        return false;
    int64_t zone_s = (zone_h * 60 + zone_m) * 60 * (west ? -1 : 1);
    *ret_us = (days_of(year, (month - months) / 3 + 1, day) * 86400 + s - zone_s) * 1000000;
    return true;
}

/* ---- lines ---- */

struct found {
    int64_t at_us;
    struct bytes method, target;
    bool whole_seconds;
    size_t number; /* of the line: equal times keep their order */
};

static bool is_target(struct bytes t)
{
    for (size_t i = 0; i < t.len; i++) {
        if (t.ptr[i] <= ' ' || t.ptr[i] > '~' || t.ptr[i] == '#')
            return false;
    }
    return t.len && (t.ptr[0] == '/' || (t.len == 1 && t.ptr[0] == '*'));
}

/* The texts of the JSON are copied: its arena ends with the line. */
static bool take_json(struct bytes line, struct arena *a, struct found *f)
{
    struct arena scratch;
    struct json *j;
    arena_open(&scratch, &arena_heap, LINE_ARENA_BYTES, NULL, 0);
    bool good = json_read(line, &scratch, &j) == OK && time_rfc3339(json_member_text(j, "time"), &f->at_us);
    if (good) {
        f->method = arena_copy(a, json_member_text(j, "method"));
        f->target = arena_copy(a, json_member_text(j, "target"));
    }
    arena_close(&scratch);
    return good && f->method.ptr && f->target.ptr;
}

static int hex_of(char c)
{
    return c >= '0' && c <= '9'                             ? c - '0'
           : ascii_lower(c) >= 'a' && ascii_lower(c) <= 'f' ? ascii_lower(c) - 'a' + 10
                                                            : -1;
}

/* \xhh becomes what it stands for, percent-encoded where it has to be: the target was a request's. */
static struct bytes unescape(struct bytes text, struct arena *a)
{
    char *out = bytes_index(text, '\\') < text.len ? arena_get(a, text.len + 1) : NULL;
    size_t len = 0;
    if (!out)
        return text;
    for (size_t i = 0; i < text.len; i++) {
        bool escape = text.ptr[i] == '\\' && i + 3 < text.len && text.ptr[i + 1] == 'x';
        int high = escape ? hex_of(text.ptr[i + 2]) : -1, low = escape ? hex_of(text.ptr[i + 3]) : -1;
        if (high < 0 || low < 0) {
            out[len++] = text.ptr[i];
            continue;
        }
        out[len++] = (char)(high << 4 | low);
        i += 3;
    }
    return (struct bytes){ out, len };
}

static bool take_clf(struct bytes line, struct arena *a, struct found *f)
{
    size_t open = bytes_index(line, '['), quote;
    if (open == line.len)
        return false;
    struct bytes time = bytes_skip(line, open + 1), rest = time;
    time.len = bytes_index(time, ']');
    quote = bytes_index(rest, '"');
    if (quote == rest.len || !time_clf(time, &f->at_us))
        return false;
    struct bytes request = bytes_skip(rest, quote + 1);
    request.len = bytes_index(request, '"');
    f->method = (struct bytes){ request.ptr, bytes_index(request, ' ') };
    struct bytes target = f->method.len < request.len ? bytes_skip(request, f->method.len + 1) : BYTES_NONE;
    target.len = bytes_index(target, ' ');
    f->target = unescape(target, a);
    f->whole_seconds = true;
    return true;
}

static int by_time(const void *a, const void *b)
{
    const struct found *x = a, *y = b;
    if (x->at_us != y->at_us)
        return x->at_us < y->at_us ? -1 : 1;
    return x->number < y->number ? -1 : 1;
}

static void spread_seconds(struct found *f, size_t count)
{
    for (size_t i = 0; i < count;) {
        size_t end = i;
        while (end < count && f[end].at_us == f[i].at_us && f[end].whole_seconds)
            end++;
        for (size_t n = i + 1; n < end; n++)
            f[n].at_us += (int64_t)((n - i) * 1000000 / (end - i));
        i = end > i ? end : i + 1;
    }
}

static size_t count_lines(struct bytes text)
{
    size_t count = 1;
    for (size_t i = 0; i < text.len; i++)
        count += text.ptr[i] == '\n';
    return count;
}

err replay_read(struct bytes text, struct arena *a, struct replay *ret_replay, struct diag *reterr)
{
    size_t most = count_lines(text), count = 0;
    struct found *found = arena_get(a, most * sizeof *found);
    struct replay r = { .lines = arena_get(a, most * sizeof *r.lines) };
    struct bytes line;
    if (!found || !r.lines)
        return ERR_MEMORY;
    while (bytes_split(&text, '\n', &line)) {
        struct found f = { .number = count };
        line = bytes_trim(line);
        if (line.len && line.ptr[line.len - 1] == '\r')
            line.len--;
        bool good = line.len && (line.ptr[0] == '{' ? take_json(line, a, &f) : take_clf(line, a, &f));
        if (good && http_is_token(f.method) && is_target(f.target))
            found[count++] = f;
        else
            r.skipped += line.len > 0;
    }
    if (!count) {
        diag_set(reterr,
                 "there is no line in it that is a request of an access log (JSON, common or combined)");
        return ERR_CONF;
    }
    qsort(found, count, sizeof *found, by_time);
    spread_seconds(found, count);
    for (size_t i = 0; i < count; i++)
        r.lines[i] = (struct replay_line){ (uint64_t)(found[i].at_us - found[0].at_us), found[i].method,
                                           found[i].target };
    r.count = count;
    *ret_replay = r;
    return OK;
}

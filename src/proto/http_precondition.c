#include "proto/http_precondition.h"

#include <time.h>

/* ---- dates ---- */

static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

/* strftime without the process's language. */
void http_date_print(int64_t seconds, char out[HTTP_DATE_BYTES + 1])
{
    static const char days[] = "SunMonTueWedThuFriSat";
    struct tm tm;
    time_t t = (time_t)seconds;
    gmtime_r(&t, &tm);
    strftime(out, HTTP_DATE_BYTES + 1, "ddd, %d mmm %Y %H:%M:%S GMT", &tm);
    memcpy(out, days + (size_t)3 * (size_t)tm.tm_wday, 3);
    memcpy(out + 8, months + (size_t)3 * (size_t)tm.tm_mon, 3);
}

/* Days since 1970 in the Gregorian calendar: the well-known count from March (Fliegel and Van Flandern 1968).
 */
static int64_t days_of(int64_t year, int64_t month, int64_t day)
{
    year -= month <= 2;
    const int64_t era = year / 400;
    const int64_t of_era = year - era * 400;
    const int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

/* What is left of a text that is read from its front. */
struct reader {
    struct bytes rest;
    bool failed;
};

static void expect(struct reader *r, struct bytes text)
{
    if (!bytes_starts(r->rest, text)) {
        r->failed = true;
        return;
    }
    r->rest = bytes_skip(r->rest, text.len);
}

/* Exactly that many digits; a space may stand for the first (asctime). */
static int64_t read_number(struct reader *r, size_t digits, bool padded)
{
    int64_t n = 0;
    if (r->failed || r->rest.len < digits) {
        r->failed = true;
        return 0;
    }
    for (size_t i = 0; i < digits; i++) {
        char c = r->rest.ptr[i];
        if (padded && i == 0 && c == ' ')
            continue;
        if (c < '0' || c > '9')
            r->failed = true;
        n = n * 10 + (c - '0');
    }
    r->rest = bytes_skip(r->rest, digits);
    return n;
}

/* 1 to 12 */
static int64_t read_month(struct reader *r)
{
    for (int64_t m = 0; r->rest.len >= 3 && m < 12; m++) {
        if (memcmp(r->rest.ptr, months + 3 * m, 3) == 0) {
            r->rest = bytes_skip(r->rest, 3);
            return m + 1;
        }
    }
    r->failed = true;
    return 1;
}

struct date {
    int64_t year, month, day, hour, minute, second;
};

static void read_time(struct reader *r, struct date *d)
{
    d->hour = read_number(r, 2, false);
    expect(r, BYTES(":"));
    d->minute = read_number(r, 2, false);
    expect(r, BYTES(":"));
    d->second = read_number(r, 2, false);
}

/* Behind "Sun, ": "06 Nov 1994 08:49:37 GMT" */
static void read_imf(struct reader *r, struct date *d)
{
    d->day = read_number(r, 2, false);
    expect(r, BYTES(" "));
    d->month = read_month(r);
    expect(r, BYTES(" "));
    d->year = read_number(r, 4, false);
    expect(r, BYTES(" "));
    read_time(r, d);
    expect(r, BYTES(" GMT"));
}

/* Behind "Sunday, ": "06-Nov-94 08:49:37 GMT"; a year that seems 50 years ahead is in the past: this is for
 * dates of files, so that below 70 means 20xx. */
static void read_rfc850(struct reader *r, struct date *d)
{
    d->day = read_number(r, 2, false);
    expect(r, BYTES("-"));
    d->month = read_month(r);
    expect(r, BYTES("-"));
    d->year = read_number(r, 2, false);
    d->year += d->year < 70 ? 2000 : 1900;
    expect(r, BYTES(" "));
    read_time(r, d);
    expect(r, BYTES(" GMT"));
}

/* Behind "Sun ": "Nov  6 08:49:37 1994" */
static void read_asctime(struct reader *r, struct date *d)
{
    d->month = read_month(r);
    expect(r, BYTES(" "));
    d->day = read_number(r, 2, true);
    expect(r, BYTES(" "));
    read_time(r, d);
    expect(r, BYTES(" "));
    d->year = read_number(r, 4, false);
}

bool http_date_parse(struct bytes text, int64_t *ret_seconds)
{
    struct date d = { 0 };
    size_t comma = bytes_index(text, ',');
    size_t space = bytes_index(text, ' ');
    struct reader r = { .rest = bytes_skip(text, space < text.len ? space + 1 : text.len) };
    if (comma == text.len)
        read_asctime(&r, &d);
    else if (comma == 3)
        read_imf(&r, &d);
    else
        read_rfc850(&r, &d);
    if (r.failed || r.rest.len || d.year < 1970 || d.day < 1 || d.day > 31 || d.hour > 23 || d.minute > 59 ||
        d.second > 60)
        return false;
    *ret_seconds = days_of(d.year, d.month, d.day) * 86400 + d.hour * 3600 + d.minute * 60 + d.second;
    return true;
}

/* ---- tags ---- */

static bool is_weak(struct bytes etag)
{
    return bytes_starts(etag, BYTES("W/"));
}

static struct bytes opaque(struct bytes etag)
{
    return is_weak(etag) ? bytes_skip(etag, 2) : etag;
}

/* The next tag of the list: [W/]"...", whose text may hold commas. false: none is left, or it is malformed.
 */
static bool next_etag(struct bytes *list, struct bytes *ret_etag)
{
    while (list->len && (list->ptr[0] == ' ' || list->ptr[0] == '\t' || list->ptr[0] == ','))
        *list = bytes_skip(*list, 1);
    const size_t quote = is_weak(*list) ? 2 : 0;
    if (list->len <= quote || list->ptr[quote] != '"')
        return false;
    const size_t text = bytes_index(bytes_skip(*list, quote + 1), '"');
    const size_t end = quote + 1 + text + 1;
    if (end > list->len)
        return false;
    *ret_etag = (struct bytes){ list->ptr, end };
    *list = bytes_skip(*list, end);
    return true;
}

bool http_etag_listed(struct bytes list, struct bytes etag, bool weak)
{
    struct bytes other;
    if (bytes_eq(bytes_trim(list), BYTES("*")))
        return true;
    if (!etag.len || (!weak && is_weak(etag)))
        return false;
    while (next_etag(&list, &other)) {
        if (weak ? bytes_eq(opaque(other), opaque(etag)) : bytes_eq(other, etag))
            return true;
    }
    return false;
}

/* ---- preconditions ---- */

/* Any of the field's lines. */
static bool is_listed(const struct http_fields *fields, const struct http_field *first, struct bytes etag,
                      bool weak)
{
    for (const struct http_field *f = first; f < fields->at + fields->count; f++) {
        if (!(f->flags & FIELD_REMOVED) && bytes_eq_nocase(http_field_name(f), http_field_name(first)) &&
            http_etag_listed(http_field_value(f), etag, weak))
            return true;
    }
    return false;
}

/* A date that cannot be read is as if it were not there (RFC 9110 13.1.3, 13.1.4). */
static bool is_after(const struct http_validators *v, const struct http_field *f, bool otherwise)
{
    int64_t date;
    if (!v->last_modified_s || !http_date_parse(http_field_value(f), &date))
        return otherwise;
    return v->last_modified_s > date;
}

unsigned http_precondition(const struct http_fields *request, enum http_method method,
                           const struct http_validators *v)
{
    const bool reads = method == HTTP_GET || method == HTTP_HEAD;
    const struct http_field *match = http_fields_find(request, BYTES("If-Match"));
    const struct http_field *unmodified =
        match ? NULL : http_fields_find(request, BYTES("If-Unmodified-Since"));
    if (match && !is_listed(request, match, v->etag, false))
        return 412;
    if (unmodified && is_after(v, unmodified, false))
        return 412;
    const struct http_field *none = http_fields_get(request, FIELD_IF_NONE_MATCH);
    if (none)
        return is_listed(request, none, v->etag, true) ? (reads ? 304 : 412) : 0;
    const struct http_field *modified = reads ? http_fields_get(request, FIELD_IF_MODIFIED_SINCE) : NULL;
    return modified && !is_after(v, modified, true) ? 304 : 0;
}

bool http_if_range(const struct http_fields *request, const struct http_validators *v)
{
    const struct http_field *f = http_fields_find(request, BYTES("If-Range"));
    int64_t date;
    if (!f)
        return true;
    struct bytes value = bytes_trim(http_field_value(f));
    if (value.len && (value.ptr[0] == '"' || is_weak(value)))
        return http_etag_listed(value, v->etag, false);
    return v->last_modified_s && http_date_parse(value, &date) && date == v->last_modified_s;
}

/* Accept-Encoding, Range and the If- fields: whatever stands in them, what comes out holds its promises. The
 * first byte says which field and (for ranges) how long the file is; the rest is its value, cut in two lines
 * at a '|'. */
#include "fuzz.h"
#include "proto/content_coding.h"
#include "proto/http_precondition.h"
#include "proto/http_range.h"

static void try_accept_encoding(const struct http_fields *fields)
{
    static const enum content_coding offered[] = { CODING_ZSTD, CODING_BR, CODING_GZIP };
    struct accept_encoding a;
    accept_encoding_read(fields, &a);
    for (unsigned c = 0; c < CODING_COUNT; c++)
        fuzz_check(a.weight[c] <= 1000);
    const enum content_coding best = accept_encoding_choose(&a, offered, 3);
    fuzz_check(best < CODING_COUNT);
    for (unsigned i = 0; best != CODING_IDENTITY && i < 3; i++)
        fuzz_check(a.weight[offered[i]] <= a.weight[best]);
    fuzz_check(best == CODING_IDENTITY || a.weight[best] > 0);
    (void)http_fields_list_has(fields, FIELD_ACCEPT_ENCODING, BYTES("gzip"));
}

static void try_range(struct bytes value, uint64_t length)
{
    struct http_range r[HTTP_RANGES_MAX];
    unsigned count;
    uint64_t sum = 0;
    const enum http_ranges what = http_range_parse(value, length, r, &count);
    if (what != HTTP_RANGES_SOME)
        return;
    fuzz_check(count >= 1 && count <= HTTP_RANGES_MAX);
    for (unsigned i = 0; i < count; i++) {
        fuzz_check(r[i].first <= r[i].last && r[i].last < length);
        sum += r[i].last - r[i].first + 1;
    }
    fuzz_check(sum <= length); /* they do not overlap */
}

static void try_preconditions(const struct http_fields *fields)
{
    static const struct http_validators v = { { "\"1-a\"", 5 }, 784111777 };
    static const enum http_method methods[] = { HTTP_GET, HTTP_PUT };
    for (unsigned i = 0; i < 2; i++) {
        const unsigned status = http_precondition(fields, methods[i], &v);
        fuzz_check(status == 0 || status == 412 || (status == 304 && methods[i] == HTTP_GET));
    }
    (void)http_if_range(fields, &v);
}

/* What is printed is read as the same; and what was read, if it is printed. */
static void try_date(struct bytes value)
{
    int64_t seconds;
    int64_t again;
    char text[HTTP_DATE_BYTES + 1];
    if (!http_date_parse(value, &seconds))
        return;
    fuzz_check(seconds >= 0);
    http_date_print(seconds, text);
    if (seconds < INT64_C(253402300800)) /* the year 10000 has no such form */
        fuzz_check(http_date_parse((struct bytes){ text, HTTP_DATE_BYTES }, &again) && again == seconds);
}

static struct http_fields fields_of(struct bytes value, struct bytes name, struct http_field at[2])
{
    struct http_fields f = { .at = at, .count_max = 2 };
    struct bytes line;
    while (f.count < 2 && bytes_split(&value, '|', &line))
        at[f.count++] = (struct http_field){ .name = name.ptr,
                                             .name_len = (uint16_t)name.len,
                                             .value = line.ptr,
                                             .value_len = (uint32_t)line.len,
                                             .id = (uint8_t)http_field_id_of(name) };
    return f;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct bytes names[] = {
        { "If-None-Match", 13 },       { "If-Match", 8 }, { "If-Modified-Since", 17 },
        { "If-Unmodified-Since", 19 }, { "If-Range", 8 },
    };
    struct http_field at[2];
    if (size < 1)
        return 0;
    const struct bytes value = { (const char *)data + 1, size - 1 };
    struct http_fields f = fields_of(value, BYTES("Accept-Encoding"), at);
    switch (data[0] % 8) {
    case 0:
        try_accept_encoding(&f);
        break;
    case 1:
        try_range(value, (uint64_t)1 << (data[0] / 8));
        break;
    case 2:
        try_date(value);
        break;
    default:
        f = fields_of(value, names[data[0] % 8 - 3], at);
        try_preconditions(&f);
    }
    return 0;
}

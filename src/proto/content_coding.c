#include "proto/content_coding.h"

static const struct bytes names[CODING_COUNT] = {
#define X(id, name) { name, sizeof(name) - 1 },
    CONTENT_CODING_LIST(X)
#undef X
};

struct bytes content_coding_name(enum content_coding c)
{
    return names[c];
}

enum content_coding content_coding_of(struct bytes name)
{
    for (unsigned c = 0; c < CODING_COUNT; c++) {
        if (bytes_eq_nocase(name, names[c]))
            return (enum content_coding)c;
    }
    return bytes_eq_nocase(name, BYTES("x-gzip")) ? CODING_GZIP : CODING_COUNT;
}

/* qvalue of RFC 9110 12.4.2: "0" or "1", then at most three digits, which behind a 1 are zeros. */
static bool read_weight(struct bytes text, uint16_t *ret_weight)
{
    if (text.len == 0 || text.len > 5 || (text.ptr[0] != '0' && text.ptr[0] != '1'))
        return false;
    if (text.len > 1 && text.ptr[1] != '.')
        return false;
    unsigned weight = text.ptr[0] == '1' ? 1000 : 0;
    unsigned unit = 100;
    for (size_t i = 2; i < text.len; i++, unit /= 10) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return false;
        weight += unit * (unsigned)(text.ptr[i] - '0');
    }
    if (weight > 1000)
        return false;
    *ret_weight = (uint16_t)weight;
    return true;
}

/* name [ OWS ";" OWS "q=" qvalue ] */
static void read_member(struct bytes member, struct bytes *ret_name, uint16_t *ret_weight)
{
    struct bytes name;
    *ret_weight = 1000;
    if (!bytes_split(&member, ';', &name))
        name = BYTES_NONE;
    *ret_name = bytes_trim(name);
    if (!member.ptr)
        return;
    member = bytes_trim(member);
    if (member.len < 2 || ascii_lower(member.ptr[0]) != 'q' || member.ptr[1] != '=' ||
        !read_weight(bytes_skip(member, 2), ret_weight))
        *ret_weight = 0;
}

#define WEIGHT_NONE UINT16_MAX /* not listed */

static void read_line(struct bytes line, struct accept_encoding *a, uint16_t *star)
{
    struct bytes member;
    while (bytes_split(&line, ',', &member)) {
        struct bytes name;
        uint16_t weight;
        read_member(member, &name, &weight);
        enum content_coding c = content_coding_of(name);
        if (c < CODING_COUNT)
            a->weight[c] = weight;
        else if (bytes_eq(name, BYTES("*")))
            *star = weight;
    }
}

void accept_encoding_read(const struct http_fields *fields, struct accept_encoding *ret)
{
    uint16_t star = WEIGHT_NONE;
    ret->said = false;
    for (unsigned c = 0; c < CODING_COUNT; c++)
        ret->weight[c] = WEIGHT_NONE;
    for (uint32_t i = 0; i < fields->count; i++) {
        const struct http_field *f = &fields->at[i];
        if (f->id != FIELD_ACCEPT_ENCODING || f->flags & FIELD_REMOVED)
            continue;
        ret->said = true;
        read_line(http_field_value(f), ret, &star);
    }
    for (unsigned c = 0; c < CODING_COUNT; c++) {
        if (ret->weight[c] != WEIGHT_NONE)
            continue;
        if (star != WEIGHT_NONE)
            ret->weight[c] = star;
        else
            ret->weight[c] = c == CODING_IDENTITY ? CODING_WEIGHT_UNSAID : 0;
    }
}

enum content_coding accept_encoding_choose(const struct accept_encoding *a,
                                           const enum content_coding *offered, unsigned count)
{
    enum content_coding best = CODING_IDENTITY;
    uint16_t best_weight = 0;
    for (unsigned i = 0; a->said && i < count; i++) {
        if (a->weight[offered[i]] > best_weight) {
            best = offered[i];
            best_weight = a->weight[best];
        }
    }
    return a->weight[CODING_IDENTITY] > best_weight ? CODING_IDENTITY : best;
}

bool http_fields_list_has(const struct http_fields *fields, enum http_field_id id, struct bytes token)
{
    for (uint32_t i = 0; i < fields->count; i++) {
        const struct http_field *f = &fields->at[i];
        if (f->id != id || f->flags & FIELD_REMOVED)
            continue;
        struct bytes line = http_field_value(f);
        struct bytes member;
        while (bytes_split(&line, ',', &member)) {
            member.len = bytes_index(member, '=');
            if (bytes_eq_nocase(bytes_trim(member), token))
                return true;
        }
    }
    return false;
}

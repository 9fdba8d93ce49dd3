/* http_field_id: from a field's name to its enum http_field_id in two or three nanoseconds.
 *
 *     first and last byte, length ─▶ slots[] ─▶ id ─▶ keys[id]
 *
 * A key is the name as words that may overlap, compared under a mask that hides letter case:
 *
 *     "Content-Length"
 *      └──a───┘                a: first 8 bytes
 *            └──b───┘          b: last 8 bytes      (c: bytes 8 to 15 of names longer than 16)
 *
 * The tables are made from HTTP_FIELD_LIST before main begins and never change. Any thread. */
#pragma once
#include "proto/http.h"

#define HTTP_FIELD_NAME_BYTES_MAX 24 /* of the names in HTTP_FIELD_LIST */
#define HTTP_FIELD_SLOTS 256

struct http_name_words {
    uint64_t a, b, c;
};

struct http_name_key {
    struct http_name_words want, mask;
    size_t len;
};

extern struct http_name_key http_name_keys[FIELD_COUNT];
extern uint8_t http_name_slots[HTTP_FIELD_SLOTS];

static inline uint64_t http_load64(const char *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

static inline uint32_t http_load32(const char *p)
{
    uint32_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

static inline uint16_t http_load16(const char *p)
{
    uint16_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

/* Overlapping loads: they never read past the name. len is 2 to HTTP_FIELD_NAME_BYTES_MAX. */
static inline struct http_name_words http_name_words_of(const char *name, size_t len)
{
    if (len >= 8)
        return (struct http_name_words){ http_load64(name), http_load64(name + len - 8),
                                         len > 16 ? http_load64(name + 8) : 0 };
    if (len >= 4)
        return (struct http_name_words){ http_load32(name), http_load32(name + len - 4), 0 };
    return (struct http_name_words){ http_load16(name), http_load16(name + len - 2), 0 };
}

/* The factors were searched for so that no two names of today's list share a slot; probing keeps a list that
 * grows right until they are searched again. 0xdf lets upper and lower case fall together. */
static inline unsigned http_name_slot(const char *name, size_t len)
{
    unsigned first = name[0] & 0xdf;
    unsigned last = name[len - 1] & 0xdf;
    return (first + last * 2 + (unsigned)len * 18) % HTTP_FIELD_SLOTS;
}

static inline bool http_name_matches(const struct http_name_key *key, struct http_name_words w, size_t len)
{
    uint64_t differs = ((w.a ^ key->want.a) & key->mask.a) | ((w.b ^ key->want.b) & key->mask.b) |
                       ((w.c ^ key->want.c) & key->mask.c);
    return differs == 0 && key->len == len;
}

static inline enum http_field_id http_field_id_find(const char *name, size_t len)
{
    if (len < 2 || len > HTTP_FIELD_NAME_BYTES_MAX)
        return FIELD_OTHER;
    unsigned slot = http_name_slot(name, len);
    for (unsigned id; (id = http_name_slots[slot]) != FIELD_OTHER; slot = (slot + 1) % HTTP_FIELD_SLOTS) {
        if (http_name_matches(&http_name_keys[id], http_name_words_of(name, len), len))
            return (enum http_field_id)id;
    }
    return FIELD_OTHER;
}

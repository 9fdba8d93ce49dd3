/* First by place, era, rules and the key's first bytes. What is the same in these has much in common behind
 * them too (a prefix, digits of which few bits vary): what does not vary is left out, and the first bits of
 * the rest say the order. Those that are the same in these bits are looked at once more among themselves.
 *
 *      key:  6f 3a 30 30 31 ...
 *      mask: 00 00 00 0f 0f ...     bits that are not the same in all of them
 *                   └──┴──────▶ bits of struct ordered
 *
 * Bits are ordered one byte after the other, the first first (radix sort), few of a kind by comparing. */
#include "ledger/checkpoint_order.h"

#include <stdlib.h>

#include "base/mem.h"

#define FRONT_WORDS 4
#define FEW 24
#define PLACE_BITS 3 /* items stand on 8 bytes */

enum record_place checkpoint_ordered_place(const struct ordered *o)
{
    return (enum record_place)(o->item & ((1u << PLACE_BITS) - 1));
}

static const struct frozen_item *item_of(const struct ordered *o)
{
    return (const struct frozen_item *)(o->item >> PLACE_BITS << PLACE_BITS);
}

struct record_image checkpoint_ordered_image(const struct ordered *o, bool *ret_gone)
{
    const struct frozen one = { .data = (char *)(uintptr_t)item_of(o), .bytes = SIZE_MAX };
    struct record_image image;
    size_t at = 0;
    frozen_next(&one, &at, &image, ret_gone);
    return image;
}

void checkpoint_ordered_fetch(const struct ordered *o)
{
    const char *item = (const char *)item_of(o);
    __builtin_prefetch(item);
    __builtin_prefetch(item + 64);
    __builtin_prefetch(item + 128);
}

/* Of the key, as a big-endian number, filled up with zeros. */
static inline uint64_t key_word(const struct frozen_item *i, unsigned n)
{
    uint64_t word = 0;
    if (n * sizeof word < i->key_bytes)
        memcpy(&word, (const char *)(i + 1) + n * sizeof word, sizeof word);
    return __builtin_bswap64(word);
}

static uint64_t first_bits(const struct frozen_item *i, enum record_place place)
{
    const uint64_t era = place == RECORD_IN_OPEN ? i->era : 0;
    return (uint64_t)place << 56 | era << 40 | (uint64_t)i->rules << 32 | key_word(i, 0) >> 32;
}

/* ---- what varies ---- */

struct run { /* of bits that vary, side by side */
    unsigned word, shift, bits;
};
struct runs {
    unsigned count;
    struct run at[64];
};

/* The first 64 bits of the mask. */
static void runs_of(const uint64_t mask[FRONT_WORDS], struct runs *r)
{
    unsigned room = 64;
    r->count = 0;
    for (unsigned w = 0; w < FRONT_WORDS; w++) {
        for (uint64_t left = mask[w]; left && room;) {
            const unsigned top = (unsigned)__builtin_clzll(left);
            const uint64_t up = left << top;
            unsigned bits = ~up ? (unsigned)__builtin_clzll(~up) : 64;
            bits = bits < room ? bits : room;
            r->at[r->count++] = (struct run){ w, 64 - top - bits, bits };
            room -= bits;
            left = top + bits == 64 ? 0 : left & UINT64_MAX >> (top + bits);
        }
    }
}

static uint64_t varying_bits(const struct runs *r, const struct frozen_item *item)
{
    uint64_t all = 0;
    unsigned left = 64;
    for (unsigned i = 0; i < r->count; i++) {
        const struct run *run = &r->at[i];
        left -= run->bits;
        all |= (key_word(item, run->word) >> run->shift & UINT64_MAX >> (64 - run->bits)) << left;
    }
    return all;
}

/* ---- order ---- */

/* Of two that are the same but for their keys. */
static int compare_keys(const void *a, const void *b)
{
    const struct ordered *x = a, *y = b;
    const struct frozen_item *i = item_of(x), *j = item_of(y);
    int c = memcmp(i + 1, j + 1, i->key_bytes < j->key_bytes ? i->key_bytes : j->key_bytes);
    if (c == 0 && i->key_bytes != j->key_bytes)
        return i->key_bytes < j->key_bytes ? -1 : 1;
    return c ? c : x->item < y->item ? -1 : 1;
}

/* Of those whose bits were the same. */
static void order_more(struct ordered *at, struct ordered *beside, size_t count);

static void order_few(struct ordered *at, struct ordered *beside, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        const struct ordered o = at[i];
        size_t to = i;
        for (; to > 0 && o.bits < at[to - 1].bits; to--)
            at[to] = at[to - 1];
        at[to] = o;
    }
    for (size_t i = 0, same; i < count; i += same) {
        for (same = 1; i + same < count && at[i + same].bits == at[i].bits; same++)
            ;
        order_more(at + i, beside, same);
    }
}

static unsigned byte_of(const struct ordered *o, unsigned byte)
{
    return o->bits >> (56 - byte * 8) & 255;
}

/* Those at hand have the same bytes before `byte`. */
static void order_from(struct ordered *at, struct ordered *beside, size_t count, unsigned byte)
{
    size_t counts[256], begin = 0;
    if (count <= FEW) {
        order_few(at, beside, count);
        return;
    }
    for (;; byte++) {
        if (byte == sizeof at->bits) {
            order_more(at, beside, count);
            return;
        }
        memset(counts, 0, sizeof counts);
        for (size_t i = 0; i < count; i++)
            counts[byte_of(&at[i], byte)]++;
        if (counts[byte_of(at, byte)] != count)
            break;
    }
    size_t ends[256];
    for (unsigned b = 0; b < 256; b++) {
        ends[b] = begin;
        begin += counts[b];
    }
    for (size_t i = 0; i < count; i++)
        beside[ends[byte_of(&at[i], byte)]++] = at[i];
    memcpy(at, beside, count * sizeof *at);
    for (unsigned b = 0; b < 256; b++) {
        if (counts[b] > 1)
            order_from(at + ends[b] - counts[b], beside, counts[b], byte + 1);
    }
}

static void order_more(struct ordered *at, struct ordered *beside, size_t count)
{
    uint64_t mask[FRONT_WORDS] = { 0 };
    struct runs runs;
    if (count < 2)
        return;
    const struct frozen_item *first = item_of(at);
    for (size_t i = 1; i < count; i++) {
        for (unsigned w = 0; w < FRONT_WORDS; w++)
            mask[w] |= key_word(item_of(&at[i]), w) ^ key_word(first, w);
    }
    runs_of(mask, &runs);
    if (!runs.count) {
        qsort(at, count, sizeof *at, compare_keys);
        return;
    }
    for (size_t i = 0; i < count; i++)
        at[i].bits = varying_bits(&runs, item_of(&at[i]));
    order_from(at, beside, count, 0);
}

static void add(struct checkpoint_order *o, const struct frozen_item *item, enum record_place place)
{
    o->at[o->count++] = (struct ordered){ first_bits(item, place), (uintptr_t)item | place };
}

void checkpoint_order(struct checkpoint_order *o, const struct frozen *f)
{
    struct record_image image;
    bool gone;
    size_t at = 0;
    _Static_assert(RECORD_IN_DONE < 1 << PLACE_BITS, "beside the item's address");
    if (o->room < f->count * (size_t)2) {
        checkpoint_order_close(o);
        o->room = f->count * (size_t)4;
        o->at = mem_must_get(o->room * sizeof *o->at);
        o->beside = mem_must_get(o->room * sizeof *o->beside);
    }
    o->count = 0;
    for (size_t before = 0; frozen_next(f, &at, &image, &gone); before = at) {
        const struct frozen_item *item = (const struct frozen_item *)(f->data + before);
        if (image.was_in && (gone || image.was_in != image.goes_to))
            add(o, item, image.was_in);
        if (!gone)
            add(o, item, image.goes_to);
    }
    if (o->count)
        order_from(o->at, o->beside, o->count, 0);
}

void checkpoint_order_close(struct checkpoint_order *o)
{
    mem_free(o->at);
    mem_free(o->beside);
    *o = (struct checkpoint_order){ 0 };
}

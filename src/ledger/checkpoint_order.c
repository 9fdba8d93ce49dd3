/* Keys have much in common (kind, a prefix, digits of which few bits vary). What does not vary is left out,
 * the first bits of the rest are ordered one byte after the other, the first first (radix sort), few of a
 * kind by comparing. Those that are the same in all of these bits are looked at once more among themselves.
 *
 *      place era  rules key                 front: the first bytes of all that
 *      01    0007 01    6f 6f 3a 30 31 ...
 *      00    0000 00    1a 00 00 00 0f      mask: bits that are not the same in all of them
 *                       └┴─────────┴──────▶ differs */
#include "ledger/checkpoint_order.h"

#include <stdlib.h>

#include "base/mem.h"

#define FRONT_WORDS 4
#define FRONT_BYTES (sizeof(uint64_t) * FRONT_WORDS)
#define FEW 24
#define PLACE_BITS 3 /* items stand on 8 bytes */

struct front {
    uint64_t words[FRONT_WORDS]; /* big-endian, filled up with zeros */
};

enum record_place checkpoint_ordered_place(const struct ordered *o)
{
    return (enum record_place)(o->item & ((1u << PLACE_BITS) - 1));
}

static char *item_of(const struct ordered *o)
{
    return (char *)(o->item >> PLACE_BITS << PLACE_BITS);
}

struct record_image checkpoint_ordered_image(const struct ordered *o, bool *ret_gone)
{
    const struct frozen one = { .data = item_of(o), .bytes = SIZE_MAX };
    struct record_image image;
    size_t at = 0;
    frozen_next(&one, &at, &image, ret_gone);
    return image;
}

void checkpoint_ordered_fetch(const struct ordered *o)
{
    const char *item = item_of(o);
    __builtin_prefetch(item);
    __builtin_prefetch(item + 64);
    __builtin_prefetch(item + 128);
}

static struct front front_of(const struct record_image *image, enum record_place place)
{
    const uint16_t era = place == RECORD_IN_OPEN ? image->era : 0;
    char front[FRONT_BYTES] = { (char)place, (char)(era >> 8), (char)era, (char)image->rules };
    struct front f;
    const size_t room = sizeof front - 4, len = image->key.len < room ? image->key.len : room;
    if (len)
        memcpy(front + 4, image->key.ptr, len);
    memcpy(f.words, front, sizeof front);
    for (unsigned i = 0; i < FRONT_WORDS; i++)
        f.words[i] = __builtin_bswap64(f.words[i]);
    return f;
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
static struct runs runs_of(const struct front *mask)
{
    struct runs r = { 0 };
    unsigned room = 64;
    for (unsigned w = 0; w < FRONT_WORDS; w++) {
        for (uint64_t left = mask->words[w]; left && room;) {
            const unsigned top = (unsigned)__builtin_clzll(left);
            const uint64_t up = left << top;
            unsigned bits = ~up ? (unsigned)__builtin_clzll(~up) : 64;
            bits = bits < room ? bits : room;
            r.at[r.count++] = (struct run){ w, 64 - top - bits, bits };
            room -= bits;
            left = top + bits == 64 ? 0 : left & (UINT64_MAX >> (top + bits));
        }
    }
    return r;
}

static uint64_t varying_bits(const struct runs *r, const struct front *f)
{
    uint64_t all = 0;
    unsigned left = 64;
    for (unsigned i = 0; i < r->count; i++) {
        const struct run *run = &r->at[i];
        const uint64_t bits = f->words[run->word] >> run->shift & UINT64_MAX >> (64 - run->bits);
        left -= run->bits;
        all |= bits << left;
    }
    return all;
}

/* ---- order ---- */

/* Of two that are the same in what differs. */
static int compare_whole(const void *a, const void *b)
{
    const struct ordered *x = a, *y = b;
    bool gone;
    const struct record_image i = checkpoint_ordered_image(x, &gone), j = checkpoint_ordered_image(y, &gone);
    const struct front f = front_of(&i, checkpoint_ordered_place(x)),
                       g = front_of(&j, checkpoint_ordered_place(y));
    for (unsigned w = 0; w < FRONT_WORDS; w++) {
        if (f.words[w] != g.words[w])
            return f.words[w] < g.words[w] ? -1 : 1;
    }
    int c = memcmp(i.key.ptr, j.key.ptr, i.key.len < j.key.len ? i.key.len : j.key.len);
    if (c == 0 && i.key.len != j.key.len)
        return i.key.len < j.key.len ? -1 : 1;
    return c ? c : x->item < y->item ? -1 : 1;
}

static bool comes_before(const struct ordered *x, const struct ordered *y)
{
    return x->differs != y->differs ? x->differs < y->differs : compare_whole(x, y) < 0;
}

static void order_few(struct ordered *at, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        const struct ordered o = at[i];
        size_t to = i;
        for (; to > 0 && comes_before(&o, &at[to - 1]); to--)
            at[to] = at[to - 1];
        at[to] = o;
    }
}

static unsigned byte_of(const struct ordered *o, unsigned byte)
{
    return o->differs >> (56 - byte * 8) & 255;
}

static struct front front_at(const struct ordered *o)
{
    bool gone;
    const struct record_image image = checkpoint_ordered_image(o, &gone);
    return front_of(&image, checkpoint_ordered_place(o));
}

static void order_from(struct ordered *at, struct ordered *beside, size_t count, unsigned byte);

static void order_all(struct ordered *at, struct ordered *beside, size_t count)
{
    struct front mask = { 0 };
    if (count < 2)
        return;
    const struct front first = front_at(at);
    for (size_t i = 1; i < count; i++) {
        const struct front f = front_at(&at[i]);
        for (unsigned w = 0; w < FRONT_WORDS; w++)
            mask.words[w] |= f.words[w] ^ first.words[w];
    }
    const struct runs runs = runs_of(&mask);
    if (!runs.count) {
        qsort(at, count, sizeof *at, compare_whole);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        const struct front f = front_at(&at[i]);
        at[i].differs = varying_bits(&runs, &f);
    }
    order_from(at, beside, count, 0);
}

/* Those at hand have the same bytes before `byte`. */
static void order_from(struct ordered *at, struct ordered *beside, size_t count, unsigned byte)
{
    size_t counts[256], begin = 0;
    if (count <= FEW) {
        order_few(at, count);
        return;
    }
    for (;; byte++) {
        if (byte == sizeof at->differs) {
            order_all(at, beside, count);
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

static void add(struct checkpoint_order *o, const char *item, enum record_place place)
{
    o->at[o->count++] = (struct ordered){ .item = (uintptr_t)item | place };
}

void checkpoint_order(struct checkpoint_order *o, const struct frozen *f)
{
    struct record_image image;
    bool gone;
    size_t at = 0;
    if (o->room < f->count * (size_t)2) {
        checkpoint_order_close(o);
        o->room = f->count * (size_t)4;
        o->at = mem_must_get(o->room * sizeof *o->at);
        o->beside = mem_must_get(o->room * sizeof *o->beside);
    }
    o->count = 0;
    for (size_t before = 0; frozen_next(f, &at, &image, &gone); before = at) {
        if (image.was_in && (gone || image.was_in != image.goes_to))
            add(o, f->data + before, image.was_in);
        if (!gone)
            add(o, f->data + before, image.goes_to);
    }
    order_all(o->at, o->beside, o->count);
}

void checkpoint_order_close(struct checkpoint_order *o)
{
    mem_free(o->at);
    mem_free(o->beside);
    *o = (struct checkpoint_order){ 0 };
}

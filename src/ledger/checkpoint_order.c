/* By one byte of the keys after the other, the first first (radix sort); few of a kind by comparing. */
#include "ledger/checkpoint_order.h"

#include <stdlib.h>

#include "base/mem.h"

#define FRONT_BYTES (sizeof(uint64_t) * ORDERED_WORDS)
#define FEW 24

struct record_image checkpoint_ordered_image(const char *item, bool *ret_gone)
{
    const struct frozen one = { .data = (char *)(uintptr_t)item, .bytes = SIZE_MAX };
    struct record_image image;
    size_t at = 0;
    frozen_next(&one, &at, &image, ret_gone);
    return image;
}

enum record_place checkpoint_ordered_place(const struct ordered *o)
{
    return (enum record_place)(o->front[0] >> 56);
}

static struct ordered ordered_of(const char *item, const struct record_image *image, uint8_t place)
{
    const uint16_t era = place == RECORD_IN_OPEN ? image->era : 0;
    char front[FRONT_BYTES] = { (char)place, (char)(era >> 8), (char)era, (char)image->rules };
    struct ordered o = { .item = item };
    const size_t room = sizeof front - 4, len = image->key.len < room ? image->key.len : room;
    if (len)
        memcpy(front + 4, image->key.ptr, len);
    memcpy(o.front, front, sizeof front);
    for (unsigned i = 0; i < ORDERED_WORDS; i++)
        o.front[i] = __builtin_bswap64(o.front[i]);
    return o;
}

/* Of two whose beginnings are the same. */
static int compare_whole(const void *a, const void *b)
{
    const struct ordered *x = a, *y = b;
    bool gone;
    const struct record_image i = checkpoint_ordered_image(x->item, &gone),
                              j = checkpoint_ordered_image(y->item, &gone);
    int c = memcmp(i.key.ptr, j.key.ptr, i.key.len < j.key.len ? i.key.len : j.key.len);
    if (c == 0 && i.key.len != j.key.len)
        return i.key.len < j.key.len ? -1 : 1;
    return c ? c : x->item < y->item ? -1 : 1;
}

static bool comes_before(const struct ordered *x, const struct ordered *y)
{
    for (unsigned n = 0; n < ORDERED_WORDS; n++) {
        if (x->front[n] != y->front[n])
            return x->front[n] < y->front[n];
    }
    return compare_whole(x, y) < 0;
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
    return o->front[byte / 8] >> (56 - byte % 8 * 8) & 255;
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
        if (byte == FRONT_BYTES) {
            qsort(at, count, sizeof *at, compare_whole);
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

void checkpoint_order(struct checkpoint_order *o, const struct frozen *f)
{
    struct record_image image;
    bool gone;
    size_t at = 0, n = 0;
    if (o->room < f->count * (size_t)2) {
        checkpoint_order_close(o);
        o->room = f->count * (size_t)4;
        o->at = mem_must_get(o->room * sizeof *o->at);
        o->beside = mem_must_get(o->room * sizeof *o->beside);
    }
    for (size_t before = 0; frozen_next(f, &at, &image, &gone); before = at) {
        if (image.was_in && (gone || image.was_in != image.goes_to))
            o->at[n++] = ordered_of(f->data + before, &image, image.was_in);
        if (!gone)
            o->at[n++] = ordered_of(f->data + before, &image, image.goes_to);
    }
    o->count = n;
    if (n)
        order_from(o->at, o->beside, n, 0);
}

void checkpoint_order_close(struct checkpoint_order *o)
{
    mem_free(o->at);
    mem_free(o->beside);
    *o = (struct checkpoint_order){ 0 };
}

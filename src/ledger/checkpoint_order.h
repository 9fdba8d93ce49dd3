/* checkpoint_order: what is done to the checkpoint's tables for what was frozen, in the order of their keys:
 * neighbours share pages of the tree. A record that changes its place is taken from one and put into another.
 */
#pragma once
#include "ledger/checkpoint.h"

/* The key's beginning beside it, so that few have to be looked at themselves. */
#define ORDERED_WORDS 3
struct ordered {
    uint64_t front[ORDERED_WORDS]; /* place, era (0 where it does not count), rules and key as big-endian
                                    * numbers, filled up with zeros */
    const char *item;
};

struct checkpoint_order {
    struct ordered *at;
    struct ordered *beside;
    size_t count, room;
};
/* By place, era, rules and key; of the same key as they came. o: zeros, or what was ordered before. */
void checkpoint_order(struct checkpoint_order *o, const struct frozen *f);
void checkpoint_order_close(struct checkpoint_order *o);
/* Where something is done. */
enum record_place checkpoint_ordered_place(const struct ordered *o);
struct record_image checkpoint_ordered_image(const char *item, bool *ret_gone);

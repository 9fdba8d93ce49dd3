/* checkpoint_order: what is done to the checkpoint's tables for what was frozen, in the order of their keys:
 * neighbours share pages of the tree. A record that changes its place is taken from one and put into another.
 */
#pragma once
#include "ledger/checkpoint.h"

struct ordered {
    uint64_t bits;  /* what says the order, of a few that are the same before */
    uintptr_t item; /* and its place in the lowest bits */
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
struct record_image checkpoint_ordered_image(const struct ordered *o, bool *ret_gone);
/* It is looked at soon. */
void checkpoint_ordered_fetch(const struct ordered *o);

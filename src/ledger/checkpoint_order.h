/* checkpoint_order: what was frozen, in the order of its keys: neighbours share pages of the tree. */
#pragma once
#include "ledger/checkpoint.h"

/* The key's beginning beside it, so that few have to be looked at themselves. */
#define ORDERED_WORDS 3
struct ordered {
    uint64_t front[ORDERED_WORDS]; /* rules and key as big-endian numbers, filled up with zeros */
    const char *item;
};

struct checkpoint_order {
    struct ordered *at; /* as many as were frozen */
    struct ordered *beside;
    size_t room;
};
/* By rules and key; of the same key as they came. o: zeros, or what was ordered before. */
void checkpoint_order(struct checkpoint_order *o, const struct frozen *f);
void checkpoint_order_close(struct checkpoint_order *o);
struct record_image checkpoint_ordered_image(const char *item, bool *ret_gone);

/* order_conf: the settings of the `order` filter as a struct: what it does, and where in a request stands
 * what it needs. The tables are in filter/order.c. Immutable; any thread. */
#pragma once
#include "gate/admission.h"

/* What a route does. The word is its setting and its place in the conf. */
enum order_does { ORDER_RESERVE, ORDER_STATUS, ORDER_CONFIRM, ORDER_RELEASE, ORDER_STOCK };
#define ORDER_TEXTS 9
struct order_conf {
    struct bytes item, quantity, items, user, id, status, confirm, release, stock;
    uint64_t hold_ms, body_bytes_max;
    struct bytes url;
    struct admission_conf *admit; /* NULL: everybody */
    struct bytes publish;         /* a topic; empty: none */
};

/* The texts by their place. */
enum {
    ORDER_AT_ITEM,
    ORDER_AT_QUANTITY,
    ORDER_AT_ITEMS,
    ORDER_AT_USER,
    ORDER_AT_ID,
    ORDER_AT_STATUS,
    ORDER_AT_CONFIRM,
    ORDER_AT_RELEASE,
    ORDER_AT_STOCK
};
static inline const struct bytes *order_texts(const struct order_conf *c)
{
    return &c->item;
}

static inline enum order_does order_does(const struct order_conf *c)
{
    const struct bytes *others = order_texts(c) + ORDER_AT_STATUS;
    for (unsigned i = 0; i + ORDER_STATUS <= ORDER_STOCK; i++) {
        if (others[i].len)
            return ORDER_STATUS + i;
    }
    return ORDER_RESERVE;
}

/* struct filter.explain: what the filter would do to x's request. */
bool order_explain(const void *conf, const struct filter_place *place, struct exchange *x,
                   const struct conf_writer *w);

/* order_message: an order as a message of a topic: {"order", "user", "items": [{"item", "quantity"}],
 * "hold_ms"}, with the order's id as its key. On the exchange's fiber. */
#pragma once
#include "gate/stock_http.h"

/* Into the entry of the reserve, q: it is published when the items are held, and not otherwise (whatever else
 * the reserve says refuses its entry, and all of it). Its bytes are in x's arena. false: no memory. */
bool order_message_add(struct exchange *x, struct bytes topic, const struct stock_reserve *r,
                       struct stock_ask *q);

/* order_id: ids of orders that nobody can guess, and the URLs that they have. One worker. */
#pragma once
#include "base/arena.h"

#define ORDER_ID_BYTES 32 /* hexadecimal digits */

/* Random bytes of the kernel's, asked for many at a time. Zeroed: there are none. */
struct order_ids {
    unsigned left;
    char random[1024];
};
/* ptr NULL: the arena has no more; so below. */
struct bytes order_id_make(struct order_ids *ids, struct arena *a);
/* front, and the id as a segment of a path (RFC 3986 2.1). */
struct bytes order_id_url(struct bytes front, struct bytes id, struct arena *a);

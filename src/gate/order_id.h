/* order_id: ids of orders that nobody can guess, and the URLs that they have. One worker.
 *
 *      0193f2c4a7b1 9c04...     when it was made (48 bits, ms since 1970), 80 random bits: in hexadecimal
 *
 * They sort by time, as UUIDs of version 7 do (RFC 9562 5.7): those of one checkpoint stand side by side in
 * the ledger's tree, and are written by the page, not each into a page of its own. */
#pragma once
#include "base/arena.h"

#define ORDER_ID_BYTES 32 /* hexadecimal digits */

/* Random bytes of the kernel's, asked for many at a time. Zeroed: there are none. */
struct order_ids {
    unsigned left;
    char random[1024];
};
/* ptr NULL: the arena has no more; so below. */
struct bytes order_id_make(struct order_ids *ids, uint64_t now_ms, struct arena *a);
/* front, and the id as a segment of a path (RFC 3986 2.1). */
struct bytes order_id_url(struct bytes front, struct bytes id, struct arena *a);

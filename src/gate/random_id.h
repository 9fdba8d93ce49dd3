/* random_id: ids that nobody can guess: of orders, of sessions. One worker. */
#pragma once
#include "base/arena.h"

#define RANDOM_ID_BYTES 32 /* hexadecimal digits */

/* Random bytes of the kernel's, asked for many at a time. Zeroed: there are none. */
struct random_ids {
    unsigned left;
    char random[1024];
};
/* 128 random bits. ptr NULL: the arena has no more; so below. */
struct bytes random_id_make(struct random_ids *ids, struct arena *a);
/* 48 bits of when it was made (ms since 1970), 80 random ones. They sort by time, as UUIDs of version 7 do
 * (RFC 9562 5.7): in the ledger's tree those of one checkpoint stand side by side, and are written by the
 * page, not each into a page of its own. */
struct bytes random_id_make_sorted(struct random_ids *ids, uint64_t now_ms, struct arena *a);

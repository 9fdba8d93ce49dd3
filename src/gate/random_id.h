/* random_id: ids that nobody can guess: of orders, of sessions. One worker. */
#pragma once
#include "base/arena.h"

#define RANDOM_ID_BYTES 32 /* hexadecimal digits */

/* Random bytes of the kernel's, asked for many at a time. Zeroed: there are none. */
struct random_ids {
    unsigned left;
    char random[1024];
};
/* ptr NULL: the arena has no more. */
struct bytes random_id_make(struct random_ids *ids, struct arena *a);

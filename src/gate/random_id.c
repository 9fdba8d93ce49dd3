#include "gate/random_id.h"

#include <sys/random.h>

#include "base/hex.h"
#include "base/must.h"

struct bytes random_id_make(struct random_ids *ids, struct arena *a)
{
    char *id = arena_get(a, RANDOM_ID_BYTES);
    if (!id)
        return BYTES_NONE;
    if (ids->left < RANDOM_ID_BYTES / 2) {
        must(getrandom(ids->random, sizeof ids->random, 0) == sizeof ids->random);
        ids->left = sizeof ids->random;
    }
    ids->left -= RANDOM_ID_BYTES / 2;
    hex_put_bytes(id, ids->random + ids->left, RANDOM_ID_BYTES / 2);
    return (struct bytes){ id, RANDOM_ID_BYTES };
}

#include "gate/random_id.h"

#include <endian.h>
#include <string.h>
#include <sys/random.h>

#include "base/hex.h"
#include "base/must.h"

#define BYTES_EACH (RANDOM_ID_BYTES / 2)
#define TIME_BYTES 6

static struct bytes make(struct random_ids *ids, const char *front, size_t front_bytes, struct arena *a)
{
    char *id = arena_get(a, RANDOM_ID_BYTES);
    const size_t need = BYTES_EACH - front_bytes;
    if (!id)
        return BYTES_NONE;
    if (ids->left < need) {
        must(getrandom(ids->random, sizeof ids->random, 0) == sizeof ids->random);
        ids->left = sizeof ids->random;
    }
    ids->left -= (unsigned)need;
    hex_put_bytes(id, front, front_bytes);
    hex_put_bytes(id + 2 * front_bytes, ids->random + ids->left, need);
    return (struct bytes){ id, RANDOM_ID_BYTES };
}

struct bytes random_id_make(struct random_ids *ids, struct arena *a)
{
    return make(ids, "", 0, a);
}

struct bytes random_id_make_sorted(struct random_ids *ids, uint64_t now_ms, struct arena *a)
{
    char front[8];
    const uint64_t big_endian = htobe64(now_ms << 16);
    memcpy(front, &big_endian, sizeof front);
    return make(ids, front, TIME_BYTES, a);
}

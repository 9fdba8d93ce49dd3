#include "net/quic_replay.h"

static inline uint64_t place_make(uint32_t tag, uint32_t until_s)
{
    return (uint64_t)tag << 32 | until_s;
}

static inline bool is_over(uint64_t place, uint32_t now_s)
{
    return (uint32_t)place < now_s;
}

static inline bool is_tag(uint64_t place, uint32_t tag)
{
    return place >> 32 == tag;
}

/* Is it there, and not in place `but`? */
static bool stands(_Atomic uint64_t *row, uint32_t tag, uint32_t now_s, int but)
{
    for (int i = 0; i < QUIC_REPLAY_PLACES; i++) {
        uint64_t place = atomic_load(&row[i]);
        if (i != but && is_tag(place, tag) && !is_over(place, now_s))
            return true;
    }
    return false;
}

bool quic_replay_first(struct quic_replay *r, uint64_t hash, uint32_t now_s, uint32_t until_s)
{
    _Atomic uint64_t *row = r->rows[(uint32_t)hash % QUIC_REPLAY_ROWS];
    uint32_t tag = (uint32_t)(hash >> 32);
    if (stands(row, tag, now_s, -1))
        return false;
    for (int i = 0; i < QUIC_REPLAY_PLACES; i++) {
        uint64_t place = atomic_load(&row[i]);
        if (is_over(place, now_s) &&
            atomic_compare_exchange_strong(&row[i], &place, place_make(tag, until_s)))
            return !stands(row, tag, now_s,
                           i); /* somebody else has put it in meanwhile: neither is the first */
    }
    return false;
}

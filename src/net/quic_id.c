#include "net/quic_id.h"

#include "base/must.h"

static uint64_t mask_of(struct hash_key key, const uint8_t *id)
{
    return hash_sip13(key, (struct bytes){ (const char *)id, 8 });
}

void quic_id_make(struct hash_key key, const struct quic_place *p, uint64_t nonce,
                  uint8_t ret_id[QUIC_ID_BYTES])
{
    must(p->process < QUIC_PROCESSES_MAX && p->worker < QUIC_WORKERS_MAX);
    must(p->slot < QUIC_SLOTS_MAX && p->turn < QUIC_TURNS);
    memcpy(ret_id, &nonce, 8);
    uint64_t place =
        (uint64_t)p->process << 52 | (uint64_t)p->worker << 40 | (uint64_t)p->slot << 20 | p->turn;
    place ^= mask_of(key, ret_id);
    memcpy(ret_id + 8, &place, 8);
}

struct quic_place quic_id_read(struct hash_key key, const uint8_t id[QUIC_ID_BYTES])
{
    uint64_t place;
    memcpy(&place, id + 8, 8);
    place ^= mask_of(key, id);
    return (struct quic_place){ .process = (uint32_t)(place >> 52),
                                .worker = (uint32_t)(place >> 40) & (QUIC_WORKERS_MAX - 1),
                                .slot = (uint32_t)(place >> 20) & (QUIC_SLOTS_MAX - 1),
                                .turn = (uint32_t)place & (QUIC_TURNS - 1) };
}

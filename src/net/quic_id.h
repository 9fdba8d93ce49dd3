/* quic_id: the connection ids that weir gives out. Each says to whoever can read it which process and worker
 * have the connection, and where: so that a datagram that the kernel gave to another one finds its way (a
 * client that moved, a set of sockets that changed). To everybody else it is 16 random bytes, and two ids of
 * one connection have nothing in common (RFC 9000 5.1, 9.5).
 *
 *      [ nonce: 8 random bytes ][ place: process 12 | worker 12 | slot 20 | turn 20 bits, XOR SipHash(key,
 * nonce) ]
 *
 * The key is of all processes that follow one another in upgrades. Pure; any thread. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/hash.h"

#define QUIC_ID_BYTES 16
#define QUIC_PROCESSES_MAX (1u << 12)
#define QUIC_WORKERS_MAX (1u << 12)
#define QUIC_SLOTS_MAX (1u << 20) /* connections of one worker */
#define QUIC_TURNS (1u << 20)

struct quic_place {
    uint32_t process;
    uint32_t worker;
    uint32_t slot; /* of the worker's table of connections */
    uint32_t turn; /* which connection has it: the slot's next one has another */
};

void quic_id_make(struct hash_key key, const struct quic_place *p, uint64_t nonce,
                  uint8_t ret_id[QUIC_ID_BYTES]);
/* Any 16 bytes are some place: it is the caller's to look whether that is there. */
struct quic_place quic_id_read(struct hash_key key, const uint8_t id[QUIC_ID_BYTES]);

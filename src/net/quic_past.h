/* quic_past: the ways (addresses of both sides) that a connection has left a short while ago.
 *
 * ngtcp2 before 1.11 takes a client that comes back to a way while the one it went to is still being
 * validated (RFC 9000 8.2, 9.3.1), or is being validated again because the first probe had to be small, for a
 * fault of its own: an assertion fails and the process ends. So for a while nothing is taken from where a
 * client was before: what it sends there is lost like any other datagram, and sent again. Time is an
 * argument. Of one connection, on its worker. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"

#define QUIC_PAST_WAYS_MAX 8

struct quic_past {     /* zeroed: it has always been where it is */
    uint64_t moved_us; /* the last time */
    uint32_t count;
    uint64_t ways[QUIC_PAST_WAYS_MAX];
};

/* All that tells ways apart, of IPv4 and IPv6: families, addresses and ports. */
uint64_t quic_way(const struct sockaddr *local, const struct sockaddr *remote);
void quic_past_left(struct quic_past *p, uint64_t way, uint64_t now_us);
/* A datagram that came by way is not to be read; current: where the connection is. validation_us: no
 * validation of a move takes longer. Beyond QUIC_PAST_WAYS_MAX moves in a row it stays where it is. */
bool quic_past_refuses(struct quic_past *p, uint64_t way, uint64_t current, uint64_t now_us,
                       uint64_t validation_us);

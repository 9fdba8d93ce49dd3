#include "net/quic_past.h"

#include "base/hash.h"

struct place {
    sa_family_t family;
    in_port_t port;
    uint8_t ip[16];
};

static void set_place(struct place *p, const struct sockaddr *sock)
{
    p->family = sock->sa_family;
    if (sock->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const void *)sock;
        p->port = v4->sin_port;
        memcpy(p->ip, &v4->sin_addr, sizeof v4->sin_addr);
        return;
    }
    const struct sockaddr_in6 *v6 = (const void *)sock;
    p->port = v6->sin6_port;
    memcpy(p->ip, &v6->sin6_addr, sizeof v6->sin6_addr);
}

uint64_t quic_way(const struct sockaddr *local, const struct sockaddr *remote)
{
    struct place places[2];
    memset(places, 0, sizeof places);
    set_place(&places[0], local);
    set_place(&places[1], remote);
    return hash_bytes((struct bytes){ (const char *)places, sizeof places });
}

static bool has_left(const struct quic_past *p, uint64_t way)
{
    for (uint32_t i = 0; i < p->count; i++)
        if (p->ways[i] == way)
            return true;
    return false;
}

void quic_past_left(struct quic_past *p, uint64_t way, uint64_t now_us)
{
    p->moved_us = now_us;
    if (p->count < QUIC_PAST_WAYS_MAX && !has_left(p, way))
        p->ways[p->count++] = way;
}

bool quic_past_refuses(struct quic_past *p, uint64_t way, uint64_t current, uint64_t now_us,
                       uint64_t validation_us)
{
    if (!p->count || way == current)
        return false;
    if (now_us - p->moved_us > validation_us) {
        p->count = 0;
        return false;
    }
    return p->count == QUIC_PAST_WAYS_MAX || has_left(p, way);
}

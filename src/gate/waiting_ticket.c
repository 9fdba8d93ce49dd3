#if WEIR_HAVE_OPENSSL
#include "gate/waiting_ticket.h"

#include <sys/random.h>

#include "base/hex.h"
#include "base/must.h"
#include "gate/signature.h"

#define PAYLOAD_BYTES 40
_Static_assert(PAYLOAD_BYTES + SIGNATURE_BYTES == WAITING_TICKET_BYTES, "a ticket");

static void set_once(_Atomic uint64_t *at)
{
    uint64_t none = 0, made = 0;
    while (!made)
        must(getrandom(&made, sizeof made, 0) == sizeof made);
    atomic_compare_exchange_strong_explicit(at, &none, made, memory_order_relaxed, memory_order_relaxed);
}

void waiting_room_ready(struct waiting_room *w)
{
    for (unsigned i = 0; i < 4; i++)
        set_once(&w->secret[i]);
    set_once(&w->epoch);
}

/* What the signature is over, with the ticket's own text in front. */
struct signed_parts {
    uint64_t own[4];
    struct bytes key, parts[4];
};

static void gather(const struct waiting_room *w, const struct waiting_whose *whose, const char *payload,
                   struct signed_parts *ret)
{
    for (unsigned i = 0; i < 4; i++)
        ret->own[i] = atomic_load_explicit(&w->secret[i], memory_order_relaxed);
    ret->key = whose->key.len ? whose->key : (struct bytes){ (const char *)ret->own, sizeof ret->own };
    ret->parts[0] = (struct bytes){ payload, PAYLOAD_BYTES };
    ret->parts[1] = whose->user;
    ret->parts[2] = BYTES("\n");
    ret->parts[3] = whose->route;
}

void waiting_ticket_write(const struct waiting_room *w, const struct waiting_whose *whose, uint64_t ticket,
                          uint32_t until_s, char out[WAITING_TICKET_BYTES])
{
    struct signed_parts s;
    hex_put(out, atomic_load_explicit(&w->epoch, memory_order_relaxed), 16);
    hex_put(out + 16, ticket, 16);
    hex_put(out + 32, until_s, 8);
    gather(w, whose, out, &s);
    signature_write(s.key, s.parts, 4, out + PAYLOAD_BYTES);
}

uint64_t waiting_ticket_read(const struct waiting_room *w, const struct waiting_whose *whose,
                             struct bytes text, uint64_t now_s)
{
    struct signed_parts s;
    if (text.len != WAITING_TICKET_BYTES || !hex_is_lower(text) ||
        hex_read((struct bytes){ text.ptr, 16 }) != atomic_load_explicit(&w->epoch, memory_order_relaxed) ||
        hex_read((struct bytes){ text.ptr + 32, 8 }) < now_s)
        return 0;
    gather(w, whose, text.ptr, &s);
    return signature_is(s.key, s.parts, 4, bytes_skip(text, PAYLOAD_BYTES))
               ? hex_read((struct bytes){ text.ptr + 16, 16 })
               : 0;
}
#endif

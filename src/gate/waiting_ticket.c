#if WEIR_HAVE_OPENSSL
#include "gate/waiting_ticket.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sys/random.h>

#include "base/must.h"

#define PAYLOAD_BYTES 40
#define MAC_BYTES 16
#define SIGNED_BYTES_MAX 1024 /* of user and route: what is longer is not looked at */

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

static size_t put(char *out, size_t at, struct bytes part)
{
    const size_t n = part.len < SIGNED_BYTES_MAX - at ? part.len : SIGNED_BYTES_MAX - at;
    if (n)
        memcpy(out + at, part.ptr, n);
    return at + n;
}

static void sign(const struct waiting_room *w, const struct waiting_whose *whose, const char *payload,
                 char out[2 * MAC_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    char text[PAYLOAD_BYTES + SIGNED_BYTES_MAX];
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned mac_len = 0;
    uint64_t own[4];
    for (unsigned i = 0; i < 4; i++)
        own[i] = atomic_load_explicit(&w->secret[i], memory_order_relaxed);
    memcpy(text, payload, PAYLOAD_BYTES);
    size_t len = put(text + PAYLOAD_BYTES, 0, whose->user);
    len = put(text + PAYLOAD_BYTES, len, BYTES("\n"));
    len = put(text + PAYLOAD_BYTES, len, whose->route);
    const struct bytes key = whose->key.len ? whose->key : (struct bytes){ (const char *)own, sizeof own };
    must(HMAC(EVP_sha256(), key.ptr, (int)key.len, (const unsigned char *)text, PAYLOAD_BYTES + len, mac,
              &mac_len));
    for (unsigned i = 0; i < MAC_BYTES; i++) {
        out[2 * i] = digits[mac[i] >> 4];
        out[2 * i + 1] = digits[mac[i] & 15];
    }
}

static void put_hex(char *out, uint64_t value, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        out[i] = "0123456789abcdef"[value >> (4 * (count - 1 - i)) & 15];
}

void waiting_ticket_write(const struct waiting_room *w, const struct waiting_whose *whose, uint64_t ticket,
                          uint32_t until_s, char out[WAITING_TICKET_BYTES])
{
    put_hex(out, atomic_load_explicit(&w->epoch, memory_order_relaxed), 16);
    put_hex(out + 16, ticket, 16);
    put_hex(out + 32, until_s, 8);
    sign(w, whose, out, out + PAYLOAD_BYTES);
}

static uint64_t hex_of(const char *text, unsigned count)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < count; i++) {
        const char c = text[i];
        value = value << 4 | (uint64_t)(c >= 'a' ? c - 'a' + 10 : c - '0');
    }
    return value;
}

static bool is_hex(struct bytes text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (!(text.ptr[i] >= '0' && text.ptr[i] <= '9') && !(text.ptr[i] >= 'a' && text.ptr[i] <= 'f'))
            return false;
    }
    return true;
}

uint64_t waiting_ticket_read(const struct waiting_room *w, const struct waiting_whose *whose,
                             struct bytes text, uint64_t now_s)
{
    char mac[2 * MAC_BYTES];
    if (text.len != WAITING_TICKET_BYTES || !is_hex(text) ||
        hex_of(text.ptr, 16) != atomic_load_explicit(&w->epoch, memory_order_relaxed) ||
        hex_of(text.ptr + 32, 8) < now_s)
        return 0;
    sign(w, whose, text.ptr, mac);
    return CRYPTO_memcmp(mac, text.ptr + PAYLOAD_BYTES, sizeof mac) == 0 ? hex_of(text.ptr + 16, 16) : 0;
}
#endif

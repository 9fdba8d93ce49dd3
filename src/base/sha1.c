#include "base/sha1.h"

#define BLOCK_BYTES 64

static uint32_t rotate(uint32_t x, unsigned n)
{
    return x << n | x >> (32 - n);
}

static uint32_t load_be32(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* FIPS 180-4 4.1.1 and 4.2.1: the function and the constant of a round. */
static uint32_t mix(unsigned round, uint32_t b, uint32_t c, uint32_t d)
{
    switch (round / 20) {
    case 0:
        return ((b & c) ^ (~b & d)) + 0x5a827999u;
    case 1:
        return (b ^ c ^ d) + 0x6ed9eba1u;
    case 2:
        return ((b & c) ^ (b & d) ^ (c & d)) + 0x8f1bbcdcu;
    default:
        return (b ^ c ^ d) + 0xca62c1d6u;
    }
}

/* 6.1.2 */
static void take_block(uint32_t h[5], const unsigned char *block)
{
    uint32_t w[80];
    uint32_t v[5];
    for (unsigned i = 0; i < 16; i++)
        w[i] = load_be32(block + 4 * (size_t)i);
    for (unsigned i = 16; i < 80; i++)
        w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    memcpy(v, h, sizeof v);
    for (unsigned i = 0; i < 80; i++) {
        uint32_t t = rotate(v[0], 5) + mix(i, v[1], v[2], v[3]) + v[4] + w[i];
        v[4] = v[3];
        v[3] = v[2];
        v[2] = rotate(v[1], 30);
        v[1] = v[0];
        v[0] = t;
    }
    for (unsigned i = 0; i < 5; i++)
        h[i] += v[i];
}

void sha1(struct bytes text, unsigned char ret_digest[SHA1_BYTES])
{
    uint32_t h[5] = { 0x67452301u, 0xefcdab89u, 0x98badcfeu, 0x10325476u, 0xc3d2e1f0u };
    unsigned char last[2 * BLOCK_BYTES] = { 0 };
    const uint64_t bits = (uint64_t)text.len * 8;
    while (text.len >= BLOCK_BYTES) {
        take_block(h, (const unsigned char *)text.ptr);
        text = bytes_skip(text, BLOCK_BYTES);
    }
    if (text.len)
        memcpy(last, text.ptr, text.len);
    last[text.len] = 0x80;
    const size_t end = text.len + 9 <= BLOCK_BYTES ? BLOCK_BYTES : sizeof last;
    for (unsigned i = 0; i < 8; i++)
        last[end - 1 - i] = (unsigned char)(bits >> 8 * i);
    for (size_t at = 0; at < end; at += BLOCK_BYTES)
        take_block(h, last + at);
    for (unsigned i = 0; i < SHA1_BYTES; i++)
        ret_digest[i] = (unsigned char)(h[i / 4] >> (24 - 8 * (i % 4)));
}

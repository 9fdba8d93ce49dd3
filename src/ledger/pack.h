/* pack: numbers and short texts as bytes and back, little-endian: what entries of the log and values of the
 * checkpoint are made of.
 *
 * Packing goes into a buffer of the caller's that is large enough; unpacking never reads beyond the end: what
 * is missing is 0 or empty, and `bad` says so. Texts are slices of what is unpacked. Any thread. */
#pragma once
#include "base/bytes.h"
#include "base/must.h"

struct pack {
    char *at, *end;
};

struct unpack {
    const char *at, *end;
    bool bad; /* something was missing */
};

static inline void pack_raw(struct pack *p, struct bytes b)
{
    must((size_t)(p->end - p->at) >= b.len);
    if (b.len)
        memcpy(p->at, b.ptr, b.len);
    p->at += b.len;
}

static inline void pack_number(struct pack *p, uint64_t value, unsigned bytes)
{
    must((size_t)(p->end - p->at) >= bytes);
    memcpy(p->at, &value, bytes);
    p->at += bytes;
}

static inline void pack_u8(struct pack *p, uint8_t value)
{
    pack_number(p, value, 1);
}

static inline void pack_u32(struct pack *p, uint32_t value)
{
    pack_number(p, value, 4);
}

static inline void pack_u64(struct pack *p, uint64_t value)
{
    pack_number(p, value, 8);
}

/* Up to 255 bytes, with their length. */
static inline void pack_text(struct pack *p, struct bytes b)
{
    must(b.len <= UINT8_MAX);
    pack_u8(p, (uint8_t)b.len);
    pack_raw(p, b);
}

static inline uint64_t unpack_number(struct unpack *u, unsigned bytes)
{
    uint64_t value = 0;
    if ((size_t)(u->end - u->at) < bytes) {
        u->bad = true;
        u->at = u->end;
        return 0;
    }
    memcpy(&value, u->at, bytes);
    u->at += bytes;
    return value;
}

static inline uint8_t unpack_u8(struct unpack *u)
{
    return (uint8_t)unpack_number(u, 1);
}

static inline uint32_t unpack_u32(struct unpack *u)
{
    return (uint32_t)unpack_number(u, 4);
}

static inline uint64_t unpack_u64(struct unpack *u)
{
    return unpack_number(u, 8);
}

static inline struct bytes unpack_text(struct unpack *u)
{
    const size_t len = unpack_u8(u);
    if ((size_t)(u->end - u->at) < len) {
        u->bad = true;
        u->at = u->end;
        return BYTES_NONE;
    }
    const struct bytes b = { u->at, len };
    u->at += len;
    return b;
}

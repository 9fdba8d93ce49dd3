#include "base/crc32c.h"

#include <stdatomic.h>
#include <string.h>

#if defined(__x86_64__)
#include <nmmintrin.h>
#elif defined(__aarch64__)
#include <arm_acle.h>
#include <sys/auxv.h>
#endif

#define POLYNOMIAL 0x82f63b78u /* its bits reversed */

static uint32_t table[256];

static void table_fill(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ POLYNOMIAL : crc >> 1;
        table[i] = crc;
    }
}

static uint32_t by_table(uint32_t crc, const unsigned char *at, size_t len)
{
    for (; len; len--)
        crc = table[(crc ^ *at++) & 0xff] ^ crc >> 8;
    return crc;
}

#if defined(__x86_64__)
static int has_instruction(void)
{
    return __builtin_cpu_supports("sse4.2");
}

__attribute__((target("sse4.2"))) static uint32_t by_instruction(uint32_t crc, const unsigned char *at,
                                                                 size_t len)
{
    uint64_t wide = crc;
    for (; len >= 8; len -= 8, at += 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        wide = _mm_crc32_u64(wide, word);
    }
    crc = (uint32_t)wide;
    for (; len; len--)
        crc = _mm_crc32_u8(crc, *at++);
    return crc;
}
#elif defined(__aarch64__)
static int has_instruction(void)
{
    return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0;
}

__attribute__((target("+crc"))) static uint32_t by_instruction(uint32_t crc, const unsigned char *at,
                                                               size_t len)
{
    for (; len >= 8; len -= 8, at += 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        crc = __crc32cd(crc, word);
    }
    for (; len; len--)
        crc = __crc32cb(crc, *at++);
    return crc;
}
#else
static int has_instruction(void)
{
    return 0;
}

static uint32_t by_instruction(uint32_t crc, const unsigned char *at, size_t len)
{
    return by_table(crc, at, len);
}
#endif

/* Two that come first at the same time write the same. */
static uint32_t (*chosen(void))(uint32_t crc, const unsigned char *at, size_t len)
{
    static _Atomic(uint32_t(*)(uint32_t crc, const unsigned char *at, size_t len)) choice;
    uint32_t (*fn)(uint32_t, const unsigned char *, size_t) =
        atomic_load_explicit(&choice, memory_order_acquire);
    if (fn)
        return fn;
    fn = has_instruction() ? by_instruction : by_table;
    if (fn == by_table)
        table_fill();
    atomic_store_explicit(&choice, fn, memory_order_release);
    return fn;
}

uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
    return ~chosen()(~crc, data, len);
}

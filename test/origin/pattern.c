#include "test/origin/pattern.h"

char pattern[PATTERN_BYTES];

__attribute__((constructor)) static void pattern_fill(void)
{
    uint32_t x = 1;
    for (uint32_t i = 0; i < PATTERN_BYTES; i++) {
        x = (x * 1103515245u + 12345u) & 0x7fffffffu;
        pattern[i] = (char)(33 + (x >> 16) % 94);
    }
}

bool pattern_matches(uint64_t position, struct bytes text)
{
    size_t at = (size_t)(position % PATTERN_BYTES);
    while (text.len) {
        size_t n = PATTERN_BYTES - at < text.len ? PATTERN_BYTES - at : text.len;
        if (memcmp(pattern + at, text.ptr, n) != 0)
            return false;
        text = bytes_skip(text, n);
        at = 0;
    }
    return true;
}

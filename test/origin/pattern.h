/* pattern: what bodies are made of, so that whoever receives one can tell a byte that is missing, doubled or
 * moved. Byte i of every body is pattern[i % 65521]: visible ASCII from the generator x = (x * 1103515245 +
 * 12345) mod 2^31, from x = 1;  byte = 33 + (x >> 16) % 94 65521 is a prime, so that no buffer size divides
 * it. Read-only after start. */
#pragma once
#include "base/bytes.h"

#define PATTERN_BYTES 65521u

extern char pattern[PATTERN_BYTES];

/* text is what stands at that position of a body. */
bool pattern_matches(uint64_t position, struct bytes text);

/* crc32c: the checksum of Castagnoli (RFC 3720 appendix B.4; iSCSI, ext4, Btrfs), by the processor's own
 * instruction where it has one. Finds accidents, not adversaries. Any thread. */
#pragma once
#include <stddef.h>
#include <stdint.h>

/* Of data behind what crc stands for; 0: the beginning. */
uint32_t crc32c(uint32_t crc, const void *data, size_t len);

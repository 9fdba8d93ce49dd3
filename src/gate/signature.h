/* signature: what a client keeps for weir and cannot change: HMAC-SHA-256 (RFC 2104) over its parts, one
 * behind the other, of which the first 128 bits are written as hexadecimal digits.
 *
 * Whoever signs separates the parts so that no two lists of them are the same text. Any thread. */
#pragma once
#include "base/bytes.h"

#define SIGNATURE_BYTES 32
#define SIGNATURE_SIGNED_BYTES_MAX 1064 /* what is behind that is not looked at */

void signature_write(struct bytes key, const struct bytes *parts, unsigned count, char out[SIGNATURE_BYTES]);
/* Is text the signature? Takes as long whatever it is. */
bool signature_is(struct bytes key, const struct bytes *parts, unsigned count, struct bytes text);

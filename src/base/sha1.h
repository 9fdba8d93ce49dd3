/* sha1: FIPS 180-4, for the protocols that name it (the handshake of RFC 6455). It keeps no secrets: whoever
 * needs a hash that an adversary cannot collide takes another. Pure; any thread. */
#pragma once
#include "base/bytes.h"

#define SHA1_BYTES 20

void sha1(struct bytes text, unsigned char ret_digest[SHA1_BYTES]);

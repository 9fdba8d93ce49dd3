#if WEIR_HAVE_OPENSSL
#include "gate/signature.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/hex.h"
#include "base/must.h"

void signature_write(struct bytes key, const struct bytes *parts, unsigned count, char out[SIGNATURE_BYTES])
{
    char text[SIGNATURE_SIGNED_BYTES_MAX];
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned mac_len = 0;
    size_t len = 0;
    for (unsigned i = 0; i < count; i++) {
        const size_t left = sizeof text - len;
        const size_t n = parts[i].len < left ? parts[i].len : left;
        if (n)
            memcpy(text + len, parts[i].ptr, n);
        len += n;
    }
    must(HMAC(EVP_sha256(), key.ptr, (int)key.len, (const unsigned char *)text, len, mac, &mac_len));
    hex_put_bytes(out, mac, SIGNATURE_BYTES / 2);
}

bool signature_is(struct bytes key, const struct bytes *parts, unsigned count, struct bytes text)
{
    char right[SIGNATURE_BYTES];
    if (text.len != sizeof right)
        return false;
    signature_write(key, parts, count, right);
    return CRYPTO_memcmp(right, text.ptr, sizeof right) == 0;
}
#endif

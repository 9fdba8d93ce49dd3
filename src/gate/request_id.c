#include "gate/request_id.h"

#include "base/hash.h"

/* Eight hex digits at a time: each nibble of x becomes one byte of text, all of them at once. */
static void put_hex8(char *out, uint32_t x)
{
    uint64_t n = x;
    n = (n | n << 16) & 0x0000ffff0000ffffULL; /* halves, bytes, nibbles apart */
    n = (n | n << 8) & 0x00ff00ff00ff00ffULL;
    n = (n | n << 4) & 0x0f0f0f0f0f0f0f0fULL;
    uint64_t letters = ((n + 0x0606060606060606ULL) >> 4) & 0x0101010101010101ULL; /* 1 where a..f */
    n += 0x3030303030303030ULL + letters * ('a' - '0' - 10);
    memcpy(out, &n, 8);
}

static bool id_is_sane(struct bytes id)
{
    return id.len >= 8 && id.len <= REQUEST_ID_BYTES_MAX && http_is_token(id);
}

void request_id_take(struct exchange *x)
{
    const struct http_field *f = http_fields_get(&x->request.fields, FIELD_X_REQUEST_ID);
    if (f && id_is_sane(http_field_value(f))) {
        x->request_id = http_field_value(f);
        return;
    }
    for (unsigned i = 0; i < 32; i += 16) {
        uint64_t word = random_u64();
        put_hex8(x->request_id_text + i, (uint32_t)word);
        put_hex8(x->request_id_text + i + 8, (uint32_t)(word >> 32));
    }
    x->request_id = (struct bytes){ x->request_id_text, 32 };
}

#include "ledger/checkpoint_record.h"

#if WEIR_HAVE_LMDB
#include "base/crc32c.h"
#include "base/must.h"

/* about: rules and key. */
static uint32_t value_crc(struct bytes about, const struct stored_head *h, struct bytes value)
{
    struct stored_head zeroed = *h;
    zeroed.crc = 0;
    uint32_t crc = crc32c(0, about.ptr, about.len);
    crc = crc32c(crc, &zeroed, sizeof zeroed);
    return crc32c(crc, value.ptr, value.len);
}

void stored_key_set(struct stored_key *k, uint16_t era, uint8_t rules, struct bytes key)
{
    k->era[0] = (char)(era >> 8);
    k->era[1] = (char)era;
    k->about[0] = (char)rules;
    if (key.len)
        memcpy(k->about + 1, key.ptr, key.len);
    k->about_bytes = (uint16_t)(key.len + 1);
}

MDB_val stored_key_in(struct stored_key *k, enum record_place place)
{
    return place == RECORD_IN_OPEN ? (MDB_val){ STORED_ERA_BYTES + k->about_bytes, k }
                                   : (MDB_val){ k->about_bytes, k->about };
}

size_t stored_value_bytes(const struct crypt *crypt, const struct record_image *image)
{
    return sizeof(struct stored_head) + image->value.len + (crypt_key_id(crypt) ? CRYPT_EXTRA_BYTES : 0);
}

err stored_value_set(struct crypt *crypt, struct bytes about, const struct record_image *image, char *out,
                     struct diag *reterr)
{
    struct stored_head h = { .due_ms = image->due_ms,
                             .flags = image->finished,
                             .key_id = crypt_key_id(crypt) };
    char *at = out + sizeof h;
    size_t len = image->value.len;
    if (h.key_id) {
        err e = crypt_seal_record(crypt, about, image->value, at, &len, reterr);
        if (e)
            return e;
        must(sizeof h + len == stored_value_bytes(crypt, image));
    } else if (len) {
        memcpy(at, image->value.ptr, len);
    }
    h.crc = value_crc(about, &h, (struct bytes){ at, len });
    memcpy(out, &h, sizeof h);
    return OK;
}

err stored_damaged(struct diag *reterr)
{
    diag_set(reterr, "the checkpoint: a record is damaged: restore a backup");
    return ERR_SYNTAX;
}

err stored_read(struct crypt *crypt, unsigned thread, struct bytes about, MDB_val data, char *plain,
                struct record_image *ret_image, struct diag *reterr)
{
    struct stored_head h;
    bool whole = about.len > 0 && data.mv_size >= sizeof h && data.mv_size <= STORED_VALUE_BYTES_MAX;
    struct bytes value = BYTES_NONE;
    if (whole) {
        memcpy(&h, data.mv_data, sizeof h);
        value = (struct bytes){ (const char *)data.mv_data + sizeof h, data.mv_size - sizeof h };
        whole = h.crc == value_crc(about, &h, value);
    }
    if (!whole)
        return stored_damaged(reterr);
    if (h.key_id) {
        size_t len;
        err e = crypt_open_record(crypt, thread, h.key_id, about, value, plain, &len, reterr);
        if (e)
            return e;
        value = (struct bytes){ plain, len };
    }
    *ret_image = (struct record_image){ .rules = (uint8_t)about.ptr[0],
                                        .finished = h.flags & 1,
                                        .due_ms = h.due_ms,
                                        .key = bytes_skip(about, 1),
                                        .value = value };
    return OK;
}
#endif

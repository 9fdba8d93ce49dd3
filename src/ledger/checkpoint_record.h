/* checkpoint_record: how a record stands in the tables of the checkpoint.
 *
 *      key: era (only of those that recovery loads), rules, key
 *      value: due, flags, key id, CRC-32C of rules, key and the rest │ value, or nonce, cipher text, tag
 *
 * Numbers of values are little-endian, the era is big-endian, so that they stand in its order. */
#pragma once
#include "ledger/crypt.h"
#include "ledger/records.h"

#if WEIR_HAVE_LMDB
#include <lmdb.h>

#define STORED_ERA_BYTES 2
struct stored_key {
    char era[STORED_ERA_BYTES];
    char about[RECORD_KEY_BYTES_MAX + 1]; /* rules and key */
    uint16_t about_bytes;
};
void stored_key_set(struct stored_key *k, uint16_t era, uint8_t rules, struct bytes key);
static inline struct bytes stored_key_about(const struct stored_key *k)
{
    return (struct bytes){ k->about, k->about_bytes };
}
/* Good as long as k. */
MDB_val stored_key_in(struct stored_key *k, enum record_place place);

struct stored_head {
    uint64_t due_ms;
    uint16_t flags; /* 1: finished */
    uint16_t key_id;
    uint32_t crc;
};

/* ERR_SYNTAX, with the words for a record that is not as it was written. */
err stored_damaged(struct diag *reterr);

#define STORED_VALUE_BYTES_MAX (sizeof(struct stored_head) + RECORD_VALUE_BYTES_MAX + CRYPT_EXTRA_BYTES)

/* crypt NULL: nothing is encrypted. */
size_t stored_value_bytes(const struct crypt *crypt, const struct record_image *image);
/* To `out`, which has so many. about: rules and key. */
err stored_value_set(struct crypt *crypt, struct bytes about, const struct record_image *image, char *out,
                     struct diag *reterr) CHECK_RESULT;
/* plain: room for a value that is encrypted, STORED_VALUE_BYTES_MAX; thread: as crypt_open_record knows it.
 * The image says nothing of places and is good as long as about, data and plain. ERR_SYNTAX: it is damaged.
 */
err stored_read(struct crypt *crypt, unsigned thread, struct bytes about, MDB_val data, char *plain,
                struct record_image *ret_image, struct diag *reterr) CHECK_RESULT;
#endif

/* crypt: encryption at rest: AES-256-GCM (NIST SP 800-38D) by OpenSSL.
 *
 *      source "file:/path" or "env:NAME":   2:<64 hex digits>      the first: for what is written
 *                                           1:<64 hex digits>      the others: for what was written with them
 *
 * Batches of the log: a key of each segment's own (HMAC-SHA-256 of its random salt), the batch's number as
 * nonce: none is ever used twice. Records: one derived key, a random nonce each; a key should be rotated
 * before it has sealed 2^32 records. Keys of records are not encrypted, only their values.
 *
 * One thread seals records, CRYPT_OPENERS open them, each with its number; a crypt_segment is its owner's. A
 * NULL crypt encrypts nothing. */
#pragma once
#include "base/bytes.h"
#include "base/diag.h"
#include "base/err.h"

#define CRYPT_TAG_BYTES 16
#define CRYPT_EXTRA_BYTES 28 /* a record's nonce and tag */
#define CRYPT_SALT_BYTES 32
#define CRYPT_OPENERS 4

struct crypt;
struct crypt_segment;

/* Of the words alone: `weir check`. Empty is well. ERR_CONF. */
err crypt_source_check(struct bytes source, struct diag *reterr) CHECK_RESULT;
/* *ret_crypt NULL for an empty source. ERR_CONF: it cannot be read, or is not as above. */
err crypt_open(struct bytes source, struct crypt **ret_crypt, struct diag *reterr) CHECK_RESULT;
void crypt_close(struct crypt *c);
/* Of the key for what is written; 0: nothing is encrypted. */
uint16_t crypt_key_id(const struct crypt *c);

/* about: what must be the same when it is opened, and is not hidden. out has room for plain.len and
 * CRYPT_EXTRA_BYTES. */
err crypt_seal_record(struct crypt *c, struct bytes about, struct bytes plain, char *out, size_t *ret_len,
                      struct diag *reterr) CHECK_RESULT;
/* opener: below CRYPT_OPENERS. ERR_DENIED: the key is not there; ERR_SYNTAX: it was changed. */
err crypt_open_record(struct crypt *c, unsigned opener, uint16_t key_id, struct bytes about,
                      struct bytes sealed, char *out, size_t *ret_len, struct diag *reterr) CHECK_RESULT;

/* key_id 0: *ret_segment is NULL, for the two below to do nothing. */
err crypt_segment_open(struct crypt *c, uint32_t key_id, const unsigned char salt[CRYPT_SALT_BYTES],
                       struct crypt_segment **ret_segment, struct diag *reterr) CHECK_RESULT;
void crypt_segment_close(struct crypt_segment *s);
/* In place; the tag goes behind. */
err crypt_seal_batch(struct crypt_segment *s, uint64_t seq, struct bytes about, char *data, size_t len,
                     struct diag *reterr) CHECK_RESULT;
/* data with its tag; in place. */
err crypt_open_batch(struct crypt_segment *s, uint64_t seq, struct bytes about, char *data, size_t len,
                     struct diag *reterr) CHECK_RESULT;

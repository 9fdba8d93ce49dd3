/* segment: one file of the log: a head of one block, then batches, each from a block on; zeros behind the
 * last.
 *
 *      log-00000000000000000001    [ head │ batch 1 │ batch 2 │ ... │ batch 977 │ 0 0 0 ]
 *      log-00000000000000000978    [ head │ batch 978 │ ...                              ]
 *
 * The name is the number of the first batch. Recovery writes into no segment but to cut it; after it a new
 * one begins. Pure but for the random salts. */
#pragma once
#include "ledger/disk.h"

#define SEGMENT_VERSION 1
#define SEGMENT_PREFIX "log-"
#define SEGMENT_NEXT "next" /* made beforehand, without a head */

struct segment_head {
    char magic[8];
    uint32_t version;
    uint32_t key_id; /* of the key that its batches are encrypted with; 0: they are not */
    uint64_t first_seq;
    uint64_t salt; /* of its batches' checksums */
    unsigned char ledger_id[16];
    unsigned char key_salt[32];
    uint32_t reserved;
    uint32_t crc;
};
_Static_assert(sizeof(struct segment_head) == 88, "no padding");

/* A new one with salts of its own. */
void segment_head_fill(struct segment_head *h, uint64_t first_seq, const unsigned char ledger_id[16],
                       uint32_t key_id);
/* ERR_SYNTAX: none; ERR_UNSUPPORTED: of another version. */
err segment_head_read(struct bytes data, struct segment_head *ret_head) CHECK_RESULT;
void segment_name(char out[DISK_NAME_BYTES_MAX], uint64_t first_seq);
bool segment_parse_name(const char *name, uint64_t *ret_first_seq);
/* Those of a folder, in order. The array is the caller's (mem_free). */
err segment_list(struct disk *d, uint64_t **ret_first, size_t *ret_count, struct diag *reterr) CHECK_RESULT;

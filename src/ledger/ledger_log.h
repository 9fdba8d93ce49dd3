/* ledger_log: the log as the writer appends to it: segments one after the other, the next one made beforehand
 * by a thread of the log's own, when a quarter of this one is used.
 *
 * The writer's thread, but ledger_log_drop_until, which any one other thread may call. The mutex inside
 * protects what the two threads tell each other; nothing but that is waited for with it held. */
#pragma once
#include "ledger/batch.h"
#include "ledger/crypt.h"
#include "ledger/segment.h"

struct ledger_log;

struct ledger_log_opts {
    struct disk *disk;
    uint64_t segment_bytes;
    bool synced; /* a batch is safe when it is appended; else after ledger_log_sync */
    unsigned char ledger_id[16];
    uint64_t next_seq;   /* a segment begins with it */
    struct crypt *crypt; /* borrowed; NULL: not encrypted */
    bool next_made;      /* the first segment's file is there, as disk_ops.make leaves it */
    bool threaded;       /* false: the next segment is made when it is needed (simulation, tools) */
};

/* How large the first segment of a process is made (next_made). Pure. */
uint64_t ledger_log_first_bytes(uint64_t segment_bytes);
err ledger_log_open(const struct ledger_log_opts *opts, struct ledger_log **ret_log,
                    struct diag *reterr) CHECK_RESULT;
void ledger_log_close(struct ledger_log *l);

/* Room that a batch finds at its end, block-aligned, BATCH_HEAD_BYTES of it for the head. bytes: all of it.
 */
#define LEDGER_BATCH_BYTES_MAX (8u << 20)

/* batch: DISK_BLOCK_BYTES-aligned, with room to fill its last block. head is completed (durable_seq, crc) and
 * written in front. After a failure nothing may be appended any more. */
err ledger_log_append(struct ledger_log *l, struct batch_head *head, char *batch,
                      struct diag *reterr) CHECK_RESULT;
/* Everything that was appended is safe from now on. */
err ledger_log_sync(struct ledger_log *l, struct diag *reterr) CHECK_RESULT;
/* Up to where the segment at hand is whole: its first batch and how many bytes. Any thread. */
void ledger_log_end(struct ledger_log *l, uint64_t *ret_first_seq, uint64_t *ret_bytes);
/* The last batch that is. */
uint64_t ledger_log_durable_seq(const struct ledger_log *l);
/* Of all segments. */
uint64_t ledger_log_bytes(const struct ledger_log *l);
/* Removes segments that end with that batch or before, but not while fewer than keep_bytes would be left. */
err ledger_log_drop_until(struct ledger_log *l, uint64_t seq, uint64_t keep_bytes,
                          struct diag *reterr) CHECK_RESULT;

/* ---- reading, before it is opened */

struct ledger_log_reader {
    struct disk *disk;
    const unsigned char *ledger_id;
    struct crypt *crypt;
    uint64_t after_seq; /* batches up to it are passed over; they may be missing */
    bool cut;           /* cut what is torn at the end; false: only look (verify) */
    err (*on_batch)(void *arg, const struct batch_head *head, struct bytes payload, struct diag *reterr);
    void *arg;
    uint64_t ret_last_seq;   /* after_seq when there was none behind it */
    uint64_t ret_time_ms;    /* of the last */
    uint64_t ret_torn_bytes; /* that were no whole batch, at the end */
};
/* ERR_SYNTAX: a batch is missing or damaged and later ones were promised to stand on it: what to do is in
 * reterr. ERR_IO. Or what on_batch said. */
err ledger_log_read(struct ledger_log_reader *r, struct diag *reterr) CHECK_RESULT;

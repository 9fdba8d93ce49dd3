/* batch: one synced write of the log, as bytes.
 *
 *   head 64 B: magic, bytes, seq, time, first id, entries, expired, durable, answers, CRC32C of all of it
 *   entry:     bytes u32, operations u16, 0 u16 │ operation: rules u8, version u8, 0 u16, bytes u32, body │
 * ...
 *
 * Little-endian; filled up with zeros to a block. The CRC begins with the segment's own random salt, so that
 * no client's bytes can be taken for a batch. Pure. */
#pragma once
#include "base/bytes.h"
#include "base/err.h"

#define BATCH_MAGIC 0x31425257u /* "WRB1" */
#define BATCH_HEAD_BYTES sizeof(struct batch_head)

struct batch_head {
    uint32_t magic;
    uint32_t bytes; /* the head's own included; what fills the last block not */
    uint64_t seq;   /* 1 is the ledger's first */
    uint64_t time_ms;
    uint64_t id_first; /* of the first entry */
    uint32_t entries;
    uint32_t expired;     /* records whose time had come before the first entry */
    uint64_t durable_seq; /* the batch up to which all was safe when this one was written */
    uint32_t answers_crc; /* of what was answered: replay must answer the same */
    uint32_t flags;       /* enum batch_flag */
    uint32_t reserved;
    uint32_t crc;
};
_Static_assert(sizeof(struct batch_head) == 64, "no padding");

enum batch_flag { BATCH_ENCRYPTED = 1 };

struct batch_entry_head {
    uint32_t bytes; /* with this head */
    uint16_t ops;
    uint16_t zero;
};
struct batch_op_head {
    uint8_t rules, version;
    uint16_t zero;
    uint32_t bytes; /* of the body */
};

/* The part of a head that encryption vouches for. */
static inline struct bytes batch_about(const struct batch_head *head)
{
    return (struct bytes){ (const char *)head, offsetof(struct batch_head, durable_seq) };
}

/* Of a finished batch at data: all of head->bytes, with head->crc as zero. */
uint32_t batch_crc(uint64_t salt, const void *data, size_t len);
/* Is there a whole batch at the beginning of data? */
bool batch_is_whole(uint64_t salt, struct bytes data, struct batch_head *ret_head);

/* One operation of an entry, and whether it is the entry's first. */
struct batch_op {
    uint32_t entry; /* from 0 */
    uint16_t op, ops;
    uint8_t rules, version;
    struct bytes body;
};
struct batch_reader {
    struct bytes rest;
    uint32_t entry;
    uint16_t op, ops;
};
/* payload: what stands behind the head. */
void batch_read(struct batch_reader *r, struct bytes payload);
/* ERR_NOT_FOUND: that was all; ERR_SYNTAX: the bytes are no entries. */
err batch_next(struct batch_reader *r, struct batch_op *ret_op) CHECK_RESULT;

/* rules: what one kind of entries does to the ledger's state: stock, queue, lock, session ... each is a file
 * with one const struct ledger_rules, named by a LEDGER_RULES line of modules.def.
 *
 *      operation (bytes) + time + id ──▶ apply ──▶ answer (bytes), records changed
 *
 * Rules are pure: no I/O, no clock, no random, no heap, no state but the records (ledger/records.h). The same
 * operations at the same times give the same records and the same answers: the log is replayed through them
 * at start, and what comes out must be what was answered. A change of what an existing operation does is
 * therefore a new version number (old operations in a log keep their old meaning, or the upgrade says that a
 * clean stop comes first). The writer's thread. */
#pragma once
#include "base/crc32c.h"
#include "base/diag.h"
#include "ledger/records.h"

/* Hashes of the keys that an operation will look for, in an order of its rules' own, so that they are made
 * once and their records are in the cache in time. */
#define LEDGER_AHEAD_MAX 3
struct ledger_ahead {
    uint32_t count, hashes[LEDGER_AHEAD_MAX];
};

/* What an operation gets, and where its answer goes. */
struct ledger_apply {
    struct records *records;
    const struct ledger_ahead *ahead; /* what `fetch` said; NULL: nothing */
    uint64_t now_ms; /* since 1970; the same for all of a batch, and never less than before */
    uint64_t id;     /* of the entry: it only grows; the next entry's is at least 1 more. Unique with op */
    unsigned op;     /* of the entry, from 0 */
    uint8_t version; /* of the rules that wrote it: less than now when an old log is replayed */
    char *answer;    /* ledger_answer writes here */
    uint32_t answer_size, answer_bytes, answer_crc;
};

/* Appends to the answer; what does not fit is counted and not kept: the caller sees that it was cut. */
static inline void ledger_answer(struct ledger_apply *a, const void *data, size_t len)
{
    if (len && a->answer_bytes < a->answer_size) { /* data may be NULL when there is none */
        size_t room = a->answer_size - a->answer_bytes;
        memcpy(a->answer + a->answer_bytes, data, len < room ? len : room);
    }
    a->answer_bytes += (uint32_t)len;
    a->answer_crc = crc32c(a->answer_crc, data, len);
}

struct ledger_rules {
    const char *name; /* "stock": its file, its word everywhere */
    uint8_t id;       /* on disk: never changed, never given again; 1 to 255 */
    uint8_t version;  /* of its operations' meaning */
    /* One operation. OK: done (or only looked, or done already). Anything else: refused, and the whole entry
     * is undone: ERR_SYNTAX (not an operation: op comes from outside), ERR_LIMIT (no memory), or what the
     * rules say. The answer's bytes are told in both cases. At most LEDGER_ANSWER_BYTES_MAX. */
    err (*apply)(struct ledger_apply *a, struct bytes op);
    /* op comes soon: says which records it will look for. NULL: is not worth it. */
    void (*fetch)(struct bytes op, struct ledger_ahead *ret_ahead);
    /* Does op only look, and at little? Then a worker may do it by itself while the writer rests (a hint:
     * what changes something all the same is undone, and goes to the writer). Any thread. NULL: none does. */
    bool (*looks)(struct bytes op);
    /* r's time has come: removes it, or gives it a later time or none. a->answer is void. NULL: no record of
     * these rules ever has a time. */
    void (*due)(struct ledger_apply *a, struct record *r);
    /* What workers may know of a record without asking (ledger_look): told after every change that was made
     * durable. false: nothing is ever to be known of a record with such a key. One that is removed (asked
     * about once more) is not known any more. NULL: none. */
    bool (*shown)(const struct record *r, uint64_t *ret_value);
    /* Do the records hold what they promise (total = free + held + sold)? Asked after recovery and by
     * `weir ledger verify`. In words what is wrong. NULL: nothing to check. */
    bool (*check)(struct records *rs, struct diag *reterr);
};

/* Those of this weir (src/registry.c); ends with NULL. */
extern const struct ledger_rules *const ledger_rules_registry[];

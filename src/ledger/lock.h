/* lock: leases on names, with fencing tokens and a line of those who wait. Rules of the ledger
 * (ledger/rules.h).
 *
 *      acquire ──▶ held by its owner until released, or its lease ends ──▶ the first in line, or nobody
 *          └─────▶ in line, first come first served, until its own time to wait ends
 *
 * A token is a number that only ever grows, over all locks and restarts: whoever guards a thing refuses a
 * token that is less than one it has seen, and a holder that slept through its lease does no harm.
 * (Kleppmann, "How to do distributed locking", 2016.)
 *
 *      record     key                              value
 *      lock       'l' name                         struct lock_value: only while it is held
 *      in line    'w' name 0 place, big-endian     struct lock_waiter
 *
 * Making operations and reading answers: any thread. */
#pragma once
#include "base/bytes.h"
#include "base/err.h"

struct ledger_rules;
extern const struct ledger_rules lock_rules;

#define LOCK_RULES_ID 3
#define LOCK_NAME_BYTES_MAX 64
#define LOCK_LEASE_MS_MAX (24u * 3600 * 1000)
#define LOCK_WAIT_MS_MAX (3600u * 1000)
#define LOCK_LINE_MAX 1000 /* that wait for one lock */

enum lock_what {
    LOCK_ACQUIRE, /* owner, lease_ms, wait_ms: HELD, WAITING or BUSY */
    LOCK_RENEW,   /* token, lease_ms: HELD or OTHER */
    LOCK_RELEASE, /* token: FREE or OTHER */
    LOCK_LEAVE,   /* owner: out of the line; or FREE, when it has the lock */
    LOCK_STATUS,  /* HELD or FREE */
    LOCK_WHATS
};

enum lock_result { LOCK_HELD, LOCK_WAITING, LOCK_BUSY, LOCK_OTHER, LOCK_FREE };

/* An operation: this, and the name behind it. */
struct lock_op {
    uint32_t what; /* enum lock_what */
    uint32_t zero;
    uint64_t owner; /* not 0; one for each ACQUIRE, never used again */
    uint64_t token, lease_ms, wait_ms;
};
struct lock_answer {
    uint32_t result; /* enum lock_result */
    uint32_t waiting;
    uint64_t token, owner, left_ms; /* of who holds it */
};

#define LOCK_OP_BYTES_MAX (sizeof(struct lock_op) + LOCK_NAME_BYTES_MAX)
/* false: the name or a time is out of bounds. Returns the bytes written at out. */
bool lock_write(char *out, const struct lock_op *op, struct bytes name, size_t *ret_bytes);
/* What is shown of a lock (ledger_look with this key): its owner. */
#define LOCK_KEY_BYTES_MAX (1 + LOCK_NAME_BYTES_MAX)
struct bytes lock_key(struct bytes name, char out[LOCK_KEY_BYTES_MAX]);

/* kv: keys with a string or a hash, a time to live if wanted, counters, compare-and-set. Rules of the ledger
 * (ledger/rules.h): what the RESP listener and the `session` filter keep their values with.
 *
 *      operation:  head │ command │ command ...      all of them happen, or none; each has its answer
 *      command:    head │ length, bytes (of each argument)
 *      answer:     value │ value ...                 type │ number, or length and bytes, or count of values
 *
 * A command that cannot be done (a key of the other type, no number) answers KV_ERROR and changes nothing;
 * the others go on. Refused as a whole (ledger_call.ret_refused): ERR_AGAIN: the answers need more room than
 * the operation says there is; ERR_LIMIT: the ledger's memory is full; ERR_SYNTAX: no operation; ERR_EXISTS:
 * see FREE.
 *
 * A time to live is fixed, or sliding: then each use sets it anew (when at least a sixteenth of it has
 * passed: reading a session again and again does not write each time). What is past its time is not there.
 *
 * A topic of the queue (ledger/queue.h) is a key of another type: it is there, can be deleted, and has no
 * time.
 *
 *      record      key            value
 *      key         the client's   struct kv_head; the string, or the hash: length, length, field, value ...
 *      sums        KV_SUMS_KEY    struct kv_sums
 *
 * Making operations and reading answers: any thread. */
#pragma once
#include "base/bytes.h"
#include "base/err.h"

struct ledger_rules;
extern const struct ledger_rules kv_rules;

#define KV_RULES_ID 2
#define KV_KEY_BYTES_MAX 254
#define KV_VALUE_BYTES_MAX                                                           \
    ((1u << 20) - 64) /* of a string; of a hash with its fields and 8 bytes for each \
                       */
#define KV_FIELD_BYTES_MAX 65535
#define KV_SLIDING_S_MAX (10u * 366 * 24 * 3600)
#define KV_KEYS_MAX 100000 /* that may be there for KV_KEYS to look at all of them */
#define KV_SCAN_MAX 10000  /* looked at by one KV_SCAN, about */
#define KV_PATTERN_BYTES_MAX 1024

/*    name            arguments (flags; number) ─▶ answer */
#define KV_COMMAND_LIST(X)                                                                                    \
    X(GET) /* key ─▶ text or nil */                                                                       \
    X(SET) /* key, value[, old value of IF_EQUAL] (NX XX GET KEEP_TTL SLIDING ...; ms) ─▶ OK, nil, old */ \
    X(MGET)       /* key... ─▶ array */                                                                   \
    X(MSET)       /* key, value... (NX: none of them may be there) ─▶ OK; of NX: 0, 1 */                  \
    X(DEL)        /* key... (IF_EQUAL: one key, its value) ─▶ how many */                                 \
    X(GETDEL)     /* key ─▶ text or nil */                                                                \
    X(GETEX)      /* key (PERSIST, or as EXPIRE; ms) ─▶ text or nil */                                    \
    X(EXISTS)     /* key... ─▶ how many */                                                                \
    X(EXPIRE)     /* key[, value of IF_EQUAL] (ABSOLUTE SLIDING NX XX GT LT; ms) ─▶ 0, 1 */               \
    X(PERSIST)    /* key ─▶ 0, 1 */                                                                       \
    X(TTL)        /* key (ABSOLUTE) ─▶ ms; -1: has none; -2: no key */                                    \
    X(TYPE)       /* key ─▶ word */                                                                       \
    X(INCR)       /* key (; by) ─▶ number */                                                              \
    X(INCR_FLOAT) /* key, by ─▶ text */                                                                   \
    X(APPEND)     /* key, text ─▶ length */                                                               \
    X(STRLEN)     /* key ─▶ length */                                                                     \
    X(HSET)    /* key, field, value... (NX: none that is there; XX: nil if no key is) ─▶ how many new */  \
    X(HGET)    /* key, field ─▶ text or nil */                                                            \
    X(HMGET)   /* key, field... ─▶ array */                                                               \
    X(HGETALL) /* key ─▶ map */                                                                           \
    X(HKEYS)   /* key ─▶ array */                                                                         \
    X(HVALS)   /* key ─▶ array */                                                                         \
    X(HDEL)    /* key, field... ─▶ how many */                                                            \
    X(HLEN)    /* key ─▶ how many */                                                                      \
    X(HEXISTS) /* key, field ─▶ 0, 1 */                                                                   \
    X(HSTRLEN) /* key, field ─▶ length */                                                                 \
    X(HINCR)   /* key, field (; by) ─▶ number */                                                          \
    X(HINCR_FLOAT) /* key, field, by ─▶ text */                                                           \
    X(VERSION)     /* key ─▶ a number that is another after each change; 0: no key */                     \
    X(UNLESS)      /* key (; its version): if it is another now, KV_CHANGED, and nothing after it */          \
    X(SIZE)        /* ─▶ keys, those with a time to live */                                               \
    X(SCAN)        /* pattern, type[s word] (; cursor) alone in its operation ─▶ cursor, key... */        \
    X(KEYS)        /* pattern; alone in its operation ─▶ array */                                         \
    X(FREE)        /* key: the whole entry is refused with ERR_EXISTS when there is such a key ─▶ OK */   \
    X(TOPIC) /* key, operation of the queue on the topic of that name ... (ALL: up to the first that is       \
              * refused) ─▶ array: of each its answer as text; an error: WRONG_TYPE; nil: not done */

enum kv_what {
#define X(name) KV_##name,
    KV_COMMAND_LIST(X)
#undef X
        KV_WHATS
};

enum kv_flag {
    KV_NX = 1,
    KV_XX = 2,
    KV_RETURN_OLD = 4, /* of SET */
    KV_KEEP_TTL = 8,
    KV_ABSOLUTE = 16, /* the number is a time since 1970 */
    KV_SLIDING = 32,
    KV_IF_EQUAL = 64,
    KV_EXPIRES = 128, /* of SET, GETEX: number says when */
    KV_GT = 256,
    KV_LT = 512,
    KV_REMOVE_TTL = 1024, /* of GETEX */
    KV_FROM_DUE = 2048,   /* of EXPIRE: the number is added to what is left; only if it has a time */
    KV_ALL = 4096,        /* of TOPIC */
};

/*    name           words (Redis' own where it has them) */
#define KV_ERROR_LIST(X)                                                                               \
    X(WRONG_TYPE, "WRONGTYPE Operation against a key holding the wrong kind of value")                 \
    X(NO_INTEGER, "ERR value is not an integer or out of range")                                       \
    X(NO_FLOAT, "ERR value is not a valid float")                                                      \
    X(OVERFLOW, "ERR increment or decrement would overflow")                                           \
    X(NOT_FINITE, "ERR increment would produce NaN or Infinity")                                       \
    X(FIELD_NO_INTEGER, "ERR hash value is not an integer")                                            \
    X(FIELD_NO_FLOAT, "ERR hash value is not a float")                                                 \
    X(KEY_TOO_LONG, "ERR a key has at most 254 bytes")                                                 \
    X(KEY_RESERVED, "ERR keys that begin with a zero byte and \"weir\" are weir's own")                \
    X(FIELD_TOO_LONG, "ERR a field has at most 65535 bytes")                                           \
    X(VALUE_TOO_LONG, "ERR string exceeds maximum allowed size (1 MiB less 64 bytes, a hash as well)") \
    X(TOO_MANY_KEYS, "ERR more than 100000 keys: use SCAN instead of KEYS")                            \
    X(SLIDING_TOO_LONG, "ERR a sliding time to live is one second to ten years")                       \
    X(EXPIRE_TIME, "ERR invalid expire time")                                                          \
    X(TOPIC_TIME, "ERR a topic has no time to live; it says how long it keeps its messages")

enum kv_error {
#define X(name, text) KV_##name,
    KV_ERROR_LIST(X)
#undef X
        KV_ERRORS
};
extern const struct bytes kv_error_words[KV_ERRORS];

/* ---- making operations */

/* An operation of nothing yet; room: for its answers. Returns the end of what was written at out. */
#define KV_OP_BYTES 8
char *kv_op_begin(char *out, uint32_t room);
/* One more command. Needs kv_command_bytes. */
char *kv_op_add(char *out, enum kv_what what, unsigned flags, int64_t number, const struct bytes *args,
                unsigned count);
static inline size_t kv_command_bytes(const struct bytes *args, unsigned count)
{
    size_t n = 16;
    for (unsigned i = 0; i < count; i++)
        n += 4 + args[i].len;
    return n;
}

/* ---- reading answers */

enum kv_type { KV_NIL, KV_OK, KV_INT, KV_TEXT, KV_WORD, KV_ERROR, KV_ARRAY, KV_MAP, KV_CHANGED };
struct kv_value {
    enum kv_type type;
    int64_t number;    /* of KV_INT; of KV_ERROR; how many values (KV_ARRAY) or pairs (KV_MAP) follow */
    struct bytes text; /* of KV_TEXT and KV_WORD; within the answer */
};
/* Takes the next one off *rest. false: there is none. */
bool kv_read(struct bytes *rest, struct kv_value *ret_value);

/* queue: topics of messages, and groups of consumers that share them. Rules of the ledger (ledger/rules.h).
 *
 *      publish ──▶ topic   3 4 5 6 7 8 9 ──▶ group "shop": next is 7; 4 pending, 6 pending
 *      delay, half ─▶ kept aside, appended     └─▶ group "mail": next is 9
 *                     when due, or committed
 *
 *      of a group, each message:
 *                         pull                    ack
 *            (next) ──────────────▶ PENDING ─────────────▶ done
 *              │                    ▲     │ nack, or its lease ends       attempts used up
 *              │ an earlier one of  │     ├──────▶ RETRY ──▶ READY ─┐   ─────────▶ dead-letter topic
 *              │ its key is there   │ pull└─────────────────────────┤
 *              └─────▶ WAITING ─────┴── READY ◀─────────────────────┘
 *
 * A topic can all that a Redis stream can (its ids are ms-seq and only grow; a message is a list of fields),
 * and besides: keys with their order kept, delay, priority, retention by age, bytes and count, leases with
 * redelivery and growing back-off, dead letters, half messages that are committed, rolled back or asked for.
 *
 *      record          key                           value
 *      sums            's'                           struct queue_sums
 *      topic           't' name                      struct queue_topic
 *      its name        'n' number                    the name
 *      swept           'x' number                    struct queue_topic of one that was deleted
 *      group           'g' number                    struct queue_group; its name
 *      consumer        'c' number                    struct queue_consumer; its name
 *      their numbers   'G' topic, 'C' group; name    number
 *      message         'm' topic, position           struct queue_stored; key, fields
 *      in its lane     'l' topic, priority, index    position
 *      kept aside      'k' topic, handle             struct queue_kept, struct queue_stored; key, fields
 *      in hand         'p' group, position           struct queue_entry; key
 *      which there are 'b' group, level, index       bits: positions of 'p' in order
 *      busy key        'y' group, key                struct queue_busy
 *      known id        'd' topic, publisher's id     struct queue_known, until the topic's window is over
 *      how many        'D' topic                     u64: of these
 *
 * Positions are dense: a topic has a record for each from its first to its last (a deleted one is a tombstone
 * until it is the first). What is in no group's hands may leave memory, and is read back.
 *
 * An operation is a struct queue_op, packed by queue_write; its answer a struct queue_answer and what
 * follows, taken apart by the queue_read_ functions: any thread. What happens in between is the writer's. */
#pragma once
#include "base/bytes.h"
#include "base/err.h"

struct ledger_rules;
extern const struct ledger_rules queue_rules;

#define QUEUE_RULES_ID 4
#define QUEUE_NAME_BYTES_MAX 128                    /* of a topic, a group, a consumer, a message's key */
#define QUEUE_MESSAGE_BYTES_MAX ((1u << 20) - 1024) /* its key, and its fields with 8 bytes for each */
#define QUEUE_FIELDS_MAX 10000
#define QUEUE_PRIORITIES 10 /* 0 is the usual one; 9 goes first */
#define QUEUE_DELAY_MS_MAX (366ULL * 24 * 3600 * 1000)
#define QUEUE_LEASE_MS_MAX (24ULL * 3600 * 1000)
#define QUEUE_BACK_OFF_MS_MAX (24ULL * 3600 * 1000)
#define QUEUE_COUNT_MAX 10000 /* messages, ids or groups that one operation gives or takes */
#define QUEUE_TOPICS_MAX 100000
#define QUEUE_GROUPS_MAX 1000     /* of a topic */
#define QUEUE_CONSUMERS_MAX 10000 /* of a group */
#define QUEUE_WAITING_MAX 10000   /* of a group: behind earlier ones of their key; more are not looked at */
#define QUEUE_HALF_KNOWN_MS (3600ULL * 1000) /* after its end: committing again answers the same */
/* A publisher's own id is known for so long, from when it was accepted: publishing again answers the same. */
#define QUEUE_DUPLICATE_WINDOW_MS (120ULL * 1000)
#define QUEUE_DUPLICATE_WINDOW_MS_MAX (7ULL * 24 * 3600 * 1000)
#define QUEUE_KNOWN_MAX 1000000 /* ids that a topic knows; with more it is FULL until some are forgotten */

struct queue_id {
    uint64_t ms, seq;
};
#define QUEUE_ID_TEXT_BYTES 41
/* "ms-seq", not ended by 0; returns its length. */
size_t queue_id_text(struct queue_id id, char out[QUEUE_ID_TEXT_BYTES]);
/* "ms-seq", or "ms": then seq is the one that is said. false: it is none. */
bool queue_id_parse(struct bytes text, uint64_t seq, struct queue_id *ret_id);
#define QUEUE_ID_FIRST ((struct queue_id){ 0, 0 })
#define QUEUE_ID_LAST ((struct queue_id){ UINT64_MAX, UINT64_MAX })
static inline int queue_id_compare(struct queue_id a, struct queue_id b)
{
    if (a.ms != b.ms)
        return a.ms < b.ms ? -1 : 1;
    return a.seq < b.seq ? -1 : a.seq > b.seq;
}

/* ---- operations.   name: what it needs ─▶ what follows the answer. `topic` is needed by all but TOPICS;
 * `group` by those from SET_ID on; flags are told where they mean something. */
#define QUEUE_WHAT_LIST(X)                                                                                       \
    X(TOPIC)        /* made, or set anew: keep_ms, keep_bytes, keep_count, other (dead letters), check_ms,       \
                     * attempts (checks), duplicate_ms, ORDERED; IF_NEW ─▶ number: its number */             \
    X(DELETE_TOPIC) /* with its groups */                                                                        \
    X(PUBLISH) /* key, fields, priority, delay_ms; ID: id (with ANY_SEQ: only its ms); MAKE; HALF ─▶ id;     \
                * of HALF and of a delay: number, its handle. own_id: the publisher's; is it known, nothing      \
                * is published, and the answer is the first one's, with end 0-1 */                                                   \
    X(COMMIT)  /* number (a handle): now it is published ─▶ id */                                            \
    X(ROLL_BACK) /* number (a handle; of a delayed one too) */                                                   \
    X(TRIM) /* keep_count, or ID: those before id go (at most `count`, 0: QUEUE_COUNT_MAX) ─▶ number: how    \
               many */                                                                                           \
    X(DELETE) /* ids ─▶ number: how many there were */                                                       \
    X(RANGE)  /* id to end, both included; count (0: all that fit), room; REVERSE ─▶ messages; number: 1     \
               * when there are more */                                                                          \
    X(TOPICS) /* number (0, or what the last answer said), count ─▶ topics; number: where to go on, or 0 */  \
    X(LOOK_TOPIC) /* ─▶ a topic; its first and its last message if they fit into room */                     \
    X(LOOK_KEPT)  /* number (a handle) ─▶ a message kept aside; number: 1 when it is a half */               \
    X(GROUPS)     /* ─▶ groups */                                                                            \
    X(GROUP) /* made, or set anew: lease_ms, attempts, back_off_ms, back_off_ms_max, other (dead letters);       \
              * a new one stands at id (FROM_END: behind the last; TIME: id.ms is a time); IF_NEW; MAKE */       \
    X(DELETE_GROUP) /* ─▶ number: how many there were, 0 or 1 */                                             \
    X(SET_ID) /* group's next is the one behind id (FROM_END; TIME: id.ms is a time: the first since then)       \
               */                                                                                                \
    X(PULL)   /* consumer, count, room; NO_ACK ─▶ messages, delivered */                                     \
    X(HISTORY) /* consumer, id, count, room: its pending ones behind id ─▶ messages (gone: only the id); of  \
                * a group without leases this is a delivery */                                                   \
    X(ACK)     /* ids ─▶ number: how many there were */                                                      \
    X(NACK)    /* ids; delay_ms (BACK_OFF: as it comes) ─▶ number: how many there were */                    \
    X(CLAIM)      /* consumer, ids, idle_ms (least); FORCE, JUST_ID, LAST_ID: id; SET_TIME: delay_ms ago it      \
                   * was delivered; SET_COUNT: attempts ─▶ messages */                                       \
    X(AUTO_CLAIM) /* consumer, id (from), count, idle_ms, room; JUST_ID ─▶ messages (gone: only the id);     \
                   * id: where to go on, 0-0: the end */                                                         \
    X(PENDING)    /* id, end, count, idle_ms, consumer (empty: all) ─▶ pending ones */                       \
    X(PENDING_SUM)     /* ─▶ number: how many; id, end: the first, the last; consumers that have some */     \
    X(CONSUMER)        /* consumer ─▶ number: 1 when it is new */                                            \
    X(DELETE_CONSUMER) /* consumer: its pending ones are nobody's and done ─▶ number: how many these were */ \
    X(CONSUMERS)       /* ─▶ consumers */                                                                    \
    X(EXTEND)          /* ids, lease_ms (0: the group's); consumer (empty: whoever's): their leases end so       \
                        * much later than now ─▶ number: how many there were */                              \
    X(LOOK_WHOLE) /* count (0: all), room ─▶ a topic; so many messages; its groups, each followed by         \
                   * its pending ones (QUEUE_COUNT_MAX at most) and its consumers */

enum queue_what {
#define X(name) QUEUE_##name,
    QUEUE_WHAT_LIST(X)
#undef X
        QUEUE_WHATS
};

enum queue_flag {
    QUEUE_MAKE = 1,   /* the topic, when there is none */
    QUEUE_IF_NEW = 2, /* else EXISTS */
    QUEUE_ID_GIVEN = 4,
    QUEUE_ANY_SEQ = 8,
    QUEUE_IS_HALF = 16,
    QUEUE_IS_ORDERED = 32, /* per key */
    QUEUE_IS_REVERSE = 64, /* from end to id */
    QUEUE_FROM_END = 128,
    QUEUE_BY_TIME = 256,
    QUEUE_NO_ACK = 512,
    QUEUE_BACK_OFF = 1024,
    QUEUE_FORCE = 2048,
    QUEUE_JUST_ID = 4096,
    QUEUE_LAST_ID = 8192,
    QUEUE_SET_TIME = 16384,
    QUEUE_SET_COUNT = 32768,
    QUEUE_NOT_TRIED = 65536, /* of NACK: this delivery is not counted as an attempt */
};

/* How an operation ended. But for DONE it is refused, and nothing of its entry has happened.
 *    id              word             err              what it means */
#define QUEUE_RESULT_LIST(X)                                                                            \
    X(DONE, "done", OK, "it is done")                                                                   \
    X(UNKNOWN_TOPIC, "unknown_topic", ERR_NOT_FOUND, "there is no such topic")                          \
    X(UNKNOWN_GROUP, "unknown_group", ERR_NOT_FOUND, "the topic has no such group")                     \
    X(UNKNOWN_HANDLE, "unknown_handle", ERR_NOT_FOUND, "no message is kept under this number")          \
    X(EXISTS, "exists", ERR_EXISTS, "it exists already")                                                \
    X(ID_TOO_SMALL, "id_too_small", ERR_DENIED, "the id is not greater than the topic's last")          \
    X(ENDED, "ended", ERR_DENIED, "the message was ended the other way before")                         \
    X(NO_PRIORITY, "no_priority", ERR_DENIED, "a topic that keeps the order of keys has no priorities") \
    X(TOO_SMALL, "too_small", ERR_AGAIN, "not even the first message fits into the room")               \
    X(MALFORMED, "malformed", ERR_SYNTAX, "a name or a number is missing or out of bounds")             \
    X(FULL, "full", ERR_LIMIT,                                                                          \
      "the ledger's memory, or the number of its topics, groups or consumers, is used up")

enum queue_result {
#define X(id, word, e, meaning) QUEUE_##id,
    QUEUE_RESULT_LIST(X)
#undef X
        QUEUE_RESULTS
};
extern const char *const queue_result_words[], *const queue_result_meanings[]; /* end with NULL */

/* A header, or the body: the field named QUEUE_BODY. */
struct queue_field {
    struct bytes name, value;
};
#define QUEUE_BODY BYTES("body")

/* Where a half's publisher is asked: the half's fields, and these two. `check_ms` 0 and checks 0 are: */
#define QUEUE_CHECK_SUFFIX BYTES(".check")
#define QUEUE_CHECK_TOPIC BYTES("weir-topic")
#define QUEUE_CHECK_HANDLE BYTES("weir-handle")
#define QUEUE_CHECK_MS (60ULL * 1000)
#define QUEUE_CHECKS_MAX 15u /* then it is rolled back */
#define QUEUE_CHECK_KEEP_MS (24ULL * 3600 * 1000)
/* What a dead letter has besides: where it comes from. */
#define QUEUE_DEAD_TOPIC BYTES("weir-topic")
#define QUEUE_DEAD_GROUP BYTES("weir-group")
#define QUEUE_DEAD_ID BYTES("weir-id")
#define QUEUE_DEAD_ATTEMPTS BYTES("weir-attempts")

/* What an operation does not name is 0. */
struct queue_op {
    enum queue_what what;
    unsigned flags; /* enum queue_flag */
    struct bytes topic, group, consumer, key, other, own_id;
    struct queue_id id, end;
    uint64_t number, count, room; /* room: of the answer, in bytes: struct queue_answer included */
    uint64_t priority, delay_ms, idle_ms, attempts;
    uint64_t lease_ms; /* 0: for ever, as with Redis; of PULL: 0 is the group's */
    uint64_t back_off_ms, back_off_ms_max;
    uint64_t keep_ms, keep_bytes, keep_count; /* 0: all */
    uint64_t check_ms, duplicate_ms;          /* 0: QUEUE_DUPLICATE_WINDOW_MS */
    const struct queue_field *fields;
    uint32_t fields_count;
    const struct queue_id *ids;
    uint32_t ids_count;
};

/* How many bytes it takes, and these bytes: at out, which has room for them. What is out of bounds is
 * answered by MALFORMED; a text longer than 255 bytes is written as an empty one. */
size_t queue_op_bytes(const struct queue_op *op);
void queue_write(const struct queue_op *op, char *out);
/* 1 to QUEUE_NAME_BYTES_MAX bytes. */
static inline bool queue_name_is_good(struct bytes name)
{
    return name.len > 0 && name.len <= QUEUE_NAME_BYTES_MAX;
}

/* ---- answers */

struct queue_answer {
    uint32_t result; /* enum queue_result */
    uint32_t count;  /* of what follows */
    uint64_t number;
    struct queue_id id, end;
};

/* Texts are slices of the answer. */
struct queue_message {
    struct queue_id id;
    struct bytes key;
    struct bytes fields; /* queue_read_field; empty: it is gone (or JUST_ID) */
    uint32_t fields_count;
    uint32_t attempts; /* deliveries to the group, this one included; 0: RANGE */
    uint32_t priority;
    bool is_gone; /* of HISTORY, CLAIM, AUTO_CLAIM: it was deleted, or its time was over */
    uint64_t published_ms;
};
struct queue_pending {
    struct queue_id id;
    struct bytes consumer;
    uint64_t delivered_ms, attempts;
};
struct queue_topic_shown {
    struct bytes name, dead_letter;
    uint64_t number, count, bytes, added, kept; /* added: in all; kept: aside */
    struct queue_id first, last, deleted;       /* first: of those that are there; deleted: the largest */
    uint64_t keep_ms, keep_bytes, keep_count, check_ms, duplicate_ms;
    uint32_t groups;
    bool is_ordered;
};
struct queue_group_shown {
    struct bytes name, dead_letter;
    uint64_t consumers, pending, waiting, ready, retry; /* waiting: for their key; ready: to be had again */
    uint64_t lag;                                       /* messages behind its position */
    uint64_t delivered, acked, redelivered, dead, dropped; /* in all; dropped: gone before they were done */
    struct queue_id last;                                  /* delivered */
    uint64_t lease_ms, attempts, back_off_ms, back_off_ms_max;
};
struct queue_consumer_shown {
    struct bytes name;
    uint64_t pending, seen_ms, active_ms;
};

/* What each takes of the room at most; a message: its key, its fields and QUEUE_MESSAGE_HEAD_BYTES_MAX. */
#define QUEUE_TOPIC_BYTES_MAX (512 + 2 * QUEUE_NAME_BYTES_MAX)
#define QUEUE_GROUP_BYTES_MAX (512 + 2 * QUEUE_NAME_BYTES_MAX)
#define QUEUE_CONSUMER_BYTES_MAX (64 + QUEUE_NAME_BYTES_MAX)
#define QUEUE_PENDING_BYTES_MAX (64 + QUEUE_NAME_BYTES_MAX)
#define QUEUE_MESSAGE_HEAD_BYTES_MAX 64

/* false: too short to be one. *ret_rest: what follows. */
bool queue_read_answer(struct bytes answer, struct queue_answer *ret_answer, struct bytes *ret_rest);
/* Each takes one off the rest; false: there is no more. */
bool queue_read_message(struct bytes *rest, struct queue_message *ret_message);
bool queue_read_field(struct bytes *fields, struct queue_field *ret_field);
bool queue_read_pending(struct bytes *rest, struct queue_pending *ret_pending);
bool queue_read_topic(struct bytes *rest, struct queue_topic_shown *ret_topic);
bool queue_read_group(struct bytes *rest, struct queue_group_shown *ret_group);
bool queue_read_consumer(struct bytes *rest, struct queue_consumer_shown *ret_consumer);

/* ---- for other rules: keys share their names with topics (ledger/kv.h). The writer's thread. */
struct ledger_apply;
bool queue_has_topics(struct ledger_apply *a);
bool queue_is_topic(struct ledger_apply *a, struct bytes name);
/* The topic with its groups; it is there. What QUEUE_DELETE_TOPIC says. */
err queue_drop_topic(struct ledger_apply *a, struct bytes name) CHECK_RESULT;
/* An operation among others of an entry: what refuses it is its answer, and the others go on; but FULL and
 * TOO_SMALL, which refuse all of the entry. *ret_done: it was not refused. The answer is appended. */
err queue_apply_among(struct ledger_apply *a, struct bytes op, bool *ret_done) CHECK_RESULT;
/* A number that is another after each change of what a topic holds; never 0. 0: there is no such topic. */
uint64_t queue_version(struct ledger_apply *a, struct bytes name);

/* ---- what workers know without asking: ledger_look(ledger, QUEUE_RULES_ID, queue_topic_key(...)): a number
 * that is another whenever a pull or a range that found nothing may find something now. Whoever waits looks
 * before it asks, and asks again when the number has changed. */
#define QUEUE_TOPIC_KEY_BYTES_MAX (1 + QUEUE_NAME_BYTES_MAX)
struct bytes queue_topic_key(struct bytes name, char out[QUEUE_TOPIC_KEY_BYTES_MAX]);

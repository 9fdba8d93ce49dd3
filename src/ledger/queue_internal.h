/* queue_internal: what queue's files share: records as they stand on disk, and an operation at work. */
#pragma once
#include "ledger/pack.h"
#include "ledger/queue.h"
#include "ledger/rules.h"

#define QUEUE_SKIPS_MAX 65536 /* tombstones and the like that one operation passes over */
#define QUEUE_DROPS_MAX 16    /* old messages that one publish lets go; the others are due at once */
#define QUEUE_SWEEPS_MAX 1024 /* records that are let go at a time, of what was deleted or is too old */
#define QUEUE_IN_HAND_MAX (1u << 20) /* of a group */
#define QUEUE_KEY_BYTES_MAX (16 + QUEUE_NAME_BYTES_MAX)

struct queue_name {
    uint8_t len;
    char at[QUEUE_NAME_BYTES_MAX];
    char unused[7];
};
static inline struct bytes queue_name_bytes(const struct queue_name *n)
{
    return (struct bytes){ n->at, n->len };
}
static inline void queue_name_set(struct queue_name *n, struct bytes name)
{
    *n = (struct queue_name){ .len = (uint8_t)name.len };
    if (name.len)
        memcpy(n->at, name.ptr, name.len);
}

/* Numbers are never given again. */
struct queue_sums {
    uint32_t topics, first_topic; /* a list of their numbers */
    uint32_t last_topic_number, last_group_number, last_consumer_number, unused;
};

struct queue_topic {
    uint32_t number, before, after; /* in the list */
    uint32_t groups, first_group;
    uint32_t is_ordered, checks_max;
    uint32_t duplicate_ms; /* 0: QUEUE_DUPLICATE_WINDOW_MS */
    uint64_t wakes;
    uint64_t first, next; /* positions */
    uint64_t count, bytes, added, kept;
    uint64_t kept_first, kept_next; /* handles: from the first that may be there, up to */
    struct queue_id last, deleted;
    uint64_t keep_ms, keep_bytes, keep_count, check_ms;
    uint64_t lane_first[QUEUE_PRIORITIES], lane_next[QUEUE_PRIORITIES]; /* of 0: not used */
    struct queue_name dead_letter;
};

/* Behind it the key and the fields. */
struct queue_stored {
    struct queue_id id;
    uint64_t published_ms;
    uint32_t fields_count;
    uint8_t priority, key_len, is_deleted, unused;
};

enum queue_kept_state { QUEUE_DELAYED, QUEUE_HALF, QUEUE_COMMITTED, QUEUE_ROLLED_BACK };
/* Behind it a queue_stored with its key and fields, while it is DELAYED or HALF. */
struct queue_kept {
    uint32_t state, checks;
    struct queue_id id; /* of COMMITTED; of HALF: the check that its publisher was last sent */
};

/*    name      in which list   */
#define QUEUE_STATE_LIST(X)                                                        \
    X(PENDING) /* with its consumer: until acked, or its lease ends */             \
    X(RETRY)   /* until its back-off is over */                                    \
    X(READY)   /* in its priority's line: a pull takes it before what was never */ \
    X(WAITING) /* behind its key's others */
enum queue_state {
#define X(name) QUEUE_IS_##name,
    QUEUE_STATE_LIST(X)
#undef X
        QUEUE_STATES
};

/* A line of entries, by position + 1; 0: none. */
struct queue_line {
    uint64_t first, last;
};

struct queue_group {
    uint32_t number, topic, before, after; /* in the topic's list */
    uint32_t consumers, first_consumer;
    uint32_t attempts, is_gone;
    uint64_t next[QUEUE_PRIORITIES]; /* of 0: a position; of others: an index in the lane */
    uint64_t end;                    /* no position from here on was ever in hand */
    struct queue_id last;
    struct queue_line ready[QUEUE_PRIORITIES];
    uint64_t counts[QUEUE_STATES];
    uint64_t delivered, acked, redelivered, dead, dropped;
    uint64_t lease_ms, back_off_ms, back_off_ms_max;
    struct queue_name dead_letter, name;
};

/* Behind it the key, when its order is kept. */
struct queue_entry {
    struct queue_id id;
    uint64_t delivered_ms;
    uint64_t before, after; /* in a line: position + 1 */
    uint32_t consumer, attempts;
    uint8_t state, priority, key_len, unused[5];
};

struct queue_busy {
    uint64_t holder; /* position + 1 */
    struct queue_line waiting;
};

struct queue_consumer {
    uint32_t number, group, before, after;
    uint64_t pending, seen_ms, active_ms;
    struct queue_name name;
};

/* ---- an operation at work */

struct queue_run {
    struct ledger_apply *a;
    struct queue_op op;       /* its fields and ids are NULL */
    struct bytes fields, ids; /* as they are packed */
    struct record *topic_record, *group_record;
    struct queue_topic *topic; /* of the records; announced */
    struct queue_group *group;
    struct queue_answer answer;
    uint32_t answer_from; /* where in a's its answer begins */
    bool among;           /* others: see queue_apply_among */
};

/* queue_op.c. false: MALFORMED. */
bool queue_unpack(struct bytes bytes, struct queue_run *q);

static inline struct queue_id queue_run_id(const struct queue_run *q, uint32_t i)
{
    struct queue_id id;
    memcpy(&id, q->ids.ptr + i * sizeof id, sizeof id);
    return id;
}

static inline struct queue_id queue_id_behind(struct queue_id id)
{
    id.seq++;
    id.ms += id.seq == 0;
    return id;
}

/* ---- records (queue_records.c) */

struct queue_key {
    size_t len;
    char at[QUEUE_KEY_BYTES_MAX];
};
struct bytes queue_key_named(struct queue_key *k, char kind, struct bytes name);
struct bytes queue_key_numbered(struct queue_key *k, char kind, uint32_t number);
struct bytes queue_key_of(struct queue_key *k, char kind, uint32_t owner, struct bytes name);
struct bytes queue_key_at(struct queue_key *k, char kind, uint32_t owner, uint8_t sub, uint64_t at);
/* The numbers of a key: of its owner, and the last 8 bytes of one made by queue_key_at. */
uint32_t queue_key_owner(const struct record *r);
uint64_t queue_key_position(const struct record *r);

static inline struct record *queue_find(struct ledger_apply *a, struct bytes key)
{
    return record_find(a->records, QUEUE_RULES_ID, key);
}
static inline struct record *queue_make(struct ledger_apply *a, struct bytes key, size_t bytes)
{
    return record_make(a->records, QUEUE_RULES_ID, key, (uint32_t)bytes);
}
struct record *queue_find_at(struct ledger_apply *a, char kind, uint32_t owner, uint8_t sub, uint64_t at);
struct record *queue_make_at(struct ledger_apply *a, char kind, uint32_t owner, uint8_t sub, uint64_t at,
                             size_t bytes);
struct record *queue_find_topic(struct ledger_apply *a, struct bytes name);
/* NULL: it was deleted. */
struct record *queue_topic_of_number(struct ledger_apply *a, uint32_t number);
struct record *queue_find_numbered(struct ledger_apply *a, char kind, uint32_t number);
struct record *queue_find_group(struct ledger_apply *a, uint32_t topic, struct bytes name);
struct record *queue_find_consumer(struct ledger_apply *a, uint32_t group, struct bytes name);
static inline struct bytes queue_topic_name(const struct record *topic)
{
    return bytes_skip(record_key(topic), 1);
}
/* NULL: FULL. Into the lists; to be filled in. */
struct record *queue_make_topic(struct ledger_apply *a, struct bytes name);
struct record *queue_make_group(struct queue_run *q, struct bytes name);
struct record *queue_make_consumer(struct ledger_apply *a, struct queue_group *g, struct bytes name);
/* Out of the lists; what it had is swept later, bit by bit. */
void queue_remove_topic(struct queue_run *q);
void queue_remove_group(struct ledger_apply *a, struct queue_topic *t, struct record *group);
void queue_remove_consumer(struct ledger_apply *a, struct queue_group *g, struct record *consumer);

/* ---- positions of a group in order (queue_set.c) */

#define QUEUE_NO_POSITION UINT64_MAX
bool queue_set_add(struct ledger_apply *a, uint32_t group, uint64_t position);
void queue_set_remove(struct ledger_apply *a, uint32_t group, uint64_t position);
/* The first one from there on; the last one up to there. QUEUE_NO_POSITION: there is none. */
uint64_t queue_set_next(struct ledger_apply *a, uint32_t group, uint64_t position);
uint64_t queue_set_last(struct ledger_apply *a, uint32_t group, uint64_t position);

/* ---- messages of a topic (queue_topic.c) */

static inline const struct queue_stored *queue_stored(const struct record *message)
{
    return record_value(message);
}
static inline struct bytes queue_stored_key(const struct queue_stored *s)
{
    return (struct bytes){ (const char *)(s + 1), s->key_len };
}
/* NULL: it is gone, or deleted. */
const struct record *queue_message_at(struct ledger_apply *a, const struct queue_topic *t, uint64_t position);
/* What is appended: its fields in two parts. */
struct queue_new {
    struct queue_id id; /* greater than the last */
    struct bytes key, fields, more;
    uint32_t fields_count;
    uint8_t priority;
};
struct queue_id queue_next_id(const struct ledger_apply *a, const struct queue_topic *t);
/* t is announced. false: FULL. */
bool queue_append(struct ledger_apply *a, struct record *topic, const struct queue_new *m);
/* The first position whose id is id or greater; the lane's first index whose position is that or greater. */
uint64_t queue_position_of(struct ledger_apply *a, const struct queue_topic *t, struct queue_id id);
uint64_t queue_lane_of(struct ledger_apply *a, const struct queue_topic *t, unsigned priority,
                       uint64_t position);
/* Lets the first position go. */
void queue_drop_first(struct ledger_apply *a, struct queue_topic *t);
void queue_pack_field(struct pack *p, struct bytes name, struct bytes value);
err queue_publish(struct queue_run *q);
err queue_trim(struct queue_run *q);
err queue_delete(struct queue_run *q);
err queue_range(struct queue_run *q);
/* Its time has come: what is too old goes. */
void queue_topic_due(struct ledger_apply *a, struct record *topic);

/* ---- kept aside (queue_kept.c) */

enum queue_result queue_keep(struct queue_run *q, enum queue_kept_state state);
err queue_end_half(struct queue_run *q, bool commit);
err queue_look_kept(struct queue_run *q);
void queue_kept_due(struct ledger_apply *a, struct record *r);
bool queue_sweep_kept(struct ledger_apply *a, struct queue_topic *t, unsigned *steps);

/* ---- publishers' own ids (queue_known.c) */

struct queue_known {
    struct queue_id id;
    uint64_t handle;
};
/* Is its own id known? Then the answer is the first one's. */
bool queue_known_answer(struct queue_run *q);
/* Its own id, if it has one, and its answer are known from now on. false: FULL. */
bool queue_known_add(struct queue_run *q);
void queue_known_due(struct ledger_apply *a, struct record *known);

/* ---- what a group has in hand (queue_entry.c) */

struct queue_hand {
    struct ledger_apply *a;
    struct record *topic_record; /* NULL: it was deleted */
    struct queue_topic *topic;
    struct queue_group *group; /* announced */
    uint64_t likely;           /* from here on is what is probably asked for next */
};
static inline struct queue_hand queue_hand(struct queue_run *q)
{
    return (struct queue_hand){ q->a, q->topic_record, q->topic, q->group, 0 };
}
struct record *queue_entry_at(struct queue_hand *h, uint64_t position);
/* The one that was delivered with this id. */
struct record *queue_entry_of(struct queue_hand *h, struct queue_id id);
/* The first position in hand whose id is this or greater. */
uint64_t queue_entry_position(struct queue_hand *h, struct queue_id id);
/* A new one, WAITING behind its key or (*ret_entry) to be delivered. false: FULL. */
bool queue_entry_make(struct queue_hand *h, uint64_t position, const struct queue_stored *m,
                      struct record **ret_entry);
/* Delivered: PENDING with this consumer. */
void queue_entry_deliver(struct queue_hand *h, struct record *entry, struct queue_consumer *c,
                         uint64_t lease_ms);
/* Done: its key's next one gets ready. */
void queue_entry_finish(struct queue_hand *h, struct record *entry);
/* Its last delivery is not counted. */
void queue_entry_untry(struct queue_hand *h, struct record *entry);
/* Not done: RETRY in delay_ms (UINT64_MAX: as the group says), or dead. false: FULL. */
bool queue_entry_fail(struct queue_hand *h, struct record *entry, uint64_t delay_ms);
void queue_entry_due(struct ledger_apply *a, struct record *entry);
/* The first READY one of a priority, or NO_POSITION. */
static inline uint64_t queue_ready_first(const struct queue_group *g, unsigned priority)
{
    return g->ready[priority].first - 1;
}
/* Of a deleted group: all of it, bit by bit. */
void queue_group_due(struct ledger_apply *a, struct record *group);

/* ---- operations on groups (queue_group.c, queue_claim.c) */

err queue_set_group(struct queue_run *q);
err queue_set_id(struct queue_run *q);
err queue_pull(struct queue_run *q);
err queue_ack(struct queue_run *q);
err queue_nack(struct queue_run *q);
err queue_extend(struct queue_run *q);
err queue_consumer(struct queue_run *q);
err queue_delete_consumer(struct queue_run *q);
/* Its consumer, made when there is none; announced. NULL: FULL. */
struct queue_consumer *queue_run_consumer(struct queue_run *q);
err queue_history(struct queue_run *q);
err queue_claim(struct queue_run *q);
err queue_auto_claim(struct queue_run *q);
err queue_pending(struct queue_run *q);
err queue_pending_sum(struct queue_run *q);

/* ---- looking, and answers (queue_look.c) */

err queue_look_topics(struct queue_run *q);
err queue_look_topic(struct queue_run *q);
err queue_look_groups(struct queue_run *q);
err queue_look_consumers(struct queue_run *q);
err queue_look_whole(struct queue_run *q);
/* The end of an answer. */
err queue_answer(struct queue_run *q, enum queue_result result);
/* Does so much more fit into the room? */
bool queue_fits(const struct queue_run *q, size_t bytes);
bool queue_answer_stored(struct queue_run *q, struct queue_id id, const struct queue_stored *s,
                         struct bytes fields, uint32_t attempts);
/* One more message (m NULL: only its id, gone or not). false: there is no room for it. */
bool queue_answer_message(struct queue_run *q, struct queue_id id, const struct record *m, uint32_t attempts,
                          bool is_gone);
void queue_answer_pending(struct queue_run *q, const struct queue_entry *e);
void queue_answer_consumer(struct queue_run *q, const struct queue_consumer *c);

/* struct ledger_rules.check (queue_check.c). */
bool queue_check(struct records *rs, struct diag *reterr);

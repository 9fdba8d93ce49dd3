/* topic_args: what publishers and consumers say of messages, over HTTP (JSON) or RESP (QUEUE.*), by the same
 * rules into operations of the queue. What is wrong is told in words; NULL: nothing is. Any thread. */
#pragma once
#include "base/arena.h"
#include "ledger/queue.h"

#define TOPIC_HEADERS_MAX 64

/*    what         a member of JSON     an option of QUEUE.* */
#define TOPIC_WORD_LIST(X)              \
    X(KEY, "key", "KEY")                \
    X(PRIORITY, "priority", "PRIORITY") \
    X(DELAY, "delay_ms", "DELAY")       \
    X(OWN_ID, "idempotency_key", "ID")
enum topic_word {
#define X(name, member, option) TOPIC_##name,
    TOPIC_WORD_LIST(X)
#undef X
        TOPIC_WORDS
};
extern const char *const topic_members[], *const topic_options[]; /* end with NULL */

/* A message on its way: zeroed, then said word by word, then ended. Texts are the caller's. */
struct topic_publish {
    struct queue_field fields[TOPIC_HEADERS_MAX + 1];
    uint32_t fields_count;
};
const char *topic_publish_word(struct queue_op *op, enum topic_word word, struct bytes value);
const char *topic_publish_header(struct topic_publish *p, struct bytes name, struct bytes value);
/* op is the PUBLISH of it: with p's fields. */
const char *topic_publish_end(struct topic_publish *p, struct bytes body, bool is_half, struct queue_op *op);

/* "begin", "end", an id, or a time in ms since 1970. */
#define TOPIC_FROM_WRONG "from: it is begin, end, an id or a time in ms"
bool topic_args_from(struct bytes from, struct queue_op *op);

/* What is told of a topic t and of a group g, besides names and ids. */
#define TOPIC_NUMBER_LIST(X)                  \
    X("messages", t->count)                   \
    X("bytes", t->bytes)                      \
    X("published", t->added)                  \
    X("kept_aside", t->kept)                  \
    X("keep_ms", t->keep_ms)                  \
    X("keep_bytes", t->keep_bytes)            \
    X("duplicate_window_ms", t->duplicate_ms) \
    X("order_by_key", t->is_ordered)          \
    X("groups", t->groups)
#define TOPIC_GROUP_NUMBER_LIST(X)           \
    X("lag", g->lag)                         \
    X("pending", g->pending)                 \
    X("again", g->ready + g->retry)          \
    X("waiting", g->waiting)                 \
    X("consumers", g->consumers)             \
    X("lease_ms", g->lease_ms)               \
    X("attempts", g->attempts)               \
    X("back_off_ms", g->back_off_ms)         \
    X("back_off_ms_max", g->back_off_ms_max) \
    X("delivered", g->delivered)             \
    X("acked", g->acked)                     \
    X("redelivered", g->redelivered)         \
    X("dead", g->dead)                       \
    X("dropped", g->dropped)

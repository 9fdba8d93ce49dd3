/* topic_ask: asks the ledger one thing about topics, and waits for the answer. From a fiber.
 *
 *      struct topic_ask q = { .op = { .what = QUEUE_ACK, .topic = ..., .group = ..., .ids = ... } };
 *      err e = topic_ask(&q, room, sizeof room);       OK: see q.answer.result
 */
#pragma once
#include "ledger/ledger.h"
#include "ledger/queue.h"

struct topic_ask {
    struct queue_op op; /* its room is set by topic_ask */
    /* when it returned OK */
    struct queue_answer answer;
    struct bytes rest; /* what follows it, in room */
    enum ledger_durability durability;
    uint64_t now_ms; /* the ledger's time */
};

/* room: for the operation, and then for its answer: TOPIC_ASK_BYTES are enough for what carries no message
 * and lists nothing. ERR_UNAVAILABLE: there is no ledger, or it has stopped; ERR_LIMIT: too much waits for
 * it, or the operation does not fit. */
#define TOPIC_ASK_BYTES 4096
err topic_ask(struct topic_ask *q, char *room, size_t size) CHECK_RESULT;

/* topic_push: messages of a topic on their way to a service: the ledger hands them out, the gate delivers
 * them (balancing, breaker, retries), the answer decides.
 *
 *      pull ─▶ up to `limit` at the same time ─▶ POST ─▶ 2xx: ack
 *                       ▲                              429, 503 with Retry-After: all wait, none is counted
 *                       └── gate/gradient.h            else: nack, back-off, and dead letter in the end
 *
 * Each is on one worker, spread over all of them: never two that push the same topic, and what holds for all
 * of a topic (how many at the same time, slower) is known to one. A delivery whose answer was lost is made
 * again (at least once); the receiver knows it by ce-id. Started and stopped by the control worker. */
#pragma once
#include "base/bytes.h"
#include "base/err.h"

struct topic_push_conf;
struct topic_push;

/* The group that a push pulls by, and its one consumer. */
#define TOPIC_PUSH_GROUP BYTES("push")
#define TOPIC_PUSH_CONSUMER BYTES("weir")

/* Topic and group are there. is_check: its messages ask what becomes of halves; the answer's field
 * Weir-Transaction says `commit` or `rollback`. is_first: what is in hand was the last process'. Not when the
 * process drains: fibers of workers were cancelled then, or are about to be. ERR_MEMORY, ERR_LIMIT. */
err topic_push_start(struct bytes topic, const struct topic_push_conf *conf, bool is_check, bool is_first,
                     struct topic_push **ret_push) CHECK_RESULT;
/* Does it do what conf says? */
bool topic_push_is(const struct topic_push *p, struct bytes topic, const struct topic_push_conf *conf);
/* It ends by itself, when its deliveries have. Not when the process drains: topic_push_leave. */
void topic_push_stop(struct topic_push *p);
/* Its fibers were cancelled, or will be: the caller forgets it. */
void topic_push_leave(struct topic_push *p);
/* How long a delivery may be in hand: longer than it can take. */
uint64_t topic_push_lease_ms(const struct topic_push_conf *conf);

/* ---- the decision, pure */

enum topic_push_word { PUSH_DONE, PUSH_AGAIN, PUSH_SLOWER };
/* status 0: there was no answer. retry_after_ms: what it said, or 0. */
enum topic_push_word topic_push_decide(unsigned status, uint64_t retry_after_ms);

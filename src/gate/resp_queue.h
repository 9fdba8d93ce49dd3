/* resp_queue: QUEUE.*: topics and groups of the ledger's queue in their own words, for clients of Redis: what
 * HTTP does under /v1/topics (gate/topic_args.h, gate/topic_settings.h have the rules of both).
 *
 *      resp_queue.c        PUBLISH PREPARE COMMIT ROLLBACK ACK NACK EXTEND
 *      resp_queue_pull.c   PULL, BLOCK
 *      resp_queue_group.c  TOPIC GROUP DROP REPLAY DEAD INFO
 *
 * They go to the writer as those on streams do (gate/resp_stream.h), also in MULTI. What is refused is an
 * error that begins with the result's word in capitals: `UNKNOWN_TOPIC there is no such topic`. On the
 * connection's fiber. */
#pragma once
#include "gate/resp_stream.h"
#include "gate/topic_args.h"

/* ---- arguments, pure: what is wrong with them in words, or NULL */

/* topic, body [KEY key] [PRIORITY n] [DELAY ms] [ID id] [HEADER name value] ... p is zeroed. */
const char *queue_read_publish(const struct resp_command *c, bool is_half, struct topic_publish *p,
                               struct queue_op *op);
/* topic, group, consumer [COUNT n] [BLOCK ms] [LEASE ms]; BLOCK 0: until there is one. */
#define QUEUE_BLOCK_NONE UINT64_MAX
const char *queue_read_pull(const struct resp_command *c, struct queue_op *op, uint64_t *ret_block_ms);

/* ---- answers */

void queue_out_text(struct resp_out *o, const char *name, struct bytes text);
void queue_out_number(struct resp_out *o, const char *name, uint64_t n);
/* A map. */
void queue_out_message(struct resp_out *o, const struct queue_message *m);

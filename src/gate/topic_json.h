/* topic_json: messages, topics and groups as JSON, and messages from JSON. Any thread. */
#pragma once
#include "base/json.h"
#include "base/json_read.h"
#include "ledger/queue.h"

/* Members of an object that stands open. A body that is no UTF-8 is `body_base64`. */
void topic_json_message(struct text *t, const struct queue_message *m);
void topic_json_topic(struct text *t, const struct queue_topic_shown *topic);
void topic_json_group(struct text *t, const struct queue_group_shown *g);
void topic_json_id(struct text *t, const char *key, struct queue_id id);

/* {"key", "headers": {..}, "body" or "body_base64", "priority", "delay_ms", "half", "id", "idempotency_key"}
 * into a PUBLISH of op->topic; texts are in a or j's. NULL: it is one; else what is wrong with it. */
const char *topic_json_publish(const struct json *j, struct arena *a, struct queue_op *op);

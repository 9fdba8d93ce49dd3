/* topic_settings: what a topic and a group are told when they are made over HTTP (PUT, JSON) or RESP
 * (QUEUE.TOPIC, QUEUE.GROUP, words): one table for both. Any thread. */
#pragma once
#include "core/conf.h"
#include "ledger/queue.h"

/* Read into a struct of `size` bytes each. */
extern const struct conf_struct topic_body, topic_group_body;

/* NAME value, in pairs and in any case, into out (s->size bytes), with defaults for what is not said.
 * ERR_CONF, ERR_SYNTAX and others: reterr says which. */
err topic_settings_read(const struct conf_struct *s, const struct bytes *words, uint32_t count,
                        struct arena *a, void *out, struct diag *reterr) CHECK_RESULT;
/* Such a struct into an operation whose names are set. The group's false: TOPIC_FROM_WRONG. */
void topic_settings_topic(const void *body, struct queue_op *op);
bool topic_settings_group(const void *body, struct queue_op *op);

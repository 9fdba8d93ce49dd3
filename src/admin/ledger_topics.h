/* ledger_topics: the part of the ledger's API that speaks of topics. Control worker. */
#pragma once
#include "admin/call.h"
#include "gate/topic_ask.h"
#include "gate/topic_settings.h"

#define TOPIC_TEXT_BYTES_MAX (2u << 20) /* of messages to be published, as JSON */

extern const struct conf_struct topic_pull_body, topic_ids_body, topic_nack_body, topic_extend_body,
    topic_replay_body, topic_handle_body, topic_messages_query;

void topics_get(struct call *c);
void topic_get(struct call *c);
void topic_put(struct call *c);
void topic_delete(struct call *c);
void topic_messages_get(struct call *c);
void topic_messages_post(struct call *c);
void topic_commit_post(struct call *c);
void topic_rollback_post(struct call *c);
void topic_kept_get(struct call *c);
void topic_group_put(struct call *c);
void topic_group_get(struct call *c);
void topic_group_delete(struct call *c);
void topic_pull_post(struct call *c);
void topic_ack_post(struct call *c);
void topic_nack_post(struct call *c);
void topic_extend_post(struct call *c);
void topic_replay_post(struct call *c);

/* ---- ledger_topics_ask.c: what these share */

#define TOPIC_COUNT_MAX 1000 /* messages of an answer */
/* For the largest message there is, and then some. */
#define TOPIC_ROOM_BYTES (QUEUE_MESSAGE_BYTES_MAX + 512 * 1024)

void topic_answer_result(struct call *c, enum queue_result result);
void topic_answer_failure(struct call *c, err e);
/* false: it has been answered. */
bool topic_asks(struct call *c, struct topic_ask *q, char *room, size_t size);
void topic_call_end(struct call *c, unsigned status);
/* What carries no message, and has a number to tell by this name (NULL: nothing to tell). */
void topic_ask_number(struct call *c, struct topic_ask *q, const char *name);
/* TOPIC_ROOM_BYTES of the heap. NULL: it has been answered. */
char *topic_take_room(struct call *c);
void topic_answer_messages(struct call *c, const struct topic_ask *q);

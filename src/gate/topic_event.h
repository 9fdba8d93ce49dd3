/* topic_event: a message as a request that carries it: CloudEvents 1.0, HTTP protocol binding, binary mode
 * (github.com/cloudevents/spec, cloudevents/bindings/http-protocol-binding.md 3.1).
 *
 *      ce-id, ce-source, ce-type, ce-specversion, ce-time, ce-subject (the key), weir-attempt, content-type
 *      and the message's other fields as they are; its body is the field `body`
 *
 * A message without a `body` (XADD of a few fields) is sent as one JSON object. On the fiber of a's owner. */
#pragma once
#include "base/arena.h"
#include "ledger/queue.h"
#include "proto/http.h"

struct topic_event {
    struct bytes topic;
    struct queue_message message;
};

/* Fields of the request, and its body; texts are in a, or the message's own. ERR_LIMIT: a is full. */
err topic_event_write(const struct topic_event *e, struct arena *a, struct http_fields *fields,
                      struct bytes *ret_body) CHECK_RESULT;
/* A value of an attribute as a field's: what is not printable ASCII, the space, the quote and the percent
 * sign are percent-encoded in UTF-8 (3.1.3.2). ptr NULL: a is full. */
struct bytes topic_event_value(struct bytes text, struct arena *a);

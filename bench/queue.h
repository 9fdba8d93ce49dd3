/* queue: clients of three kinds of queue, for bench/queue.py: what is put on a connection, and what is found
 * on it. One thread, many connections, each with what it has in flight.
 *
 *      publish ──▶ [out] ── socket ──▶ the queue ──▶ [in] ──▶ queue_acked, queue_delivered, queue_had_none
 */
#pragma once
#include "base/bytes.h"

#define QUEUE_BODY_BYTES_MAX 4096
#define QUEUE_PULL_MAX 1000 /* messages asked for at once */

/* What a connection is to write, or has read: grows to what it takes. */
struct queue_buffer {
    char *at;
    size_t len, size;
};

struct queue_conn {
    int fd;
    unsigned number;
    bool consumes, is_written; /* out is on its way; the socket took no more */
    struct queue_buffer out, in;
    uint64_t in_flight;      /* publishes not acknowledged, or pulls not answered */
    uint64_t *sent_ns;       /* of these, a ring */
    uint64_t sent, answered; /* so far */
    uint64_t pulled;         /* messages that came of the pull under way */
};

struct queue_options {
    const char *topic, *group, *token;
    unsigned body_bytes;
    unsigned messages; /* of a publish over HTTP */
    unsigned pull;     /* messages asked for at once, by a consumer */
    bool waits;        /* a pull waits until there are some */
};
extern struct queue_options queue_options;

struct queue_protocol {
    const char *name;
    /* What comes first on a connection; NULL: nothing. */
    void (*greet)(struct queue_conn *c);
    void (*publish)(struct queue_conn *c, const char *body);
    /* NULL: it cannot. */
    void (*pull)(struct queue_conn *c);
    /* One answer off in: its bytes; 0: it is not whole. */
    size_t (*take)(struct queue_conn *c, struct bytes in);
};
extern const struct queue_protocol queue_resp, queue_nats, queue_http;

/* ---- for the protocols */

/* Room for so much at the end of out; what was written there is then added to len. */
char *queue_room(struct queue_buffer *b, size_t bytes);
void queue_add(struct queue_buffer *b, struct bytes text);
void queue_print(struct queue_buffer *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The line at the beginning, without its end. ptr NULL: it is not whole. */
struct bytes queue_line(struct bytes in);

/* What take found: a publish of messages is acknowledged; a message; the pull under way has all it will get.
 */
void queue_acked(struct queue_conn *c, unsigned messages);
void queue_delivered(struct queue_conn *c, struct bytes body);
void queue_pulled(struct queue_conn *c);
_Noreturn void queue_fail(const char *what, struct bytes value);

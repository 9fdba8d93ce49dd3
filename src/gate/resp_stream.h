/* resp_stream: streams of Redis, which are the topics of the ledger's queue (ledger/queue.h). What the files
 * of the X commands share.
 *
 *      resp_stream_add.c    XADD XLEN XRANGE XDEL XTRIM XACK
 *      resp_stream_read.c   XREAD XREADGROUP, BLOCK
 *      resp_stream_group.c  XGROUP XPENDING XCLAIM XAUTOCLAIM
 *      resp_stream_info.c   XINFO                        resp_stream_full.c   XINFO STREAM key FULL
 *
 * Commands that write go to the writer with the others of their turn (stream_send); the others are done when
 * it is their turn, and write their answer themselves (stream_do). In MULTI both are put off: EXEC does them
 * among its other commands, in the one entry, and their answers are written by the same functions. On the
 * connection's fiber. */
#pragma once
#include "gate/resp.h"
#include "ledger/queue.h"

/* Of one answer, when it is not said how much is wanted; more is asked for when a message has more. */
#define STREAM_ROOM_BYTES_MIN (16u << 10)
#define STREAM_ROOM_BYTES (256u << 10)
#define STREAM_ROOM_BYTES_MAX (QUEUE_MESSAGE_BYTES_MAX + (64u << 10))
#define STREAM_ROOM_BYTES_MULTI (16u << 20) /* in MULTI, of an answer that cannot be asked for in parts */

/* Where an answer lies. Zeroed before it is first used; from then on used again. */
struct stream_room {
    char *at;
    size_t size, size_max; /* 0: STREAM_ROOM_BYTES_MAX */
};

/* What is asked once, and whose answer is written at once. */
struct stream_call {
    struct queue_op op;
    struct stream_room room;
    struct queue_answer a; /* DONE, or there is no such topic or group */
    struct bytes rest;
    void (*out)(struct resp_out *o, const struct stream_call *g); /* all of the reply */
    uint64_t number;                                              /* out's own */
    struct arena *arena;                                          /* for out */
    bool own_words; /* of QUEUE.*: what is not DONE is said in the queue's words, and never by out */
};
void stream_do(struct resp_client *k, struct stream_call *g);
/* Operations of one entry (the first one's answer is said), with the others of the turn. is_free: refused
 * where a key of another type stands. */
void stream_send(struct resp_client *k, struct queue_op *ops, unsigned count, bool is_free,
                 void (*say)(struct resp_out *o, const struct resp_ask *q));
/* The answer; false: it is said why there is none. */
bool stream_read_ask(struct resp_out *o, const struct resp_ask *q, struct queue_answer *a);
/* MULTI: operations put off; l->say reads each answer by stream_read_later. */
void stream_put_off(struct resp_client *k, struct queue_op *ops, unsigned count, bool all,
                    struct resp_later *l);
/* false: said. *a: what a value says; nothing was done for it: MALFORMED. */
bool stream_read_later(struct resp_out *o, struct resp_later *l, struct queue_answer *a, struct bytes *rest);
/* As long as the batch: of one that puts off it is copied. */
struct bytes stream_keep(struct resp_client *k, struct bytes text);

/* Asks, with as much room as the first message takes (at least op->room). false: that failed, which is said.
 * What the rules refused is true: see ret_answer->result. */
bool stream_ask(struct resp_client *k, struct queue_op *op, struct stream_room *room,
                struct queue_answer *ret_answer, struct bytes *ret_rest);
/* The same, where all but DONE is a mistake: false: it is said, in Redis' words. No topic or no group: for
 * the caller, unless the key is of another type. */
bool stream_done(struct resp_client *k, struct queue_op *op, struct stream_room *room,
                 struct queue_answer *ret_answer, struct bytes *ret_rest);
/* Refused with ERR_EXISTS where a key of another type stands. */
#define STREAM_FREE_BYTES_MAX (KV_OP_BYTES + 16 + 4 + KV_KEY_BYTES_MAX)
struct bytes stream_free_op(struct bytes key, char out[STREAM_FREE_BYTES_MAX]);
/* OK: no key of another type stands there. ERR_EXISTS: one does. */
err stream_key_is_free(struct bytes key) CHECK_RESULT;
#define STREAM_WRONG_TYPE kv_error_words[KV_WRONG_TYPE]
/* A result that is nobody's in particular; the same in the queue's own words. */
void stream_out_result(struct resp_out *o, uint32_t result);
void stream_out_word(struct resp_out *o, uint32_t result);

/* Each says what is wrong with it. */
bool stream_number(struct resp_client *k, struct bytes text, int64_t *ret_n);
/* "ms-seq", or "ms": then seq is that one. */
bool stream_id(struct resp_client *k, struct bytes text, uint64_t seq, struct queue_id *ret_id);
/* The next id, or the one before. false: there is none. */
bool stream_step(struct queue_id *id, bool back);
/* What one operation is asked for when n are wanted; 0, or less: it is not said. */
static inline uint64_t stream_count(int64_t n)
{
    return n <= 0 ? 0 : n < QUEUE_COUNT_MAX ? (uint64_t)n : QUEUE_COUNT_MAX;
}
/* The same as stream_id, and "-", "+" and "(id": the next, or (is_end) the one before. */
bool stream_bound(struct resp_client *k, struct bytes text, bool is_end, struct queue_id *ret_id);
/* The arguments from i on. NULL: said. */
struct queue_id *stream_ids(struct resp_client *k, const struct resp_command *c, uint32_t i, uint32_t count);
bool stream_word(const struct resp_command *c, uint32_t i, struct bytes word);
void stream_fail_syntax(struct resp_client *k);

/* ---- answers, written at once */

void stream_out_id(struct resp_out *o, struct queue_id id);
void stream_out_head(struct resp_out *o, char type, uint64_t n);
void stream_out_map(struct resp_out *o, uint64_t n);
void stream_out_int(struct resp_out *o, uint64_t n);
void stream_out_null(struct resp_out *o);
void stream_out_message(struct resp_out *o, const struct queue_message *m);
/* Those that are left of an answer; without those that are gone if so wanted. */
void stream_out_messages(struct resp_out *o, struct bytes rest, uint64_t count, bool skip_gone, bool just_id);
/* A mistake, in words; no such group, in Redis'. */
void stream_out_fail(struct resp_out *o, const char *format, ...) __attribute__((format(printf, 2, 3)));
void stream_out_no_group(struct resp_out *o, const struct queue_op *op, const char *where);
/* Of XINFO STREAM: what both forms begin with (5 pairs); all of FULL. */
void stream_out_topic(struct resp_out *o, const struct queue_topic_shown *t);
void stream_out_whole(struct resp_out *o, const struct stream_call *g);
/* Begins and ends what is written at once. */
void stream_out_begin(struct resp_out *o, struct resp_client *k);
void stream_out_end(struct resp_out *o, struct resp_client *k);

/* resp: the ledger for clients of Redis: a listener that speaks RESP2 and RESP3 (proto/resp.h).
 *
 *      bytes ─▶ commands ─▶ batch: one operation of kv, and how each answer is written ─▶ ledger ─▶ one send
 *
 * All commands of a connection that have come in one turn go to the writer together, as one entry: they are
 * durable together, answered together, and atomic (which pipelines need not be). A connection at rest has no
 * fiber and no buffer.
 *
 *      resp_conn.c    connections, turns           resp_local.c    PING, HELLO, CLIENT, INFO, CONFIG ...
 *      resp_gather.c  what a turn asks             resp_multi.c    MULTI, EXEC, WATCH
 *      resp_batch.c   asking, and answers          resp_script.c   EVAL of the scripts that locks use
 *      resp_table.c   all commands                 resp_lock.c, resp_stock.c   LOCK.*, STOCK.*
 *      resp_keys.c    commands on keys             resp_queue.h    QUEUE.*
 *      resp_stream.h  streams
 *
 * For the files of resp and for listeners.c. Connections: on their worker. */
#pragma once
#include "core/io.h"
#include "gate/clients.h"
#include "ledger/kv.h"
#include "ledger/ledger.h"
#include "proto/resp.h"

struct ledger_conf;

/* Of this worker's current generation, until its fiber waits. NULL: it has no ledger, or there is none. */
const struct ledger_conf *resp_conf(void);
/* What io_listen wants. */
void resp_accept(void *owner, struct io *io);

/* ---- batches */

#define RESP_BATCH_COMMANDS_MAX 1024
#define RESP_BATCH_BYTES_MAX (256u << 10) /* of its operation, before another one begins */
#define RESP_ANSWER_BYTES_MAX (32u << 20)
#define RESP_TURN_BYTES_MAX (2 * RESP_ANSWER_BYTES_MAX) /* the commands, and each room that was tried */
#define RESP_ROOM_BYTES_MIN 4096
#define RESP_SEND_TIMEOUT_MS 60000 /* of one long value */

/* How an answer of kv becomes a reply. */
enum resp_shape {
    RESP_PLAIN,
    RESP_SECONDS, /* of milliseconds */
    RESP_FIRST,   /* of two numbers */
    RESP_BOTH,    /* an array of two values */
    RESP_CURSOR,  /* an array of a number as text, and a value */
    RESP_AS_OK,   /* whatever it was, unless it is an error */
    RESP_DONE,    /* 1 for OK, 0 for nil */
    RESP_ASK,     /* an operation of other rules says it itself */
    RESP_LATER,   /* so does what MULTI put off: of KV_TOPIC's answers */
    RESP_LITERAL  /* no answer of kv: it is written as it is */
};

struct resp_reply {
    uint8_t shape;    /* enum resp_shape */
    uint32_t at, end; /* its command in the operation */
    const char *name; /* of its command, for errors */
    struct bytes literal;
    struct resp_ask *ask;     /* of RESP_ASK */
    struct resp_later *later; /* of RESP_LATER */
};

struct resp_out;

/* Operations of other rules than kv's: an entry of its own, that is sent with the others of its turn. */
#define RESP_ASK_OPS_MAX 3
struct resp_ask {
    struct ledger_op ops[RESP_ASK_OPS_MAX];
    const struct ledger_op *op; /* the one that answers */
    struct ledger_call call;
    void (*say)(struct resp_out *o, const struct resp_ask *q);
    char *answer;
    struct bytes key; /* of RESP_STREAM: the command's; as long as the turn */
    bool is_put_off;  /* by MULTI: what it saw was seen with the others */
};

/* What MULTI put off: operations of the queue, done by EXEC among the commands of kv. */
struct resp_later {
    void (*say)(struct resp_out *o, struct resp_later *l); /* l->answers has one value of kv for each */
    struct bytes answers;
    struct arena *arena; /* of EXEC's turn */
};

struct resp_batch {
    struct arena *arena;
    struct resp_batch *before; /* what is answered first (RESP_APART); NULL: all has been */
    bool is_sent;              /* its asks are on their way */
    char *op;
    size_t op_bytes, op_size;
    struct resp_reply *replies;
    uint32_t count, size, commands; /* commands: those that are no literals */
    bool full;                      /* the arena's cap is reached: nothing of it is done */
    bool asks_on_keys;              /* some of it is of RESP_STREAM */
    bool puts_off;                  /* MULTI's: its commands' arguments are gone when it is done */
};

struct resp_client;

void resp_batch_open(struct resp_batch *b, struct arena *a);
void resp_add(struct resp_batch *b, enum resp_shape shape, const char *name, enum kv_what what,
              unsigned flags, int64_t number, const struct bytes *args, unsigned count);
/* body is copied. */
void resp_ask(struct resp_batch *b, uint8_t rules, struct bytes body, uint32_t answer_bytes,
              void (*say)(struct resp_out *o, const struct resp_ask *q));
/* The same in steps, for an entry of several operations: answer_bytes is 0 but for the one that answers.
 * NULL: b is full. */
struct resp_ask *resp_ask_begin(struct resp_batch *b,
                                void (*say)(struct resp_out *o, const struct resp_ask *q));
void resp_ask_add(struct resp_batch *b, struct resp_ask *q, uint8_t rules, struct bytes body,
                  uint32_t answer_bytes);
/* Of a batch that puts off: pairs of a key and an operation of the queue on it (KV_TOPIC). */
void resp_put_off(struct resp_batch *b, struct resp_later *l, bool all, const struct bytes *args,
                  unsigned count);
/* A literal: copied, or (static) not. */
void resp_say(struct resp_batch *b, struct bytes raw);
void resp_say_static(struct resp_batch *b, struct bytes raw);
/* A line of that type, '+' or '-'. */
void resp_say_line(struct resp_batch *b, char type, struct bytes text);
void resp_fail(struct resp_batch *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void resp_say_int(struct resp_batch *b, int64_t n);
void resp_say_text(struct resp_batch *b, struct bytes text);
void resp_say_null(struct resp_client *k);
/* The head of so many pairs. */
void resp_say_map(struct resp_client *k, uint64_t pairs);
void resp_say_null_array(struct resp_client *k);

/* ---- connections */

struct resp_transaction;

#define RESP_NAME_BYTES_MAX 63

struct resp_client {
    struct client_conn client;
    struct io *io;
    uint64_t id;
    struct resp_batch *batch;    /* of the turn at hand */
    struct resp_transaction *tx; /* from WATCH or MULTI on; NULL: none */
    struct resp_lock *locks;     /* held by this connection; NULL: none */
    struct waiter *waiter;       /* while a command of it blocks; NULL: none does */
    uint8_t protocol;            /* enum resp_protocol */
    bool parked, closing, ended; /* ended: seen while it blocked */
    bool trusted;                /* has said the password, or there is none */
    char name[RESP_NAME_BYTES_MAX + 1];
};

/* A command blocks: until w is told (OK), the deadline (ERR_TIMEOUT), or the client is gone or to be let go
 * (ERR_CLOSED). */
struct waiter;
err resp_wait(struct resp_client *k, struct waiter *w, uint64_t deadline_us) CHECK_RESULT;
/* What was gathered is done and answered. From then on the batch is empty again. An error: the connection's.
 */
err resp_flush(struct resp_client *k) CHECK_RESULT;
/* Before a command writes, or waits: what came before it is answered. */
void resp_answer_before(struct resp_client *k);
/* Nothing comes into b any more: its asks go to the writer, with those of a command that stands apart. false:
 * it has others. */
bool resp_send_asks(struct resp_batch *b);
/* Writes one value of kv (and what it holds), and the protocol's heads. */
struct resp_out {
    struct io *io;
    enum resp_protocol protocol;
    char *begin, *at, *end;
    err failed;
};
void resp_out_begin(struct resp_out *o, struct resp_client *k);
void resp_out_end(struct resp_out *o);
/* Room for n bytes (at most 16 KiB) at o->at. */
char *resp_out_room(struct resp_out *o, size_t n);
void resp_out_bytes(struct resp_out *o, struct bytes b);
void resp_out_line(struct resp_out *o, char type, struct bytes text);
void resp_out_text(struct resp_out *o, struct bytes b);
/* All replies of b from the answers. */
void resp_out_replies(struct resp_out *o, const struct resp_batch *b, struct bytes answers);
/* Submits b's operation with as much room as it takes. OK: the answers lie in b's arena. */
err resp_submit(struct resp_batch *b, struct bytes *ret_answers) CHECK_RESULT;
/* An entry of that operation alone. What the rules refused it with; ERR_IN_USE: too many wait;
 * ERR_UNAVAILABLE: the ledger has stopped, or is not open. */
err resp_submit_op(struct ledger_op *op) CHECK_RESULT;
/* That error in words for a client; nothing, and the connection ends, when the next process has the ledger.
 */
void resp_out_failure(struct resp_out *o, err e);
void resp_say_failure(struct resp_batch *b, err e);

/* ---- commands */

#define RESP_STRANGER 1   /* may come before the password */
#define RESP_NOT_QUEUED 2 /* MULTI does not put it off */
#define RESP_NO_MULTI 4   /* cannot be put off by MULTI */
#define RESP_BARRIER 8    /* what came before it is done first */
#define RESP_WRITES 16
#define RESP_APART 64  /* a barrier (but asks go along); it may take a turn's memory for itself */
#define RESP_STREAM 32 /* asks on a key: in order with what kv does to keys */

struct resp_def;
typedef void resp_fn(struct resp_client *k, const struct resp_command *c, const struct resp_def *d);

struct resp_def {
    const char *name; /* capital letters */
    int arity;        /* Redis': with the name; less than 0: at least so many */
    unsigned flags;
    int first, last, step; /* which arguments are keys */
    resp_fn *fn;
    enum kv_what what;
    unsigned kv_flags;
    enum resp_shape shape;
    int64_t number;
};
extern const struct resp_def resp_table[];
extern const unsigned resp_table_count;
/* NULL: unknown. */
const struct resp_def *resp_find(struct bytes name);
/* Mistakes with the command's name in them. */
void resp_fail_arity(struct resp_client *k, const struct resp_def *d);
void resp_fail_time(struct resp_client *k, const struct resp_def *d);
/* COMMAND DOCS [name ...] */
void resp_say_docs(struct resp_client *k, const struct resp_command *c);
/* Puts a command into k's batch, or does it. */
void resp_do(struct resp_client *k, const struct resp_command *c);

/* Is this the password (and the user's name)? A reload changes it; who has said the old one stays trusted. */
bool resp_password_is(struct bytes user, struct bytes password);
bool resp_has_password(void);

/* Of a connection that has ended: they are released. */
void resp_locks_free(struct resp_client *k);

/* ---- transactions */

void resp_tx_free(struct resp_client *k);
/* Is there a MULTI that has begun? Then the command is put off, or refused. */
bool resp_tx_queue(struct resp_client *k, const struct resp_command *c, const struct resp_def *d);
void resp_tx_spoil(struct resp_client *k);

#define RESP_FNS(X)                                                                                          \
    X(plain)                                                                                                 \
    X(set)                                                                                                   \
    X(setex)                                                                                                 \
    X(getex)                                                                                                 \
    X(expire)                                                                                                \
    X(incrby)                                                                                                \
    X(hincrby)                                                                                               \
    X(pairs)                                                                                                 \
    X(scan)                                                                                                  \
    X(keys)                                                                                                  \
    X(ping) X(echo) X(select) X(hello) X(auth) X(quit) X(reset) X(client) X(command) X(info) X(config)       \
        X(time) X(multi) X(exec) X(discard) X(watch) X(unwatch) X(eval) X(evalsha) X(script) X(lock_acquire) \
            X(lock_renew) X(lock_release) X(lock_status) X(stock_reserve) X(stock_move) X(stock_get)         \
                X(stock_order) X(stock_add) X(stock_set) X(xadd) X(xlen) X(xrange) X(xdel) X(xtrim) X(xack)  \
                    X(xread) X(xgroup) X(xpending) X(xclaim) X(xautoclaim) X(xinfo) X(queue_publish)         \
                        X(queue_pull) X(queue_ack) X(queue_nack) X(queue_extend) X(queue_end) X(queue_topic) \
                            X(queue_group) X(queue_drop) X(queue_replay) X(queue_dead) X(queue_info)
#define X(name) resp_fn resp_do_##name;
RESP_FNS(X)
#undef X

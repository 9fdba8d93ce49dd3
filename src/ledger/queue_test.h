/* queue_test: a machine with queue's rules, a log and a checkpoint in memory, and answers as text. For tests
 * only. */
#pragma once
#include <stdio.h>
#include <stdlib.h>

#include "ledger/durable_test.h"
#include "ledger/queue.h"

struct queue_test {
    struct machine machine;
    struct durable durable;
    uint64_t now_ms;
    char answer[1 << 17], text[1 << 15];
    uint32_t answer_bytes;
    struct queue_answer head;
    struct bytes rest;
};

static struct queue_test qt;
static bool queue_test_restarts; /* behind each step: what the checkpoint does not know is lost */

static const struct ledger_rules *const queue_test_rules[] = { &queue_rules, NULL };

static inline void queue_test_open(void)
{
    durable_open(&qt.durable, &qt.machine, queue_test_rules);
    qt.now_ms = 1000;
}

static inline void queue_test_check(void)
{
    durable_check(&qt.durable);
}

static inline void queue_test_close(void)
{
    durable_close(&qt.durable);
}

static inline void queue_test_end_batch(void)
{
    durable_end_batch(&qt.durable);
}

static inline void queue_test_crash(void)
{
    durable_crash(&qt.durable);
}

static inline void queue_test_end_step(void)
{
    for (unsigned i = 0; queue_test_restarts && i < 3; i++)
        durable_checkpoint_step(&qt.durable, 0);
    if (queue_test_restarts)
        queue_test_crash();
}

/* Time passes, and nobody asks anything. */
static inline void queue_test_pass(uint64_t ms)
{
    qt.now_ms += ms;
    machine_begin(&qt.machine, qt.now_ms);
    machine_expire(&qt.machine);
    queue_test_end_batch();
    queue_test_end_step();
}

static inline enum queue_result queue_test_ask(const struct queue_op *asked)
{
    struct queue_op op = *asked;
    if (!op.room)
        op.room = sizeof qt.answer;
    char *bytes = malloc(queue_op_bytes(&op));
    queue_write(&op, bytes);
    struct ledger_op o = { .rules = QUEUE_RULES_ID,
                           .body = { bytes, queue_op_bytes(&op) },
                           .answer = qt.answer,
                           .answer_size = sizeof qt.answer };
    struct ledger_call c = { .ops = &o, .ops_count = 1 };
    machine_begin(&qt.machine, qt.now_ms);
    machine_expire(&qt.machine);
    machine_entry(&qt.machine, &c, NULL);
    queue_test_end_batch();
    free(bytes);
    qt.answer_bytes = o.ret_answer_bytes;
    must(queue_read_answer((struct bytes){ qt.answer, o.ret_answer_bytes }, &qt.head, &qt.rest));
    assert_int_equal((c.ret_refused == OK), (qt.head.result == QUEUE_DONE));
    queue_test_end_step();
    return (enum queue_result)qt.head.result;
}

/* "a:1 b:2!": first values of fields with the attempts; "~" one that is gone. */
static inline const char *queue_test_messages(void)
{
    struct queue_message m;
    struct queue_field f = { BYTES_NONE, BYTES_NONE };
    size_t n = 0;
    qt.text[0] = 0;
    while (queue_read_message(&qt.rest, &m)) {
        if (m.fields_count)
            must(queue_read_field(&m.fields, &f));
        n += (size_t)snprintf(qt.text + n, sizeof qt.text - n, "%s%.*s:%u", n ? " " : "",
                              m.is_gone ? 1 : (int)f.value.len, m.is_gone ? "~" : f.value.ptr, m.attempts);
    }
    return qt.text;
}

#define ASK(...) queue_test_ask(&(const struct queue_op){ __VA_ARGS__ })
#define ASK_DONE(...) assert_string_equal(queue_result_words[ASK(__VA_ARGS__)], "done")
#define ASK_GETS(wanted, ...) (ASK_DONE(__VA_ARGS__), assert_string_equal(queue_test_messages(), wanted))
#define ASK_NUMBER(wanted, ...) (ASK_DONE(__VA_ARGS__), assert_int_equal(qt.head.number, wanted))

#define T .topic = BYTES("orders")
#define G T, .group = BYTES("shop")
#define C G, .consumer = BYTES("one")

static inline struct queue_id queue_test_publish(const char *body, const char *key, struct queue_op op)
{
    const struct queue_field f = { QUEUE_BODY, bytes_from(body) };
    op.what = QUEUE_PUBLISH;
    op.topic = op.topic.len ? op.topic : BYTES("orders");
    op.key = bytes_from(key);
    op.fields = &f;
    op.fields_count = 1;
    assert_string_equal(queue_result_words[queue_test_ask(&op)], "done");
    return qt.head.id;
}
#define PUBLISH(body, ...) queue_test_publish(body, "", (struct queue_op){ __VA_ARGS__ })
#define PUBLISH_KEY(body, key, ...) queue_test_publish(body, key, (struct queue_op){ __VA_ARGS__ })

/* kv_test: a machine with kv's rules, a log in memory, and answers as text. For tests only. */
#pragma once
#include <stdio.h>
#include <stdlib.h>

#include "base/must.h"
#include "base/test.h"
#include "ledger/kv.h"
#include "ledger/machine.h"

#define KV_TEST_LOG_MAX 20000

struct kv_test {
    struct machine machine;
    uint64_t now_ms;
    struct bytes log[KV_TEST_LOG_MAX]; /* batches */
    unsigned log_count;
    char op[1 << 16], answer[1 << 16];
    size_t op_bytes;
    char text[1 << 15];
};

static struct kv_test kt;

static const struct ledger_rules *const kv_test_rules[] = { &kv_rules, NULL };

static inline void kv_test_open(void)
{
    must(machine_open(&kt.machine, kv_test_rules, 64 << 20) == OK);
    kt.now_ms = 1700000000000;
}

static inline void kv_test_close(void)
{
    struct diag d = DIAG_NONE;
    assert_int_equal(machine_check(&kt.machine, &d), OK);
    machine_close(&kt.machine);
    for (unsigned i = 0; i < kt.log_count; i++)
        free((char *)(uintptr_t)kt.log[i].ptr);
    kt.log_count = 0;
}

static inline void kv_test_begin(void)
{
    kt.op_bytes = (size_t)(kv_op_begin(kt.op, sizeof kt.answer) - kt.op);
}

static inline void kv_test_add(enum kv_what what, unsigned flags, int64_t number, const char *const *args)
{
    struct bytes list[32];
    unsigned count = 0;
    for (; args[count]; count++)
        list[count] = bytes_from(args[count]);
    kt.op_bytes = (size_t)(kv_op_add(kt.op + kt.op_bytes, what, flags, number, list, count) - kt.op);
}

static inline size_t kv_test_say(struct bytes *rest, char *out, size_t size)
{
    struct kv_value v;
    must(kv_read(rest, &v));
    switch (v.type) {
    case KV_NIL:
        return (size_t)snprintf(out, size, "nil ");
    case KV_OK:
        return (size_t)snprintf(out, size, "ok ");
    case KV_CHANGED:
        return (size_t)snprintf(out, size, "changed ");
    case KV_INT:
        return (size_t)snprintf(out, size, "%lld ", (long long)v.number);
    case KV_ERROR:
        return (size_t)snprintf(out, size, "!%.*s ", BYTES_ARG(kv_error_words[v.number]));
    case KV_TEXT:
    case KV_WORD:
        return (size_t)snprintf(out, size, "%.*s ", BYTES_ARG(v.text));
    case KV_ARRAY:
    case KV_MAP:
        break;
    }
    size_t n = (size_t)snprintf(out, size, v.type == KV_MAP ? "{ " : "[ ");
    for (int64_t i = 0; i < v.number * (v.type == KV_MAP ? 2 : 1); i++)
        n += kv_test_say(rest, out + n, size - n);
    return n + (size_t)snprintf(out + n, size - n, v.type == KV_MAP ? "} " : "] ");
}

static inline void kv_test_keep_batch(void)
{
    struct machine *m = &kt.machine;
    if (!machine_end(m))
        return;
    must(kt.log_count < KV_TEST_LOG_MAX);
    char *copy = malloc(m->head.bytes);
    memcpy(m->batch, &m->head, sizeof m->head);
    memcpy(copy, m->batch, m->head.bytes);
    kt.log[kt.log_count++] = (struct bytes){ copy, m->head.bytes };
}

/* What was added since kv_test_begin; the answers as text, "" when it was refused. */
static inline err kv_test_do(void)
{
    struct ledger_op op = { .rules = KV_RULES_ID,
                            .body = { kt.op, kt.op_bytes },
                            .answer = kt.answer,
                            .answer_size = sizeof kt.answer };
    struct ledger_call c = { .ops = &op, .ops_count = 1 };
    machine_begin(&kt.machine, kt.now_ms);
    machine_expire(&kt.machine);
    machine_entry(&kt.machine, &c, NULL);
    kv_test_keep_batch();
    size_t n = 0;
    kt.text[0] = 0;
    if (c.ret_refused)
        return c.ret_refused;
    struct bytes rest = { kt.answer, op.ret_answer_bytes };
    while (rest.len)
        n += kv_test_say(&rest, kt.text + n, sizeof kt.text - n);
    if (n)
        kt.text[n - 1] = 0;
    return OK;
}

/* A machine that has lost its memory, and does again what the log says: the same answers, or it is told. */
static inline void kv_test_crash(void)
{
    struct diag d = DIAG_NONE;
    machine_close(&kt.machine);
    must(machine_open(&kt.machine, kv_test_rules, 64 << 20) == OK);
    for (unsigned i = 0; i < kt.log_count; i++) {
        struct batch_head head;
        memcpy(&head, kt.log[i].ptr, sizeof head);
        struct bytes payload = bytes_skip(kt.log[i], sizeof head);
        if (machine_replay(&kt.machine, &head, payload, &d) != OK)
            fail_msg("batch %u: %s", i, d.text);
    }
    assert_int_equal(machine_check(&kt.machine, &d), OK);
}

#define KV_DO(what, flags, number, ...)                                                                  \
    (kv_test_begin(), kv_test_add(KV_##what, flags, number, (const char *const[]){ __VA_ARGS__, NULL }), \
     kv_test_do() == OK ? kt.text : "refused")
#define KV_SAYS(wanted, ...) assert_string_equal(KV_DO(__VA_ARGS__), wanted)

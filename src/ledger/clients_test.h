/* clients_test: fibers that ask a ledger of counters without end, and tell each answer to a pipe, for tests
 * in which the process that they run in is killed. And what must be true of the answers afterwards. */
#pragma once
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/test.h"
#include "core/log.h"
#include "core/worker.h"
#include "ledger/counter_test.h"
#include "ledger/ledger_open.h"

#define CLIENTS 24
#define CLIENT_COUNTERS 64 /* each counts to COUNTER_LIMIT */

/* One answer that a client got; in one write, so that none is torn. */
struct told {
    uint64_t token, id;
    uint32_t name;
    int32_t failed; /* err */
    int64_t value;
};

static struct {
    struct ledger *ledger;
    int out;
    uint64_t run; /* tokens of different runs differ */
    unsigned living;
} clients;

static inline err client_ask(const struct counter_op *o, struct told *ret_told)
{
    struct ledger_op op = { .rules = COUNTER_RULES,
                            .body = { (const char *)o, sizeof *o },
                            .answer = (char *)&ret_told->value,
                            .answer_size = sizeof ret_told->value };
    struct ledger_call c = { .ops = &op, .ops_count = 1 };
    ret_told->token = o->token;
    ret_told->name = o->name;
    ret_told->failed = (int32_t)ledger_submit(clients.ledger, &c);
    ret_told->id = c.ret_id;
    return ret_told->failed ? (err)ret_told->failed : c.ret_refused;
}

/* Adds, with holds in between that are dropped or run out: they come and go, and change no sum. */
static inline void client(void *arg)
{
    const uint64_t me = (uint64_t)(uintptr_t)arg;
    struct told told;
    for (uint64_t i = 1;; i++) {
        const uint64_t token = clients.run << 40 | me << 32 | i;
        struct counter_op o = {
            .what = COUNTER_ADD, .name = (uint32_t)(token % CLIENT_COUNTERS), .n = 1, .token = token
        };
        err e = client_ask(&o, &told);
        if (write(clients.out, &told, sizeof told) != sizeof told || told.failed)
            break;
        must(e == OK);
        o = (struct counter_op){
            .what = COUNTER_HOLD, .name = 99, .n = 1, .token = token, .hold_ms = 1 + i % 40
        };
        if (i % 3 == 0 && client_ask(&o, &told) == OK && i % 2) {
            o.what = COUNTER_DROP;
            (void)!client_ask(&o, &told);
        }
    }
    if (--clients.living == 0)
        worker_stop(worker_self());
}

static inline void clients_begin(void *arg)
{
    (void)arg;
    clients.living = CLIENTS;
    for (uintptr_t i = 1; i <= CLIENTS; i++)
        fiber_spawn(client, (void *)i);
}

/* ---- what must be true */

struct told_list {
    struct told *at;
    size_t count, room;
};

static inline void told_add(struct told_list *l, const struct told *t)
{
    if (l->count == l->room) {
        l->room = l->room ? l->room * 2 : 4096;
        l->at = realloc(l->at, l->room * sizeof *l->at);
        assert_non_null(l->at);
    }
    l->at[l->count++] = *t;
}

/* Until its writers have ended. */
static inline void told_read(struct told_list *l, int fd)
{
    struct told t;
    ssize_t n;
    while ((n = read(fd, &t, sizeof t)) == (ssize_t)sizeof t)
        told_add(l, &t);
    assert_int_equal(n, 0);
}

static inline int told_compare(const void *a, const void *b)
{
    const struct told *x = a, *y = b;
    if (x->name != y->name)
        return x->name < y->name ? -1 : 1;
    return x->value < y->value ? -1 : x->value > y->value;
}

/* What clients were told, against the ledger as it is now: each answer was given once, in the order of ids,
 * and is given again; nothing was counted that nobody may have asked for. in_flight: entries that may have
 * happened without an answer. Empty text: all is well. Sorts the list. */
static inline void told_check(struct told_list *l, uint64_t in_flight, char out[256])
{
    int64_t totals[CLIENT_COUNTERS] = { 0 };
    uint64_t counted = 0, total = 0;
    out[0] = 0;
    if (l->count)
        qsort(l->at, l->count, sizeof *l->at, told_compare);
    for (uint32_t i = 0; i < CLIENT_COUNTERS; i++) {
        struct told t = { 0 };
        const struct counter_op o = { .what = COUNTER_GET, .name = i };
        if (client_ask(&o, &t) == OK)
            totals[i] = t.value;
        total += (uint64_t)totals[i];
    }
    for (size_t i = 0; i < l->count; i++) {
        const struct told *t = &l->at[i], *next = i + 1 < l->count ? t + 1 : NULL;
        if (t->failed)
            continue;
        counted++;
        if (t->value < 1 || t->value > totals[t->name])
            snprintf(out, 256, "counter %u has %lld, somebody was told %lld", t->name,
                     (long long)totals[t->name], (long long)t->value);
        if (next && !next->failed && next->name == t->name && next->value == t->value)
            snprintf(out, 256, "two were told %lld of counter %u", (long long)t->value, t->name);
        if (next && !next->failed && next->name == t->name && next->id <= t->id)
            snprintf(out, 256, "ids went back: %llu behind %llu", (unsigned long long)next->id,
                     (unsigned long long)t->id);
    }
    if (total < counted || total > counted + in_flight)
        snprintf(out, 256, "%llu are counted, %llu were answered and at most %llu more under way",
                 (unsigned long long)total, (unsigned long long)counted, (unsigned long long)in_flight);
}

/* The same token gets the same answer again. */
static inline void told_ask_again(const struct told_list *l, size_t step, char out[256])
{
    for (size_t i = 0; i < l->count; i += step) {
        struct told again = { 0 };
        const struct told *t = &l->at[i];
        const struct counter_op o = { .what = COUNTER_ADD, .name = t->name, .n = 1, .token = t->token };
        if (t->failed)
            continue;
        if (client_ask(&o, &again) != OK || again.value != t->value)
            snprintf(out, 256, "token %llx was told %lld, and now %lld", (unsigned long long)t->token,
                     (long long)t->value, (long long)again.value);
    }
}

/* counter_test: rules for tests only: counters that are added to, held for a while, and never above a limit.
 * They use all that the ledger offers: tokens that are finished, times, refusals, numbers that are shown.
 *
 *      "c" name -> value       "t" token -> answer (finished)       "h" token -> what comes back       "s" ->
 * sum
 */
#pragma once
#include "base/must.h"
#include "ledger/rules.h"

#define COUNTER_RULES 250
#define COUNTER_LIMIT 1000000

enum counter_what { COUNTER_ADD, COUNTER_GET, COUNTER_HOLD, COUNTER_DROP, COUNTER_WHATS };

struct counter_op {
    uint32_t what;
    uint32_t name;
    int64_t n;
    uint64_t token;   /* 0: none */
    uint64_t hold_ms; /* of COUNTER_HOLD */
};

struct counter_held {
    int64_t n;
    uint64_t name;
};

struct counter_key {
    char text[16];
};

static inline struct bytes counter_key(struct counter_key *k, char kind, uint64_t number)
{
    k->text[0] = kind;
    memcpy(k->text + 1, &number, sizeof number);
    return (struct bytes){ k->text, 1 + sizeof number };
}

static inline struct record *counter_record(struct records *rs, char kind, uint64_t number, uint32_t bytes)
{
    struct counter_key k;
    struct bytes key = counter_key(&k, kind, number);
    struct record *r = record_find(rs, COUNTER_RULES, key);
    return r ? r : record_make(rs, COUNTER_RULES, key, bytes);
}

static inline err counter_add(struct records *rs, uint64_t name, int64_t n, int64_t *ret_value)
{
    struct record *c = counter_record(rs, 'c', name, sizeof(int64_t));
    struct record *s = counter_record(rs, 's', 0, sizeof(int64_t));
    if (!c || !s)
        return ERR_LIMIT;
    record_write(rs, c);
    record_write(rs, s);
    int64_t *value = record_value(c), *sum = record_value(s);
    *value += n;
    *sum += n;
    *ret_value = *value;
    return *value > COUNTER_LIMIT || *value < 0 ? ERR_DENIED : OK;
}

static inline err counter_once(struct ledger_apply *a, const struct counter_op *o)
{
    struct counter_key k;
    int64_t value = 0;
    struct record *t = record_find(a->records, COUNTER_RULES, counter_key(&k, 't', o->token));
    if (o->token && t) {
        ledger_answer(a, record_value(t), sizeof value);
        return OK;
    }
    err e = counter_add(a->records, o->name, o->n, &value);
    ledger_answer(a, &value, sizeof value);
    if (e || !o->token)
        return e;
    t = record_make(a->records, COUNTER_RULES, counter_key(&k, 't', o->token), sizeof value);
    if (!t)
        return ERR_LIMIT;
    memcpy(record_value(t), &value, sizeof value);
    record_set_finished(a->records, t, true);
    return OK;
}

static inline err counter_hold(struct ledger_apply *a, const struct counter_op *o)
{
    struct counter_key k;
    int64_t value = 0;
    struct record *h = record_find(a->records, COUNTER_RULES, counter_key(&k, 'h', o->token));
    if (h)
        return ERR_EXISTS;
    err e = counter_add(a->records, o->name, o->n, &value);
    ledger_answer(a, &value, sizeof value);
    if (e)
        return e;
    h = record_make(a->records, COUNTER_RULES, counter_key(&k, 'h', o->token), sizeof(struct counter_held));
    if (!h)
        return ERR_LIMIT;
    *(struct counter_held *)record_value(h) = (struct counter_held){ o->n, o->name };
    record_set_due(a->records, h, a->now_ms + o->hold_ms);
    return OK;
}

static inline err counter_drop(struct ledger_apply *a, const struct counter_op *o)
{
    struct counter_key k;
    int64_t value = 0;
    struct record *h = record_find(a->records, COUNTER_RULES, counter_key(&k, 'h', o->token));
    if (!h)
        return ERR_NOT_FOUND;
    const struct counter_held held = *(struct counter_held *)record_value(h);
    record_remove(a->records, h);
    err e = counter_add(a->records, held.name, -held.n, &value);
    ledger_answer(a, &value, sizeof value);
    return e;
}

static inline err counter_apply(struct ledger_apply *a, struct bytes op)
{
    struct counter_op o;
    if (op.len < sizeof o)
        return ERR_SYNTAX;
    memcpy(&o, op.ptr, sizeof o);
    if (o.what == COUNTER_GET) {
        struct counter_key k;
        struct record *r = record_find(a->records, COUNTER_RULES, counter_key(&k, 'c', o.name));
        if (!r)
            return ERR_NOT_FOUND;
        ledger_answer(a, record_value(r), r->value_bytes);
        return OK;
    }
    if (o.what == COUNTER_HOLD)
        return counter_hold(a, &o);
    if (o.what == COUNTER_DROP)
        return counter_drop(a, &o);
    return o.what == COUNTER_ADD ? counter_once(a, &o) : ERR_SYNTAX;
}

static inline void counter_due(struct ledger_apply *a, struct record *r)
{
    int64_t value;
    const struct counter_held held = *(struct counter_held *)record_value(r);
    record_remove(a->records, r);
    must(counter_add(a->records, held.name, -held.n, &value) == OK);
}

static inline bool counter_shown(const struct record *r, uint64_t *ret_value)
{
    if (r->data[0] != 'c')
        return false;
    memcpy(ret_value, record_value(r), sizeof *ret_value);
    return true;
}

static inline void counter_sum(void *arg, const struct record *r)
{
    int64_t *sums = arg, value;
    if (r->data[0] != 'c' && r->data[0] != 's')
        return;
    memcpy(&value, record_value(r), sizeof value);
    sums[r->data[0] == 's'] += value;
}

static inline bool counter_check(struct records *rs, struct diag *reterr)
{
    int64_t sums[2] = { 0 };
    record_each(rs, COUNTER_RULES, counter_sum, sums);
    if (sums[0] == sums[1])
        return true;
    diag_set(reterr, "the counters make %lld, their sum says %lld", (long long)sums[0], (long long)sums[1]);
    return false;
}

static inline bool counter_looks(struct bytes op)
{
    struct counter_op o;
    if (op.len < sizeof o)
        return false;
    memcpy(&o, op.ptr, sizeof o);
    return o.what == COUNTER_GET;
}

static const struct ledger_rules counter_rules = {
    .name = "counter",
    .id = COUNTER_RULES,
    .version = 1,
    .apply = counter_apply,
    .looks = counter_looks,
    .due = counter_due,
    .shown = counter_shown,
    .check = counter_check,
};

static const struct ledger_rules *const counter_registry[] = { &counter_rules, NULL };

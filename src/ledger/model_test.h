/* model_test: what the rules of counters mean, once more and plainly, to compare the ledger with. Tokens and
 * holds are small numbers here. */
#pragma once
#include <stdlib.h>

#include "ledger/counter_test.h"

#define MODEL_NAMES 8

struct model_token {
    bool told;
    int64_t value;
};
struct model_hold {
    bool held;
    uint32_t name;
    int64_t n;
    uint64_t due_ms;
};

struct model {
    int64_t counters[MODEL_NAMES];
    bool exists[MODEL_NAMES];
    struct model_token *tokens;
    struct model_hold *holds;
    uint64_t room;
    uint64_t held_first, held_end; /* holds that may be held */
};

static inline void model_open(struct model *m, uint64_t tokens)
{
    *m = (struct model){ .room = tokens };
    m->tokens = calloc(tokens, sizeof *m->tokens);
    m->holds = calloc(tokens, sizeof *m->holds);
    must(m->tokens && m->holds);
}

static inline void model_close(struct model *m)
{
    free(m->tokens);
    free(m->holds);
}

static inline void model_expire(struct model *m, uint64_t now_ms)
{
    for (uint64_t i = m->held_first; i < m->held_end; i++) {
        struct model_hold *h = &m->holds[i];
        if (h->held && h->due_ms <= now_ms) {
            h->held = false;
            m->counters[h->name] -= h->n;
        }
        if (!h->held && i == m->held_first)
            m->held_first++;
    }
}

static inline err model_add(struct model *m, uint32_t name, int64_t n, int64_t *ret_value)
{
    *ret_value = m->counters[name] + n;
    if (*ret_value > COUNTER_LIMIT || *ret_value < 0)
        return ERR_DENIED;
    m->counters[name] = *ret_value;
    m->exists[name] = true;
    return OK;
}

static inline err model_apply(struct model *m, const struct counter_op *o, uint64_t now_ms,
                              int64_t *ret_value)
{
    struct model_token *t = &m->tokens[o->token];
    struct model_hold *h = &m->holds[o->token];
    err e;
    switch ((enum counter_what)o->what) {
    case COUNTER_ADD:
        if (t->told) {
            *ret_value = t->value;
            return OK;
        }
        e = model_add(m, o->name, o->n, ret_value);
        if (!e)
            *t = (struct model_token){ true, *ret_value };
        return e;
    case COUNTER_GET:
        *ret_value = m->counters[o->name];
        return m->exists[o->name] ? OK : ERR_NOT_FOUND;
    case COUNTER_HOLD:
        if (h->held)
            return ERR_EXISTS;
        e = model_add(m, o->name, o->n, ret_value);
        if (e)
            return e;
        *h = (struct model_hold){ true, o->name, o->n, now_ms + o->hold_ms };
        if (o->token >= m->held_end)
            m->held_end = o->token + 1;
        if (o->token < m->held_first)
            m->held_first = o->token;
        return OK;
    case COUNTER_DROP:
        if (!h->held)
            return ERR_NOT_FOUND;
        h->held = false;
        return model_add(m, h->name, -h->n, ret_value);
    default:
        return ERR_SYNTAX;
    }
}

/* One record of the ledger against the model. false: they differ. */
static inline bool model_same_token(const struct model *m, struct records *rs, uint64_t token)
{
    struct counter_key k;
    const struct record *t = record_find(rs, COUNTER_RULES, counter_key(&k, 't', token));
    if (m->tokens[token].told != (t != NULL))
        return false;
    if (t && memcmp(record_value(t), &m->tokens[token].value, 8) != 0)
        return false;
    const struct record *h = record_find(rs, COUNTER_RULES, counter_key(&k, 'h', token));
    return m->holds[token].held == (h != NULL) && (!h || h->due_ms == m->holds[token].due_ms);
}

static inline bool model_same_counters(const struct model *m, struct records *rs)
{
    for (uint32_t i = 0; i < MODEL_NAMES; i++) {
        struct counter_key k;
        const struct record *c = record_find(rs, COUNTER_RULES, counter_key(&k, 'c', i));
        if (m->exists[i] != (c != NULL) || (c && memcmp(record_value(c), &m->counters[i], 8) != 0))
            return false;
    }
    return true;
}

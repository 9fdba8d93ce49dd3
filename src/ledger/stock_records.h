/* stock_records: how stock's rules find their records and write their answers. The writer's thread. */
#pragma once
#include "ledger/rules.h"
#include "ledger/stock_internal.h"

#define STOCK_RULES_ID 1
/* Places in the line of paid orders that one operation passes over because they are empty. */
#define LINE_SKIPS_MAX 4096

static const err result_errs[] = {
#define X(id, word, e, meaning) e,
    STOCK_RESULT_LIST(X)
#undef X
};

/* ---- records */

static inline struct pack key_begin(struct stock_key *k, char kind)
{
    struct pack p = { .at = k->at, .end = k->at + sizeof k->at };
    pack_u8(&p, (uint8_t)kind);
    return p;
}

static inline struct bytes key_end(struct stock_key *k, const struct pack *p)
{
    k->len = (size_t)(p->at - k->at);
    return stock_key_bytes(k);
}

static inline struct bytes key_of_name(struct stock_key *k, char kind, struct bytes name)
{
    struct pack p = key_begin(k, kind);
    pack_raw(&p, name);
    return key_end(k, &p);
}

/* Big-endian, so that the checkpoint has them in order. */
static inline struct bytes key_of_number(struct stock_key *k, char kind, uint64_t number)
{
    struct pack p = key_begin(k, kind);
    for (int shift = 56; shift >= 0; shift -= 8)
        pack_u8(&p, (uint8_t)(number >> shift));
    return key_end(k, &p);
}

static inline struct bytes key_of_user(struct stock_key *k, struct bytes item, struct bytes user)
{
    struct pack p = key_begin(k, 'u');
    pack_text(&p, item);
    pack_raw(&p, user);
    return key_end(k, &p);
}

static inline struct record *find(struct ledger_apply *a, struct bytes key)
{
    return record_find(a->records, STOCK_RULES_ID, key);
}

static inline struct record *make(struct ledger_apply *a, struct bytes key, size_t bytes)
{
    return record_make(a->records, STOCK_RULES_ID, key, (uint32_t)bytes);
}

/* What `fetch` said, of the n-th key. */
static inline uint32_t hash_of(const struct ledger_apply *a, unsigned n, struct bytes key)
{
    return n < LEDGER_AHEAD_MAX && a->ahead && n < a->ahead->count ? a->ahead->hashes[n]
                                                                   : record_hash(STOCK_RULES_ID, key);
}

static inline struct record *find_named(struct ledger_apply *a, char kind, struct bytes name)
{
    struct stock_key k;
    return find(a, key_of_name(&k, kind, name));
}

/* A key without its kind. */
static inline struct bytes name_of(const struct record *r)
{
    return bytes_skip(record_key(r), 1);
}

/* ---- answers */

static inline err answer(struct ledger_apply *a, enum stock_result result, unsigned line)
{
    const struct stock_answer s = { .result = (uint8_t)result, .line = (uint8_t)line };
    ledger_answer(a, &s, sizeof s);
    return result_errs[result];
}

static inline err answer_order(struct ledger_apply *a, enum stock_result result,
                               const struct stock_order_value *o)
{
    const struct stock_answer s = { .result = (uint8_t)result,
                                    .state = o->state,
                                    .placed_ms = o->placed_ms,
                                    .due_ms = o->due_ms,
                                    .since_ms = o->since_ms,
                                    .amount = o->amount };
    ledger_answer(a, &s, sizeof s);
    return result_errs[result];
}

static inline err answer_count(struct ledger_apply *a, uint32_t count)
{
    const struct stock_answer s = { .result = STOCK_DONE, .count = count };
    ledger_answer(a, &s, sizeof s);
    return OK;
}

static inline void answer_text(struct ledger_apply *a, struct bytes text)
{
    const uint8_t len = (uint8_t)text.len;
    ledger_answer(a, &len, 1);
    ledger_answer(a, text.ptr, text.len);
}

static inline void answer_record(struct ledger_apply *a, const struct record *r)
{
    answer_text(a, name_of(r));
    ledger_answer(a, record_value(r), r->value_bytes);
}

static inline struct record *line_at(struct ledger_apply *a, uint64_t place)
{
    struct stock_key k;
    return find(a, key_of_number(&k, 't', place));
}

static inline struct record *line_order(struct ledger_apply *a, const struct record *place)
{
    struct unpack u = { .at = record_value(place),
                        .end = (const char *)record_value(place) + place->value_bytes };
    struct record *order = find_named(a, 'o', unpack_text(&u));
    must(order);
    return order;
}

/* ---- looking (stock_look.c) */

err stock_look_named(struct ledger_apply *a, struct unpack *u, char kind, enum stock_result unknown);
err stock_look_items(struct ledger_apply *a, struct unpack *u);
err stock_look_sums(struct ledger_apply *a);
err stock_look_line(struct ledger_apply *a, struct unpack *u);

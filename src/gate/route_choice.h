/* route_choice: the routes that stand at one place of the router (the same host and path) and differ in what
 * else they ask. Most specific first (conditions_compare), then in the order of the file.
 *
 *      /api*  ─▶  header x-tenant=a ─▶ 17         found by hash, when there are many: a table for each name
 *                 header x-tenant=b ─▶ 18         that is asked for exactly
 *                 GET               ─▶ 3
 *                 (nothing)         ─▶ 1
 *
 * Built when a file is loaded; immutable then; any thread. Memory is the router's arena but for what
 * choices_close frees. */
#pragma once
#include "base/arena.h"
#include "gate/condition.h"

struct regex;

struct choice {
    struct choice *next; /* while building */
    struct conditions *asks;
    struct regex *regex; /* that the whole path must fit; NULL: none */
    const struct bytes *names;
    unsigned names_count;
    uint32_t route;
    uint32_t order; /* of the file */
};

struct choice_table;

struct choices {
    struct choice *first; /* while building */
    const struct choice **at;
    uint32_t count;
    const struct choice *only; /* that asks nothing; NULL: there are more, or it does */
    struct choice_table *tables;
};

static inline void choices_add(struct choices *c, struct choice *one)
{
    one->next = c->first;
    c->first = one;
    c->count++;
}
/* Sorts them, and makes tables where they are many. ERR_MEMORY. */
err choices_seal(struct choices *c, struct arena *a) CHECK_RESULT;
void choices_close(struct choices *c);

struct choice_search {
    struct asked asked;
    struct bytes path;
    uint32_t methods; /* bits of those that a choice, fit but for the method, would have taken */
};
const struct choice *choices_find_slow(const struct choices *c, struct choice_search *s);

/* The first that fits; NULL: none. */
static inline const struct choice *choices_find(const struct choices *c, struct choice_search *s)
{
    return c->only ? c->only : c->count ? choices_find_slow(c, s) : NULL;
}

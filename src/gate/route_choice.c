#include "gate/route_choice.h"

#include <stdlib.h>

#include "base/map.h"
#include "base/mem.h"
#include "gate/regex.h"
#include "proto/http_cookie.h"
#include "proto/http_query.h"

/* So many are looked at one by one. */
#define TABLES_FROM 9
/* Names that choices are found by; what asks for yet others is looked at one by one. */
#define TABLES_MAX 4

struct bucket {
    uint32_t *at; /* indexes of choices, ascending */
    uint32_t count;
};

/* Choices that ask for `name` to be exactly something, by what. */
struct choice_table {
    struct choice_table *next;
    const struct condition *by; /* of any of them: its `of`, id and name count; NULL: those without a table */
    struct map values;          /* -> struct bucket */
    struct bucket rest;         /* of the one with by NULL */
};

/* ---- building ---- */

static int compare(const void *first, const void *second)
{
    const struct choice *a = *(const struct choice *const *)first;
    const struct choice *b = *(const struct choice *const *)second;
    int d = conditions_compare(a->asks, b->asks);
    return d ? d : (a->order > b->order) - (a->order < b->order);
}

static const struct condition *exact_of(const struct choice *c)
{
    for (uint32_t i = 0; c->asks && i < c->asks->count; i++) {
        const struct condition *one = &c->asks->at[i];
        if (one->how == CONDITION_IS && !one->negated)
            return one;
    }
    return NULL;
}

static bool same_name(const struct condition *a, const struct condition *b)
{
    if (a->of != b->of)
        return false;
    return a->of == CONDITION_HEADER ? bytes_eq_nocase(a->name, b->name) : bytes_eq(a->name, b->name);
}

static struct choice_table *table_new(struct choices *c, const struct condition *by, struct arena *a)
{
    struct choice_table *t = arena_get_zero(a, sizeof *t);
    if (!t)
        return NULL;
    map_init(&t->values);
    t->by = by;
    t->next = c->tables;
    c->tables = t;
    return t;
}

/* The table where this choice stands; with the one for the rest there are TABLES_MAX + 1 at most. */
static struct choice_table *table_for(struct choices *c, const struct condition *by, struct arena *a)
{
    unsigned count = 0;
    struct choice_table *rest = NULL;
    for (struct choice_table *t = c->tables; t; t = t->next) {
        if (!t->by)
            rest = t;
        else if (by && same_name(t->by, by))
            return t;
        count += t->by != NULL;
    }
    if (by && count < TABLES_MAX)
        return table_new(c, by, a);
    return rest ? rest : table_new(c, NULL, a);
}

/* Room doubles, in the arena. */
static err bucket_add(struct bucket *b, uint32_t index, struct arena *a)
{
    if ((b->count & (b->count - 1)) == 0) {
        uint32_t *more = arena_get(a, (b->count ? b->count * 2 : 1) * sizeof *more);
        if (!more)
            return ERR_MEMORY;
        if (b->count)
            memcpy(more, b->at, b->count * sizeof *more);
        b->at = more;
    }
    b->at[b->count++] = index;
    return OK;
}

static err tables_add(struct choices *c, uint32_t index, struct arena *a)
{
    const struct condition *by = exact_of(c->at[index]);
    struct choice_table *t = table_for(c, by, a);
    if (!t)
        return ERR_MEMORY;
    if (!t->by)
        return bucket_add(&t->rest, index, a);
    struct bucket *b = map_get(&t->values, by->text);
    if (!b) {
        b = arena_get_zero(a, sizeof *b);
        if (!b || map_set(&t->values, by->text, b) != OK)
            return ERR_MEMORY;
    }
    return bucket_add(b, index, a);
}

err choices_seal(struct choices *c, struct arena *a)
{
    uint32_t n = 0;
    if (!c->count)
        return OK;
    c->at = arena_get(a, c->count * sizeof *c->at);
    if (!c->at)
        return ERR_MEMORY;
    for (const struct choice *one = c->first; one; one = one->next)
        c->at[n++] = one;
    qsort(c->at, c->count, sizeof *c->at, compare);
    c->only = c->count == 1 && !c->at[0]->asks && !c->at[0]->regex ? c->at[0] : NULL;
    for (uint32_t i = 0; c->count >= TABLES_FROM && i < c->count; i++) {
        err e = tables_add(c, i, a);
        if (e)
            return e;
    }
    return OK;
}

void choices_close(struct choices *c)
{
    for (struct choice *one = c->first; one; one = one->next) {
        conditions_close(one->asks);
        regex_free(one->regex);
    }
    for (struct choice_table *t = c->tables; t; t = t->next)
        map_close(&t->values);
}

/* ---- finding ---- */

static bool path_fits(const struct choice *c, struct choice_search *s)
{
    struct regex_match m;
    if (!c->regex)
        return true;
    if (regex_match(c->regex, s->path, 0, &m) != OK) {
        s->asked.stalled = true;
        return false;
    }
    return m.count > 0;
}

static bool asks_fit(const struct choice *c, struct choice_search *s)
{
    for (uint32_t i = 0; i < c->asks->count; i++) {
        if (!condition_fits(&c->asks->at[i], &s->asked))
            return false;
    }
    return true;
}

static bool fits(const struct choice *c, struct choice_search *s)
{
    if (!c->asks)
        return path_fits(c, s);
    bool method = condition_method_fits(c->asks, s->asked.request);
    if (!asks_fit(c, s) || !path_fits(c, s))
        return false;
    if (!method)
        s->methods |= c->asks->methods;
    return method;
}

/* The least index below `least` that fits. */
static uint32_t find_in_bucket(const struct choices *c, const struct bucket *b, struct choice_search *s,
                               uint32_t least)
{
    for (uint32_t i = 0; b && i < b->count && b->at[i] < least; i++) {
        if (fits(c->at[b->at[i]], s))
            return b->at[i];
    }
    return least;
}

static uint32_t find_by_header(const struct choices *c, const struct choice_table *t, struct choice_search *s,
                               uint32_t least)
{
    const struct http_fields *f = &s->asked.request->fields;
    for (uint32_t i = 0; i < f->count; i++) {
        const struct http_field *field = &f->at[i];
        if (field->id != t->by->id || field->flags & FIELD_REMOVED)
            continue;
        if (field->id == FIELD_OTHER && !bytes_eq_nocase(http_field_name(field), t->by->name))
            continue;
        least = find_in_bucket(c, map_get(&t->values, http_field_value(field)), s, least);
    }
    return least;
}

static uint32_t find_by(const struct choices *c, const struct choice_table *t, struct choice_search *s,
                        uint32_t least)
{
    struct bytes value;
    bool found = false;
    if (!t->by)
        return find_in_bucket(c, &t->rest, s, least);
    if (t->by->of == CONDITION_HEADER)
        return find_by_header(c, t, s, least);
    if (t->by->of == CONDITION_COOKIE)
        found = http_cookie_find(&s->asked.request->fields, t->by->name, &value);
    else if (http_query_find(s->asked.request->query, t->by->name, s->asked.arena, &value, &found) != OK)
        s->asked.stalled = true;
    return found ? find_in_bucket(c, map_get(&t->values, value), s, least) : least;
}

const struct choice *choices_find_slow(const struct choices *c, struct choice_search *s)
{
    uint32_t least = c->count;
    if (!c->tables) {
        for (uint32_t i = 0; i < c->count; i++) {
            if (fits(c->at[i], s))
                return c->at[i];
        }
        return NULL;
    }
    for (const struct choice_table *t = c->tables; t; t = t->next)
        least = find_by(c, t, s, least);
    return least < c->count ? c->at[least] : NULL;
}

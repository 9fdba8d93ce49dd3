#include "load/stats.h"

#include <string.h>

#include "base/mem.h"
#include "base/must.h"

const char *load_error_word(enum load_error e)
{
    static const char *const words[] = {
#define X(id, word, meaning) word,
        LOAD_ERROR_LIST(X)
#undef X
    };
    must(e < LOAD_ERRORS);
    return words[e];
}

const char *load_error_meaning(enum load_error e)
{
    static const char *const meanings[] = {
#define X(id, word, meaning) meaning,
        LOAD_ERROR_LIST(X)
#undef X
    };
    must(e < LOAD_ERRORS);
    return meanings[e];
}

enum load_error load_error_of(err e)
{
    switch (e) {
    case ERR_TIMEOUT:
        return LOAD_ERROR_TIMEOUT;
    case ERR_PROTOCOL:
        return LOAD_ERROR_PROTOCOL;
    default:
        return LOAD_ERROR_CLOSED;
    }
}

err load_stats_open(unsigned kinds_count, struct load_stats **ret_stats)
{
    struct load_stats *s = mem_get(sizeof *s + kinds_count * sizeof s->kinds[0]);
    if (!s)
        return ERR_MEMORY;
    s->kinds_count = kinds_count;
    *ret_stats = s;
    return OK;
}

void load_stats_close(struct load_stats *s)
{
    mem_free(s);
}

static void kind_reset(struct load_kind *k)
{
    histogram_reset(&k->service);
    histogram_reset(&k->response);
    k->sent = k->answers = k->bad = k->bytes_in = k->bytes_out = 0;
    memset(k->errors, 0, sizeof k->errors);
    memset(k->statuses, 0, sizeof k->statuses);
}

void load_stats_reset(struct load_stats *s)
{
    s->connects = s->iterations = s->messages_out = s->messages_in = 0;
    histogram_reset(&s->lag);
    for (unsigned i = 0; i < s->kinds_count; i++)
        kind_reset(&s->kinds[i]);
}

static void kind_merge(struct load_kind *k, const struct load_kind *from)
{
    k->sent += from->sent;
    k->answers += from->answers;
    k->bad += from->bad;
    k->bytes_in += from->bytes_in;
    k->bytes_out += from->bytes_out;
    for (unsigned i = 0; i < LOAD_ERRORS; i++)
        k->errors[i] += from->errors[i];
    for (unsigned i = 0; i < LOAD_STATUSES; i++)
        k->statuses[i] += from->statuses[i];
    histogram_merge(&k->service, &from->service);
    histogram_merge(&k->response, &from->response);
}

static void common_merge(struct load_stats *s, const struct load_stats *from)
{
    s->connects += from->connects;
    s->iterations += from->iterations;
    s->messages_out += from->messages_out;
    s->messages_in += from->messages_in;
    histogram_merge(&s->lag, &from->lag);
}

void load_stats_merge(struct load_stats *s, const struct load_stats *from)
{
    must(s->kinds_count == from->kinds_count);
    common_merge(s, from);
    for (unsigned i = 0; i < s->kinds_count; i++)
        kind_merge(&s->kinds[i], &from->kinds[i]);
}

void load_stats_total(const struct load_stats *s, struct load_stats *into)
{
    must(into->kinds_count == 1);
    load_stats_reset(into);
    common_merge(into, s);
    for (unsigned i = 0; i < s->kinds_count; i++)
        kind_merge(&into->kinds[0], &s->kinds[i]);
}

uint64_t load_kind_errors(const struct load_kind *k)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < LOAD_ERRORS; i++)
        sum += k->errors[i];
    return sum;
}

uint64_t load_kind_tried(const struct load_kind *k)
{
    return k->sent + k->errors[LOAD_ERROR_CONNECT] + k->errors[LOAD_ERROR_UNSENT];
}

uint64_t load_kind_good(const struct load_kind *k)
{
    return k->answers - k->bad;
}

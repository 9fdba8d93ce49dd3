#include "gate/verdict_cache.h"

#include <sys/random.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/must.h"

#define WAYS 4

struct entry {
    struct verdict_key key;
    uint64_t until_us; /* 0: free */
    size_t len;
    char value[];
};

struct verdict_cache {
    struct hash_key keys[2];
    size_t sets;
    size_t entry_bytes, value_bytes_max;
    char *entries;
};

struct verdict_cache *verdict_cache_open(size_t entries_max, size_t value_bytes_max)
{
    struct verdict_cache *c = mem_get(sizeof *c);
    if (!c)
        return NULL;
    c->sets = (entries_max + WAYS - 1) / WAYS;
    c->value_bytes_max = value_bytes_max;
    c->entry_bytes = (sizeof(struct entry) + value_bytes_max + 7) & ~(size_t)7;
    c->entries = mem_get(c->sets * WAYS * c->entry_bytes);
    if (!c->entries) {
        mem_free(c);
        return NULL;
    }
    must(getrandom(c->keys, sizeof c->keys, 0) == (ssize_t)sizeof c->keys);
    return c;
}

void verdict_cache_close(struct verdict_cache *c)
{
    if (!c)
        return;
    mem_free(c->entries);
    mem_free(c);
}

/* Each part's hash is keyed by that of those before it. */
static uint64_t chained(struct hash_key key, const struct bytes *parts, size_t count)
{
    uint64_t h = count;
    for (size_t i = 0; i < count; i++)
        h = hash_sip13((struct hash_key){ key.k0 ^ h, key.k1 + i }, parts[i]);
    return h;
}

struct verdict_key verdict_cache_key(const struct verdict_cache *c, const struct bytes *parts, size_t count)
{
    return (struct verdict_key){ chained(c->keys[0], parts, count), chained(c->keys[1], parts, count) };
}

static struct entry *entry_at(struct verdict_cache *c, struct verdict_key key, unsigned way)
{
    size_t set = (size_t)(((unsigned __int128)key.a * c->sets) >> 64);
    return (struct entry *)(void *)(c->entries + (set * WAYS + way) * c->entry_bytes);
}

static bool is_same(const struct entry *e, struct verdict_key key)
{
    return e->until_us && e->key.a == key.a && e->key.b == key.b;
}

bool verdict_cache_find(struct verdict_cache *c, struct verdict_key key, uint64_t now_us,
                        struct bytes *ret_value)
{
    for (unsigned i = 0; i < WAYS; i++) {
        struct entry *e = entry_at(c, key, i);
        if (!is_same(e, key))
            continue;
        if (e->until_us <= now_us)
            return false;
        *ret_value = (struct bytes){ e->value, e->len };
        return true;
    }
    return false;
}

void verdict_cache_put(struct verdict_cache *c, struct verdict_key key, uint64_t now_us, uint64_t until_us,
                       struct bytes value)
{
    if (value.len > c->value_bytes_max || until_us <= now_us)
        return;
    struct entry *chosen = entry_at(c, key, 0);
    for (unsigned i = 0; i < WAYS; i++) {
        struct entry *e = entry_at(c, key, i);
        if (is_same(e, key)) {
            chosen = e;
            break;
        }
        if (e->until_us < chosen->until_us)
            chosen = e;
    }
    chosen->key = key;
    chosen->until_us = until_us;
    chosen->len = value.len;
    if (value.len)
        memcpy(chosen->value, value.ptr, value.len);
}

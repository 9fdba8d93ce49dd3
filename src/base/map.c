#include "base/map.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/must.h"

static char gone[1];
#define MAP_GONE gone

void map_init(struct map *m)
{
    *m = (struct map){ 0 };
}

void map_close(struct map *m)
{
    for (size_t i = 0; i < m->slots_count; i++) {
        if (m->slots[i].key != MAP_GONE)
            mem_free(m->slots[i].key);
    }
    mem_free(m->slots);
    map_init(m);
}

static struct map_slot *find(const struct map *m, uint64_t hash, struct bytes key)
{
    if (!m->slots_count)
        return NULL;
    for (size_t i = hash;; i++) {
        struct map_slot *s = &m->slots[i & (m->slots_count - 1)];
        if (!s->key)
            return NULL;
        if (s->key != MAP_GONE && s->hash == hash && bytes_eq((struct bytes){ s->key, s->key_len }, key))
            return s;
    }
}

static void place(struct map *m, struct map_slot slot)
{
    for (size_t i = slot.hash;; i++) {
        struct map_slot *s = &m->slots[i & (m->slots_count - 1)];
        if (s->key)
            continue;
        *s = slot;
        m->used++;
        m->count++;
        return;
    }
}

static err grow(struct map *m)
{
    size_t count = m->count * 2 < 8 ? 16 : m->slots_count;
    while (count < m->count * 2 + 2)
        count *= 2;
    struct map bigger = { .slots_count = count };
    bigger.slots = mem_get(count * sizeof *bigger.slots);
    if (!bigger.slots)
        return ERR_MEMORY;
    for (size_t i = 0; i < m->slots_count; i++) {
        if (m->slots[i].key && m->slots[i].key != MAP_GONE)
            place(&bigger, m->slots[i]);
    }
    mem_free(m->slots);
    *m = bigger;
    return OK;
}

void *map_get(const struct map *m, struct bytes key)
{
    struct map_slot *s = find(m, hash_bytes(key), key);
    return s ? s->value : NULL;
}

err map_set(struct map *m, struct bytes key, void *value)
{
    must(value != NULL);
    uint64_t hash = hash_bytes(key);
    struct map_slot *s = find(m, hash, key);
    if (s) {
        s->value = value;
        return OK;
    }
    if (m->used * 4 >= m->slots_count * 3) {
        err e = grow(m);
        if (e)
            return e;
    }
    char *copy = mem_get(key.len + 1);
    if (!copy)
        return ERR_MEMORY;
    if (key.len)
        memcpy(copy, key.ptr, key.len);
    place(m, (struct map_slot){ hash, copy, key.len, value });
    return OK;
}

void *map_remove(struct map *m, struct bytes key)
{
    struct map_slot *s = find(m, hash_bytes(key), key);
    if (!s)
        return NULL;
    mem_free(s->key);
    s->key = MAP_GONE;
    m->count--;
    return s->value;
}

bool map_next(const struct map *m, size_t *at, struct bytes *ret_key, void **ret_value)
{
    for (; *at < m->slots_count; (*at)++) {
        const struct map_slot *s = &m->slots[*at];
        if (!s->key || s->key == MAP_GONE)
            continue;
        *ret_key = (struct bytes){ s->key, s->key_len };
        *ret_value = s->value;
        (*at)++;
        return true;
    }
    return false;
}

/* map: text to pointer, open addressing, for start-up, reload and registries (it takes from the heap as it
 * grows). Keys are copied by map_set. Values are the caller's. One thread. */
#pragma once
#include "base/bytes.h"
#include "base/err.h"

struct map_slot {
    uint64_t hash;
    char *key; /* NULL: free; MAP_GONE: removed */
    size_t key_len;
    void *value;
};

struct map {
    struct map_slot *slots;
    size_t slots_count; /* a power of two, or 0 */
    size_t used;        /* taken and removed */
    size_t count;       /* taken */
};

void map_init(struct map *m);
/* Frees slots and keys, not the values. */
void map_close(struct map *m);
/* NULL when there is none. */
void *map_get(const struct map *m, struct bytes key);
/* Replaces what was there. value is not NULL. */
err map_set(struct map *m, struct bytes key, void *value) CHECK_RESULT;
/* Returns the value, NULL when there was none. */
void *map_remove(struct map *m, struct bytes key);
/* Walk: *at starts at 0; false at the end. Nothing may be set while walking; the pair just given may be
 * removed. */
bool map_next(const struct map *m, size_t *at, struct bytes *ret_key, void **ret_value);

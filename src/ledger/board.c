#include "ledger/board.h"

#include "base/hash.h"
#include "base/mem.h"

#define CELL_EMPTY 0
#define CELL_LEFT 1
#define USED_MAX (BOARD_CELLS / 4 * 3)

err board_open(struct board *b)
{
    *b = (struct board){ .cells = mem_get(BOARD_CELLS * sizeof(struct board_cell)) };
    return b->cells ? OK : ERR_MEMORY;
}

void board_close(struct board *b)
{
    mem_free(b->cells);
}

uint64_t board_hash(uint8_t rules, struct bytes key)
{
    struct hash_key k = hash_key();
    k.k1 ^= rules + 1u;
    return hash_sip13(k, key) | 2; /* neither empty nor left */
}

static struct board_cell *at(const struct board *b, uint64_t i)
{
    return &b->cells[i & (BOARD_CELLS - 1)];
}

static struct board_cell *find(const struct board *b, uint64_t hash)
{
    for (uint64_t i = hash >> 2;; i++) {
        uint64_t h = atomic_load_explicit(&at(b, i)->hash, memory_order_acquire);
        if (h == hash)
            return at(b, i);
        if (h == CELL_EMPTY)
            return NULL;
    }
}

/* Readers may be in the middle of a cell that is taken over: the hash goes first and comes last. */
static void put(struct board_cell *c, uint64_t hash, uint64_t value)
{
    atomic_store_explicit(&c->value, value, memory_order_relaxed);
    atomic_store_explicit(&c->hash, hash, memory_order_release);
}

void board_set(struct board *b, uint64_t hash, uint64_t value)
{
    struct board_cell *c = find(b, hash);
    if (c) {
        atomic_store_explicit(&c->value, value, memory_order_release);
        return;
    }
    for (uint64_t i = hash >> 2;; i++) {
        uint64_t h = atomic_load_explicit(&at(b, i)->hash, memory_order_relaxed);
        if (h == CELL_EMPTY && b->used >= USED_MAX)
            return;
        if (h != CELL_EMPTY && h != CELL_LEFT)
            continue;
        b->used += h == CELL_EMPTY;
        put(at(b, i), hash, value);
        return;
    }
}

/* A cell that was left is empty again when nothing stands behind it. */
void board_clear(struct board *b, uint64_t hash)
{
    struct board_cell *c = find(b, hash);
    if (!c)
        return;
    uint64_t i = (uint64_t)(c - b->cells);
    atomic_store_explicit(&c->hash, CELL_LEFT, memory_order_release);
    if (atomic_load_explicit(&at(b, i + 1)->hash, memory_order_relaxed) != CELL_EMPTY)
        return;
    for (; atomic_load_explicit(&at(b, i)->hash, memory_order_relaxed) == CELL_LEFT; i--) {
        atomic_store_explicit(&at(b, i)->hash, CELL_EMPTY, memory_order_release);
        b->used--;
    }
}

bool board_get(const struct board *b, uint64_t hash, uint64_t *ret_value)
{
    const struct board_cell *c = find(b, hash);
    if (!c)
        return false;
    uint64_t value = atomic_load_explicit(&c->value, memory_order_acquire);
    if (atomic_load_explicit(&c->hash, memory_order_relaxed) != hash)
        return false;
    *ret_value = value;
    return true;
}

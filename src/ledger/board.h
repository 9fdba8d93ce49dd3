/* board: numbers that the writer shows to all workers: "sold out", how many are left. A table that one thread
 * writes and any thread reads, without a lock.
 *
 *      cells  [key's hash │ value] ...    open addressing; a reader looks at the hash again behind the value
 *
 * Keys are known by 64 bits of a hash whose key is secret. What finds no place is not shown: its readers ask
 * the writer then. */
#pragma once
#include <stdatomic.h>

#include "base/bytes.h"
#include "base/err.h"

#define BOARD_CELLS 65536

struct board_cell {
    _Atomic uint64_t hash; /* 0: none; 1: there was one */
    _Atomic uint64_t value;
};
struct board {
    struct board_cell *cells;
    uint32_t used;
};

err board_open(struct board *b) CHECK_RESULT;
void board_close(struct board *b);
uint64_t board_hash(uint8_t rules, struct bytes key);

/* The writer. */
void board_set(struct board *b, uint64_t hash, uint64_t value);
void board_clear(struct board *b, uint64_t hash);
/* Any thread. */
bool board_get(const struct board *b, uint64_t hash, uint64_t *ret_value);

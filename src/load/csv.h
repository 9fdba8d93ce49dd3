/* csv: comma-separated values (RFC 4180) with a first line of names: what a scenario's variables and a
 * curve's history come from.
 *
 *      name,mail                       column 0 "name", column 1 "mail"
 *      Ann,"ann@example.com"           row 0
 *      "O""Hara, Bob",bob@x            row 1
 *
 * Immutable, in the arena; any thread. */
#pragma once
#include "base/arena.h"
#include "base/diag.h"
#include "base/err.h"

#define CSV_COLUMNS_MAX 256u
#define CSV_CELLS_MAX (1u << 26)

struct csv {
    struct bytes *names;
    struct bytes *cells; /* row by row */
    size_t columns, rows;
};

/* text is borrowed where a cell has no quotes. ERR_SYNTAX, with words and the line; ERR_MEMORY. */
err csv_read(struct bytes text, struct arena *a, struct csv *ret_csv, struct diag *reterr) CHECK_RESULT;
/* The column of that name; -1: none. */
int csv_column(const struct csv *c, struct bytes name);
static inline struct bytes csv_cell(const struct csv *c, size_t row, size_t column)
{
    return c->cells[row * c->columns + column];
}

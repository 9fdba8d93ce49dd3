#include "load/csv.h"

struct reader {
    struct bytes rest;
    struct arena *a;
    struct diag *reterr;
    unsigned line;
    bool end_of_row;
};

static err wrong(struct reader *r, const char *what)
{
    diag_set(r->reterr, "line %u: %s", r->line, what);
    return ERR_SYNTAX;
}

/* Behind a cell: a comma, the end of the row, or of the text. */
static err take_end(struct reader *r)
{
    r->end_of_row = true;
    if (!r->rest.len)
        return OK;
    char c = r->rest.ptr[0];
    if (c == ',') {
        r->end_of_row = false;
        r->rest = bytes_skip(r->rest, 1);
        return OK;
    }
    if (c == '\r' && r->rest.len > 1 && r->rest.ptr[1] == '\n')
        r->rest = bytes_skip(r->rest, 1);
    else if (c != '\n')
        return wrong(r, "after the closing quote stands something else than a comma");
    r->rest = bytes_skip(r->rest, 1);
    r->line++;
    return OK;
}

static err take_quoted(struct reader *r, struct bytes *ret_cell)
{
    unsigned first = r->line;
    r->rest = bytes_skip(r->rest, 1);
    size_t len = 0, at = 0;
    while (at < r->rest.len) {
        bool quote = r->rest.ptr[at] == '"',
             twice = quote && at + 1 < r->rest.len && r->rest.ptr[at + 1] == '"';
        if (quote && !twice)
            break;
        r->line += r->rest.ptr[at] == '\n';
        at += 1 + twice;
        len++;
    }
    if (at == r->rest.len) {
        r->line = first;
        return wrong(r, "a quote is not closed");
    }
    char *out = arena_get(r->a, len + 1);
    if (!out)
        return ERR_MEMORY;
    for (size_t i = 0, from = 0; i < len; i++, from++) {
        out[i] = r->rest.ptr[from];
        from += out[i] == '"';
    }
    out[len] = 0;
    *ret_cell = (struct bytes){ out, len };
    r->rest = bytes_skip(r->rest, at + 1);
    return take_end(r);
}

static err take_cell(struct reader *r, struct bytes *ret_cell)
{
    if (r->rest.len && r->rest.ptr[0] == '"')
        return take_quoted(r, ret_cell);
    size_t len = 0;
    while (len < r->rest.len && r->rest.ptr[len] != ',' && r->rest.ptr[len] != '\n') {
        if (r->rest.ptr[len] == '"')
            return wrong(r, "a quote stands inside a cell that does not begin with one");
        len++;
    }
    *ret_cell = (struct bytes){ r->rest.ptr, len };
    if (len && len < r->rest.len && r->rest.ptr[len] == '\n' && r->rest.ptr[len - 1] == '\r')
        ret_cell->len--;
    r->rest = bytes_skip(r->rest, len);
    return take_end(r);
}

static bool is_empty_line(const struct reader *r)
{
    return r->rest.ptr[0] == '\n' || (r->rest.ptr[0] == '\r' && (r->rest.len == 1 || r->rest.ptr[1] == '\n'));
}

static void skip_empty_lines(struct reader *r)
{
    while (r->rest.len && is_empty_line(r)) {
        r->rest =
            bytes_skip(r->rest, bytes_index(r->rest, '\n') + (bytes_index(r->rest, '\n') < r->rest.len));
        r->line++;
    }
}

static err read_names(struct reader *r, struct csv *c)
{
    c->names = arena_get(r->a, CSV_COLUMNS_MAX * sizeof *c->names);
    if (!c->names)
        return ERR_MEMORY;
    skip_empty_lines(r);
    if (!r->rest.len)
        return wrong(r, "there is no first line with names");
    for (r->end_of_row = false; !r->end_of_row;) {
        if (c->columns == CSV_COLUMNS_MAX)
            return wrong(r, "there are too many columns");
        err e = take_cell(r, &c->names[c->columns]);
        if (e)
            return e;
        c->names[c->columns] = bytes_trim(c->names[c->columns]);
        c->columns++;
    }
    return OK;
}

/* An upper bound: what could be a row's end. */
static size_t count_lines(struct bytes text)
{
    size_t count = 1;
    for (size_t i = 0; i < text.len; i++)
        count += text.ptr[i] == '\n';
    return count;
}

static err read_row(struct reader *r, struct csv *c)
{
    unsigned line = r->line;
    size_t i = 0;
    for (r->end_of_row = false; !r->end_of_row; i++) {
        struct bytes cell;
        err e = take_cell(r, &cell);
        if (e)
            return e;
        if (i < c->columns)
            c->cells[c->rows * c->columns + i] = cell;
    }
    if (i != c->columns) {
        diag_set(r->reterr, "line %u: %zu columns where the first line has %zu", line, i, c->columns);
        return ERR_SYNTAX;
    }
    c->rows++;
    return OK;
}

err csv_read(struct bytes text, struct arena *a, struct csv *ret_csv, struct diag *reterr)
{
    struct csv c = { 0 };
    if (bytes_starts(text, BYTES("\xef\xbb\xbf")))
        text = bytes_skip(text, 3);
    struct reader r = { .rest = text, .a = a, .reterr = reterr, .line = 1 };
    err e = read_names(&r, &c);
    if (e)
        return e;
    size_t rows_max = count_lines(r.rest);
    if (rows_max > CSV_CELLS_MAX / c.columns)
        return wrong(&r, "the file is too large");
    c.cells = arena_get(a, rows_max * c.columns * sizeof *c.cells);
    if (!c.cells)
        return ERR_MEMORY;
    for (skip_empty_lines(&r); r.rest.len && !e; skip_empty_lines(&r))
        e = read_row(&r, &c);
    if (!e)
        *ret_csv = c;
    return e;
}

int csv_column(const struct csv *c, struct bytes name)
{
    for (size_t i = 0; i < c->columns; i++) {
        if (bytes_eq(c->names[i], name))
            return (int)i;
    }
    return -1;
}

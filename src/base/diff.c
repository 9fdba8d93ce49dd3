#include "base/diff.h"

#include <stdbool.h>

#include "base/mem.h"

/* A text as lines; the newline belongs to its line. */
struct lines {
    struct bytes *at;
    int count;
};

static struct bytes take_line(struct bytes *rest)
{
    size_t n = bytes_index(*rest, '\n');
    struct bytes line = { rest->ptr, n < rest->len ? n + 1 : n };
    *rest = bytes_skip(*rest, line.len);
    return line;
}

static struct lines split(struct bytes text)
{
    struct lines l = { 0 };
    struct bytes rest = text;
    int count = 0;
    for (; rest.len; count++)
        take_line(&rest);
    l.at = mem_must_get(((size_t)count + 1) * sizeof *l.at);
    for (rest = text; rest.len;)
        l.at[l.count++] = take_line(&rest);
    return l;
}

/* ---- the shortest way from a to b ---- */

/* What stays between the common beginning and the common end; deleted and added mark its lines. */
struct way {
    const struct bytes *a, *b;
    int n, m;
    bool *deleted, *added;
};

static void mark_all(struct way *w)
{
    memset(w->deleted, 1, (size_t)w->n);
    memset(w->added, 1, (size_t)w->m);
}

/* v[k]: how far in a one gets on diagonal k with d edits; kept for each d to find the way back. */
static void walk_back(struct way *w, int *const *kept, int d)
{
    int x = w->n, y = w->m;
    for (; d > 0; d--) {
        const int *v = kept[d - 1] + d; /* its diagonals are -d + 1 .. d - 1 */
        int k = x - y;
        bool down = k == -d || (k != d && v[k - 1] < v[k + 1]);
        int from = down ? k + 1 : k - 1;
        int before_x = v[from], before_y = before_x - from;
        if (down)
            w->added[before_y] = true;
        else
            w->deleted[before_x] = true;
        x = before_x;
        y = before_y;
    }
}

static void find_way(struct way *w)
{
    int max = w->n + w->m < DIFF_EDITS_MAX ? w->n + w->m : DIFF_EDITS_MAX;
    int **kept = mem_must_get(((size_t)max + 1) * sizeof *kept);
    int size = 2 * max + 3;
    int *room = mem_must_get((size_t)size * sizeof *room);
    int *v = room + max + 1;
    bool found = false;
    int d = 0;
    for (; d <= max && !found; d++) {
        for (int k = -d; k <= d && !found; k += 2) {
            bool down = k == -d || (k != d && v[k - 1] < v[k + 1]);
            int x = d == 0 ? 0 : down ? v[k + 1] : v[k - 1] + 1;
            int y = x - k;
            while (x < w->n && y < w->m && x >= 0 && y >= 0 && bytes_eq(w->a[x], w->b[y]))
                x++, y++;
            v[k] = x;
            found = x >= w->n && y >= w->m;
        }
        kept[d] = mem_must_get((size_t)(2 * d + 3) * sizeof(int));
        memcpy(kept[d], v - d - 1, (size_t)(2 * d + 3) * sizeof(int));
        if (found)
            break;
    }
    if (found)
        walk_back(w, kept, d);
    else
        mark_all(w);
    for (int i = 0; i <= max && kept[i]; i++)
        mem_free(kept[i]);
    mem_free(kept);
    mem_free(room);
}

/* ---- as text ---- */

static void put_line(struct text *out, char sign, struct bytes line)
{
    text_add(out, (struct bytes){ &sign, 1 });
    text_add(out, line);
    if (!line.len || line.ptr[line.len - 1] != '\n')
        text_add(out, BYTES("\n\\ No newline at end of file\n"));
}

/* One change with what stands around it; changes closer than two contexts are one hunk. */
struct hunk {
    int a, b;         /* where it begins */
    int a_end, b_end; /* behind it */
};

static bool next_change(const struct way *w, int *x, int *y)
{
    while (*x < w->n && *y < w->m && !w->deleted[*x] && !w->added[*y])
        ++*x, ++*y;
    return (*x < w->n && w->deleted[*x]) || (*y < w->m && w->added[*y]);
}

static void skip_change(const struct way *w, int *x, int *y)
{
    while (*x < w->n && w->deleted[*x])
        ++*x;
    while (*y < w->m && w->added[*y])
        ++*y;
}

static void put_range(struct text *out, char sign, int from, int count)
{
    text_print(out, "%c%d", sign, count ? from + 1 : from);
    if (count != 1)
        text_print(out, ",%d", count);
}

static void put_hunk(struct text *out, const struct way *w, const struct hunk *h)
{
    text_add(out, BYTES("@@ "));
    put_range(out, '-', h->a, h->a_end - h->a);
    text_add(out, BYTES(" "));
    put_range(out, '+', h->b, h->b_end - h->b);
    text_add(out, BYTES(" @@\n"));
    for (int x = h->a, y = h->b; x < h->a_end || y < h->b_end;) {
        if (x < h->a_end && w->deleted[x])
            put_line(out, '-', w->a[x++]);
        else if (y < h->b_end && w->added[y])
            put_line(out, '+', w->b[y++]);
        else
            put_line(out, ' ', w->a[x]), x++, y++;
    }
}

static int at_most(int a, int b)
{
    return a < b ? a : b;
}

static void put_hunks(struct text *out, const struct way *w)
{
    int x = 0, y = 0;
    while (next_change(w, &x, &y)) {
        int back = at_most(at_most(x, y), DIFF_CONTEXT);
        struct hunk h = { .a = x - back, .b = y - back };
        for (;;) {
            skip_change(w, &x, &y);
            h.a_end = x;
            h.b_end = y;
            if (!next_change(w, &x, &y) || x - h.a_end > 2 * DIFF_CONTEXT)
                break;
        }
        int more = at_most(at_most(w->n - h.a_end, w->m - h.b_end), DIFF_CONTEXT);
        h.a_end += more;
        h.b_end += more;
        put_hunk(out, w, &h);
    }
}

/* The common beginning and end need no search. */
static void compare(struct way *w)
{
    int head = 0, tail = 0;
    while (head < w->n && head < w->m && bytes_eq(w->a[head], w->b[head]))
        head++;
    while (tail < w->n - head && tail < w->m - head && bytes_eq(w->a[w->n - 1 - tail], w->b[w->m - 1 - tail]))
        tail++;
    struct way middle = { w->a + head,        w->b + head,       w->n - head - tail,
                          w->m - head - tail, w->deleted + head, w->added + head };
    find_way(&middle);
}

void diff_write(struct bytes before, struct bytes after, const char *before_name, const char *after_name,
                struct text *out)
{
    if (bytes_eq(before, after))
        return;
    struct lines a = split(before), b = split(after);
    struct way w = { .a = a.at,
                     .b = b.at,
                     .n = a.count,
                     .m = b.count,
                     .deleted = mem_must_get((size_t)a.count + 1),
                     .added = mem_must_get((size_t)b.count + 1) };
    compare(&w);
    text_print(out, "--- %s\n+++ %s\n", before_name, after_name);
    put_hunks(out, &w);
    mem_free(w.deleted);
    mem_free(w.added);
    mem_free(a.at);
    mem_free(b.at);
}

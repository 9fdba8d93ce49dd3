#include "base/alias.h"

#include "base/mem.h"

/* Column i gives i with probability keep / 2^32, else other. */
struct alias_column {
    uint32_t keep;
    uint32_t other;
};

bool alias_open(struct alias *a, uint32_t count)
{
    *a = (struct alias){ .count = count,
                         .columns = mem_get((count + 1) * sizeof *a->columns),
                         .parts = mem_get((count + 1) * sizeof *a->parts),
                         .order = mem_get((count + 1) * sizeof *a->order) };
    if (!a->columns || !a->parts || !a->order) {
        alias_close(a);
        return false;
    }
    for (uint32_t i = 0; i < count; i++)
        a->columns[i] = (struct alias_column){ UINT32_MAX, i };
    return true;
}

void alias_close(struct alias *a)
{
    mem_free(a->columns);
    mem_free(a->parts);
    mem_free(a->order);
    *a = (struct alias){ 0 };
}

/* Weights become parts of total: each column holds `total` parts, thing i has weight * count of them. Columns
 * with less than that are filled up from those with more. */
void alias_fill(struct alias *a, const uint32_t *weights)
{
    const uint32_t count = a->count;
    uint64_t total = 0;
    for (uint32_t i = 0; i < count; i++) {
        a->parts[i] = (uint64_t)weights[i] * count;
        total += weights[i];
    }
    uint32_t small = 0;     /* order[0 .. small): columns that lack parts */
    uint32_t large = count; /* order[large .. count): those that have enough */
    for (uint32_t i = 0; i < count; i++)
        a->order[a->parts[i] < total ? small++ : --large] = i;
    while (small && large < count) {
        const uint32_t poor = a->order[--small];
        const uint32_t rich = a->order[large];
        a->columns[poor] = (struct alias_column){ (uint32_t)((a->parts[poor] << 32) / total), rich };
        a->parts[rich] -= total - a->parts[poor];
        if (a->parts[rich] < total) {
            a->order[small++] = rich;
            large++;
        }
    }
    for (; large < count; large++)
        a->columns[a->order[large]] = (struct alias_column){ UINT32_MAX, a->order[large] };
}

uint32_t alias_draw(const struct alias *a, uint64_t random)
{
    const uint32_t i = (uint32_t)(((random >> 32) * a->count) >> 32);
    return (uint32_t)random < a->columns[i].keep ? i : a->columns[i].other;
}

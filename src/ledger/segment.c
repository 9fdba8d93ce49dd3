#include "ledger/segment.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/crc32c.h"
#include "base/mem.h"
#include "base/must.h"

static const char magic[8] = "weirlog";

void segment_head_fill(struct segment_head *h, uint64_t first_seq, const unsigned char ledger_id[16],
                       uint32_t key_id)
{
    *h = (struct segment_head){ .version = SEGMENT_VERSION, .key_id = key_id, .first_seq = first_seq };
    memcpy(h->magic, magic, sizeof magic);
    memcpy(h->ledger_id, ledger_id, sizeof h->ledger_id);
    must(getrandom(&h->salt, sizeof h->salt, 0) == sizeof h->salt);
    must(getrandom(h->key_salt, sizeof h->key_salt, 0) == sizeof h->key_salt);
    h->crc = crc32c(0, h, offsetof(struct segment_head, crc));
}

err segment_head_read(struct bytes data, struct segment_head *ret_head)
{
    struct segment_head h;
    if (data.len < sizeof h)
        return ERR_SYNTAX;
    memcpy(&h, data.ptr, sizeof h);
    if (memcmp(h.magic, magic, sizeof magic) != 0)
        return ERR_SYNTAX;
    if (h.version != SEGMENT_VERSION)
        return ERR_UNSUPPORTED;
    if (h.crc != crc32c(0, &h, offsetof(struct segment_head, crc)))
        return ERR_SYNTAX;
    *ret_head = h;
    return OK;
}

void segment_name(char out[DISK_NAME_BYTES_MAX], uint64_t first_seq)
{
    snprintf(out, DISK_NAME_BYTES_MAX, SEGMENT_PREFIX "%020llu", (unsigned long long)first_seq);
}

bool segment_parse_name(const char *name, uint64_t *ret_first_seq)
{
    struct bytes text = bytes_from(name), prefix = BYTES(SEGMENT_PREFIX);
    return bytes_starts(text, prefix) && text.len == prefix.len + 20 &&
           bytes_to_u64(bytes_skip(text, prefix.len), ret_first_seq);
}

struct listing {
    uint64_t *first;
    size_t count, room;
};

static void add(void *arg, const char *name)
{
    struct listing *l = arg;
    uint64_t first;
    if (!segment_parse_name(name, &first))
        return;
    if (l->count == l->room) {
        l->room = l->room ? l->room * 2 : 64;
        l->first = mem_must_resize(l->first, l->room * sizeof *l->first);
    }
    l->first[l->count++] = first;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

err segment_list(struct disk *d, uint64_t **ret_first, size_t *ret_count, struct diag *reterr)
{
    struct listing l = { 0 };
    err e = d->ops->list(d, add, &l, reterr);
    if (e) {
        mem_free(l.first);
        return e;
    }
    if (l.count)
        qsort(l.first, l.count, sizeof *l.first, compare);
    *ret_first = l.first;
    *ret_count = l.count;
    return OK;
}

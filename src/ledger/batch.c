#include "ledger/batch.h"

#include "base/crc32c.h"

uint32_t batch_crc(uint64_t salt, const void *data, size_t len)
{
    static const uint32_t zero;
    const size_t at = offsetof(struct batch_head, crc);
    uint32_t crc = crc32c(0, &salt, sizeof salt);
    crc = crc32c(crc, data, at);
    crc = crc32c(crc, &zero, sizeof zero);
    return crc32c(crc, (const char *)data + BATCH_HEAD_BYTES, len - BATCH_HEAD_BYTES);
}

bool batch_is_whole(uint64_t salt, struct bytes data, struct batch_head *ret_head)
{
    struct batch_head h;
    if (data.len < sizeof h)
        return false;
    memcpy(&h, data.ptr, sizeof h);
    if (h.magic != BATCH_MAGIC || h.bytes < sizeof h || h.bytes > data.len ||
        batch_crc(salt, data.ptr, h.bytes) != h.crc)
        return false;
    *ret_head = h;
    return true;
}

void batch_read(struct batch_reader *r, struct bytes payload)
{
    *r = (struct batch_reader){ .rest = payload };
}

static err next_entry(struct batch_reader *r)
{
    struct batch_entry_head h;
    if (r->rest.len == 0)
        return ERR_NOT_FOUND;
    if (r->rest.len < sizeof h)
        return ERR_SYNTAX;
    memcpy(&h, r->rest.ptr, sizeof h);
    if (h.bytes > r->rest.len || h.ops == 0 || h.bytes < sizeof h + h.ops * sizeof(struct batch_op_head))
        return ERR_SYNTAX;
    r->rest = bytes_skip(r->rest, sizeof h);
    r->ops = h.ops;
    r->op = 0;
    return OK;
}

err batch_next(struct batch_reader *r, struct batch_op *ret_op)
{
    struct batch_op_head h;
    if (r->op == r->ops) {
        err e = next_entry(r);
        if (e)
            return e;
    }
    if (r->rest.len < sizeof h)
        return ERR_SYNTAX;
    memcpy(&h, r->rest.ptr, sizeof h);
    r->rest = bytes_skip(r->rest, sizeof h);
    if (h.bytes > r->rest.len)
        return ERR_SYNTAX;
    *ret_op = (struct batch_op){ .entry = r->entry,
                                 .op = r->op,
                                 .ops = r->ops,
                                 .rules = h.rules,
                                 .version = h.version,
                                 .body = { r->rest.ptr, h.bytes } };
    r->rest = bytes_skip(r->rest, h.bytes);
    if (++r->op == r->ops)
        r->entry++;
    return OK;
}

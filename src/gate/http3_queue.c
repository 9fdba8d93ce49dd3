/* Bytes of a stream in pooled blocks. */
#if WEIR_HAVE_NGTCP2
#include "base/pool.h"
#include "core/worker.h"
#include "gate/http3_internal.h"

static _Thread_local struct pool blocks;
static _Thread_local struct turn_hook blocks_end;

static void end_pool(struct turn_hook *h)
{
    (void)h;
    pool_close(&blocks);
    blocks.object_bytes = 0;
}

struct http3_block *http3_block_take(void)
{
    if (!blocks.object_bytes) {
        pool_init(&blocks, sizeof(struct http3_block));
        blocks_end.run = end_pool;
        worker_on_end(&blocks_end);
    }
    struct http3_block *b = pool_take(&blocks);
    b->next = NULL;
    b->begin = b->end = 0;
    return b;
}

void http3_block_give(struct http3_block *b)
{
    pool_give(&blocks, b);
}

void http3_queue_append(struct http3_queue *q, struct bytes data)
{
    q->bytes += data.len;
    while (data.len) {
        struct http3_block *b = q->last;
        if (!b || b->end == sizeof b->data) {
            b = http3_block_take();
            if (q->last)
                q->last->next = b;
            else
                q->first = b;
            q->last = b;
        }
        size_t room = sizeof b->data - b->end;
        size_t n = data.len < room ? data.len : room;
        memcpy(b->data + b->end, data.ptr, n);
        b->end += (uint32_t)n;
        data = bytes_skip(data, n);
    }
}

void http3_queue_drop(struct http3_queue *q, uint64_t n)
{
    q->bytes -= n;
    while (q->first) {
        struct http3_block *b = q->first;
        uint32_t have = b->end - b->begin;
        if (n < have) {
            b->begin += (uint32_t)n;
            return;
        }
        n -= have;
        q->first = b->next;
        if (!q->first)
            q->last = NULL;
        http3_block_give(b);
    }
}

void http3_queue_clear(struct http3_queue *q)
{
    while (q->first) {
        struct http3_block *b = q->first;
        q->first = b->next;
        http3_block_give(b);
    }
    *q = (struct http3_queue){ 0 };
}

#endif

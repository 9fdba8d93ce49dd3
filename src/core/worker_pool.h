/* worker_pool: a pool of a module's on one worker, as a `static _Thread_local`: made when something is first
 * taken from it, and gone with the worker. That worker only. */
#pragma once
#include "base/pool.h"
#include "core/worker.h"

struct worker_pool {
    struct pool pool;
    struct turn_hook end;
};

void worker_pool_open(struct worker_pool *p, size_t object_bytes);

/* As pool_take; object_bytes is always the same. */
static inline void *worker_pool_take(struct worker_pool *p, size_t object_bytes)
{
    if (!p->pool.object_bytes)
        worker_pool_open(p, object_bytes);
    return pool_take(&p->pool);
}

static inline void worker_pool_give(struct worker_pool *p, void *object)
{
    pool_give(&p->pool, object);
}

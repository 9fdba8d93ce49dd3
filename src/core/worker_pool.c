#include "core/worker_pool.h"

/* A thread may run another worker later: then it is opened anew. */
static void end(struct turn_hook *h)
{
    struct worker_pool *p = container_of(h, struct worker_pool, end);
    pool_close(&p->pool);
    p->pool.object_bytes = 0;
}

void worker_pool_open(struct worker_pool *p, size_t object_bytes)
{
    pool_init(&p->pool, object_bytes);
    p->end.run = end;
    worker_on_end(&p->end);
}
